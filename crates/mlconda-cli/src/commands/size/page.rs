//! The sizes as a page in one HTML file, which uses no network.

use std::{collections::BTreeMap, path::Path};

use mlconda::size::{FileKind, SizedPackage};
use serde_json::{Value, json};

use super::{
    image::{self, Layered},
    picture::{Picture, Subject},
};
use crate::text::{bytes, count, path_text};

/// The page without its data.
const PAGE: &str = include_str!("page.html");

/// Files smaller than one part in this number of the total are drawn as one, together with their neighbours.
const SMALL_PART: u64 = 20_000;

/// Small files that are drawn as one.
struct Small {
    kind: FileKind,
    /// The index of their layer, as in the data.
    layer: Value,
    bytes: u64,
    files: usize,
}

/// The page for one or two pictures.
pub(super) fn page(pictures: &[Picture]) -> String {
    let data = Value::Array(pictures.iter().map(data).collect()).to_string();
    // A name that contains `</script>` must not end the data.
    PAGE.replacen("DATA", &data.replace('<', "\\u003c"), 1)
}

fn data(picture: &Picture) -> Value {
    let sizes = &picture.sizes;
    let prefix = |number: usize| picture.image.as_ref().and_then(|image| image.prefix_in_words(number));
    let title = |(number, package): (usize, &SizedPackage)| {
        let inside = prefix(number).map_or_else(String::new, |prefix| format!(" in {prefix}"));
        format!("{} {}{inside}", package.name, package.version)
    };
    let packages = sizes.packages.iter().enumerate().map(title).zip(&picture.only_asked);
    let packages = packages.map(|(title, asked)| json!({"title": title, "asked": asked})).collect::<Vec<_>>();
    let layer = |image: &Layered, number: usize| {
        let layer = &image.layers[number];
        let title = format!("{}. {}", number + 1, image::title(layer));
        let outside = image::outside(layer.origin).words();
        json!({"title": title, "fetched": image.is_fetched(number), "size": layer.size, "outside": outside})
    };
    let layers = picture.image.iter().flat_map(|image| (0..image.layers.len()).map(|number| layer(image, number)));
    let layers: Vec<Value> = layers.collect();
    let what = match (&picture.image, picture.subject) {
        (Some(image), _) => format!(", {} to pull", bytes(image.size())),
        (None, Subject::Archives) if picture.unknown() > 0 => {
            format!(" to download, without {} of unknown size", count(picture.unknown(), "package"))
        }
        (None, Subject::Archives) => " to download".to_owned(),
        (None, Subject::Installed) => String::new(),
    };
    json!({
        "name": picture.name,
        "bytes": sizes.total().bytes,
        "what": what,
        "pull": picture.image.as_ref().and_then(|image| image.pull_in_words(&picture.name)),
        "packages": packages,
        "kinds": FileKind::ALL.map(FileKind::name),
        "asked": picture.asked.iter().map(|(spec, _)| spec).collect::<Vec<_>>(),
        "layers": layers,
        "files": files(picture),
    })
}

/// For each file the path, size, package, kind and layer; -1 means none. Paths of package files are relative to the
/// prefix.
fn files(picture: &Picture) -> Vec<Value> {
    let small = picture.sizes.total().bytes / SMALL_PART;
    let number = |package: Option<usize>| package.map_or(json!(-1), |number| json!(number));
    let kind = |kind: FileKind| if picture.subject == Subject::Archives { json!(-1) } else { json!(kind as usize) };
    let layer = |number: usize| picture.image.as_ref().map_or(json!(-1), |image| json!(image.layer_of[number]));
    let mut files = Vec::new();
    let mut together: BTreeMap<(Option<usize>, usize, String, Option<usize>), Small> = BTreeMap::new();
    for (place, file) in picture.sizes.files.iter().enumerate().filter(|(_, file)| file.bytes > 0) {
        let path = match (&picture.image, file.package) {
            (Some(image), Some(package)) => image.within(package, &file.path),
            _ => &file.path,
        };
        if file.bytes >= small {
            files.push(json!([path_text(path), file.bytes, number(file.package), kind(file.kind), layer(place)]));
            continue;
        }
        let parent = path_text(path.parent().unwrap_or(Path::new("")));
        let of = picture.image.as_ref().map(|image| image.layer_of[place]);
        let sum = together.entry((file.package, file.kind as usize, parent, of)).or_insert(Small {
            kind: file.kind,
            layer: layer(place),
            bytes: 0,
            files: 0,
        });
        (sum.bytes, sum.files) = (sum.bytes + file.bytes, sum.files + 1);
    }
    files.extend(together.into_iter().map(|((package, _, parent, _), small)| {
        let slash = if parent.is_empty() { "" } else { "/" };
        let title = format!("{parent}{slash}({})", count(small.files, "small file"));
        json!([title, small.bytes, number(package), kind(small.kind), small.layer])
    }));
    files
}
