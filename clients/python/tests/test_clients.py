"""What is special about either client."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import httpx
import pytest

import draftwire
from draftwire import AsyncDraftwire, ClosedError, ConnectionFailedError, Draftwire, Event, NewEvent
from draftwire._client import Drafts

from .conftest import MINTER, SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .node import Node


def test_both_clients_have_the_same_methods() -> None:
    for one, other in ((Draftwire, AsyncDraftwire), (Drafts, draftwire.AsyncDrafts)):
        names = {name for name in vars(one) if not name.startswith("_")}
        assert names == {name for name in vars(other) if not name.startswith("_")}
        for name in names - {"close", "history", "with_options"}:
            signature = inspect.signature(getattr(one, name))
            assert list(signature.parameters) == list(inspect.signature(getattr(other, name)).parameters)
            assert "Operation" not in str(signature)
            assert inspect.iscoroutinefunction(getattr(other, name))


def test_what_is_public_is_documented() -> None:
    for name in draftwire.__all__:
        value = getattr(draftwire, name)
        if not inspect.isclass(value):
            continue
        assert value.__doc__, name
        for method, function in inspect.getmembers(value, inspect.isfunction):
            assert method.startswith("_") or function.__doc__, f"{name}.{method}"


def test_an_address_that_is_none_is_refused() -> None:
    for url in (
        "",
        "127.0.0.1:8080",
        "ws://127.0.0.1:8080",
        "http://",
        "https://host/?token=x",
        "https://host/#x",
        "http://user:password@host",
        "http://host:port",
    ):
        for client in (Draftwire, AsyncDraftwire):
            with pytest.raises(ValueError, match="address") as refused:
                client(url)
            assert "word" not in str(refused.value)


def test_the_address_may_have_a_path(shared: Node, connect: Callable[..., Draftwire], topic: str) -> None:
    with pytest.raises(draftwire.NotFoundError, match="nothing at this path"):
        connect(f"{shared.url}/below/").publish(topic, "GOAL")
    assert connect(f"{shared.url}/").publish(topic, "GOAL").seq == 1


def test_an_http_client_that_is_given_stays_open(shared: Node, topic: str) -> None:
    token = MINTER.mint("desk", SERVICE)
    with httpx.Client() as http:
        with Draftwire(shared.url, token=token, http=http) as dw:
            dw.publish(topic, "GOAL")
        with pytest.raises(ClosedError):
            dw.publish(topic, "GOAL")
        assert not http.is_closed
    own = Draftwire(shared.url, token=token)
    own.close()
    assert own._transport._http.is_closed


def test_events_may_come_asynchronously(shared: Node, topic: str) -> None:
    async def events() -> AsyncIterator[NewEvent]:
        for n in range(5):
            await asyncio.sleep(0)
            yield NewEvent("TICK", n)

    async def run() -> list[object]:
        async def token() -> str:
            return MINTER.mint("desk", SERVICE)

        async with AsyncDraftwire(shared.url, token=token) as dw:
            done = await dw.publish_stream(topic, events(), events_max=2)
            assert done.requests == 3
            return [item.data async for item in dw.history(topic) if isinstance(item, Event)]

    assert asyncio.run(run()) == list(range(5))


def test_a_token_that_never_comes_is_given_up(shared: Node, topic: str) -> None:
    async def run() -> None:
        async def token() -> str:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async with AsyncDraftwire(shared.url, token=token, timeout=0.1) as dw:
            with pytest.raises(ConnectionFailedError, match="no token came"):
                await dw.publish(topic, "GOAL")

    asyncio.run(run())


def test_a_cancelled_call_ends_at_once_and_leaves_the_client_usable(node: Node) -> None:
    async def run() -> None:
        async with AsyncDraftwire(node.url, token=MINTER.source("desk", SERVICE)) as dw:
            await asyncio.to_thread(node.kill)
            call = asyncio.create_task(dw.publish("ticker", "TICK", 1, key="k"))
            await asyncio.sleep(0)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.to_thread(node.start)
            assert (await dw.publish("ticker", "TICK", 1, key="k")).seq == 1

    asyncio.run(run())
