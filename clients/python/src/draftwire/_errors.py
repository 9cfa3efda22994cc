"""What can go wrong, with the protocol's codes and words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._values import Draft, Json, StreamPublished


class DraftwireError(Exception):
    """Any failure of a call.

    Attributes:
        committed: For `publish_stream`, what it had committed before it failed. None for other calls.
    """

    committed: StreamPublished | None = None


class ClosedError(DraftwireError):
    """The client was closed before the call ended."""


class InvalidRequestError(DraftwireError):
    """The request cannot be sent, whatever the server is: a header holds a line end, for instance."""


class ConnectionFailedError(DraftwireError):
    """No answer came within the deadline; `__cause__` is the last failure.

    A change may have been committed all the same. Repeating it under the same key is always right.
    """


class UnexpectedAnswerError(DraftwireError):
    """The answer is none of the protocol: another server or a proxy has answered.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class RefusedError(DraftwireError):
    """The server has refused the request; its subclasses are the protocol's codes.

    Attributes:
        code: The code of the protocol.
        status: The HTTP status, which sometimes says more than the code.
        detail: Why, for developers. The text may change from one version of the server to the next.
        payload: What comes with the code; None when nothing does.
        retry_after: After how many seconds the server asked to be tried again; None when it did not.
    """

    def __init__(
        self, code: str, status: int, detail: str, payload: Json = None, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.status = status
        self.detail = detail
        self.payload = payload
        self.retry_after = retry_after


class BadRequestError(RefusedError):
    """`bad_request`: the request is malformed. Repeating it unchanged is pointless."""


class UnauthorizedError(RefusedError):
    """`unauthorized`: no valid token."""


class ForbiddenError(RefusedError):
    """`forbidden`: a valid token without the right."""


class NotFoundError(RefusedError):
    """`not_found`: there is no such draft, or no longer."""


class ConflictError(RefusedError):
    """`conflict`: the change meets another one made since its base. Nothing was changed.

    Attributes:
        draft: The draft as it stands; None when it was deleted, or when `status` is 412.
        fields: The JSON pointers (RFC 6901) of the fields that both changes touch; empty when that is the
            whole draft.
        version: The version of the draft as it stands, where it is known.
    """

    draft: Draft | None = None
    fields: Sequence[str] = ()
    version: int | None = None


class TooLargeError(RefusedError):
    """`too_large`: over a limit of size or number."""


class RateLimitedError(RefusedError):
    """`rate_limited`: too many requests until the deadline."""


class UnavailableError(RefusedError):
    """`unavailable`: the store did not answer until the deadline, or too much was waiting.

    A change was not acknowledged, and may have been committed in a rare case. Repeating it under the same key
    is always right.
    """


REFUSALS: dict[str, type[RefusedError]] = {
    "bad_request": BadRequestError,
    "unauthorized": UnauthorizedError,
    "forbidden": ForbiddenError,
    "not_found": NotFoundError,
    "conflict": ConflictError,
    "too_large": TooLargeError,
    "rate_limited": RateLimitedError,
    "unavailable": UnavailableError,
}
"""The error of each code. A code of a newer server is a plain `RefusedError`."""
