//! The dynamic loader that a program names (ELF, `PT_INTERP`), and the processor that it is for.

use std::{
    io::{self, Read},
    path::Path,
};

use mlconda_system::files;

/// How much of a file is looked at, in bytes. The headers stand at the beginning.
const START: u64 = 64 << 10;

/// What the headers of a program say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// The loader; `None` of a static program or a library.
    pub(crate) interpreter: Option<String>,
    /// The number of the processor (`e_machine`).
    pub(crate) machine: u16,
}

/// Reads a file's headers; `None` if it is no ELF file.
pub(crate) fn read(path: &Path) -> io::Result<Option<Program>> {
    let mut start = Vec::new();
    files::open(path)?.take(START).read_to_end(&mut start)?;
    Ok(parse(&start))
}

fn parse(file: &[u8]) -> Option<Program> {
    let [0x7f, b'E', b'L', b'F', class, order, ..] = *file else { return None };
    let (is_64, is_little) = (class == 2, order == 1);
    let number = |at: u64, size: usize| {
        let at = usize::try_from(at).ok()?;
        let bytes = file.get(at..at.checked_add(size)?)?;
        let digit = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if is_little { bytes.iter().rev().fold(0, digit) } else { bytes.iter().fold(0, digit) })
    };
    let word = if is_64 { 8 } else { 4 };
    let machine = u16::try_from(number(18, 2)?).ok()?;
    let table = number(if is_64 { 32 } else { 28 }, word)?;
    let size = number(if is_64 { 54 } else { 42 }, 2)?;
    let count = number(if is_64 { 56 } else { 44 }, 2)?;
    let mut interpreter = None;
    for entry in 0..count {
        let at = table.checked_add(entry * size)?;
        // PT_INTERP.
        if number(at, 4) == Some(3) {
            let offset = number(at + if is_64 { 8 } else { 4 }, word)?;
            let length = number(at + if is_64 { 32 } else { 16 }, word)?;
            let begin = usize::try_from(offset).ok()?;
            let text = file.get(begin..begin.checked_add(usize::try_from(length).ok()?)?)?;
            let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
            interpreter = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    Some(Program { interpreter, machine })
}

/// The number of a platform's processor, by the name that images have for it.
pub(crate) fn machine(architecture: &str) -> Option<u16> {
    Some(match architecture {
        "386" => 3,
        "ppc64le" | "ppc64" => 21,
        "s390x" => 22,
        "arm" => 40,
        "amd64" => 62,
        "arm64" => 183,
        "riscv64" => 243,
        "loong64" => 258,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_of_a_program_is_found_and_what_is_none_is_no_error() {
        let mut file = vec![0; 200];
        file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        file[18] = 62;
        (file[32], file[54], file[56]) = (64, 56, 1);
        file[64] = 3;
        (file[64 + 8], file[64 + 32]) = (130, 6);
        file[130..136].copy_from_slice(b"/lib/x");
        let found = parse(&file).unwrap();
        assert_eq!((found.interpreter.as_deref(), found.machine), (Some("/lib/x"), 62));
        for cut in 0..file.len() {
            let _ = parse(&file[..cut]);
        }
        file[64] = 1;
        assert_eq!(parse(&file).unwrap().interpreter, None);
        file[32..40].copy_from_slice(&[255; 8]);
        assert_eq!(parse(&file).unwrap().interpreter, None);
        assert_eq!(parse(b"#!/bin/sh\n"), None);
    }
}
