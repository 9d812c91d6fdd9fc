//! The config of an image (image spec, `config.md`): the command of a container, and its surroundings. Unknown fields
//! of a base's config are kept.

use serde_json::{Map, Value};

use crate::{Digest, OciError, Platform, json};

/// The config of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config(Map<String, Value>);

/// An entry of the history, which describes a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerHistory {
    /// The command that made the layer.
    pub created_by: String,
    /// The time of the layer (RFC 3339).
    pub created: Option<String>,
    /// A comment.
    pub comment: Option<String>,
}

impl LayerHistory {
    /// The history entry of a layer that was made by this command.
    pub fn new(created_by: &str) -> Self {
        Self { created_by: created_by.to_owned(), ..Self::default() }
    }
}

impl Config {
    /// The config of an image without layers.
    pub fn new(platform: &Platform) -> Self {
        let mut config = Self(platform.to_json());
        config.0.insert("config".to_owned(), Value::Object(Map::new()));
        let rootfs = json::object([("type", Some("layers".into())), ("diff_ids", Some(Value::Array(Vec::new())))]);
        config.0.insert("rootfs".to_owned(), Value::Object(rootfs));
        config.0.insert("history".to_owned(), Value::Array(Vec::new()));
        config
    }

    /// Parses a config. `what` is its name in messages.
    ///
    /// # Errors
    /// If it is not a JSON object with a platform and diff ids.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Self, OciError> {
        let config = Self(json::parse_object(bytes, what)?);
        let named = |error: OciError| match error {
            OciError::Invalid { reason, .. } => OciError::invalid(what, reason),
            error => error,
        };
        config.platform().map_err(named)?;
        config.diff_ids().map_err(named)?;
        Ok(config)
    }

    /// The config as JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        Value::Object(self.0.clone()).to_string().into_bytes()
    }

    /// The platform of the image.
    ///
    /// # Errors
    /// If the config names no platform.
    pub fn platform(&self) -> Result<Platform, OciError> {
        Platform::from_json(&self.0).ok_or_else(|| OciError::invalid("the config", "it names no platform"))
    }

    /// The digests of the uncompressed layers (diff ids), the lowest layer first.
    ///
    /// # Errors
    /// If the list is missing, or an item is not a digest.
    pub fn diff_ids(&self) -> Result<Vec<Digest>, OciError> {
        let rootfs = self.0.get("rootfs").and_then(Value::as_object);
        let Some(Value::Array(ids)) = rootfs.and_then(|rootfs| rootfs.get("diff_ids")) else {
            // An image without layers may lack the list.
            return match rootfs {
                Some(rootfs) if rootfs.get("diff_ids").is_none_or(Value::is_null) => Ok(Vec::new()),
                _ => Err(OciError::invalid("the config", "it has no `rootfs`")),
            };
        };
        ids.iter().map(|id| id.as_str().unwrap_or_default().parse()).collect()
    }

    /// Adds a layer on top: its diff id, and its history entry.
    pub fn add_layer(&mut self, diff_id: &Digest, history: &LayerHistory) {
        self.array("rootfs", Some("diff_ids")).push(diff_id.to_string().into());
        let some = |text: &Option<String>| text.clone().map(Value::String);
        let entry = json::object([
            ("created", some(&history.created)),
            ("created_by", Some(history.created_by.clone().into())),
            ("comment", some(&history.comment)),
        ]);
        self.array("history", None).push(Value::Object(entry));
    }

    /// The commands that made the layers, in order, from the history. There may be more or fewer of them than layers.
    pub fn commands(&self) -> Vec<String> {
        let Some(Value::Array(history)) = self.0.get("history") else { return Vec::new() };
        let has_layer = |entry: &&Value| !entry["empty_layer"].as_bool().unwrap_or(false);
        history
            .iter()
            .filter(has_layer)
            .map(|entry| entry["created_by"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Sets the time of the image (RFC 3339).
    pub fn set_created(&mut self, time: &str) {
        self.0.insert("created".to_owned(), time.into());
    }

    /// The environment variables (`NAME=value`), in order.
    pub fn variables(&self) -> Vec<String> {
        self.0.get("config").and_then(Value::as_object).map_or_else(Vec::new, |config| json::list(config, "Env"))
    }

    /// The value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<String> {
        let value =
            |line: &String| line.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
        self.variables().iter().find_map(value)
    }

    /// Sets an environment variable. An existing one keeps its position.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        let mut variables = self.variables();
        let line = format!("{name}={value}");
        match variables.iter_mut().find(|line| line.split('=').next() == Some(name)) {
            Some(old) => *old = line,
            None => variables.push(line),
        }
        self.set("Env", json::from_list(&variables));
    }

    /// The entry point, as words.
    pub fn entrypoint(&self) -> Vec<String> {
        self.0.get("config").and_then(Value::as_object).map_or_else(Vec::new, |config| json::list(config, "Entrypoint"))
    }

    /// Sets the entry point. As in a Dockerfile, this removes the base's command, which was for the base's entry point.
    pub fn set_entrypoint(&mut self, words: &[String]) {
        self.set("Entrypoint", json::from_list(words));
        self.run().remove("Cmd");
    }

    /// The command, as words.
    pub fn command(&self) -> Vec<String> {
        self.0.get("config").and_then(Value::as_object).map_or_else(Vec::new, |config| json::list(config, "Cmd"))
    }

    /// Sets the command.
    pub fn set_command(&mut self, words: &[String]) {
        self.set("Cmd", json::from_list(words));
    }

    /// Sets the working directory of a container.
    pub fn set_working_directory(&mut self, path: &str) {
        self.set("WorkingDir", path.into());
    }

    /// Sets the user (`name`, `uid`, `uid:gid`).
    pub fn set_user(&mut self, user: &str) {
        self.set("User", user.into());
    }

    /// Sets a label.
    pub fn set_label(&mut self, name: &str, value: &str) {
        self.inner("Labels").insert(name.to_owned(), value.into());
    }

    /// Declares a port (`8888/tcp`) that the program in the container listens on.
    pub fn expose(&mut self, port: &str) {
        self.inner("ExposedPorts").insert(port.to_owned(), Value::Object(Map::new()));
    }

    fn set(&mut self, key: &str, value: Value) {
        self.run().insert(key.to_owned(), value);
    }

    /// The field `config`, which contains the options of containers.
    fn run(&mut self) -> &mut Map<String, Value> {
        object(&mut self.0, "config")
    }

    fn inner(&mut self, key: &str) -> &mut Map<String, Value> {
        object(self.run(), key)
    }

    fn array(&mut self, key: &str, inside: Option<&str>) -> &mut Vec<Value> {
        let (map, key) = match inside {
            Some(inside) => (object(&mut self.0, key), inside),
            None => (&mut self.0, key),
        };
        let value = map.entry(key).or_insert(Value::Null);
        if !value.is_array() {
            *value = Value::Array(Vec::new());
        }
        match value {
            Value::Array(items) => items,
            _ => unreachable!("it was just made an array"),
        }
    }
}

