//! The program inside the test packages `python`: a stand-in that knows its prefix, its version and what it was
//! asked to run, and says so. It runs no Python and claims none.
//!
//! The package builder writes the version over the marker, an installer the prefix over the placeholder.

#[used]
static PREFIX: [u8; 320] = padded(env!("MLCONDA_TEST_PLACEHOLDER"));
#[used]
static VERSION: [u8; 320] = padded(env!("MLCONDA_TEST_VERSION_MARKER"));

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (prefix, version) = (read(&PREFIX), read(&VERSION));
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--version" | "-V", ..] => println!("Python {version} (stand-in)"),
        ["-c", code, rest @ ..] => println!("python stand-in in {prefix} is given the code `{code}` with {rest:?}"),
        ["-m", module, rest @ ..] => println!("python stand-in in {prefix} runs the module {module} with {rest:?}"),
        [script, rest @ ..] => match std::fs::read_to_string(script) {
            Ok(_) => println!("python stand-in in {prefix} runs {script} with {rest:?}"),
            Err(error) => {
                eprintln!("python stand-in in {prefix}: {script}: {error}");
                std::process::exit(2);
            }
        },
        [] => println!("python stand-in in {prefix}"),
    }
}

/// The text up to the NUL.
fn read(bytes: &'static [u8; 320]) -> &'static str {
    let bytes = std::hint::black_box(bytes);
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).unwrap_or("not UTF-8")
}

const fn padded(text: &str) -> [u8; 320] {
    let (mut bytes, mut index) = ([0; 320], 0);
    while index < text.len() {
        bytes[index] = text.as_bytes()[index];
        index += 1;
    }
    bytes
}
