//! Edits YAML files of users: an `environment.yml`, a `.condarc`. Only the affected lines change. Comments, order,
//! indentation, quotes, line ends and lists in brackets are kept.
//!
//! The text is edited at the locations that the parser gives. Then it is parsed again and compared with the intended
//! result. If they differ (because of an alias or an unknown layout), the text is not changed, and the edit fails. So
//! a file is changed exactly as asked, or not at all.

mod layout;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use mlconda_types::diagnostic::SourceText;
use serde_json::{Map, Value as Json};

use self::layout::LineBuffer;
use crate::{
    Diagnostic, EnvironmentError, decode,
    yaml::{self, Value, YamlNode},
};

/// Why a file cannot be edited.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The bytes are not text.
    #[error(transparent)]
    Encoding(#[from] EnvironmentError),
    /// The text is not YAML.
    #[error("{0}")]
    Syntax(Box<Diagnostic>),
    /// The layout of the file is not supported.
    #[error("`{file}` cannot be changed in place: its {what}")]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What is not supported.
        what: String,
    },
}

mlconda_types::debug_as_words!(EditError);

/// The position of a new item in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertPosition {
    /// Before all other items.
    First,
    /// After all items that are strings: in an `environment.yml`, before the `pip:` list.
    Last,
}

/// An editable YAML file in UTF-8.
#[derive(Clone, Debug)]
pub struct YamlEditor {
    file: PathBuf,
    mark: &'static str,
    lines: LineBuffer,
}

