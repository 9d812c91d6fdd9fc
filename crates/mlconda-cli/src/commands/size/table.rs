//! The sizes as tables for a terminal.

use mlconda::size::Total;

use super::{
    image::{self, Layered},
    picture::{Picture, Subject},
};
use crate::{
    escape,
    text::{bytes, count, grouped},
};

/// A row: a name, a size, and the number of files.
struct Row {
    name: String,
    /// None if it is unknown.
    size: Option<u64>,
    files: Option<usize>,
}

/// All tables of a picture. The `top` largest packages are named; 0 names all.
pub(super) fn tables(picture: &Picture, top: usize) -> String {
    let total = picture.sizes.total();
    let packages = count(picture.sizes.packages.len(), "package");
    let head = match picture.subject {
        Subject::Installed => format!("{} in {}, {packages}", bytes(total.bytes), count(total.files, "file")),
        Subject::Archives => match picture.unknown() {
            0 => format!("{} to download, {packages}", bytes(total.bytes)),
            all if all == picture.sizes.packages.len() => format!("{packages} of unknown size"),
            some => {
                format!("at least {} to download, {packages}, {} of unknown size", bytes(total.bytes), grouped(some))
            }
        },
    };
    let head = match &picture.image {
        Some(image) => format!("{head}; {} to pull in {}", bytes(image.size()), count(image.count(), "layer")),
        None => head,
    };
    let mut text = format!("{}: {head}\n", escape::line(&picture.name));
    let tables =
        [("package", by_package(picture, top)), ("kind of file", by_kind(picture)), ("asked for", by_request(picture))];
    for (title, rows) in tables.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        text.push('\n');
        text.push_str(&table(title, &rows, total.bytes));
    }
    if let Some(image) = &picture.image {
        text.push('\n');
        text.push_str(&columns(&by_layer(image)));
        if let Some(words) = image.pull_in_words(&picture.name) {
            text.push_str(&format!("\n{}\n", escape::line(&words)));
        }
    }
    text
}

fn by_package(picture: &Picture, top: usize) -> Vec<Row> {
    let packages = picture.packages();
    let named = if top == 0 { packages.len() } else { top.min(packages.len()) };
    let (largest, others) = packages.split_at(named);
    let files = |files: usize| (picture.subject == Subject::Installed).then_some(files);
    let row = |name: String, total: Total| Row { name, size: picture.known(total), files: files(total.files) };
    let mut rows: Vec<Row> =
        largest.iter().map(|(package, total)| row(format!("{} {}", package.name, package.version), *total)).collect();
    let rest = others.iter().fold(Total::default(), |sum, (_, total)| Total {
        bytes: sum.bytes + total.bytes,
        files: sum.files + total.files,
    });
    if !others.is_empty() {
        rows.push(row(format!("(the other {})", count(others.len(), "package")), rest));
    }
    rows.extend(picture.outside().into_iter().map(|(name, total)| row(format!("({})", name.words()), total)));
    rows
}

fn by_kind(picture: &Picture) -> Vec<Row> {
    let row = |(kind, total): (mlconda::size::FileKind, Total)| Row {
        name: kind.name().to_owned(),
        size: Some(total.bytes),
        files: Some(total.files),
    };
    picture.kinds().into_iter().map(row).collect()
}

/// The requested specs, with the packages that only they need.
fn by_request(picture: &Picture) -> Vec<Row> {
    let mut asked = picture.requests();
    asked.sort_by(|(one, size), (other, than)| than.cmp(size).then_with(|| one.cmp(other)));
    let own: u64 = picture.asked.iter().map(|(_, size)| size).sum();
    let mut rows: Vec<Row> =
        asked.into_iter().map(|(spec, size)| Row { name: spec.to_owned(), size, files: None }).collect();
    let shared = picture.sizes.total().bytes.saturating_sub(own + picture.untracked().bytes);
    if shared > 0 {
        rows.push(Row { name: "(needed by several)".to_owned(), size: Some(shared), files: None });
    }
    rows
}

/// The layers of an image, the lowest first.
fn by_layer(image: &Layered) -> Vec<[String; 4]> {
    let whole = image.size();
    let mut cells = vec![["layer", "to pull", "share", "unpacked"].map(str::to_owned)];
    cells.extend(image.layers.iter().enumerate().map(|(number, layer)| {
        let fetched = if image.is_fetched(number) == Some(true) { " (new)" } else { "" };
        let title = format!("{}{fetched}", image::title(layer));
        let size = image.pulled(number);
        [escape::line(&title).into_owned(), bytes(size), share(size, whole), bytes(layer.unpacked)]
    }));
    cells
}

fn share(size: u64, total: u64) -> String {
    format!("{:.1} %", 100.0 * size as f64 / total.max(1) as f64)
}

fn table(title: &str, rows: &[Row], total: u64) -> String {
    let has_files = rows.iter().any(|row| row.files.is_some());
    let mut cells = vec![[
        title.to_owned(),
        "size".to_owned(),
        "share".to_owned(),
        if has_files { "files" } else { "" }.to_owned(),
    ]];
    cells.extend(rows.iter().map(|row| {
        let files = row.files.map(grouped).unwrap_or_default();
        let [size, share] = match row.size {
            Some(size) => [bytes(size), share(size, total)],
            None => ["not known".to_owned(), String::new()],
        };
        [escape::line(&row.name).into_owned(), size, share, files]
    }));
    columns(&cells)
}

/// Columns as wide as their widest cell: the name to the left, numbers to the right.
fn columns(cells: &[[String; 4]]) -> String {
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let line = |row: &[String; 4]| {
        let [name, size, share, files] = row;
        let line =
            format!("{name:<0$}  {size:>1$}  {share:>2$}  {files:>3$}", widths[0], widths[1], widths[2], widths[3]);
        format!("{}\n", line.trim_end())
    };
    cells.iter().map(line).collect()
}
