"""Requests and answers as they go over HTTP. Pure."""

from __future__ import annotations

import email.utils
import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from ._errors import (
    REFUSALS,
    BadRequestError,
    ConflictError,
    InvalidRequestError,
    RefusedError,
    UnexpectedAnswerError,
)
from ._values import Cursor, Draft, Event, Member, NewEvent, Presence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._values import Json

T = TypeVar("T")

ANSWER_BYTES_MAX = 128 * 1024 * 1024
"""The largest answer that is read. By default all drafts of a user, or a page of a history, need less."""

_QUOTED_MAX = 200
"""How much of an answer that is none of the protocol an error quotes, in characters."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request, without its token.

    Attributes:
        repeatable: Whether it may be sent again after a failure that leaves open whether it was carried out.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end. The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def path(*names: str, query: Mapping[str, str | None] | None = None) -> str:
    """Returns the path of a resource below `/v1`, from names that are not escaped yet."""
    for name in names:
        if name in (".", ".."):
            raise BadRequestError("bad_request", 400, f"{name} is no name: the path of a URL loses it")
    given = {name: value for name, value in (query or {}).items() if value is not None}
    escaped = "/".join(quote(_text(name), safe="") for name in names)
    return f"/v1/{escaped}" + (f"?{urlencode(given)}" if given else "")


def _text(name: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{name!r} is no Unicode text") from error


def new_key() -> str:
    """Returns an idempotency key that nobody else has."""
    return secrets.token_hex(16)


def encode(value: Json) -> bytes:
    """Returns the JSON text of a value, in UTF-8.

    What is no JSON although Python writes it, such as NaN or half of a surrogate pair, is left to the server,
    which refuses it by name.

    Raises:
        TypeError: The value holds what JSON cannot say.
    """
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def encode_event(event: NewEvent) -> bytes:
    """Returns the JSON text of an event to publish; it has no line end in it."""
    fields: dict[str, Json] = {"event": event.event, "data": event.data}
    if event.priority != "normal":
        fields["priority"] = event.priority
    return encode(fields)


def retry_after(answer: Answer, now: float) -> float | None:
    """Returns the seconds of `Retry-After` (RFC 9110 section 10.2.3), or None when there are none.

    Args:
        answer: The answer.
        now: The wall clock, in Unix seconds: the header may be a date.
    """
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None


def refusal(answer: Answer, now: float) -> RefusedError | UnexpectedAnswerError:
    """Returns the error for an answer that is no success."""
    try:
        problem = _object(json.loads(answer.body))
        code, detail, payload = get(problem, "code", str), get(problem, "detail", str), problem.get("payload")
        error = REFUSALS.get(code, RefusedError)(
            code, answer.status, detail, payload, retry_after(answer, now)
        )
        if isinstance(error, ConflictError):
            _read_conflict(error)
    except (ValueError, RecursionError):
        return unexpected(answer)
    return error


def _read_conflict(error: ConflictError) -> None:
    payload = error.payload
    if not isinstance(payload, dict) or "draftId" not in payload:
        return
    if "fields" in payload:
        error.fields = tuple(get_list(payload, "fields", str))
        error.draft = None if payload.get("draft") is None else read_draft(payload["draft"])
    error.version = error.draft.version if error.draft else payload.get("version")


def unexpected(answer: Answer) -> UnexpectedAnswerError:
    """Returns the error for an answer that is none of the protocol."""
    where = answer.headers.get("location")
    said = f"a redirect to {where}" if where else repr(answer.body[:_QUOTED_MAX].decode(errors="replace"))
    return UnexpectedAnswerError(
        answer.status, f"status {answer.status} is no answer of a Draftwire server: {said}"
    )


def read(answer: Answer) -> dict[str, Any]:
    """Returns the object in an answer.

    Raises:
        ValueError: There is none.
    """
    return _object(json.loads(answer.body))


def read_draft(value: Json) -> Draft:
    """Reads a draft.

    Raises:
        ValueError: The value is none.
    """
    draft = _object(value)
    return Draft(
        get(draft, "draftId", str),
        get(draft, "version", int),
        get(draft, "kind", str),
        _object(draft.get("content")),
        get(draft, "updatedAt", int),
    )


def read_event(value: Json) -> Event:
    """Reads an event.

    Raises:
        ValueError: The value is none.
    """
    event = _object(value)
    return Event(
        get(event, "type", str),
        get(event, "seq", int),
        get(event, "timestamp", int),
        get(event, "origin", str),
        event.get("payload"),
        event.get("priority", "normal"),
    )


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a history."""

    epoch: str
    head: int
    floor: int
    events: tuple[Event, ...]
    cursor: Cursor


def read_page(answer: Answer) -> Page:
    """Reads a page of a history.

    Raises:
        ValueError: The answer is none.
    """
    page = read(answer)
    return Page(
        get(page, "epoch", str),
        get(page, "head", int),
        get(page, "floor", int),
        tuple(map(read_event, get_list(page, "events", dict))),
        Cursor.parse(get(page, "cursor", str)),
    )


def read_presence(answer: Answer) -> Presence:
    """Reads who is present.

    Raises:
        ValueError: The answer does not say it.
    """
    presence = read(answer)
    members = None if "members" not in presence else tuple(map(_member, get_list(presence, "members", dict)))
    return Presence(
        members, get(presence, "users", int), get(presence, "devices", int), get(presence, "complete", bool)
    )


def _member(member: dict[str, Json]) -> Member:
    user_id = get(member, "userId", str) if "userId" in member else None
    return Member(user_id, get(member, "device", str))


def _object(value: Json) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise ValueError("an object is missing")  # noqa: TRY004 it is the server's fault, not the caller's
    return value


def get(fields: dict[str, Json], name: str, kind: type[T]) -> T:
    """Returns a field of an object.

    Raises:
        ValueError: It is not there, or of another type.
    """
    value = fields.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"the field {name} is missing")  # noqa: TRY004 as above
    return value


def get_list(fields: dict[str, Json], name: str, kind: type[T]) -> list[T]:
    """Returns a field that is a list.

    Raises:
        ValueError: It is not there, or holds values of another type.
    """
    values = get(fields, name, list)
    if not all(isinstance(value, kind) for value in values):
        raise ValueError(f"the field {name} holds something else")
    return values
