"""Events in requests of a bounded size. Pure."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from ._exchange import END, Operation, Pull
from ._values import NewEvent
from ._wire import encode_event

if TYPE_CHECKING:
    from collections.abc import Generator

EVENTS_PER_REQUEST_MAX: Final = 1000
"""The most events that the server takes in one request."""

REQUEST_BYTES: Final = 512 * 1024
"""About how large a request of `publish_stream` becomes, in bytes: half of the server's MAX_MESSAGE_BYTES."""

Line: TypeAlias = NewEvent | str | bytes
"""An event to publish, or its JSON text."""

Source: TypeAlias = Iterator[Line] | AsyncIterator[Line]


def line(event: Line) -> bytes:
    """Returns an event as JSON text; empty when the text given is blank."""
    if isinstance(event, NewEvent):
        return encode_event(event)
    return (event.encode() if isinstance(event, str) else event).strip()


class Chunker:
    """Takes events from a source and puts them together to the bodies of requests.

    The same events with the same bounds always give the same bodies, which makes repeating all of them under
    the same keys safe. One request is in memory at a time, and an event that no longer fits into it.
    """

    def __init__(self, source: Source, events_max: int, bytes_max: int) -> None:
        if events_max < 1 or bytes_max < 1:
            raise ValueError("a request holds at least one event")
        self._source = source
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._left_over: bytes | None = None

    def next(self) -> Operation[list[bytes]]:
        """Returns the events of the next request, none at the end. One that is too large is alone in it."""
        lines: list[bytes] = []
        size = 0
        while len(lines) < self._events_max:
            text = self._left_over if self._left_over is not None else (yield from self._pull())
            self._left_over = None
            if text is None:
                break
            if lines and size + len(text) + 1 > self._bytes_max:
                self._left_over = text
                break
            lines.append(text)
            size += len(text) + 1
        return lines

    def _pull(self) -> Generator[Pull, object, bytes | None]:
        while True:
            event = yield Pull(self._source)
            if event is END:
                return None
            if not isinstance(event, (NewEvent, str, bytes)):
                raise TypeError(f"{type(event).__name__} is neither a NewEvent nor the text of one")
            if text := line(event):
                return text
