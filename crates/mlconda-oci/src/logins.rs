//! Reads the logins of registries that docker and podman have stored. They are never written or shown.
//!
//! The caller passes the paths of the files, and the variables for credential helpers (`docker-credential-NAME`). A
//! helper is run only when a registry asks for a login.

use std::{
    collections::HashMap,
    ffi::OsString,
    fmt,
    io::{ErrorKind, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use mlconda_system::{files, process::ChildGroup};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, oneshot};

use crate::{OciError, Reference, json};

/// The time limit for a credential helper.
const HELPER_TIME: Duration = Duration::from_secs(60);

/// The largest output of a credential helper, in bytes.
const LARGEST_ANSWER: u64 = 1 << 20;

/// The sources of logins.
#[derive(Clone, Default)]
pub struct LoginOptions {
    /// Files in the format of docker's `config.json` and of podman's `auth.json`. The first file with a login for a
    /// registry is used. Missing files are skipped.
    pub files: Vec<PathBuf>,
    /// The environment variables for credential helpers. They are searched in its `PATH`.
    pub variables: Vec<(OsString, OsString)>,
}

impl fmt::Debug for LoginOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The values of variables may be secrets.
        formatter.debug_struct("LoginOptions").field("files", &self.files).finish_non_exhaustive()
    }
}

/// A login.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Login {
    /// A user and a password.
    Password(String, String),
    /// A token that a token service exchanges for other tokens (OAuth 2 refresh token).
    Identity(String),
    /// A token that is sent to the registry itself.
    Registry(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All values are secrets.
        formatter.write_str("Login")
    }
}

/// The result of looking for a login.
#[derive(Clone, Default)]
pub(crate) struct Found {
    pub(crate) login: Option<Login>,
    /// Why a credential helper returned no login.
    pub(crate) trouble: Option<String>,
}

/// The answers of credential helpers, by helper and server. So each helper is asked only once per server, even for many
/// repositories.
pub(crate) type Helpers = Mutex<HashMap<String, Result<Option<Login>, String>>>;

impl LoginOptions {
    /// Finds the login for a repository.
    pub(crate) async fn find(&self, reference: &Reference, helpers: &Helpers) -> Result<Found, OciError> {
        let mut found = Found::default();
        for path in &self.files {
            let text = match files::read(path, files::LARGEST_TEXT) {
                Ok(text) => text,
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                Err(error) => return Err(error.into()),
            };
            // An empty file, as `touch` creates it, contains no logins.
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let Ok(Value::Object(file)) = serde_json::from_slice(&text) else {
                let reason = "it is not a JSON object".to_owned();
                return Err(OciError::Logins { path: path.display().to_string(), reason });
            };
            self.find_in(&file, reference, helpers, &mut found).await;
            if found.login.is_some() {
                break;
            }
        }
        Ok(found)
    }

    async fn find_in(&self, file: &Map<String, Value>, reference: &Reference, helpers: &Helpers, found: &mut Found) {
        let keys = keys(reference);
        let told = file.get("credHelpers").and_then(Value::as_object);
        let named = |map: &Map<String, Value>| keys.iter().find_map(|key| entry(map, key).cloned());
        let helper = told.and_then(named).or_else(|| file.get("credsStore").cloned());
        let helper = helper.as_ref().and_then(Value::as_str).filter(|name| !name.is_empty());
        if let Some(name) = helper {
            let server = server_of(reference);
            let mut helpers = helpers.lock().await;
            let key = format!("{name} {server}");
            let known = helpers.get(&key).cloned();
            let answer = match known {
                Some(answer) => answer,
                None => self.ask_helper(name, server).await,
            };
            helpers.insert(key, answer.clone());
            match answer {
                Ok(login) => found.login = login,
                Err(reason) => found.trouble = Some(format!("`docker-credential-{name}` {reason}")),
            }
        }
        if found.login.is_none() {
            let stored = file.get("auths").and_then(Value::as_object);
            // If a helper stores the logins, docker leaves empty entries in the file.
            found.login = stored.and_then(|map| keys.iter().find_map(|key| stored_login(entry(map, key)?)));
        }
    }

