"""The asynchronous client behind the face of the other one, so that the same tests hold for both."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, cast

from draftwire import AsyncDraftwire, AsyncHistory, Draftwire

if TYPE_CHECKING:
    from collections.abc import Iterator


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        """What the coroutine returns."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        """Ends the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Face:
    """Waits for whatever the object behind it does."""

    def __init__(self, loop: Loop, behind: Any) -> None:
        self._loop, self._behind = loop, behind

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._behind, name)
        if name == "drafts":
            return _Face(self._loop, value)
        return self._wait_for(value) if callable(value) else value

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return self._loop.run(self._behind.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def _wait_for(self, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if isinstance(result, (AsyncDraftwire, AsyncHistory)):
                return _Face(self._loop, result)
            return self._loop.run(result)

        return call


def blocking(loop: Loop, *args: Any, **options: Any) -> Draftwire:
    """An `AsyncDraftwire` that looks like a `Draftwire`."""

    async def make() -> AsyncDraftwire:
        return AsyncDraftwire(*args, **options)

    return cast("Draftwire", _Face(loop, loop.run(make())))
