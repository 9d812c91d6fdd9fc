//! Parses the challenges of a registry in `WWW-Authenticate` (RFC 9110, section 11.6.1).

/// A challenge: a scheme in lower case, and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Parses the challenges of a header, which may contain several.
    pub(crate) fn parse(header: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        let mut rest = header.trim_start_matches([' ', ',', '\t']);
        while !rest.is_empty() {
            let (word, after) = rest.split_at(rest.find([' ', ',', '=', '\t']).unwrap_or(rest.len()));
            let word = word.to_ascii_lowercase();
            rest = after.trim_start();
            if let Some(value) = rest.strip_prefix('=') {
                let (value, after) = value_of(value.trim_start());
                rest = after;
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.push((word, value));
                }
            } else {
                challenges.push(Self { scheme: word, parameters: Vec::new() });
            }
            rest = rest.trim_start_matches([' ', ',', '\t']);
        }
        challenges
    }
}

/// The value of a parameter, and the text after it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            _ => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_registries_are_understood() {
        let header = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push", Basic realm=plain"#;
        let challenges = Challenge::parse(header);
        assert_eq!(challenges.len(), 2);
        assert_eq!(challenges[0].scheme, "bearer");
        assert_eq!(challenges[0].parameter("realm"), Some("https://auth.example/token"));
        assert_eq!(challenges[0].parameter("scope"), Some("repository:a/b:pull,push"));
        assert_eq!((challenges[1].scheme.as_str(), challenges[1].parameter("realm")), ("basic", Some("plain")));
        let odd = Challenge::parse(r#"BEARER  Realm = "a\"b" , x=, Negotiate"#);
        assert_eq!(odd[0].parameter("realm"), Some("a\"b"));
        assert_eq!(odd.last().unwrap().scheme, "negotiate");
    }

    #[test]
    fn no_header_stops_the_reader() {
        for header in
            ["", ",", "=", "==,,==", "Bearer", "Bearer realm", "Bearer realm=\"", "\"\"", "é=ü \"", "a=b c = d"]
        {
            let _ = Challenge::parse(header);
        }
    }
}
