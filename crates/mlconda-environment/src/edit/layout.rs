//! The lines of a YAML file, and where in them a change goes. Nothing here is sure of its result: whoever calls compares it
//! with what was meant.

use serde_json::Value as Json;

use super::{Change, Place};
use crate::{
    Location,
    yaml::{self, Node, Value},
};

/// The lines of a text, each with its end.
#[derive(Clone, Debug)]
pub(super) struct Lines(Vec<String>);

/// What a path leads to.
enum Found<'n> {
    /// The value of a key.
    Value { key: &'n Node, value: &'n Node, parent: Option<&'n Node> },
    /// A mapping or a list that lacks the rest of the path; `None` for an empty file. A key whose value is missing is one.
    Lacking { node: Option<&'n Node>, key: Option<&'n Node>, depth: usize },
}

/// Follows a path as far as it goes.
fn find<'n>(root: Option<&'n Node>, path: &[&str]) -> Found<'n> {
    let (mut node, mut last, mut found) = (root, None, None);
    for (depth, name) in path.iter().enumerate() {
        let holders: Vec<&Node> = match node.map(|node| &node.value) {
            Some(Value::Sequence(items)) => items.iter().map(|item| &**item).collect(),
            _ => node.into_iter().collect(),
        };
        let entry = holders.into_iter().find_map(|holder| match &holder.value {
            Value::Mapping(entries) => entries.iter().find(|(key, _)| key.text() == Some(name)),
            _ => None,
        });
        let Some((key, value)) = entry else { return Found::Lacking { node, key: last, depth } };
        found = Some(Found::Value { key, value, parent: node });
        (node, last) = (Some(&**value), Some(&**key));
    }
    found.unwrap_or(Found::Lacking { node, key: last, depth: 0 })
}

/// What is put into a list or a mapping: as lines of their own, and as text between brackets.
struct Piece {
    block: Vec<String>,
    flow: String,
}

impl Piece {
    /// A list's only item, or a value, below keys that are missing.
    fn under(path: &[&str], change: &Change<'_>) -> Option<Self> {
        let mut piece = match change {
            Change::Insert(_, item) => Self {
                block: vec![format!("- {}", scalar(item, ' ', false))],
                flow: format!("[{}]", scalar(item, ' ', true)),
            },
            Change::Set(value) => {
                let text = plain(value);
                Self { block: vec![text.clone()], flow: text }
            }
            _ => return None,
        };
        for (depth, key) in path.iter().enumerate().rev() {
            let is_value = matches!(change, Change::Set(_)) && depth + 1 == path.len();
            piece.block = if is_value {
                vec![format!("{key}: {}", piece.block[0])]
            } else {
                std::iter::once(format!("{key}:")).chain(piece.block.iter().map(|line| format!("  {line}"))).collect()
            };
            piece.flow = format!("{key}: {}", piece.flow);
            if depth > 0 {
                // Only `dependencies` has lists in lists.
                if path[depth - 1] == "dependencies" {
                    piece = piece.into_item();
                } else {
                    piece.flow = format!("{{{}}}", piece.flow);
                }
            }
        }
        Some(piece)
    }

