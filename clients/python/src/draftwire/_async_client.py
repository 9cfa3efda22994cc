"""The client for asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

import httpx

from ._drafts import DraftOperations
from ._errors import ClosedError, ConnectionFailedError
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

    def __init__(self, http: httpx.AsyncClient, owned: bool) -> None:
        self._http = http
        self._owned = owned
        self._closed = asyncio.Event()

    async def run(self, settings: Settings, operation: Operation[T]) -> T:
        try:
            step = next(operation)
            while True:
                step = operation.send(await self._perform(settings, step))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            operation.close()

    async def close(self) -> None:
        self._closed.set()
        if self._owned:
            await self._http.aclose()

    async def _perform(self, settings: Settings, step: Step) -> object:
        if self._closed.is_set():
            raise ClosedError("the client is closed")
        if isinstance(step, Send):
            return await self._send(settings, step)
        if isinstance(step, FetchToken):
            return await _token(settings)
        if isinstance(step, Pause):
            await self._pause(step.seconds)
            return None
        if isinstance(step.source, AsyncIterator):
            return await anext(step.source, END)
        return next(step.source, END)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except asyncio.TimeoutError:
            return

    async def _send(self, settings: Settings, send: Send) -> Answer | Failure:
        try:
            return await asyncio.wait_for(self._answer(settings, send), send.timeout)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            return failure(error)
        except asyncio.TimeoutError:
            return Failure(httpx.ReadTimeout("the answer did not come in time"))
        except RuntimeError:
            # What httpx says when another task has closed it.
            if self._closed.is_set():
                raise ClosedError("the client was closed") from None
            raise

    async def _answer(self, settings: Settings, send: Send) -> Answer:
        async with self._http.stream(**arguments(settings, send)) as response:
            collector = Collector(response, send.timeout)
            async for part in response.aiter_bytes():
                collector.add(part)
            return collector.answer()


async def _token(settings: Settings) -> str | None:
    token = settings.token() if callable(settings.token) else settings.token
    if not inspect.isawaitable(token):
        given: str | None = token
        return given
    try:
        fetched: str | None = await asyncio.wait_for(token, settings.limits.timeout)
    except asyncio.TimeoutError:
        raise ConnectionFailedError(f"no token came within {settings.limits.timeout} s") from None
    return fetched


class _Caller(Generic[Operations_]):
    """Something whose methods are operations."""

    _transport: _Transport
    _settings: Settings
    _operations: Operations_

    async def _run(self, operation: Operation[T]) -> T:
        return await self._transport.run(self._settings, operation)


def _call(
    operation: Callable[Concatenate[Operations_, P], Operation[T]],
) -> Callable[Concatenate[_Caller[Operations_], P], Coroutine[Any, Any, T]]:
    """Returns the method that carries an operation out."""

    async def call(self: _Caller[Operations_], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(operation(self._operations, *args, **kwargs))

    describe(call, operation)
    return call


class AsyncDrafts(_Caller[DraftOperations]):
    """The drafts of the token's user."""

    def __init__(self, transport: _Transport, settings: Settings, operations: DraftOperations) -> None:
        self._transport, self._settings, self._operations = transport, settings, operations

    list = _call(DraftOperations.list)
    get = _call(DraftOperations.get)
    create = _call(DraftOperations.create)
    update = _call(DraftOperations.update)
    delete = _call(DraftOperations.delete)


class AsyncHistory(AsyncIterator["HistoryItem"]):
    """Reads a topic's log to its head; see `Draftwire.history`.

    Attributes:
        cursor: The position behind what was given last, for a later reader to go on from. None as long as
            nothing was read and no cursor was given.
    """

    def __init__(
        self,
        run: Callable[[Operation[HistoryItem | None]], Awaitable[HistoryItem | None]],
        reader: HistoryReader,
    ) -> None:
        self._run = run
        self._reader = reader

    @property
    def cursor(self) -> Cursor | None:
        """The position behind what was given last."""
        return self._reader.cursor

    async def __anext__(self) -> HistoryItem:
        item = await self._run(self._reader.next())
        if item is None:
            raise StopAsyncIteration
        return item


class AsyncDraftwire(_Caller[Operations]):
    """`Draftwire` for asyncio: the same methods, to be awaited.

    Its token function may be a coroutine function; the token has to come within `timeout`. `timeout` limits
    all of an attempt.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | Callable[[], str | Awaitable[str]] | None = None,
        device: str | None = None,
        timeout: float = TIMEOUT,
        deadline: float = DEADLINE,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        settings = Settings(server_url(url), token, device, Limits(timeout, deadline))
        self._set_up(_Transport(http or httpx.AsyncClient(), owned=http is None), settings)

    publish = _call(Operations.publish)
    publish_many = _call(Operations.publish_many)
    publish_user = _call(Operations.publish_user)
    broadcast = _call(Operations.broadcast)
    signal = _call(Operations.signal)
    presence = _call(Operations.presence)
    disconnect = _call(Operations.disconnect)

    async def publish_stream(
        self,
        to: Target,
        events: Iterable[Line] | AsyncIterable[Line],
        *,
        key: str | None = None,
        events_max: int = EVENTS_PER_REQUEST_MAX,
        bytes_max: int = REQUEST_BYTES,
    ) -> StreamPublished:
        """As `Draftwire.publish_stream`; the events may come asynchronously."""
        source = aiter(events) if isinstance(events, AsyncIterable) else iter(events)
        return await self._run(
            self._operations.publish_stream(to, source, key=key, events_max=events_max, bytes_max=bytes_max)
        )

    def history(
        self, topic: str, cursor: Cursor | str | None = None, *, page_size: int = PAGE_SIZE
    ) -> AsyncHistory:
        """As `Draftwire.history`, for `async for`."""
        return AsyncHistory(self._run, self._operations.history(topic, cursor, page_size))

    def with_options(
        self,
        *,
        token: str | Callable[[], str | Awaitable[str]] | Unchanged | None = UNCHANGED,
        device: str | Unchanged | None = UNCHANGED,
        timeout: float | None = None,
        deadline: float | None = None,
    ) -> AsyncDraftwire:
        """As `Draftwire.with_options`."""
        client = AsyncDraftwire.__new__(AsyncDraftwire)
        client._set_up(self._transport, self._settings.changed(token, device, timeout, deadline))
        return client

    async def close(self) -> None:
        """Closes all connections. Calls that wait end with a `ClosedError`."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncDraftwire:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _set_up(self, transport: _Transport, settings: Settings) -> None:
        exchange = Exchange(settings.limits)
        self._transport, self._settings = transport, settings
        self._operations = Operations(exchange, settings.device)
        self.drafts = AsyncDrafts(transport, settings, DraftOperations(exchange, settings.device))
