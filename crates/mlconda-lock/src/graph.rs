//! The dependency graph of an environment: packages, their dependencies, and the requested packages.
//!
//! A graph is made from a lock whose packages have records (`mlconda::records::complete` adds them), or from the
//! records of a prefix. Dependencies are matched by name only, because an environment has one package of each name;
//! versions are checked by the solver and by `mlconda_inspect::verify`. The graph can have cycles (python and pip in
//! old packages).

mod chains;
mod roots;
mod weight;

pub use self::{
    chains::{Chain, ChainSelection, Chains},
    weight::Weight,
};

use std::collections::HashMap;

use mlconda_environment::Environment;
use mlconda_prefix::distributions::is_distribution;
use mlconda_types::dependency::dependency_name;
use rattler_conda_types::PrefixRecord;

use crate::{
    Lock, LockedPackage, LockedPip, normalize,
    provided::provided,
    requirements::{Requirement, needed},
};

/// Packages and their dependencies.
///
/// ```
/// use mlconda_lock::graph::{ChainSelection, Graph};
/// # use std::path::Path;
/// # use mlconda_environment::{Environment, ReadOptions};
/// # use mlconda_lock::Lock;
/// # use mlconda_types::{host::Host, solution::{Solution, SolveOptions}};
/// # use rattler_conda_types::{RepoDataRecord, Subdir};
/// # let record = |name: &str, depends: &str| -> RepoDataRecord { serde_json::from_str(&format!(
/// #     r#"{{"name": "{name}", "version": "1.0", "build": "0", "build_number": 0, "depends": [{depends}],
/// #     "subdir": "noarch", "fn": "{name}-1.0-0.conda", "url": "https://host/lab/noarch/{name}-1.0-0.conda",
/// #     "channel": "https://host/lab", "size": 10, "sha256": "{:064}"}}"#, 0)).unwrap() };
/// # let records = vec![record("plots", "\"arrays >=1\""), record("arrays", "\"blas\""), record("blas", "")];
/// # let text = "channels: [https://host/lab]\ndependencies:\n  - plots >=1\n";
/// # let options = ReadOptions { directory: "/".into(), ..ReadOptions::default() };
/// # let environment = Environment::parse(text, Path::new("environment.yml"), &options)?;
/// # let host = Host::baseline(Subdir::Linux64);
/// # let solution = Solution { records, options: SolveOptions::default() };
/// # let lock = Lock::new(&environment, &host, &solution)?;
/// // `plots` was asked for in line 3; it needs `arrays`, and `arrays` needs `blas`.
/// let graph = Graph::new(&lock).with_requests(&environment);
/// let blas = graph.find("blas").unwrap();
/// let why = graph.chains(blas, ChainSelection::Shortest).chains;
/// let names: Vec<&str> = why[0].packages.iter().map(|each| graph.packages[*each].name.as_str()).collect();
/// assert_eq!(names, ["plots", "arrays", "blas"]);
/// assert_eq!(graph.roots[why[0].root].asked[0].place.as_ref().unwrap().line, 3);
///
/// // Without `arrays`, `blas` would go as well.
/// assert_eq!(graph.weights()[graph.find("arrays").unwrap()].packages, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// The packages, in the order of the lock; packages of pip come last.
    pub packages: Vec<GraphPackage>,
    /// The roots: the requested packages, in the order of the requests, and then the packages that nothing else
    /// reaches.
    pub roots: Vec<GraphRoot>,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphPackage {
    /// The name, normalized.
    pub name: String,
    /// The version, if known. A commit that pip installs has none.
    pub version: Option<String>,
    /// Which tool installs it.
    pub kind: PackageKind,
    /// The size in bytes, where known: of the archive, or, in a prefix, of the installed files.
    pub size: Option<u64>,
    /// Its dependencies among the other packages, sorted by name.
    pub needs: Vec<Dependency>,
    /// Whether `needs` is known. A lock may lack the record.
    pub is_known: bool,
}

/// The tool that installs a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageKind {
    /// A package of a channel.
    Conda,
    /// A package of pip.
    Pip,
}

/// A dependency that another package of the environment satisfies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The index in [`Graph::packages`].
    pub package: usize,
    /// The match spec, or, of a package of pip, the requirement (PEP 508). Several of the same package are joined.
    pub spec: String,
}

