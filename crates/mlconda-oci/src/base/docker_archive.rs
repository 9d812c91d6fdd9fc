//! Reads images from files of `docker save`: a tar with a `manifest.json`, which contains the paths of configs and
//! layers in the tar.
//!
//! Layers are not copied: a blob is a part of the file. Older engines write uncompressed layers, whose digests are the
//! diff ids in the config. Newer engines write the blobs of an OCI layout, whose paths contain their digests.

use std::{
    collections::{BTreeMap, HashMap},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use mlconda_system::files;
use rattler_digest::{Sha256, digest::Digest as _};
use serde_json::Value;

use super::{BaseImage, check};
use crate::{
    Blob, Config, Content, Descriptor, Digest, OciError, Platform, Reference,
    json::{self, LARGEST_DOCUMENT},
    media_type,
};

/// The largest number of tar entries that are read.
const MOST_ENTRIES: usize = 100_000;

/// An entry of the tar.
enum Entry {
    /// A file: its offset and its size, in bytes.
    File(u64, u64),
    /// A link to the path of another entry. Docker writes one for a layer that occurs twice.
    Link(String),
}

struct Archive {
    path: PathBuf,
    file: fs_err::File,
    entries: HashMap<String, Entry>,
    what: String,
}

/// Reads the image with a name. Without a name, the file must contain only one image.
pub(super) fn read(path: &Path, tag: Option<&str>, wanted: &Platform) -> Result<BaseImage, OciError> {
    let mut archive = Archive::open(path)?;
    let what = archive.what.clone();
    let invalid = |reason: &str| OciError::invalid(&what, reason);
    let manifest = archive.document("manifest.json")?;
    let Ok(Value::Array(images)) = serde_json::from_slice(&manifest) else {
        return Err(invalid("its `manifest.json` is no list"));
    };
    let images: Vec<_> = images.iter().filter_map(Value::as_object).collect();
    let image = match (tag, images.as_slice()) {
        (None, [image]) => image,
        (None, _) => return Err(invalid("it does not hold one image: name one, as in `docker-archive:FILE:NAME:TAG`")),
        (Some(tag), images) => {
            let wanted: Reference = tag.parse()?;
            let is_it = |name: &String| {
                let name = name.parse::<Reference>();
                name.is_ok_and(|name| (name.name(), name.tag_or_latest()) == (wanted.name(), wanted.tag_or_latest()))
            };
            let found = images.iter().find(|image| json::list(image, "RepoTags").iter().any(is_it));
            found.ok_or_else(|| OciError::Missing { what: format!("`{wanted}` in {what}"), said: String::new() })?
        }
    };
    let config = json::text(image, "Config").ok_or_else(|| invalid("an image of it has no config"))?;
    let config = archive.document(&config)?;
    let config = Config::parse(&config, &format!("a config in {what}"))?;
    let (paths, ids) = (json::list(image, "Layers"), config.diff_ids()?);
    check(&config, paths.len(), wanted, &what)?;
    let layers = paths.iter().zip(&ids).map(|(path, id)| archive.layer(path, id)).collect::<Result<_, _>>()?;
    Ok(BaseImage {
        name: None,
        digest: None,
        platform: config.platform()?,
        config,
        layers,
        annotations: BTreeMap::new(),
    })
}

impl Archive {
    fn open(path: &Path) -> Result<Self, OciError> {
        let what = format!("`{}`", path.display());
        let mut file = files::open(path)?;
        let mut magic = [0; 4];
        let length = file.read(&mut magic)?;
        if magic[..length].starts_with(&[0x1f, 0x8b]) || magic[..length] == [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(OciError::invalid(what, "it is compressed: decompress it first (`gunzip`, `unzstd`)"));
        }
        file.seek(SeekFrom::Start(0))?;
        let broken = |error: std::io::Error| OciError::invalid(&what, format!("it is no tar ({error})"));
        let mut entries = HashMap::new();
        let mut tar = tar::Archive::new(file);
        for entry in tar.entries_with_seek().map_err(broken)?.take(MOST_ENTRIES) {
            let entry = entry.map_err(broken)?;
            let path = plain(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let target = if kind.is_symlink() { plain(&format!("{parent}/{target}")) } else { plain(&target) };
                entries.insert(path, Entry::Link(target));
            } else if kind.is_file() {
                entries.insert(path, Entry::File(entry.raw_file_position(), entry.size()));
            }
        }
        Ok(Self { path: path.to_owned(), file: files::open(path)?, entries, what })
    }

    /// The offset and the size of a file. A link must lead to a file, not to another link.
    fn find(&self, path: &str) -> Result<(u64, u64), OciError> {
        let entry = match self.entries.get(&plain(path)) {
            Some(Entry::Link(target)) => self.entries.get(target),
            entry => entry,
        };
        match entry {
            Some(Entry::File(offset, size)) => Ok((*offset, *size)),
            _ => Err(OciError::invalid(&self.what, format!("it has no `{path}`, so it is no file of `docker save`"))),
        }
    }

    fn document(&mut self, path: &str) -> Result<Vec<u8>, OciError> {
        let (offset, size) = self.find(path)?;
        if size > LARGEST_DOCUMENT {
            return Err(OciError::invalid(&self.what, format!("its `{path}` has more than 4 MiB, which is the limit")));
        }
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(offset))?;
        (&mut self.file).take(size).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A layer. The digest of an uncompressed layer is the diff id. For other layers, it is taken from the file name,
    /// or else computed.
    fn layer(&mut self, path: &str, diff_id: &Digest) -> Result<Blob, OciError> {
        let (offset, size) = self.find(path)?;
        self.file.seek(SeekFrom::Start(offset))?;
        let mut part = (&mut self.file).take(size);
        let mut magic = [0; 4];
        let length = part.read(&mut magic)?;
        let media_type = match &magic[..length] {
            [0x1f, 0x8b, ..] => media_type::LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => media_type::LAYER_ZSTD,
            _ => media_type::LAYER,
        };
        let named = plain(path).strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse().ok());
        let digest = match named {
            Some(digest) => digest,
            None if media_type == media_type::LAYER => *diff_id,
            None => {
                let mut hasher = Sha256::default();
                self.file.seek(SeekFrom::Start(offset))?;
                let mut part = (&mut self.file).take(size);
                let mut buffer = vec![0; 256 << 10];
                loop {
                    let length = part.read(&mut buffer)?;
                    if length == 0 {
                        break Digest::from(hasher.finalize());
                    }
                    hasher.update(&buffer[..length]);
                }
            }
        };
        let content = Content::Part { path: self.path.clone(), offset };
        Ok(Blob { descriptor: Descriptor::new(media_type, digest, size), content })
    }
}

/// A path without empty parts, `.` and `..`.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
