"""Who is present, and ending connections, against a real node."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from draftwire import BadRequestError, Draftwire, ForbiddenError, Member, Presence

from .conftest import MINTER
from .device import Device
from .node import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from .node import Node


def present(node: Node, user_id: str, device: str, topic: str) -> Device:
    """Returns a device that is present in a topic."""
    socket = Device(node, MINTER.mint(user_id, ["subscribe:*"]), device)
    socket.send("SUBSCRIBE", {"topic": topic, "presence": True})
    while socket.next()["type"] != "PRESENCE":
        pass
    return socket


def test_who_is_present_in_a_topic(shared: Node, dw: Draftwire, topic: str) -> None:
    wait_until(lambda: dw.presence(topic).complete, "the node hears itself")
    assert dw.presence(topic) == Presence((), 0, 0, complete=True)
    with present(shared, "alice", "phone", topic), present(shared, "bob", "tv", topic):
        members = (Member("alice", "phone"), Member("bob", "tv"))
        assert dw.presence(topic) == Presence(members, 2, 2, complete=True)
    wait_until(lambda: dw.presence(topic).members == (), "both are gone")
    with pytest.raises(ForbiddenError):
        dw.with_options(token=MINTER.source("stranger")).presence(topic)


def test_of_many_only_their_number(node_of_one: Node, connect: Callable[..., Draftwire], topic: str) -> None:
    dw = connect(node_of_one.url)
    with present(node_of_one, "alice", "phone", topic), present(node_of_one, "alice", "tv", topic):
        found = dw.presence(topic)
        assert (found.members, found.users, found.devices) == (None, 1, 2)


def test_a_user_is_disconnected_once_for_each_key(
    shared: Node, connect: Callable[..., Draftwire], topic: str
) -> None:
    user_id = f"user-{topic}"
    dw = connect(shared.url, token=MINTER.source(user_id, ["admin"]))
    token = MINTER.mint(user_id)
    with Device(shared, token, "phone") as device:
        seq = dw.disconnect(user_id, reason="rights have changed: ⚽", key="once").seq
        assert device.closed() == (4410, "rights have changed: ⚽")
    with Device(shared, token, "phone") as device:
        assert dw.disconnect(user_id, reason="rights have changed: ⚽", key="once").seq == seq
        device.send("PING", None)
        assert device.next()["type"] == "PONG"
        assert dw.disconnect(user_id, code=4403).seq > seq
        assert device.closed()[0] == 4403


def test_what_cannot_be_asked_for_is_refused(
    shared: Node, dw: Draftwire, connect: Callable[..., Draftwire]
) -> None:
    with pytest.raises(ForbiddenError, match="the scope admin"):
        dw.disconnect("alice")
    admin = connect(shared.url, token=MINTER.source("operator", ["admin"]))
    for reason in ["", "x" * 124]:
        with pytest.raises(BadRequestError, match="reason must be 1 to 123 bytes"):
            admin.disconnect("alice", reason=reason)
    with pytest.raises(BadRequestError, match="code must be 4410 or 4403"):
        admin.disconnect("alice", code=cast("Literal[4410]", 1000))
    with pytest.raises(BadRequestError):
        admin.disconnect("..")
