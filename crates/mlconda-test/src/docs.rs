//! Checks links and line lengths of the documentation: Markdown files, and the site that is built from them. Links to
//! other hosts are not followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

/// The longest line of a Markdown file, in characters.
const LONGEST_LINE: usize = 120;

/// Checks the Markdown files of a repository: `*.md` in its root, in `docs/` and in `benches/`. Returns the errors and
/// the number of files.
pub fn check_markdown(root: &Path) -> (Vec<String>, usize) {
    let mut texts = BTreeMap::new();
    let mut errors = Vec::new();
    for directory in ["", "docs", "benches"] {
        for file in files(&root.join(directory), "md") {
            match fs_err::read_to_string(&file) {
                Ok(text) => _ = texts.insert(file.strip_prefix(root).unwrap_or(&file).to_owned(), text),
                Err(error) => errors.push(error.to_string()),
            }
        }
    }
    let anchors: BTreeMap<&PathBuf, BTreeSet<String>> =
        texts.iter().map(|(file, text)| (file, anchors(text))).collect();
    for (file, text) in &texts {
        for (number, line) in (1..).zip(text.lines()) {
            let length = line.chars().count();
            if length > LONGEST_LINE {
                errors.push(format!(
                    "{}:{number}: the line has {length} characters, more than {LONGEST_LINE}",
                    file.display()
                ));
            }
        }
        for (number, link) in links(text) {
            let Some((target, anchor)) = split(file, &link) else { continue };
            let known = anchors.get(&target);
            let problem = match (known, anchor) {
                (None, _) if !root.join(&target).exists() => "leads to no file",
                (None, _) if !is_on_the_site(&target) => {
                    "leads to a file that the site does not have; name its path instead"
                }
                (Some(known), Some(anchor)) if !known.contains(anchor) => "leads to no heading",
                _ => continue,
            };
            errors.push(format!("{}:{number}: the link `{link}` {problem}", file.display()));
        }
    }
    (errors, texts.len())
}

/// Whether `.ci/book` copies a file to the site although it is not a page: files of `docs/`, and some in the root.
fn is_on_the_site(target: &Path) -> bool {
    target.starts_with("docs") || target.components().count() == 1
}

/// Checks the links of a site: each `href` must lead to a file, and to an `id` in it. Returns the errors and the number
/// of pages.
pub fn check_site(root: &Path) -> (Vec<String>, usize) {
    let mut pages = BTreeMap::new();
    let mut errors = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for file in files(&directory, "html") {
            match fs_err::read_to_string(&file) {
                Ok(text) => _ = pages.insert(file.strip_prefix(root).unwrap_or(&file).to_owned(), text),
                Err(error) => errors.push(error.to_string()),
            }
        }
        let entries = fs_err::read_dir(&directory).into_iter().flatten().flatten();
        directories.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    let ids: BTreeMap<&PathBuf, BTreeSet<&str>> =
        pages.iter().map(|(file, text)| (file, attributes(text, "id").collect())).collect();
    // `404.html` has links from the root of the host, and `toc.html` is a part of other pages.
    for (file, text) in pages.iter().filter(|(file, _)| !file.ends_with("404.html") && !file.ends_with("toc.html")) {
        for link in attributes(text, "href") {
            let Some((target, anchor)) = split(file, link) else { continue };
            let known = ids.get(&target);
            let is_broken = match (known, anchor) {
                (None, _) => !root.join(&target).exists(),
                (Some(known), Some(anchor)) => !known.contains(anchor),
                (Some(_), None) => false,
            };
            if is_broken {
                errors.push(format!("{}: the link `{link}` is broken", file.display()));
            }
        }
    }
    (errors, pages.len())
}

/// The files of a directory with an extension, sorted.
fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files
}

/// The file and the anchor of a link in a file; `None` for a link to another host.
fn split<'a>(file: &Path, link: &'a str) -> Option<(PathBuf, Option<&'a str>)> {
    if link.contains("://") || link.starts_with("mailto:") || link.starts_with("data:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let anchor = anchor.filter(|anchor| !anchor.is_empty());
    if path.is_empty() {
        return Some((file.to_owned(), anchor));
    }
    let mut target = PathBuf::new();
    for component in file.parent().unwrap_or(Path::new("")).join(path).components() {
        match component {
            Component::ParentDir => _ = target.pop(),
            Component::Normal(part) => target.push(part),
            _ => {}
        }
    }
    Some((target, anchor))
}

/// The lines of a text outside fenced and indented code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence && !line.starts_with("    ")
    })
}

/// The links of a Markdown text with their lines. A link can be broken between two lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        // Links in code are not links.
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        for part in plain.split("](").skip(1) {
            let end = part.find([')', ' ']).unwrap_or(part.len());
            links.push((number, part[..end].to_owned()));
        }
    }
    links
}

/// The anchors that GitHub and mdBook make for the headings of a Markdown text.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ' ');
        let base: String = title.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-");
        let numbered = (1..).map(|number| format!("{base}-{number}"));
        if let Some(anchor) = std::iter::once(base.clone()).chain(numbered).find(|anchor| !anchors.contains(anchor)) {
            anchors.insert(anchor);
        }
    }
    anchors
}

/// The values of an attribute in HTML.
fn attributes<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let values: Vec<&str> =
        text.split(&format!(" {name}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect();
    values.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_links_and_long_lines_are_found() {
        let root = tempfile::tempdir().unwrap();
        fs_err::create_dir(root.path().join("docs")).unwrap();
        let page = format!(
            "# One `page`\n\n[ok](docs/a.md), [ok](docs/a.md#two-words), [ok](#one-page), [ok](https://host.example)\n\
             [no file](docs/b.md) `[code](nothing.md)`\n[no heading](docs/a.md#three)\n\n```sh\n[code](nothing.md)\n```\n{}\n",
            "x".repeat(121)
        );
        fs_err::write(root.path().join("README.md"), page).unwrap();
        let page = "## Two words\n\n[up](../README.md#one-page), [ok](../LICENSE)\n[code](../src/main.rs)\n";
        fs_err::write(root.path().join("docs/a.md"), page).unwrap();
        fs_err::create_dir(root.path().join("src")).unwrap();
        fs_err::write(root.path().join("src/main.rs"), "").unwrap();
        fs_err::write(root.path().join("LICENSE"), "").unwrap();
        let (errors, files) = check_markdown(root.path());
        assert_eq!(files, 2);
        assert_eq!(
            errors,
            [
                "README.md:10: the line has 121 characters, more than 120",
                "README.md:4: the link `docs/b.md` leads to no file",
                "README.md:5: the link `docs/a.md#three` leads to no heading",
                "docs/a.md:4: the link `../src/main.rs` leads to a file that the site does not have; name its path instead"
            ]
        );
    }

    #[test]
    fn broken_links_of_a_site_are_found() {
        let root = tempfile::tempdir().unwrap();
        let page =
            "<h1 id=\"top\">x</h1><a href=\"#top\"></a><a href=\"b.html\"></a><a href=\"https://host.example\"></a>";
        fs_err::write(root.path().join("a.html"), page).unwrap();
        assert_eq!(check_site(root.path()), (vec!["a.html: the link `b.html` is broken".to_owned()], 1));
    }

    #[test]
    fn the_documentation_of_this_repository_has_no_errors() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (errors, files) = check_markdown(&root);
        assert!(errors.is_empty() && files > 10, "{}", errors.join("\n"));
    }
}
