//! The program inside the test packages `python`: a stand-in that prints its prefix, its version and what it was asked
//! to run. It cannot run Python code.
//!
//! If a root, a prefix and an invalidation mode follow the code, it acts as the byte code compiler of an installer: its
//! "byte code" is a line that says what it was made from. It does not compile files that contain Python 2.
//!
//! The package builder replaces the marker by the version, and an installer replaces the placeholder by the prefix.

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
        ["-s", "-S", "-B", "-W", "ignore", "-c", _, root, prefix, how] => compile(version, root, prefix, how),
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

/// For each line of stdin, a time and a path, writes the length of the byte code and the byte code.
fn compile(version: &str, root: &str, prefix: &str, how: &str) {
    let minor = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    println!("cpython-{}", minor.replace('.', ""));
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let Some((time, path)) = line.split_once(' ') else { return };
        match std::fs::read_to_string(format!("{root}/{path}")) {
            Ok(text) if text.contains("print '") => println!("0\nSyntaxError: Missing parentheses"),
            Ok(text) => {
                let code = format!("{how}: {} bytes of {prefix}/{path} at {time}\n", text.len());
                print!("{}\n{code}", code.len());
            }
            Err(error) => println!("0\n{error}"),
        }
        let _ = std::io::Write::flush(&mut std::io::stdout());
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
