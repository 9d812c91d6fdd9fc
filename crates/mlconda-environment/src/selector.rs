//! Selectors: the platforms that a line applies to. They are written as `sel(linux): x`, as for micromamba, or as a
//! comment `# [linux and not aarch64]`, as for conda-lock. One file can be locked for several platforms, so selectors
//! stay expressions until a platform is chosen.

use std::fmt::{self, Display, Formatter};

use mlconda_types::dependency::is_within_limits;
use rattler_conda_types::Subdir;

/// The known words besides the names of platforms such as `linux-64`.
const WORDS: &[&str] = &[
    "linux",
    "osx",
    "win",
    "unix",
    "linux32",
    "linux64",
    "osx64",
    "win32",
    "win64",
    "x86",
    "x86_64",
    "arm64",
    "aarch64",
    "ppc64le",
    "s390x",
    "riscv64",
    "armv6l",
    "armv7l",
    "wasm32",
    "emscripten",
    "wasi",
    "freebsd",
    "zos",
];

/// A boolean expression of platform names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    text: String,
    expression: Expression,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Word(String),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
}

impl Selector {
    /// Parses an expression; `None` if it is invalid or contains an unknown word.
    pub fn parse(text: &str) -> Option<Self> {
        // A long chain of `or` would become a deeply nested expression.
        if !is_within_limits(text) {
            return None;
        }
        let spaced = text.replace('(', " ( ").replace(')', " ) ");
        let mut words = spaced.split_whitespace().peekable();
        let expression = or(&mut words, 0)?;
        words.next().is_none().then(|| Self { text: text.trim().to_owned(), expression })
    }

    /// Whether the line applies to a platform.
    pub fn matches(&self, platform: Subdir) -> bool {
        self.expression.matches(platform)
    }

    /// The conjunction of two selectors: `sel(linux): x  # [not aarch64]`.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            text: format!("({}) and ({})", self.text, other.text),
            expression: Expression::And(Box::new(self.expression), Box::new(other.expression)),
        }
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Expression {
    fn matches(&self, platform: Subdir) -> bool {
        match self {
            Self::Word(word) => word_matches(word, platform),
            Self::Not(inner) => !inner.matches(platform),
            Self::And(left, right) => left.matches(platform) && right.matches(platform),
            Self::Or(left, right) => left.matches(platform) || right.matches(platform),
        }
    }
}

fn word_matches(word: &str, platform: Subdir) -> bool {
    let arch = platform.arch().map_or("", |arch| arch.as_str());
    match word {
        "linux" => platform.is_linux(),
        "osx" => platform.is_osx(),
        "win" => platform.is_windows(),
        "unix" => platform.is_linux() || platform.is_osx(),
        "linux32" => platform == Subdir::Linux32,
        "linux64" => platform == Subdir::Linux64,
        "osx64" => platform == Subdir::Osx64,
        "win32" => platform == Subdir::Win32,
        "win64" => platform == Subdir::Win64,
        // In conda-build, `x86` means both 32 and 64 bits.
        "x86" => matches!(arch, "x86" | "x86_64"),
        "emscripten" | "wasi" | "freebsd" | "zos" => platform.as_str().split('-').next() == Some(word),
        // The same architecture has two names: `linux-aarch64`, but `osx-arm64`.
        _ if WORDS.contains(&word) => arch == word,
        _ => platform.as_str() == word,
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn or(words: &mut Words<'_>, depth: usize) -> Option<Expression> {
    let mut left = and(words, depth)?;
    while words.next_if_eq(&"or").is_some() {
        left = Expression::Or(Box::new(left), Box::new(and(words, depth)?));
    }
    Some(left)
}

fn and(words: &mut Words<'_>, depth: usize) -> Option<Expression> {
    let mut left = not(words, depth)?;
    while words.next_if_eq(&"and").is_some() {
        left = Expression::And(Box::new(left), Box::new(not(words, depth)?));
    }
    Some(left)
}

fn not(words: &mut Words<'_>, depth: usize) -> Option<Expression> {
    // The limit protects the stack.
    if depth > 32 {
        return None;
    }
    match words.next()? {
        "not" => Some(Expression::Not(Box::new(not(words, depth + 1)?))),
        "(" => {
            let inner = or(words, depth + 1)?;
            words.next_if_eq(&")").map(|_| inner)
        }
        word => (WORDS.contains(&word) || word.parse::<Subdir>().is_ok_and(|platform| platform.as_str() == word))
            .then(|| Expression::Word(word.to_owned())),
    }
}

/// The selector in a comment, if there is one: `[linux]`, perhaps with more words after it. Other brackets, as in `#
/// needs httpx[http2]`, are ignored.
pub(super) fn in_comment(comment: &str) -> Option<Selector> {
    let inner = comment.strip_prefix('[')?;
    Selector::parse(inner.split_once(']')?.0)
}

/// The expression in a key `sel(…)`.
pub(super) fn in_key(key: &str) -> Option<&str> {
    key.trim().strip_prefix("sel(")?.strip_suffix(')')
}
