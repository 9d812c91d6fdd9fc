//! Decodes files. Editors on Windows write byte order marks and UTF-16, and so does `>` of PowerShell (`conda env
//! export > environment.yml`). conda reads all of these.

use std::path::Path;

use mlconda_types::diagnostic::SourceText;

use super::{EnvironmentError, Location};

/// Decodes UTF-8, or UTF-16 in either byte order, with or without a byte order mark.
///
/// # Errors
/// If the bytes are neither.
pub fn decode(bytes: &[u8], file: &Path) -> Result<String, EnvironmentError> {
    let utf16 = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // UTF-8 text has no NUL in its first two bytes. An ASCII character in UTF-16 has one.
        [first, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => utf16(bytes, u16::from_be_bytes),
        _ => None,
    };
    if let Some(text) = utf16 {
        return Ok(text);
    }
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| not_text(bytes, error.valid_up_to(), file))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let (pairs, []) = bytes.as_chunks::<2>() else { return None };
    char::decode_utf16(pairs.iter().map(|&pair| unit(pair))).collect::<Result<_, _>>().ok()
}

fn not_text(bytes: &[u8], valid: usize, file: &Path) -> EnvironmentError {
    let text = String::from_utf8_lossy(bytes);
    let before = String::from_utf8_lossy(&bytes[..valid]);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let byte = bytes.get(valid).copied().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    EnvironmentError::Encoding(SourceText { file, text: &text, lines: &lines }.diagnostic(
        Location { line, column },
        1,
        format!("the byte 0x{byte:02x} is no part of a text in UTF-8"),
        "save the file in UTF-8",
    ))
}

/// Removes byte order marks (concatenated files have them in the middle) and converts line breaks to `\n`, so that
/// line numbers are well defined.
pub fn normalize(text: &str) -> String {
    text.replace('\u{feff}', "").replace("\r\n", "\n").replace('\r', "\n")
}
