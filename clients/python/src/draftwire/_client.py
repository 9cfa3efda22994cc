"""The client for threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, TypeVar

import httpx

from ._drafts import DraftOperations
from ._errors import ClosedError
from ._exchange import END, Exchange, Failure, FetchToken, Limits, Pause, Send, describe
from ._history import PAGE_SIZE, HistoryReader
from ._http import (
    DEADLINE,
    TIMEOUT,
    UNCHANGED,
    Collector,
    Settings,
    Unchanged,
    arguments,
    failure,
    server_url,
)
from ._operations import Operations
from ._publishing import EVENTS_PER_REQUEST_MAX, REQUEST_BYTES

if TYPE_CHECKING:
    from types import TracebackType

    from ._exchange import Operation, Step
    from ._publishing import Line
    from ._values import Cursor, HistoryItem, StreamPublished, Target
    from ._wire import Answer

Operations_ = TypeVar("Operations_")
P = ParamSpec("P")
T = TypeVar("T")


class _Transport:
    """Performs the steps of operations."""

    def __init__(self, http: httpx.Client, owned: bool) -> None:
        self._http = http
        self._owned = owned
        self._closed = threading.Event()

    def run(self, settings: Settings, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                step = operation.send(self._perform(settings, step))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            operation.close()

    def close(self) -> None:
        self._closed.set()
        if self._owned:
            self._http.close()

    def _perform(self, settings: Settings, step: Step) -> object:
        if self._closed.is_set():
            raise ClosedError("the client is closed")
        if isinstance(step, Send):
            return self._send(settings, step)
        if isinstance(step, FetchToken):
            return settings.token() if callable(settings.token) else settings.token
        if isinstance(step, Pause):
            return self._closed.wait(step.seconds)
        return next(step.source, END)

    def _send(self, settings: Settings, send: Send) -> Answer | Failure:
        try:
            with self._http.stream(**arguments(settings, send)) as response:
                collector = Collector(response, send.timeout)
                for part in response.iter_bytes():
                    collector.add(part)
                return collector.answer()
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return failure(error)
        except RuntimeError:
            # What httpx says when another thread has closed it.
            if self._closed.is_set():
                raise ClosedError("the client was closed") from None
            raise


class _Caller(Generic[Operations_]):
    """Something whose methods are operations."""

    _transport: _Transport
    _settings: Settings
    _operations: Operations_

    def _run(self, operation: Operation[T]) -> T:
        return self._transport.run(self._settings, operation)


def _call(
    operation: Callable[Concatenate[Operations_, P], Operation[T]],
) -> Callable[Concatenate[_Caller[Operations_], P], T]:
    """Returns the method that carries an operation out."""

    def call(self: _Caller[Operations_], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(operation(self._operations, *args, **kwargs))

    describe(call, operation)
    return call


class Drafts(_Caller[DraftOperations]):
    """The drafts of the token's user."""

    def __init__(self, transport: _Transport, settings: Settings, operations: DraftOperations) -> None:
        self._transport, self._settings, self._operations = transport, settings, operations

    list = _call(DraftOperations.list)
    get = _call(DraftOperations.get)
    create = _call(DraftOperations.create)
    update = _call(DraftOperations.update)
    delete = _call(DraftOperations.delete)


class History(Iterator["HistoryItem"]):
    """Reads a topic's log to its head; see `Draftwire.history`.

    Attributes:
        cursor: The position behind what was given last, for a later reader to go on from. None as long as
            nothing was read and no cursor was given.
    """

    def __init__(
        self, run: Callable[[Operation[HistoryItem | None]], HistoryItem | None], reader: HistoryReader
    ):
        self._run = run
        self._reader = reader

    @property
    def cursor(self) -> Cursor | None:
        """The position behind what was given last."""
        return self._reader.cursor

    def __next__(self) -> HistoryItem:
        item = self._run(self._reader.next())
        if item is None:
            raise StopIteration
        return item


