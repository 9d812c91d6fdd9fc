//! The sizes as a page of one file, which a browser draws. It needs nothing from a network.

use std::{collections::BTreeMap, path::Path};

use mlconda::size::FileKind;
use serde_json::{Value, json};

use super::picture::{Picture, Subject};
use crate::text::path_text;

/// The page, but for its data.
const PAGE: &str = include_str!("page.html");

/// Files smaller than this part of the whole are drawn as one, with those beside them.
const SMALL_PART: u64 = 20_000;

/// Small files that are drawn as one.
struct Small {
    kind: FileKind,
    bytes: u64,
    files: usize,
}

/// The page of one or two pictures.
pub(super) fn page(pictures: &[Picture]) -> String {
    let data = Value::Array(pictures.iter().map(data).collect()).to_string();
    // `</script>` in a name does not end the data.
    PAGE.replacen("DATA", &data.replace('<', "\\u003c"), 1)
}

fn data(picture: &Picture) -> Value {
    let sizes = &picture.sizes;
    let packages = sizes.packages.iter().zip(&picture.only_asked);
    let packages = packages
        .map(|(package, asked)| json!({"title": format!("{} {}", package.name, package.version), "asked": asked}))
        .collect::<Vec<_>>();
    json!({
        "name": picture.name,
        "bytes": sizes.total().bytes,
        "what": if picture.subject == Subject::Archives { " to download" } else { "" },
        "packages": packages,
        "kinds": FileKind::ALL.map(FileKind::name),
        "asked": picture.asked.iter().map(|(spec, _)| spec).collect::<Vec<_>>(),
        "layers": [],
        "files": files(picture),
    })
}

/// Path, bytes, package and kind of each file; -1 is none.
fn files(picture: &Picture) -> Vec<Value> {
    let small = picture.sizes.total().bytes / SMALL_PART;
    let number = |package: Option<usize>| package.map_or(json!(-1), |number| json!(number));
    let kind = |kind: FileKind| if picture.subject == Subject::Archives { json!(-1) } else { json!(kind as usize) };
    let mut files = Vec::new();
    let mut together: BTreeMap<(Option<usize>, usize, String), Small> = BTreeMap::new();
    for file in picture.sizes.files.iter().filter(|file| file.bytes > 0) {
        if file.bytes >= small {
            files.push(json!([path_text(&file.path), file.bytes, number(file.package), kind(file.kind)]));
            continue;
        }
        let parent = path_text(file.path.parent().unwrap_or(Path::new("")));
        let sum = together.entry((file.package, file.kind as usize, parent)).or_insert(Small {
            kind: file.kind,
            bytes: 0,
            files: 0,
        });
        (sum.bytes, sum.files) = (sum.bytes + file.bytes, sum.files + 1);
    }
    files.extend(together.into_iter().map(|((package, _, parent), small)| {
        let slash = if parent.is_empty() { "" } else { "/" };
        let title = format!("{parent}{slash}({} small files)", small.files);
        json!([title, small.bytes, number(package), kind(small.kind)])
    }));
    files
}
