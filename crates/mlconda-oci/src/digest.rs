//! Digests, which identify blobs (image spec, `descriptor.md`).

use std::{fmt, str::FromStr};

use rattler_digest::{Sha256, Sha256Hash};

use crate::OciError;

/// The sha256 of a blob. The spec also allows other algorithms, but no engine uses them, and they are refused here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Sha256Hash);

impl Digest {
    /// Computes the digest of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(rattler_digest::compute_bytes_digest::<Sha256>(bytes))
    }

    /// The 64 hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl From<Sha256Hash> for Digest {
    fn from(hash: Sha256Hash) -> Self {
        Self(hash)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = OciError;

    fn from_str(text: &str) -> Result<Self, OciError> {
        // The spec allows lower case only. A digest becomes a file name, so only the exact form is accepted.
        let digits =
            text.strip_prefix("sha256:").filter(|digits| !digits.bytes().any(|each| each.is_ascii_uppercase()));
        let mut hash = Sha256Hash::default();
        match digits.map(|digits| hex::decode_to_slice(digits, &mut hash)) {
            Some(Ok(())) => Ok(Self(hash)),
            _ => Err(OciError::Digest(text.chars().take(100).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha256_and_64_lower_case_digits() {
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), Digest::of(b""));
        let upper = text.replace("e3b0", "E3B0");
        for wrong in
            ["", "sha256:", "sha512:00", &text[..70], &text[7..], &format!("{text}0"), &upper, "sha256:../../x"]
        {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
    }
}
