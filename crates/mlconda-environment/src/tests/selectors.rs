//! Selectors: which lines apply to a platform.

use super::*;

#[test]
fn selectors_are_resolved_for_a_platform() {
    let environment = read(
        "channels: [a]\ndependencies:\n  - always\n  - sel(linux): onlinux\n  - sel(osx or win):\n      - elsewhere\n      \
         - mac # [osx]\n  - x86 # [linux64 or osx-64]\n  - arm # [not (x86_64 or win)]\n  - pip\n  - pip:\n      - p # [unix]\n",
    )
    .unwrap();
    let names = |platform| {
        let environment = environment.for_platform(platform);
        let specs = environment.requirements.iter().map(|r| selected(&r.text, r.selector.as_ref()));
        specs.chain(environment.pip.iter().map(|line| line.text.clone())).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(Subdir::Linux64), "always onlinux x86 pip p");
    assert_eq!(names(Subdir::LinuxAarch64), "always onlinux arm pip p");
    assert_eq!(names(Subdir::Osx64), "always elsewhere mac x86 pip p");
    assert_eq!(names(Subdir::OsxArm64), "always elsewhere mac arm pip p");
    assert_eq!(names(Subdir::Win64), "always elsewhere pip");
}

/// Errors that are found later show the line, for example in a build log, so the kept line must not contain a token.
#[test]
fn lines_that_are_kept_show_no_token() {
    let text = "channels: [https://h/t/tk-1/lab]\ndependencies:\n  - https://h/t/tk-2/lab::numpy\n";
    let environment = read(text).unwrap();
    let channel = environment.channel_line("https://h/t/********/lab/").unwrap();
    let shown = [channel, &environment.requirements[0].excerpt].map(|place| place.diagnostic("x", "y").to_string());
    assert!(shown[0].contains("https://h/t/********/lab]"), "{}", shown[0]);
    assert!(shown[1].contains("https://h/t/********/lab::numpy"), "{}", shown[1]);
}

/// A key may be 16 million characters long.
#[test]
fn no_selector_is_too_long_for_the_stack() {
    assert_eq!(Selector::parse(&format!("linux{}", " or linux".repeat(1 << 20))), None);
}

#[test]
fn what_is_not_a_selector_is_not_taken_for_one() {
    for text in
        ["", "linux and", "linux linux", "(linux", "linux)", "py>36", "pip install x", "!linux", &"not ".repeat(99)]
    {
        assert_eq!(Selector::parse(text), None, "{text}");
    }
    assert!(Selector::parse(" not linux or osx and(arm64) ").unwrap().matches(Subdir::OsxArm64));
    let matches = |word: &str, platform| Selector::parse(word).unwrap().matches(platform);
    assert!(matches("armv7l", Subdir::LinuxArmV7l) && !matches("armv6l", Subdir::LinuxArmV7l));
    assert!(matches("emscripten and wasm32", Subdir::EmscriptenWasm32) && !matches("wasi", Subdir::EmscriptenWasm32));
}

/// An export from another platform gets one warning for all its lines, and no warning on the platform that it comes
/// from.
#[test]
fn builds_of_another_platform_are_told_once() {
    let text = "name: x\nchannels: [a]\ndependencies:\n  - numpy=1.26\n  - zlib=1.2.13=h8cc25b3_0\n  - vc=14.2\n  \
                - python=3.11.5=he1021f5_0\n  - m2w64-gcc-libs\n  - sel(win): pywin32\n";
    let environment = read(text).unwrap();
    let told = |platform| environment.platform_warnings(platform).iter().map(ToString::to_string).collect::<String>();
    assert_snapshot!(told(Subdir::Linux64), @"env/environment.yml:5:5: `zlib=1.2.13=h8cc25b3_0` and 2 more lines can be had for win-64 only, not for linux-64: the file seems to be an export from there. Export it with `--no-builds` or `--from-history`, or limit such lines as in `- sel(win): zlib`");
    assert_eq!(told(Subdir::Win64), "");
    let by_hand = read("channels: [a]\ndependencies: [make, 'm2-grep[version=3]', m2w64-gcc >=5]")
        .unwrap()
        .platform_warnings(Subdir::Linux64);
    assert_snapshot!(by_hand.iter().map(ToString::to_string).collect::<String>(), @"env/environment.yml:2:22: `m2-grep[version=3]` and one more line can be had for win only, not for linux-64: limit such lines as in `- sel(win): m2-grep`");
    for (spec, at_home, elsewhere) in [
        ("a=1=py39h06a4308_0", Subdir::Linux64, Subdir::OsxArm64),
        ("a=1=py39hca03da5_0", Subdir::OsxArm64, Subdir::Osx64),
        ("a=1=hecd8cb5_0", Subdir::Osx64, Subdir::Linux64),
        ("a=1=cpu_vs2019_1", Subdir::Win64, Subdir::Linux64),
        ("appnope", Subdir::OsxArm64, Subdir::Linux64),
        ("_libgcc_mutex=0.1=main", Subdir::LinuxAarch64, Subdir::Win64),
    ] {
        let environment = read(&format!("channels: [a]\ndependencies: ['{spec}']")).unwrap();
        assert!(environment.platform_warnings(at_home).is_empty(), "{spec}");
        assert_eq!(environment.platform_warnings(elsewhere).len(), 1, "{spec}");
    }
}
