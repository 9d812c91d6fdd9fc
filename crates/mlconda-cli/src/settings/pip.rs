//! The indexes of pip packages, from the configuration of pip and uv: `PIP_…` and `UV_…` variables and `pip.conf`.
//!
//! The order is pip's: the files of the system, of the user, and of `PIP_CONFIG_FILE`, with the section `[install]`
//! over `[global]`; then the variables. Variables of uv have priority over those of pip.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use mlconda::{Url, pip::Indexes};

use super::Settings;

/// Options by name; the last value counts, and can be a list.
type PipOptions = BTreeMap<String, String>;

impl Settings {
    /// The indexes of pip packages.
    pub(crate) fn pip_indexes(&self) -> Indexes {
        let told = self.pip_options();
        let words =
            |name: &str| told.get(name).map(String::as_str).unwrap_or_default().split_whitespace().map(str::to_owned);
        let commas = |name: &str| words(name).flat_map(|word| word.split(',').map(str::to_owned).collect::<Vec<_>>());
        let list = |variable: &str| {
            self.variable(variable).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let named = |index: String| self.named_index(&index);
        let uv_index = self.variable("UV_DEFAULT_INDEX").or_else(|| self.variable("UV_INDEX_URL")).map(str::to_owned);
        let uv_links = self.list("UV_FIND_LINKS");
        let index = uv_index.map(named).or_else(|| words("index-url").next());
        let extra =
            list("UV_INDEX").into_iter().map(named).chain(list("UV_EXTRA_INDEX_URL")).chain(words("extra-index-url"));
        Indexes {
            index: index.map(|url| self.place(&url)),
            extra: extra.map(|url| self.place(&url)).collect(),
            find_links: uv_links
                .into_iter()
                .chain(words("find-links"))
                .map(|place| self.place(&place))
                // Images set this to directories that do not exist; pip ignores them too.
                .filter(|url| {
                    Url::parse(url).ok().and_then(|url| mlconda::files::of_url(&url)).is_none_or(|path| path.exists())
                })
                .collect(),
            no_index: is_true(self.variable("UV_NO_INDEX")) || is_true(told.get("no-index").map(String::as_str)),
            prereleases: is_true(told.get("pre").map(String::as_str)),
            no_binary: commas("no-binary").collect(),
            only_binary: commas("only-binary").collect(),
            trusted_hosts: list("UV_INSECURE_HOST").into_iter().chain(words("trusted-host")).collect(),
        }
    }

    /// Trusted certificates: the general ones, and pip's.
    pub(crate) fn pip_certificates(&self, others: Vec<PathBuf>) -> Vec<PathBuf> {
        let own =
            self.pip_options().get("cert").map(|path| self.absolute(Path::new(path))).filter(|path| path.is_file());
        let mut all: Vec<PathBuf> = Vec::new();
        others.into_iter().chain(own).for_each(|path| {
            if !all.contains(&path) {
                all.push(path)
            }
        });
        all
    }

    /// The variables that uv gets: network, logins, settings of git and compilers. Variables that would change its
    /// result (a python, a resolution strategy) are left out.
    pub(crate) fn uv_variables(&self) -> Vec<(String, String)> {
        let named = [
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "TMPDIR",
            "LANG",
            "NETRC",
            "XDG_CONFIG_HOME",
            "SSH_AUTH_SOCK",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "SSL_CLIENT_CERT",
            "UV_KEYRING_PROVIDER",
            "UV_REQUEST_TIMEOUT",
            "CC",
            "CXX",
            "CFLAGS",
            "CXXFLAGS",
            "CPPFLAGS",
            "LDFLAGS",
            "PKG_CONFIG_PATH",
            "SDKROOT",
        ];
        let begins = ["LC_", "GIT_", "UV_HTTP_", "UV_CONCURRENT_"];
        let told = |name: &str| {
            named.contains(&name)
                || begins.iter().any(|begin| name.starts_with(begin))
                || name.to_lowercase().ends_with("_proxy")
        };
        let mut variables: Vec<(String, String)> =
            self.variables.iter().filter(|(name, _)| told(name)).cloned().collect();
        let timeout = self.pip_options().remove("timeout").or_else(|| self.pip_options().remove("default-timeout"));
        if let Some(timeout) = timeout.filter(|_| self.variable("UV_HTTP_TIMEOUT").is_none()) {
            variables.push(("UV_HTTP_TIMEOUT".to_owned(), timeout));
        }
        variables
    }

    /// The uv of `MLCONDA_UV`, else the one on `PATH`.
    pub(crate) fn uv(&self) -> Option<PathBuf> {
        let told = self.variable("MLCONDA_UV").map(|path| self.absolute(Path::new(path)));
        let path = self.raw_variable("PATH").unwrap_or_default();
        let found = || std::env::split_paths(path).map(|directory| directory.join("uv")).find(|path| path.is_file());
        told.or_else(found)
    }

    /// pip's options for `install`, by their long names without dashes.
    fn pip_options(&self) -> PipOptions {
        let (mut global, mut install) = (PipOptions::new(), PipOptions::new());
        for file in self.pip_files() {
            // Unreadable files are ignored, as by pip.
            let Ok(text) = mlconda::files::read_to_string(&file, mlconda::files::LARGEST_TEXT) else { continue };
            for (section, options) in sections(&text) {
                match section.as_str() {
                    "global" => global.extend(options),
                    "install" => install.extend(options),
                    _ => {}
                }
            }
        }
        global.extend(install);
        let variables = self.variables.iter().filter(|(_, value)| !value.is_empty());
        global.extend(variables.filter_map(|(name, value)| {
            let name = name.strip_prefix("PIP_")?;
            Some((name.to_lowercase().replace('_', "-"), value.clone()))
        }));
        global
    }

    /// pip's configuration files; later ones have priority.
    fn pip_files(&self) -> Vec<PathBuf> {
        let told = self.variable("PIP_CONFIG_FILE");
        if told == Some("/dev/null") {
            return Vec::new();
        }
        let home = |place: &str| self.home.as_ref().map(|home| home.join(place));
        let system = self.variable("XDG_CONFIG_DIRS").unwrap_or("/etc/xdg");
        let mut files: Vec<PathBuf> = system
            .split(':')
            .filter(|path| !path.is_empty())
            .map(|path| Path::new(path).join("pip/pip.conf"))
            .collect();
        files.push("/etc/pip.conf".into());
        if cfg!(target_os = "macos") {
            files.push("/Library/Application Support/pip/pip.conf".into());
        }
        files.extend(home(".pip/pip.conf"));
        files.extend(home("Library/Application Support/pip/pip.conf").filter(|_| cfg!(target_os = "macos")));
        let config = self.variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home(".config"));
        files.extend(config.map(|config| config.join("pip/pip.conf")));
        files.extend(told.map(|path| self.absolute(Path::new(path))));
        files
    }

