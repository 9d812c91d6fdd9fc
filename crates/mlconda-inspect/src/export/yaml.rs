//! Writes an export as YAML. All readers of `environment.yml` files must read each value as the same string, including
//! readers of YAML 1.1, for which `no` is a boolean.

use std::fmt::Write;

use mlconda_environment::yaml::scalar;

use super::Export;

/// The text of the file.
pub(super) fn render(export: &Export) -> String {
    let Export { name, channels, dependencies, pip, variables, slim } = export;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |indent: &str, content: &str| _ = writeln!(text, "{indent}{content}");
    if let Some(name) = name {
        line("", &format!("name: {}", scalar(name)));
    }
    let empty = |list: &[String]| if list.is_empty() { " []" } else { "" };
    line("", &format!("channels:{}", empty(channels)));
    channels.iter().for_each(|channel| line("  - ", &scalar(channel)));
    line("", &format!("dependencies:{}", if pip.is_empty() { empty(dependencies) } else { "" }));
    dependencies.iter().for_each(|spec| line("  - ", &scalar(spec)));
    if !pip.is_empty() {
        line("  - ", "pip:");
        pip.iter().for_each(|requirement| line("      - ", &scalar(requirement)));
    }
    if !variables.is_empty() {
        line("", "variables:");
        variables.iter().for_each(|(name, value)| line("  ", &format!("{}: {}", scalar(name), scalar(value))));
    }
    if let Some(slim) = slim {
        line("x-mlconda:", "");
        line("  ", &format!("slim: {}", scalar(&slim.to_string())));
    }
    text
}
