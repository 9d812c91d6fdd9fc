//! Environment variables in the URLs of locks: expanded when a lock is read, and restored when it is written.

use std::path::Path;

use mlconda_types::redact;
use url::Url;

use super::Expansion;

/// The URL of an absolute path. `..` is resolved in the text, as when the URL is read again.
pub(super) fn file_url(path: &Path) -> Option<Url> {
    let url = Url::from_file_path(path).ok()?;
    Url::parse(url.as_str()).ok()
}

/// Refuses a `file` URL with a host (RFC 8089): files are on this machine, and not every parser keeps the host.
pub(super) fn without_host(url: Url) -> Result<Url, String> {
    if url.scheme() == "file" && url.has_host() {
        return Err("its URL names a host, but files are on this machine: `file:///PATH`".to_owned());
    }
    Ok(url)
}

/// A URL in which secrets are replaced by `${NAME}` if a variable has their value.
pub(super) fn address(url: &Url, expansions: &[(String, String)]) -> String {
    let mut text = url.to_string();
    for secret in redact::secrets(url) {
        let Some(name) = variable(secret, expansions) else { continue };
        // In other places of the URL, the same text has another meaning.
        let places: &[(&str, &str)] = match Some(secret) {
            _ if secret == url.username() => &[("://", ":"), ("://", "@"), (":", "@"), ("/t/", "/")],
            password if password == url.password() => &[(":", "@"), ("/t/", "/")],
            _ => &[("/t/", "/")],
        };
        for (before, after) in places {
            let shown = format!("{before}{secret}{after}");
            text = text.replacen(&shown, &format!("{before}${{{name}}}{after}"), 1);
        }
    }
    text
}

/// A URL in which secrets are replaced by `${NAME}` if a variable has their value. Other user names and passwords are
/// removed, other tokens stay.
pub(super) fn address_without_login(url: &Url, expansions: &[(String, String)]) -> String {
    let mut url = url.clone();
    let unknown = |secret: &str| !secret.is_empty() && variable(secret, expansions).is_none();
    if url.password().is_some_and(unknown) || (url.password().is_none() && unknown(url.username())) {
        // These only fail for URLs that cannot have a login.
        let _ = url.set_password(None);
        let _ = url.set_username("");
    }
    address(&url, expansions)
}

/// The name of the variable whose value is a secret.
pub(super) fn variable<'a>(secret: &str, expansions: &'a [(String, String)]) -> Option<&'a str> {
    let plain = super::decode(secret).ok();
    let stands = |value: &str| !value.is_empty() && (value == secret || Some(value) == plain.as_deref());
    expansions.iter().find(|(_, value)| stands(value)).map(|(name, _)| name.as_str())
}

/// Expands a leading `~/`, and `$NAME` and `${NAME}`.
pub(super) fn expand(text: &str, expansion: &Expansion) -> Result<String, String> {
    let (mut result, mut rest) = match (text.strip_prefix("~/"), &expansion.home) {
        (Some(rest), Some(home)) => (format!("{}/", home.display()), rest),
        _ => (String::new(), text),
    };
    while let Some(start) = rest.find('$') {
        result.push_str(&rest[..start]);
        let tail = &rest[start + 1..];
        let (name, after) = match tail.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(found) => found,
            None => {
                let word = |each: char| !(each.is_ascii_alphanumeric() || each == '_');
                tail.split_at(tail.find(word).unwrap_or(tail.len()))
            }
        };
        let value = expansion.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        result.push_str(value.ok_or_else(|| format!("the environment variable `{name}` is not set"))?);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}
