//! Hints for images that cannot be read, and for registries that do not accept an image.

use mlconda::{network::Cause, oci::OciError};

use super::{image::file_hint, network};

/// The hint for an error of an image or a registry.
pub(super) fn hint(error: &OciError) -> Option<String> {
    let hint = match error {
        OciError::Reference { .. } | OciError::Digest(_) => {
            "an image is named `[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]`, as in `registry.example.org/team/ml:1`"
        }
        OciError::Denied { registry, .. } => {
            let server = if registry == "docker.io" { "" } else { registry };
            return Some(format!(
                "log in with `docker login {server}` or `podman login {registry}`: mlconda reads their logins, or the \
                 file that `REGISTRY_AUTH_FILE` names"
            )
            .replace(" `docker login `", " `docker login`"));
        }
        OciError::Missing { .. } => "check the name and the tag",
        OciError::Platform { .. } => "name an image that is for it, or that is for several platforms",
        OciError::Network { source, .. } => match source.cause() {
            Cause::Tls => "if the registry has no TLS, say so: `--plain-http HOST[:PORT]`",
            Cause::TooLong => "the registry sends other data: report it to its owner",
            Cause::Slow => "try again later",
            Cause::Other => "check the network, `HTTPS_PROXY` and `NO_PROXY`",
            cause => network::of(cause, network::Transfer::Package),
        },
        OciError::Refused { status, .. } if status.as_u16() == 429 => {
            "the registry wants fewer requests: log in, or try again later"
        }
        OciError::Refused { status, .. } if status.is_server_error() => {
            "try again later; what has arrived is not sent again"
        }
        OciError::Logins { .. } => "correct the file, or name another one with `REGISTRY_AUTH_FILE`",
        OciError::Io(error) => return file_hint(error),
        _ => return None,
    };
    Some(hint.to_owned())
}