    /// A mapping as the item of a list.
    fn into_item(self) -> Self {
        let lines = self.block.into_iter().enumerate();
        let block = lines.map(|(index, line)| if index == 0 { format!("- {line}") } else { format!("  {line}") });
        // What `- pip:` holds stands below the `p`.
        Self {
            block: block.map(|line| line.replacen("    - ", "  - ", 1)).collect(),
            flow: format!("{{{}}}", self.flow),
        }
    }
}

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.split_inclusive('\n').map(str::to_owned).collect())
    }

    pub(super) fn text(&self) -> String {
        self.0.concat()
    }

    /// Carries a change out; `None` if the layout is not known.
    pub(super) fn change(&mut self, root: Option<&Node>, path: &[&str], change: &Change<'_>) -> Option<()> {
        match find(root, path) {
            Found::Value { key, value, .. } if value.is_null() && !matches!(change, Change::Clear) => {
                self.fill(key, value, change)
            }
            Found::Value { key, value, parent } => match (change, &value.value) {
                (Change::Insert(place, item), Value::Sequence(items)) => {
                    let last = items.iter().rposition(|item| item.text().is_some()).map_or(0, |last| last + 1);
                    let index = if *place == Place::First { 0 } else { last };
                    let quote =
                        items.iter().find(|item| item.text().is_some()).map_or(' ', |item| self.at(item.location));
                    let flow = scalar(item, quote, true);
                    self.insert(value, index, Piece { block: vec![format!("- {}", scalar(item, quote, false))], flow })
                }
                (Change::Replace(index, item), Value::Sequence(items)) => {
                    let old = items.get(*index)?;
                    let text = scalar(item, self.at(old.location), self.at(value.location) == '[');
                    self.substitute(old, &text)
                }
                (Change::Remove(index), Value::Sequence(items)) => {
                    match (items.len(), parent.map(|node| &node.value)) {
                        (1, Some(Value::Sequence(outer))) => {
                            let holds = |item: &std::rc::Rc<Node>| matches!(&item.value, Value::Mapping(entries) if entries.iter().any(|(name, _)| std::ptr::eq(&**name, key)));
                            self.take_out(parent?, outer.iter().position(holds)?, None)
                        }
                        _ => self.take_out(value, *index, Some(key)),
                    }
                }
                (Change::Set(new), Value::Scalar { .. }) => self.substitute(value, &plain(new)),
                (Change::Clear, _) => self.cut(key.location.line, self.last_line(value).max(key.location.line)),
                _ => None,
            },
            Found::Lacking { node, key, depth } => self.add(node, key, &path[depth..], depth, change),
        }
    }

    /// Adds the keys that are missing.
    fn add(
        &mut self,
        node: Option<&Node>,
        key: Option<&Node>,
        path: &[&str],
        depth: usize,
        change: &Change<'_>,
    ) -> Option<()> {
        let mut piece = Piece::under(path, change)?;
        let Some(node) = node else { return self.append(piece) };
        match &node.value {
            Value::Sequence(items) => self.insert(node, items.len(), piece.into_item()),
            Value::Mapping(_) if depth == 0 => {
                if let Some(dash) = self.first_dash(node).filter(|dash| dash.is_empty()) {
                    let lines = piece.block.iter().map(|line| line.replacen("  - ", &format!("{dash}- "), 1));
                    piece.block = if path.len() == 1 { lines.collect() } else { piece.block };
                }
                self.append(piece)
            }
            Value::Mapping(entries) if self.at(node.location) != '{' => {
                let (first, _) = entries.first()?;
                self.put_lines(self.last_line(node), piece.block, &" ".repeat(first.location.column - 1));
                Some(())
            }
            // A key without a value.
            _ if node.is_null() => {
                let block = if path[0] == "pip" { piece.into_item().block } else { piece.block };
                let indent = " ".repeat(key?.location.column + 1);
                self.put_lines(key?.location.line, block, &indent);
                Some(())
            }
            _ => None,
        }
    }

    /// Gives a key a value that has none yet.
    fn fill(&mut self, key: &Node, value: &Node, change: &Change<'_>) -> Option<()> {
        let is_written = value.text().is_some_and(|text| !text.is_empty());
        let piece = Piece::under(&[], change)?;
        match change {
            _ if is_written => self.substitute(value, &piece.flow),
            Change::Insert(..) => {
                let indent = " ".repeat(key.location.column + 1);
                self.put_lines(key.location.line, piece.block, &indent);
                Some(())
            }
            _ => self.behind(key, &format!(" {}", piece.flow)),
        }
    }

    /// Puts text behind a key's colon.
    fn behind(&mut self, key: &Node, text: &str) -> Option<()> {
        let line = self.0.get_mut(key.location.line - 1)?;
        let start = offset(line, key.location.column)?;
        let colon = start + key.text()?.len() + line[start + key.text()?.len()..].find(':')?;
        line.insert_str(colon + 1, text);
        Some(())
    }

    /// Puts a piece into a list, before the item with this index.
    fn insert(&mut self, list: &Node, index: usize, piece: Piece) -> Option<()> {
        let Value::Sequence(items) = &list.value else { return None };
        if self.at(list.location) == '[' {
            let (place, text) = match index.checked_sub(1) {
                Some(before) => (self.end(items.get(before)?), format!(", {}", piece.flow)),
                None if items.is_empty() => {
                    (Location { column: list.location.column + 1, ..list.location }, piece.flow)
                }
                None => (items[0].location, format!("{}, ", piece.flow)),
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
        let mut block = piece.block;
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

    /// Takes an item out of a list. The list's key gets `[]` if it was the only one.
    fn take_out(&mut self, list: &Node, index: usize, key: Option<&Node>) -> Option<()> {
        let Value::Sequence(items) = &list.value else { return None };
        let item = items.get(index)?;
        if self.at(list.location) != '[' {
            if !self.0.get(item.location.line - 1)?.trim_start().starts_with('-') {
                return None;
            }
            self.cut(item.location.line, self.last_line(item))?;
            return match key.filter(|_| items.len() == 1) {
                Some(key) => self.behind(key, " []"),
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

    /// Puts another text in the place of a scalar on one line.
    fn substitute(&mut self, node: &Node, text: &str) -> Option<()> {
        let end = self.end(node);
        let line = self.0.get_mut(node.location.line - 1).filter(|_| end.line == node.location.line)?;
        let range = offset(line, node.location.column)?..offset(line, end.column)?;
        line.replace_range(range, text);
        Some(())
    }

    /// Puts lines below the line of a number.
    fn put_lines(&mut self, above: usize, lines: Vec<String>, indent: &str) {
        let end = if self.0.first().is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" };
        if let Some(last) =
            above.checked_sub(1).and_then(|index| self.0.get_mut(index)).filter(|line| !line.ends_with('\n'))
        {
            // The only line that can lack its end is the last one.
            *last += end;
        }
        let lines: Vec<String> = lines.into_iter().map(|line| format!("{indent}{line}{end}")).collect();
        let at = above.min(self.0.len());
        self.0.splice(at..at, lines);
    }

    /// Puts a piece at the end of the file.
    fn append(&mut self, piece: Piece) -> Option<()> {
        self.put_lines(self.0.len(), piece.block, "");
        Some(())
    }

    /// Takes lines out, by their numbers.
    fn cut(&mut self, first: usize, last: usize) -> Option<()> {
        (first <= last && last <= self.0.len()).then(|| drop(self.0.drain(first - 1..last)))
    }

    /// The character at a place; a space beyond the end.
    fn at(&self, place: Location) -> char {
        let line = self.0.get(place.line.wrapping_sub(1));
        line.and_then(|line| line.chars().nth(place.column.saturating_sub(1))).unwrap_or(' ')
    }

    /// Where a value ends, without the white space behind it.
    fn end(&self, node: &Node) -> Location {
        let mut end = node.end;
        while end.line == node.location.line
            && end.column > node.location.column + 1
            && self.at(Location { column: end.column - 1, ..end }).is_whitespace()
        {
            end.column -= 1;
        }
        end
    }

    /// The number of the last line that a value takes up.
    fn last_line(&self, node: &Node) -> usize {
        let is_flow = matches!(self.at(node.location), '[' | '{');
        match &node.value {
            Value::Sequence(items) if !is_flow => items.last().map_or(node.location.line, |item| self.last_line(item)),
            Value::Mapping(entries) if !is_flow => {
                let lines = entries.iter().map(|(key, value)| self.last_line(value).max(key.location.line));
                lines.max().unwrap_or(node.location.line)
            }
            // Nothing at all has its place where the next thing begins.
            Value::Scalar { text, .. } if text.is_empty() && node.is_null() => 0,
            _ if node.end.column == 1 && node.end.line > node.location.line => node.end.line - 1,
            _ => node.end.line,
        }
    }

    /// What stands before the dashes of the first list of a mapping.
    fn first_dash(&self, node: &Node) -> Option<String> {
        let Value::Mapping(entries) = &node.value else { return None };
        let (_, list) =
            entries.iter().find(|(_, value)| matches!(&value.value, Value::Sequence(items) if !items.is_empty()))?;
        let line = self.0.get(list.location.line - 1)?;
        let dash = line.trim_start();
        dash.starts_with('-').then(|| line[..line.len() - dash.len()].to_owned())
    }
}

/// The byte at which a column begins.
fn offset(line: &str, column: usize) -> Option<usize> {
    let ends = line.char_indices().map(|(at, _)| at).chain(std::iter::once(line.len()));
    ends.into_iter().nth(column.checked_sub(1)?)
}

/// A value as YAML.
fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| scalar(text, ' ', false))
}

/// A string as YAML, in quotes if the ones around it are, or if it needs them.
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
