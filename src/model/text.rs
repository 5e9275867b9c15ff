//! Questions about characters and words that several places ask.

/// Whether a character shows nothing, or only changes how others are shown: Unicode's
/// `Default_Ignorable_Code_Point` (bidirectional controls, zero-width characters, variation
/// selectors, tags) and the other format characters. They can carry text that only a model reads,
/// or make a page show something else than what is stored.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Characters to insert, remove or replace to turn one word into the other (Levenshtein). Costs
/// the product of the lengths.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_any_script_are_seen_and_what_hides_is_not() {
        assert!(!"aé磁盘ع\n 1️".chars().take(7).any(is_invisible));
        assert!(
            "\u{ad}\u{200b}\u{202e}\u{2066}\u{fe0f}\u{feff}\u{e0041}".chars().all(is_invisible)
        );
    }

    #[test]
    fn distance_counts_edits_of_characters() {
        let cases = [
            ("", "", 0),
            ("", "ab", 2),
            ("nginx", "ngnix", 2),
            ("磁盘", "磁带", 1),
            ("a", "abc", 2),
        ];
        for (a, b, expected) in cases {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
