//! The purpose of a file of an environment, which is derived from its path.

use std::path::{Component, Path};

/// The purpose of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Programs and shared libraries, without their debug symbols.
    Native,
    /// Python modules as source text.
    Python,
    /// Compiled python modules (`.pyc`).
    ByteCode,
    /// Tests of packages: all files below a directory `tests` or `test`.
    Tests,
    /// Headers for compilers, and files for `pkg-config` and `cmake`.
    Headers,
    /// Static libraries (`.a`, `.la`).
    StaticLibraries,
    /// Debug symbols in programs and libraries: about the bytes that `strip --strip-unneeded` would remove.
    DebugSymbols,
    /// Type stubs of python (`.pyi`).
    TypeStubs,
    /// Source maps (`.map` of scripts and style sheets).
    SourceMaps,
    /// Manuals and other documentation.
    Documentation,
    /// Translations.
    Locales,
    /// Records of installed packages (`conda-meta`).
    Records,
    /// The package cache of a root prefix (`pkgs`).
    PackageCache,
    /// All other files.
    Data,
}

impl FileKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 14] = [
        Self::Native,
        Self::Python,
        Self::ByteCode,
        Self::Tests,
        Self::Headers,
        Self::StaticLibraries,
        Self::DebugSymbols,
        Self::TypeStubs,
        Self::SourceMaps,
        Self::Documentation,
        Self::Locales,
        Self::Records,
        Self::PackageCache,
        Self::Data,
    ];

    /// The name of the kind, for output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "programs and libraries",
            Self::Python => "python modules",
            Self::ByteCode => "byte code",
            Self::Tests => "tests",
            Self::Headers => "headers",
            Self::StaticLibraries => "static libraries",
            Self::DebugSymbols => "debug symbols",
            Self::TypeStubs => "type stubs",
            Self::SourceMaps => "source maps",
            Self::Documentation => "documentation",
            Self::Locales => "locales",
            Self::Records => "records",
            Self::PackageCache => "package cache",
            Self::Data => "data",
        }
    }

    /// The kind of a file. `path` is relative to the prefix.
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let below = |directory: &str| path.starts_with(directory);
        let has = |directories: &[&str]| {
            let parents = path.parent().into_iter().flat_map(Path::components);
            parents
                .into_iter()
                .any(|part| matches!(part, Component::Normal(part) if directories.iter().any(|each| part == *each)))
        };
        match extension {
            _ if below("conda-meta") => Self::Records,
            _ if below("pkgs") => Self::PackageCache,
            "pyc" | "pyo" => Self::ByteCode,
            _ if has(&["tests", "test"]) => Self::Tests,
            "pyi" => Self::TypeStubs,
            "a" | "la" => Self::StaticLibraries,
            "map" if name.ends_with(".js.map") || name.ends_with(".css.map") => Self::SourceMaps,
            "h" | "hh" | "hpp" | "hxx" | "cuh" | "inl" | "pxd" | "pc" | "cmake" => Self::Headers,
            _ if has(&["include", "pkgconfig", "cmake"]) => Self::Headers,
            _ if ["man", "doc", "info", "gtk-doc", "share/man", "share/doc", "share/info", "share/gtk-doc"]
                .iter()
                .any(|each| below(each)) =>
            {
                Self::Documentation
            }
            "mo" | "po" => Self::Locales,
            _ if has(&["locale", "locales", "LC_MESSAGES"]) => Self::Locales,
            "py" => Self::Python,
            _ if is_library(path) || below("bin") || below("sbin") || below("libexec") => Self::Native,
            _ => Self::Data,
        }
    }
}

/// Whether a path has the name of a shared library: `libz.so`, `libz.so.1.3`, `x.dylib`.
pub(super) fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".so") || name.contains(".so.") || name.ends_with(".dylib")
}
