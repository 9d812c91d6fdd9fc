//! Removing a directory with all that is in it, by several threads: what an installation of many thousand files leaves aside.
//!
//! Every step goes from an open directory and through no link, so whoever moves things meanwhile leads it nowhere else.

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

/// How many threads remove, however many processors there are: on some disks each file waits for the room that it gives back
/// (ext4 with `discard` and without a journal does, and so do network file systems), and they wait together.
const THREADS: usize = 16;

/// So many files of one directory are removed by one thread at a time.
const FILES: usize = 64;

/// Removes a directory and all that is in it; a link in its place is an error. What is not there is no error.
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
            // Where there is no further thread, the others do it.
            let _ = std::thread::Builder::new().spawn_scoped(scope, || remove_files(&tasks));
        }
        remove_files(&tasks);
    });
    // What is left is the directory itself, and what could not be removed, or what somebody has put there since.
    fs_err::remove_dir_all(path)
}

/// An open directory. When nobody has it any more, all in it has been looked at, and it goes if it is empty.
struct Directory {
    open: OwnedFd,
    /// The directory that it is in, and its name there; none for the topmost.
    place: Option<(Arc<Directory>, CString)>,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some((parent, name)) = &self.place {
            // Where it is not empty, whoever removes the topmost tells of it.
            let _ = rustix::fs::unlinkat(&parent.open, name.as_c_str(), AtFlags::REMOVEDIR);
        }
    }
}

/// What is to be removed in a directory.
struct Task {
    directory: Arc<Directory>,
    what: TaskItems,
}

enum TaskItems {
    /// The directory of that name. It is opened when its turn comes, since the system limits how many are open.
    Below(CString),
    /// These.
    Names(Vec<Name>),
}

type Name = (CString, FileType);

/// What is to be done, and how many threads are at work, which may find more.
struct Tasks {
    todo: Vec<Task>,
    busy: usize,
}

/// Removes until there is nothing left to look into. What fails is left to whoever removes the topmost directory, and tells of
/// it.
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
    /// Removes files, and gives what else there is to do.
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

/// What is in a directory; nothing, if it cannot be read.
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
            // More than one thread takes at a time.
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
