"""Drafts of the token's user, over HTTP. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from ._values import Cursor, DraftChanged, DraftList
from ._wire import Request, encode, get, get_list, new_key, path, read, read_draft

if TYPE_CHECKING:
    from ._exchange import Exchange, Operation
    from ._values import Content, Draft, Json
    from ._wire import Answer

IfMatch: TypeAlias = int | Literal["*"]
"""The version that a draft must have; `*` for any."""


@dataclass(frozen=True, slots=True)
class DraftOperations:
    """What can be done with drafts.

    Attributes:
        exchange: Sends the requests.
        device: The `origin` of changes; the server says `http` when it is None.
    """

    exchange: Exchange
    device: str | None = None

    def list(self) -> Operation[DraftList]:
        """Returns all drafts that are not deleted, and where in the user's stream they stand."""
        return self.exchange.read(Request("GET", path("drafts")), _draft_list)

    def get(self, draft_id: str) -> Operation[Draft]:
        """Returns a draft."""
        return self.exchange.read(Request("GET", path("drafts", draft_id)), _draft)

    def create(
        self,
        content: Content,
        *,
        draft_id: str | None = None,
        kind: str | None = None,
        key: str | None = None,
    ) -> Operation[DraftChanged]:
        """Creates a draft.

        Args:
            content: A JSON object.
            draft_id: Its id; without, the server makes one.
            kind: The kind of document; without, `draft`.
            key: The idempotency key.
        """
        named = {"draftId": draft_id, "kind": kind}
        body = {"content": content, **{name: value for name, value in named.items() if value is not None}}
        return self._change("POST", path("drafts", query=self._query()), key, None, body)

    def update(
        self,
        draft_id: str,
        patch: Content,
        *,
        base_version: int | None = None,
        if_match: IfMatch | None = None,
        key: str | None = None,
    ) -> Operation[DraftChanged]:
        """Changes a draft; either `base_version` or `if_match` says on which version the patch was made.

        Args:
            draft_id: The draft.
            patch: What changes (RFC 7396): what it names is set, None removes.
            base_version: Merges: changes of other fields since this version stay. Changes of the same fields
                are a `ConflictError`.
            if_match: Demands that the draft has this very version; otherwise a `ConflictError` of status 412.
            key: The idempotency key.
        """
        query = self._query(base_version)
        return self._change("PATCH", path("drafts", draft_id, query=query), key, if_match, patch)

    def delete(
        self,
        draft_id: str,
        *,
        base_version: int | None = None,
        if_match: IfMatch | None = None,
        key: str | None = None,
    ) -> Operation[DraftChanged]:
        """Deletes a draft, whatever its version is unless one is given. Its id is not used again.

        Args:
            draft_id: The draft.
            base_version: Any change since this version is a `ConflictError`.
            if_match: As for `update`.
            key: The idempotency key.
        """
        query = self._query(base_version)
        return self._change("DELETE", path("drafts", draft_id, query=query), key, if_match)

    def _query(self, base_version: int | None = None) -> dict[str, str | None]:
        return {"device": self.device, "baseVersion": None if base_version is None else str(base_version)}

    def _change(
        self, method: str, where: str, key: str | None, if_match: IfMatch | None, body: Json = None
    ) -> Operation[DraftChanged]:
        headers = {"idempotency-key": new_key() if key is None else key}
        if if_match is not None:
            headers["if-match"] = if_match if if_match == "*" else f'"{if_match}"'
        request = Request(method, where, headers, None if body is None else encode(body))
        return self.exchange.read(request, _changed)


def _draft(answer: Answer) -> Draft:
    return read_draft(read(answer))


def _draft_list(answer: Answer) -> DraftList:
    body = read(answer)
    drafts = tuple(map(read_draft, get_list(body, "drafts", dict)))
    return DraftList(drafts, Cursor(get(body, "epoch", str), get(body, "seq", int)))


def _changed(answer: Answer) -> DraftChanged:
    body = read(answer)
    seq = None if body.get("seq") is None else get(body, "seq", int)
    return DraftChanged(get(body, "draftId", str), get(body, "version", int), seq)
