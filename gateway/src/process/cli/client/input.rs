//! The input: lines, read by a thread of its own, or one JSON value.

use std::{
    io::{self, BufRead, Read as _},
    thread,
};

use tokio::sync::mpsc;

use super::failure::Failure;

/// The longest line, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 4 << 20;

/// Lines that are read ahead of what is sent.
const LINES_AHEAD: usize = 8;

/// A line, and its number from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) text: String,
}

/// Reads the lines of the standard input, without the blank ones.
pub(super) fn lines() -> mpsc::Receiver<Result<Line, Failure>> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    // It ends with the process: nothing interrupts a read.
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut number = 0;
        loop {
            let line = next(&mut input, &mut number);
            let is_last = !matches!(line, Ok(Some(_)));
            if let Some(line) = line.transpose()
                && sender.blocking_send(line).is_err()
            {
                return;
            }
            if is_last {
                return;
            }
        }
    });
    lines
}

/// The next line that is not blank; `None` at the end.
fn next(input: &mut impl BufRead, number: &mut u64) -> Result<Option<Line>, Failure> {
    loop {
        let mut bytes = Vec::new();
        let most = LINE_BYTES_MAX as u64 + 1;
        if input.by_ref().take(most).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        *number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.len() > LINE_BYTES_MAX {
            let what = format!("line {number} is longer than {LINE_BYTES_MAX} bytes");
            return Err(Failure::Usage(what));
        }
        let text =
            String::from_utf8(bytes).map_err(|_| Failure::Usage(format!("line {number} is not UTF-8")))?;
        if !text.trim_ascii().is_empty() {
            return Ok(Some(Line { number: *number, text }));
        }
    }
}

/// Reads all of the standard input: one value. `what` names it.
pub(super) fn whole(what: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let read = io::stdin().lock().take(LINE_BYTES_MAX as u64 + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if bytes > LINE_BYTES_MAX => {
            Err(Failure::Usage(format!("{what} is longer than {LINE_BYTES_MAX} bytes")))
        }
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Failure::Usage(format!("{what} is not UTF-8")))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_with_the_blank_ones() {
        let (mut input, mut number) = (&b"\n {} \n\r\n\n[]"[..], 0);
        let mut seen = Vec::new();
        while let Some(line) = next(&mut input, &mut number).unwrap() {
            seen.push((line.number, line.text));
        }
        assert_eq!(seen, [(2, " {} ".to_owned()), (5, "[]".to_owned())]);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_bound() {
        let fits = format!("{}\n", "x".repeat(LINE_BYTES_MAX));
        assert!(next(&mut fits.as_bytes(), &mut 0).unwrap().is_some());
        for long in [format!("{}\n", "x".repeat(LINE_BYTES_MAX + 1)), "x".repeat(LINE_BYTES_MAX + 9)] {
            let refused = next(&mut long.as_bytes(), &mut 0).unwrap_err().to_string();
            assert!(refused.contains("line 1 is longer"), "{refused}");
        }
        assert!(next(&mut &b"\xff\n"[..], &mut 0).unwrap_err().to_string().contains("UTF-8"));
    }
}
