//! Reads `x-mlconda:`, mlconda's own section, which other tools ignore.

use std::rc::Rc;

use mlconda_types::slim::Slim;

use super::{Reader, Result, Value, YamlNode};

const HELP: &str = "write `x-mlconda:`, and below it `slim: safe` or a list of parts";

impl Reader<'_> {
    pub(super) fn own(&mut self, value: &YamlNode) -> Result<()> {
        if value.is_null() {
            return Ok(());
        }
        let Value::Mapping(entries) = &value.value else {
            let message = format!("`x-mlconda:` is {}, and should be a mapping", value.kind());
            return Err(self.wrong_node(value, message, HELP));
        };
        for (key, value) in entries {
            match key.text() {
                Some("slim") => self.slim(value)?,
                name => {
                    let name = name.unwrap_or_default();
                    self.warn(key.location, format!("`{name}:` means nothing in `x-mlconda:` and is ignored"));
                }
            }
        }
        Ok(())
    }

    fn slim(&mut self, value: &Rc<YamlNode>) -> Result<()> {
        let items = match &value.value {
            Value::Scalar { .. } => vec![Rc::clone(value)],
            _ => self.list("slim", value)?,
        };
        let words: Vec<&str> = items.iter().map(|item| item.text().unwrap_or_default()).collect();
        if words.is_empty() || value.is_null() {
            return Ok(());
        }
        match words.join(",").parse::<Slim>() {
            Ok(slim) => self.environment.slim = Some(slim),
            Err(error) => return Err(self.wrong_node(value, error.to_string(), HELP)),
        }
        Ok(())
    }
}
