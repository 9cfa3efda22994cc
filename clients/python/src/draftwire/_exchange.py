"""A request, sent until it is answered. Pure: what has to be done outside is asked for, step by step.

An `Operation` is a generator. It yields a `Step`, is sent its outcome, and returns the result of the call.
The two clients differ only in how they perform steps.
"""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import update_wrapper
from typing import Any, Final, TypeAlias, TypeVar, cast

from ._errors import ConnectionFailedError, InvalidRequestError
from ._wire import Answer, Request, refusal, retry_after, unexpected

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FetchToken:
    """Asks for the token; its outcome is a `str`, or None where there is none."""


@dataclass(frozen=True, slots=True)
class Send:
    """Asks to send a request once; its outcome is an `Answer` or a `Failure`."""

    request: Request
    token: str | None
    timeout: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Asks to wait for some seconds; it has no outcome."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pull:
    """Asks for the next item of what the caller gives; its outcome is the item, or `END`."""

    source: Any


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer has come.

    Attributes:
        cause: Why.
        sent: Whether the server may have received the request.
        passes: Whether trying again may help.
    """

    cause: Exception
    sent: bool = True
    passes: bool = True


END: Final = object()
"""There is no further item."""

Step: TypeAlias = FetchToken | Send | Pause | Pull

Operation: TypeAlias = Generator[Step, Any, T]


def describe(method: Callable[..., Any], operation: Callable[..., Any]) -> None:
    """Gives a client's method the name, the documentation and the signature of the operation that it runs."""
    update_wrapper(method, operation)
    signature = inspect.signature(operation)
    result = str(signature.return_annotation).removeprefix("Operation[").removesuffix("]")
    # What `help` and editors show: the result is no generator any more.
    vars(method)["__signature__"] = signature.replace(return_annotation=result)


PAUSE: Final = 0.1
"""The longest pause before the first repetition, in seconds. It doubles with each further one."""

PAUSE_MAX: Final = 5.0
"""The longest pause before any repetition, in seconds, unless the server asks for a longer one."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance.

    Attributes:
        now: Seconds that only grow.
        wall: Unix seconds.
        random: A number from 0 to 1.
    """

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    random: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class Limits:
    """How long calls take at most.

    Attributes:
        timeout: One attempt, in seconds.
        deadline: The whole call with all its repetitions, in seconds.
    """

    timeout: float
    deadline: float

    def __post_init__(self) -> None:
        for name, seconds in (("timeout", self.timeout), ("deadline", self.deadline)):
            if not 0 < seconds < float("inf"):
                raise ValueError(f"{name} must be a number of seconds above 0, and not {seconds}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """Sends requests until they are answered."""

    limits: Limits
    clock: Clock = field(default_factory=Clock)

    def answer(self, request: Request) -> Operation[Answer]:
        """Returns the answer of a request once it is a success.

        Repeats the request after failures that pass, 429 and 503 among them; once at most with another token,
        after 401.

        Raises:
            RefusedError: The server has refused it.
            ConnectionFailedError: There was no answer.
            UnexpectedAnswerError: There was one, which is none of the protocol.
            InvalidRequestError: It cannot be sent.
        """
        give_up_at = self.clock.now() + self.limits.deadline
        refused: str | None = None
        repetitions = 0
        while True:
            token = cast("str | None", (yield FetchToken()))
            left = max(0.0, give_up_at - self.clock.now())
            outcome = cast("Answer | Failure", (yield Send(request, token, min(self.limits.timeout, left))))
            if isinstance(outcome, Answer) and 200 <= outcome.status < 300:
                return outcome
            if (
                isinstance(outcome, Answer)
                and outcome.status == 401
                and refused is None
                and token is not None
            ):
                # Where the token comes from a function, it may have a newer one.
                refused = token
                if (yield FetchToken()) != refused:
                    continue
            if isinstance(outcome, Failure) and not outcome.passes:
                # The cause may quote the token, which belongs in no log.
                raise InvalidRequestError(
                    "the token or the idempotency key is nothing that a header can hold"
                ) from None
            pause = self._pause(outcome, repetitions)
            repetitions += 1
            if not _passes(request, outcome) or self.clock.now() + pause >= give_up_at:
                if isinstance(outcome, Answer):
                    raise refusal(outcome, self.clock.wall())
                cause = outcome.cause
                raise ConnectionFailedError(f"no answer: {str(cause) or type(cause).__name__}") from cause
            yield Pause(pause)

    def read(self, request: Request, reader: Callable[[Answer], T]) -> Operation[T]:
        """Returns the answer of a request, read.

        Args:
            request: The request.
            reader: Reads the answer; raises `ValueError` when it is none of the protocol.
        """
        answer = yield from self.answer(request)
        try:
            return reader(answer)
        except (ValueError, RecursionError) as error:
            raise unexpected(answer) from error

    def _pause(self, outcome: Answer | Failure, repetitions: int) -> float:
        """Returns the pause before the next attempt: what the server asks for, and full jitter."""
        asked = retry_after(outcome, self.clock.wall()) if isinstance(outcome, Answer) else None
        # The exponent is bounded so that it cannot overflow.
        longest = min(PAUSE_MAX, PAUSE * 2.0 ** min(repetitions, 16))
        return (asked or 0.0) + longest * self.clock.random()


def _passes(request: Request, outcome: Answer | Failure) -> bool:
    """Returns whether the request may be repeated after this outcome, and whether that may help."""
    if isinstance(outcome, Failure):
        return request.repeatable or not outcome.sent
    # 502 and 504 are a proxy's: its connection to a node has failed, after the request was sent, perhaps.
    return outcome.status in (429, 503) or (outcome.status in (502, 504) and request.repeatable)
