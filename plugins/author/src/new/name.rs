//! The name of a crate that is written, in the forms that its text needs.

use skep::OperationSpec;

/// Words that Rust doesn't take for a name, and crates that every program has.
const RESERVED: &str = "abstract alloc as async await become box break const continue core crate \
     do dyn else enum extern false final fn for gen if impl in let loop macro match mod move mut \
     override priv proc_macro pub ref return self static std struct super test trait true try type \
     typeof union unsafe unsized use virtual where while yield";

/// Directories that Cargo has beside its programs.
const CARGOS: &str = "build deps examples incremental";

/// A name, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// `loud_shout`: the operation's name, and the library's.
    pub(crate) snake: String,
}

/// Why a name can't be given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error(
        "`{0}` can't be a name: it's a lower-case letter, then lower-case letters, digits and \
         single dashes or underscores, 64 at most"
    )]
    Malformed(String),
    #[error("`{0}` can't be a name: Rust has it for itself, or Cargo has")]
    Reserved(String),
}

impl Name {
    /// A name as a person writes it, with dashes or underscores.
    pub(crate) fn parse(text: &str) -> Result<Self, NameError> {
        let snake = text.replace('-', "_");
        // A crate's name may be anything that an operation's may.
        if !OperationSpec::is_valid_name(&snake) {
            return Err(NameError::Malformed(text.to_owned()));
        }
        if RESERVED.split_whitespace().chain(CARGOS.split_whitespace()).any(|word| word == snake) {
            return Err(NameError::Reserved(text.to_owned()));
        }
        Ok(Self { snake })
    }

    /// `loud-shout`: the crate's name.
    pub(crate) fn kebab(&self) -> String {
        self.snake.replace('_', "-")
    }

    /// `LoudShout`: the type's name.
    pub(crate) fn pascal(&self) -> String {
        let capitalised = |word: &str| {
            let mut letters = word.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        };
        self.snake.split('_').map(capitalised).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_forms_that_code_needs() {
        for (text, kebab, pascal) in [
            ("shout", "shout", "Shout"),
            ("loud-shout", "loud-shout", "LoudShout"),
            ("v2_x9", "v2-x9", "V2X9"),
        ] {
            let name = Name::parse(text).unwrap();
            assert_eq!((name.kebab().as_str(), name.pascal().as_str()), (kebab, pascal));
        }
    }

    #[test]
    fn what_can_be_no_operation_or_no_crate_is_no_name() {
        for text in
            ["", "Shout", "9lives", "a--b", "-a", "../a", "a b", "operation", "é", &"a".repeat(65)]
        {
            assert_eq!(Name::parse(text), Err(NameError::Malformed(text.to_owned())));
        }
        for text in ["fn", "self", "gen", "std", "test", "deps", "proc-macro"] {
            assert_eq!(Name::parse(text), Err(NameError::Reserved(text.to_owned())));
        }
    }
}
