//! The program inside the test packages `where`: prints the prefix that it was installed into.
//!
//! It is compiled by `rustc` alone. Both texts contain the build's placeholder and end with a NUL, like strings of a C
//! program. An installer overwrites the placeholder in place and fills the rest with NULs. The texts are read through
//! `black_box`, because a compiler may use the length of a known constant.

#[used]
static PREFIX: [u8; 320] = padded(env!("MLCONDA_TEST_PLACEHOLDER"));
#[used]
static MESSAGE: [u8; 320] = padded(concat!(env!("MLCONDA_TEST_PLACEHOLDER"), "/share/where/message.txt"));

fn main() {
    println!("prefix: {}", read(&PREFIX));
    if let Ok(message) = std::fs::read_to_string(read(&MESSAGE)) {
        print!("message: {message}");
    }
    if let Ok(prefix) = std::env::var("CONDA_PREFIX") {
        println!("CONDA_PREFIX: {prefix}");
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.is_empty() {
        println!("arguments: {}", arguments.join(" "));
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
