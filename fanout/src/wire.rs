//! How the parts of an envelope are written and read: numbers big-endian, texts behind their length.

use std::str::FromStr;

use bytes::{BufMut, BytesMut};
use common::ids::InvalidId;
use serde_json::value::RawValue;

use crate::envelope::BadEnvelope;

/// Writes a text of at most 255 bytes: a name.
pub(crate) fn put_short(out: &mut BytesMut, text: &str) {
    out.put_u8(u8::try_from(text.len()).expect("names between nodes are at most 64 ASCII characters"));
    out.put_slice(text.as_bytes());
}

/// Writes a text of any characters, which do not fit a one-byte length: 64 of them take up to 256 bytes.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u16(u16::try_from(text.len()).expect("ids are at most 128 characters of 4 bytes"));
    out.put_slice(text.as_bytes());
}

/// What is left to read. Nothing is taken for granted of the bytes.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], BadEnvelope> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BadEnvelope::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], BadEnvelope> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BadEnvelope::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, BadEnvelope> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, BadEnvelope> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, BadEnvelope> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, BadEnvelope> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn short(&mut self) -> Result<&'a [u8], BadEnvelope> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// What [`put_short`] wrote.
    pub(crate) fn short_id<T: FromStr<Err = InvalidId>>(&mut self) -> Result<T, BadEnvelope> {
        Ok(std::str::from_utf8(self.short()?)?.parse()?)
    }

    /// What [`put_text`] wrote.
    pub(crate) fn text(&mut self) -> Result<&'a str, BadEnvelope> {
        let len = self.u16()?;
        Ok(std::str::from_utf8(self.take(len.into())?)?)
    }

    /// All that is left, as JSON.
    pub(crate) fn json(&mut self) -> Result<Box<RawValue>, BadEnvelope> {
        let text = std::str::from_utf8(std::mem::take(&mut self.0))?.to_owned();
        RawValue::from_string(text).map_err(BadEnvelope::Payload)
    }
}
