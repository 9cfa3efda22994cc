//! What the other side can do wrong.

/// A rule of RFC 6455 or RFC 7692 that the other side has broken. Nothing that it sends afterwards can be
/// understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Section 5.1: clients mask.
    #[error("a frame was not masked")]
    Unmasked,
    /// Section 5.1: servers do not.
    #[error("a frame was masked")]
    Masked,
    /// Section 5.2; the first reserved bit is legal on the first frame of a deflated message only.
    #[error("a reserved bit was set")]
    ReservedBit,
    /// Section 5.2.
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// Section 5.2: the shortest form, and no more than 63 bits.
    #[error("a length was not in its shortest form")]
    Length,
    /// Section 5.5: 125 bytes at most, in one frame.
    #[error("a control frame was fragmented or too long")]
    Control,
    /// Section 5.4: no message to continue.
    #[error("a continuation of nothing")]
    Continuation,
    /// Section 5.4: a message starts before the last one ends.
    #[error("a message inside another")]
    Interleaved,
    /// Section 5.5.1: a code takes two bytes.
    #[error("a close frame without a whole code")]
    CloseCode,
    /// Section 7.4: codes that must not be sent, or that nobody has defined.
    #[error("{0} is not a close code to send")]
    UnknownClose(u16),
    /// Sections 5.5.1 and 8.1.
    #[error("text that is not UTF-8")]
    Utf8,
    /// RFC 7692 section 7.2.2.
    #[error("data that cannot be inflated")]
    Deflate,
    /// Larger than what was agreed, over all fragments, or once it is inflated.
    #[error("a message was larger than allowed")]
    TooLarge,
}

impl Violation {
    /// The close code that RFC 6455 section 7.4.1 gives it: 1002, 1007 or 1009.
    pub fn code(self) -> u16 {
        match self {
            Self::Unmasked
            | Self::Masked
            | Self::ReservedBit
            | Self::Opcode(_)
            | Self::Length
            | Self::Control
            | Self::Continuation
            | Self::Interleaved
            | Self::CloseCode
            | Self::UnknownClose(_) => 1002,
            Self::Utf8 | Self::Deflate => 1007,
            Self::TooLarge => 1009,
        }
    }
}
