//! A model's id: a name that is safe as a directory's.

use std::fmt;
use std::path::Path;

/// The longest id, bytes.
const MAX_LENGTH: usize = 64;

/// A model's id: a lower-case letter or digit, then these, `.`, `_` and `-`, 64 in all.
///
/// So no id is hidden, is `..`, or has a separator in it: it can be joined to a path as it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModelId(String);

impl ModelId {
    /// What [`parse`](Self::parse) takes, for schemas.
    pub(crate) const PATTERN: &str = "^[a-z0-9][a-z0-9._-]{0,63}$";

    /// `text` as an id, if it can be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() <= MAX_LENGTH
            && text.starts_with(begins)
            && text.chars().all(|c| begins(c) || matches!(c, '.' | '_' | '-'));
        fits.then(|| Self(text.to_owned()))
    }

    /// The id that a file's name suggests: `SmolLM2 135M.Q4_1.gguf` is `smollm2-135m.q4_1`.
    pub(crate) fn suggested_by(path: &Path) -> Option<Self> {
        let stem = path.file_stem()?.to_str()?.to_ascii_lowercase();
        let mut id = String::new();
        for c in stem.trim_start_matches(|c| !begins(c)).chars() {
            let c = if begins(c) || matches!(c, '.' | '_') { c } else { '-' };
            if !(c == '-' && id.ends_with('-')) && id.len() < MAX_LENGTH {
                id.push(c);
            }
        }
        Self::parse(id.trim_end_matches(|c| !begins(c)))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn begins(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_that_could_be_paths_are_refused() {
        let long = "a".repeat(65);
        for id in ["", ".", "..", ".hidden", "a/b", "a\\b", "A", "é", "a b", "a\0", "-a", &long] {
            assert_eq!(ModelId::parse(id), None, "{id}");
        }
        assert!(ModelId::parse("smollm2-135m.q4_1").is_some());
    }

    #[test]
    fn a_file_name_suggests_an_id() {
        let cases = [
            ("/m/SmolLM2-135M-Instruct.Q4_1.gguf", Some("smollm2-135m-instruct.q4_1")),
            ("/m/My  model (final).gguf", Some("my-model-final")),
            ("/m/.hidden.gguf", Some("hidden")),
            ("/m/модель.gguf", None),
            ("/", None),
        ];
        for (path, expected) in cases {
            let id = ModelId::suggested_by(Path::new(path));
            assert_eq!(id.as_ref().map(ModelId::as_str), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_name_suggests_a_safe_id_or_none(name in ".{0,200}") {
            if let Some(id) = ModelId::suggested_by(Path::new(&name)) {
                prop_assert_eq!(ModelId::parse(id.as_str()), Some(id));
            }
        }
    }
}
