//! Which parts of packages are left out of an environment: `--slim`, `# slim:` in a lock, `x-mlconda:` in an
//! `environment.yml`.
//!
//! This is only the value. The rules in `mlconda-prefix` say which files belong to a part.

use std::{
    collections::BTreeSet,
    fmt::{self, Display, Formatter},
    str::FromStr,
};

/// A part of packages that can be left out of an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Compiled modules (`.pyc`). Python makes them again on import, if it can write there.
    Bytecode,
    /// Symbols and debug information in programs and libraries.
    Debug,
    /// Manuals, documentation, examples.
    Docs,
    /// Files for compilers: headers, pkg-config and CMake files.
    Headers,
    /// Translations, except English and the languages that are named.
    Locales,
    /// Source maps of scripts for browsers.
    Maps,
    /// Hashes that the records of `conda-meta` have twice.
    Records,
    /// Static libraries.
    Static,
    /// Type stubs beside the module that they describe.
    Stubs,
    /// Tests.
    Tests,
}

impl Part {
    /// All parts, in the order in which they are written.
    pub const ALL: [Self; 10] = [
        Self::Bytecode,
        Self::Debug,
        Self::Docs,
        Self::Headers,
        Self::Locales,
        Self::Maps,
        Self::Records,
        Self::Static,
        Self::Stubs,
        Self::Tests,
    ];

    /// The parts of the word `safe`: in no measurement did a program need one of them.
    pub const SAFE: [Self; 7] =
        [Self::Debug, Self::Docs, Self::Maps, Self::Records, Self::Static, Self::Stubs, Self::Tests];

    /// The name of the part, as users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytecode => "bytecode",
            Self::Debug => "debug",
            Self::Docs => "docs",
            Self::Headers => "headers",
            Self::Locales => "locales",
            Self::Maps => "maps",
            Self::Records => "records",
            Self::Static => "static",
            Self::Stubs => "stubs",
            Self::Tests => "tests",
        }
    }

    fn bit(self) -> u16 {
        1 << self as u16
    }

    /// The part with this name, if there is one.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// The parts that are left out of an environment.
///
/// ```
/// # use mlconda_types::slim::{Part, Slim};
/// let slim: Slim = "tests,locales:fr+de,keep:scipy".parse()?;
/// assert!(slim.has(Part::Tests) && !slim.has(Part::Docs));
/// assert_eq!(slim.to_string(), "locales:de+fr,tests,keep:scipy");
/// # Ok::<(), mlconda_types::slim::SlimError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slim {
    /// One bit for each part, by its index in [`Part::ALL`].
    parts: u16,
    /// The languages whose translations stay.
    languages: BTreeSet<String>,
    /// The normalized names of the packages of which nothing is left out.
    whole: BTreeSet<String>,
}

impl Slim {
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.parts == 0
    }

    /// Whether this part is left out.
    pub fn has(&self, part: Part) -> bool {
        self.parts & part.bit() != 0
    }

    /// Whether nothing is left out of a package or distribution. Its name is normalized as for its kind (conda or PEP
    /// 503).
    pub fn keeps(&self, package: &str) -> bool {
        self.is_empty() || self.whole.iter().any(|named| is_named(named, package))
    }

    /// The names after `keep:` that are none of these packages.
    pub fn unknown<'a>(&'a self, packages: &[&str]) -> Vec<&'a str> {
        let is_unknown = |named: &&str| !packages.iter().any(|package| is_named(named, package));
        self.whole.iter().map(String::as_str).filter(is_unknown).collect()
    }

    /// Whether the translations for a locale are kept: `de_AT` if `de` is named, and `pt` if `pt_BR` is named, because
    /// python's gettext looks there too. English is always kept.
    pub fn speaks(&self, locale: &str) -> bool {
        let language = language_of(locale);
        ["en", "C", "POSIX", "root", "global"].contains(&language)
            || self.languages.iter().any(|named| named == locale || named == language || language_of(named) == locale)
    }

    fn add(&mut self, word: &str) -> Result<(), SlimError> {
        let wrong = || SlimError::NotAPart(word.to_owned());
        let (name, values) = word.split_once(':').map_or((word, None), |(name, values)| (name, Some(values)));
        let values: Vec<&str> = values.into_iter().flat_map(|values| values.split('+')).collect();
        let is_name = |value: &&str| {
            !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte))
        };
        if word.ends_with(':') || !values.iter().all(is_name) {
            return Err(wrong());
        }
        match (name, values.as_slice()) {
            ("safe", []) => Part::SAFE.into_iter().for_each(|part| self.parts |= part.bit()),
            ("all", []) => Part::ALL.into_iter().for_each(|part| self.parts |= part.bit()),
            ("keep", [_, ..]) => self.whole.extend(values.iter().map(|name| name.to_ascii_lowercase())),
            ("locales", _) => {
                self.parts |= Part::Locales.bit();
                self.languages.extend(values.iter().map(|value| (*value).to_owned()));
            }
            (name, []) => self.parts |= Part::of_name(name).ok_or_else(wrong)?.bit(),
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

fn language_of(locale: &str) -> &str {
    locale.split(['_', '-', '@', '.']).next().unwrap_or(locale)
}

/// Whether `named` is the name of a package: as written, or with its separators normalized as in PEP 503.
fn is_named(named: &str, package: &str) -> bool {
    let words = || named.split(['-', '_', '.']).filter(|word| !word.is_empty());
    named == package || words().eq(package.split('-'))
}

impl FromStr for Slim {
    type Err = SlimError;

    /// Parses words that are separated by commas: parts, `safe`, `all`, `locales:de+fr` (languages to keep),
    /// `keep:NAME+NAME` (packages of which nothing is left out). `none` is the empty value.
    fn from_str(text: &str) -> Result<Self, SlimError> {
        let mut slim = Self::default();
        if text.trim() == "none" {
            return Ok(slim);
        }
        for word in text.split(',') {
            slim.add(word.trim())?;
        }
        match slim.is_empty() {
            true if !slim.whole.is_empty() => Err(SlimError::NothingGoes(text.to_owned())),
            true => Err(SlimError::NotAPart(text.to_owned())),
            false => Ok(slim),
        }
    }
}

impl Display for Slim {
    /// Writes the parts by name, in one fixed order, so that a later meaning of `safe` does not change a lock. Writes
    /// `none` if nothing is left out.
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return formatter.write_str("none");
        }
        let joined = |head: &str, names: &BTreeSet<String>| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            [head, ":", &names.join("+")].concat()
        };
        let parts = Part::ALL.into_iter().filter(|part| self.has(*part));
        let mut words: Vec<String> = parts.map(|part| part.name().to_owned()).collect();
        if let Some(word) = words.iter_mut().find(|word| *word == "locales" && !self.languages.is_empty()) {
            *word = joined("locales", &self.languages);
        }
        if !self.whole.is_empty() {
            words.push(joined("keep", &self.whole));
        }
        formatter.write_str(&words.join(","))
    }
}

