use serde_json::json;

use super::*;

fn text(text: &str) -> YamlEditor {
    YamlEditor::new(text.as_bytes(), Path::new("e.yml")).unwrap()
}

/// The text after a change.
fn changed(before: &str, change: impl FnOnce(&mut YamlEditor) -> Result<(), EditError>) -> String {
    let mut text = text(before);
    change(&mut text).unwrap_or_else(|error| panic!("{error}: {before}"));
    text.to_text()
}

const DEPENDENCIES: &[&str] = &["dependencies"];
const PIP: &[&str] = &["dependencies", "pip"];

fn added(before: &str, path: &[&str], item: &str) -> String {
    changed(before, |text| text.insert(path, item, InsertPosition::Last))
}

#[test]
fn an_item_is_added_in_the_style_of_the_others() {
    let cases = [
        ("dependencies:\n  - a\n", "dependencies:\n  - a\n  - x>=1\n"),
        ("dependencies:\n- a\nname: n\n", "dependencies:\n- a\n- x>=1\nname: n\n"),
        ("dependencies:\n    -   a   # why\n# end\n", "dependencies:\n    -   a   # why\n    -   x>=1\n# end\n"),
        ("dependencies:\r\n  - a\r\n", "dependencies:\r\n  - a\r\n  - x>=1\r\n"),
        ("name: n\r\ndependencies:\r\n  - a", "name: n\r\ndependencies:\r\n  - a\r\n  - x>=1\r\n"),
        ("\u{feff}dependencies:\n  - \"a\"\n", "\u{feff}dependencies:\n  - \"a\"\n  - \"x>=1\"\n"),
        ("dependencies:\n  - 'a' # c\n", "dependencies:\n  - 'a' # c\n  - 'x>=1'\n"),
        ("dependencies: [a, b] # c\n", "dependencies: [a, b, x>=1] # c\n"),
        ("dependencies: [ a , 'b=1' ]\n", "dependencies: [ a , 'b=1', x>=1 ]\n"),
        ("dependencies: []\n", "dependencies: [x>=1]\n"),
        ("dependencies: [\n  a,\n  b\n]\n", "dependencies: [\n  a,\n  b, x>=1\n]\n"),
        ("dependencies:\nname: n\n", "dependencies:\n  - x>=1\nname: n\n"),
        ("dependencies: ~ # c\n", "dependencies: [x>=1] # c\n"),
        ("name: n\n", "name: n\ndependencies:\n  - x>=1\n"),
        ("channels:\n- c\nname: n", "channels:\n- c\nname: n\ndependencies:\n- x>=1\n"),
        ("# only this\n", "# only this\ndependencies:\n  - x>=1\n"),
        ("", "dependencies:\n  - x>=1\n"),
        ("dependencies:\n  - a\n  - pip:\n    - p\n", "dependencies:\n  - a\n  - x>=1\n  - pip:\n    - p\n"),
        ("dependencies:\n  - pip:\n    - p\n", "dependencies:\n  - x>=1\n  - pip:\n    - p\n"),
        (
            "dependencies:\n  # mine\n  - a\n\n  # next\nname: é\n",
            "dependencies:\n  # mine\n  - a\n  - x>=1\n\n  # next\nname: é\n",
        ),
    ];
    for (before, after) in cases {
        assert_eq!(added(before, DEPENDENCIES, "x>=1"), after, "{before:?}");
    }
}

#[test]
fn the_list_of_pip_is_made_where_it_is_missing() {
    let cases = [
        ("dependencies:\n  - a\n", "dependencies:\n  - a\n  - pip:\n    - p\n"),
        ("dependencies:\n-   a\n", "dependencies:\n-   a\n-   pip:\n    - p\n"),
        ("dependencies:\n- a\n- pip:\n  - o\nname: n\n", "dependencies:\n- a\n- pip:\n  - o\n  - p\nname: n\n"),
        ("dependencies: [a]\n", "dependencies: [a, {pip: [p]}]\n"),
        ("dependencies: [a, {pip: [o]}]\n", "dependencies: [a, {pip: [o, p]}]\n"),
        ("dependencies:\n  - a\n  - pip:\nname: n\n", "dependencies:\n  - a\n  - pip:\n      - p\nname: n\n"),
        ("name: n\n", "name: n\ndependencies:\n  - pip:\n    - p\n"),
        ("dependencies:\nname: n\n", "dependencies:\n  - pip:\n    - p\nname: n\n"),
    ];
    for (before, after) in cases {
        assert_eq!(added(before, PIP, "p"), after, "{before:?}");
    }
}

#[test]
fn an_item_is_taken_out_with_its_line_and_nothing_else() {
    let cases = [
        ("dependencies:\n  - a\n  - b # c\n# d\n", DEPENDENCIES, 1, "dependencies:\n  - a\n# d\n"),
        ("dependencies:\n  - a # why\n# d\n", DEPENDENCIES, 0, "dependencies: []\n# d\n"),
        ("dependencies: [a, b, c] # k\n", DEPENDENCIES, 1, "dependencies: [a, c] # k\n"),
        ("dependencies: [a, b]\n", DEPENDENCIES, 1, "dependencies: [a]\n"),
        ("dependencies: [a]\n", DEPENDENCIES, 0, "dependencies: []\n"),
        ("dependencies: [\n  a,\n  b # k\n]\n", DEPENDENCIES, 0, "dependencies: [\n  b # k\n]\n"),
        ("dependencies:\n- a\n- pip:\n  - p\nname: n\n", PIP, 0, "dependencies:\n- a\nname: n\n"),
        ("dependencies:\n- a\n- pip:\n  - p\n  - q\n", PIP, 0, "dependencies:\n- a\n- pip:\n  - q\n"),
        ("dependencies: [a, {pip: [p]}]\n", PIP, 0, "dependencies: [a]\n"),
    ];
    for (before, path, index, after) in cases {
        assert_eq!(changed(before, |text| text.remove(path, index)), after, "{before:?}");
    }
}

