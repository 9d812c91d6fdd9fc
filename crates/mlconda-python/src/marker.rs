//! Markers (PEP 508): whether a requirement applies on a platform, with a python, and with extras.
//!
//! uv evaluates markers when it resolves. Here they only decide which requirements of a package are shown. So a marker
//! that is invalid, or depends on something unknown (such as the version of the kernel), counts as true.

use std::{cmp::Ordering, collections::BTreeSet, str::FromStr};

use mlconda_types::dependency::is_within_limits;
use pep440_rs::{Version, VersionSpecifiers};
use rattler_conda_types::Subdir;

use super::normalize;

/// The environment in which markers are evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkerEnvironment {
    platform: Subdir,
    /// The full version of python, if there is one.
    python: Option<String>,
}

impl MarkerEnvironment {
    /// A platform, and the full version of python, if there is one.
    pub fn new(platform: Subdir, python: Option<String>) -> Self {
        Self { platform, python }
    }

    /// Whether a marker holds with these extras of its package.
    pub fn evaluate(&self, marker: &str, extras: &BTreeSet<String>) -> bool {
        if !is_within_limits(marker) {
            return true;
        }
        let mut parser = MarkerParser { target: self, extras, tokens: tokenize(marker), position: 0 };
        match parser.parse_or() {
            Some(holds) if parser.position == parser.tokens.len() => holds,
            _ => true,
        }
    }

    /// The value of a variable; `None` if it is unknown.
    fn value(&self, name: &str) -> Option<String> {
        let (os, system, machine) = machine(self.platform)?;
        let known = |text: &str| Some(text.to_owned());
        match name {
            "os_name" | "os.name" => known(if os == "win32" { "nt" } else { "posix" }),
            "sys_platform" | "sys.platform" => known(os),
            "platform_system" => known(system),
            "platform_machine" | "platform.machine" => known(machine),
            "platform_python_implementation" | "python_implementation" => known("CPython"),
            "implementation_name" => known("cpython"),
            "python_full_version" | "implementation_version" => self.python.clone(),
            "python_version" => {
                let parts: Vec<&str> = self.python.as_ref()?.split('.').take(2).collect();
                Some(parts.join("."))
            }
            _ => None,
        }
    }
}

/// `sys.platform`, `platform.system()` and `platform.machine()`.
fn machine(platform: Subdir) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match platform {
        Subdir::Linux64 => ("linux", "Linux", "x86_64"),
        Subdir::Linux32 => ("linux", "Linux", "i686"),
        Subdir::LinuxAarch64 => ("linux", "Linux", "aarch64"),
        Subdir::LinuxPpc64le => ("linux", "Linux", "ppc64le"),
        Subdir::LinuxS390X => ("linux", "Linux", "s390x"),
        Subdir::LinuxRiscv64 => ("linux", "Linux", "riscv64"),
        Subdir::LinuxArmV7l => ("linux", "Linux", "armv7l"),
        Subdir::Osx64 => ("darwin", "Darwin", "x86_64"),
        Subdir::OsxArm64 => ("darwin", "Darwin", "arm64"),
        Subdir::Win64 => ("win32", "Windows", "AMD64"),
        Subdir::Win32 => ("win32", "Windows", "x86"),
        Subdir::WinArm64 => ("win32", "Windows", "ARM64"),
        _ => return None,
    })
}

/// A token: a quoted string, or a word or operator.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Quoted(String),
    Word(String),
}

fn tokenize(text: &str) -> Vec<Token> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => {
                let inner = rest[1..].split(first).next().unwrap_or_default();
                tokens.push(Token::Quoted(inner.to_owned()));
                rest = rest.get(inner.len() + 2..).unwrap_or_default().trim_start();
                continue;
            }
            '(' | ')' => 1,
            '<' | '>' | '=' | '!' | '~' => rest.find(|each| !"<>=!~".contains(each)).unwrap_or(rest.len()),
            _ => rest.find(|each: char| each.is_whitespace() || "<>=!~()\"'".contains(each)).unwrap_or(rest.len()),
        };
        tokens.push(Token::Word(rest[..length].to_owned()));
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Parses and evaluates a marker; `None` if it is invalid.
struct MarkerParser<'a> {
    target: &'a MarkerEnvironment,
    extras: &'a BTreeSet<String>,
    tokens: Vec<Token>,
    position: usize,
}

