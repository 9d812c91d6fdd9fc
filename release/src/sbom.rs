//! The bill of materials of the program (CycloneDX 1.5): the crates that are linked into it, as cargo resolves them.
//!
//! Its serial number is made from its content, and its time is that of the release: the same program has the same
//! document.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    Result, Written,
    package::{LICENSE, Package},
    sha256,
    target::Target,
};

/// A crate in the program.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Its licence as an SPDX expression, if it has one.
    pub(crate) license: Option<String>,
    /// The path of its source on this machine.
    pub(crate) directory: PathBuf,
    /// The sha256 of its archive; crates of this repository have none.
    pub(crate) checksum: Option<String>,
}

impl Component {
    fn id(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "type": "library",
            "bom-ref": self.id(),
            "name": self.name,
            "version": self.version,
            "purl": self.id(),
        });
        if let Some(license) = &self.license {
            // `MIT/Apache-2.0` is an old way to write `OR`.
            json["licenses"] = json!([{"expression": license.replace(" / ", " OR ").replace('/', " OR ")}]);
        }
        if let Some(checksum) = &self.checksum {
            json["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
        }
        json
    }
}

/// The crates in a program and their dependencies.
#[derive(Debug)]
pub(crate) struct Dependencies {
    /// By name and version.
    pub(crate) components: Vec<Component>,
    /// The dependencies of each crate, by name and version. The first is the program.
    uses: Vec<(String, BTreeSet<String>)>,
}

impl Dependencies {
    /// Reads them from the output of cargo.
    pub(crate) fn of(root: &Path, target: Target) -> Result<Self> {
        let arguments = ["tree", "--locked", "--package", "mlconda-cli", "--edges", "normal,no-proc-macro"];
        let format = ["--prefix", "depth", "--format", "{p}", "--charset", "ascii", "--target", target.triple];
        let tree = cargo(root, &[&arguments[..], &format].concat())?;
        let metadata: Value = serde_json::from_str(&cargo(root, &["metadata", "--locked", "--format-version", "1"])?)?;
        let lock = fs_err::read_to_string(root.join("Cargo.lock"))?;
        Self::read(&tree, &metadata, &checksums(&lock))
    }

    fn read(tree: &str, metadata: &Value, checksums: &BTreeMap<String, String>) -> Result<Self> {
        let mut known = BTreeMap::new();
        for package in metadata["packages"].as_array().into_iter().flatten() {
            let text = |key: &str| package[key].as_str().map(str::to_owned);
            if let (Some(name), Some(version), Some(manifest)) = (text("name"), text("version"), text("manifest_path"))
            {
                known.insert(format!("{name} {version}"), (text("license"), PathBuf::from(manifest)));
            }
        }
        // A line is the depth and `name vVERSION (…)`. A crate that was shown before has a `(*)`, without its
        // dependencies.
        let (mut path, mut uses, mut order): (Vec<String>, BTreeMap<String, BTreeSet<String>>, Vec<String>) =
            Default::default();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let end = line.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(line.len());
            let depth: usize = line[..end].parse().map_err(|_| format!("cargo's tree has a line `{line}`"))?;
            let mut words = line[end..].split(' ');
            let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let key = format!("{name} {}", version.trim_start_matches('v'));
            path.truncate(depth);
            if let Some(user) = path.last() {
                uses.entry(user.clone()).or_default().insert(key.clone());
            }
            if !uses.contains_key(&key) {
                uses.insert(key.clone(), BTreeSet::new());
                order.push(key.clone());
            }
            path.push(key);
        }
        let program = order.first().cloned().ok_or("cargo's tree is empty")?;
        order.sort();
        let mut components = Vec::new();
        for key in order.iter().filter(|key| **key != program) {
            let (license, manifest) = known.get(key).cloned().ok_or_else(|| format!("cargo does not know `{key}`"))?;
            let (name, version) = key.split_once(' ').unwrap_or((key, ""));
            components.push(Component {
                name: name.to_owned(),
                version: version.to_owned(),
                license,
                directory: manifest.parent().map(Path::to_owned).unwrap_or_default(),
                checksum: checksums.get(key).cloned(),
            });
        }
        let mut sorted = vec![(program.clone(), uses.remove(&program).unwrap_or_default())];
        sorted.extend(uses);
        Ok(Self { components, uses: sorted })
    }
}

/// Runs `cargo` and returns its output.
fn cargo(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("cargo").args(arguments).current_dir(root).output()?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("`cargo {}`: {reason}", arguments.join(" ")).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The checksums of a `Cargo.lock`, by name and version.
fn checksums(lock: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
            line.and_then(|value| value.strip_suffix('"'))
        };
        if let (Some(name), Some(version), Some(checksum)) = (value("name"), value("version"), value("checksum")) {
            found.insert(format!("{name} {version}"), checksum.to_owned());
        }
    }
    found
}

