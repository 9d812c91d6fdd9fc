//! Changes a YAML file that somebody else wrote: an `environment.yml`, a `.condarc`. Only the lines that have to change do;
//! comments, order, indentation, quotes, line ends and lists in brackets stay as they were.
//!
//! A change is made in the text, at the places that the parser gives. The result is parsed again and compared with what was
//! meant. If it is anything else (an alias, a layout that is not known here), the text stays as it was and the caller is
//! told. So a file is changed as asked, or not at all.

mod layout;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use mlconda_types::diagnostic::Source;
use serde_json::{Map, Value as Json};

use self::layout::Lines;
use crate::{
    Diagnostic, EnvironmentError, decode,
    yaml::{self, Node, Value},
};

/// A file that cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The bytes are no text.
    #[error(transparent)]
    Encoding(#[from] EnvironmentError),
    /// The text is no YAML.
    #[error("{0}")]
    Syntax(Box<Diagnostic>),
    /// The text is written in a way that is not known here.
    #[error("`{file}` cannot be changed in place, as its {what}")]
    Form {
        /// The file.
        file: PathBuf,
        /// What is in the way.
        what: String,
    },
}

/// Where an item is put into a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    First,
    /// After all others that are plain: in an `environment.yml`, before the `pip:` list.
    Last,
}

/// A YAML file in UTF-8 that can be changed.
#[derive(Clone, Debug)]
pub struct Text {
    file: PathBuf,
    mark: &'static str,
    lines: Lines,
}

/// One change, as what it means.
enum Change<'a> {
    Insert(Place, &'a str),
    Replace(usize, &'a str),
    Remove(usize),
    Set(&'a Json),
    Clear,
}

impl Text {
    /// Reads the bytes of a file; no bytes are an empty file.
    ///
    /// # Errors
    /// If they are no YAML in UTF-8 with the usual line ends.
    pub fn new(bytes: &[u8], file: &Path) -> Result<Self, EditError> {
        let form = |what: &str| EditError::Form { file: file.to_owned(), what: what.to_owned() };
        decode::decode(bytes, file)?;
        let whole = std::str::from_utf8(bytes).map_err(|_| form("text is not in UTF-8"))?;
        let text = whole.strip_prefix('\u{feff}').unwrap_or(whole);
        if text.contains(['\u{feff}', '\0']) || text.replace("\r\n", "\n").contains('\r') {
            return Err(form("text has line ends or marks that are not usual"));
        }
        let mark = if text.len() < whole.len() { "\u{feff}" } else { "" };
        let text = Self { file: file.to_owned(), mark, lines: Lines::new(text) };
        text.root()?;
        Ok(text)
    }

    /// The whole text, as it is to be written.
    pub fn text(&self) -> String {
        format!("{}{}", self.mark, self.lines.text())
    }

    /// All that the file says: an object, which is empty if the file says nothing.
    ///
    /// # Errors
    /// None after [`Self::new`].
    pub fn json(&self) -> Result<Json, EditError> {
        Ok(self.root()?.map_or_else(|| Json::Object(Map::new()), |root| json(&root)))
    }

    /// Puts an item into the list at a path of keys, which is made if it is missing. In a list, a key stands for the
    /// mapping that has it, as in `["dependencies", "pip"]`.
    ///
    /// # Errors
    /// If the layout of the file is not known here.
    pub fn insert(&mut self, path: &[&str], item: &str, place: Place) -> Result<(), EditError> {
        self.change(path, &Change::Insert(place, item))
    }

    /// Gives an item of a list another text.
    ///
    /// # Errors
    /// If the layout of the file is not known here.
    pub fn replace(&mut self, path: &[&str], index: usize, item: &str) -> Result<(), EditError> {
        self.change(path, &Change::Replace(index, item))
    }

    /// Takes an item out of a list. A list in a list goes with its last item; any other stays, and is empty.
    ///
    /// # Errors
    /// If the layout of the file is not known here.
    pub fn remove(&mut self, path: &[&str], index: usize) -> Result<(), EditError> {
        self.change(path, &Change::Remove(index))
    }

    /// Gives a key a value: a string, a number or a boolean.
    ///
    /// # Errors
    /// If the key has a list or a mapping, or the layout of the file is not known here.
    pub fn set(&mut self, path: &[&str], value: &Json) -> Result<(), EditError> {
        self.change(path, &Change::Set(value))
    }

    /// Takes out a key with all that belongs to it.
    ///
    /// # Errors
    /// If the layout of the file is not known here.
    pub fn remove_key(&mut self, path: &[&str]) -> Result<(), EditError> {
        self.change(path, &Change::Clear)
    }

    fn change(&mut self, path: &[&str], change: &Change<'_>) -> Result<(), EditError> {
        let before = self.lines.clone();
        let mut wanted = self.json()?;
        let root = self.root()?;
        let done = mean(&mut wanted, path, change).and_then(|()| self.lines.change(root.as_deref(), path, change));
        if done.is_some() && self.json().is_ok_and(|now| now == wanted) {
            return Ok(());
        }
        self.lines = before;
        let what = format!("`{}` is written in a way that mlconda does not edit", path.join("."));
        Err(EditError::Form { file: self.file.clone(), what })
    }

    fn root(&self) -> Result<Option<Rc<Node>>, EditError> {
        let text = self.lines.text().replace("\r\n", "\n");
        let lines: Vec<&str> = text.split('\n').collect();
        let document =
            yaml::parse(Source { file: &self.file, text: &text, lines: &lines }).map_err(EditError::Syntax)?;
        match document.duplicates.into_iter().next() {
            Some(duplicate) => Err(EditError::Syntax(Box::new(duplicate))),
            None => Ok(document.root),
        }
    }
}

/// A value as JSON. A number with a point stays the text that was written.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Mapping(entries) => {
            let key = |node: &Node| node.text().unwrap_or_default().to_owned();
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

/// What a change means, in JSON; `None` if it cannot be.
fn mean(json: &mut Json, path: &[&str], change: &Change<'_>) -> Option<()> {
    let [key, rest @ ..] = path else {
        match (change, json) {
            (Change::Insert(_, item), json @ Json::Null) => *json = Json::Array(vec![Json::from(*item)]),
            (Change::Insert(place, item), Json::Array(items)) => {
                let last = || items.iter().rposition(Json::is_string).map_or(0, |last| last + 1);
                items.insert(if *place == Place::First { 0 } else { last() }, Json::from(*item));
            }
            (Change::Replace(index, item), Json::Array(items)) => *items.get_mut(*index)? = Json::from(*item),
            (Change::Remove(index), Json::Array(items)) if *index < items.len() => drop(items.remove(*index)),
            (Change::Set(value), json @ (Json::Null | Json::String(_) | Json::Number(_) | Json::Bool(_))) => {
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
        mean(&mut items[holder], path, change)?;
        if matches!(change, Change::Remove(_)) && items[holder][*key] == Json::Array(Vec::new()) {
            items.remove(holder);
        }
        return Some(());
    }
    let object = json.as_object_mut()?;
    if rest.is_empty() && matches!(change, Change::Clear) {
        return object.remove(*key).map(drop);
    }
    mean(object.entry(*key).or_insert(Json::Null), rest, change)
}
