//! Writes SPDX 2.3 as JSON, with the fields that apply to an environment.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Bill, Component, Licence, json,
    licence::{LIST, is_of_reference},
    timestamp, uuid,
};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const ROOT: &str = "SPDXRef-environment";
const NOTHING: &str = "NOASSERTION";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: &'a str,
    document_namespace: String,
    creation_info: Creation,
    packages: Vec<Package<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    has_extracted_licensing_infos: Vec<Extracted>,
    relationships: Vec<Relationship<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Creation {
    created: String,
    creators: [&'static str; 1],
    license_list_version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package<'a> {
    #[serde(rename = "SPDXID")]
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version_info: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_file_name: Option<&'a str>,
    download_location: &'a str,
    files_analyzed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum<'a>>,
    license_concluded: &'static str,
    license_declared: &'a str,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<External<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum<'a> {
    algorithm: &'static str,
    checksum_value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct External<'a> {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: &'a str,
}

/// A licence that is not in the SPDX list.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Extracted {
    license_id: String,
    name: String,
    extracted_text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship<'a> {
    spdx_element_id: &'a str,
    relationship_type: &'static str,
    related_spdx_element: &'a str,
}

/// The SBOM as text.
pub(super) fn render(bill: &Bill<'_>) -> String {
    let ids = ids(bill);
    let licences = Licences::new(bill);
    let relation = |from, relationship_type, to| Relationship {
        spdx_element_id: from,
        relationship_type,
        related_spdx_element: to,
    };
    let mut relationships = vec![relation(DOCUMENT, "DESCRIBES", ROOT)];
    relationships.extend(bill.roots.iter().map(|root| relation(ROOT, "DEPENDS_ON", ids[*root].as_str())));
    for (component, id) in bill.components.iter().zip(&ids) {
        relationships.push(relation(ROOT, "CONTAINS", id));
        relationships.extend(component.needs.iter().map(|need| relation(id, "DEPENDS_ON", ids[*need].as_str())));
        if !component.is_known {
            relationships.push(relation(id, "DEPENDS_ON", NOTHING));
        }
    }
    let packages = bill.components.iter().zip(&ids).map(|(component, id)| package(component, id, &licences));
    let mut document = Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: bill.name,
        document_namespace: String::new(),
        creation_info: Creation {
            created: timestamp(bill.time.unwrap_or_default()),
            creators: [concat!("Tool: mlconda-", env!("CARGO_PKG_VERSION"))],
            license_list_version: LIST,
        },
        packages: std::iter::once(environment(bill)).chain(packages).collect(),
        has_extracted_licensing_infos: licences.extracted.clone(),
        relationships,
    };
    // The namespace is only a name: the URL does not have to exist.
    document.document_namespace = format!("https://spdx.org/spdxdocs/mlconda-{}", uuid(&json(&document)));
    json(&document)
}

/// The environment, whose parts are the packages.
fn environment<'a>(bill: &Bill<'a>) -> Package<'a> {
    Package {
        id: ROOT,
        name: bill.name,
        version_info: None,
        package_file_name: None,
        download_location: NOTHING,
        files_analyzed: false,
        checksums: Vec::new(),
        license_concluded: NOTHING,
        license_declared: NOTHING,
        copyright_text: NOTHING,
        external_refs: Vec::new(),
        comment: (!bill.lock.slim.is_empty()).then(|| left_out(&bill.lock.slim.to_string())),
    }
}

fn package<'a>(component: &'a Component<'_>, id: &'a str, licences: &'a Licences) -> Package<'a> {
    let sum = |algorithm, value: &'a Option<String>| {
        value.as_deref().map(|checksum_value| Checksum { algorithm, checksum_value })
    };
    Package {
        id,
        name: component.name,
        version_info: component.version,
        package_file_name: component.file_name.as_deref(),
        download_location: component.url.as_deref().unwrap_or(NOTHING),
        files_analyzed: false,
        checksums: [sum("SHA256", &component.sha256), sum("MD5", &component.md5)].into_iter().flatten().collect(),
        license_concluded: NOTHING,
        license_declared: component.licence.as_ref().map_or(NOTHING, |licence| licences.declared(licence)),
        copyright_text: NOTHING,
        external_refs: vec![External {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: &component.purl,
        }],
        comment: component.left_out.as_deref().map(left_out),
    }
}

fn left_out(parts: &str) -> String {
    ["left out by mlconda: ", parts].concat()
}

/// An identifier for each component: letters, digits, `.` and `-`.
fn ids(bill: &Bill<'_>) -> Vec<String> {
    let conda = bill.lock.packages.len();
    let mut ids: Vec<String> = Vec::with_capacity(bill.components.len());
    for (place, component) in bill.components.iter().enumerate() {
        let kind = if place < conda { "conda" } else { "pypi" };
        ids.push(unique(&format!("SPDXRef-{kind}-{}", plain(component.name)), |id| {
            ids.iter().any(|known| known == id)
        }));
    }
    ids
}

/// A text that contains only the characters of identifiers.
fn plain(text: &str) -> String {
    let plain: String = text.chars().map(|each| if is_of_reference(each) { each } else { '-' }).collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "unnamed".to_owned() } else { plain.to_owned() }
}

/// The identifier; with a number if it is already used.
fn unique(id: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = |number: usize| if number == 1 { id.to_owned() } else { format!("{id}-{number}") };
    (1..).map(numbered).find(|id| !is_taken(id)).unwrap_or_default()
}

/// Licences that are not in the SPDX list: each is declared in the document, with its own identifier.
struct Licences {
    /// Identifiers, by the names as they were written.
    named: BTreeMap<String, String>,
    extracted: Vec<Extracted>,
}

impl Licences {
    fn new(bill: &Bill<'_>) -> Self {
        let mut licences = Self { named: BTreeMap::new(), extracted: Vec::new() };
        let known = bill.components.iter().filter_map(|component| component.licence.as_ref());
        let (names, others): (Vec<_>, Vec<_>) = known.partition(|licence| matches!(licence, Licence::Name(_)));
        // References come first, because they already have identifiers.
        for licence in others {
            if let Licence::Expression { references, .. } = licence {
                references.iter().for_each(|id| licences.extract(id, id.trim_start_matches("LicenseRef-")));
            }
        }
        for licence in names {
            let Licence::Name(name) = licence else { continue };
            if !licences.named.contains_key(name) {
                let id = unique(&format!("LicenseRef-{}", plain(name)), |id| licences.has(id));
                licences.extract(&id, name);
                licences.named.insert(name.clone(), id);
            }
        }
        mlconda_types::sorting::sort_by(&mut licences.extracted, |one, other| one.license_id.cmp(&other.license_id));
        licences
    }

    fn has(&self, id: &str) -> bool {
        self.extracted.iter().any(|known| known.license_id == id)
    }

    fn extract(&mut self, id: &str, name: &str) {
        if !self.has(id) {
            self.extracted.push(Extracted {
                license_id: id.to_owned(),
                name: name.to_owned(),
                extracted_text: format!("The package names its licence `{name}`; the text is in the package."),
            });
        }
    }

    fn declared<'a>(&'a self, licence: &'a Licence) -> &'a str {
        match licence {
            Licence::Id(id) => id,
            Licence::Expression { text, .. } => text,
            Licence::Name(name) => self.named.get(name).map_or(NOTHING, String::as_str),
        }
    }
}
