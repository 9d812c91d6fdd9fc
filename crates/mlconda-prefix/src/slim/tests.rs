//! Tests of the rules, line by line, and of their effect on real packages.

use std::path::Path;

use rattler_digest::{Sha256, compute_bytes_digest};

use super::*;

/// The files that are left out of a package with these paths: one line each, with the part.
fn left_out(slim: &str, name: &str, depends: &[&str], paths: &[&str]) -> Vec<String> {
    let slim: Slim = slim.parse().unwrap();
    let depends: Vec<String> = depends.iter().map(|spec| (*spec).to_owned()).collect();
    let files: Vec<PackageFile<'_>> =
        paths.iter().map(|path| PackageFile { path: Path::new(path), sha256: None }).collect();
    let selected = select(&slim, name, Some(&depends), &files);
    let mut lines: Vec<String> =
        selected.into_iter().map(|(path, part)| format!("{} {}", part.name(), path.display())).collect();
    lines.sort();
    lines
}

#[test]
fn each_line_is_a_rule_and_each_exception_has_its_reason() {
    for line in lines() {
        let rule = Rule::read(line).unwrap_or_else(|| panic!("no rule: {line}"));
        assert!(!rule.keeps || line.split_once(" # ").is_some_and(|(_, reason)| reason.len() > 5), "why? {line}");
        assert!(!rule.pattern.starts_with('/') && !rule.pattern.contains("//"), "no path: {line}");
        assert!(rule.part != Part::Records, "not by path: {line}");
    }
    for part in Part::ALL.into_iter().filter(|part| *part != Part::Records) {
        assert!(RULES.iter().any(|rule| rule.part == part && !rule.keeps), "no rule for {}", part.name());
    }
    // An exception must come after the rule that it is an exception from, else it has no effect.
    for (place, rule) in RULES.iter().enumerate().filter(|(_, rule)| rule.keeps) {
        assert!(RULES[..place].iter().any(|other| other.part == rule.part && !other.keeps), "{}", rule.pattern);
    }
}