    /// Runs `docker-credential-NAME get`. `None` if the helper has no login for the server.
    async fn ask_helper(&self, name: &str, server: &str) -> Result<Option<Login>, String> {
        let program = self.program(&format!("docker-credential-{name}")).ok_or("is not there")?;
        let mut command = Command::new(program);
        command.arg("get").env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("cannot be run ({error})"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let group = ChildGroup::new(child);
        let (mut question, answer) = pipes.ok_or("has no pipes")?;
        let (sender, receiver) = oneshot::channel();
        let server = server.to_owned();
        let talk = move || {
            // A helper that reads no input may have ended already.
            let _ = question.write_all(server.as_bytes());
            drop(question);
            let mut bytes = Vec::new();
            let read = answer.take(LARGEST_ANSWER).read_to_end(&mut bytes);
            let _ = sender.send(read.map(|_| bytes));
        };
        std::thread::Builder::new().spawn(talk).map_err(|error| format!("cannot be run ({error})"))?;
        let ended = async { (group.wait().await, receiver.await) };
        match tokio::time::timeout(HELPER_TIME, ended).await {
            Err(_) => Err(format!("has not answered within {} s", HELPER_TIME.as_secs())),
            Ok((Ok(status), Ok(Ok(answer)))) if status.success() => {
                helper_login(&answer).map(Some).ok_or_else(|| "answers no login".to_owned())
            }
            // All helpers use the same message if they have no login.
            Ok((Ok(_), Ok(Ok(answer)))) if is_not_found(&answer) => Ok(None),
            Ok((Ok(status), _)) => Err(format!("has failed ({status})")),
            Ok((Err(error), _)) => Err(format!("cannot be run ({error})")),
        }
    }

    /// Finds a program in `PATH`.
    fn program(&self, name: &str) -> Option<PathBuf> {
        // A name with a slash would be a path.
        let name = Some(name).filter(|name| !name.contains('/'))?;
        let (_, path) = self.variables.iter().find(|(key, _)| key == "PATH")?;
        std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(name))
            .find(|path| path.is_file())
    }
}

/// The possible keys of a login, the most specific first. podman has logins for parts of a registry.
fn keys(reference: &Reference) -> Vec<String> {
    let mut keys = vec![reference.name()];
    while let Some(slash) = keys[keys.len() - 1].rfind('/') {
        let parent = keys[keys.len() - 1][..slash].to_owned();
        keys.push(parent);
    }
    if reference.registry == "docker.io" {
        keys.extend(["index.docker.io", "registry-1.docker.io"].map(str::to_owned));
    }
    keys
}

/// The name of a registry for helpers, as docker gives it.
fn server_of(reference: &Reference) -> &str {
    if reference.registry == "docker.io" { "https://index.docker.io/v1/" } else { &reference.registry }
}

/// The entry for a key. Old files have URLs as keys (`https://index.docker.io/v1/`), and only the host is compared.
fn entry<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let host_of = |name: &str| {
        let rest = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://"))?;
        Some(rest.split('/').next().unwrap_or_default().to_owned())
    };
    map.get(key).or_else(|| map.iter().find(|(name, _)| host_of(name).as_deref() == Some(key)).map(|(_, value)| value))
}

