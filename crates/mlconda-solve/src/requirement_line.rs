//! A line of an environment, as explanations name it.

use std::{fmt, path::Path, sync::Arc};

use mlconda_environment::{Environment, Location};

/// A match spec of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequirementLine {
    /// The spec as written.
    pub text: String,
    /// The file that it is in.
    pub file: Arc<Path>,
    /// Whether that is not the environment's first file.
    pub is_of_another_file: bool,
    /// Its place in the file.
    pub location: Location,
}

impl RequirementLine {
    /// The line of a requirement, by its index.
    pub(super) fn of(environment: &Environment, line: usize) -> Self {
        let requirement = &environment.requirements[line];
        let (file, location) = (Arc::clone(&requirement.file), requirement.location);
        let is_of_another_file = *file != *environment.file;
        Self { text: requirement.text.trim().to_owned(), file, is_of_another_file, location }
    }
}

impl RequirementLine {
    /// Whether it is in a file. The `file` of other specs is a name, such as that of the command line.
    pub(super) fn has_line(&self) -> bool {
        self.location.line > 0
    }
}

impl fmt::Display for RequirementLine {
    /// The place of the line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_line() {
            return write!(formatter, "{}", self.file.display());
        }
        write!(formatter, "line {}", self.location.line)?;
        if self.is_of_another_file { write!(formatter, " of `{}`", self.file.display()) } else { Ok(()) }
    }
}