/// The document for a program.
pub(crate) fn document(
    dependencies: &Dependencies,
    target: Target,
    version: &str,
    epoch: u64,
    program: &[u8],
) -> Result<Value> {
    let own = format!("pkg:cargo/mlconda-cli@{version}");
    let mut components: Vec<Value> = dependencies.components.iter().map(Component::to_json).collect();
    components.extend(runtime(target, program));
    let id = |key: &str| format!("pkg:cargo/{}", key.replace(' ', "@"));
    let uses: Vec<Value> = dependencies
        .uses
        .iter()
        .map(|(user, used)| json!({"ref": id(user), "dependsOn": used.iter().map(|used| id(used)).collect::<Vec<_>>()}))
        .collect();
    let mut document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": "",
        "version": 1,
        "metadata": {
            "timestamp": Timestamp::from_second(i64::try_from(epoch)?)?.to_string(),
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "mlconda",
                "version": version,
                "purl": own,
                "licenses": [{"expression": LICENSE}],
                "hashes": [{"alg": "SHA-256", "content": sha256(program)}],
                "properties": [{"name": "target", "value": target.triple}],
            },
        },
        "components": components,
        "dependencies": uses,
    });
    // A UUID of version 8: its digits may be chosen freely (RFC 9562).
    let hash = sha256(document.to_string().as_bytes());
    let (a, b, c, d, e) = (&hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32]);
    document["serialNumber"] = format!("urn:uuid:{a}-{b}-8{c}-8{d}-{e}").into();
    Ok(document)
}

/// The linked code beside crates: the standard library of Rust, by the commit of the compiler, and the C library.
fn runtime(target: Target, program: &[u8]) -> Vec<Value> {
    let mut found = Vec::new();
    let mark = b"/rustc/";
    let commit = program.windows(mark.len() + 40).find_map(|window| {
        let digits = window.strip_prefix(mark)?;
        digits.iter().all(u8::is_ascii_hexdigit).then(|| String::from_utf8_lossy(digits).into_owned())
    });
    if let Some(commit) = commit {
        found.push(json!({
            "type": "library",
            "bom-ref": "rust-std",
            "name": "rust-std",
            "version": commit,
            "purl": format!("pkg:github/rust-lang/rust@{commit}"),
            "licenses": [{"expression": "MIT OR Apache-2.0"}],
        }));
    }
    let is_glibc = program.windows(14).any(|window| window == b"GLIBC_TUNABLES");
    if target.is_linux() && is_glibc {
        let licenses = json!([{"expression": "LGPL-2.1-or-later"}]);
        found.push(json!({"type": "library", "bom-ref": "glibc", "name": "glibc", "licenses": licenses}));
    }
    found
}

/// The text of the document.
pub(crate) fn text(document: &Value) -> String {
    format!("{document:#}\n")
}

/// The document as a file of the release.
pub(crate) fn file(package: &Package) -> Written {
    let name = format!("mlconda-{}-{}.cdx.json", package.version, package.target.name);
    Written { name, bytes: text(&package.sbom).into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependencies() -> Dependencies {
        let tree =
            "0mlconda-cli v0.1.0 (/src/cli)\n1a v1.0.0\n2b v2.0.0\n1c v0.1.0 (/src/c)\n2a v1.0.0 (*)\n2b v2.0.0\n";
        let package = |name: &str, version: &str| {
            let manifest = format!("/src/{name}/Cargo.toml");
            json!({"name": name, "version": version, "license": "MIT/Apache-2.0", "manifest_path": manifest})
        };
        let packages = [package("a", "1.0.0"), package("b", "2.0.0"), package("c", "0.1.0")];
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"abcd\"\n\n\
                    [[package]]\nname = \"c\"\nversion = \"0.1.0\"\n";
        Dependencies::read(tree, &json!({"packages": packages}), &checksums(lock)).unwrap()
    }

    #[test]
    fn crates_are_listed_once_with_what_they_use() {
        let target = Target::named("x86_64-linux").unwrap();
        let rust = b"-/rustc/0123456789012345678901234567890123456789/library-GLIBC_TUNABLES-";
        let document = document(&dependencies(), target, "0.1.0", 0, rust).unwrap();
        let names: Vec<&str> =
            document["components"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b", "c", "rust-std", "glibc"]);
        assert_eq!(document["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(document["components"][0]["hashes"][0]["content"], "abcd");
        assert_eq!(document["components"][2]["hashes"], Value::Null);
        assert_eq!(document["components"][3]["version"], "0123456789012345678901234567890123456789");
        assert_eq!(document["metadata"]["timestamp"], "1970-01-01T00:00:00Z");
        let uses = &document["dependencies"];
        assert_eq!(
            uses[0],
            json!({"ref": "pkg:cargo/mlconda-cli@0.1.0", "dependsOn": ["pkg:cargo/a@1.0.0", "pkg:cargo/c@0.1.0"]})
        );
        assert_eq!(
            uses[3],
            json!({"ref": "pkg:cargo/c@0.1.0", "dependsOn": ["pkg:cargo/a@1.0.0", "pkg:cargo/b@2.0.0"]})
        );
    }

    #[test]
    fn the_serial_number_follows_the_content() {
        let target = Target::named("x86_64-linux").unwrap();
        let serial =
            |program: &[u8]| document(&dependencies(), target, "0.1.0", 0, program).unwrap()["serialNumber"].clone();
        assert_eq!(serial(b"one"), serial(b"one"));
        assert_ne!(serial(b"one"), serial(b"two"));
        let text = serial(b"one").as_str().unwrap().to_owned();
        assert_eq!((text.len(), &text[..9], &text[23..24]), (45, "urn:uuid:", "8"));
    }
}
