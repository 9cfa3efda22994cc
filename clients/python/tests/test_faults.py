"""Everything once, whatever fails: killed nodes, lost answers, stores that do not answer."""

from __future__ import annotations

import socket
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

import pytest

from draftwire import (
    ClosedError,
    ConnectionFailedError,
    Draftwire,
    NewEvent,
    StreamPublished,
    UnavailableError,
    UnexpectedAnswerError,
)

from .conftest import MINTER, SERVICE, published
from .nginx import Nginx
from .node import DEADLINE, Node, free_port, wait_until
from .proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def test_a_node_that_is_killed_in_the_middle_of_publishes(
    node: Node, connect: Callable[..., Draftwire]
) -> None:
    dw = connect(node.url, timeout=5.0, deadline=DEADLINE)
    count, at_once = 300, 4
    done: list[int] = []

    def publish(n: int) -> None:
        dw.publish("ticker", "TICK", n)
        done.append(n)

    def reaches(reached: int) -> bool:
        return len(done) >= reached

    with ThreadPoolExecutor(at_once) as pool:
        calls = [pool.submit(publish, n) for n in range(count)]
        for reached in (50, 150):
            wait_until(partial(reaches, reached), "events are published", node.log)
            node.kill()
            node.start()
        for call in calls:
            call.result(DEADLINE)
    assert sorted(published(dw, "ticker"), key=str) == sorted(range(count), key=str)


def test_a_node_that_is_killed_in_the_middle_of_a_stream(
    node: Node, connect: Callable[..., Draftwire]
) -> None:
    dw = connect(node.url, timeout=5.0, deadline=DEADLINE)

    def events() -> Iterator[NewEvent]:
        for n in range(500):
            if n in (100, 333):
                # In the middle of a request, and between two.
                node.kill()
                starting.append(threading.Thread(target=node.start))
                starting[-1].start()
            yield NewEvent("TICK", n)

    starting: list[threading.Thread] = []
    done = dw.publish_stream("ticker", events(), events_max=10)
    for thread in starting:
        thread.join()
    assert done == StreamPublished(500, 50, 1, 500)
    assert published(dw, "ticker") == list(range(500))


def test_a_lost_answer_publishes_nothing_twice(
    shared: Node, connect: Callable[..., Draftwire], topic: str
) -> None:
    with Proxy(shared.port) as proxy:
        dw = connect(proxy.url)
        proxy.lose(3)
        assert dw.publish(topic, "TICK", 0).seq == 1
        proxy.lose(1)
        assert dw.publish_many(topic, [NewEvent("TICK", 1), NewEvent("TICK", 2)]).first == 2
        proxy.lose(1)
        dw.publish_stream(topic, [NewEvent("TICK", n) for n in range(3, 9)], events_max=3)
        proxy.lose(1)
        draft = dw.drafts.create({"n": 1})
        proxy.lose(1)
        assert dw.drafts.update(draft.draft_id, {"n": 2}, if_match=1).version == 2
        proxy.lose(1)
        assert dw.drafts.delete(draft.draft_id, base_version=2).version == 3
        assert proxy.lost == 8
        assert published(dw, topic) == list(range(9))
        assert dw.drafts.list().cursor.seq == 3


def test_a_signal_is_not_sent_twice(shared: Node, connect: Callable[..., Draftwire], topic: str) -> None:
    with Proxy(shared.port) as proxy:
        dw = connect(proxy.url)
        proxy.lose(1)
        with pytest.raises(ConnectionFailedError):
            dw.signal(topic, "TYPING")


