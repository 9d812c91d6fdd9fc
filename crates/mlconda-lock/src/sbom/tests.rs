//! Both formats for a lock that contains every kind of package. (`docs/DESIGN.md` says how the formats were validated.)

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};

use super::*;
use crate::{Expansion, explicit};

const LOCK: &str = "\
# mlconda lock: 1
# name: small
# platform: linux-64
# input: sha256:c272502ef8b242d2689af290d28b68fc1d8ef389ee71376c8fddf33f459f8396
# channel: https://host/lab/
# spec: tool_a >=1
# pip requirement: wheeled
# pip wheeled @ https://files.example.org/wheeled-0.1-py3-none-any.whl --hash=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
@EXPLICIT
https://me:secret@host/lab/noarch/base-1.0-0.conda#sha256:971f5508e87122ac5b1bd2afe7ff33f6fe1ed787008bcf1f90d6ce1d598b9a3b
https://host/lab/linux-64/old-1.0-0.tar.bz2#d41d8cd98f00b204e9800998ecf8427e
file:///pkgs/unknown-1.0-0.conda
https://host/lab/linux-64/tool_a-2.0-h1_0.conda#sha256:bcf0ca02a1b9bb26c883b2525ea6b59dbd6304d22e64196338a813487b8394cb
";

/// The lock, with records for all packages except `unknown`.
fn lock() -> Lock {
    let mut lock = explicit::parse(LOCK, Path::new("/env.lock"), &Expansion::default()).unwrap();
    let record = |name: &str, depends: &[&str], licence: &str, time: u64| {
        let record = json!({
            "name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": depends, "license": licence,
            "subdir": "noarch", "timestamp": time,
        });
        Some(Arc::new(serde_json::from_value(record).unwrap()))
    };
    lock.packages[0].record = record("base", &[], "mit", 1_600_000_000_000);
    lock.packages[1].record = record("old", &["base"], "BSD License", 1_500_000_000_000);
    let licence = "GPL-2.0-only AND LicenseRef-Firmware";
    lock.packages[3].record =
        record("tool_a", &["__unix", "old >=1", "base 1.*", "unknown"], licence, 1_700_000_000_000);
    lock
}

fn bill(lock: &Lock, format: Format) -> Value {
    serde_json::from_str(&sbom(lock, format, &Subject::default())).unwrap()
}

