"""What a backend can ask of the server, each thing once for both clients. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ._errors import DraftwireError
from ._history import HistoryReader
from ._publishing import Chunker, line
from ._values import All, Disconnected, NewEvent, Published, StreamPublished, User
from ._wire import Answer, Request, encode, encode_event, get, new_key, path, read, read_presence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ._exchange import Exchange, Operation
    from ._publishing import Line, Source
    from ._values import Cursor, Json, Presence, Priority, Target

_NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Operations:
    """Everything but drafts.

    Attributes:
        exchange: Sends the requests.
        device: The `origin` of what is published; the server says `http` when it is None.
    """

    exchange: Exchange
    device: str | None = None

    def publish(
        self,
        to: Target,
        event: str,
        data: Json = None,
        *,
        priority: Priority = "normal",
        key: str | None = None,
    ) -> Operation[Published]:
        """Publishes one event, and returns its number once it is durable.

        Args:
            to: The name of a topic, `User(…)` or `ALL`.
            event: The type of the event, 1 to 64 characters of `A-Z 0-9 _`.
            data: What it carries.
            priority: Whether it waits in batch windows.
            key: The idempotency key, 1 to 64 characters. One that is made from what is published, such as
                the id of a row, also makes calling this function again safe, for 24 hours by default.
        """
        return self._publish(self._post(to, encode_event(NewEvent(event, data, priority)), key))

    def publish_many(
        self, to: Target, events: Iterable[Line], *, key: str | None = None
    ) -> Operation[Published]:
        """Publishes up to 1000 events together, all or none; their numbers are consecutive.

        Args:
            to: The name of a topic, `User(…)` or `ALL`.
            events: The events, or their JSON texts.
            key: The idempotency key of all of them.
        """
        body = b"[" + b",".join(text for text in map(line, events) if text) + b"]"
        return self._publish(self._post(to, body, key))

    def publish_user(
        self,
        user_id: str,
        event: str,
        data: Json = None,
        *,
        priority: Priority = "normal",
        key: str | None = None,
    ) -> Operation[Published]:
        """Publishes one event to a user's own stream: `publish` to `User(user_id)`."""
        return self.publish(User(user_id), event, data, priority=priority, key=key)

    def broadcast(
        self, event: str, data: Json = None, *, priority: Priority = "normal", key: str | None = None
    ) -> Operation[Published]:
        """Publishes one event to everybody: `publish` to `ALL`."""
        return self.publish(All(), event, data, priority=priority, key=key)

    def publish_stream(
        self, to: Target, source: Source, *, key: str | None, events_max: int, bytes_max: int
    ) -> Operation[StreamPublished]:
        """Publishes the events of a source, request after request."""
        chunker = Chunker(source, events_max, bytes_max)
        key = key or new_key()
        done = StreamPublished()
        while lines := (yield from chunker.next()):
            # Of one width, so that a key which is too long is refused with the first request.
            body = b"\n".join(lines)
            request = self._post(to, body, f"{key}.{done.requests:06}", {"content-type": _NDJSON})
            try:
                published = yield from self._publish(request)
            except DraftwireError as error:
                error.committed = done
                raise
            first = published.first if done.first is None else done.first
            done = StreamPublished(done.events + len(lines), done.requests + 1, first, published.seq)
        return done

    def signal(self, to: Target, event: str, data: Json = None) -> Operation[None]:
        """Sends what is true only now to those who follow at this moment.

        It is not stored, and reaches each of them at most once. So it is repeated only after failures that
        show that it was not sent.

        Args:
            to: The name of a topic, `User(…)` or `ALL`.
            event: The type of the signal, 1 to 64 characters of `A-Z 0-9 _`.
            data: What it carries.
        """
        body = encode({"event": event, "data": data, "signal": True})
        request = Request("POST", self._events(to), body=body, repeatable=False)
        yield from self.exchange.answer(request)

    def presence(self, topic: str) -> Operation[Presence]:
        """Returns who is present in a topic, through any node of the server."""
        return self.exchange.read(Request("GET", path("topics", topic, "presence")), read_presence)

    def disconnect(
        self,
        user_id: str,
        *,
        code: Literal[4410, 4403] | None = None,
        reason: str | None = None,
        key: str | None = None,
    ) -> Operation[Disconnected]:
        """Ends the connections that a user has at this moment, on every node; it needs the scope `admin`.

        It takes no right away: clients come back with a fresh token, and so do those that were told to stay
        away, once the user signs in.

        Args:
            user_id: The user.
            code: The close code: 4410 when it is None, after which clients come back with a fresh token;
                after 4403 they stay away.
            reason: What the clients are told, 1 to 123 bytes of UTF-8.
            key: The idempotency key, 1 to 64 characters; a random one when it is None.
        """
        body = encode({"code": code, "reason": reason})
        headers = {"idempotency-key": new_key() if key is None else key}
        where = path("admin", "users", user_id, "disconnect", query={"device": self.device})
        return self.exchange.read(Request("POST", where, headers, body), _disconnected)

    def history(self, topic: str, cursor: Cursor | str | None, page_size: int) -> HistoryReader:
        """Returns a reader of a topic's history."""
        return HistoryReader(self.exchange, topic, cursor, page_size)

    def _post(
        self, to: Target, body: bytes, key: str | None, headers: Mapping[str, str] | None = None
    ) -> Request:
        headers = {**(headers or {}), "idempotency-key": new_key() if key is None else key}
        return Request("POST", self._events(to), headers, body)

    def _publish(self, request: Request) -> Operation[Published]:
        return self.exchange.read(request, _published)

    def _events(self, to: Target) -> str:
        device = {"device": self.device}
        if isinstance(to, User):
            return path("users", to.user_id, "events", query=device)
        if isinstance(to, All):
            return path("broadcast", query=device)
        return path("topics", to, "events", query=device)


def _disconnected(answer: Answer) -> Disconnected:
    return Disconnected(get(read(answer), "seq", int))


def _published(answer: Answer) -> Published:
    numbers = read(answer)
    return Published(get(numbers, "first", int), get(numbers, "seq", int))
