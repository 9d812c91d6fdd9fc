//! Parses match specs (CEP-29) as users write them. The text is split here by conda's own rules, and only the parts
//! are passed to `rattler_conda_types`. Its lenient parser reads `python >=3.8 <3.12` as a build string `<3.12`, which
//! conda rejects, and rejects some forms that conda accepts.

mod constraint;

use std::{borrow::Cow, path::Path, sync::Arc};

use mlconda_types::dependency::is_within_limits;
use rattler_conda_types::{
    MatchSpec, PackageName, PackageNameMatcher, ParseMatchSpecOptions, RepodataRevision, StringMatcher,
    package::CondaArchiveIdentifier,
};
use rattler_digest::{Md5, Sha256, parse_digest_from_hex};
use url::Url;

use self::constraint::{constraint, repaired};
use super::{
    channel::{ChannelResolver, SpecError},
    keys::TEMPLATE_HELP,
    suggestion::{self, SPEC_HELP},
};

const KEYS_HELP: &str = "choose by `version`, `build`, `build_number`, `channel`, `subdir`, `fn`, `url`, `md5`, `sha256`, \
                         `license` or `track_features`";

/// A parsed match spec, and a warning about it.
#[derive(Clone, Debug)]
pub(super) struct Parsed {
    pub(super) spec: MatchSpec,
    pub(super) remarks: Vec<String>,
}

/// Parses a match spec.
pub(super) fn parse(text: &str, resolver: &ChannelResolver<'_>) -> Result<Parsed, SpecError> {
    let text = text.trim();
    if !is_within_limits(text) {
        let start: String = text.chars().take(40).collect();
        let message = format!("`{start}…` is too long or too deeply nested for a match spec");
        return Err(SpecError::new(message, "check the quotes and the line breaks around it"));
    }
    // The name of a directory may contain any white space.
    let spaced = match with_blanks(text) {
        Cow::Owned(spaced) if matches!(package(text, resolver), Ok(None)) => Cow::Owned(spaced),
        _ => text.into(),
    };
    let text = &*spaced;
    let is_spec = |text: &str| read(text, resolver).is_ok_and(|parsed| parsed.remarks.is_empty());
    let mut parsed = read(text, resolver).map_err(|error_found| suggestion::suggest(text, error_found, &is_spec))?;
    parsed.remarks.extend(first_python(text));
    Ok(parsed)
}

fn read(text: &str, resolver: &ChannelResolver<'_>) -> Result<Parsed, SpecError> {
    foreign(text)?;
    if let Some(spec) = package(text, resolver)? {
        return Ok(Parsed { spec, remarks: Vec::new() });
    }
    let mut remarks = Vec::new();
    let whole = uncommented(text);
    let text = unconditional(whole);
    if text != whole {
        let condition = whole[text.len()..].trim();
        remarks.push(format!(
            "`{condition}` in `{whole}` is ignored, as conda does; a selector is `- sel(linux): {text}`"
        ));
    }
    let (positional, bracket) = split_bracket(text)?;
    let bracket = bracket.filter(|inner| {
        if !inner.contains('=') && !inner.trim().is_empty() {
            remarks.push(format!(
                "`[{inner}]` in `{text}` is pip's way to ask for extras; conda packages have none, so it is ignored, \
                 as conda does"
            ));
        }
        inner.contains('=')
    });
    let (channel, rest) = split_channel(&positional);
    let rest = rest.trim();
    unfilled(text, rest)?;
    if let (Some((name, version)), None) = (positional.split_once(':'), channel)
        && rest.starts_with(|c: char| c.is_ascii_digit())
    {
        let message = format!("`{text}` is not a match spec: a `:` comes after a channel, not after a package");
        return Err(SpecError::new(message, format!("write `{name}={version}`")));
    }
    let end = rest.find(|c: char| c.is_whitespace() || "=<>!~".contains(c)).unwrap_or(rest.len());
    let (name, tail) = rest.split_at(end);
    let mut spec = named(name, bracket, text)?;
    let constraint = constraint(text, tail.trim())?;
    remarks.extend(constraint.remark);
    if constraint.version.is_some() && !tail.contains(|c: char| c.is_ascii_digit() || c == '*') {
        remarks.push(format!("`{}` in `{text}` is taken for a version, and has no digit in it", tail.trim()));
    }
    // Values in brackets take precedence.
    spec.version = spec.version.or(constraint.version);
    spec.build = spec.build.or(constraint.build);
    place(&mut spec, channel, name, resolver)?;
    Ok(Parsed { spec, remarks })
}

