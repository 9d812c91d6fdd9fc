//! Maps conda packages to projects of PyPI, so that pip's resolver does not install them again.
//!
//! If a record has purls (package URLs, as in newer builds of conda-forge), they are used. Otherwise the project has
//! the normalized name of the package, except for packages in the list `RENAMED_PROJECTS`. Only packages that depend on
//! python count: conda's `graphviz`, `lz4-c` or `xxhash` are not the projects of those names. The result depends only
//! on records, so that the same input gives the same lock everywhere.

use std::{collections::BTreeMap, str::FromStr};

use mlconda_python::normalize;
use mlconda_types::dependency::dependency_name;
use pep440_rs::Version;
use rattler_conda_types::{NoArchType, PackageRecord};

use super::LockedPackage;

/// A project of PyPI that a conda package provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provided {
    /// The version as on PyPI.
    pub version: Version,
    /// The conda package's name.
    pub package: String,
}

/// The projects that the conda packages of a lock provide, by normalized name.
pub fn provided(packages: &[LockedPackage]) -> BTreeMap<String, Provided> {
    let mut provided = BTreeMap::new();
    for package in packages {
        let Some(record) = package.record.as_deref().filter(|record| needs_python(record)) else { continue };
        let Some(version) = version(&package.version) else { continue };
        for name in projects(record) {
            let given = Provided { version: version.clone(), package: package.name.clone() };
            provided.entry(name).or_insert(given);
        }
    }
    provided
}

/// Whether a package depends on python.
fn needs_python(record: &PackageRecord) -> bool {
    let is_python = |spec: &String| ["python", "python_abi"].contains(&dependency_name(spec));
    record.name.as_normalized() != "python"
        && (record.noarch == NoArchType::python() || record.depends.iter().any(is_python))
}

/// The normalized names of the projects that a package provides.
fn projects(record: &PackageRecord) -> Vec<String> {
    if let Some(purls) = &record.purls {
        let pypi = purls.iter().filter(|purl| *purl.package_type() == "pypi");
        return pypi.map(|purl| normalize(purl.name())).collect();
    }
    let name = record.name.as_normalized();
    if let Some((_, projects)) = RENAMED_PROJECTS.iter().find(|(package, _)| *package == name) {
        return projects.iter().map(|project| (*project).to_owned()).collect();
    }
    match name.strip_prefix("spacy-model-") {
        Some(model) => vec![normalize(model)],
        // R packages of conda-forge are never PyPI projects, even if they depend on python.
        None if name.starts_with("r-") => Vec::new(),
        None => vec![normalize(name)],
    }
}

/// The projects that the conda package of this name provides, if they have other names.
pub fn renamed_projects(name: &str) -> Option<&'static [&'static str]> {
    let (_, projects) = RENAMED_PROJECTS.iter().find(|(package, _)| normalize(package) == name)?;
    Some(*projects).filter(|projects| !projects.is_empty())
}

/// A conda version as a PEP 440 version. If it is not valid there, only its leading numbers.
fn version(text: &str) -> Option<Version> {
    Version::from_str(text).ok().or_else(|| {
        let end = text.find(|each: char| !each.is_ascii_digit() && each != '.').unwrap_or(text.len());
        Version::from_str(text[..end].trim_matches('.')).ok()
    })
}

