"""Publishing, against a real node."""

from __future__ import annotations

import json
import traceback
from typing import TYPE_CHECKING

import pytest

from draftwire import (
    ALL,
    BadRequestError,
    Draftwire,
    Event,
    ForbiddenError,
    InvalidRequestError,
    NewEvent,
    Published,
    StreamPublished,
    TooLargeError,
    UnauthorizedError,
    UnexpectedAnswerError,
    User,
)

from .conftest import MINTER, published

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .node import Node


def test_an_event_is_in_the_history_as_it_was_published(
    shared: Node, connect: Callable[..., Draftwire], topic: str
) -> None:
    dw = connect(shared.url, device="desk")
    data = {"text": "1:0 ⚽ é", "big": 12345678901234567890123, "none": None, "list": [1.5, True]}
    assert dw.publish(topic, "GOAL", data, priority="high") == Published(1, 1)
    (event,) = dw.history(topic)
    assert isinstance(event, Event)
    assert (event.type, event.seq) == ("GOAL", 1)
    assert (event.data, event.priority, event.origin) == (data, "high", "desk")
    assert event.timestamp > 1_700_000_000_000


def test_a_key_publishes_once(dw: Draftwire, topic: str) -> None:
    first = dw.publish(topic, "GOAL", 1, key="goal-1")
    assert dw.publish(topic, "GOAL", 1, key="goal-1") == first
    with pytest.raises(BadRequestError, match="already used for another command"):
        dw.publish(topic, "GOAL", 2, key="goal-1")
    # Without a key of its own each call is another event.
    dw.publish(topic, "GOAL", 1)
    assert published(dw, topic) == [1, 1]


def test_many_are_published_together_or_not_at_all(dw: Draftwire, topic: str) -> None:
    events: list[NewEvent | str | bytes] = [
        NewEvent("A", 1),
        '{"event": "B", "data": 2}',
        b'{"event":"C","data":3}\n',
    ]
    assert dw.publish_many(topic, events) == Published(1, 3)
    with pytest.raises(BadRequestError, match="event 2"):
        dw.publish_many(topic, [NewEvent("A"), NewEvent("no type")])
    with pytest.raises(BadRequestError, match="there is no event"):
        dw.publish_many(topic, [])
    with pytest.raises(TooLargeError, match="1001 events at once"):
        dw.publish_many(topic, [NewEvent("A")] * 1001)
    assert published(dw, topic) == [1, 2, 3]


def test_a_stream_goes_in_requests_of_a_bounded_size(dw: Draftwire, topic: str) -> None:
    def events() -> Iterator[NewEvent | str]:
        yield "\n"
        yield from (NewEvent("TICK", n) for n in range(25))
        # Larger than a request is meant to be: alone in one.
        yield NewEvent("TICK", "x" * 2000)
        yield json.dumps({"event": "TICK", "data": "last"})

    done = dw.publish_stream(topic, events(), events_max=10, bytes_max=1000)
    assert done == StreamPublished(27, 5, 1, 27)
    assert published(dw, topic) == [*range(25), "x" * 2000, "last"]
    assert dw.publish_stream(topic, []) == StreamPublished()


def test_a_stream_that_failed_half_way_goes_on_under_the_same_key(dw: Draftwire, topic: str) -> None:
    good = [NewEvent("TICK", n) for n in range(10)]
    bad = [*good[:7], NewEvent("TICK", "x" * 100_000), *good[8:]]
    with pytest.raises(TooLargeError) as refused:
        dw.publish_stream(topic, bad, key="import", events_max=2)
    assert refused.value.committed == StreamPublished(6, 3, 1, 6)
    assert dw.publish_stream(topic, good, key="import", events_max=2) == StreamPublished(10, 5, 1, 10)
    assert published(dw, topic) == list(range(10))
    # Cut otherwise, they are others.
    with pytest.raises(BadRequestError):
        dw.publish_stream(topic, good, key="import", events_max=5)


