//! "Did you mean": the nearest of the names that would have been right.

/// How long a text may be to be taken for a mistyped name, bytes.
const MAX_LENGTH: usize = 128;

/// The name nearest to `given`, if one is near enough to be what was meant.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any name is: no typing error, and costly to compare.
    if given.len() > MAX_LENGTH {
        return None;
    }
    // A typing error or two, more in a longer name; further off it's another word.
    let allowed = (given.chars().count() / 3).clamp(1, 3);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typing_error_is_mended_and_another_word_is_not() {
        let names = ["echo", "check", "status"];
        assert_eq!(nearest("ehco", names), Some("echo"));
        assert_eq!(nearest("statsu", names), Some("status"));
        assert_eq!(nearest("infer", names), None);
    }
}
