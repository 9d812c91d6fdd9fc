//! Programs and bundles: files that are read byte by byte.

use std::{
    fs::OpenOptions,
    num::NonZero,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use mlconda_bundle::Bundle;
use mlconda_install::Stop;
use mlconda_system::{
    code_signature::{self, Signature},
    elf,
};

use crate::bits;

/// Writes an input to a file of this process.
fn file(data: &[u8]) -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let path = FILE.get_or_init(|| bits::directory("file").join("file"));
    std::fs::write(path, data).expect("a file can be written");
    path
}

/// If a new signature is made a second time, it stays the same, and no byte outside of it moves.
pub(crate) fn macho(data: &[u8]) {
    let path = file(data);
    let open = OpenOptions::new().read(true).write(true).open(path).expect("the file can be opened");
    let Ok(found) = code_signature::renew(&open) else { return };
    let once = std::fs::read(path).expect("the file can be read");
    assert_eq!(once.len(), data.len());
    if found == Signature::NotMachO {
        assert_eq!(once, data);
    }
    assert_eq!(code_signature::renew(&open).expect("it was renewed before"), found);
    assert!(std::fs::read(path).expect("the file can be read") == once, "another signature of the same bytes");
}

/// The headers of a program are read or ignored, with the same result from a file and from memory.
pub(crate) fn elf(data: &[u8]) {
    let read = &mut |offset: u64, size: u64| {
        let rest = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)).unwrap_or_default();
        Ok(rest[..rest.len().min(usize::try_from(size).unwrap_or(usize::MAX))].to_vec())
    };
    let _ = elf::debug_symbols(read);
    let _ = elf::end(read);
    let path = file(data);
    let _ = elf::program(path);
    let symbols = elf::debug_symbols_of(path).expect("the file can be read");
    assert_eq!(symbols, elf::debug_symbols(read).expect("memory can be read"));
}

/// A bundle is read or refused; one without a fault can be unpacked.
pub(crate) fn bundle(data: &[u8]) {
    let Ok(Some(bundle)) = Bundle::open(file(data)) else { return };
    let _ = (bundle.packages(), bundle.size(), bundle.archives());
    if let Err(error) = bundle.locks() {
        assert!(!error.to_string().is_empty());
    }
    let one = NonZero::new(1).expect("one thread");
    let verified = bundle.verify(one, &Stop::default(), &()).is_ok();
    let mut output = Vec::new();
    let extracted = bundle.extract(&mut output, &Stop::default());
    assert!(!verified || extracted.is_ok());
}
