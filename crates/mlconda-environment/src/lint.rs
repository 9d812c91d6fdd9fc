//! Warns about likely mistakes: channels that do not fit together or are misspelt, and packages of another platform.
//! These are guesses, so nothing is rejected, and each kind is reported once.

use rattler_conda_types::{PackageNameMatcher, StringMatcher, Subdir};

use super::{Environment, Location, Requirement, Warning, keys::nearest};

/// Popular channels. A similar name is probably a misspelling of one of them.
pub const WELL_KNOWN_CHANNELS: [&str; 13] = [
    "conda-forge",
    "bioconda",
    "defaults",
    "pytorch",
    "nvidia",
    "rapidsai",
    "anaconda",
    "main",
    "pyviz",
    "plotly",
    "fastai",
    "intel",
    "robostack-staging",
];

/// Packages that exist only on one system. A name that ends with `-` is a prefix.
const PACKAGES_BY_PLATFORM: &[(&str, &[&str])] = &[
    (
        "win",
        &[
            "console_shortcut",
            "getopt-win32",
            "m2-",
            "m2w64-",
            "menuinst",
            "msmpi",
            "msys2-conda-epoch",
            "pthreads-win32",
            "pywin32",
            "pywin32-ctypes",
            "pywinpty",
            "ucrt",
            "vc",
            "vc14_runtime",
            "vcomp14",
            "vs2008_runtime",
            "vs2013_runtime",
            "vs2015_runtime",
            "vs2015_win-64",
            "vs2017_win-64",
            "vs2019_win-64",
            "vs2022_win-64",
            "vswhere",
            "win_inet_pton",
            "win_unicode_console",
            "wincertstore",
            "winpty",
        ],
    ),
    ("osx", &["appnope", "cctools", "libcxx-devel", "libsigtool", "pyobjc-", "python.app", "sigtool", "tapi"]),
    (
        "linux",
        &["_libgcc_mutex", "alsa-lib", "libgcc-ng", "libnsl", "libstdcxx-ng", "libuuid", "libxcrypt", "secretstorage"],
    ),
];

/// The hashes in build strings that many packages of one platform share, because they come from the same compilers and
/// pins: `h06a4308` is on linux-64 for any package. The most frequent ones of conda-forge and `defaults`.
const BUILD_HASHES_BY_PLATFORM: &[(&str, &[&str])] = &[
    (
        "win-64",
        &[
            "haa95532", "h2bbff1b", "h8cc25b3", "hd77b12b", "hcfcfb64", "h8ffe710", "h2466b09", "ha68e1ae", "h63175ca",
            "he0c23c2", "h5ea7bf4", "h1ea47a8", "he736701", "hcd874cb", "hfd05255", "haa244fe", "h3485c13", "h294d835",
            "h29418f3", "h5a2d7ad", "h12c1d0e",
        ],
    ),
    (
        "osx-64",
        &[
            "hecd8cb5", "h6c40b1e", "hcec6c5f", "h1de35cc", "h0d85af4", "h0dc2134", "he705e18", "h73e2aa4", "h6eed73b",
            "h6e9494a", "h50d1736", "hf036a51", "hed1de0f", "h2725bcf", "h10d778d", "hf0c8a7f", "hb7f2c08", "h90acd4f",
        ],
    ),
    (
        "osx-arm64",
        &[
            "hca03da5", "h80987f9", "h313beb8", "h3422bc3", "h27ca646", "h267d04e", "h05b510d", "hc919400", "hb547adb",
            "h93a5062", "h2804cbe", "hebf3989", "h10201cd", "heffc1b2", "h81bd7bf", "h33210d7", "h1a8c8d9", "h5505292",
        ],
    ),
    (
        "linux-64",
        &[
            "h06a4308", "h5eee18b", "h6a678d5", "h7f98852", "hb9d3cd8", "hf3d152e", "hd590300", "h59595ed", "hb03c661",
            "h9c3ff4c", "h3811e60", "h5888daf", "h166bdaf", "hecca717", "hff52083", "h516909a", "h4c3975b", "h2372a71",
            "h459d7ec",
        ],
    ),
    (
        "linux-aarch64",
        &[
            "hd43f75c", "h998d150", "he30d5cf", "h86ecc28", "h5ad3122", "h31becfc", "h7ac5ae9", "h19352d5", "hd24410f",
            "h8af1aa0", "hfae3067",
        ],
    ),
];