/// Conda packages that do not provide the project of the same name, and the projects that they provide. Sorted.
const RENAMED_PROJECTS: &[(&str, &[&str])] = &[
    ("_anaconda_depends", &[]),
    ("_py-xgboost-mutex", &[]),
    ("anaconda", &[]),
    ("antlr-python-runtime", &["antlr4-python3-runtime"]),
    ("backports", &[]),
    ("bleach-with-css", &[]),
    ("blis", &[]),
    ("blosc", &[]),
    ("boost", &[]),
    ("boost-cpp", &[]),
    ("brotli-python", &["brotli"]),
    ("cupy-core", &["cupy"]),
    ("cvxpy-base", &["cvxpy"]),
    ("cython-blis", &["blis"]),
    ("dask-core", &["dask"]),
    ("docker-py", &["docker"]),
    ("eccodes", &[]),
    ("faiss", &["faiss", "faiss-cpu"]),
    ("faiss-cpu", &["faiss", "faiss-cpu"]),
    ("faiss-gpu", &["faiss", "faiss-gpu"]),
    ("ffmpeg", &[]),
    ("flatbuffers", &[]),
    ("geopandas-base", &["geopandas"]),
    ("graphviz", &[]),
    ("ignite", &["pytorch-ignite"]),
    ("igraph", &[]),
    ("isal", &[]),
    ("jsonschema-with-format", &[]),
    ("jsonschema-with-format-nongpl", &[]),
    ("libboost-python", &[]),
    ("libboost-python-devel", &[]),
    ("libopencv", &[]),
    ("libprotobuf", &[]),
    ("libxgboost", &[]),
    ("lmdb", &[]),
    ("matplotlib-base", &["matplotlib"]),
    ("mkl", &[]),
    ("msgpack-python", &["msgpack"]),
    ("nbconvert-all", &[]),
    ("nbconvert-core", &["nbconvert"]),
    ("nbconvert-pandoc", &[]),
    ("nbconvert-webpdf", &[]),
    ("nltk_data", &[]),
    ("numpy-base", &["numpy"]),
    ("nvidia-apex", &["apex"]),
    ("opencv", &["opencv-python", "opencv-python-headless"]),
    ("ortools-python", &["ortools"]),
    ("py-boost", &[]),
    ("py-lief", &["lief"]),
    ("py-opencv", &["opencv-python", "opencv-python-headless"]),
    ("py-xgboost", &["xgboost"]),
    ("py-xgboost-cpu", &["xgboost"]),
    ("py-xgboost-gpu", &["xgboost"]),
    ("pyarrow-core", &["pyarrow"]),
    ("pybind11-abi", &[]),
    ("pyg", &["torch-geometric"]),
    ("pymc-base", &["pymc"]),
    ("pyqt", &["pyqt5"]),
    ("pysoundfile", &["soundfile"]),
    ("pytables", &["tables"]),
    ("pytensor-base", &["pytensor"]),
    ("python-annoy", &["annoy"]),
    ("python-blosc", &["blosc"]),
    ("python-cdo", &["cdo"]),
    ("python-clang", &["clang"]),
    ("python-duckdb", &["duckdb"]),
    ("python-eccodes", &["eccodes"]),
    ("python-fastjsonschema", &["fastjsonschema"]),
    ("python-fire", &["fire"]),
    ("python-flatbuffers", &["flatbuffers"]),
    ("python-graphviz", &["graphviz"]),
    ("python-hdfs", &["hdfs"]),
    ("python-htcondor", &["htcondor"]),
    ("python-igraph", &["igraph", "python-igraph"]),
    ("python-isal", &["isal"]),
    ("python-kaleido", &["kaleido"]),
    ("python-libarchive-c", &["libarchive-c"]),
    ("python-lmdb", &["lmdb"]),
    ("python-sounddevice", &["sounddevice"]),
    ("python-soxr", &["soxr"]),
    ("python-symengine", &["symengine"]),
    ("python-tzdata", &["tzdata"]),
    ("python-wget", &["wget"]),
    ("python-xxhash", &["xxhash"]),
    ("python-zlib-ng", &["zlib-ng"]),
    ("python-zstd", &["zstd"]),
    ("python_abi", &[]),
    ("pytorch", &["torch"]),
    ("pytorch-cluster", &["torch-cluster"]),
    ("pytorch-cpu", &["torch"]),
    ("pytorch-cuda", &[]),
    ("pytorch-gpu", &["torch"]),
    ("pytorch-mutex", &[]),
    ("pytorch-scatter", &["torch-scatter"]),
    ("pytorch-sparse", &["torch-sparse"]),
    ("pytorch-spline-conv", &["torch-spline-conv"]),
    ("pytorch_cluster", &["torch-cluster"]),
    ("pytorch_geometric", &["torch-geometric"]),
    ("pytorch_scatter", &["torch-scatter"]),
    ("pytorch_sparse", &["torch-sparse"]),
    ("pytorch_spline_conv", &["torch-spline-conv"]),
    ("qtconsole-base", &["qtconsole"]),
    ("ray-core", &["ray"]),
    ("ray-data", &["ray"]),
    ("ray-default", &["ray"]),
    ("ray-rllib", &["ray"]),
    ("ray-serve", &["ray"]),
    ("ray-train", &["ray"]),
    ("ray-tune", &["ray"]),
    ("ruamel_yaml", &[]),
    ("seaborn-base", &["seaborn"]),
    ("sentencepiece-python", &["sentencepiece"]),
    ("snappy", &[]),
    ("soxr", &[]),
    ("soxr-python", &["soxr"]),
    ("symengine", &[]),
    ("tensorflow-base", &["tensorflow"]),
    ("tensorflow-cpu", &["tensorflow"]),
    ("tensorflow-gpu", &["tensorflow"]),
    ("tensorflow-mkl", &["tensorflow"]),
    ("torchtriton", &["triton"]),
    ("torchvision-cpu", &["torchvision"]),
    ("tzdata", &[]),
    ("uvicorn-standard", &[]),
    ("xxhash", &[]),
    ("zstd", &[]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digest;

    /// A package whose record has these additional fields.
    fn package(name: &str, version: &str, additions: &serde_json::Value) -> LockedPackage {
        let mut record = serde_json::json!({
            "name": name, "version": version, "build": "py311_0", "build_number": 0, "subdir": "linux-64", "depends": ["python >=3.11,<3.12.0a0"],
        });
        for (key, value) in additions.as_object().unwrap() {
            record[key] = value.clone();
        }
        let url = format!("https://c/f/linux-64/{name}-{version}-py311_0.conda").parse().unwrap();
        let mut package = LockedPackage::from_url(url, Digest::Unknown).unwrap();
        package.record = Some(std::sync::Arc::new(serde_json::from_value(record).unwrap()));
        package
    }

    fn names(name: &str, additions: &serde_json::Value) -> String {
        provided(&[package(name, "1.0", additions)]).into_keys().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn projects_have_other_names_than_packages() {
        let cases = [
            ("pytorch", "torch"),
            ("pytorch-cpu", "torch"),
            ("opencv", "opencv-python opencv-python-headless"),
            ("py-opencv", "opencv-python opencv-python-headless"),
            ("pyyaml", "pyyaml"),
            ("msgpack-python", "msgpack"),
            ("pytables", "tables"),
            ("pillow", "pillow"),
            ("matplotlib-base", "matplotlib"),
            ("tensorflow-base", "tensorflow"),
            ("python-graphviz", "graphviz"),
            ("graphviz", ""),
            ("protobuf", "protobuf"),
            ("libprotobuf", ""),
            ("brotli-python", "brotli"),
            ("ruamel.yaml", "ruamel-yaml"),
            ("importlib_metadata", "importlib-metadata"),
            ("prompt_toolkit", "prompt-toolkit"),
            ("dask-core", "dask"),
            ("jupyter_core", "jupyter-core"),
            ("python-dateutil", "python-dateutil"),
            ("python-tzdata", "tzdata"),
            ("spacy-model-en_core_web_sm", "en-core-web-sm"),
            ("r-reticulate", ""),
            ("torchtriton", "triton"),
        ];
        for (package, projects) in cases {
            assert_eq!(names(package, &serde_json::json!({})), projects, "{package}");
        }
        assert!(RENAMED_PROJECTS.is_sorted_by_key(|(package, _)| package));
    }

    #[test]
    fn a_record_knows_best_and_what_needs_no_python_is_none() {
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(names("odd", &json(r#"{"purls": ["pkg:pypi/Even.Odd@1.0", "pkg:github/a/b@1"]}"#)), "even-odd");
        assert_eq!(names("pytorch", &json(r#"{"purls": []}"#)), "");
        assert_eq!(names("snappy", &json(r#"{"depends": ["libgcc >=12"]}"#)), "");
        assert_eq!(names("lz4", &json(r#"{"depends": ["libgcc >=12"]}"#)), "");
        assert_eq!(names("six", &json(r#"{"depends": [], "noarch": "python"}"#)), "six");
        assert_eq!(names("cffi", &json(r#"{"depends": ["python_abi 3.11.* *_cp311"]}"#)), "cffi");
    }

    #[test]
    fn versions_that_are_none_are_cut() {
        let of = |text: &str| version(text).map(|version| version.to_string());
        assert_eq!(of("1.26.4").as_deref(), Some("1.26.4"));
        assert_eq!(of("2.0.0rc1").as_deref(), Some("2.0.0rc1"));
        assert_eq!(of("1.1.1w_beta.x").as_deref(), Some("1.1.1"));
        assert_eq!(of("2024a").as_deref(), Some("2024a0"));
        assert_eq!(of("master"), None);
    }
}
