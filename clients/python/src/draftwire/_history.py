"""Reading a topic's history page by page. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ._errors import ConflictError, UnexpectedAnswerError
from ._values import Cursor, HistoryChanged, HistoryItem, Missed
from ._wire import Page, Request, get, path, read_page

if TYPE_CHECKING:
    from ._exchange import Exchange, Operation

PAGE_SIZE = 100
"""How many events a page of a history has when nothing else is asked for."""


class HistoryReader:
    """A cursor on a topic's log. One page is in memory at a time."""

    def __init__(self, exchange: Exchange, topic: str, cursor: Cursor | str | None, page_size: int) -> None:
        self._exchange = exchange
        self._topic = topic
        self._page_size = page_size
        # Where the next page begins.
        self._next = Cursor.parse(cursor) if isinstance(cursor, str) else cursor
        self._items: deque[tuple[HistoryItem, Cursor]] = deque()
        self._ended = False
        self.cursor = self._next

    def next(self) -> Operation[HistoryItem | None]:
        """Returns what comes next, and moves the cursor behind it; None at the head of the log."""
        while not self._items and not self._ended:
            yield from self._read_page()
        if not self._items:
            self.cursor = self._next
            return None
        item, self.cursor = self._items.popleft()
        return item

    def _read_page(self) -> Operation[None]:
        cursor = None if self._next is None else str(self._next)
        query = {"cursor": cursor, "limit": str(self._page_size)}
        request = Request("GET", path("topics", self._topic, "events", query=query))
        try:
            self._add((yield from self._exchange.read(request, read_page)))
        except ConflictError as error:
            self._change(error)

    def _change(self, error: ConflictError) -> None:
        """Goes on at the beginning of the history that there is now."""
        try:
            position = error.payload if isinstance(error.payload, dict) else {}
            head, floor = get(position, "head", int), get(position, "floor", int)
            changed = HistoryChanged(get(position, "epoch", str), head, floor)
        except ValueError:
            raise error from None
        self._next = Cursor(changed.epoch, changed.floor)
        self._items.append((changed, self._next))

    def _add(self, page: Page) -> None:
        expected = None if self._next is None else self._next.seq + 1
        for event in page.events:
            if expected is not None and event.seq > expected:
                self._miss(page.epoch, event.seq)
            self._items.append((event, Cursor(page.epoch, event.seq)))
            expected = event.seq + 1
        if not page.events and expected is not None and page.cursor.seq >= expected:
            self._miss(page.epoch, page.cursor.seq + 1)
        self._ended = page.cursor.seq >= page.head
        if not self._ended and page.cursor == self._next:
            raise UnexpectedAnswerError(200, f"the history does not go on after {self._next}")
        self._next = page.cursor

    def _miss(self, epoch: str, before: int) -> None:
        self._items.append((Missed(before), Cursor(epoch, before - 1)))
