//! Edits the lines of a YAML file. Results are not certain here: the caller compares them with the intended ones.

use serde_json::Value as Json;

use super::{EditOperation, InsertPosition};
use crate::{
    Location,
    yaml::{self, Value, YamlNode},
};

/// The lines of a text, with their line ends.
#[derive(Clone, Debug)]
pub(super) struct LineBuffer(Vec<String>);

/// The result of following a path of keys.
enum PathLookup<'n> {
    /// The key and its value.
    Value { key: &'n YamlNode, value: &'n YamlNode, parent: Option<&'n YamlNode> },
    /// The last mapping or list before the missing part of the path; `None` for an empty file.
    Missing { node: Option<&'n YamlNode>, key: Option<&'n YamlNode>, depth: usize },
}

/// Follows a path as far as it exists.
fn find<'n>(root: Option<&'n YamlNode>, path: &[&str]) -> PathLookup<'n> {
    let (mut node, mut last, mut found) = (root, None, None);
    for (depth, name) in path.iter().enumerate() {
        let holders: Vec<&YamlNode> = match node.map(|node| &node.value) {
            Some(Value::Sequence(items)) => items.iter().map(|item| &**item).collect(),
            _ => node.into_iter().collect(),
        };
        let entry = holders.into_iter().find_map(|holder| match &holder.value {
            Value::Mapping(entries) => entries.iter().find(|(key, _)| key.text() == Some(name)),
            _ => None,
        });
        let Some((key, value)) = entry else { return PathLookup::Missing { node, key: last, depth } };
        found = Some(PathLookup::Value { key, value, parent: node });
        (node, last) = (Some(&**value), Some(&**key));
    }
    found.unwrap_or(PathLookup::Missing { node, key: last, depth: 0 })
}

/// The inserted text, in two forms: as separate lines, and as text inside brackets.
struct YamlFragment {
    block: Vec<String>,
    flow: String,
}

impl YamlFragment {
    /// An item or a value below missing keys.
    fn below_keys(path: &[&str], change: &EditOperation<'_>) -> Option<Self> {
        let mut fragment = match change {
            EditOperation::Insert(_, item) => Self {
                block: vec![format!("- {}", scalar(item, ' ', false))],
                flow: format!("[{}]", scalar(item, ' ', true)),
            },
            EditOperation::Set(value) => {
                let text = plain(value);
                Self { block: vec![text.clone()], flow: text }
            }
            _ => return None,
        };
        for (depth, key) in path.iter().enumerate().rev() {
            let is_value = matches!(change, EditOperation::Set(_)) && depth + 1 == path.len();
            fragment.block = if is_value {
                vec![format!("{key}: {}", fragment.block[0])]
            } else {
                std::iter::once(format!("{key}:"))
                    .chain(fragment.block.iter().map(|line| format!("  {line}")))
                    .collect()
            };
            fragment.flow = format!("{key}: {}", fragment.flow);
            if depth > 0 {
                // Only `dependencies` has nested lists.
                if path[depth - 1] == "dependencies" {
                    fragment = fragment.into_item();
                } else {
                    fragment.flow = format!("{{{}}}", fragment.flow);
                }
            }
        }
        Some(fragment)
    }

    /// The mapping as an item of a list.
    fn into_item(self) -> Self {
        let lines = self.block.into_iter().enumerate();
        let block = lines.map(|(index, line)| if index == 0 { format!("- {line}") } else { format!("  {line}") });
        // The items of `- pip:` are indented to the `p`.
        Self {
            block: block.map(|line| line.replacen("    - ", "  - ", 1)).collect(),
            flow: format!("{{{}}}", self.flow),
        }
    }
}

