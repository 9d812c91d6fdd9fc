//! The `pip:` list: what pip would install on top of the conda packages of a lock, pinned.
//!
//! Installing needs only [`tags`].

pub(crate) mod grammar;
#[allow(dead_code, reason = "for now")]
mod names;
pub(crate) mod requirements;
#[allow(dead_code, reason = "locking and installing come one after the other")]
pub(crate) mod tags;
#[allow(dead_code, reason = "for now")]
mod toml;

pub use requirements::PipFile;

/// Where packages are looked for, as pip's options have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// The index (PEP 503), a URL; PyPI if there is none (`--index-url`).
    pub index: Option<String>,
    /// Further indexes (`--extra-index-url`).
    pub extra: Vec<String>,
    /// Pages and directories that name archives, as URLs (`--find-links`).
    pub find_links: Vec<String>,
    /// Whether no index is asked (`--no-index`).
    pub no_index: bool,
    /// Whether versions before the final ones count as others (`--pre`).
    pub prereleases: bool,
    /// What is to be built, not taken as a wheel: names, or `:all:` or `:none:` (`--no-binary`).
    pub no_binary: Vec<String>,
    /// What is to be taken as a wheel, not built (`--only-binary`).
    pub only_binary: Vec<String>,
    /// Hosts whose certificates are not checked, with their ports where they have one (`--trusted-host`).
    pub trusted_hosts: Vec<String>,
}

/// A text without the logins of the URLs in it. Variables, which stand for secrets, stay.
pub(crate) fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        shown.push_str(before);
        let end = after.find(|each: char| "/?#`'\"<>,)".contains(each) || each.is_whitespace()).unwrap_or(after.len());
        let authority = &after[..end];
        rest = &after[end..];
        match authority.rsplit_once('@') {
            Some((login, host)) if !is_public(login) => shown.push_str(&format!("{}@{host}", crate::network::MASK)),
            _ => shown.push_str(authority),
        }
    }
    shown + rest
}

/// Whether a login tells nothing: it is made of variables, or is the user that every git server has.
fn is_public(login: &str) -> bool {
    let is_variable = |part: &str| part.is_empty() || part.starts_with("${") && part.ends_with('}');
    login == "git" || login.split(':').all(is_variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_not_shown() {
        let text = "fetch `https://me:pw@h/s`, git+ssh://git@h/a, http://${U}:${P}@h and https://tok@h:80.";
        let shown = "fetch `https://********@h/s`, git+ssh://git@h/a, http://${U}:${P}@h and https://********@h:80.";
        assert_eq!(redacted(text), shown);
    }
}
