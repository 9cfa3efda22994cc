//! The grammar (RFC 8259), and what is made of what it reads.

use std::borrow::Cow;

use super::invalid::Invalid;

/// What a reader makes of the values that it reads.
pub(super) trait Make<'a> {
    type Value;
    type Array: Default;
    type Object: Default;
    fn null() -> Self::Value;
    fn bool(value: bool) -> Self::Value;
    /// `text` is the whole number.
    fn number(text: &'a str) -> Self::Value;
    /// `raw` stands between the quotes, escapes and all.
    fn string(raw: &'a str) -> Self::Value;
    fn push(array: &mut Self::Array, value: Self::Value);
    fn array(array: Self::Array) -> Self::Value;
    fn insert(object: &mut Self::Object, raw_key: &'a str, value: Self::Value);
    fn object(object: Self::Object) -> Self::Value;
}

/// Makes nothing: built in memory, a value may take a hundred times its text.
pub(super) struct Check;

impl Make<'_> for Check {
    type Value = ();
    type Array = ();
    type Object = ();
    fn null() {}
    fn bool(_: bool) {}
    fn number(_: &str) {}
    fn string(_: &str) {}
    fn push((): &mut (), (): ()) {}
    fn array((): ()) {}
    fn insert((): &mut (), _: &str, (): ()) {}
    fn object((): ()) {}
}

/// A text, and how far it has been read.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// Digits that a number without an exponent may have before anybody asks whether a double reaches so far.
const DIGITS_SURELY_FINITE: usize = 300;

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, Invalid> {
        let mut reader = Self { text, at: 0 };
        if text.starts_with('\u{feff}') {
            return Err(Invalid::syntax("begins with a byte order mark: send it without one"));
        }
        reader.blanks();
        if reader.peek().is_none() { Err(Invalid::syntax("is empty")) } else { Ok(reader) }
    }

    /// Reads one value, and nothing behind it.
    pub(super) fn whole<M: Make<'a>>(text: &'a str, levels: usize) -> Result<M::Value, Invalid> {
        let mut reader = Self::new(text)?;
        let value = reader.value::<M>(levels)?;
        reader.end()?;
        Ok(value)
    }

    /// A value that nests no deeper than `levels`.
    pub(super) fn value<M: Make<'a>>(&mut self, levels: usize) -> Result<M::Value, Invalid> {
        let within = || levels.checked_sub(1).ok_or_else(Invalid::too_deep);
        self.blanks();
        match self.peek() {
            Some(b'{') => {
                let levels = within()?;
                let mut object = M::Object::default();
                self.members(|reader, key| {
                    let value = reader.value::<M>(levels).map_err(|error| error.within(&unescaped(key)))?;
                    M::insert(&mut object, key, value);
                    Ok(())
                })?;
                Ok(M::object(object))
            }
            Some(b'[') => {
                let levels = within()?;
                let mut array = M::Array::default();
                self.items(|reader, index| {
                    M::push(&mut array, reader.value::<M>(levels).map_err(|error| error.at(index))?);
                    Ok(())
                })?;
                Ok(M::array(array))
            }
            Some(b'"') => self.string().map(M::string),
            Some(b'-' | b'0'..=b'9') => self.number().map(M::number),
            Some(b't') => self.word("true").map(|()| M::bool(true)),
            Some(b'f') => self.word("false").map(|()| M::bool(false)),
            Some(b'n') => self.word("null").map(|()| M::null()),
            _ => Err(self.unexpected()),
        }
    }

    /// The text of a value.
    pub(super) fn raw(&mut self, levels: usize) -> Result<&'a str, Invalid> {
        self.blanks();
        let start = self.at;
        self.value::<Check>(levels)?;
        Ok(&self.text[start..self.at])
    }

    /// Reads an object; `each` is given the raw name of every member, and reads its value.
    pub(super) fn members(
        &mut self,
        mut each: impl FnMut(&mut Self, &'a str) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.listed(b'{', b'}', |reader, _| {
            let name =
                if reader.peek() == Some(b'"') { reader.string()? } else { return Err(reader.unexpected()) };
            reader.blanks();
            reader.mark(b':')?;
            each(reader, name)
        })
    }

    /// Reads an array; `each` reads the item of every index.
    pub(super) fn items(
        &mut self,
        each: impl FnMut(&mut Self, usize) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.listed(b'[', b']', each)
    }

    fn listed(
        &mut self,
        open: u8,
        close: u8,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), Invalid>,
    ) -> Result<(), Invalid> {
        self.mark(open)?;
        self.blanks();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        for index in 0.. {
            self.blanks();
            each(self, index)?;
            self.blanks();
            if self.peek() == Some(close) {
                break;
            }
            self.mark(b',')?;
        }
        self.mark(close)
    }

    pub(super) fn end(&mut self) -> Result<(), Invalid> {
        self.blanks();
        if self.at == self.text.len() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// The string that begins here, without its quotes and with its escapes, all of which are sound.
    fn string(&mut self) -> Result<&'a str, Invalid> {
        self.mark(b'"')?;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(b' '..) => self.at += 1,
                _ => return Err(self.unexpected()),
            }
        }
        self.at += 1;
        Ok(&self.text[start..self.at - 1])
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.unit()?;
                match unit {
                    0xd800..=0xdbff if self.text[self.at..].starts_with("\\u") => {
                        self.at += 1;
                        let low = self.unit()?;
                        if matches!(low, 0xdc00..=0xdfff) { Ok(()) } else { Err(Invalid::half_a_pair(unit)) }
                    }
                    0xd800..=0xdfff => Err(Invalid::half_a_pair(unit)),
                    _ => Ok(()),
                }
            }
            _ => Err(self.unexpected()),
        }
    }

    /// The four hexadecimal digits behind a `u`.
    fn unit(&mut self) -> Result<u16, Invalid> {
        self.at += 1;
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit.and_then(|digit| u16::try_from(digit).ok()) else {
                return Err(self.unexpected());
            };
            unit = unit << 4 | digit;
            self.at += 1;
        }
        Ok(unit)
    }

    fn number(&mut self) -> Result<&'a str, Invalid> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        let surely_finite = !has_exponent && text.len() <= DIGITS_SURELY_FINITE;
        if surely_finite || text.parse::<f64>().is_ok_and(f64::is_finite) {
            Ok(text)
        } else {
            // Most parsers refuse it, and JavaScript makes of it what no JSON can say.
            Err(Invalid::new("is a number beyond what a double reaches (1.8e308)"))
        }
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.unexpected()) }
    }

    fn word(&mut self, word: &str) -> Result<(), Invalid> {
        for byte in word.bytes() {
            self.mark(byte)?;
        }
        Ok(())
    }

    fn mark(&mut self, mark: u8) -> Result<(), Invalid> {
        if self.peek() != Some(mark) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self) -> Invalid {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) => Invalid::syntax(format!("is not JSON: unexpected {found:?} at byte {}", self.at)),
            None => Invalid::syntax("ends too early"),
        }
    }

    /// The member of an object as it is written. What is wrong with the others is passed over.
    pub(super) fn find_member(text: &'a str, name: &str) -> Option<&'a str> {
        let mut reader = Self::new(text).ok()?;
        reader.mark(b'{').ok()?;
        loop {
            reader.blanks();
            let start = reader.at;
            let named = reader.string().is_ok_and(|raw| unescaped(raw) == name);
            if !named {
                reader.at = start;
            }
            reader.skip_to(b':')?;
            if named {
                return reader.raw(1).ok();
            }
            reader.skip_to(b',')?;
        }
    }

    /// Goes behind the next such mark outside of strings, arrays and objects.
    fn skip_to(&mut self, mark: u8) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                byte if byte == mark && depth == 0 => return Some(()),
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.checked_sub(1)?,
                b'"' => loop {
                    let byte = self.peek()?;
                    self.at += 1;
                    match byte {
                        b'"' => break,
                        b'\\' => self.at += 1,
                        _ => {}
                    }
                },
                _ => {}
            }
        }
    }
}