/// The object under a key. If it is missing or `null`, it is created.
fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(key).or_insert(Value::Null);
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it was just made an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_base_has_and_nobody_knows_is_kept() {
        let base = r#"{"architecture":"amd64","os":"linux","os.features":["x"],"config":{"Env":["PATH=/bin","A=1"],
            "Cmd":["bash"],"Labels":null,"StopSignal":"SIGINT"},"rootfs":{"type":"layers","diff_ids":null}}"#;
        let mut config = Config::parse(base.as_bytes(), "it").unwrap();
        config.set_variable("PATH", "/env/bin:/bin");
        config.set_variable("B", "2=3");
        config.set_label("l", "v");
        config.expose("80/tcp");
        config.set_entrypoint(&["python".to_owned()]);
        config.add_layer(&Digest::of(b""), &LayerHistory::new("us"));
        assert_eq!(config.variables(), ["PATH=/env/bin:/bin", "A=1", "B=2=3"]);
        assert_eq!(config.variable("B").as_deref(), Some("2=3"));
        assert!(config.command().is_empty());
        assert_eq!(config.entrypoint(), ["python"]);
        assert_eq!(config.diff_ids().unwrap(), [Digest::of(b"")]);
        let text = String::from_utf8(config.to_bytes()).unwrap();
        for kept in [r#""os.features":["x"]"#, r#""StopSignal":"SIGINT""#, r#""Labels":{"l":"v"}"#, r#""80/tcp":{}"#] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
        assert_eq!(Config::parse(text.as_bytes(), "it").unwrap(), config);
    }

    #[test]
    fn a_config_that_is_none_is_refused() {
        for (text, reason) in [
            ("[]", "it is invalid: it is not a JSON object"),
            (r#"{"os":"linux"}"#, "it is invalid: it names no platform"),
            (r#"{"os":"linux","architecture":"amd64"}"#, "it is invalid: it has no `rootfs`"),
            (r#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":3}}"#, "it is invalid: it has no `rootfs`"),
        ] {
            assert_eq!(Config::parse(text.as_bytes(), "it").unwrap_err().to_string(), reason);
        }
    }
}
