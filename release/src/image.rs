//! The image: the program at `/mlconda`, as in `COPY --from=mlconda /mlconda`, and links with the names of conda.
//!
//! It has no base (`scratch`): the program is static and has the certificates of the web in it. Archives have the same
//! format as those of `mlconda image`: docker, podman and skopeo load them.

use jiff::Timestamp;
use mlconda_oci::{Blob, Config, Digest, Image, Images, LayerHistory, Platform, archive, media_type};

use crate::{
    Result, Written,
    archive::gzip,
    package::{LICENSE, Package, SUMMARY},
    tree::{Directories, Entry, Tree},
};

/// Packs the images of the programs for Linux: each alone, and all of them with an index.
pub(crate) fn pack(packages: &[Package]) -> Result<Vec<Written>> {
    let linux: Vec<&Package> = packages.iter().filter(|package| package.target.is_linux()).collect();
    let mut images = Vec::new();
    let mut written = Vec::new();
    for package in &linux {
        let image = image(package)?;
        let name = format!("mlconda-{}-image-{}.tar", package.version, image.platform.architecture);
        written.push(Written { name, bytes: tar(&Images::one(image.clone()), &package.version)? });
        images.push(image);
    }
    if let ([package, ..], 2..) = (linux.as_slice(), images.len()) {
        // Engines without support for platforms take the first one.
        images.sort_by(|one, other| one.platform.architecture.cmp(&other.platform.architecture));
        let bytes = tar(&Images::several(images, &[]), &package.version)?;
        written.push(Written { name: format!("mlconda-{}-image.tar", package.version), bytes });
    }
    Ok(written)
}

fn tar(images: &Images, version: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let name = format!("mlconda:{version}").parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(archive::write(images, &name, &mut bytes, &()))?;
    Ok(bytes)
}

fn image(package: &Package) -> Result<Image> {
    let mut tree = Tree::default();
    tree.program("mlconda", package.program.clone());
    for name in ["mlconda", "conda", "mamba", "micromamba"] {
        tree.0.insert(format!("usr/local/bin/{name}"), Entry::Link("/mlconda".to_owned()));
    }
    tree.file("usr/local/share/doc/mlconda/LICENSE", package.license.clone());
    tree.file("usr/local/share/doc/mlconda/THIRD-PARTY-LICENSES", package.notices.clone());
    tree.0.insert("tmp".to_owned(), Entry::Directory(0o1777));
    let layer = tree.tar(package.epoch, Directories::Written)?;
    let subdir = package.target.subdir;
    let platform = Platform::of(subdir).ok_or_else(|| format!("there are no images for {subdir}"))?;
    let created = Timestamp::from_second(i64::try_from(package.epoch)?)?.to_string();
    let mut config = Config::new(&platform);
    config.set_created(&created);
    config.set_variable("PATH", "/usr/local/bin:/usr/bin:/bin");
    config.set_entrypoint(&["/mlconda".to_owned()]);
    for (name, value) in [
        ("title", "mlconda"),
        ("description", SUMMARY),
        ("licenses", LICENSE),
        ("source", &package.repository),
        ("version", &package.version),
    ] {
        config.set_label(&format!("org.opencontainers.image.{name}"), value);
    }
    let history = LayerHistory { created: Some(created), ..LayerHistory::new("release/build") };
    config.add_layer(&Digest::of(&layer), &history);
    let blob = Blob::new(media_type::LAYER_GZIP, gzip(&layer)?);
    Ok(Image::new(&config, vec![blob], &[])?)
}
