//! Quoting what others wrote, within bounds: a refusal must not be as long as what it refuses.

use std::borrow::Cow;

/// Characters of a name or a text that are quoted at most.
const QUOTED_CHARS_MAX: usize = 64;

/// The beginning of a text, of at most `bytes_max` bytes; an ellipsis shows that something is missing.
pub fn cut(text: &str, bytes_max: usize) -> Cow<'_, str> {
    const ELLIPSIS: &str = "…";
    if text.len() <= bytes_max {
        return text.into();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub(ELLIPSIS.len()));
    format!("{}{ELLIPSIS}", &text[..end]).into()
}

/// The beginning of a text without what does not print, such as characters that change the direction of what
/// follows them.
pub fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// The same in quotes.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", printable(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_cut_at_whole_characters() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "lo…");
        assert_eq!(cut("😀😀", 7), "😀…");
        assert_eq!(cut("😀😀", 6), "…");
        assert_eq!(quoted("a\"b\n\u{202e}"), r#""a\"b\n\u{202e}""#);
        assert_eq!(printable(&"é".repeat(65)), format!("{}…", "é".repeat(64)));
        assert!(quoted(&"\u{10ffff}".repeat(900)).len() < 1024);
    }
}
