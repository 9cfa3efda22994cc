"""Histories, against a real node: whole ones, ones that retention has cut, ones that were replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from draftwire import (
    BadRequestError,
    Cursor,
    Draftwire,
    Event,
    ForbiddenError,
    HistoryChanged,
    HistoryItem,
    Missed,
    NewEvent,
)

from .conftest import MINTER
from .node import Node, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def ticks(count: int, start: int = 0) -> Iterator[NewEvent]:
    return (NewEvent("TICK", n) for n in range(start, start + count))


def brief(items: list[HistoryItem]) -> list[object]:
    return [item.data if isinstance(item, Event) else item for item in items]


def test_it_is_read_page_by_page_to_its_head(dw: Draftwire, topic: str) -> None:
    dw.publish_stream(topic, ticks(25))
    for page_size in (1, 10, 25, 1000):
        assert brief(list(dw.history(topic, page_size=page_size))) == list(range(25))
    assert list(dw.history(f"{topic}-empty")) == []


def test_the_cursor_is_behind_what_was_given(dw: Draftwire, topic: str) -> None:
    dw.publish_stream(topic, ticks(10))
    history = dw.history(topic, page_size=4)
    assert history.cursor is None
    assert [next(history) for _ in range(6)][-1] is not None
    assert history.cursor is not None
    assert history.cursor.seq == 6
    rest = dw.history(topic, str(history.cursor), page_size=4)
    assert brief(list(rest)) == [6, 7, 8, 9]
    assert rest.cursor == Cursor(history.cursor.epoch, 10)

    # At the head, also of an empty topic, there is a cursor to come back with.
    later = dw.history(topic, rest.cursor)
    assert list(later) == []
    assert later.cursor == rest.cursor
    dw.publish(topic, "TICK", 10)
    assert list(later) == []
    assert brief(list(dw.history(topic, later.cursor))) == [10]
    empty = dw.history(f"{topic}-empty")
    assert list(empty) == []
    assert empty.cursor == Cursor(rest.cursor.epoch, 0)


def test_events_that_retention_has_removed_are_reported(
    tmp_path: Path, connect: Callable[..., Draftwire]
) -> None:
    with Node(tmp_path, RETENTION_TOPIC_EVENTS="10", RETENTION_INTERVAL="50ms") as node:
        dw = connect(node.url)
        dw.publish("ticker", "TICK", 0)
        first = dw.history("ticker", page_size=1)
        assert brief([next(first)]) == [0]
        dw.publish_stream("ticker", ticks(99, start=1))
        wait_until(lambda: len(list(dw.history("ticker"))) == 10, "the log is cut", node.log)

        # Who begins has missed nothing; who comes back has.
        assert brief(list(dw.history("ticker"))) == list(range(90, 100))
        assert first.cursor is not None
        assert brief(list(dw.history("ticker", first.cursor))) == [Missed(91), *range(90, 100)]
        again = dw.history("ticker", first.cursor, page_size=3)
        assert next(again) == Missed(91)
        assert again.cursor == Cursor(first.cursor.epoch, 90)
        # Also when all that was missed is gone while it is read.
        dw.publish_stream("ticker", ticks(100, start=100))
        wait_until(lambda: len(list(dw.history("ticker"))) == 10, "the log is cut", node.log)
        assert brief(list(again)) == [90, 91, 92, Missed(191), *range(190, 200)]


def test_a_log_of_which_nothing_is_left_says_so(tmp_path: Path, connect: Callable[..., Draftwire]) -> None:
    with Node(tmp_path, RETENTION_TOPIC_AGE="1ms", RETENTION_INTERVAL="50ms") as node:
        dw = connect(node.url)
        before = dw.history("ticker")
        assert list(before) == []
        dw.publish_stream("ticker", ticks(3))
        wait_until(lambda: list(dw.history("ticker")) == [], "the log is empty", node.log)
        history = dw.history("ticker", before.cursor)
        assert list(history) == [Missed(4)]
        assert history.cursor is not None
        assert history.cursor.seq == 3


def test_another_history_is_reported_and_read_from_its_beginning(
    node: Node, connect: Callable[..., Draftwire]
) -> None:
    dw = connect(node.url)
    dw.publish_stream("ticker", ticks(10))
    history = dw.history("ticker", page_size=3)
    assert brief([next(history) for _ in range(2)]) == [0, 1]
    old = history.cursor
    assert old is not None
    node.stop()
    node.start(data="restored")
    dw.publish_stream("ticker", ticks(3, start=100))

    # What the page held, then the new history.
    changed = brief(list(history))
    assert changed[0] == 2
    assert isinstance(changed[1], HistoryChanged)
    assert (changed[1].head, changed[1].floor) == (3, 0)
    assert changed[1].epoch != old.epoch
    assert changed[2:] == [100, 101, 102]
    assert history.cursor == Cursor(changed[1].epoch, 3)

    # A cursor beyond the head is no position, either.
    beyond = dw.history("ticker", Cursor(changed[1].epoch, 7))
    assert next(beyond) == changed[1]
    assert beyond.cursor == Cursor(changed[1].epoch, 0)


def test_reading_needs_the_right_to_follow(dw: Draftwire, topic: str) -> None:
    publisher = dw.with_options(token=MINTER.mint("desk", ["service"]))
    with pytest.raises(ForbiddenError, match=f"the token does not allow to follow {topic}"):
        next(publisher.history(topic))


def test_bad_input_is_refused(dw: Draftwire, topic: str) -> None:
    for page_size in (0, 1001):
        with pytest.raises(BadRequestError, match="limit must be 1 to 1000"):
            next(dw.history(topic, page_size=page_size))
    with pytest.raises(BadRequestError, match="topic must be"):
        next(dw.history("two words"))
    for text in ("", "7f3a", "7f3a:", ":7", "7f3a:-1", "7f3a:x", "7f3a:1\n", "a:b:1"):
        with pytest.raises(ValueError, match="is no cursor"):
            dw.history(topic, text)
    with pytest.raises(BadRequestError, match="cursor"):
        next(dw.history(topic, "two words:7"))
