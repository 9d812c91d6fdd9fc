//! Writes CycloneDX 1.6 (ECMA-424) as JSON, with the fields that apply to an environment.

use serde::Serialize;

use super::{Bill, Component, Licence, json, timestamp, uuid};

/// The property with the omitted parts: for the environment, as requested; for a package, as installed.
const LEFT_OUT: &str = "mlconda:left-out";

/// The reference of the environment itself.
const ROOT: &str = "environment";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_number: Option<String>,
    version: u8,
    metadata: Metadata<'a>,
    components: Vec<Library<'a>>,
    dependencies: Vec<Dependency<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compositions: Vec<Composition<'a>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    tools: Tools,
    component: Environment<'a>,
}

#[derive(Serialize)]
struct Tools {
    components: [Tool; 1],
}

#[derive(Serialize)]
struct Tool {
    r#type: &'static str,
    name: &'static str,
    version: &'static str,
}

/// The environment, whose parts are the components.
#[derive(Serialize)]
struct Environment<'a> {
    r#type: &'static str,
    #[serde(rename = "bom-ref")]
    reference: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Library<'a> {
    r#type: &'static str,
    #[serde(rename = "bom-ref")]
    reference: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Choice<'a>>,
    purl: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_references: Vec<Reference<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Hash<'a> {
    alg: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Choice<'a> {
    License(Named<'a>),
    #[serde(untagged)]
    Expression {
        expression: &'a str,
        acknowledgement: &'static str,
    },
}

/// A licence: either the identifier or the name.
#[derive(Serialize)]
struct Named<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    acknowledgement: &'static str,
}

#[derive(Serialize)]
struct Reference<'a> {
    r#type: &'static str,
    url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency<'a> {
    r#ref: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<&'a str>,
}

/// Whether the dependencies of these components are complete.
#[derive(Serialize)]
struct Composition<'a> {
    aggregate: &'static str,
    dependencies: Vec<&'a str>,
}

/// The SBOM as text.
pub(super) fn render(bill: &Bill<'_>) -> String {
    let purl = |place: &usize| bill.components[*place].purl.as_str();
    let root = Dependency { r#ref: ROOT, depends_on: bill.roots.iter().map(purl).collect() };
    let needs = bill
        .components
        .iter()
        .map(|component| Dependency { r#ref: &component.purl, depends_on: component.needs.iter().map(purl).collect() });
    let unknown: Vec<&str> = bill
        .components
        .iter()
        .filter(|component| !component.is_known)
        .map(|component| component.purl.as_str())
        .collect();
    let mut document = Document {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: None,
        version: 1,
        metadata: Metadata {
            timestamp: bill.time.map(timestamp),
            tools: Tools {
                components: [Tool { r#type: "application", name: "mlconda", version: env!("CARGO_PKG_VERSION") }],
            },
            component: Environment {
                r#type: "platform",
                reference: ROOT,
                name: bill.name,
                properties: properties(bill),
            },
        },
        components: bill.components.iter().map(library).collect(),
        dependencies: std::iter::once(root).chain(needs).collect(),
        compositions: if unknown.is_empty() {
            Vec::new()
        } else {
            vec![Composition { aggregate: "unknown", dependencies: unknown }]
        },
    };
    document.serial_number = Some(format!("urn:uuid:{}", uuid(&json(&document))));
    json(&document)
}

/// The facts of a lock that CycloneDX has no field for.
fn properties(bill: &Bill<'_>) -> Vec<Property> {
    let lock = bill.lock;
    let one = |name, value: String| Property { name, value };
    let platform = one("mlconda:platform", lock.platform.as_str().to_owned());
    // A directory on this machine is not a channel for anybody else.
    let channels = lock.channels.iter().filter(|channel| !channel.starts_with("file:"));
    let channels = channels.map(|channel| one("mlconda:channel", channel.clone()));
    let virtual_packages =
        lock.virtual_packages.iter().map(|package| one("mlconda:virtual-package", package.to_string()));
    let input = lock.input.iter().map(|hash| one("mlconda:input", format!("sha256:{hash}")));
    let slim = (!lock.slim.is_empty()).then(|| one(LEFT_OUT, lock.slim.to_string()));
    std::iter::once(platform).chain(input).chain(channels).chain(virtual_packages).chain(slim).collect()
}

fn library<'a>(component: &'a Component<'_>) -> Library<'a> {
    let hash = |alg, content: &'a Option<String>| content.as_deref().map(|content| Hash { alg, content });
    let hashes = [hash("SHA-256", &component.sha256), hash("MD5", &component.md5)];
    Library {
        r#type: "library",
        reference: &component.purl,
        name: component.name,
        version: component.version,
        hashes: hashes.into_iter().flatten().collect(),
        licenses: component.licence.iter().map(choice).collect(),
        purl: &component.purl,
        external_references: component.url.iter().map(|url| Reference { r#type: "distribution", url }).collect(),
        properties: component.left_out.iter().map(|parts| Property { name: LEFT_OUT, value: parts.clone() }).collect(),
    }
}

fn choice(licence: &Licence) -> Choice<'_> {
    // `declared` means: not concluded by reading the files.
    let acknowledgement = "declared";
    match licence {
        Licence::Id(id) => Choice::License(Named { id: Some(id), name: None, acknowledgement }),
        Licence::Name(name) => Choice::License(Named { id: None, name: Some(name), acknowledgement }),
        Licence::Expression { text, .. } => Choice::Expression { expression: text, acknowledgement },
    }
}