def test_a_key_that_is_too_long_is_refused_before_anything_is_published(dw: Draftwire, topic: str) -> None:
    events = [NewEvent("TICK", n) for n in range(3)]
    with pytest.raises(BadRequestError, match="Idempotency-Key"):
        dw.publish_stream(topic, events, key="k" * 58, events_max=1)
    assert published(dw, topic) == []
    assert dw.publish_stream(topic, events, key="k" * 57, events_max=1).events == 3


def test_users_and_all_are_published_to(dw: Draftwire, topic: str) -> None:
    first = dw.publish(User(topic), "INVITED", {"n": 1})
    assert (first.seq, dw.publish_user(topic, "INVITED").seq) == (1, 2)
    assert dw.publish_many(User(topic), [NewEvent("A"), NewEvent("B")]) == Published(3, 4)
    before = dw.broadcast("CACHE_INVALIDATED", {"keys": ["prices"]}, priority="critical")
    assert dw.publish_stream(ALL, [NewEvent("CACHE_INVALIDATED")]).first == before.seq + 1
    odd = dw.publish_user("a/b c?d#é%2f", "INVITED")
    assert odd.seq >= 1


def test_signals_are_sent_and_not_kept(dw: Draftwire, topic: str) -> None:
    dw.signal(topic, "TYPING", {"in": "title"})
    dw.signal(User("alice"), "TYPING")
    dw.signal(ALL, "TYPING")
    assert published(dw, topic) == []
    with pytest.raises(UnexpectedAnswerError, match="202"):
        dw.publish_many(topic, ['{"event": "TYPING", "signal": true}'])


def test_refusals_are_in_the_words_of_the_protocol(shared: Node, dw: Draftwire, topic: str) -> None:
    for name in ("", "two words", "ü", "a/b", "x" * 129):
        with pytest.raises(BadRequestError, match="topic must be 1 to 128 characters"):
            dw.publish(name, "GOAL")
    for name in (".", ".."):
        with pytest.raises(BadRequestError, match="no name"):
            dw.publish(name, "GOAL")
    with pytest.raises(BadRequestError, match="event"):
        dw.publish(topic, "goal")
    with pytest.raises(BadRequestError, match="not JSON"):
        dw.publish(topic, "GOAL", float("nan"))
    with pytest.raises(BadRequestError, match="surrogate"):
        dw.publish(topic, "GOAL", "half of an emoji \ud83d")
    with pytest.raises(BadRequestError, match="Idempotency-Key"):
        dw.publish(topic, "GOAL", key="clé")
    for broken in (dw.with_options(token="secret\ntoken"), dw):
        with pytest.raises(InvalidRequestError) as unsent:
            broken.publish(topic, "GOAL", key="two\nlines")
        assert "secret" not in "".join(traceback.format_exception(unsent.value))
    with pytest.raises(TooLargeError, match="the data of an event is"):
        dw.publish(topic, "GOAL", "x" * 70_000)

    viewer = dw.with_options(token=MINTER.mint("bob", ["subscribe:*", "publish:other"]))
    with pytest.raises(ForbiddenError) as refused:
        viewer.publish(topic, "GOAL")
    assert (refused.value.code, refused.value.status) == ("forbidden", 403)
    assert refused.value.detail == f"the token does not allow to publish to {topic}"
    assert str(refused.value) == f"forbidden: {refused.value.detail}"
    with pytest.raises(ForbiddenError, match="service"):
        viewer.broadcast("GOAL")
    with pytest.raises(UnauthorizedError):
        dw.with_options(token=None).publish(topic, "GOAL")
    assert published(dw, topic) == []


def test_data_that_json_cannot_say_is_a_type_error_and_sends_nothing(dw: Draftwire, topic: str) -> None:
    with pytest.raises(TypeError):
        dw.publish(topic, "GOAL", {1, 2})
    with pytest.raises(TypeError, match="neither a NewEvent"):
        dw.publish_stream(topic, [NewEvent("GOAL"), 7])  # type: ignore[list-item]
    assert published(dw, topic) == []
