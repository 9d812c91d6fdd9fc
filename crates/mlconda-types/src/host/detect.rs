//! Detects the virtual packages of a machine by reading files only.
//!
//! The usual methods are to run `ldd`, or to load `libcuda.so`. Both need a dynamic loader, which a minimal image does
//! not have, or they report the C library that the binary was built with. So the version of glibc is read from the
//! bytes of the machine's `libc.so.6`.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use memchr::memmem;
use mlconda_system::files;
use rattler_conda_types::{GenericVirtualPackage, Subdir};

use super::{package, processor};

/// The number of bytes of a C library that are read. No C library is larger.
const MAX_LIBRARY: u64 = 32 << 20;

/// Major versions of the NVIDIA driver, and the newest CUDA version that each supports. The driver's own file names
/// only the driver version.
const CUDA_BY_DRIVER: [(u32, &str); 20] = [
    (590, "13.1"),
    (580, "13.0"),
    (575, "12.9"),
    (570, "12.8"),
    (565, "12.7"),
    (560, "12.6"),
    (555, "12.5"),
    (550, "12.4"),
    (545, "12.3"),
    (535, "12.2"),
    (530, "12.1"),
    (525, "12.0"),
    (520, "11.8"),
    (515, "11.7"),
    (510, "11.6"),
    (495, "11.5"),
    (470, "11.4"),
    (465, "11.3"),
    (460, "11.2"),
    (450, "11.0"),
];

/// The virtual packages of the machine below `root`, in no particular order.
pub(super) fn virtual_packages(root: &Path, platform: Subdir) -> Vec<GenericVirtualPackage> {
    let mut packages = Vec::new();
    if platform.is_unix() {
        packages.extend(package("__unix", "0", "0"));
    }
    if platform.is_linux() {
        packages.extend(kernel(root).and_then(|version| package("__linux", &version, "0")));
        packages.extend(glibc(root).and_then(|version| package("__glibc", &version, "0")));
    }
    if platform.is_osx() {
        packages.extend(macos(root).and_then(|version| package("__osx", &version, "0")));
    }
    packages.extend(cuda(root).and_then(|version| package("__cuda", version, "0")));
    packages.extend(x86_level().or_else(|| processor(platform)).and_then(|name| package("__archspec", "1", name)));
    packages
}

/// The version of the running kernel: the numbers at the beginning of its release, at most four, as in conda.
fn kernel(root: &Path) -> Option<String> {
    let release = files::read_to_string(&root.join("proc/sys/kernel/osrelease"), files::LARGEST_TEXT)
        .ok()
        .or_else(|| rustix::system::uname().release().to_str().ok().map(str::to_owned))?;
    leading_numbers(release.trim(), 4)
}

/// The version of glibc; `None` for another C library or none.
fn glibc(root: &Path) -> Option<String> {
    libraries(root).iter().find_map(|path| glibc_version(path))
}

/// Possible paths of `libc.so.6`: beside the dynamic loader, and in the directories that distributions use.
fn libraries(root: &Path) -> Vec<PathBuf> {
    let arch = std::env::consts::ARCH;
    let loaders = ["lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1", "lib64/ld64.so.2", "lib/ld64.so.1"];
    let beside_loader = loaders.iter().filter_map(|loader| {
        let target = fs_err::canonicalize(root.join(loader)).ok()?;
        Some(target.parent()?.to_path_buf())
    });
    let usual =
        ["lib64", "lib"].into_iter().flat_map(|directory| ["", "usr/"].map(|parent| format!("{parent}{directory}")));
    let multiarch = ["lib", "usr/lib"].map(|directory| format!("{directory}/{arch}-linux-gnu"));
    beside_loader
        .chain(multiarch.into_iter().chain(usual).map(|directory| root.join(directory)))
        .map(|directory| directory.join("libc.so.6"))
        .collect()
}

/// The version in the banner of the library: `GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.`
fn glibc_version(path: &Path) -> Option<String> {
    let mut content = Vec::new();
    files::open(path).ok()?.take(MAX_LIBRARY).read_to_end(&mut content).ok()?;
    let greeting = &content[memmem::find(&content, b"GNU C Library")?..];
    let greeting = &greeting[..greeting.len().min(200)];
    const MARK: &[u8] = b"release version ";
    let version = &greeting[memmem::find(greeting, MARK)? + MARK.len()..];
    leading_numbers(&String::from_utf8_lossy(version), 2)
}