    /// The URL of an index that can have a name (`name=url`), with the login of the variables for that name.
    fn named_index(&self, index: &str) -> String {
        let is_name = |name: &str| name.bytes().all(|each| each.is_ascii_alphanumeric() || b"-_.".contains(&each));
        let Some((name, url)) = index.split_once('=').filter(|(name, _)| is_name(name)) else {
            return index.to_owned();
        };
        let variable = |what: &str| {
            let name = name.to_uppercase().replace(['-', '.'], "_");
            self.variable(&format!("UV_INDEX_{name}_{what}"))
        };
        let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
        // These only fail for URLs without a host.
        if let Some(user) = variable("USERNAME") {
            let _ = parsed.set_username(user);
        }
        if let Some(password) = variable("PASSWORD") {
            let _ = parsed.set_password(Some(password));
        }
        parsed.to_string()
    }

    /// A URL unchanged, or a path as a URL.
    fn place(&self, text: &str) -> String {
        if text.contains("://") {
            return text.to_owned();
        }
        let path = self.absolute(Path::new(text));
        Url::from_file_path(&path).map_or_else(|()| text.to_owned(), |url| url.to_string())
    }
}

fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|text| ["1", "true", "yes", "on", "y", "t"].contains(&text.to_lowercase().as_str()))
}