/// The text that a raw string stands for. Its escapes have been read before.
pub(super) fn unescaped(raw: &str) -> Cow<'_, str> {
    let Some(first) = raw.find('\\') else { return raw.into() };
    let mut text = String::with_capacity(raw.len());
    let (plain, mut rest) = raw.split_at(first);
    text.push_str(plain);
    while let Some(escape) = rest.strip_prefix('\\') {
        let (c, behind) = escaped(escape);
        text.push(c);
        let end = behind.find('\\').unwrap_or(behind.len());
        text.push_str(&behind[..end]);
        rest = &behind[end..];
    }
    text.into()
}

/// The character that an escape stands for, and what follows it.
fn escaped(escape: &str) -> (char, &str) {
    let unit =
        |at: usize| escape.get(at..at + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let mut chars = escape.chars();
    let c = match chars.next() {
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some('u') => {
            let pair = [unit(1), unit(7)];
            let units = if matches!(pair[0], 0xd800..=0xdbff) { &pair[..] } else { &pair[..1] };
            let c = char::decode_utf16(units.iter().copied()).next().and_then(Result::ok);
            let end = 6 * units.len() - 1;
            return (c.unwrap_or(char::REPLACEMENT_CHARACTER), escape.get(end..).unwrap_or_default());
        }
        other => other.unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    (c, chars.as_str())
}
