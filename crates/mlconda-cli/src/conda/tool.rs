//! The tools whose command lines are supported.

use std::ffi::OsStr;

/// The name by which the program was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Conda,
    Mamba,
    Micromamba,
    Mlconda,
}

impl Tool {
    /// The tool with this file name, if its command lines are conda's.
    pub(super) fn of(program: &OsStr) -> Option<Self> {
        let name = std::path::Path::new(program).file_name()?.to_str()?;
        [Self::Conda, Self::Mamba, Self::Micromamba].into_iter().find(|tool| tool.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Conda => "conda",
            Self::Mamba => "mamba",
            Self::Micromamba => "micromamba",
            Self::Mlconda => "mlconda",
        }
    }
}
