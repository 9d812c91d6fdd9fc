//! Tests kinds by path, symbols in small ELF files, and a prefix that is made by hand.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A 64-bit ELF file with these sections, each with a name and a size in bytes.
fn elf(sections: &[(&str, usize)]) -> Vec<u8> {
    let mut names = vec![0];
    let (mut body, mut table) = (Vec::new(), vec![0; 64]);
    let mut section = |names: &mut Vec<u8>, body: &mut Vec<u8>, name: &str, content: &[u8]| {
        let mut entry = [0; 64];
        entry[..4].copy_from_slice(&u32::try_from(names.len()).unwrap().to_le_bytes());
        entry[4..8].copy_from_slice(&1_u32.to_le_bytes());
        entry[24..32].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
        entry[32..40].copy_from_slice(&(content.len() as u64).to_le_bytes());
        names.extend(name.bytes().chain([0]));
        body.extend(content);
        table.extend(entry);
    };
    for (name, size) in sections {
        section(&mut names, &mut body, name, &vec![7; *size]);
    }
    let text = [names.clone(), b".shstrtab\0".to_vec()].concat();
    section(&mut names, &mut body, ".shstrtab", &text);
    let mut head = vec![0; 64];
    head[..6].copy_from_slice(b"\x7fELF\x02\x01");
    head[40..48].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
    head[58..60].copy_from_slice(&64_u16.to_le_bytes());
    let count = u16::try_from(table.len() / 64).unwrap();
    head[60..62].copy_from_slice(&count.to_le_bytes());
    head[62..64].copy_from_slice(&(count - 1).to_le_bytes());
    [head, body, table].concat()
}

#[test]
fn the_kind_of_a_file_is_told_by_its_path() {
    let kind = |path: &str| FileKind::of(Path::new(path)).name();
    let site = "lib/python3.11/site-packages";
    let cases = [
        ("bin/python3.11", "programs and libraries"),
        ("lib/libz.so.1.3", "programs and libraries"),
        (&format!("{site}/numpy/core/_multiarray.cpython-311-x86_64-linux-gnu.so"), "programs and libraries"),
        (&format!("{site}/numpy/__init__.py"), "python modules"),
        (&format!("{site}/numpy/__init__.pyi"), "type stubs"),
        (&format!("{site}/numpy/py.typed"), "data"),
        (&format!("{site}/numpy/__pycache__/__init__.cpython-311.pyc"), "byte code"),
        (&format!("{site}/numpy/tests/test_x.py"), "tests"),
        (&format!("{site}/numpy/tests/data/x.npy"), "tests"),
        (&format!("{site}/numpy/core/include/numpy/x.h"), "headers"),
        (&format!("{site}/numpy/testing/_private.py"), "python modules"),
        ("include/zlib.h", "headers"),
        ("lib/pkgconfig/zlib.pc", "headers"),
        ("lib/libz.a", "static libraries"),
        ("share/jupyter/lab/main.js.map", "source maps"),
        ("share/maps/earth.map", "data"),
        ("share/man/man1/xz.1", "documentation"),
        ("share/locale/de/LC_MESSAGES/xz.mo", "locales"),
        ("conda-meta/history", "records"),
        ("pkgs/numpy-1.26/lib/x.so", "package cache"),
        ("share/zoneinfo/UTC", "data"),
        // `test` is the name of a program here, not of a directory.
        ("bin/test", "programs and libraries"),
    ];
    for (path, expected) in cases {
        assert_eq!(kind(path), expected, "{path}");
    }
}

#[test]
fn a_prefix_is_measured_by_packages_kinds_and_symbols() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("prefix");
    let write = |path: &str, content: &[u8]| {
        let path = root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, content).unwrap();
        path
    };
    let library = elf(&[(".text", 100), (".debug_info", 1000), (".symtab", 24), (".strtab", 6)]);
    let whole = library.len() as u64;
    write("lib/liba.so", &library);
    let program = write("bin/a", &elf(&[(".text", 50)]));
    fs_err::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    fs_err::hard_link(&program, root.join("bin/b")).unwrap();
    write("share/notes.txt", b"mine\n");
    write("envs/other/conda-meta/x.json", b"{}");
    // One file is a library only by its name, the other one is truncated.
    write("lib/script.so", b"INPUT(liba.so)\n");
    write("lib/cut.so", &library[..70]);
    let record = serde_json::json!({
        "name": "a", "version": "1.0", "build": "0", "build_number": 0, "subdir": "linux-64", "depends": [],
        "fn": "a-1.0-0.conda", "url": "https://host/lab/linux-64/a-1.0-0.conda", "channel": "https://host/lab",
        "files": ["bin/a", "bin/b", "lib/liba.so"], "paths_data": {"paths_version": 1, "paths": []},
    });
    let record = record.to_string();
    write("conda-meta/a-1.0-0.json", record.as_bytes());
    write("conda-meta/history", b"");
    let sizes = Sizes::of_prefix(&Prefix::open(&root).unwrap()).unwrap();
    let bytes = |path: &str| -> Vec<(u64, &str, Option<usize>)> {
        let files = sizes.files.iter().filter(|file| file.path == Path::new(path));
        files.map(|file| (file.bytes, file.kind.name(), file.package)).collect()
    };
    let (code, symbols) = (whole - 1030, 1030);
    let expected = [(code, "programs and libraries", Some(0)), (symbols, "debug symbols", Some(0))];
    assert_eq!(bytes("lib/liba.so"), expected);
    // Two hard links to one file count once.
    assert_eq!((bytes("bin/a")[0].0 > 0, bytes("bin/b")[0].0), (true, 0));
    assert_eq!(bytes("lib/cut.so"), [(70, "programs and libraries", None)]);
    assert_eq!(bytes("conda-meta/a-1.0-0.json"), [(record.len() as u64, "records", Some(0))]);
    assert!(bytes("envs/other/conda-meta/x.json").is_empty());
    let totals = sizes.by_package();
    assert_eq!(totals.len(), 2);
    assert_eq!(totals[1].bytes, 5 + 15 + 70);
    assert_eq!(totals[0].bytes + totals[1].bytes, sizes.total().bytes);
    assert_eq!(sizes.by_kind().iter().map(|kind| kind.bytes).sum::<u64>(), sizes.total().bytes);
    assert_eq!((sizes.total().files, sizes.by_kind()[FileKind::DebugSymbols as usize].files), (8, 1));
}