/// The sections of a `pip.conf`. A value can continue in indented lines.
fn sections(text: &str) -> Vec<(String, PipOptions)> {
    let mut sections: Vec<(String, PipOptions)> = Vec::new();
    let mut last: Option<String> = None;
    for line in text.lines() {
        let bare = line.trim();
        if bare.is_empty() || bare.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push((name.trim().to_lowercase(), PipOptions::new()));
            last = None;
            continue;
        }
        let Some((_, options)) = sections.last_mut() else { continue };
        match (&last, line.starts_with([' ', '\t']), bare.split_once(['=', ':'])) {
            (Some(name), true, _) => {
                let value = options.entry(name.clone()).or_default();
                value.push('\n');
                value.push_str(bare);
            }
            (_, _, Some((name, value))) => {
                let name = name.trim().to_lowercase().replace('_', "-");
                options.insert(name.clone(), value.trim().to_owned());
                last = Some(name);
            }
            _ => {}
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings of a home with this `pip.conf`, and these variables.
    fn settings(home: &Path, text: &str, variables: &[(&str, &str)]) -> Settings {
        fs_err::create_dir_all(home.join(".config/pip")).unwrap();
        fs_err::write(home.join(".config/pip/pip.conf"), text).unwrap();
        Settings {
            custom_channels: Default::default(),
            channel_urls: Default::default(),
            directory: home.to_owned(),
            home: Some(home.to_owned()),
            root_prefix: home.join("root"),
            shared_root: None,
            more_environments: Vec::new(),
            program: None,
            cache_directory: None,
            variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            raw_variables: Vec::new(),
        }
    }

    const FILE: &str = "; a comment\n[global]\nindex-url = https://file/simple\nextra_index_url: https://one/simple\n    https://two/simple\n\
                        [install]\ntrusted-host = one two\nno-binary = a,b c\npre = yes\n[list]\nindex-url = https://not/this\n";

    #[test]
    fn pips_file_counts_and_its_variables_count_more() {
        let home = tempfile::tempdir().unwrap();
        let indexes = settings(home.path(), FILE, &[("XDG_CONFIG_DIRS", "/none")]).pip_indexes();
        assert_eq!(indexes.index.as_deref(), Some("https://file/simple"));
        assert_eq!(indexes.extra, ["https://one/simple", "https://two/simple"]);
        assert_eq!(indexes.trusted_hosts, ["one", "two"]);
        assert_eq!(indexes.no_binary, ["a", "b", "c"]);
        assert!(indexes.prereleases && !indexes.no_index);
        let variables = [
            ("PIP_INDEX_URL", "https://variable/simple"),
            ("PIP_EXTRA_INDEX_URL", "https://three"),
            ("PIP_NO_INDEX", "1"),
        ];
        let indexes = settings(home.path(), FILE, &variables).pip_indexes();
        assert_eq!(indexes.index.as_deref(), Some("https://variable/simple"));
        assert_eq!(indexes.extra, ["https://three"]);
        assert!(indexes.no_index);
        assert_eq!(settings(home.path(), FILE, &[("PIP_CONFIG_FILE", "/dev/null")]).pip_indexes(), Indexes::default());
    }

    #[test]
    fn uvs_variables_count_most_and_name_logins() {
        let home = tempfile::tempdir().unwrap();
        let variables = [
            ("UV_INDEX", "my-lab=https://lab/simple https://two/simple"),
            ("UV_INDEX_MY_LAB_USERNAME", "me"),
            ("UV_INDEX_MY_LAB_PASSWORD", "p w"),
            ("UV_DEFAULT_INDEX", "https://uv/simple"),
            ("UV_FIND_LINKS", "/none,."),
            ("UV_PYTHON", "3.8"),
            ("HTTPS_PROXY", "http://proxy"),
            ("PIP_TIMEOUT", "60"),
        ];
        let settings = settings(home.path(), FILE, &variables);
        let indexes = settings.pip_indexes();
        assert_eq!(indexes.index.as_deref(), Some("https://uv/simple"));
        assert_eq!(indexes.extra[..2], ["https://me:p%20w@lab/simple", "https://two/simple"]);
        assert_eq!(indexes.find_links, [format!("file://{}", home.path().display())]);
        let told = [("HTTPS_PROXY", "http://proxy"), ("UV_HTTP_TIMEOUT", "60")];
        assert_eq!(settings.uv_variables(), told.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
