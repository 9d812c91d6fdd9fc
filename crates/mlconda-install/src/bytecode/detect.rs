//! Detects how the modules of a prefix were compiled, from the byte code in its records.

use std::{io::Read, path::Path};

use mlconda_prefix::{Prefix, PrefixError, distributions};
use mlconda_system::files;
use rattler_conda_types::PrefixRecord;

use super::Bytecode;

impl Bytecode {
    /// How the modules of a prefix's noarch packages were compiled. `None` if there is no readable byte code.
    ///
    /// # Errors
    /// If the records cannot be listed. Unreadable records are ignored.
    pub fn detect(prefix: &Prefix) -> Result<Option<Self>, PrefixError> {
        let (prefix, _) = prefix.without_damaged()?;
        let is_compiled = |record: &&PrefixRecord| {
            let package = &record.repodata_record.package_record;
            package.noarch.is_python() || distributions::is_distribution(package)
        };
        let records = [prefix.records()?, prefix.distributions()?].concat();
        let (mut modules, mut compiled) = (false, false);
        for path in records.iter().filter(is_compiled).flat_map(|record| &record.files) {
            modules |= path.extension().is_some_and(|kind| kind == "py");
            if path.extension().is_some_and(|kind| kind == "pyc") {
                compiled = true;
                if let Some(found) = detect_file(&prefix.path().join(path)) {
                    return Ok(Some(found));
                }
            }
        }
        Ok((modules && !compiled).then_some(Self::Skip))
    }
}

/// Reads the header of a byte code file (PEP 552).
fn detect_file(path: &Path) -> Option<Bytecode> {
    let mut header = [0; 8];
    files::open(path).ok()?.read_exact(&mut header).ok()?;
    match header {
        [_, _, _, _, 0, 0, 0, 0] => Some(Bytecode::Timestamp),
        [_, _, _, _, 1, 0, 0, 0] => Some(Bytecode::UncheckedHash),
        [_, _, _, _, 3, 0, 0, 0] => Some(Bytecode::CheckedHash),
        _ => None,
    }
}