/// Rejects the syntax of other tools, and suggests what to write.
fn foreign(text: &str) -> Result<(), SpecError> {
    let pip = |what: &str| Err(SpecError::new(format!("`{text}` {what}"), "put it into the `- pip:` list"));
    if text.is_empty() {
        Err(SpecError::new("an empty match spec", "remove the `-`, or name a package"))
    } else if text.starts_with('-') {
        pip("begins like an option of pip, not like a package")
    } else if text.contains(" - ") {
        let message = format!("`{text}` is more than one dependency: the second `-` stands deeper than the first");
        Err(SpecError::new(message, "indent all dependencies alike"))
    } else if ["git+", "hg+", "svn+", "bzr+"].iter().any(|scheme| text.starts_with(scheme)) {
        pip("is a repository, which only pip can install")
    } else if text.contains(" @ ") {
        pip("is a requirement of pip")
    } else if text.contains(';') && !text.contains('[') {
        pip("has an environment marker (`;`), which only pip knows")
    } else if text.contains("{{") || text.contains("{%") {
        Err(SpecError::new(format!("`{text}` is not a match spec"), TEMPLATE_HELP))
    } else {
        Ok(())
    }
}

/// Rejects placeholders in the name and the version. Variables are expanded only in channels and paths.
fn unfilled(text: &str, spec: &str) -> Result<(), SpecError> {
    if let Some(placeholder) = placeholder(spec) {
        Err(SpecError::new(format!("`{placeholder}` in `{text}` is a placeholder without its value"), TEMPLATE_HELP))
    } else if spec.ends_with('@') {
        Err(SpecError::new(format!("`{text}` asks for a feature, which conda no longer has"), SPEC_HELP))
    } else {
        Ok(())
    }
}

/// A placeholder of a template: `$NAME`, `${NAME}`, `{NAME}`, `@NAME@`, `%NAME%`, `<NAME>`.
pub(super) fn placeholder(text: &str) -> Option<&str> {
    text.char_indices().find_map(|(start, opening)| {
        let rest = &text[start + opening.len_utf8()..];
        let (skipped, closing) = match opening {
            '$' if rest.starts_with('{') => (1, "}"),
            '$' => (0, ""),
            '{' => (0, "}"),
            '<' => (0, ">"),
            '@' => (0, "@"),
            '%' => (0, "%"),
            _ => return None,
        };
        let name = &rest[skipped..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || matches!(c, '-' | '.') && !closing.is_empty();
        let (name, behind) = name.split_at(name.find(|c| !is_part(c)).unwrap_or(name.len()));
        let behind = name
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            .then(|| behind.strip_prefix(closing))
            .flatten()?;
        // In `<py>=3` and `<v2>v1` they are operators.
        let compares = opening == '<' && start > 0 && behind.starts_with(|c: char| c == '=' || c.is_alphanumeric());
        (!compares).then(|| &text[start..text.len() - behind.len()])
    })
}

/// Parses an archive by URL or path, perhaps with `#md5` or `#sha256`; `None` if the text is neither.
fn package(text: &str, resolver: &ChannelResolver<'_>) -> Result<Option<MatchSpec>, SpecError> {
    let (place, fragment) = text.split_once('#').map_or((text, None), |(place, digest)| (place, Some(digest)));
    let place = place.trim();
    let is_path = ["./", "../", "/", "~/"].iter().any(|start| place.starts_with(start));
    let is_url = place.contains("://") && !place.contains("::");
    let is_archive = [".conda", ".tar.bz2"].iter().any(|end| place.ends_with(end));
    if place.contains("::") || place.contains('[') || !(is_path || is_url || is_archive) {
        return Ok(None);
    }
    let no_package = |reason: &str| {
        let help = "a package's archive is named `NAME-VERSION-BUILD.conda` or `NAME-VERSION-BUILD.tar.bz2`";
        SpecError::new(format!("`{place}` is not a package: {reason}"), help)
    };
    let url = if is_url {
        Url::parse(place).map_err(|error| no_package(&error.to_string()))?
    } else {
        let path = resolver.path(place)?;
        Url::from_file_path(Path::new(&path)).map_err(|()| no_package("its path has no URL"))?
    };
    let archive = CondaArchiveIdentifier::try_from_url(&url)
        .ok_or_else(|| no_package("its name does not say which package, version and build it is"))?;
    let name = PackageName::try_from(archive.identifier.name).map_err(|error| no_package(&error.to_string()))?;
    let mut spec = MatchSpec { name: PackageNameMatcher::Exact(name), url: Some(url), ..MatchSpec::default() };
    if let Some(digest) = fragment {
        let hex = digest.trim().trim_start_matches("sha256:").trim_start_matches("md5:");
        spec.md5 = parse_digest_from_hex::<Md5>(hex);
        spec.sha256 = parse_digest_from_hex::<Sha256>(hex);
        if spec.md5.is_none() && spec.sha256.is_none() {
            return Err(SpecError::new(
                format!("`#{digest}` is neither an md5 nor a sha256"),
                "write 32 or 64 hexadecimal digits after the `#`, or nothing",
            ));
        }
    }
    Ok(Some(spec))
}

/// Replaces all other white space by spaces: a tab, a line break in quotes, a no-break space.
fn with_blanks(text: &str) -> Cow<'_, str> {
    let is_other = |letter: char| letter.is_whitespace() && letter != ' ';
    if text.contains(is_other) { text.replace(is_other, " ").into() } else { text.into() }
}

