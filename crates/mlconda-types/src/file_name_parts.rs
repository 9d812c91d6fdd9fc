//! Which names, versions and build strings of packages are allowed.
//!
//! They come from URLs, records of prefixes, `info/index.json`, locks of other tools and repodata, and become parts of
//! the paths of records and scripts. So separators, a leading `.` and invisible characters are not allowed.

/// Whether a name, a version or a build is allowed.
pub fn is_allowed(part: &str) -> bool {
    let is_usual = |each: char| each.is_ascii_alphanumeric() || "_.-+!".contains(each);
    !part.is_empty() && part.len() <= MAX_LENGTH && !part.starts_with('.') && part.chars().all(is_usual)
}

/// The longest name, version or build, in bytes. File systems allow 255 for all three together.
const MAX_LENGTH: usize = 200;

/// Checks a name, a version and a build string.
///
/// # Errors
/// If one of them is not allowed. The text says which one.
pub fn check(name: &str, version: &str, build: &str) -> Result<(), String> {
    for (kind, part) in [("name", name), ("version", version), ("build", build)] {
        if !is_allowed(part) {
            let shown: String = part.chars().take(80).flat_map(char::escape_debug).collect();
            return Err(format!("the {kind} `{shown}` cannot be part of a package's file name"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_lead_elsewhere_is_plain() {
        for part in ["", ".", "..", "../x", "a/b", ".x", "a\nb", "a b", "a\u{1b}[2J", "ä", &"x".repeat(201)] {
            assert!(check("a", "1", part).is_err(), "{part:?}");
            assert!(check(part, "1", "0").is_err(), "{part:?}");
            assert!(check("a", part, "0").is_err(), "{part:?}");
        }
        assert_eq!(check("_x-y.z", "1!2.0+cu12", "py311h_0"), Ok(()));
        let message = "the build `..\\n` cannot be part of a package's file name";
        assert_eq!(check("a", "1", "..\n"), Err(message.to_owned()));
    }
}
