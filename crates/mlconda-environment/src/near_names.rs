//! Suggests existing package names for a name that no channel has.

use std::collections::BTreeSet;

use mlconda_types::sorting::InOrder;

/// The most similar names that are shown.
const NEAR: usize = 3;
/// One typing mistake is allowed for this many letters of a name.
const LETTERS_A_SLIP: usize = 4;
/// Names on PyPI or in `import` statements that differ from the conda name. No spelling correction finds these, and
/// people write them often.
const OTHER_NAMES: [(&str, &str); 18] = [
    ("bs4", "beautifulsoup4"),
    ("cv2", "opencv"),
    ("dateutil", "python-dateutil"),
    ("faiss-gpu", "faiss"),
    ("graphviz", "python-graphviz"),
    ("msgpack", "msgpack-python"),
    ("opencv-python", "opencv"),
    ("opencv-python-headless", "opencv"),
    ("pil", "pillow"),
    ("psycopg2-binary", "psycopg2"),
    ("pyqt5", "pyqt"),
    ("skimage", "scikit-image"),
    ("sklearn", "scikit-learn"),
    ("tables", "pytables"),
    ("tensorflow-gpu", "tensorflow"),
    ("torch", "pytorch"),
    ("xgboost", "py-xgboost"),
    ("yaml", "pyyaml"),
];

/// Affixes that conda channels add to a name: R's `ggplot2` is `r-ggplot2`.
const AFFIXES: [(&str, &str); 10] = [
    ("r-", ""),
    ("bioconductor-", ""),
    ("python-", ""),
    ("py", ""),
    ("lib", ""),
    ("perl-", ""),
    ("", "-python"),
    ("", "-base"),
    ("", "-core"),
    ("", "-cpu"),
];

/// Affixes that Linux distributions add to a name.
const FOREIGN_AFFIXES: [(&str, &str); 5] =
    [("python3-", ""), ("python-", ""), ("py-", ""), ("", "-dev"), ("", "-devel")];

/// Similar names, the most likely first: the conda name of a package with another name elsewhere, then corrected
/// spellings.
pub fn near_names(name: &str, names: &BTreeSet<&str>) -> Vec<String> {
    let other = OTHER_NAMES.iter().filter(|(alias, _)| *alias == name).map(|(_, known)| (*known).to_owned());
    let affixed = AFFIXES.iter().map(|(prefix, suffix)| format!("{prefix}{name}{suffix}"));
    let bare = FOREIGN_AFFIXES
        .iter()
        .filter_map(|(prefix, suffix)| Some(name.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned()));
    let is_known = |known: &String| names.contains(known.as_str());
    let called_otherwise: Vec<String> = other.chain(affixed).chain(bare).filter(is_known).collect();
    let alike: Vec<(usize, &&str)> = names.iter().filter_map(|known| Some((slips(name, known)?, known))).collect();
    // Only the nearest ones are likely.
    let fewest = alike.iter().map(|(slips, _)| *slips).min().unwrap_or_default();
    let most = if called_otherwise.is_empty() { fewest } else { 1 };
    let alike = alike.into_iter().filter(|(slips, _)| *slips <= most).in_order_by(|left, right| left.cmp(right));
    let mut near: Vec<String> = Vec::new();
    for known in called_otherwise.into_iter().chain(alike.map(|(_, known)| (*known).to_owned())) {
        if near.len() < NEAR && !near.contains(&known) {
            near.push(known);
        }
    }
    near
}

/// The number of typing mistakes between two names; `None` if there are too many for their length. A common prefix up
/// to a `-` does not count, because all of `pytest-…` are similar.
fn slips(name: &str, known: &str) -> Option<usize> {
    let common = name.bytes().zip(known.bytes()).take_while(|(left, right)| left == right).count();
    let start = name.as_bytes()[..common].iter().rposition(|byte| *byte == b'-').map_or(0, |dash| dash + 1);
    let (rest, other) = (name.get(start..)?, known.get(start..)?);
    let few = rest.len().max(other.len()) / LETTERS_A_SLIP;
    if rest.len().abs_diff(other.len()) > few {
        return None;
    }
    Some(strsim::damerau_levenshtein(rest, other)).filter(|slips| *slips <= few)
}