/// Removes a comment.
fn uncommented(text: &str) -> &str {
    text.split_once('#').map_or(text, |(spec, _)| spec).trim()
}

/// Removes a condition (`numpy if __linux`), which conda ignores.
fn unconditional(text: &str) -> &str {
    text.split_once(" if ").map_or(text, |(spec, _)| spec.trim_end())
}

/// Normalizes the pairs in brackets to `key="value", …`. They may be separated by spaces (CEP-29). `name` is only
/// allowed before the brackets. `None` if they are invalid.
fn pairs(inner: &str) -> Option<String> {
    let mut pairs = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim();
        let (value, behind) = match after.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            Some(quote) => after[1..].split_once(quote)?,
            None => after.split_at(after.find([',', ' ']).unwrap_or(after.len())),
        };
        rest = behind.trim_start_matches([',', ' ']);
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)) || value.contains('"')
        {
            return None;
        }
        if key != "name" {
            pairs.push(format!("{key}=\"{value}\""));
        }
    }
    Some(pairs.join(", "))
}

/// Splits off `[…]`.
fn split_bracket(text: &str) -> Result<(String, Option<&str>), SpecError> {
    match (text.find('['), text.rfind(']')) {
        (None, None) => Ok((text.to_owned(), None)),
        (Some(open), Some(close)) if open < close && is_balanced(&text[open + 1..close]) => {
            Ok((format!("{}{}", &text[..open], &text[close + 1..]), Some(&text[open + 1..close])))
        }
        _ => Err(SpecError::new(format!("the brackets in `{text}` do not match"), SPEC_HELP)),
    }
}

