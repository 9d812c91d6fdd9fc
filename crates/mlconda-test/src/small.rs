//! The small channels: one package of every kind that is difficult for installers, and enough dependencies to solve.
//!
//! There are two channels: `main`, and `extra`, which has a newer `where` (hidden by strict channel priority) and the
//! only `special`. The names are invented, except `python` and `pip`, which have a meaning for every conda tool.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::Path,
    sync::OnceLock,
};

use crate::{
    channel::Channel,
    foreign_subdir,
    package::{Archive, Noarch, PLACEHOLDER, PackageBuilder},
    program,
};

/// The two channels.
#[derive(Clone, Debug)]
pub struct SmallChannels {
    /// All packages except those of `extra`.
    pub main: Channel,
    /// A newer `where`, and `special`.
    pub extra: Channel,
}

impl SmallChannels {
    /// Writes both channels, as `main` and `extra`, into a directory.
    ///
    /// # Errors
    ///
    /// If a file cannot be written or the programs inside the packages cannot be compiled.
    pub fn write(directory: &Path) -> io::Result<Self> {
        let main = Channel::write(directory.join("main"), &main_packages()?, &[foreign_subdir()])?;
        let extra = Channel::write(directory.join("extra"), &extra_packages()?, &[foreign_subdir()])?;
        Ok(Self { main, extra })
    }

    /// The directory that holds both.
    pub fn directory(&self) -> &Path {
        self.main.path().parent().unwrap_or(Path::new("/"))
    }
}

/// The channels that all tests of this process share, for reading only. They are in cargo's target directory.
///
/// # Panics
///
/// If they cannot be made.
#[allow(clippy::expect_used, reason = "without channels, no test can say anything")]
pub fn shared() -> &'static SmallChannels {
    static SHARED: OnceLock<SmallChannels> = OnceLock::new();
    SHARED.get_or_init(|| make_shared().expect("the small channels cannot be made"))
}