impl MarkerParser<'_> {
    fn next(&mut self) -> Option<Token> {
        self.position += 1;
        self.tokens.get(self.position - 1).cloned()
    }

    /// Consumes a word, if it is next.
    fn accept(&mut self, word: &str) -> bool {
        let is_it = self.tokens.get(self.position).is_some_and(|token| *token == Token::Word(word.to_owned()));
        self.position += usize::from(is_it);
        is_it
    }

    fn parse_or(&mut self) -> Option<bool> {
        let mut holds = self.parse_and()?;
        while self.accept("or") {
            holds |= self.parse_and()?;
        }
        Some(holds)
    }

    fn parse_and(&mut self) -> Option<bool> {
        let mut holds = self.parse_comparison()?;
        while self.accept("and") {
            holds &= self.parse_comparison()?;
        }
        Some(holds)
    }

    fn parse_comparison(&mut self) -> Option<bool> {
        if self.accept("(") {
            let holds = self.parse_or()?;
            return self.accept(")").then_some(holds);
        }
        let left = self.next()?;
        let mut sign = match self.next()? {
            Token::Word(sign) => sign,
            Token::Quoted(_) => return None,
        };
        if sign == "not" && self.accept("in") {
            sign = "not in".to_owned();
        }
        let right = self.next()?;
        let extra = Token::Word("extra".to_owned());
        let named = if left == extra { &right } else { &left };
        if let (Token::Quoted(name), true) = (named, left == extra || right == extra) {
            let has = self.extras.contains(&normalize(name));
            return match sign.as_str() {
                "==" | "===" => Some(has),
                "!=" => Some(!has),
                _ => None,
            };
        }
        let value = |token: &Token| match token {
            Token::Quoted(text) => Some(text.clone()),
            Token::Word(name) => self.target.value(name),
        };
        Some(match (value(&left), value(&right)) {
            (Some(left), Some(right)) => compare(&left, &sign, &right)?,
            _ => true,
        })
    }
}

/// Compares versions as versions, and everything else as text (PEP 508).
fn compare(left: &str, sign: &str, right: &str) -> Option<bool> {
    match sign {
        "in" => return Some(right.contains(left)),
        "not in" => return Some(!right.contains(left)),
        _ => {}
    }
    // `>= '3.6.*'` is in old metadata, where the star means nothing; only `==` and `!=` have one (PEP 440).
    let right = if matches!(sign, "<" | "<=" | ">" | ">=") { right.trim_end_matches(".*") } else { right };
    let specifiers = VersionSpecifiers::from_str(&format!("{sign}{right}"));
    if let (Ok(version), Ok(specifiers)) = (Version::from_str(left), specifiers) {
        return Some(specifiers.contains(&version));
    }
    let order = left.cmp(right);
    match sign {
        "==" | "===" => Some(order == Ordering::Equal),
        "!=" => Some(order != Ordering::Equal),
        "<" => Some(order == Ordering::Less),
        "<=" => Some(order != Ordering::Greater),
        ">" => Some(order == Ordering::Greater),
        ">=" => Some(order != Ordering::Less),
        _ => None,
    }
}

#[cfg(test)]
mod conformance;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_read_for_the_target() {
        let target = MarkerEnvironment { platform: Subdir::OsxArm64, python: Some("3.10.4".to_owned()) };
        let extras = BTreeSet::from(["all-of-it".to_owned()]);
        for (marker, holds) in [
            ("python_version < '3.9'", false),
            ("python_version >= \"3.9\" and sys_platform == 'darwin'", true),
            ("python_full_version != '3.10.4'", false),
            ("'3.2' > python_version or platform_machine=='arm64'", true),
            ("(os_name == 'nt' or os_name == 'java') and python_version > '3'", false),
            ("os_name == 'nt' or os_name == 'posix' and python_version > '3'", true),
            ("platform_system in 'Linux Windows'", false),
            ("platform_system not in 'Linux Windows'", true),
            ("python_version ~= '3.8'", true),
            ("extra == 'All_of.it'", true),
            ("python_version < '3.9' and extra == 'all-of-it'", false),
            ("extra == 'none'", false),
            ("python_version >= '3.6.*'", true),
            ("python_version < '3.11.*'", true),
            // A part that is unknown or not understood counts as true.
            ("extra in 'none'", true),
            ("extra not in 'all-of-it'", true),
            ("platform_release >= '20'", true),
            ("python_version <", true),
            ("python_version < '3.9' 'x'", true),
            ("", true),
        ] {
            assert_eq!(target.evaluate(marker, &extras), holds, "{marker}");
        }
        let unknown = MarkerEnvironment { platform: Subdir::NoArch, python: None };
        assert!(unknown.evaluate("python_version < '3' and sys_platform == 'win32'", &extras));
        // Metadata is untrusted: no stack would be large enough for this nesting.
        assert!(target.evaluate(&"(".repeat(1 << 20), &extras));
    }
}
