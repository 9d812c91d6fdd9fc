//! Builds the environment from the YAML tree: the known keys (CEP-24), their values, and messages for everything else.
//! Everything that conda accepts is accepted. If conda silently ignores something, there is a warning.

mod channels;
mod dependencies;
mod own;

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use mlconda_types::{
    diagnostic::{Excerpt, SourceText},
    redact,
    sorting::IntoTree,
};
use rattler_conda_types::Subdir;

use super::{
    Environment, EnvironmentError, Location, ReadOptions, Warning,
    channel::ChannelResolver,
    keys::{KEYS, TEMPLATE_HELP, nearest},
    selector, spec,
    yaml::{self, Value, YamlNode},
};

const CONFLICT_HELP: &str =
    "keep what should hold, remove the markers, then `mlconda lock --resolve-conflict` makes one lock of two";
const LOCK_HELP: &str = "install it as it is: a lock needs no solving";
const KEYS_HELP: &str = "begin with keys: `name:`, `channels:`, `dependencies:`";

const REQUIREMENTS_HELP: &str = "list conda's packages under `dependencies:` of an environment.yml, and name what pip requires \
                                 there: `- -r requirements.txt` under `- pip:`";

/// Keys of other tools, and what to write instead.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["env", "env_vars", "environment", "environment_variables", "vars"], "variables stand under `variables:`"),
    (&["extends", "include", "includes"], "`-f FILE` adds a further file"),
    (&["channel-priority", "channel_priority"], "`--channel-priority` chooses it"),
];

/// Keys that other tools use for `dependencies:`.
const SYNONYMS: &[&str] = &["deps", "depends", "packages", "requirements", "requires"];

/// The warning for a file without dependencies.
pub(super) const NO_DEPENDENCIES: &str = "the environment has no dependencies";
/// The warning for a file with a `pip:` list that does not list pip.
pub(super) const ADDED_PIP: &str =
    "there is a `pip:` list, and `pip` is not among the dependencies; it is added, as conda does";

/// The variables that the text or a channel of the options refers to with `$`.
fn expansions(text: &str, options: &ReadOptions) -> Vec<(String, String)> {
    let ReadOptions { extra_channels, default_channels, channel_alias, variables, custom_channels, .. } = options;
    let custom = custom_channels.iter().flat_map(|(_, told)| told);
    let texts = extra_channels.iter().chain(default_channels).chain(channel_alias).chain(custom);
    let names: std::collections::BTreeSet<&str> = texts
        .map(String::as_str)
        .chain([text])
        .flat_map(|text| text.split('$').skip(1))
        .map(|tail| tail.strip_prefix('{').unwrap_or(tail))
        .map(|tail| tail.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
        .into_tree();
    let value = |name: &str| variables.iter().rfind(|(known, _)| known == name).cloned();
    names.into_iter().filter_map(value).collect()
}

type Result<T> = std::result::Result<T, EnvironmentError>;

/// Reads an environment; `text` has `\n` as its only line break.
pub(super) fn read(text: &str, file: &Path, options: &ReadOptions) -> Result<Environment> {
    let lines: Vec<&str> = text.split('\n').collect();
    let source = SourceText { file, text, lines: &lines };
    let directory = options.directory.join(file.parent().unwrap_or(Path::new("")));
    let mut reader = Reader {
        source,
        options,
        resolver: ChannelResolver::new(options, directory.clone())?,
        directory,
        environment: Environment {
            file: file.to_owned(),
            name: None,
            channels: Vec::new(),
            requirements: Vec::new(),
            pip: Vec::new(),
            pip_files: Vec::new(),
            variables: indexmap::IndexMap::new(),
            expansions: expansions(text, options),
            prefix: None,
            platforms: Vec::new(),
            slim: None,
            warnings: Vec::new(),
            channels_key: None,
            channel_lines: indexmap::IndexMap::new(),
            key_locations: indexmap::IndexMap::new(),
        },
        file: Arc::from(file),
        errors: Vec::new(),
        untold: 0,
        last_line: (0, Arc::from("")),
    };
    reader.document()?;
    if reader.errors.is_empty() {
        return Ok(reader.environment);
    }
    mlconda_types::sorting::sort_by_key(&mut reader.errors, |error| {
        error.diagnostic().map(|diagnostic| diagnostic.location)
    });
    if reader.untold > 0 {
        reader.errors.push(EnvironmentError::More(reader.untold));
    }
    Err(EnvironmentError::several(reader.errors))
}

struct Reader<'a> {
    source: SourceText<'a>,
    options: &'a ReadOptions,
    resolver: ChannelResolver<'a>,
    /// The file's directory.
    directory: PathBuf,
    environment: Environment,
    file: Arc<Path>,
    /// The errors so far. Reading continues after an error, so that all of them are reported at once.
    errors: Vec<EnvironmentError>,
    /// How many errors were dropped.
    untold: usize,
    /// The line of the last excerpt. Excerpts of the same line share it.
    last_line: (usize, Arc<str>),
}