/// The channels for this version of the crate, from cargo's target directory if another process has made them.
/// Otherwise they are made in a temporary directory and then renamed, so that no other process sees an incomplete
/// channel.
fn make_shared() -> io::Result<SmallChannels> {
    let home = program::target_directory()?.join("mlconda-test");
    fs_err::create_dir_all(&home)?;
    let mut key = DefaultHasher::new();
    (main_packages()?, extra_packages()?).hash(&mut key);
    (include_str!("package.rs"), include_str!("channel.rs")).hash(&mut key);
    let place = home.join(format!("channels-{:016x}", key.finish()));
    let complete = || place.join("extra").is_dir();
    if !complete() {
        let aside = tempfile::tempdir_in(&home)?;
        SmallChannels::write(aside.path())?;
        match fs_err::rename(aside.path(), &place) {
            Ok(()) => std::mem::forget(aside),
            Err(_) if complete() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(SmallChannels { main: Channel::at(place.join("main")), extra: Channel::at(place.join("extra")) })
}

/// The packages of `main`.
///
/// # Errors
///
/// If the programs inside cannot be compiled.
pub fn main_packages() -> io::Result<Vec<PackageBuilder>> {
    let mut packages = vec![where_am_i("1.0")?, where_am_i("1.1")?, where_am_i("2.0")?, archived()?];
    packages.extend([python("3.11.8", 0)?, python("3.11.9", 0)?, python("3.12.4", 0)?]);
    packages.extend([python_abi("3.11", "cp311"), python_abi("3.12", "cp312"), tzdata(), pip()]);
    packages.extend([greet("1.0"), greet("1.1"), greet("2.0"), templates()]);
    packages.extend(numeric());
    packages.extend([scripts(), links(), hollow(), unicode(), after_link("1.0"), after_link("2.0")]);
    packages.extend([activated(), with_variables(), ml_stack(), clash("left"), clash("right"), ancient()]);
    packages.extend(particular_about_machines());
    packages.extend([large(), many(), foreign("where", "1.0"), foreign("where", "2.0"), foreign("python", "3.11.9")]);
    Ok(packages)
}

/// The packages of `extra`.
///
/// # Errors
///
/// If the programs inside cannot be compiled.
pub fn extra_packages() -> io::Result<Vec<PackageBuilder>> {
    let special = |version: &str| {
        PackageBuilder::new("special", version)
            .noarch(Noarch::Generic)
            .depends("where >=1.0")
            .file("share/special/README.txt", "Only in this channel.\n")
    };
    Ok(vec![where_am_i("9.0")?, special("1.0"), special("1.2")])
}

/// A compiled program that prints its prefix and a message.
fn where_am_i(version: &str) -> io::Result<PackageBuilder> {
    Ok(PackageBuilder::new("where", version)
        .depends("__unix")
        .executable("bin/where-am-i", program::prefix_report()?)
        .file("share/where/message.txt", format!("where {version}\n")))
}

/// A compiled program in a `.tar.bz2`.
fn archived() -> io::Result<PackageBuilder> {
    Ok(PackageBuilder::new("archived", "1.0")
        .archive(Archive::TarBz2)
        .executable("bin/archived", program::prefix_report()?)
        .file("etc/archived.conf", format!("prefix = {PLACEHOLDER}\n"))
        .link("bin/archived-link", "archived"))
}

/// A stand-in for python, with the files that an installer checks.
fn python(version: &str, number: u64) -> io::Result<PackageBuilder> {
    let minor = minor(version);
    let tag = minor.replace('.', "");
    Ok(PackageBuilder::new("python", version)
        .build_string(&format!("h4bc722e_{number}_cpython"))
        .build_number(number)
        .depends("__unix")
        .depends("tzdata")
        .constrains(&format!("python_abi {minor}.* *_cp{tag}"))
        .executable(&format!("bin/python{minor}"), program::python(version)?)
        .link("bin/python3", &format!("python{minor}"))
        .link("bin/python", &format!("python{minor}"))
        .file(&format!("lib/python{minor}/os.py"), "\"\"\"The landmark by which python finds its library.\"\"\"\n")
        .file(&format!("lib/python{minor}/site-packages/README.txt"), "Packages go here.\n")
        .file(&format!("lib/python{minor}/_sysconfigdata.py"), format!("prefix = '{PLACEHOLDER}'\n"))
        .directory(&format!("lib/python{minor}/lib-dynload")))
}

/// A package whose only use is to be constrained.
fn python_abi(minor: &str, tag: &str) -> PackageBuilder {
    PackageBuilder::new("python_abi", minor)
        .noarch(Noarch::Generic)
        .build_string(&format!("8_{tag}"))
        .build_number(8)
        .constrains(&format!("python {minor}.*"))
}

/// Files for every platform.
fn tzdata() -> PackageBuilder {
    PackageBuilder::new("tzdata", "2024a")
        .noarch(Noarch::Generic)
        .file("share/zoneinfo/Europe/Paris", b"TZif2\0\0\0")
        .file("share/zoneinfo/Etc/UTC", b"TZif2\0\0\0\0")
        .link("share/zoneinfo/Zulu", "Etc/UTC")
}

/// A noarch python package whose contents do not matter.
fn pip() -> PackageBuilder {
    python_package("pip", "24.0", "def main():\n    print('pip')\n")
        .depends("python >=3.8")
        .entry_point("pip = pip.cli:main")
        .entry_point("pip3 = pip.cli:main")
}

/// A noarch python package with everything that it can contain: modules, data, an entry point and a script.
fn greet(version: &str) -> PackageBuilder {
    python_package("greet", version, "def main():\n    print('hello')\n")
        .depends("python >=3.11")
        .entry_point("greet = greet.cli:main")
        .file("site-packages/greet/data/greeting.txt", "hello\n")
        .executable("python-scripts/greet-script", format!("#!{PLACEHOLDER}/bin/python\nprint('hello')\n"))
        .file("share/greet/where.txt", format!("{PLACEHOLDER}/share/greet\n"))
}

/// A noarch python package with a `.py` file that is not a module: a template, in Python 2.
fn templates() -> PackageBuilder {
    python_package("templates", "1.0", "")
        .depends("python")
        .file("site-packages/templates/new/main.py", "print '$name'\n")
}

/// A package with versions, variants and conflicts: `frames` needs a new `arrays`, `legacy` an old one.
fn numeric() -> Vec<PackageBuilder> {
    let arrays = |version: &str, variant: &str, number: u64| {
        PackageBuilder::new("arrays", version)
            .build_string(&format!("{variant}_py311_{number}"))
            .build_number(number)
            .depends("libarrays >=3.0,<4.0a0")
            .depends("python >=3.11,<3.12.0a0")
            .depends("python_abi 3.11.* *_cp311")
            .file("lib/python3.11/site-packages/arrays/__init__.py", format!("variant = '{variant}'\n"))
    };
    let noarch = |name: &str, version: &str, arrays: &str| {
        python_package(name, version, "").depends("python >=3.11").depends(&format!("arrays {arrays}"))
    };
    let libarrays = |version: &str| PackageBuilder::new("libarrays", version).file("lib/libarrays.txt", version);
    vec![
        arrays("1.24.0", "cpu", 0),
        arrays("1.25.2", "cpu", 0),
        arrays("1.26.4", "cpu", 0),
        arrays("1.26.4", "cuda", 1).depends("__cuda >=11"),
        noarch("frames", "2.0", ">=1.25"),
        noarch("frames", "2.1", ">=1.26"),
        noarch("legacy", "0.9", "<1.25"),
        libarrays("3.0.1"),
        libarrays("3.2.0"),
        libarrays("4.0.0"),
    ]
}

/// Text files that contain the prefix: a configuration file, and the first line of a script.
fn scripts() -> PackageBuilder {
    PackageBuilder::new("scripts", "1.0")
        .depends("python")
        .executable("bin/say-hello", format!("#!{PLACEHOLDER}/bin/python\nprint('hello')\n"))
        .executable("bin/show-prefix", format!("#!/bin/sh\necho '{PLACEHOLDER}'\n"))
        .file("lib/pkgconfig/scripts.pc", format!("prefix={PLACEHOLDER}\nlibdir={PLACEHOLDER}/lib\n"))
}

/// Soft links: to a file, through another link, to a directory, and to nothing.
fn links() -> PackageBuilder {
    PackageBuilder::new("links", "1.0")
        .file("lib/links/libone.so.1.2.3", "one\n")
        .link("lib/links/libone.so.1", "libone.so.1.2.3")
        .link("lib/links/libone.so", "libone.so.1")
        .link("share/links/from-afar", "../../lib/links/libone.so")
        .link("share/links/directory", "../../lib/links")
        .link("share/links/dangling", "nothing-here")
}

/// Empty directories.
fn hollow() -> PackageBuilder {
    PackageBuilder::new("hollow", "1.0")
        .file("share/hollow/README.txt", "Mind the empty directories.\n")
        .directory("var/hollow/spool")
        .told_directory("var/hollow/told")
        .told_directory("var/空")
}

/// Names beyond ASCII, and names with spaces.
fn unicode() -> PackageBuilder {
    PackageBuilder::new("unicode", "1.0")
        .noarch(Noarch::Generic)
        .file("share/unicode/naïve café.txt", "déjà vu\n")
        .file("share/unicode/日本語/データ.txt", "数\n")
        .file("share/unicode/a file with spaces", format!("{PLACEHOLDER}\n"))
        .link("share/unicode/ссылка", "日本語/データ.txt")
}

/// Scripts that run when the package is installed and when it is removed.
fn after_link(version: &str) -> PackageBuilder {
    let post = "#!/bin/sh\necho \"$PKG_NAME $PKG_VERSION was linked into $PREFIX\" > \"$PREFIX/share/after-link/linked.txt\"\n";
    let pre = "#!/bin/sh\nrm -f \"$PREFIX/share/after-link/linked.txt\"\n";
    PackageBuilder::new("after-link", version)
        .executable("bin/.after-link-post-link.sh", post)
        .executable("bin/.after-link-pre-unlink.sh", pre)
        .file("share/after-link/README.txt", format!("after-link {version}\n"))
}

/// Scripts that run when the environment is activated.
fn activated() -> PackageBuilder {
    PackageBuilder::new("activated", "1.0")
        .noarch(Noarch::Generic)
        .file("etc/conda/activate.d/activated.sh", "export ACTIVATED=\"yes, in $CONDA_PREFIX\"\n")
        .file("etc/conda/deactivate.d/activated.sh", "unset ACTIVATED\n")
}

/// Variables that activation sets, without a script.
fn with_variables() -> PackageBuilder {
    PackageBuilder::new("with-variables", "1.0")
        .noarch(Noarch::Generic)
        .file("etc/conda/env_vars.d/with-variables.json", "{\"WITH_VARIABLES\": \"yes\"}\n")
}

/// A package with dependencies only.
fn ml_stack() -> PackageBuilder {
    PackageBuilder::new("ml-stack", "2024.1")
        .noarch(Noarch::Generic)
        .depends("frames")
        .depends("greet")
        .depends("where")
}

/// One of two packages that claim the same path.
fn clash(side: &str) -> PackageBuilder {
    PackageBuilder::new(&format!("clash-{side}"), "1.0")
        .noarch(Noarch::Generic)
        .file("share/clash/shared.txt", format!("from clash-{side}\n"))
        .file(&format!("share/clash/{side}.txt"), format!("{side}\n"))
}

/// A package in the format before `info/paths.json`.
fn ancient() -> PackageBuilder {
    PackageBuilder::new("ancient", "0.1")
        .archive(Archive::TarBz2)
        .build_string("0")
        .without_paths_json()
        .executable("bin/ancient", format!("#!/bin/sh\necho '{PLACEHOLDER}'\n"))
        .link("bin/ancient-link", "ancient")
}

/// Packages that need a certain virtual package.
fn particular_about_machines() -> Vec<PackageBuilder> {
    let package = |name: &str, machine: &str| {
        PackageBuilder::new(name, "1.0").depends(machine).file(&format!("share/{name}.txt"), format!("{machine}\n"))
    };
    vec![
        package("needs-glibc", "__glibc >=2.17"),
        package("needs-future", "__glibc >=9"),
        package("gpu", "__cuda >=11"),
    ]
}

/// Three megabytes that do not compress, so that a download takes some time and can be interrupted.
fn large() -> PackageBuilder {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let bytes: Vec<u8> = (0..3_000_000_usize / 8).flat_map(|_| xorshift(&mut state).to_le_bytes()).collect();
    PackageBuilder::new("large", "1.0").file("share/large.bin", bytes)
}

/// Many files, so that an installation takes some time and can be interrupted.
fn many() -> PackageBuilder {
    (0..300).fold(PackageBuilder::new("many", "1.0").noarch(Noarch::Generic), |package, number| {
        package.file(&format!("share/many/{:02}/{number:03}.txt", number % 20), format!("{number}\n"))
    })
}

/// A package for another platform, which can be locked, but not run.
fn foreign(name: &str, version: &str) -> PackageBuilder {
    let package = PackageBuilder::new(name, version).subdir(foreign_subdir()).depends("__unix");
    let package = if name == "python" { package.depends("tzdata") } else { package };
    package.executable(&format!("bin/{name}"), format!("#!/bin/sh\necho '{PLACEHOLDER}'\n"))
}

/// A noarch python package with one module and its metadata.
fn python_package(name: &str, version: &str, cli: &str) -> PackageBuilder {
    let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    PackageBuilder::new(name, version)
        .noarch(Noarch::Python)
        .file(&format!("site-packages/{name}/__init__.py"), format!("__version__ = '{version}'\n"))
        .file(&format!("site-packages/{name}/cli.py"), cli)
        .file(&format!("site-packages/{name}-{version}.dist-info/METADATA"), metadata)
        .file(&format!("site-packages/{name}-{version}.dist-info/INSTALLER"), "conda\n")
}

/// The minor version: `3.11` for `3.11.9`.
fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