#[test]
fn cyclonedx_tells_what_is_known() {
    let bill = bill(&lock(), Format::CycloneDx);
    let lines =
        |values: &Value| -> String { values.as_array().unwrap().iter().map(|value| format!("{value}\n")).collect() };
    assert_eq!(
        (&bill["bomFormat"], &bill["specVersion"], &bill["version"]),
        (&"CycloneDX".into(), &"1.6".into(), &1.into())
    );
    insta::assert_snapshot!(bill["metadata"], @r#"{"timestamp":"2023-11-14T22:13:20Z","tools":{"components":[{"type":"application","name":"mlconda","version":"0.1.0"}]},"component":{"type":"platform","bom-ref":"environment","name":"small","properties":[{"name":"mlconda:platform","value":"linux-64"},{"name":"mlconda:input","value":"sha256:c272502ef8b242d2689af290d28b68fc1d8ef389ee71376c8fddf33f459f8396"},{"name":"mlconda:channel","value":"https://host/lab/"}]}}"#);
    insta::assert_snapshot!(lines(&bill["components"]), @r#"
    {"type":"library","bom-ref":"pkg:conda/base@1.0?build=0&channel=https://host/lab&subdir=noarch&type=conda","name":"base","version":"1.0","hashes":[{"alg":"SHA-256","content":"971f5508e87122ac5b1bd2afe7ff33f6fe1ed787008bcf1f90d6ce1d598b9a3b"}],"licenses":[{"license":{"id":"MIT","acknowledgement":"declared"}}],"purl":"pkg:conda/base@1.0?build=0&channel=https://host/lab&subdir=noarch&type=conda","externalReferences":[{"type":"distribution","url":"https://host/lab/noarch/base-1.0-0.conda"}]}
    {"type":"library","bom-ref":"pkg:conda/old@1.0?build=0&channel=https://host/lab&subdir=linux-64&type=tar.bz2","name":"old","version":"1.0","hashes":[{"alg":"MD5","content":"d41d8cd98f00b204e9800998ecf8427e"}],"licenses":[{"license":{"name":"BSD License","acknowledgement":"declared"}}],"purl":"pkg:conda/old@1.0?build=0&channel=https://host/lab&subdir=linux-64&type=tar.bz2","externalReferences":[{"type":"distribution","url":"https://host/lab/linux-64/old-1.0-0.tar.bz2"}]}
    {"type":"library","bom-ref":"pkg:conda/unknown@1.0?build=0&subdir=noarch&type=conda","name":"unknown","version":"1.0","purl":"pkg:conda/unknown@1.0?build=0&subdir=noarch&type=conda"}
    {"type":"library","bom-ref":"pkg:conda/tool_a@2.0?build=h1_0&channel=https://host/lab&subdir=linux-64&type=conda","name":"tool_a","version":"2.0","hashes":[{"alg":"SHA-256","content":"bcf0ca02a1b9bb26c883b2525ea6b59dbd6304d22e64196338a813487b8394cb"}],"licenses":[{"expression":"GPL-2.0-only AND LicenseRef-Firmware","acknowledgement":"declared"}],"purl":"pkg:conda/tool_a@2.0?build=h1_0&channel=https://host/lab&subdir=linux-64&type=conda","externalReferences":[{"type":"distribution","url":"https://host/lab/linux-64/tool_a-2.0-h1_0.conda"}]}
    {"type":"library","bom-ref":"pkg:pypi/wheeled@0.1","name":"wheeled","version":"0.1","hashes":[{"alg":"SHA-256","content":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],"purl":"pkg:pypi/wheeled@0.1","externalReferences":[{"type":"distribution","url":"https://files.example.org/wheeled-0.1-py3-none-any.whl"}]}
    "#);
    insta::assert_snapshot!(lines(&bill["dependencies"]), @r#"
    {"ref":"environment","dependsOn":["pkg:conda/tool_a@2.0?build=h1_0&channel=https://host/lab&subdir=linux-64&type=conda","pkg:pypi/wheeled@0.1"]}
    {"ref":"pkg:conda/base@1.0?build=0&channel=https://host/lab&subdir=noarch&type=conda"}
    {"ref":"pkg:conda/old@1.0?build=0&channel=https://host/lab&subdir=linux-64&type=tar.bz2","dependsOn":["pkg:conda/base@1.0?build=0&channel=https://host/lab&subdir=noarch&type=conda"]}
    {"ref":"pkg:conda/unknown@1.0?build=0&subdir=noarch&type=conda"}
    {"ref":"pkg:conda/tool_a@2.0?build=h1_0&channel=https://host/lab&subdir=linux-64&type=conda","dependsOn":["pkg:conda/base@1.0?build=0&channel=https://host/lab&subdir=noarch&type=conda","pkg:conda/old@1.0?build=0&channel=https://host/lab&subdir=linux-64&type=tar.bz2","pkg:conda/unknown@1.0?build=0&subdir=noarch&type=conda"]}
    {"ref":"pkg:pypi/wheeled@0.1"}
    "#);
    insta::assert_snapshot!(lines(&bill["compositions"]), @r#"{"aggregate":"unknown","dependencies":["pkg:conda/unknown@1.0?build=0&subdir=noarch&type=conda","pkg:pypi/wheeled@0.1"]}"#);
}

#[test]
fn spdx_tells_what_is_known() {
    let bill = bill(&lock(), Format::Spdx);
    let lines =
        |key: &str| -> String { bill[key].as_array().unwrap().iter().map(|value| format!("{value}\n")).collect() };
    let head =
        ["spdxVersion", "dataLicense", "SPDXID", "name", "creationInfo"].map(|key| bill[key].to_string()).join("\n");
    insta::assert_snapshot!(head, @r#"
    "SPDX-2.3"
    "CC0-1.0"
    "SPDXRef-DOCUMENT"
    "small"
    {"created":"2023-11-14T22:13:20Z","creators":["Tool: mlconda-0.1.0"],"licenseListVersion":"3.28"}
    "#);
    insta::assert_snapshot!(lines("packages"), @r#"
    {"SPDXID":"SPDXRef-environment","name":"small","downloadLocation":"NOASSERTION","filesAnalyzed":false,"licenseConcluded":"NOASSERTION","licenseDeclared":"NOASSERTION","copyrightText":"NOASSERTION"}
    {"SPDXID":"SPDXRef-conda-base","name":"base","versionInfo":"1.0","packageFileName":"base-1.0-0.conda","downloadLocation":"https://host/lab/noarch/base-1.0-0.conda","filesAnalyzed":false,"checksums":[{"algorithm":"SHA256","checksumValue":"971f5508e87122ac5b1bd2afe7ff33f6fe1ed787008bcf1f90d6ce1d598b9a3b"}],"licenseConcluded":"NOASSERTION","licenseDeclared":"MIT","copyrightText":"NOASSERTION","externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:conda/base@1.0?build=0&channel=https://host/lab&subdir=noarch&type=conda"}]}
    {"SPDXID":"SPDXRef-conda-old","name":"old","versionInfo":"1.0","packageFileName":"old-1.0-0.tar.bz2","downloadLocation":"https://host/lab/linux-64/old-1.0-0.tar.bz2","filesAnalyzed":false,"checksums":[{"algorithm":"MD5","checksumValue":"d41d8cd98f00b204e9800998ecf8427e"}],"licenseConcluded":"NOASSERTION","licenseDeclared":"LicenseRef-BSD-License","copyrightText":"NOASSERTION","externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:conda/old@1.0?build=0&channel=https://host/lab&subdir=linux-64&type=tar.bz2"}]}
    {"SPDXID":"SPDXRef-conda-unknown","name":"unknown","versionInfo":"1.0","packageFileName":"unknown-1.0-0.conda","downloadLocation":"NOASSERTION","filesAnalyzed":false,"licenseConcluded":"NOASSERTION","licenseDeclared":"NOASSERTION","copyrightText":"NOASSERTION","externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:conda/unknown@1.0?build=0&subdir=noarch&type=conda"}]}
    {"SPDXID":"SPDXRef-conda-tool-a","name":"tool_a","versionInfo":"2.0","packageFileName":"tool_a-2.0-h1_0.conda","downloadLocation":"https://host/lab/linux-64/tool_a-2.0-h1_0.conda","filesAnalyzed":false,"checksums":[{"algorithm":"SHA256","checksumValue":"bcf0ca02a1b9bb26c883b2525ea6b59dbd6304d22e64196338a813487b8394cb"}],"licenseConcluded":"NOASSERTION","licenseDeclared":"GPL-2.0-only AND LicenseRef-Firmware","copyrightText":"NOASSERTION","externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:conda/tool_a@2.0?build=h1_0&channel=https://host/lab&subdir=linux-64&type=conda"}]}
    {"SPDXID":"SPDXRef-pypi-wheeled","name":"wheeled","versionInfo":"0.1","packageFileName":"wheeled-0.1-py3-none-any.whl","downloadLocation":"https://files.example.org/wheeled-0.1-py3-none-any.whl","filesAnalyzed":false,"checksums":[{"algorithm":"SHA256","checksumValue":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],"licenseConcluded":"NOASSERTION","licenseDeclared":"NOASSERTION","copyrightText":"NOASSERTION","externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:pypi/wheeled@0.1"}]}
    "#);
    insta::assert_snapshot!(lines("hasExtractedLicensingInfos"), @r#"
    {"licenseId":"LicenseRef-BSD-License","name":"BSD License","extractedText":"The package names its licence `BSD License`; the text is in the package."}
    {"licenseId":"LicenseRef-Firmware","name":"Firmware","extractedText":"The package names its licence `Firmware`; the text is in the package."}
    "#);
    let relations: String = bill["relationships"]
        .as_array()
        .unwrap()
        .iter()
        .map(|relation| {
            let text = |key: &str| relation[key].as_str().unwrap().to_owned();
            format!("{} {} {}\n", text("spdxElementId"), text("relationshipType"), text("relatedSpdxElement"))
        })
        .collect();
    insta::assert_snapshot!(relations, @"
    SPDXRef-DOCUMENT DESCRIBES SPDXRef-environment
    SPDXRef-environment DEPENDS_ON SPDXRef-conda-tool-a
    SPDXRef-environment DEPENDS_ON SPDXRef-pypi-wheeled
    SPDXRef-environment CONTAINS SPDXRef-conda-base
    SPDXRef-environment CONTAINS SPDXRef-conda-old
    SPDXRef-conda-old DEPENDS_ON SPDXRef-conda-base
    SPDXRef-environment CONTAINS SPDXRef-conda-unknown
    SPDXRef-conda-unknown DEPENDS_ON NOASSERTION
    SPDXRef-environment CONTAINS SPDXRef-conda-tool-a
    SPDXRef-conda-tool-a DEPENDS_ON SPDXRef-conda-base
    SPDXRef-conda-tool-a DEPENDS_ON SPDXRef-conda-old
    SPDXRef-conda-tool-a DEPENDS_ON SPDXRef-conda-unknown
    SPDXRef-environment CONTAINS SPDXRef-pypi-wheeled
    SPDXRef-pypi-wheeled DEPENDS_ON NOASSERTION
    ");
}

#[test]
fn the_same_lock_gives_the_same_bytes_and_another_one_another_number() {
    let (one, mut other) = (lock(), lock());
    for (format, key) in [(Format::CycloneDx, "serialNumber"), (Format::Spdx, "documentNamespace")] {
        let text = |lock: &Lock| sbom(lock, format, &Subject::default());
        assert_eq!(text(&one), text(&lock()));
        let number = |lock: &Lock| bill(lock, format)[key].as_str().unwrap().to_owned();
        other.packages.truncate(3);
        assert_ne!(number(&one), number(&other));
        assert!(!text(&one).contains("secret"));
    }
}

#[test]
fn the_callers_time_counts_more_than_the_packages() {
    let at = |time: Option<i64>, format| {
        let text = sbom(&lock(), format, &Subject { name: None, time, ..Subject::default() });
        let bill: Value = serde_json::from_str(&text).unwrap();
        [&bill["metadata"]["timestamp"], &bill["creationInfo"]["created"]]
            .map(|time| time.as_str().unwrap_or("none").to_owned())
    };
    assert_eq!(at(Some(0), Format::CycloneDx)[0], "1970-01-01T00:00:00Z");
    assert_eq!(at(None, Format::CycloneDx)[0], "2023-11-14T22:13:20Z");
    assert_eq!(at(None, Format::Spdx)[1], "2023-11-14T22:13:20Z");
}
