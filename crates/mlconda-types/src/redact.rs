//! Removes secrets from URLs and texts. Messages, locks and records show only texts from here.

use url::Url;

/// The text in place of a secret.
pub const MASK: &str = "********";

/// A URL without its secrets: user and password, the token in `/t/TOKEN/`, and the query, which may contain signatures
/// of storage services.
pub fn url(url: &Url) -> String {
    let mut shown = url.clone();
    if !url.username().is_empty() || url.password().is_some() {
        // Both calls fail if the URL cannot have a user. Then there is no secret.
        let _ = shown.set_username(MASK);
        let _ = shown.set_password(None);
    }
    let mut segments: Vec<&str> = url.path().split('/').collect();
    if let Some(index) = token_index(url, &segments) {
        segments[index] = MASK;
    }
    shown.set_path(&segments.join("/"));
    shown.set_query(url.query().map(|_| MASK));
    shown.to_string()
}

/// A line of a file, without the tokens in its URLs. Variables in the place of a token are kept.
pub fn without_tokens(line: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(line.len()), line);
    while let Some(start) = rest.find("/t/") {
        let (before, behind) = rest.split_at(start + 3);
        shown.push_str(before);
        let ends = |each: char| each.is_whitespace() || "/?#`'\"<>,])".contains(each);
        let (token, after) = behind.split_at(behind.find(ends).unwrap_or(behind.len()));
        let is_url = shown.rsplit_once("://").is_some_and(|(scheme, _)| !scheme.ends_with("file"));
        let is_token = is_url && after.starts_with('/') && !token.is_empty() && !token.starts_with("${");
        shown.push_str(if is_token { MASK } else { token });
        rest = after;
    }
    shown + rest
}

/// The index of the path segment that is a token: the one after `/t/`.
pub fn token_index(url: &Url, segments: &[&str]) -> Option<usize> {
    let index = segments.iter().position(|segment| *segment == "t")? + 1;
    // A token is always followed by a channel.
    (url.scheme() != "file" && index + 1 < segments.len()).then_some(index)
}

/// The secrets of a URL, percent-encoded as in the URL: user and password, and the token of `/t/TOKEN/`.
pub fn secrets(url: &Url) -> Vec<&str> {
    let user = Some(url.username()).filter(|user| !user.is_empty());
    let segments: Vec<&str> = url.path().split('/').collect();
    let token = token_index(url, &segments).map(|index| segments[index]);
    [user, url.password(), token].into_iter().flatten().collect()
}

/// A text without the logins in its URLs. Variables in the place of a login are kept.
pub fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        shown.push_str(before);
        let end = after.find(|each: char| "/?#`'\"<>,)".contains(each) || each.is_whitespace()).unwrap_or(after.len());
        let authority = &after[..end];
        rest = &after[end..];
        match authority.rsplit_once('@') {
            Some((login, host)) if !is_public(login) => shown.push_str(&format!("{}@{host}", MASK)),
            _ => shown.push_str(authority),
        }
    }
    shown + rest
}

/// Whether a login is not secret: it consists of variables, or is the usual user of git servers.
fn is_public(login: &str) -> bool {
    let is_variable = |part: &str| part.is_empty() || part.starts_with("${") && part.ends_with('}');
    login == "git" || login.split(':').all(is_variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_not_shown() {
        let line = "fetch `https://me:pw@h/s`, git+ssh://git@h/a, http://${U}:${P}@h and https://tok@h:80.";
        let shown = "fetch `https://********@h/s`, git+ssh://git@h/a, http://${U}:${P}@h and https://********@h:80.";
        assert_eq!(text(line), shown);
    }
}
