"""What is sent and received, as the protocol names it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Json: TypeAlias = Any
"""A JSON value: None, bool, int, float, str, or lists and dicts of them."""

Priority: TypeAlias = Literal["normal", "high", "critical"]
"""Urgent events, those above `normal`, are not held back by a follower's batch window."""

_CURSOR = re.compile(r"(?P<epoch>[^:]+):(?P<seq>[0-9]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class User:
    """The stream of a user, as something that is published to."""

    user_id: str


@dataclass(frozen=True, slots=True)
class All:
    """The stream that every connection follows; use `ALL`."""


ALL: Final = All()
"""The stream that every connection follows, as something that is published to."""

Target: TypeAlias = str | User | All
"""What is published to: the name of a topic, a user, or everybody."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to publish.

    Attributes:
        event: Its type, 1 to 64 characters of `A-Z 0-9 _`.
        data: What it carries.
        priority: Whether it waits in batch windows.
    """

    event: str
    data: Json = None
    priority: Priority = "normal"


@dataclass(frozen=True, slots=True)
class Published:
    """The numbers of events that were committed together; they are consecutive.

    Attributes:
        first: The number of the first event in its stream.
        seq: The number of the last one.
    """

    first: int
    seq: int


@dataclass(frozen=True, slots=True)
class StreamPublished:
    """What `publish_stream` has committed.

    Others may publish between two requests, so the numbers from `first` to `seq` may have gaps.

    Attributes:
        events: How many events.
        requests: In how many requests.
        first: The number of the first event; None when there was no event.
        seq: The number of the last one; None when there was no event.
    """

    events: int = 0
    requests: int = 0
    first: int | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a stream: everything up to `seq` in the history `epoch` has been seen."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Reads `<epoch>:<seq>`.

        Raises:
            ValueError: The text is no cursor.
        """
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is no cursor: <epoch>:<seq>")
        return cls(match["epoch"], int(match["seq"]))


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a stream.

    Attributes:
        type: What the publisher called it.
        seq: Its number in the stream.
        timestamp: When it was committed, in Unix milliseconds.
        origin: The device that published it.
        data: What it carries.
        priority: Whether it waits in batch windows.
    """

    type: str
    seq: int
    timestamp: int
    origin: str
    data: Json
    priority: Priority = "normal"


@dataclass(frozen=True, slots=True)
class Missed:
    """Events that retention has removed before they were read.

    Attributes:
        before: What comes next has this number or a higher one; what was not seen before it is gone.
    """

    before: int


@dataclass(frozen=True, slots=True)
class HistoryChanged:
    """The reader's cursor is no position in the history that the server has now.

    The server may have lost acknowledged events, as when a backup was restored. What was read so far means
    nothing in the new history; its oldest events come next.

    Attributes:
        epoch: The name of the new history.
        head: The number of its last event.
        floor: The number of the last event that retention has removed from it.
    """

    epoch: str
    head: int
    floor: int


HistoryItem: TypeAlias = Event | Missed | HistoryChanged
"""What reading a history gives."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A disconnection that was committed.

    Attributes:
        seq: The number of the event by which all nodes learn of it.
    """

    seq: int


@dataclass(frozen=True, slots=True)
class Member:
    """A device that is present in a topic.

    Attributes:
        user_id: Whose it is; None for a device without a token.
        device: Its name.
    """

    user_id: str | None
    device: str


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is present in a topic.

    Attributes:
        members: The devices; None where they are too many to be listed.
        users: How many users they are; a device without a user counts as one.
        devices: How many devices.
        complete: False while nodes cannot hear each other: members of other nodes may be missing, or may have
            left.
    """

    members: tuple[Member, ...] | None
    users: int
    devices: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as it stands.

    Attributes:
        draft_id: Its id, unique among the drafts of its user.
        version: The number of its changes.
        kind: The kind of document.
        content: A JSON object.
        updated_at: When it last changed, in Unix milliseconds.
    """

    draft_id: str
    version: int
    kind: str
    content: dict[str, Json]
    updated_at: int


@dataclass(frozen=True, slots=True)
class DraftList:
    """All drafts of a user that are not deleted, as they stand at `cursor` of the user's stream."""

    drafts: tuple[Draft, ...]
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class DraftChanged:
    """A change of a draft that was committed.

    Attributes:
        draft_id: The draft.
        version: Its version after the change.
        seq: The number of the event in the user's stream; None when the patch has changed nothing.
    """

    draft_id: str
    version: int
    seq: int | None


Content: TypeAlias = Mapping[str, Json]
"""The content of a draft, or a patch (RFC 7396) of it."""
