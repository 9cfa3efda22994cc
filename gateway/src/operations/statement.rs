//! Statements of the store, by name.

use common::operations::Meter;

/// A statement that the store runs. In SQLite one stands for all that a call runs of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statement {
    /// Writes one change: the draft, the command, the event and the head.
    WriteOne,
    /// Writes a batch of changes.
    WriteMany,
    /// Looks up what changes depend on.
    Find,
    /// Locks the streams of a batch, and waits for them.
    Lock,
    /// Locks those streams of a batch that nobody else has locked.
    LockFree,
    /// Makes the rows of streams that have no event yet.
    CreateStreams,
    /// Reads the name of the history.
    Epoch,
    /// Reads the heads of streams.
    Heads,
    /// Reads pages of the log.
    Pages,
    /// Reads all drafts of a user.
    Drafts,
    /// Reads one draft.
    Draft,
    /// Looks for notices of what applications have added with SQL.
    Notices,
    /// Reads how much the tables take.
    Bytes,
}

static METERS: [Meter; Statement::ALL.len()] = [const { Meter::new() }; Statement::ALL.len()];

impl Statement {
    pub(crate) const ALL: [Self; 13] = [
        Self::WriteOne,
        Self::WriteMany,
        Self::Find,
        Self::Lock,
        Self::LockFree,
        Self::CreateStreams,
        Self::Epoch,
        Self::Heads,
        Self::Pages,
        Self::Drafts,
        Self::Draft,
        Self::Notices,
        Self::Bytes,
    ];

    /// The name, as operators read it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WriteOne => "write_one",
            Self::WriteMany => "write_many",
            Self::Find => "find",
            Self::Lock => "lock",
            Self::LockFree => "lock_free",
            Self::CreateStreams => "create_streams",
            Self::Epoch => "epoch",
            Self::Heads => "heads",
            Self::Pages => "pages",
            Self::Drafts => "drafts",
            Self::Draft => "draft",
            Self::Notices => "notices",
            Self::Bytes => "bytes",
        }
    }

    /// The name of the operation: `statement:` and the name.
    pub(super) fn operation(self) -> String {
        format!("statement:{}", self.name())
    }

    pub(crate) fn meter(self) -> &'static Meter {
        &METERS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_has_its_own_meter_and_name() {
        for (index, statement) in Statement::ALL.into_iter().enumerate() {
            assert_eq!(statement as usize, index, "{}", statement.name());
            assert!(Statement::ALL[..index].iter().all(|other| other.name() != statement.name()));
        }
    }
}
