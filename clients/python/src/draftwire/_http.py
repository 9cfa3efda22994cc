"""What both clients know of HTTP: settings, requests for httpx, answers that come part by part."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import httpx

from ._errors import UnexpectedAnswerError
from ._exchange import Failure, Limits
from ._wire import ANSWER_BYTES_MAX, Answer

if TYPE_CHECKING:
    from ._exchange import Send

TIMEOUT: Final = 10.0
"""How long one attempt takes at most when nothing else is asked for, in seconds."""

DEADLINE: Final = 60.0
"""How long a call takes at most with its repetitions when nothing else is asked for, in seconds."""


class Unchanged:
    """Stands for an option that is not given, where None has a meaning."""


UNCHANGED: Final = Unchanged()


@dataclass(frozen=True, slots=True)
class Settings:
    """How a client was made.

    Attributes:
        url: The server, without a slash at the end.
        token: The token, or a function that returns it.
        device: The `origin` of what the client does.
        limits: How long its calls take.
    """

    url: str
    token: Any
    device: str | None
    limits: Limits

    def changed(
        self,
        token: Any,
        device: str | Unchanged | None,
        timeout: float | None,
        deadline: float | None,
    ) -> Settings:
        """Returns the settings with other options."""
        return replace(
            self,
            token=self.token if isinstance(token, Unchanged) else token,
            device=self.device if isinstance(device, Unchanged) else device,
            limits=Limits(timeout or self.limits.timeout, deadline or self.limits.deadline),
        )


def server_url(url: str) -> str:
    """Returns the address of a server as requests need it.

    Raises:
        ValueError: It is no such address.
    """
    # No error quotes it: it may hold a password.
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError("this is no address of a server: give one with http:// or https://") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("the address of a server has http:// or https:// and a host")
    if parsed.query or parsed.fragment or parsed.userinfo:
        raise ValueError("the address of a server has no user, query or fragment")
    return str(parsed).rstrip("/")


def arguments(settings: Settings, send: Send) -> dict[str, Any]:
    """Returns what httpx has to be given to send a request."""
    request = send.request
    headers = {"accept": "application/json, application/problem+json", **request.headers}
    if request.body is not None:
        headers.setdefault("content-type", "application/json")
    if send.token is not None:
        headers["authorization"] = f"Bearer {send.token}"
    return {
        "method": request.method,
        "url": settings.url + request.path,
        # As bytes: what no header can say is refused by the server, by name.
        "headers": {name: value.encode(errors="replace") for name, value in headers.items()},
        "content": request.body,
        "timeout": send.timeout,
        "follow_redirects": False,
    }


def failure(error: httpx.RequestError | httpx.InvalidURL) -> Failure:
    """Returns what an error of httpx means for the request."""
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL)):
        return Failure(error, sent=False, passes=False)
    unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
    return Failure(error, sent=not isinstance(error, unsent))


class Collector:
    """Puts an answer together, within bounds of size and time."""

    def __init__(self, response: httpx.Response, timeout: float) -> None:
        self._response = response
        self._body = bytearray()
        self._end_at = time.monotonic() + timeout

    def add(self, part: bytes) -> None:
        """Adds a part of the body.

        Raises:
            UnexpectedAnswerError: It is too large.
            httpx.ReadTimeout: It comes too slowly: httpx itself only limits the time between two parts.
        """
        self._body += part
        if len(self._body) > ANSWER_BYTES_MAX:
            detail = f"the answer is larger than {ANSWER_BYTES_MAX} bytes"
            raise UnexpectedAnswerError(self._response.status_code, detail)
        if time.monotonic() > self._end_at:
            raise httpx.ReadTimeout("the answer did not come to its end")

    def answer(self) -> Answer:
        """Returns the whole answer."""
        headers = {name.lower(): value for name, value in self._response.headers.items()}
        return Answer(self._response.status_code, headers, bytes(self._body))