/// The version of macOS, from the property list that `sw_vers` reads.
fn macos(root: &Path) -> Option<String> {
    let text =
        files::read_to_string(&root.join("System/Library/CoreServices/SystemVersion.plist"), files::LARGEST_TEXT)
            .ok()?;
    let (_, rest) = text.split_once("<key>ProductVersion</key>")?;
    let (_, rest) = rest.split_once("<string>")?;
    leading_numbers(rest, 3)
}

/// The newest CUDA that the machine's NVIDIA driver supports.
fn cuda(root: &Path) -> Option<&'static str> {
    let text = files::read_to_string(&root.join("proc/driver/nvidia/version"), files::LARGEST_TEXT).ok()?;
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    // The driver version is the first word of the form `550.54.15`.
    let driver = line.split_whitespace().find_map(|word| {
        let (major, rest) = word.split_once('.')?;
        rest.starts_with(|first: char| first.is_ascii_digit()).then(|| major.parse::<u32>().ok())?
    })?;
    CUDA_BY_DRIVER.iter().find(|(major, _)| driver >= *major).map(|(_, version)| *version)
}

/// The microarchitecture level of an x86-64 processor (System V psABI), by its archspec name. Packages ask for levels,
/// so no table of processor models is needed.
#[cfg(target_arch = "x86_64")]
fn x86_level() -> Option<&'static str> {
    macro_rules! has {
        ($($feature:tt),*) => { $(std::is_x86_feature_detected!($feature))&&* };
    }
    let v2 = has!("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cmpxchg16b");
    let v3 = v2 && has!("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe");
    let v4 = v3 && has!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl");
    Some(match (v2, v3, v4) {
        (_, _, true) => "x86_64_v4",
        (_, true, _) => "x86_64_v3",
        (true, ..) => "x86_64_v2",
        _ => "x86_64",
    })
}

/// Other architectures have no levels here.
#[cfg(not(target_arch = "x86_64"))]
fn x86_level() -> Option<&'static str> {
    None
}

/// The dotted numbers at the start of a text, at most `limit` of them.
fn leading_numbers(text: &str, limit: usize) -> Option<String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let numbers: Vec<&str> = text[..end].split('.').take_while(|number| !number.is_empty()).take(limit).collect();
    (!numbers.is_empty()).then(|| numbers.join("."))
}

#[cfg(test)]
mod conformance;

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like a machine.
    fn machine(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, content).unwrap();
        }
        root
    }

    fn detected(root: &Path) -> Vec<String> {
        let mut packages: Vec<String> =
            virtual_packages(root, Subdir::Linux64).iter().map(ToString::to_string).collect();
        packages.retain(|package| !package.starts_with("__archspec"));
        packages
    }

    #[test]
    fn glibc_kernel_and_driver_are_read_from_their_files() {
        let greeting = b"\0..\0GNU C Library (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36.\nCopyright\0";
        let root = machine(&[
            ("usr/lib64/libc.so.6", greeting),
            ("proc/sys/kernel/osrelease", b"5.15.0-1051-aws\n"),
            (
                "proc/driver/nvidia/version",
                b"NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 12.2.0\n",
            ),
        ]);
        assert_eq!(detected(root.path()), ["__unix=0=0", "__linux=5.15.0=0", "__glibc=2.36=0", "__cuda=12.4=0"]);
    }

    #[test]
    fn a_machine_with_another_c_library_has_no_glibc() {
        let root = machine(&[
            ("lib/ld-musl-x86_64.so.1", b"musl libc (x86_64)\nVersion 1.2.5"),
            ("lib/libc.so.6", b"something else that calls itself so"),
            ("proc/sys/kernel/osrelease", b"6.6.31-0-lts"),
        ]);
        assert_eq!(detected(root.path()), ["__unix=0=0", "__linux=6.6.31=0"]);
    }

    #[test]
    fn macos_is_read_from_its_property_list() {
        let root = machine(&[(
            "System/Library/CoreServices/SystemVersion.plist",
            b"<dict>\n<key>ProductVersion</key>\n<string>14.5</string>\n</dict>",
        )]);
        assert_eq!(macos(root.path()).as_deref(), Some("14.5"));
    }
}
