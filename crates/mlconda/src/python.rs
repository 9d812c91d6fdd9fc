//! What the python ecosystem has words for: names of projects, metadata of distributions, markers and wheel tags.

pub(crate) mod marker;
pub(crate) mod metadata;
pub(crate) mod tags;

/// A name as indexes compare it (PEP 503): `Foo.bar_baz` is `foo-bar-baz`.
pub fn normalize(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for each in name.chars() {
        match each {
            '-' | '_' | '.' if normal.ends_with('-') => {}
            '-' | '_' | '.' => normal.push('-'),
            _ => normal.push(each.to_ascii_lowercase()),
        }
    }
    normal
}

/// The endings of archives of sources.
pub(crate) const SOURCES: [&str; 5] = [".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz"];

/// The version in an archive's file name, whose first part must be the package's name (PEP 427, PEP 625).
pub(crate) fn version_of(file: &str, name: &str) -> Result<String, String> {
    let parts = match (file.strip_suffix(".whl"), SOURCES.iter().find_map(|end| file.strip_suffix(end))) {
        (Some(stem), _) => stem.split_once('-').map(|(start, rest)| (start, rest.split('-').next().unwrap_or(rest))),
        (None, Some(stem)) => stem.rsplit_once('-'),
        (None, None) => return Err(format!("`{file}` is neither a wheel nor an archive of sources")),
    };
    let (start, version) = parts.ok_or_else(|| format!("`{file}` is not of the form NAME-VERSION"))?;
    if normalize(start) != name {
        return Err(format!("`{file}` is not an archive of `{name}`"));
    }
    let safe = version.chars().all(|each| each.is_ascii_alphanumeric() || "_.+!".contains(each));
    match safe && version.starts_with(|first: char| first.is_ascii_digit()) {
        true => Ok(version.replace('_', "-")),
        false => Err(format!("`{version}` is not a version (PEP 440)")),
    }
}
