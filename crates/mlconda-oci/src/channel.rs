//! Channels in registries (`oci://HOST/CHANNEL`), with the names of conda-oci-mirror, which rattler reads, too.
//!
//! The repodata of a subdir is the artifact `CHANNEL/SUBDIR/repodata.json:latest`, and a package is
//! `CHANNEL/SUBDIR/NAME:VERSION-BUILD`. The file is the layer with a certain media type. Characters that are not
//! allowed in a tag are replaced (`+` by `__p__`, `!` by `__e__`, `=` by `__eq__`), and a name that begins with `_`
//! gets the prefix `zzz`. There are proposals for a standard with other names of repositories, but no registry uses
//! them yet.

use std::sync::OnceLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{StreamExt, stream};
use mlconda_channel::network::{
    Cause, ChannelRegistry, Client, NetworkError, NetworkOptions, RegistryAnswer, RegistryError, percent_decoded,
    redact,
};
use reqwest::{
    Body, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderName, IF_NONE_MATCH, RETRY_AFTER},
};
use serde_json::Value;
use url::Url;

use crate::{Descriptor, OciError, Reference, Registries, RegistryOptions, json, read::BlobReader};

/// Reads files of channels from registries. Nothing is set up before the first request.
#[derive(Debug)]
pub struct ChannelRegistries {
    network: NetworkOptions,
    options: RegistryOptions,
    registries: OnceLock<Registries>,
}

/// The place of a channel's file in a registry.
struct Place {
    reference: Reference,
    /// The media types of a layer that contains the file, with its encoding. The preferred one is first.
    kinds: Kinds,
}

/// Media types of layers, and the encoding of each.
type Kinds = &'static [(&'static str, Option<&'static str>)];

/// The names of repodata files, and the media types of their layers.
const REPODATA: [(&str, Kinds); 3] = [
    (
        "repodata.json",
        &[
            ("application/vnd.conda.repodata.v1+json+gzip", Some("gzip")),
            ("application/vnd.conda.repodata.v1+json", None),
        ],
    ),
    ("repodata.json.zst", &[("application/vnd.conda.repodata.v1+json+zst", None)]),
    ("repodata.json.bz2", &[("application/vnd.conda.repodata.v1+json+bz2", None)]),
];

/// The extensions of packages, and the media types of their layers.
const PACKAGES: [(&str, Kinds); 2] = [
    (".conda", &[("application/vnd.conda.package.v2", None)]),
    (".tar.bz2", &[("application/vnd.conda.package.v1", None)]),
];

impl ChannelRegistries {
    /// Sends nothing. The mirrors and logins of channels in `network` are not used.
    pub fn new(network: NetworkOptions, options: RegistryOptions) -> Self {
        Self { network, options, registries: OnceLock::new() }
    }

    fn registries(&self) -> Result<&Registries, NetworkError> {
        if let Some(known) = self.registries.get() {
            return Ok(known);
        }
        let client = Client::for_registries(&self.network)?;
        Ok(self.registries.get_or_init(|| Registries::new(client, self.options.clone())))
    }

