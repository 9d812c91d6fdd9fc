//! A program and the files that come with it. All formats of a release are made from them.

use std::path::Path;

use serde_json::Value;

use crate::{
    Args, Result, notices, sbom,
    target::{MacVersion, Target},
    tree::Tree,
};

/// The description of the project in one line.
pub(crate) const SUMMARY: &str = "The conda installer that container builds deserve";

/// The licence of the project (SPDX).
pub(crate) const LICENSE: &str = "BSD-3-Clause";

/// A program and its files.
pub(crate) struct Package {
    pub(crate) target: Target,
    pub(crate) version: String,
    /// Seconds since 1970.
    pub(crate) epoch: u64,
    pub(crate) repository: String,
    pub(crate) program: Vec<u8>,
    /// For macOS, the oldest version on which the program runs.
    pub(crate) oldest: Option<MacVersion>,
    /// Manual pages and completions, by their paths below a prefix such as `/usr/local`.
    pub(crate) share: Tree,
    pub(crate) license: String,
    pub(crate) readme: String,
    /// The licences of all code that is linked into the program.
    pub(crate) notices: String,
    /// The bill of materials (CycloneDX).
    pub(crate) sbom: Value,
}

impl Package {
    /// Reads a program and the files of the repository that come with it.
    pub(crate) fn read(target: Target, path: &Path, args: &Args) -> Result<Self> {
        let program = fs_err::read(path)?;
        let oldest = target.check(&program).map_err(|reason| format!("`{}`: {reason}", path.display()))?;
        let mut share = Tree::default();
        read_tree(&args.share.join("share"), "share/", &mut share)?;
        let dependencies = sbom::Dependencies::of(&args.root, target)?;
        let (version, epoch) = (args.version.clone(), args.epoch);
        Ok(Self {
            sbom: sbom::document(&dependencies, target, &version, epoch, &program)?,
            notices: notices::of(&dependencies, target)?,
            license: fs_err::read_to_string(args.root.join("LICENSE"))?,
            readme: fs_err::read_to_string(args.root.join("README.md"))?,
            repository: args.repository.clone(),
            target,
            version,
            epoch,
            program,
            oldest,
            share,
        })
    }

    /// The files below a prefix such as `/usr/local`: the program, its manual, completions, and its documentation.
    pub(crate) fn tree(&self) -> Tree {
        let mut tree = self.share.clone();
        tree.program("bin/mlconda", self.program.clone());
        self.documents(&mut tree);
        tree
    }

    /// Licences, README and SBOM, below the same prefix.
    pub(crate) fn documents(&self, tree: &mut Tree) {
        tree.file("share/doc/mlconda/LICENSE", self.license.clone());
        tree.file("share/doc/mlconda/THIRD-PARTY-LICENSES", self.notices.clone());
        tree.file("share/doc/mlconda/README.md", self.readme());
        tree.file("share/doc/mlconda/sbom.cdx.json", sbom::text(&self.sbom));
    }

    /// The README with links to the repository, because the files beside it are missing here.
    pub(crate) fn readme(&self) -> String {
        let base = format!("{}/blob/v{}/", self.repository, self.version);
        let mut text = String::new();
        for line in self.readme.split_inclusive('\n') {
            let mut rest = line;
            // `[name]: target`, then any number of `](target)`.
            let definition = line.starts_with('[').then(|| line.find("]: ")).flatten();
            let (mark, length) = if definition.is_some() { ("]: ", 3) } else { ("](", 2) };
            while let Some(at) = rest.find(mark) {
                let (before, after) = rest.split_at(at + length);
                text.push_str(before);
                if !after.starts_with("http") && !after.starts_with('#') {
                    text.push_str(&base);
                }
                rest = after;
            }
            text.push_str(rest);
        }
        text
    }
}

/// Reads the files below a directory.
fn read_tree(directory: &Path, below: &str, tree: &mut Tree) -> Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| format!("{name:?} is not UTF-8"))?;
        let path = format!("{below}{name}");
        if entry.file_type()?.is_dir() {
            read_tree(&entry.path(), &format!("{path}/"), tree)?;
        } else {
            tree.file(path, fs_err::read(entry.path())?);
        }
    }
    Ok(())
}