class Draftwire(_Caller[Operations]):
    """A connection of a backend to a Draftwire server, for any number of threads.

    Requests are repeated after failures that pass, with growing, random pauses: after 429 and 503, which may
    say how long to wait, and when a connection failed, the one of a proxy to its node (502, 504) included.
    Everything that changes something has an idempotency key that stays the same, so nothing happens twice.

    Args:
        url: Where the server is, `https://sync.example.com`.
        token: A token, or a function that returns a valid one, such as `TokenMinter.source` gives. It is
            called before each attempt. Public topics can be read without a token.
        device: The `origin` of what this client does, and a part of the key under which it is remembered; the
            server says `http` when it is None.
        timeout: How long one attempt takes at most, in seconds: the time until a connection, until each part
            of the answer, and for its body.
        deadline: How long a call takes at most with all its repetitions, in seconds; for `publish_stream` and
            `history`, each of their requests.
        http: An httpx client to use, with a proxy or certificates of its own, for instance. Who made it also
            closes it.

    Attributes:
        drafts: The drafts of the token's user.

    Raises:
        ValueError: The address or a time makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | Callable[[], str] | None = None,
        device: str | None = None,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
        http: httpx.Client | None = None,
    ) -> None:
        settings = Settings(server_url(url), token, device, Limits(timeout, deadline))
        self._set_up(_Transport(http or httpx.Client(), owned=http is None), settings)

    publish = _call(Operations.publish)
    publish_many = _call(Operations.publish_many)
    publish_user = _call(Operations.publish_user)
    broadcast = _call(Operations.broadcast)
    signal = _call(Operations.signal)
    presence = _call(Operations.presence)
    disconnect = _call(Operations.disconnect)

    def publish_stream(
        self,
        to: Target,
        events: Iterable[Line],
        *,
        key: str | None = None,
        events_max: int = EVENTS_PER_REQUEST_MAX,
        bytes_max: int = REQUEST_BYTES,
    ) -> StreamPublished:
        """Publishes any number of events in their order, in requests of a bounded size, one after the other.

        Each request has an idempotency key of its own, made from `key` and its number. To start over, after
        a crash for instance, give the same events with the same `key` and bounds: none is published twice.
        Other events under the same key are refused.

        Args:
            to: The name of a topic, `User(…)` or `ALL`.
            events: The events, or their JSON texts, such as the lines of an NDJSON file.
            key: The beginning of the idempotency keys, at most 57 characters; a random one when it is None.
            events_max: The most events in a request.
            bytes_max: The most bytes in a request; a larger event is alone in one.
        """
        return self._run(
            self._operations.publish_stream(
                to, iter(events), key=key, events_max=events_max, bytes_max=bytes_max
            )
        )

    def history(
        self, topic: str, cursor: Cursor | str | None = None, *, page_size: int = PAGE_SIZE
    ) -> History:
        """Reads what the log holds of a topic, up to its head; page after page, as it is iterated over.

        It gives each `Event`; a `Missed` where retention has removed events before they were read; and a
        `HistoryChanged` where the cursor is no position in the present history, whose oldest events follow.

        Args:
            topic: The name of the topic.
            cursor: Where to go on; without, the oldest events that are kept come first.
            page_size: How many events are read at a time, 1 to 1000.

        Raises:
            ValueError: `cursor` is a text that is none.
        """
        return History(self._run, self._operations.history(topic, cursor, page_size))

    def with_options(
        self,
        *,
        token: str | Callable[[], str] | Unchanged | None = UNCHANGED,
        device: str | Unchanged | None = UNCHANGED,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> Draftwire:
        """Returns a client with other options. It shares the connections, and is closed with this one."""
        client = Draftwire.__new__(Draftwire)
        client._set_up(self._transport, self._settings.changed(token, device, timeout, deadline))
        return client

    def close(self) -> None:
        """Closes all connections. Calls that wait end with a `ClosedError`."""
        self._transport.close()

    def __enter__(self) -> Draftwire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_up(self, transport: _Transport, settings: Settings) -> None:
        exchange = Exchange(settings.limits)
        self._transport, self._settings = transport, settings
        self._operations = Operations(exchange, settings.device)
        self.drafts = Drafts(transport, settings, DraftOperations(exchange, settings.device))