    async fn find(&self, request: &Request, place: &Place) -> Result<RegistryAnswer, OciError> {
        let reference = &place.reference;
        let registries = self.registries().map_err(OciError::network("a registry"))?;
        let mut repository = registries.repository(reference)?;
        if let Some((user, password)) = login(request) {
            repository = repository.with_login(user, password);
        }
        let (_, manifest) = match repository.manifest_of("the file of a channel", reference.tag_or_latest()).await {
            Err(OciError::Missing { .. }) => {
                return Ok(RegistryAnswer::new(StatusCode::NOT_FOUND, format!("there is no `{reference}`")));
            }
            answer => answer?,
        };
        let what = format!("the manifest of `{reference}`");
        let manifest = json::parse_object(&manifest, &what)?;
        let layers = manifest.get("layers").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let of = |kind: &str| layers.iter().find(|layer| layer.get("mediaType").and_then(Value::as_str) == Some(kind));
        let found = place.kinds.iter().find_map(|(kind, encoding)| Some((of(kind)?, *encoding)));
        let Some((layer, encoding)) = found else {
            let kind = place.kinds.last().map(|(kind, _)| *kind).unwrap_or_default();
            let said = format!("`{reference}` has no layer with the media type `{kind}`");
            return Ok(RegistryAnswer::new(StatusCode::NOT_FOUND, said));
        };
        let descriptor = Descriptor::from_json(layer, &what)?;
        let etag = format!("\"{}\"", descriptor.digest);
        let is_known = header(request, IF_NONE_MATCH) == Some(&etag);
        let mut answer = RegistryAnswer::new(if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK }, "");
        answer.headers = vec![(ETAG, etag), (CONTENT_LENGTH, descriptor.size.to_string())];
        answer.headers.extend(encoding.map(|encoding| (CONTENT_ENCODING, encoding.to_owned())));
        if !is_known && request.method() == Method::GET {
            // The manifest exists, so the channel has this subdir. An error of the blob must not say the opposite.
            answer.body = body(repository.blob(descriptor).into_reader()?).await.map_err(|error| match error {
                OciError::Refused { what, status: StatusCode::GONE | StatusCode::NOT_IMPLEMENTED, said, .. } => {
                    OciError::Missing { what, said }
                }
                error => error,
            })?;
        }
        Ok(answer)
    }
}

#[async_trait::async_trait]
impl ChannelRegistry for ChannelRegistries {
    async fn answer(&self, request: &Request) -> Result<RegistryAnswer, RegistryError> {
        let place = place(request.url()).map_err(|reason| RegistryError { reason, cause: Cause::Registry })?;
        let Some(place) = place else { return Ok(RegistryAnswer::new(StatusCode::NOT_FOUND, "")) };
        match self.find(request, &place).await {
            Err(OciError::Refused { status, wait, said, .. }) => {
                let mut answer = RegistryAnswer::new(status, said);
                answer.headers.extend(wait.map(|wait| (RETRY_AFTER, wait)));
                Ok(answer)
            }
            answer => answer.map_err(error),
        }
    }
}

/// Streams a blob. The first piece is read at once, so that a refusal becomes the answer, and not an interrupted body.
async fn body(mut reader: BlobReader<'static>) -> Result<Body, OciError> {
    let first = reader.next().await?;
    let rest = stream::unfold(reader, async |mut reader| {
        let piece = reader.next().await.transpose()?;
        Some((piece.map_err(error), reader))
    });
    Ok(Body::wrap_stream(stream::iter(first.map(Ok)).chain(rest)))
}

/// The place of the file of a URL. `None` if channels in registries have no such file. The error is the reason why the
/// URL is not possible.
fn place(url: &Url) -> Result<Option<Place>, String> {
    let path = String::from_utf8_lossy(&percent_decoded(url.path())).into_owned();
    let path = path.trim_matches('/');
    let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
    let repodata = REPODATA.iter().find(|(name, _)| *name == file);
    let package = PACKAGES.iter().find_map(|(end, kinds)| Some((file.strip_suffix(end)?, *kinds)));
    let (name, tag, kinds) = match (repodata, package) {
        (Some((_, kinds)), _) => ("repodata.json", "latest".to_owned(), *kinds),
        (None, Some((stem, kinds))) => {
            let mut parts = stem.rsplitn(3, '-');
            let (Some(build), Some(version), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
                return Err(format!("`{file}` is not the name of a package"));
            };
            let tag = format!("{version}-{build}").replace('+', "__p__").replace('!', "__e__").replace('=', "__eq__");
            (name, tag, kinds)
        }
        (None, None) => return Ok(None),
    };
    let prefix = if name.starts_with('_') { "zzz" } else { "" };
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| format!("`{}` names no registry", redact(url)))?.to_ascii_lowercase();
    // A fixed registry is put in front, because docker's rules for names without a registry do not apply to URLs.
    let text = format!("localhost/{directory}/{prefix}{name}:{tag}");
    let reference: Reference = text.parse().map_err(|error| match error {
        OciError::Reference { reason, .. } => format!("`{}` cannot be in a registry: {reason}", redact(url)),
        other => other.to_string(),
    })?;
    let registry = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    Ok(Some(Place { reference: Reference { registry, ..reference }, kinds }))
}