/// The text is not a list of parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlimError {
    /// A word is not the name of a part.
    #[error(
        "`{0}` is not a part to leave out: use `safe`, `all`, `bytecode`, `debug`, `docs`, `headers`, `locales`, `maps`, \
         `records`, `static`, `stubs` or `tests`; `locales:de+fr` and `keep:NAME` say what to keep"
    )]
    NotAPart(String),
    /// The text says what to keep, but names no part to leave out.
    #[error("`{0}` only says what to keep: name a part to leave out, too, as in `safe,{0}`")]
    NothingGoes(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Slim>().map_or_else(|error| error.to_string(), |slim| slim.to_string())
    }

    #[test]
    fn words_have_one_order() {
        assert_eq!(shown("safe"), "debug,docs,maps,records,static,stubs,tests");
        assert_eq!(shown("tests, docs,tests"), "docs,tests");
        assert_eq!(shown("keep:b+a,all,locales:fr"), {
            "bytecode,debug,docs,headers,locales:fr,maps,records,static,stubs,tests,keep:a+b"
        });
        assert_eq!(shown("none"), "none");
        for text in ["safe", "all,locales:de+fr", "tests,keep:numpy"] {
            let slim: Slim = text.parse().unwrap();
            assert_eq!(slim.to_string().parse(), Ok(slim));
        }
    }

    #[test]
    fn what_is_no_part_is_refused_with_its_word() {
        for word in ["", "test", "docs:x", "locales:", "keep", "keep:a+", "keep:a b", "safe:x"] {
            assert_eq!(format!("tests,{word}").parse::<Slim>(), Err(SlimError::NotAPart(word.to_owned())));
        }
        assert_eq!(
            shown("keep:numpy"),
            "`keep:numpy` only says what to keep: name a part to leave out, too, as in `safe,keep:numpy`"
        );
    }

    #[test]
    fn packages_stay_by_any_form_of_their_name() {
        let slim: Slim = "tests,keep:Ruamel.Yaml+foo_bar".parse().unwrap();
        assert!(["ruamel.yaml", "ruamel-yaml", "foo_bar", "foo-bar"].iter().all(|name| slim.keeps(name)));
        assert!(!["ruamel", "foo", "foobar"].iter().any(|name| slim.keeps(name)));
        assert_eq!(slim.unknown(&["foo-bar", "ruamel"]), ["ruamel.yaml"]);
    }

    #[test]
    fn english_and_the_named_languages_stay() {
        let slim: Slim = "locales:de+pt_BR".parse().unwrap();
        assert!(
            ["en", "en_GB", "root", "de", "de_AT", "de@euro", "pt_BR", "pt"].iter().all(|locale| slim.speaks(locale))
        );
        assert!(!["fr", "pt_PT", "den"].iter().any(|locale| slim.speaks(locale)));
    }
}