def test_a_store_that_does_not_answer(node: Node, connect: Callable[..., Draftwire]) -> None:
    dw = connect(node.url, deadline=DEADLINE)
    unavailable = 'draftwire_errors_total{code="unavailable"}'
    with closing(sqlite3.connect(node.folder / "data" / "draftwire.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError) as refused:
            dw.with_options(deadline=1.5).publish("ticker", "TICK", "given up")
        assert (refused.value.status, refused.value.code) == (503, "unavailable")
        assert refused.value.retry_after == 1.0

        before = node.metric(unavailable)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(dw.publish, "ticker", "TICK", "in the end")
            wait_until(lambda: node.metric(unavailable) > before, "the node has answered 503", node.log)
            database.execute("ROLLBACK")
            assert call.result(DEADLINE).seq >= 1
    assert published(dw, "ticker")[-1] == "in the end"


def test_a_server_that_is_not_there(connect: Callable[..., Draftwire]) -> None:
    dw = connect(f"http://127.0.0.1:{free_port()}", deadline=0.5)
    with pytest.raises(ConnectionFailedError) as failed:
        dw.publish("ticker", "TICK")
    assert failed.value.__cause__ is not None
    # Signals as well: this one was certainly not sent.
    with pytest.raises(ConnectionFailedError):
        dw.signal("ticker", "TYPING")


def test_a_server_that_comes_late(
    tmp_path_factory: pytest.TempPathFactory, connect: Callable[..., Draftwire]
) -> None:
    with Node(tmp_path_factory.mktemp("late")) as node:
        node.kill()
        source = MINTER.source("desk", SERVICE)
        attempts: list[str] = []

        def token() -> str:
            attempts.append(source())
            return attempts[-1]

        dw = connect(node.url, token=token, deadline=DEADLINE)
        with ThreadPoolExecutor(2) as pool:
            signal = pool.submit(dw.signal, "ticker", "TYPING")
            event = pool.submit(dw.publish, "ticker", "TICK", 1)
            wait_until(lambda: signal.done() or len(attempts) >= 4, "both are repeated")
            node.start()
            signal.result(DEADLINE)
            assert event.result(DEADLINE).seq == 1
        assert published(dw, "ticker") == [1]


def test_a_proxy_that_reaches_no_node(node: Node, connect: Callable[..., Draftwire], tmp_path: Path) -> None:
    (tmp_path / "nginx").mkdir()
    with Nginx(tmp_path / "nginx", node.port) as nginx:
        dw = connect(nginx.url, deadline=DEADLINE)
        node.kill()
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(dw.publish, "ticker", "TICK", 1)
            wait_until(lambda: call.done() or nginx.answered(502) > 0, "Nginx answers 502")
            # Nginx may have passed a signal on before the connection to the node failed.
            with pytest.raises(UnexpectedAnswerError, match="502"):
                dw.signal("ticker", "TYPING")
            node.start()
            assert call.result(DEADLINE).seq == 1
        assert published(dw, "ticker") == [1]


class Busy(BaseHTTPRequestHandler):
    """Asks to be tried again after a long time, as no node does."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.send_response(503)
        self.send_header("Retry-After", "400")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def test_closing_ends_calls_that_wait(connect: Callable[..., Draftwire]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server, ThreadPoolExecutor(3) as pool:
        serving = pool.submit(server.serve_forever, 0.01)
        Busy.asked.clear()
        # Longer than any test: the calls do not end by themselves.
        dw = connect(f"http://127.0.0.1:{server.server_port}", deadline=10 * DEADLINE)
        view = dw.with_options(device="view")
        calls = [pool.submit(client.publish, "ticker", "TICK") for client in (dw, view)]
        wait_until(lambda: len(Busy.asked) == 2, "both wait for their next attempts")
        dw.close()
        for call in calls:
            with pytest.raises(ClosedError):
                call.result(DEADLINE)
        with pytest.raises(ClosedError):
            view.publish("ticker", "TICK")
        dw.close()
        server.shutdown()
        serving.result(DEADLINE)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"])
def test_a_peer_that_never_answers_is_given_up(connect: Callable[..., Draftwire], said: bytes) -> None:
    # It accepts and says nothing, or half of an answer and no more: no node does that, a broken proxy may.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections: list[socket.socket] = []

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connections.append(connection)
                    connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        dw = connect(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2, deadline=1.0)
        with pytest.raises(ConnectionFailedError):
            dw.publish("ticker", "TICK")
        # Closing alone does not wake the thread that accepts.
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in connections:
            connection.close()