/// Whether each bracket in a text, apart from quoted ones, has its counterpart: a value may be a list.
fn is_balanced(inner: &str) -> bool {
    let (mut depth, mut quote) = (0, None);
    for c in inner.chars() {
        match (quote, c) {
            (None, '[') => depth += 1,
            (None, ']') => depth -= 1,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

/// Splits off `channel::` or `channel:namespace:`. The namespace is ignored.
fn split_channel(text: &str) -> (Option<&str>, &str) {
    let mut parts = text.rsplitn(3, ':');
    let rest = parts.next().unwrap_or("");
    let _namespace = parts.next();
    (parts.next(), rest)
}

fn named(name: &str, bracket: Option<&str>, text: &str) -> Result<MatchSpec, SpecError> {
    let invalid = |reason: String| SpecError::new(format!("`{text}` is not a match spec: {reason}"), SPEC_HELP);
    if name.is_empty() {
        return Err(invalid("it names no package".into()));
    }
    let exact =
        PackageName::try_from(name).map_err(|_| invalid(format!("`{name}` cannot be the name of a package")))?;
    match bracket {
        None => Ok(MatchSpec { name: PackageNameMatcher::Exact(exact), ..MatchSpec::default() }),
        Some(inner) => bracketed(name, inner, text),
    }
}

/// Parses the pairs in brackets after a name.
fn bracketed(name: &str, inner: &str, text: &str) -> Result<MatchSpec, SpecError> {
    let options = ParseMatchSpecOptions::lenient().with_repodata_revision(RepodataRevision::V3);
    let pairs = pairs(inner);
    if pairs.as_deref() == Some("") {
        return named(name, None, text);
    }
    let spec =
        MatchSpec::from_str(&format!("{name}[{}]", pairs.as_deref().unwrap_or(inner)), options).map_err(|error| {
            // Every second part is quoted.
            let mut quoted = inner.split(['\'', '"']).skip(1).step_by(2);
            let repaired = quoted.find_map(|value| Some((value, repaired(value)?)));
            match (repaired, error.to_string().as_str()) {
                (Some((version, meant)), _) => lacks_comma(text, &text.replace(version, &meant)),
                (None, reason) if reason.starts_with("invalid bracket key: ") => {
                    let key = reason.trim_start_matches("invalid bracket key: ");
                    SpecError::new(
                        format!("`{text}` is not a match spec: packages have no `{key}` to be chosen by"),
                        KEYS_HELP,
                    )
                }
                (None, "Eof") => SpecError::new(format!("`{text}` is not a match spec: it has no version"), SPEC_HELP),
                (None, reason) => SpecError::new(format!("`{text}` is not a match spec: {reason}"), SPEC_HELP),
            }
        })?;
    match &spec.build {
        Some(StringMatcher::Exact(build)) if build.starts_with(['<', '>', '=', '!', '~']) => {
            Err(SpecError::new(format!("`{text}` is not a match spec: `{build}` is not a build string"), SPEC_HELP))
        }
        _ => Ok(spec),
    }
}

fn lacks_comma(text: &str, meant: &str) -> SpecError {
    SpecError::new(format!("`{text}` lacks a comma between two version constraints"), format!("write `{meant}`"))
}

/// A warning about `python==3.12` and `python 3.12`, which mean 3.12.0 only. For other packages, versions with two
/// numbers are common.
fn first_python(text: &str) -> Option<String> {
    let text = unconditional(uncommented(text));
    let (head, version) = text.split_once("==").or_else(|| text.split_once(' '))?;
    let (head, version) = (head.trim(), version.trim());
    let (_, name) = split_channel(head);
    let (major, minor) = version.split_once('.').filter(|_| name.eq_ignore_ascii_case("python"))?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(major) && is_number(minor))
        .then(|| format!("`{text}` means exactly {version}.0; if any {version} will do, write `{head}={version}`"))
}

/// Resolves the channel, from before the name or from the brackets.
pub(crate) fn place(
    spec: &mut MatchSpec,
    prefix: Option<&str>,
    name: &str,
    resolver: &ChannelResolver<'_>,
) -> Result<(), SpecError> {
    let in_bracket = spec.channel.take().map(|channel| {
        // The parser resolved it by its own rules. The name of the channel is the written text, unless that was a URL.
        let url = channel.base_url.as_str();
        let written = channel
            .name
            .as_deref()
            .filter(|name| url == format!("https://conda.anaconda.org/{name}/") || name.starts_with(['.', '/', '~']));
        written.unwrap_or(url).to_owned()
    });
    if let Some(text) = in_bracket.as_deref().or(prefix) {
        let (channel, subdir) = resolver.spec_channel(text, name)?;
        spec.channel = channel.map(Arc::new);
        spec.subdir = spec.subdir.take().or(subdir.map(|subdir| subdir.as_str().to_owned()));
    }
    Ok(())
}