/// A single edit.
enum EditOperation<'a> {
    Insert(InsertPosition, &'a str),
    Replace(usize, &'a str),
    Remove(usize),
    Set(&'a Json),
    Clear,
}

impl YamlEditor {
    /// Parses the bytes of a file; an empty file is allowed.
    ///
    /// # Errors
    /// If the bytes are not YAML in UTF-8 with the usual line ends.
    pub fn new(bytes: &[u8], file: &Path) -> Result<Self, EditError> {
        let form = |what: &str| EditError::Unsupported { file: file.to_owned(), what: what.to_owned() };
        decode::decode(bytes, file)?;
        let whole = std::str::from_utf8(bytes).map_err(|_| form("text is not in UTF-8"))?;
        let text = whole.strip_prefix('\u{feff}').unwrap_or(whole);
        if text.contains(['\u{feff}', '\0']) || text.replace("\r\n", "\n").contains('\r') {
            return Err(form("text has unusual line ends or byte order marks"));
        }
        let mark = if text.len() < whole.len() { "\u{feff}" } else { "" };
        let text = Self { file: file.to_owned(), mark, lines: LineBuffer::new(text) };
        text.root()?;
        Ok(text)
    }

    /// The whole text of the file.
    pub fn to_text(&self) -> String {
        format!("{}{}", self.mark, self.lines.to_text())
    }

    /// The contents of the file as an object; empty for an empty file.
    ///
    /// # Errors
    /// None after [`Self::new`].
    pub fn to_json(&self) -> Result<Json, EditError> {
        Ok(self.root()?.map_or_else(|| Json::Object(Map::new()), |root| json(&root)))
    }

    /// Inserts an item into the list at a path of keys, which is created if it is missing. In a list, a key selects the
    /// mapping that contains it, as in `["dependencies", "pip"]`.
    ///
    /// # Errors
    /// If the layout of the file is not supported.
    pub fn insert(&mut self, path: &[&str], item: &str, place: InsertPosition) -> Result<(), EditError> {
        self.change(path, &EditOperation::Insert(place, item))
    }

    /// Replaces an item of a list.
    ///
    /// # Errors
    /// If the layout of the file is not supported.
    pub fn replace(&mut self, path: &[&str], index: usize, item: &str) -> Result<(), EditError> {
        self.change(path, &EditOperation::Replace(index, item))
    }

    /// Removes an item from a list. A nested list is removed with its last item; any other list remains, empty.
    ///
    /// # Errors
    /// If the layout of the file is not supported.
    pub fn remove(&mut self, path: &[&str], index: usize) -> Result<(), EditError> {
        self.change(path, &EditOperation::Remove(index))
    }

    /// Sets the value of a key: a string, a number or a boolean.
    ///
    /// # Errors
    /// If the value of the key is a list or a mapping, or the layout of the file is not supported.
    pub fn set(&mut self, path: &[&str], value: &Json) -> Result<(), EditError> {
        self.change(path, &EditOperation::Set(value))
    }

    /// Removes a key with its value.
    ///
    /// # Errors
    /// If the layout of the file is not supported.
    pub fn remove_key(&mut self, path: &[&str]) -> Result<(), EditError> {
        self.change(path, &EditOperation::Clear)
    }

    fn change(&mut self, path: &[&str], change: &EditOperation<'_>) -> Result<(), EditError> {
        let before = self.lines.clone();
        let mut wanted = self.to_json()?;
        let root = self.root()?;
        let done =
            apply_to_json(&mut wanted, path, change).and_then(|()| self.lines.change(root.as_deref(), path, change));
        // The edited text is parsed like any file, because a new item may contain text that no file may contain.
        let again = done.and_then(|()| Self::new(self.to_text().as_bytes(), &self.file).ok());
        if again.is_some_and(|again| again.to_json().is_ok_and(|now| now == wanted)) {
            return Ok(());
        }
        self.lines = before;
        let what = format!("`{}` is written in a way that mlconda does not edit", path.join("."));
        Err(EditError::Unsupported { file: self.file.clone(), what })
    }

    fn root(&self) -> Result<Option<Rc<YamlNode>>, EditError> {
        let text = self.lines.to_text().replace("\r\n", "\n");
        let lines: Vec<&str> = text.split('\n').collect();
        let document =
            yaml::parse(SourceText { file: &self.file, text: &text, lines: &lines }).map_err(EditError::Syntax)?;
        match document.duplicates.into_iter().next() {
            Some(duplicate) => Err(EditError::Syntax(Box::new(duplicate))),
            None => Ok(document.root),
        }
    }
}

/// Converts a value to JSON. A number with a point stays a string.
fn json(node: &YamlNode) -> Json {
    match &node.value {
        Value::Mapping(entries) => {
            let key = |node: &YamlNode| node.text().unwrap_or_default().to_owned();
            Json::Object(entries.iter().map(|(name, value)| (key(name), json(value))).collect())
        }
        Value::Sequence(items) => Json::Array(items.iter().map(|item| json(item)).collect()),
        Value::Scalar { .. } if node.is_null() => Json::Null,
        Value::Scalar { text, .. } => match node.not_a_string() {
            Some("a boolean") => Json::Bool(text.eq_ignore_ascii_case("true")),
            Some(_) => text.parse::<i64>().map_or_else(|_| Json::String(text.clone()), Json::from),
            None => Json::String(text.clone()),
        },
    }
}

/// Applies an edit to JSON; `None` if it does not fit.
fn apply_to_json(json: &mut Json, path: &[&str], change: &EditOperation<'_>) -> Option<()> {
    let [key, rest @ ..] = path else {
        match (change, json) {
            (EditOperation::Insert(_, item), json @ Json::Null) => *json = Json::Array(vec![Json::from(*item)]),
            (EditOperation::Insert(place, item), Json::Array(items)) => {
                let last = || items.iter().rposition(Json::is_string).map_or(0, |last| last + 1);
                items.insert(if *place == InsertPosition::First { 0 } else { last() }, Json::from(*item));
            }
            (EditOperation::Replace(index, item), Json::Array(items)) => *items.get_mut(*index)? = Json::from(*item),
            (EditOperation::Remove(index), Json::Array(items)) if *index < items.len() => drop(items.remove(*index)),
            (EditOperation::Set(value), json @ (Json::Null | Json::String(_) | Json::Number(_) | Json::Bool(_))) => {
                *json = (*value).clone();
            }
            _ => return None,
        }
        return Some(());
    };
    if json.is_null() {
        *json = if *key == "pip" { Json::Array(Vec::new()) } else { Json::Object(Map::new()) };
    }
    if let Json::Array(items) = json {
        let holder = items.iter().position(|item| item.get(*key).is_some());
        let holder = holder.unwrap_or_else(|| {
            items.push(Json::Object(Map::new()));
            items.len() - 1
        });
        apply_to_json(&mut items[holder], path, change)?;
        if matches!(change, EditOperation::Remove(_)) && items[holder][*key] == Json::Array(Vec::new()) {
            items.remove(holder);
        }
        return Some(());
    }
    let object = json.as_object_mut()?;
    if rest.is_empty() && matches!(change, EditOperation::Clear) {
        return object.remove(*key).map(drop);
    }
    apply_to_json(object.entry(*key).or_insert(Json::Null), rest, change)
}