/// Parses an entry of `auths`.
fn stored_login(value: &Value) -> Option<Login> {
    let text = |key: &str| value.get(key)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(token) = text("identitytoken") {
        return Some(Login::Identity(token));
    }
    if let Some(token) = text("registrytoken") {
        return Some(Login::Registry(token));
    }
    if let Some(auth) = text("auth") {
        let pair = String::from_utf8(BASE64_STANDARD.decode(auth.trim()).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        return Some(Login::Password(user.to_owned(), password.trim_end_matches('\0').to_owned()));
    }
    Some(Login::Password(text("username")?, text("password")?))
}

/// Parses the output of a helper. The user name `<token>` means that the secret is an identity token.
fn helper_login(answer: &[u8]) -> Option<Login> {
    let Value::Object(answer) = serde_json::from_slice(answer).ok()? else { return None };
    let secret = json::text(&answer, "Secret")?;
    Some(match json::text(&answer, "Username")?.as_str() {
        "<token>" => Login::Identity(secret),
        user => Login::Password(user.to_owned(), secret),
    })
}

fn is_not_found(answer: &[u8]) -> bool {
    String::from_utf8_lossy(answer).contains("credentials not found")
}

/// The files in which docker and podman store logins, in order of precedence. `auth_file` is `$REGISTRY_AUTH_FILE`; if
/// given, it is the only file. The directories are `$XDG_RUNTIME_DIR`, `~/.config`, and `$DOCKER_CONFIG` or
/// `~/.docker`.
pub fn login_files(
    auth_file: Option<&Path>,
    runtime_directory: Option<&Path>,
    config_directory: Option<&Path>,
    docker_directory: Option<&Path>,
) -> Vec<PathBuf> {
    if let Some(file) = auth_file {
        return vec![file.to_owned()];
    }
    let containers = |directory: &Path| directory.join("containers/auth.json");
    let podman = [runtime_directory.map(containers), config_directory.map(containers)];
    podman.into_iter().flatten().chain(docker_directory.map(|directory| directory.join("config.json"))).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct World(tempfile::TempDir, LoginOptions);

    impl World {
        fn new(files: &[&str]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = |index: usize| directory.path().join(format!("{index}.json"));
            files.iter().enumerate().for_each(|(index, text)| fs_err::write(path(index), text).unwrap());
            let bin = directory.path().as_os_str().to_owned();
            // The last file is missing, which is not an error.
            let files = (0..=files.len()).map(path).collect();
            Self(directory, LoginOptions { files, variables: vec![("PATH".into(), bin)] })
        }

        fn helper(&self, name: &str, script: &str) {
            let path = self.0.path().join(format!("docker-credential-{name}"));
            fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn login(&self, reference: &str) -> String {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let found = runtime.block_on(self.1.find(&reference.parse().unwrap(), &Helpers::default()));
            match found {
                Err(error) => error.to_string(),
                Ok(Found { login: Some(Login::Password(user, password)), .. }) => format!("{user}:{password}"),
                Ok(Found { login: Some(Login::Identity(token)), .. }) => format!("identity {token}"),
                Ok(Found { login: Some(Login::Registry(token)), .. }) => format!("registry {token}"),
                Ok(Found { trouble, .. }) => trouble.unwrap_or_default(),
            }
        }
    }

    #[test]
    fn logins_in_files_of_docker_and_podman_are_found() {
        let world = World::new(&[
            r#"{"auths": {"quay.io/me": {"auth": "bWU6cHc="}, "quay.io": {"auth": "YWxsOng6eQ=="}}}"#,
            r#"{"auths": {"https://index.docker.io/v1/": {"auth": "aHViOnB3"}, "quay.io": {"auth": "bm86bm8="},
                "token.io": {"auth": "MDA6", "identitytoken": "it"}, "r.io:5000": {"registrytoken": "rt"},
                "plain.io": {"username": "u", "password": "p"}, "broken.io": {"auth": "%%"}}}"#,
            " ",
        ]);
        assert_eq!(world.login("quay.io/me/app"), "me:pw");
        assert_eq!(world.login("quay.io/you/app"), "all:x:y");
        assert_eq!(world.login("debian"), "hub:pw");
        assert_eq!(world.login("token.io/x"), "identity it");
        assert_eq!(world.login("r.io:5000/x"), "registry rt");
        assert_eq!(world.login("r.io/x"), "");
        assert_eq!(world.login("plain.io/x"), "u:p");
        assert_eq!(world.login("broken.io/x"), "");
        let broken = World::new(&["{\"auths\": {\"secret"]);
        let error = broken.login("quay.io/x");
        assert!(error.ends_with("0.json` cannot be read: it is not a JSON object"), "{error}");
    }

    #[test]
    fn credential_helpers_are_asked() {
        let world = World::new(&[r#"{"credHelpers": {"one.io": "one", "none.io": "none", "gone.io": "gone"},
            "credsStore": "all", "auths": {"none.io": {}, "fails.io": {"auth": "bWU6cHc="}}}"#]);
        world.helper(
            "one",
            r#"read server; echo "{\"ServerURL\": \"$server\", \"Username\": \"$1 $server\", \"Secret\": \"s\"}""#,
        );
        world.helper("none", "echo credentials not found in native keychain; exit 1");
        world.helper(
            "all",
            r#"read server; case $server in fails.io) exit 3;; esac; echo '{"Username": "<token>", "Secret": "it"}'"#,
        );
        assert_eq!(world.login("one.io/x"), "get one.io:s");
        assert_eq!(world.login("none.io/x"), "");
        assert_eq!(world.login("gone.io/x"), "`docker-credential-gone` is not there");
        assert_eq!(world.login("other.io/x"), "identity it");
        assert_eq!(world.login("fails.io/x"), "me:pw");
    }

    #[test]
    fn the_files_of_podman_come_before_that_of_docker() {
        let [run, config, docker] = ["/run/1", "/h/.config", "/h/.docker"].map(Path::new);
        let files = login_files(None, Some(run), Some(config), Some(docker));
        let expected = ["/run/1/containers/auth.json", "/h/.config/containers/auth.json", "/h/.docker/config.json"];
        assert_eq!(files, expected.map(PathBuf::from));
        assert_eq!(login_files(Some(Path::new("/a.json")), Some(run), None, None), [PathBuf::from("/a.json")]);
    }
}