impl Reader<'_> {
    /// Rejects files that are not environments, by their text or name, before they are parsed.
    fn check_kind(&self) -> Result<()> {
        if self.source.text.lines().any(|line| line.trim() == "@EXPLICIT") {
            let line = 1 + self.source.text.lines().take_while(|line| line.trim() != "@EXPLICIT").count();
            let at = Location { line, column: 1 };
            return Err(self.wrong(at, 9, "this is a lock, not an environment", LOCK_HELP));
        }
        if let Some(line) = self.source.lines.iter().position(|line| line.starts_with("<<<<<<< ")) {
            let (message, help) = ("git's conflict markers: the file holds two versions of itself", CONFLICT_HELP);
            return Err(self.wrong(Location { line: line + 1, column: 1 }, 7, message, help));
        }
        if self.file.extension().is_some_and(|extension| extension == "toml") {
            let (message, help) = ("this is TOML, and an environment is YAML", "name an environment.yml");
            return Err(self.wrong(Location { line: 1, column: 1 }, 1, message, help));
        }
        Ok(())
    }

    fn document(&mut self) -> Result<()> {
        self.check_kind()?;
        let is_text = self.file.extension().is_some_and(|extension| extension == "txt");
        let document = match yaml::parse(self.source) {
            Err(_) if is_text && !self.source.text.contains("dependencies:") => {
                let message = "an environment is YAML, but this file is not";
                return Err(self.wrong(Location { line: 1, column: 1 }, 1, message, REQUIREMENTS_HELP));
            }
            parsed => parsed.map_err(EnvironmentError::Syntax)?,
        };
        self.errors.extend(document.duplicates.into_iter().map(Box::new).map(EnvironmentError::Structure));
        let Some(root) = document.root else {
            let message = "the file has no content";
            return Err(self.wrong(Location { line: 1, column: 1 }, 1, message, "list packages under `dependencies:`"));
        };
        let Value::Mapping(entries) = &root.value else {
            let message = format!("an environment is a mapping, and this is {}", root.kind());
            return Err(self.wrong_node(&root, message, if is_text { REQUIREMENTS_HELP } else { KEYS_HELP }));
        };
        if let Some((message, help)) = another_kind(entries) {
            return Err(self.wrong_node(&root, message, help));
        }
        let mut channels = None;
        for (key, value) in entries {
            if let Some(text @ ("name" | "channels" | "platforms" | "x-mlconda")) = key.text() {
                self.place(text, key);
            }
            self.selector_out_of_place(key);
            let read = match key.text() {
                Some("name") => self.name(value),
                Some("channels") => {
                    channels = Some((key, value));
                    Ok(())
                }
                Some("dependencies") => self.dependencies(key, value),
                Some("variables") => self.variables(value),
                Some("prefix") => self.prefix(value),
                Some("platforms") => self.platforms(value),
                Some("x-mlconda") => self.own(value),
                _ => self.unknown(key, entries),
            };
            self.note(read);
        }
        // Probably a file of another tool; conda would create an empty environment.
        if self.errors.is_empty() && !entries.is_empty() && !KEYS.iter().any(|key| has(entries, key)) {
            return Err(self.wrong_node(&root, "none of the sections of an environment is here", KEYS_HELP));
        }
        let read = self.channels(channels);
        self.note(read);
        if self.environment.is_empty() && self.errors.is_empty() {
            self.warn(root.location, NO_DEPENDENCIES.to_owned());
        }
        self.add_pip();
        mlconda_types::sorting::sort_by_key(&mut self.environment.warnings, |warning| warning.location);
        Ok(())
    }

    /// Records the location of a key.
    fn place(&mut self, name: &str, key: &YamlNode) {
        self.environment.key_locations.insert(name.to_owned(), (Arc::clone(&self.file), key.location));
    }

    /// Records an error.
    fn note(&mut self, read: Result<()>) {
        let Err(error) = read else { return };
        match self.errors.len() < super::error::MAX_KEPT {
            true => self.errors.push(error),
            false => self.untold += 1,
        }
    }

    fn prefix(&mut self, value: &YamlNode) -> Result<()> {
        self.environment.prefix = self.scalar("prefix", value)?.map(Into::into);
        if self.environment.prefix.is_some() {
            let message = "`prefix:` is ignored: it is where the environment was when the file was written";
            self.warn(value.location, message.to_owned());
        }
        Ok(())
    }

    fn name(&mut self, value: &YamlNode) -> Result<()> {
        let Some(name) = self.scalar("name", value)? else { return Ok(()) };
        let name = name.trim_end_matches('\n').to_owned();
        if !super::is_name(&name) {
            let message = format!("`{}` cannot be the name of an environment", name.escape_debug());
            let help = match name.contains("{{") {
                true => TEMPLATE_HELP,
                false => "use a name without spaces and without `/`, `\\`, `:` and `#`",
            };
            return Err(self.wrong_node(value, message, help));
        }
        if matches!(name.as_str(), "base" | "root") {
            let message =
                format!("`{name}` is what conda calls the root prefix; give the environment a name of its own");
            self.warn(value.location, message);
        }
        if let Some(placeholder) = spec::placeholder(&name) {
            let message = format!("`{placeholder}` in the name looks like a placeholder, but is used as it is");
            self.warn(value.location, message);
        }
        self.environment.name = Some(name);
        Ok(())
    }

    /// A scalar value, or nothing.
    fn scalar(&mut self, key: &str, value: &YamlNode) -> Result<Option<String>> {
        self.selector_out_of_place(value);
        match value.text() {
            _ if value.is_null() => Ok(None),
            Some(text) => Ok(Some(text.to_owned())),
            None => {
                let message = format!("`{key}:` is {}, and should be a string", value.kind());
                let help = match self.source.line(value.location.line).contains('{') {
                    true => TEMPLATE_HELP.to_owned(),
                    false => format!("write `{key}: …` on one line"),
                };
                Err(self.wrong_node(value, message, help))
            }
        }
    }

    /// The items of a list of strings. A single string counts as a list of one.
    fn list(&mut self, key: &str, value: &Rc<YamlNode>) -> Result<Vec<Rc<YamlNode>>> {
        match &value.value {
            _ if value.is_null() => Ok(Vec::new()),
            Value::Sequence(items) => Ok(items.clone()),
            Value::Scalar { .. } => {
                self.warn(value.location, format!("`{key}:` should be a list; its value is used as the only entry"));
                Ok(vec![Rc::clone(value)])
            }
            Value::Mapping(_) => {
                let help = format!("write a list under `{key}:`, with `- ` in front of every entry");
                Err(self.wrong_node(value, format!("`{key}:` is a mapping, and should be a list"), help))
            }
        }
    }

    fn variables(&mut self, value: &YamlNode) -> Result<()> {
        if value.is_null() {
            return Ok(());
        }
        let Value::Mapping(entries) = &value.value else {
            let message = format!("`variables:` is {}, and should be a mapping", value.kind());
            return Err(self.wrong_node(value, message, "write `NAME: value` on lines of their own, without `- `"));
        };
        for (key, value) in entries {
            self.selector_out_of_place(value);
            let read = self.variable(key, value);
            self.note(read);
        }
        Ok(())
    }

    fn variable(&mut self, key: &YamlNode, value: &YamlNode) -> Result<()> {
        let Some(name) = key.text().filter(|name| !name.is_empty() && !name.contains(['=', '\0'])) else {
            return Err(self.wrong_node(key, "this cannot be the name of a variable", "write `NAME: value`"));
        };
        let Some(text) = value.text() else {
            let message = format!("the variable `{name}` is {}, and should be a string", value.kind());
            return Err(self.wrong_node(value, message, "put the value in quotes"));
        };
        let text = if value.is_null() { "" } else { text };
        let is_identifier = !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_identifier {
            let message = format!("no shell can set a variable called `{name}`; `mlconda run` sets it all the same");
            self.warn(key.location, message);
        }
        self.place(&format!("variables.{name}"), key);
        self.environment.variables.insert(name.to_owned(), text.to_owned());
        Ok(())
    }

    fn platforms(&mut self, value: &Rc<YamlNode>) -> Result<()> {
        for item in self.list("platforms", value)? {
            let read = self.platform(&item);
            self.note(read);
        }
        Ok(())
    }

    fn platform(&mut self, item: &YamlNode) -> Result<()> {
        let text = item.text().unwrap_or_default();
        let known = text.parse::<Subdir>().ok().filter(|s| s.as_str() == text && *s != Subdir::NoArch);
        let Some(platform) = known else {
            let platforms = || Subdir::all().map(Subdir::as_str).filter(|name| *name != "noarch");
            let systems = platforms().filter(|name| name.split('-').next() == Some(text)).take(3).collect::<Vec<_>>();
            let help = match nearest(text, platforms()) {
                _ if text == "noarch" => "`noarch` packages are always used: remove it".to_owned(),
                _ if !systems.is_empty() => format!("name the architecture too: `{}`", systems.join("`, `")),
                Some(near) => format!("did you mean `{near}`?"),
                None => "use a platform such as `linux-64`, `linux-aarch64` or `osx-arm64`".to_owned(),
            };
            return Err(self.wrong_node(item, format!("`{text}` is not a platform"), help));
        };
        if !self.environment.platforms.contains(&platform) {
            self.environment.platforms.push(platform);
        }
        Ok(())
    }

    /// conda warns about unknown keys and continues (CEP-24). But a misspelt key that says what to install is an
    /// error: ignoring it would create another environment than the file asks for.
    fn unknown(&mut self, key: &YamlNode, entries: &[(Rc<YamlNode>, Rc<YamlNode>)]) -> Result<()> {
        let name = key.text().unwrap_or_default();
        if SYNONYMS.contains(&name) && !entries.iter().any(|(other, _)| other.text() == Some("dependencies")) {
            let message = format!("there is no section `{name}:`, and none called `dependencies:`");
            return Err(self.wrong_node(key, message, "write `dependencies:`"));
        }
        if name == "pip" {
            let message =
                "the section `pip:` is ignored here, as conda does; it counts as `- pip:` under `dependencies:`";
            self.warn(key.location, message.to_owned());
            return Ok(());
        }
        let missing = |key: &&&str| !entries.iter().any(|(other, _)| other.text() == Some(**key));
        let near = nearest(name, KEYS.iter().filter(missing).copied());
        if let Some(near @ ("dependencies" | "channels" | "variables")) = near {
            let message = format!("there is no section `{name}:`");
            return Err(self.wrong_node(key, message, format!("did you mean `{near}:`?")));
        }
        let elsewhere = ELSEWHERE.iter().find(|(keys, _)| keys.contains(&name)).map(|(_, place)| format!("; {place}"));
        let meant = elsewhere.or_else(|| near.map(|near| format!("; did you mean `{near}:`?"))).unwrap_or_default();
        self.warn(key.location, format!("the section `{name}:` means nothing here and is ignored{meant}"));
        Ok(())
    }

    /// The excerpt of a value for later messages, without logins and tokens.
    fn excerpt(&mut self, node: &YamlNode) -> Excerpt {
        let number = node.location.line;
        if self.last_line.0 != number {
            self.last_line = (number, redact::without_tokens(&redact::text(self.source.line(number))).into());
        }
        let (file, line) = (Arc::clone(&self.file), Arc::clone(&self.last_line.1));
        Excerpt { file, location: node.location, length: node.length, line }
    }

    /// Warns about a selector that has no effect here. conda-lock would drop the line.
    fn selector_out_of_place(&mut self, node: &YamlNode) {
        if let Some(selector) = node.comment(self.source).and_then(selector::in_comment) {
            let message = format!(
                "the comment `# [{selector}]` has no effect here; write it after a dependency or a line for pip"
            );
            self.warn(node.location, message);
        }
    }

    fn warn(&mut self, location: Location, message: String) {
        self.environment.warnings.push(Warning { message, file: Arc::clone(&self.file), location });
    }

    fn wrong(
        &self,
        at: Location,
        length: usize,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> EnvironmentError {
        EnvironmentError::Structure(self.source.diagnostic(at, length, message, help))
    }

    fn wrong_node(&self, node: &YamlNode, message: impl Into<String>, help: impl Into<String>) -> EnvironmentError {
        self.wrong(node.location, node.length, message, help)
    }
}

fn has(entries: &[(Rc<YamlNode>, Rc<YamlNode>)], key: &str) -> bool {
    entries.iter().any(|(known, _)| known.text() == Some(key))
}

/// Recognizes files of other tools. With `dependencies:` in it, a file counts as an environment, as for conda.
fn another_kind(entries: &[(Rc<YamlNode>, Rc<YamlNode>)]) -> Option<(&'static str, &'static str)> {
    let has = |key: &str| has(entries, key);
    match () {
        () if has("dependencies") => None,
        () if has("version") && (has("package") && has("metadata") || has("packages") && has("environments")) => {
            Some(("this is a lock, not an environment", LOCK_HELP))
        }
        () if has("package") && (has("requirements") || has("build") || has("source")) => {
            Some(("this is a recipe for conda-build, not an environment", KEYS_HELP))
        }
        () => None,
    }
}
