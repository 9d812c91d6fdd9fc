//! Reads `dependencies:`: match specs, the `pip:` list, and both of them under `sel(…)`.

use std::{rc::Rc, sync::Arc};

use mlconda_types::{diagnostic::Excerpt, redact};
use rattler_conda_types::PackageNameMatcher;

use super::{ADDED_PIP, Reader, Result};
use crate::{
    Diagnostic, EnvironmentError, Location, PipLine, Requirement,
    channel::SpecError,
    grammar::LineError,
    keys::TEMPLATE_HELP,
    lint::WELL_KNOWN_CHANNELS,
    requirements,
    selector::{self, Selector},
    spec,
    yaml::{Value, YamlNode},
};

impl Reader<'_> {
    pub(super) fn dependencies(&mut self, key: &YamlNode, value: &YamlNode) -> Result<()> {
        match &value.value {
            _ if value.is_null() => Ok(()),
            Value::Sequence(items) => {
                self.each(items, None);
                Ok(())
            }
            _ => {
                let message = format!("`dependencies:` is {}, and should be a list", value.kind());
                let at = if matches!(value.value, Value::Mapping(_)) { key } else { value };
                let help = match value.text().is_some_and(|text| text.starts_with('-')) {
                    true => "put a space after every `-`: `- python=3.11`",
                    false => "put `- ` in front of every package: `- python=3.11`",
                };
                Err(self.wrong_node(at, message, help))
            }
        }
    }

    fn each(&mut self, items: &[Rc<YamlNode>], selector: Option<&Selector>) {
        for (item, next) in items.iter().zip(items.iter().skip(1).map(Some).chain([None])) {
            self.empty_pip(item, next.map(Rc::as_ref));
            let read = self.dependency(item, selector);
            self.note(read);
        }
    }

    /// Warns about an empty `pip:` whose entries are probably not indented. An empty list alone is fine: all its lines
    /// may be commented out.
    fn empty_pip(&mut self, item: &YamlNode, next: Option<&YamlNode>) {
        let Value::Mapping(entries) = &item.value else { return };
        let [(key, value)] = entries.as_slice() else { return };
        let is_next = next.is_some_and(|next| next.location.line == key.location.line + 1);
        if key.text() == Some("pip") && value.is_null() && is_next {
            let message = "`pip:` is empty, and what stands below it is for conda; indent it if it is meant for pip";
            self.warn(key.location, message.to_owned());
        }
    }

    fn dependency(&mut self, item: &YamlNode, selector: Option<&Selector>) -> Result<()> {
        match &item.value {
            Value::Scalar { text, .. } => self.requirement(item, text, selector),
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    let read = self.section(key, value, selector);
                    self.note(read);
                }
                Ok(())
            }
            Value::Sequence(_) => {
                let message = "a list stands where a package should stand";
                Err(self.wrong_node(item, message, "write one package on a line, after one `- `"))
            }
        }
    }

    fn requirement(&mut self, item: &YamlNode, text: &str, selector: Option<&Selector>) -> Result<()> {
        if item.is_null() {
            return Err(self.wrong_node(item, "an empty dependency", "remove the `-`, or name a package"));
        }
        if let Some(kind) = item.not_a_string() {
            let message = format!("`{text}` is {kind} to YAML, and a dependency begins with a package's name");
            return Err(self.wrong_node(item, message, format!("write `- NAME={text}`")));
        }
        let parsed = spec::parse(text, &self.resolver).map_err(|SpecError { message, help }| {
            EnvironmentError::Spec(self.source.diagnostic(item.location, item.length, message, help))
        })?;
        for remark in parsed.remarks {
            self.warn(item.location, remark);
        }
        let selector = self.selector(item, selector);
        let (text, location, excerpt) = (text.trim().to_owned(), item.location, self.excerpt(item));
        self.environment.requirements.push(Requirement {
            text,
            spec: parsed.spec,
            file: Arc::clone(&self.file),
            location,
            excerpt,
            selector,
        });
        Ok(())
    }

    /// The selector of a line: that of its section, and that of its comment.
    fn selector(&mut self, item: &YamlNode, outer: Option<&Selector>) -> Option<Selector> {
        let inner = item.comment(self.source).and_then(selector::in_comment);
        if let Some(inner) = &inner {
            let message = format!("the comment `# [{inner}]` is taken for a selector; conda ignores it");
            self.warn(item.location, message);
        }
        match (outer.cloned(), inner) {
            (Some(outer), Some(inner)) => Some(outer.and(inner)),
            (outer, inner) => outer.or(inner),
        }
    }

    /// A mapping among the dependencies: `pip:` or `sel(…):`.
    fn section(&mut self, key: &YamlNode, value: &Rc<YamlNode>, outer: Option<&Selector>) -> Result<()> {
        let name = key.text().unwrap_or_default();
        if name == "pip" {
            self.selector_out_of_place(key);
            return self.pip(key, value, outer);
        }
        if let Some(expression) = selector::in_key(name) {
            let Some(selector) = Selector::parse(expression) else {
                let message = format!("`{expression}` is not a selector");
                let help =
                    "use `linux`, `osx`, `win`, `unix` or a platform such as `linux-64`, with `and`, `or`, `not`";
                return Err(self.wrong_node(key, message, help));
            };
            let selector = outer.cloned().map_or(selector.clone(), |outer| outer.and(selector));
            return match &value.value {
                Value::Sequence(items) => {
                    self.each(items, Some(&selector));
                    Ok(())
                }
                _ => self.dependency(value, Some(&selector)),
            };
        }
        if self.source.line(key.location.line).contains("{{") {
            return Err(self.wrong_node(key, "a template stands where a package should stand", TEMPLATE_HELP));
        }
        let message = format!("`{name}:` is not a section of the dependencies; only `pip:` and `sel(…):` are");
        let help = match value.text() {
            _ if strsim::jaro_winkler(&name.to_lowercase(), "pip") > 0.8 => "write `- pip:`".to_owned(),
            None if WELL_KNOWN_CHANNELS.contains(&name) => {
                format!("for packages of one channel, write `- {name}::NAME`, each on a line of its own")
            }
            None => format!("only conda's and pip's packages can be listed here: remove `{name}:`"),
            Some(text) if !value.is_null() => format!("for the package, write `- {name}={text}`"),
            _ => format!("for the package `{name}`, write `- {name}` without the colon"),
        };
        Err(self.wrong_node(key, message, help))
    }

    fn pip(&mut self, key: &YamlNode, value: &Rc<YamlNode>, selector: Option<&Selector>) -> Result<()> {
        if !self.environment.pip.is_empty() && selector.is_none() {
            let message = "a further `pip:` list is added to the one before it; conda reads only the last one";
            self.warn(key.location, message.to_owned());
        }
        for item in self.list("pip", value)? {
            let Some(text) = item.text().filter(|_| !item.is_null()) else {
                let message = format!("a line for pip is a string, and this is {}", item.kind());
                let error = self.wrong_node(&item, message, "put the line in quotes, or remove the `-`");
                self.note(Err(error));
                continue;
            };
            let selector = self.selector(&item, selector);
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                let error =
                    requirements::check(line, &self.options.variables).map(|wrong| self.wrong_pip(&item, line, wrong));
                self.note(error.map_or(Ok(()), Err));
                self.environment.pip.push(PipLine {
                    text: line.to_owned(),
                    file: Arc::clone(&self.file),
                    directory: self.directory.clone(),
                    location: item.location,
                    selector: selector.clone(),
                });
            }
        }
        Ok(())
    }

    /// An error in a line for pip, at its location if the line is in the file literally.
    fn wrong_pip(&self, item: &YamlNode, text: &str, mistake: LineError) -> EnvironmentError {
        let LineError { range, message, help } = mistake;
        let line = self.source.line(item.location.line);
        let shown = redact::text(line);
        let characters = |text: &str| text.chars().count();
        let (column, length) = match line.find(text).filter(|_| shown == line) {
            Some(start) => (characters(&line[..start + range.start]) + 1, characters(&text[range])),
            None => (item.location.column, item.length),
        };
        let location = Location { column, ..item.location };
        let diagnostic = self.source.diagnostic(location, length, redact::text(&message), help);
        EnvironmentError::Pip(Box::new(Diagnostic { line: shown, ..*diagnostic }))
    }

    /// Adds pip if there is a `pip:` list and pip is not listed, as conda does.
    pub(super) fn add_pip(&mut self) {
        let is_pip = |requirement: &Requirement| matches!(&requirement.spec.name, PackageNameMatcher::Exact(name) if name.as_normalized() == "pip");
        let Some(first) = self.environment.pip.first() else { return };
        if self.environment.requirements.iter().any(is_pip) {
            return;
        }
        let (location, length) = (first.location, first.text.chars().count());
        let line = redact::text(self.source.line(location.line)).into();
        let Ok(parsed) = spec::parse("pip", &self.resolver) else { return };
        let requirement = Requirement {
            text: "pip".to_owned(),
            spec: parsed.spec,
            file: Arc::clone(&self.file),
            location,
            excerpt: Excerpt { file: Arc::clone(&self.file), location, length, line },
            selector: None,
        };
        self.environment.requirements.push(requirement);
        self.warn(location, ADDED_PIP.to_owned());
    }
}