/// A root of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphRoot {
    /// The index in [`Graph::packages`].
    pub package: usize,
    /// The requests for it; none if they are not known.
    pub asked: Vec<Request>,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The match spec, or the requirement of pip.
    pub spec: String,
    /// The line of the request, if known.
    pub place: Option<SourceLine>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The file.
    pub file: std::path::PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl Graph {
    /// Makes the graph of a lock, from the records of its packages and its requested specs.
    pub fn new(lock: &Lock) -> Self {
        let conda = lock.packages.iter().map(node);
        let mut packages: Vec<GraphPackage> = conda.chain(lock.pip.iter().map(pip_node)).collect();
        let names = NameIndex::new(&packages).knowing(lock);
        for (place, package) in lock.packages.iter().enumerate() {
            let depends = package.record.iter().flat_map(|record| &record.depends);
            packages[place].needs = names.needs(place, depends.map(|spec| (names.conda(spec), spec.as_str())));
        }
        for (place, (package, requirements)) in lock.pip.iter().zip(needed(lock)).enumerate() {
            let place = place + lock.packages.len();
            let python = package.requires_python.as_deref().unwrap_or_default();
            let python = format!("python {python}").trim_end().to_owned();
            let requires = requirements.iter().map(|each| (names.project(&each.name), each.text));
            packages[place].needs = names.needs(place, requires.chain([(names.conda("python"), python.as_str())]));
        }
        let conda = lock.specs.iter().map(|spec| (names.conda(spec), spec));
        let pip = lock.pip_requirements.iter().map(|text| (names.requirement(text), text));
        let others = lock.pip_requested.iter().map(|name| (names.requirement(name), name));
        let asked = conda
            .chain(pip)
            .chain(others)
            .filter_map(|(package, spec)| Some((package?, Request { spec: spec.clone(), place: None })));
        let asked = asked.collect();
        let mut graph = Self { packages, roots: Vec::new() };
        graph.set_roots(asked);
        graph
    }

    /// Takes the requests from an environment.yml, which has line numbers. The environment is that of the lock's
    /// platform ([`Environment::for_platform`]).
    #[must_use]
    pub fn with_requests(mut self, environment: &Environment) -> Self {
        let names = NameIndex::new(&self.packages);
        let asked = |package: Option<usize>, spec: &str, file: &std::path::Path, line: usize| {
            Some((package?, Request { spec: spec.to_owned(), place: Some(SourceLine { file: file.to_owned(), line }) }))
        };
        let conda = environment.requirements.iter().filter_map(|each| {
            let name = each.spec.name.as_exact().map(|name| name.as_normalized());
            asked(names.conda(name.unwrap_or_default()), &each.text, &each.file, each.location.line)
        });
        let pip = environment
            .pip
            .iter()
            .filter_map(|each| asked(names.requirement(&each.text), &each.text, &each.file, each.location.line));
        let mut asked: Vec<(usize, Request)> = conda.chain(pip).collect();
        // Packages that are requested in requirements files are known by name only, from the lock.
        for GraphRoot { package, asked: known } in &self.roots {
            let GraphPackage { kind, name, .. } = &self.packages[*package];
            let is_named = asked.iter().any(|(other, _)| other == package);
            let of_lock = known.iter().find(|each| *kind == PackageKind::Pip && each.spec == *name && !is_named);
            asked.extend(of_lock.map(|each| (*package, each.clone())));
        }
        self.set_roots(asked);
        self
    }

    /// Sets the installed sizes, from the records of a prefix.
    #[must_use]
    pub fn with_sizes(mut self, records: &[PrefixRecord]) -> Self {
        let size =
            |record: &PrefixRecord| record.paths_data.paths.iter().map(|path| path.size_in_bytes.unwrap_or(0)).sum();
        let key = |record: &PrefixRecord| {
            let package = &record.repodata_record.package_record;
            (is_distribution(package), package.name.as_normalized().to_owned())
        };
        let sizes: HashMap<(bool, String), u64> = records.iter().map(|record| (key(record), size(record))).collect();
        for package in &mut self.packages {
            package.size = sizes.get(&(package.kind == PackageKind::Pip, package.name.clone())).copied();
        }
        self
    }

    /// The index of a package by its name. A conda package takes precedence over a package of pip with the same name.
    pub fn find(&self, name: &str) -> Option<usize> {
        let (conda, pip) = (name.to_lowercase(), normalize(name));
        let is = |package: &GraphPackage, kind, name: &str| package.kind == kind && package.name == name;
        let find = |kind, name: &str| self.packages.iter().position(|package| is(package, kind, name));
        find(PackageKind::Conda, &conda).or_else(|| find(PackageKind::Pip, &pip))
    }

    /// At most three names that are similar to a missing one.
    pub fn similar_names(&self, name: &str) -> Vec<&str> {
        let name = name.to_lowercase();
        let far = (name.len() / 3).max(1);
        let mut near: Vec<(usize, &str)> = self
            .packages
            .iter()
            .map(|package| (strsim::osa_distance(&package.name, &name), package.name.as_str()))
            .filter(|(distance, known)| *distance <= far || (name.len() > 2 && known.contains(&name)))
            .collect();
        mlconda_types::sorting::sort(&mut near);
        near.dedup();
        near.into_iter().map(|(_, name)| name).take(3).collect()
    }

    /// The dependents of each package: their indices, with the spec of the dependency.
    pub fn needed_by(&self) -> Vec<Vec<(usize, &str)>> {
        let mut needed: Vec<Vec<(usize, &str)>> = vec![Vec::new(); self.packages.len()];
        for (place, package) in self.packages.iter().enumerate() {
            package.needs.iter().for_each(|need| needed[need.package].push((place, &need.spec)));
        }
        needed
    }
}

