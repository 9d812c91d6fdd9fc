//! Formats of the Python ecosystem: project names, distribution metadata, markers and wheel tags. It reads no file,
//! runs no program and uses no network.
//!
//! Read in this order: [`normalize`] (names), [`metadata`], [`marker`], [`tags`].

pub mod marker;
pub mod metadata;
pub mod tags;

/// Normalizes a project name (PEP 503): `Foo.bar_baz` becomes `foo-bar-baz`.
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

/// The extensions of source distributions.
pub const SDIST_EXTENSIONS: [&str; 5] = [".tar.gz", ".zip", ".tar.bz2", ".tar.xz", ".tgz"];

/// The version in the file name of an archive of the package `name` (PEP 427, PEP 625).
///
/// # Errors
/// If the file name has another form, or belongs to another package. The error is the message.
pub fn archive_version(file: &str, name: &str) -> Result<String, String> {
    let parts = match (file.strip_suffix(".whl"), SDIST_EXTENSIONS.iter().find_map(|end| file.strip_suffix(end))) {
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
