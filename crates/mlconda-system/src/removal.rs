//! Removing a directory with all that is in it, by several threads: what an installation of many thousand files leaves aside.
//!
//! Every step goes from an open directory and through no link, so whoever moves things meanwhile leads it nowhere else.

use std::{
    ffi::CString,
    io,
    num::NonZero,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};

/// How many threads remove. More of them wait for one another in the file system.
const THREADS: usize = 8;

/// Down to this depth, directories are shared out among threads: a prefix has most of its files in a few directories of it.
const SHARED_DEPTH: usize = 4;

/// Removes a directory and all that is in it; a link in its place is an error. What is not there is no error.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let root = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        root => Arc::new(root?),
    };
    let tasks = Mutex::new(Tasks { todo: empty(&root, 0), busy: 0 });
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).clamp(2, THREADS);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // Where there is no further thread, the others do it.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || remove_files(&tasks));
        }
        remove_files(&tasks);
    });
    // What is left are directories, and what somebody has put there since.
    fs_err::remove_dir_all(path)
}

/// A directory whose files are to be removed. It is opened when its turn comes, since the system limits how many are open.
struct Task {
    parent: Arc<OwnedFd>,
    name: CString,
    depth: usize,
}

/// What is to be done, and how many threads are at work, which may find more.
struct Tasks {
    todo: Vec<Task>,
    busy: usize,
}

/// Removes files until there is no directory left to look into. What fails is left to whoever removes the directories, and
/// tells of it.
fn remove_files(tasks: &Mutex<Tasks>) {
    let lock = || tasks.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let mut held = lock();
        let Some(Task { parent, name, depth }) = held.todo.pop() else {
            if held.busy == 0 {
                return;
            }
            drop(held);
            std::thread::yield_now();
            continue;
        };
        held.busy += 1;
        drop(held);
        let below = open(&*parent, name.as_c_str()).map(|directory| empty(&Arc::new(directory), depth));
        let mut held = lock();
        held.todo.extend(below.unwrap_or_default());
        held.busy -= 1;
    }
}

/// Removes the files of a directory; its directories are given back, or below a depth emptied and removed, too.
fn empty(directory: &Arc<OwnedFd>, depth: usize) -> Vec<Task> {
    let mut below = Vec::new();
    let Ok(entries) = Dir::read_from(&**directory) else { return below };
    let mut names: Vec<(CString, FileType)> = Vec::new();
    for entry in entries.flatten() {
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    for (name, kind) in names {
        let unlink = |flags| rustix::fs::unlinkat(&**directory, name.as_c_str(), flags);
        if kind != FileType::Directory && unlink(AtFlags::empty()).is_ok() {
            continue;
        }
        if depth < SHARED_DEPTH {
            below.push(Task { parent: Arc::clone(directory), name, depth: depth + 1 });
        } else if let Ok(open) = open(&**directory, name.as_c_str()) {
            empty(&Arc::new(open), depth + 1);
            let _ = unlink(AtFlags::REMOVEDIR);
        }
    }
    below
}

fn open(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_and_what_its_links_lead_to_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, outside) = (directory.path().join("tree"), directory.path().join("outside"));
        fs_err::create_dir(&outside).unwrap();
        fs_err::write(outside.join("file"), "kept").unwrap();
        for path in ["", "a", "a/b/c/d/e/f/g", "lib/many"] {
            let path = tree.join(path);
            fs_err::create_dir_all(&path).unwrap();
            for number in 0..50 {
                fs_err::write(path.join(format!("file{number}")), "x").unwrap();
            }
            std::os::unix::fs::symlink(&outside, path.join("link")).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs_err::read_to_string(outside.join("file")).unwrap(), "kept");
        remove_tree(&tree).unwrap();
        std::os::unix::fs::symlink(&outside, &tree).unwrap();
        remove_tree(&tree).unwrap_err();
        assert!(outside.join("file").exists());
    }
}