/// Warnings about the channels of a file: a name similar to a well-known one, or conda-forge together with `defaults`.
pub(super) fn channels(names: &[(&str, Location)]) -> Vec<(Location, String)> {
    let mut found = Vec::new();
    for (name, location) in names {
        // `nodefaults` is a keyword, not a channel.
        let known = || WELL_KNOWN_CHANNELS.into_iter().chain(["nodefaults"]);
        let is_known = known().any(|known| known == *name);
        if let Some(near) = nearest(name, known()).filter(|_| !is_known) {
            found.push((*location, format!("`{name}` looks like the channel `{near}`; did you mean that?")));
        }
    }
    let place = |is: fn(&str) -> bool| names.iter().find(|(name, _)| is(name)).map(|(_, location)| *location);
    let forge = place(|name| name.trim_end_matches('/').ends_with("conda-forge"));
    let defaults =
        place(|name| name == "defaults" || name.starts_with("pkgs/") || name.contains("repo.anaconda.com/pkgs/"));
    if let (Some(forge), Some(defaults)) = (forge, defaults) {
        let message = "packages of `conda-forge` and of `defaults` are built separately and do not always work \
                       together; usually one of them is enough";
        found.push((forge.max(defaults), message.to_owned()));
    }
    found
}

/// One warning for all lines that cannot be satisfied on this platform.
pub(super) fn foreign_platform(environment: &Environment, platform: Subdir) -> Option<Warning> {
    let counts = |requirement: &&Requirement| requirement.selector.as_ref().is_none_or(|s| s.matches(platform));
    let lines: Vec<(&Requirement, &str)> = environment
        .requirements
        .iter()
        .filter(counts)
        .filter_map(|requirement| Some((requirement, native_platform(requirement)?)))
        .filter(|(_, home)| !platform.as_str().starts_with(home))
        .collect();
    let (first, home) = lines.first()?;
    let others = match lines.len() - 1 {
        0 => String::new(),
        1 => " and one more line".to_owned(),
        others => format!(" and {others} more lines"),
    };
    let text = &first.text;
    let held = format!(
        "`- sel({}): {}`",
        home.split('-').next().unwrap_or(home),
        text.split(['=', ' ', '<', '>', '[']).next().unwrap_or(text)
    );
    // A build string suggests an exported file.
    let why = match lines.iter().any(|(line, _)| line.spec.build.is_some()) {
        true => format!(
            "the file seems to be an export from there. Export it with `--no-builds` or `--from-history`, or limit such \
             lines as in {held}"
        ),
        false => format!("limit such lines as in {held}"),
    };
    let message = format!("`{text}`{others} can be had for {home} only, not for {platform}: {why}");
    Some(Warning { message, file: first.file.clone(), location: first.location })
}

/// The only platform or system that has the package or build of a line, as far as it is known.
pub fn native_platform(requirement: &Requirement) -> Option<&'static str> {
    let PackageNameMatcher::Exact(name) = &requirement.spec.name else { return None };
    let name = name.as_normalized();
    let is = |native: &&str| name == *native || native.ends_with('-') && name.starts_with(*native);
    let by_name = PACKAGES_BY_PLATFORM.iter().find(|(_, names)| names.iter().any(&is)).map(|(home, _)| *home);
    let Some(StringMatcher::Exact(build)) = &requirement.spec.build else { return by_name };
    let parts = || build.split('_').map(|part| part.find('h').map_or(part, |start| &part[start..]));
    let by_hash = BUILD_HASHES_BY_PLATFORM
        .iter()
        .find(|(_, hashes)| parts().any(|part| hashes.contains(&part)))
        .map(|(home, _)| *home);
    let is_msvc = build.split('_').any(|part| matches!(part, "vc9" | "vc10" | "vc14") || part.starts_with("vs20"));
    by_hash.or(is_msvc.then_some("win")).or(by_name)
}
