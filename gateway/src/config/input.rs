//! The text of settings as people and machines hand it over: with line ends of files, in quotes, in files of its
//! own.
//!
//! What can only be an accident is cut off where nothing depends on it, and refused with a sentence elsewhere: with
//! a secret that is longer by a line end than the issuer's, a node would refuse every token without saying why.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use super::setting::Privacy;

/// The largest file that holds a setting, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why a text cannot be what was meant. The texts complete "JWT_SECRET …", and never repeat it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Accident {
    #[error(
        "is in quotes, which would be a part of it: remove them; not every reader of environment files does"
    )]
    Quotes,
    #[error(
        "ends with a line end, which would be a part of it: remove it. Files with Windows line ends and \
         secrets made by `echo` have one; `printf %s` makes none"
    )]
    LineEnd,
    #[error("begins or ends with a blank, which would be a part of it: remove it")]
    Blank,
    #[error("has more than one line: give it on one, such as `openssl rand -hex 32` prints")]
    Lines,
    #[error(
        "holds a key in PEM: JWT_PUBLIC_KEY (--jwt-public-key) is for public keys, JWT_SECRET for a shared secret"
    )]
    Pem,
}

/// Returns the text of a setting without what surrounds it by accident.
///
/// # Errors
/// What can only be an accident, but may be a part of the value.
pub(super) fn without_accidents(text: &str, privacy: Privacy) -> Result<&str, Accident> {
    let trimmed = text.trim();
    let is_in = |quote: char| trimmed.len() > 1 && trimmed.starts_with(quote) && trimmed.ends_with(quote);
    if is_in('"') || is_in('\'') {
        return Err(Accident::Quotes);
    }
    if privacy != Privacy::Exact || trimmed.is_empty() {
        return Ok(trimmed);
    }
    if text.contains("-----BEGIN ") {
        return Err(Accident::Pem);
    }
    if text.ends_with(['\n', '\r']) && !trimmed.contains(['\n', '\r']) {
        return Err(Accident::LineEnd);
    }
    if trimmed.contains(['\n', '\r']) {
        return Err(Accident::Lines);
    }
    if trimmed.len() < text.len() { Err(Accident::Blank) } else { Ok(text) }
}

/// Returns the text of a file, without the line ends at its end, which editors and `echo` leave there, and without
/// the mark that some editors put at its beginning.
pub(crate) fn read_file(path: &Path) -> Result<String, String> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| format!("it cannot be read: {error}"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is over {} KiB, which no setting is", FILE_BYTES_MAX / 1024));
    }
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r']);
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_to_the_byte_and_accidents_are_named() {
        for (text, accident) in [
            ("s\n", Accident::LineEnd),
            ("s\r\n", Accident::LineEnd),
            ("s\r", Accident::LineEnd),
            ("s ", Accident::Blank),
            (" s", Accident::Blank),
            ("\ts", Accident::Blank),
            ("\"s\"", Accident::Quotes),
            ("'s'\r\n", Accident::Quotes),
            ("s\nt", Accident::Lines),
            ("s\nt\n", Accident::Lines),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n", Accident::Pem),
        ] {
            assert_eq!(without_accidents(text, Privacy::Exact), Err(accident), "{text:?}");
        }
        for text in ["s", "s t", "\"s", "s'", "'"] {
            assert_eq!(without_accidents(text, Privacy::Exact), Ok(text));
        }
        assert_eq!(without_accidents("\r\n", Privacy::Exact), Ok(""));
    }

    #[test]
    fn of_everything_else_blanks_are_cut_off() {
        for privacy in [Privacy::Shown, Privacy::Hidden] {
            assert_eq!(without_accidents(" 1\r\n", privacy), Ok("1"));
            assert_eq!(without_accidents("\"1\"", privacy), Err(Accident::Quotes));
        }
    }
}