#[test]
fn helpers_stay_and_tests_go() {
    let site = "lib/python3.11/site-packages";
    let paths = [
        "scipy/tests/__init__.py",
        "scipy/tests/__pycache__/__init__.cpython-311.pyc",
        "scipy/tests/common.py",
        "scipy/tests/__pycache__/common.cpython-311.pyc",
        "scipy/tests/test_a.py",
        "scipy/tests/__pycache__/test_a.cpython-311.pyc",
        "scipy/tests/sub/conftest.py",
        "scipy/tests/data/a.npz",
        "scipy/tests/_ext.cpython-311-x86_64-linux-gnu.so",
        "scipy/_lib/_testutils.py",
        "scipy/special/tests/test_hyp2f1.py",
        "scipy/test_not.py",
        "scipy/testing/data.csv",
        "scipy/contest/a.txt",
    ];
    let expected = [
        "tests scipy/tests/__pycache__/test_a.cpython-311.pyc",
        "tests scipy/tests/data/a.npz",
        "tests scipy/tests/sub/conftest.py",
        "tests scipy/tests/test_a.py",
    ];
    for site in [site, "site-packages", "lib/python3.13t/site-packages", "Lib/site-packages"] {
        let paths: Vec<String> = paths.iter().map(|path| format!("{site}/{path}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let left: Vec<String> =
            left_out("safe", "scipy", &[], &paths).iter().map(|line| line.replace(&format!("{site}/"), "")).collect();
        assert_eq!(left, expected, "{site}");
    }
    assert!(left_out("safe,keep:scipy", "scipy", &[], &["site-packages/a/tests/test_a.py"]).is_empty());
    assert!(left_out("docs", "scipy", &[], &["site-packages/a/tests/test_a.py"]).is_empty());
}

#[test]
fn python_keeps_the_support_of_its_tests() {
    let paths = [
        "lib/python3.11/test/__init__.py",
        "lib/python3.11/test/support/os_helper.py",
        "lib/python3.11/test/test_os.py",
        "lib/python3.11/test/libregrtest/main.py",
        "lib/python3.11/idlelib/idle_test/test_help.py",
        "lib/python3.11/unittest/mock.py",
        "lib/python3.11/unittest/test/testmock/__init__.py",
    ];
    let expected = [
        "tests lib/python3.11/idlelib/idle_test/test_help.py",
        "tests lib/python3.11/test/test_os.py",
        "tests lib/python3.11/unittest/test/testmock/__init__.py",
    ];
    assert_eq!(left_out("tests", "python", &[], &paths), expected);
    assert!(left_out("tests", "other", &[], &paths).is_empty());
}

#[test]
fn a_stub_goes_where_its_module_is() {
    let paths = [
        "site-packages/a/__init__.py",
        "site-packages/a/__init__.pyi",
        "site-packages/a/b.cpython-311-x86_64-linux-gnu.so",
        "site-packages/a/b.pyi",
        "site-packages/a/c/__init__.py",
        "site-packages/a/c.pyi",
        "site-packages/a/only.pyi",
        "site-packages/a/py.typed",
    ];
    let expected = ["stubs site-packages/a/__init__.pyi", "stubs site-packages/a/b.pyi", "stubs site-packages/a/c.pyi"];
    assert_eq!(left_out("stubs", "a", &["python >=3"], &paths), expected);
    assert!(left_out("stubs", "a", &["lazy-loader >=0.4"], &paths).is_empty());
    // The dependencies of a wheel are unknown.
    let files = paths.map(|path| PackageFile { path: Path::new(path), sha256: None });
    assert!(select(&"stubs".parse().unwrap(), "a", None, &files).is_empty());
}

#[test]
fn symbols_are_looked_for_where_programs_and_libraries_are() {
    let slim: Slim = "debug".parse().unwrap();
    let may = |name: &str, path: &str| may_have_symbols(&slim, name, Path::new(path));
    assert!(
        may("a", "lib/liba.so") && may("a", "lib/liba.so.1.2") && may("a", "bin/a") && may("a", "site-packages/a.so")
    );
    assert!(!may("a", "lib/liba.a") && !may("a", "site-packages/bin/a.py"));
    assert!(may("openssl", "lib/libssl.so.3") && !may("openssl", "lib/ossl-modules/fips.so"));
    assert!(left_out("debug", "a", &[], &["lib/liba.so", "bin/a"]).is_empty());
}

#[test]
fn the_other_parts_are_where_they_are() {
    let paths = [
        "include/a.h",
        "lib/pkgconfig/a.pc",
        "lib/cmake/a/a.cmake",
        "lib/liba.a",
        "lib/gcc/x86_64-conda-linux-gnu/13.2.0/libgcc.a",
        "lib/liba.so",
        "share/man/man1/a.1",
        "share/man/de/man1/a.1",
        "share/doc/a/README",
        "share/jupyter/x.js.map",
        "share/locale/de/LC_MESSAGES/a.mo",
        "share/locale/fr/LC_MESSAGES/a.mo",
        "share/locale/en_GB/LC_MESSAGES/a.mo",
        "site-packages/babel/locale-data/fr.dat",
        "site-packages/babel/locale-data/root.dat",
        "site-packages/a/__pycache__/b.cpython-311.pyc",
        "site-packages/a/legacy.pyc",
    ];
    let expected = [
        "bytecode site-packages/a/__pycache__/b.cpython-311.pyc",
        "docs share/doc/a/README",
        "docs share/man/de/man1/a.1",
        "docs share/man/man1/a.1",
        "headers include/a.h",
        "headers lib/cmake/a/a.cmake",
        "headers lib/pkgconfig/a.pc",
        "locales share/locale/fr/LC_MESSAGES/a.mo",
        "locales site-packages/babel/locale-data/fr.dat",
        "maps share/jupyter/x.js.map",
        "static lib/liba.a",
    ];
    assert_eq!(left_out("all,locales:de", "a", &[], &paths), expected);
}

#[test]
fn what_has_the_content_of_a_file_that_stays_stays() {
    let (one, none) = (Some(compute_bytes_digest::<Sha256>("one")), Some(compute_bytes_digest::<Sha256>("")));
    let file = |path, sha256| PackageFile { path: Path::new(path), sha256 };
    let files = [
        file("share/doc/a/LICENCE", one),
        file("share/licences/a", one),
        file("share/doc/a/empty", none),
        file("etc/empty", none),
    ];
    let selected = select(&"docs".parse().unwrap(), "a", Some(&[]), &files);
    assert_eq!(selected.keys().collect::<Vec<_>>(), [Path::new("share/doc/a/empty")]);
}

#[test]
fn byte_code_stays_with_a_module_that_stays_for_its_content() {
    let hash = |text| Some(compute_bytes_digest::<Sha256>(text));
    let file = |path, sha256| PackageFile { path: Path::new(path), sha256 };
    let files = [
        file("site-packages/a/case.py", hash("one")),
        file("site-packages/a/tests/test_case.py", hash("one")),
        file("site-packages/a/tests/__pycache__/test_case.cpython-311.pyc", hash("compiled")),
    ];
    let left = |slim: &str| {
        let selected = select(&slim.parse().unwrap(), "a", Some(&[]), &files);
        selected.into_values().collect::<Vec<_>>()
    };
    assert_eq!(left("tests"), []);
    assert_eq!(left("tests,bytecode"), [Part::Bytecode]);
}

#[test]
fn plugins_and_what_compilers_link_stay() {
    let paths = ["site-packages/ansible/plugins/test/core.yml", "site-packages/nvidia/cuda_runtime/lib/libcudadevrt.a"];
    assert!(left_out("safe", "a", &[], &paths).is_empty());
}
