//! What a client does after a connection was closed.

/// What a client does after a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterClose {
    /// It comes back after a pause: the connection was lost, or the server asked for patience.
    ComeBack,
    /// It comes back with another token: this one was refused, or an operator has ended the connections of the user,
    /// whose rights may have changed.
    RenewToken,
    /// It stays away: coming back unchanged is pointless. Misuse, rights taken away, a message that was too long,
    /// another client of the same device.
    StayAway,
}

impl AfterClose {
    /// What follows from a close code; `None` where none was given.
    pub fn of(code: Option<u16>) -> Self {
        match code {
            Some(4401 | 4410) => Self::RenewToken,
            Some(4400 | 4403 | 1009 | 4409) => Self::StayAway,
            _ => Self::ComeBack,
        }
    }
}
