//! Removes a directory tree with several threads.
//!
//! Each step starts at an open directory and follows no link, so concurrent changes cannot redirect it.

use std::{
    ffi::CString,
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags},
    io::Errno,
};

/// The number of threads. It does not depend on the number of processors, because on some disks each removal waits for
/// the disk (ext4 with `discard` and without a journal, network file systems).
const THREADS: usize = 16;

/// The number of files of one directory that one task removes.
const FILES: usize = 64;

/// Removes a directory tree. It is an error if the path is a link, and none if the path does not exist.
///
/// # Errors
/// If the path is a link, or if a file or directory cannot be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let root = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        root => Directory { open: root?, place: None },
    };
    let names = read(&root.open);
    let todo = Task { directory: Arc::new(root), what: TaskItems::Names(names) }.run();
    let threads = if todo.is_empty() { 1 } else { THREADS };
    let tasks = (Mutex::new(Tasks { todo, busy: 0 }), Condvar::new());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // If no further thread can be started, the others do the work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || remove_files(&tasks));
        }
        remove_files(&tasks);
    });
    // The directory itself is left, and in it files that could not be removed, or that another process has created
    // since.
    fs_err::remove_dir_all(path)
}

/// An open directory. It is removed when the last reference is dropped, if it is empty.
struct Directory {
    open: OwnedFd,
    /// Its parent, and its name in the parent; `None` for the topmost directory.
    place: Option<(Arc<Directory>, CString)>,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some((parent, name)) = &self.place {
            // If it is not empty, the removal of the topmost directory reports that.
            let _ = rustix::fs::unlinkat(&parent.open, name.as_c_str(), AtFlags::REMOVEDIR);
        }
    }
}

/// A part of a directory to remove.
struct Task {
    directory: Arc<Directory>,
    what: TaskItems,
}

enum TaskItems {
    /// A subdirectory. It is opened later, because the number of open files is limited.
    Below(CString),
    /// Files and subdirectories.
    Names(Vec<Name>),
}

type Name = (CString, FileType);

/// The queue of tasks, and the number of threads that are busy and may add tasks.
struct Tasks {
    todo: Vec<Task>,
    busy: usize,
}

/// Executes tasks until none is left. Errors are not reported here: they show when the topmost directory is removed.
fn remove_files((tasks, changed): &(Mutex<Tasks>, Condvar)) {
    let mut held = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(task) = held.todo.pop() {
            held.busy += 1;
            drop(held);
            let found = task.run();
            held = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            held.todo.extend(found);
            held.busy -= 1;
            changed.notify_all();
        } else if held.busy == 0 {
            return;
        } else {
            held = changed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Task {
    /// Removes the files of the task, and returns tasks for the rest.
    fn run(self) -> Vec<Task> {
        let (directory, mut names) = match self.what {
            TaskItems::Names(names) => (self.directory, names),
            TaskItems::Below(name) => {
                let Ok(open) = open(&self.directory.open, name.as_c_str()) else { return Vec::new() };
                let names = read(&open);
                (Arc::new(Directory { open, place: Some((self.directory, name)) }), names)
            }
        };
        let task = |what| Task { directory: Arc::clone(&directory), what };
        let mut found = Vec::new();
        while names.len() > FILES {
            found.push(task(TaskItems::Names(names.split_off(names.len() - FILES))));
        }
        for (name, kind) in names {
            let unlink = || rustix::fs::unlinkat(&directory.open, name.as_c_str(), AtFlags::empty());
            if kind == FileType::Directory || unlink().is_err() {
                found.push(task(TaskItems::Below(name)));
            }
        }
        found
    }
}

/// The entries of a directory; none if it cannot be read.
fn read(directory: &OwnedFd) -> Vec<Name> {
    let Ok(entries) = Dir::read_from(directory) else { return Vec::new() };
    let entries = entries.flatten().filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."));
    entries.map(|entry| (entry.file_name().to_owned(), entry.file_type())).collect()
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
            // More files than one task removes.
            for number in 0..=FILES + 1 {
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