/// The login of a URL, which the HTTP client has converted to a header.
fn login(request: &Request) -> Option<(String, String)> {
    let encoded = header(request, AUTHORIZATION)?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn header(request: &Request, name: HeaderName) -> Option<&str> {
    request.headers().get(name)?.to_str().ok()
}

fn error(error: OciError) -> RegistryError {
    match error {
        OciError::Network { source, .. } => RegistryError { reason: source.to_string(), cause: source.cause() },
        error => {
            let cause = match &error {
                OciError::Denied { .. } => Cause::RegistryLogin,
                OciError::Logins { .. } | OciError::Io(_) => Cause::LoginFile,
                OciError::Refused { status, .. } => Cause::Status(*status),
                _ => Cause::Registry,
            };
            RegistryError { reason: error.to_string(), cause }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(url: &str) -> String {
        match place(&Url::parse(url).unwrap()) {
            Ok(Some(place)) => format!("{} {}", place.reference, place.kinds[0].0),
            Ok(None) => "no file".to_owned(),
            Err(reason) => reason,
        }
    }

    #[test]
    fn files_of_a_channel_are_artifacts_of_a_registry() {
        let at = "application/vnd.conda";
        for (file, expected) in [
            ("repodata.json.zst", "repodata.json:latest repodata.v1+json+zst"),
            ("repodata.json", "repodata.json:latest repodata.v1+json+gzip"),
            ("xtensor-0.25.0-h2ffa867_0.conda", "xtensor:0.25.0-h2ffa867_0 package.v2"),
            ("a-b-1.0-0.tar.bz2", "a-b:1.0-0 package.v1"),
            ("_libgcc_mutex-0.1-main.conda", "zzz_libgcc_mutex:0.1-main package.v2"),
            ("pkg-1!2.0+cu12=x-0.conda", "pkg:1__e__2.0__p__cu12__eq__x-0 package.v2"),
            ("pkg-1%212.0%2Bcu12-0.conda", "pkg:1__e__2.0__p__cu12-0 package.v2"),
        ] {
            let (artifact, kind) = expected.split_once(' ').unwrap();
            let found = found(&format!("oci://GHCR.io/mirrors/forge/linux-64/{file}"));
            assert_eq!(found, format!("ghcr.io/mirrors/forge/linux-64/{artifact} {at}.{kind}"));
        }
        let with_port = found("oci://localhost:5000/c/noarch/repodata.json");
        assert!(with_port.starts_with("localhost:5000/c/noarch/repodata.json:latest "), "{with_port}");
        let short = found("oci://registry/c/noarch/repodata.json");
        assert!(short.starts_with("registry/c/noarch/repodata.json:latest "), "{short}");
        assert_eq!(found("oci://ghcr.io/c/noarch/repodata_shards.msgpack.zst"), "no file");
    }

    #[test]
    fn what_cannot_be_in_a_registry_is_told() {
        for (url, expected) in [
            ("oci://h/C/noarch/repodata.json", "a repository is written in lower case"),
            ("oci://h/c/noarch/x.conda", "`x.conda` is not the name of a package"),
            ("oci:///c/noarch/repodata.json", "names no registry"),
            (&format!("oci://h/c/noarch/x-{}-0.conda", "1".repeat(130)), "a tag is made of at most 128"),
            ("oci://h/c/no..arch/repodata.json", "a repository is made of"),
        ] {
            assert!(found(url).contains(expected), "{}", found(url));
        }
    }
}
