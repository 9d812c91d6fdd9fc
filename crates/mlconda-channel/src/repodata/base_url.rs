//! Joins the base URL of a subdir with file names. Each record has such a URL, and a lock makes some hundred thousand
//! of them, so usual names take a fast path.

use url::Url;

/// The URL below which the files of a subdir are.
#[derive(Clone, Debug)]
pub(super) struct BaseUrl {
    url: Url,
    /// Whether the fast path is possible: the URL has a path that ends with a slash, and no query or fragment.
    is_directory: bool,
}

/// Whether a file name needs no encoding in a URL.
fn is_plain(file: &str) -> bool {
    file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+!~".contains(&byte)) && !file.starts_with('.')
}

impl BaseUrl {
    pub(super) fn new(url: Url) -> Self {
        // For the path `//`, the library would remove a slash that belongs to the path.
        let is_directory = url.path().ends_with('/') && url.path() != "//" && !url.cannot_be_a_base();
        Self { is_directory: is_directory && url.query().is_none() && url.fragment().is_none(), url }
    }

    pub(super) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The URL of a file, equal to that of [`Url::join`].
    pub(super) fn join(&self, file: &str) -> Option<Url> {
        if file.is_empty() || !self.is_directory || !is_plain(file) {
            return self.url.join(file).ok();
        }
        let mut url = self.url.clone();
        url.path_segments_mut().ok()?.pop_if_empty().push(file);
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const BASES: [&str; 15] = [
        "https://conda.anaconda.org/conda-forge/linux-64/",
        "http://127.0.0.1:8080/c/noarch/",
        "https://[::1]/noarch/",
        "https://user:password@example.org:4443/t/token/c%20d/noarch/",
        "file:///srv/channel/noarch/",
        "https://example.org/",
        "https://example.org/a?token=b",
        "https://example.org/a/?b#c",
        "https://example.org/a",
        "oci://registry.example/channel-mirrors/conda-forge/noarch/",
        "https://example.org//",
        "https://example.org/a//",
        "x:/",
        "x:/.//",
        "file:///C:/",
    ];

    #[test]
    fn usual_files_need_no_parser() {
        for base in &BASES[..6] {
            assert!(BaseUrl::new(base.parse().unwrap()).is_directory, "{base}");
        }
        assert!(is_plain("libstdcxx-ng-1!2.0_rc1+local-h0~1.conda"));
    }

    proptest! {
        #[test]
        fn a_file_has_the_url_that_the_library_joins(
            base in prop::sample::select(BASES.to_vec()),
            file in r"[a-zA-Z0-9._+!~-]{0,12}|[ -~é\t]{0,6}|\.{0,3}|[a-z]:/?",
        ) {
            let base: Url = base.parse().unwrap();
            let (ours, theirs) = (BaseUrl::new(base.clone()).join(&file), base.join(&file).ok());
            // Compares all fields of the URLs, not only their text.
            prop_assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
            prop_assert_eq!(ours.map(|url| serde_parts(&url)), theirs.map(|url| serde_parts(&url)));
        }
    }

    fn serde_parts(url: &Url) -> Value {
        url.serialize_internal(serde_json::value::Serializer).unwrap()
    }
}
