"""What all tests share."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest

from draftwire import Draftwire, Event, TokenMinter

from .both import Loop, blocking
from .node import SECRET, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MINTER = TokenMinter(SECRET)
SERVICE = ("service", "subscribe:*")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that no test stops; each test has topics and users of its own."""
    with Node(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node of the test's own."""
    with Node(tmp_path) as node:
        yield node


@pytest.fixture
def node_of_one(tmp_path: Path) -> Iterator[Node]:
    """A node that lists one member of a topic at most."""
    with Node(tmp_path, PRESENCE_LIST_MAX="1") as node:
        yield node


@pytest.fixture(params=["threads", "asyncio"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Draftwire]]:
    """Makes a client, of the one kind and of the other."""
    loop = Loop() if request.param == "asyncio" else None
    clients: list[Draftwire] = []

    def make(url: str, **options: Any) -> Draftwire:
        # Keys are remembered by user: each test has its own.
        token = MINTER.source(f"backend-{secrets.token_hex(4)}", SERVICE)
        options = {"token": token, "deadline": 30.0, **options}
        client = Draftwire(url, **options) if loop is None else blocking(loop, url, **options)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()
    if loop is not None:
        loop.stop()


@pytest.fixture
def dw(shared: Node, connect: Callable[..., Draftwire]) -> Draftwire:
    """A client of the shared node, with all rights of a backend."""
    return connect(shared.url)


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic of the test's own on the shared node."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:100]


def published(dw: Draftwire, topic: str) -> list[object]:
    """Returns the data of all events in a history."""
    return [item.data for item in dw.history(topic) if isinstance(item, Event)]