#[test]
fn an_item_is_replaced_where_it_stands() {
    let cases = [
        ("dependencies:\n  - a >=1  # why\n", "dependencies:\n  - x>=2,<3  # why\n"),
        ("dependencies:\n  - \"a\"\n", "dependencies:\n  - \"x>=2,<3\"\n"),
        ("dependencies: [a, b]\n", "dependencies: ['x>=2,<3', b]\n"),
    ];
    for (before, after) in cases {
        assert_eq!(changed(before, |text| text.replace(DEPENDENCIES, 0, "x>=2,<3")), after, "{before:?}");
    }
}

#[test]
fn a_key_is_set_and_removed() {
    let set = |before: &str, path: &[&str], value: Json| changed(before, |text| text.set(path, &value));
    assert_eq!(set("", &["always_yes"], json!(true)), "always_yes: true\n");
    assert_eq!(set("a: no # c\nb: 1\n", &["a"], json!(true)), "a: true # c\nb: 1\n");
    assert_eq!(set("a: # c\n", &["a"], json!("x: y")), "a: 'x: y' # c\n");
    assert_eq!(set("p:\n    http: a\nq: 1\n", &["p", "https"], json!("b")), "p:\n    http: a\n    https: b\nq: 1\n");
    assert_eq!(set("q: 1\n", &["p", "http"], json!("b")), "q: 1\np:\n  http: b\n");
    let removed = |before: &str, path: &[&str]| changed(before, |text| text.remove_key(path));
    assert_eq!(removed("a:\n- x\n- y\n# c\nb: 1\n", &["a"]), "# c\nb: 1\n");
    assert_eq!(removed("a:\nb: 1\n", &["a"]), "b: 1\n");
    let first = changed("channels:\n  - a\n", |text| text.insert(&["channels"], "z", InsertPosition::First));
    assert_eq!(first, "channels:\n  - z\n  - a\n");
    assert_eq!(changed("m: [a]\n", |text| text.insert(&["m"], "z", InsertPosition::First)), "m: [z, a]\n");
    let nested = changed("", |text| text.insert(&["custom_multichannels", "lab"], "z", InsertPosition::Last));
    assert_eq!(nested, "custom_multichannels:\n  lab:\n    - z\n");
}

#[test]
fn what_is_not_understood_stays_as_it_was() {
    for before in [
        "x: &x [a]\ndependencies: *x\n",
        "{name: n}\n",
        "dependencies: a\n",
        "dependencies:\n  ? a\n",
        "dependencies: {a: b}\n",
        "name: n\n...\n",
    ] {
        let mut changed = text(before);
        assert!(changed.insert(DEPENDENCIES, "x", InsertPosition::Last).is_err(), "{before:?}");
        assert_eq!(changed.to_text(), before);
    }
    for bytes in [&b"a: 1\ra: 2\n"[..], b"a: 1\na: 2\n", b"\xff\xfea\0", b"a: \xff", b"a: [\n"] {
        assert!(YamlEditor::new(bytes, Path::new("e.yml")).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_string_is_quoted_only_where_it_must_be() {
    let cases = ["1.0", "yes", "null", "*", "a: b", "a #b", "", "- a", "[a]", "@a", "3"];
    for item in cases {
        let after = added("dependencies:\n  - a\n", DEPENDENCIES, item);
        assert_eq!(after, format!("dependencies:\n  - a\n  - '{item}'\n"));
    }
    for item in ["-e .", "a=1.*", "c::a[version='>=1']", "https://h/c#d", "a >=1,<2"] {
        let after = added("dependencies:\n  - a\n", DEPENDENCIES, item);
        assert_eq!(after, format!("dependencies:\n  - a\n  - {item}\n"));
    }
}

#[test]
fn nothing_is_put_into_a_file_that_no_file_may_have() {
    for item in ["a\u{feff}b", "a\0b", "a\rb", "a\nb"] {
        for before in ["dependencies:\n  - a\n", "dependencies: ['a']\n", "dependencies:\n", ""] {
            let mut changed = text(before);
            if changed.insert(DEPENDENCIES, item, InsertPosition::Last).is_ok() {
                YamlEditor::new(changed.to_text().as_bytes(), Path::new("e.yml")).unwrap();
            } else {
                assert_eq!(changed.to_text(), before, "{item:?}");
            }
        }
        assert!(text("dependencies:\n  - a\n").insert(DEPENDENCIES, item, InsertPosition::Last).is_err(), "{item:?}");
    }
}

#[test]
fn a_value_comes_behind_a_key_in_quotes() {
    for key in ["\"aé\"", "'aé'", "aé", "\"a\\u00e9\"", "\"a\\xe9\" "] {
        let after = changed(&format!("{key}:\n"), |text| text.set(&["aé"], &"x".into()));
        assert_eq!(after, format!("{key}: x\n"));
    }
    assert_eq!(changed("\"a:b\":\n", |text| text.set(&["a:b"], &"x".into())), "\"a:b\": x\n");
    assert_eq!(changed("'a''b':\n", |text| text.set(&["a'b"], &"x".into())), "'a''b': x\n");
    assert_eq!(changed("\"é\":\n- x\n", |text| text.remove(&["é"], 0)), "\"é\": []\n");
}
