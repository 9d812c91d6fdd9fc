//! The URLs of the files of a subdir. Each record has one, and a lock makes some hundred thousand of them.

use url::Url;

/// The URL below which the files of a subdir are.
#[derive(Clone, Debug)]
pub(super) struct BaseUrl {
    url: Url,
    /// Whether it is nothing but a path that ends with a slash, behind a host or a scheme, and a segment can be added.
    is_directory: bool,
}

/// Whether the name of a file stands in a URL as it is.
fn is_plain(file: &str) -> bool {
    file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+!~".contains(&byte)) && !file.starts_with('.')
}

impl BaseUrl {
    pub(super) fn new(url: Url) -> Self {
        // Of `//`, the library takes away a slash that belongs to the path.
        let is_directory = url.path().ends_with('/') && url.path() != "//" && !url.cannot_be_a_base();
        Self { is_directory: is_directory && url.query().is_none() && url.fragment().is_none(), url }
    }

    pub(super) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The URL of a file, as [`Url::join`] makes it.
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
            // All that it knows, not its text alone.
            prop_assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
            prop_assert_eq!(ours.map(|url| serde_parts(&url)), theirs.map(|url| serde_parts(&url)));
        }
    }

    fn serde_parts(url: &Url) -> Value {
        url.serialize_internal(serde_json::value::Serializer).unwrap()
    }
}