impl LineBuffer {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.split_inclusive('\n').map(str::to_owned).collect())
    }

    pub(super) fn to_text(&self) -> String {
        self.0.concat()
    }

    /// Applies an edit; `None` if the layout is not supported.
    pub(super) fn change(&mut self, root: Option<&YamlNode>, path: &[&str], change: &EditOperation<'_>) -> Option<()> {
        match find(root, path) {
            PathLookup::Value { key, value, .. } if value.is_null() && !matches!(change, EditOperation::Clear) => {
                self.fill(key, value, change)
            }
            PathLookup::Value { key, value, parent } => match (change, &value.value) {
                (EditOperation::Insert(place, item), Value::Sequence(items)) => {
                    let last = items.iter().rposition(|item| item.text().is_some()).map_or(0, |last| last + 1);
                    let index = if *place == InsertPosition::First { 0 } else { last };
                    let quote =
                        items.iter().find(|item| item.text().is_some()).map_or(' ', |item| self.at(item.location));
                    let flow = scalar(item, quote, true);
                    self.insert(
                        value,
                        index,
                        YamlFragment { block: vec![format!("- {}", scalar(item, quote, false))], flow },
                    )
                }
                (EditOperation::Replace(index, item), Value::Sequence(items)) => {
                    let old = items.get(*index)?;
                    let text = scalar(item, self.at(old.location), self.at(value.location) == '[');
                    self.substitute(old, &text)
                }
                (EditOperation::Remove(index), Value::Sequence(items)) => {
                    match (items.len(), parent.map(|node| &node.value)) {
                        (1, Some(Value::Sequence(outer))) => {
                            let holds = |item: &std::rc::Rc<YamlNode>| matches!(&item.value, Value::Mapping(entries) if entries.iter().any(|(name, _)| std::ptr::eq(&**name, key)));
                            self.take_out(parent?, outer.iter().position(holds)?, None)
                        }
                        _ => self.take_out(value, *index, Some(key)),
                    }
                }
                (EditOperation::Set(new), Value::Scalar { .. }) => self.substitute(value, &plain(new)),
                (EditOperation::Clear, _) => self.cut(key.location.line, self.last_line(value).max(key.location.line)),
                _ => None,
            },
            PathLookup::Missing { node, key, depth } => self.add(node, key, &path[depth..], depth, change),
        }
    }

    /// Adds missing keys.
    fn add(
        &mut self,
        node: Option<&YamlNode>,
        key: Option<&YamlNode>,
        path: &[&str],
        depth: usize,
        change: &EditOperation<'_>,
    ) -> Option<()> {
        let mut fragment = YamlFragment::below_keys(path, change)?;
        let Some(node) = node else { return self.append(fragment) };
        match &node.value {
            Value::Sequence(items) => self.insert(node, items.len(), fragment.into_item()),
            Value::Mapping(_) if depth == 0 => {
                if let Some(dash) = self.first_dash(node).filter(|dash| dash.is_empty()) {
                    let lines = fragment.block.iter().map(|line| line.replacen("  - ", &format!("{dash}- "), 1));
                    fragment.block = if path.len() == 1 { lines.collect() } else { fragment.block };
                }
                self.append(fragment)
            }
            Value::Mapping(entries) if self.at(node.location) != '{' => {
                let (first, _) = entries.first()?;
                self.put_lines(self.last_line(node), fragment.block, &" ".repeat(first.location.column - 1));
                Some(())
            }
            // A key without a value.
            _ if node.is_null() => {
                let block = if path[0] == "pip" { fragment.into_item().block } else { fragment.block };
                let indent = " ".repeat(key?.location.column + 1);
                self.put_lines(key?.location.line, block, &indent);
                Some(())
            }
            _ => None,
        }
    }

    /// Sets the value of a key that has none.
    fn fill(&mut self, key: &YamlNode, value: &YamlNode, change: &EditOperation<'_>) -> Option<()> {
        let is_written = value.text().is_some_and(|text| !text.is_empty());
        let fragment = YamlFragment::below_keys(&[], change)?;
        match change {
            _ if is_written => self.substitute(value, &fragment.flow),
            EditOperation::Insert(..) => {
                let indent = " ".repeat(key.location.column + 1);
                self.put_lines(key.location.line, fragment.block, &indent);
                Some(())
            }
            _ => self.append_to_key(key, &format!(" {}", fragment.flow)),
        }
    }

    /// Appends text after the colon of a key.
    fn append_to_key(&mut self, key: &YamlNode, text: &str) -> Option<()> {
        // A key may be written with quotes and escapes, and is longer then than its text.
        let end = self.end(key);
        let line = self.0.get_mut(key.location.line - 1).filter(|_| end.line == key.location.line)?;
        let end = offset(line, end.column)?;
        let colon = end + line.get(end..)?.find(':')?;
        line.insert_str(colon + 1, text);
        Some(())
    }

    /// Inserts a fragment into a list, before the item with this index.
    fn insert(&mut self, list: &YamlNode, index: usize, fragment: YamlFragment) -> Option<()> {
        let Value::Sequence(items) = &list.value else { return None };
        if self.at(list.location) == '[' {
            let (place, text) = match index.checked_sub(1) {
                Some(before) => (self.end(items.get(before)?), format!(", {}", fragment.flow)),
                None if items.is_empty() => {
                    (Location { column: list.location.column + 1, ..list.location }, fragment.flow)
                }
                None => (items[0].location, format!("{}, ", fragment.flow)),
            };
            let line = self.0.get_mut(place.line - 1)?;
            line.insert_str(offset(line, place.column)?, &text);
            return Some(());
        }
        let first = items.first()?.location.line;
        let model = self.0.get(first - 1)?.trim_end().to_owned();
        let indent = &model[..model.len() - model.trim_start().len()];
        let gap = model.trim_start().strip_prefix('-')?;
        let gap = &gap[..gap.len() - gap.trim_start().len()];
        let mut block = fragment.block;
        block[0] = block[0].replacen("- ", &format!("-{gap}"), 1);
        for line in block.iter_mut().skip(1) {
            line.insert_str(0, gap.get(1..).unwrap_or_default());
        }
        let above = match index.checked_sub(1) {
            Some(before) => self.last_line(items.get(before)?),
            None => first - 1,
        };
        self.put_lines(above, block, indent);
        Some(())
    }

    /// Removes an item from a list. If it was the only one, the key gets `[]`.
    fn take_out(&mut self, list: &YamlNode, index: usize, key: Option<&YamlNode>) -> Option<()> {
        let Value::Sequence(items) = &list.value else { return None };
        let item = items.get(index)?;
        if self.at(list.location) != '[' {
            if !self.0.get(item.location.line - 1)?.trim_start().starts_with('-') {
                return None;
            }
            self.cut(item.location.line, self.last_line(item))?;
            return match key.filter(|_| items.len() == 1) {
                Some(key) => self.append_to_key(key, " []"),
                None => Some(()),
            };
        }
        let end = self.end(item);
        let line = self.0.get_mut(item.location.line - 1).filter(|_| end.line == item.location.line)?;
        let (start, stop) = (offset(line, item.location.column)?, offset(line, end.column)?);
        let (before, behind) = (line[..start].to_owned(), line[stop..].to_owned());
        let rest = behind.trim_start_matches([' ', '\t']);
        *line = match rest.strip_prefix(',') {
            Some(rest) => before + rest.trim_start_matches([' ', '\t']),
            None => match before.trim_end().strip_suffix(',') {
                Some(before) => before.to_owned() + &behind,
                None => before + rest,
            },
        };
        if line.trim().is_empty() {
            self.cut(item.location.line, item.location.line)?;
        }
        Some(())
    }

    /// Replaces a scalar on one line.
    fn substitute(&mut self, node: &YamlNode, text: &str) -> Option<()> {
        let end = self.end(node);
        let line = self.0.get_mut(node.location.line - 1).filter(|_| end.line == node.location.line)?;
        let range = offset(line, node.location.column)?..offset(line, end.column)?;
        line.replace_range(range, text);
        Some(())
    }

    /// Inserts lines below a line, given by its number.
    fn put_lines(&mut self, above: usize, lines: Vec<String>, indent: &str) {
        let end = if self.0.first().is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" };
        if let Some(last) =
            above.checked_sub(1).and_then(|index| self.0.get_mut(index)).filter(|line| !line.ends_with('\n'))
        {
            // Only the last line may lack a line end.
            *last += end;
        }
        let lines: Vec<String> = lines.into_iter().map(|line| format!("{indent}{line}{end}")).collect();
        let at = above.min(self.0.len());
        self.0.splice(at..at, lines);
    }

    /// Appends a fragment to the file.
    fn append(&mut self, fragment: YamlFragment) -> Option<()> {
        self.put_lines(self.0.len(), fragment.block, "");
        Some(())
    }

    /// Removes lines by their numbers.
    fn cut(&mut self, first: usize, last: usize) -> Option<()> {
        (first <= last && last <= self.0.len()).then(|| drop(self.0.drain(first - 1..last)))
    }

    /// The character at a location; a space beyond the end.
    fn at(&self, place: Location) -> char {
        let line = self.0.get(place.line.wrapping_sub(1));
        line.and_then(|line| line.chars().nth(place.column.saturating_sub(1))).unwrap_or(' ')
    }

    /// The end of a value, without the white space after it.
    fn end(&self, node: &YamlNode) -> Location {
        let mut end = node.end;
        while end.line == node.location.line
            && end.column > node.location.column + 1
            && self.at(Location { column: end.column - 1, ..end }).is_whitespace()
        {
            end.column -= 1;
        }
        end
    }

    /// The number of the last line of a value.
    fn last_line(&self, node: &YamlNode) -> usize {
        let is_flow = matches!(self.at(node.location), '[' | '{');
        match &node.value {
            Value::Sequence(items) if !is_flow => items.last().map_or(node.location.line, |item| self.last_line(item)),
            Value::Mapping(entries) if !is_flow => {
                let lines = entries.iter().map(|(key, value)| self.last_line(value).max(key.location.line));
                lines.max().unwrap_or(node.location.line)
            }
            // An empty value is located at the next token.
            Value::Scalar { text, .. } if text.is_empty() && node.is_null() => 0,
            _ if node.end.column == 1 && node.end.line > node.location.line => node.end.line - 1,
            _ => node.end.line,
        }
    }

    /// The indentation of the first list of a mapping.
    fn first_dash(&self, node: &YamlNode) -> Option<String> {
        let Value::Mapping(entries) = &node.value else { return None };
        let (_, list) =
            entries.iter().find(|(_, value)| matches!(&value.value, Value::Sequence(items) if !items.is_empty()))?;
        let line = self.0.get(list.location.line - 1)?;
        let dash = line.trim_start();
        dash.starts_with('-').then(|| line[..line.len() - dash.len()].to_owned())
    }
}

/// The byte offset of a column.
fn offset(line: &str, column: usize) -> Option<usize> {
    let ends = line.char_indices().map(|(at, _)| at).chain(std::iter::once(line.len()));
    ends.into_iter().nth(column.checked_sub(1)?)
}

/// A value as YAML.
fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| scalar(text, ' ', false))
}

/// A string as YAML: quoted if its neighbours are, or if it must be.
pub(super) fn scalar(text: &str, quote: char, in_brackets: bool) -> String {
    let begins = |c: char| "?:,[]{}#&*!|>'\"%@` ".contains(c);
    let needs = text.starts_with(begins)
        || text == "-"
        || text.starts_with("- ")
        || text.contains(": ")
        || text.contains(" #")
        || text.ends_with([':', ' '])
        || (in_brackets && text.contains([',', '[', ']', '{', '}']))
        || !yaml::is_string(text);
    match quote {
        '"' => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        '\'' => format!("'{}'", text.replace('\'', "''")),
        _ if needs => format!("'{}'", text.replace('\'', "''")),
        _ => text.to_owned(),
    }
}
