//! SHA-256 digests, as people write them.

use skep::prelude::*;

/// A digest's bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(digest: &[u8]) -> String {
    let digit = |digit: u8| char::from_digit(digit.into(), 16).unwrap_or_default();
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A file has another digest than it should have.
pub(crate) fn mismatch(file: &str, expected: &str, found: &str) -> OperationError {
    let detail = format!("{file} has the SHA-256 {found}, and should have {expected}");
    OperationError::new("digest-mismatch", detail).with_status(422)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(hexadecimal(&[0, 0x0f, 0xa0, 0xff]), "000fa0ff");
    }
}