fn node(package: &LockedPackage) -> GraphPackage {
    GraphPackage {
        name: package.name.clone(),
        version: Some(package.version.clone()),
        kind: PackageKind::Conda,
        size: package.size.or_else(|| package.record.as_ref()?.size),
        needs: Vec::new(),
        is_known: package.record.is_some(),
    }
}

fn pip_node(package: &LockedPip) -> GraphPackage {
    let size = match &package.source {
        crate::PipSource::Archive { size, .. } => *size,
        _ => None,
    };
    GraphPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        kind: PackageKind::Pip,
        size,
        needs: Vec::new(),
        is_known: package.requires.is_some(),
    }
}

/// An index of packages by name.
pub struct NameIndex {
    conda: HashMap<String, usize>,
    pip: HashMap<String, usize>,
    /// Conda packages by the PyPI projects that they provide. Without a record, the project is assumed to have the same
    /// name.
    projects: HashMap<String, usize>,
}

impl NameIndex {
    fn new(packages: &[GraphPackage]) -> Self {
        let of = |kind, name: fn(&str) -> String| {
            let places = packages.iter().enumerate().filter(|(_, package)| package.kind == kind);
            places.map(|(place, package)| (name(&package.name), place)).collect()
        };
        let (conda, pip) = (of(PackageKind::Conda, str::to_owned), of(PackageKind::Pip, normalize));
        Self { conda, pip, projects: of(PackageKind::Conda, normalize) }
    }

    /// Replaces assumed project names by those from the records of a lock.
    fn knowing(mut self, lock: &Lock) -> Self {
        self.projects.retain(|_, place| lock.packages.get(*place).is_some_and(|package| package.record.is_none()));
        for (name, provided) in provided(&lock.packages) {
            self.projects.extend(self.conda.get(&provided.package).map(|place| (name, *place)));
        }
        self
    }

    /// The package of a match spec; `None` for conditional dependencies.
    fn conda(&self, spec: &str) -> Option<usize> {
        let bare = spec.rsplit_once("::").map_or(spec, |(_, bare)| bare).trim();
        self.conda.get(&dependency_name(bare).to_lowercase()).copied().filter(|_| !spec.contains("; if "))
    }

    /// The package of a requirement of pip.
    fn requirement(&self, text: &str) -> Option<usize> {
        self.project(&Requirement::read(text)?.name)
    }

    /// The package that provides a project of PyPI: a package of pip, else a conda package.
    fn project(&self, name: &str) -> Option<usize> {
        self.pip.get(name).or_else(|| self.projects.get(name)).copied()
    }

    /// The dependencies of a package, each once, sorted by name, without itself.
    fn needs<'a>(&self, own: usize, specs: impl Iterator<Item = (Option<usize>, &'a str)>) -> Vec<Dependency> {
        let mut needs: Vec<Dependency> = Vec::new();
        for (package, spec) in specs.filter_map(|(package, spec)| Some((package?, spec))) {
            match needs.iter_mut().find(|need| need.package == package) {
                Some(need) if need.spec != spec => need.spec = format!("{}, {spec}", need.spec),
                Some(_) => {}
                None if package == own => {}
                None => needs.push(Dependency { package, spec: spec.to_owned() }),
            }
        }
        mlconda_types::sorting::sort_by(&mut needs, |one, other| {
            one.spec.to_lowercase().cmp(&other.spec.to_lowercase())
        });
        needs
    }
}

#[cfg(test)]
mod tests;
