"""Draftwire for backends: tokens, publishing, history and drafts over HTTP.

`Draftwire` is for threads, `AsyncDraftwire` for asyncio; `TokenMinter` signs tokens. Every failure of a call
is a `DraftwireError`.
"""

from ._async_client import AsyncDrafts, AsyncDraftwire, AsyncHistory
from ._client import Drafts, Draftwire, History
from ._errors import (
    BadRequestError,
    ClosedError,
    ConflictError,
    ConnectionFailedError,
    DraftwireError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from ._tokens import TokenMinter, TokenSource
from ._values import (
    ALL,
    All,
    Cursor,
    Draft,
    DraftChanged,
    DraftList,
    Event,
    HistoryChanged,
    HistoryItem,
    Missed,
    NewEvent,
    Priority,
    Published,
    StreamPublished,
    Target,
    User,
)

__all__ = [
    "ALL",
    "All",
    "AsyncDrafts",
    "AsyncDraftwire",
    "AsyncHistory",
    "BadRequestError",
    "ClosedError",
    "ConflictError",
    "ConnectionFailedError",
    "Cursor",
    "Draft",
    "DraftChanged",
    "DraftList",
    "Drafts",
    "Draftwire",
    "DraftwireError",
    "Event",
    "ForbiddenError",
    "History",
    "HistoryChanged",
    "HistoryItem",
    "InvalidRequestError",
    "Missed",
    "NewEvent",
    "NotFoundError",
    "Priority",
    "Published",
    "RateLimitedError",
    "RefusedError",
    "StreamPublished",
    "Target",
    "TokenMinter",
    "TokenSource",
    "TooLargeError",
    "UnauthorizedError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "User",
]
