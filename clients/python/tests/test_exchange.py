"""When a request is repeated, and when no more: the pure part, with a clock of its own."""

from __future__ import annotations

import email.utils
from typing import TYPE_CHECKING

import pytest

from draftwire import (
    BadRequestError,
    ConflictError,
    ConnectionFailedError,
    DraftwireError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from draftwire._exchange import PAUSE_MAX, Clock, Exchange, Failure, FetchToken, Limits, Pause, Send
from draftwire._wire import Answer, Request, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

WALL = 1_800_000_000.0


def problem(status: int, code: str, **headers: str) -> Answer:
    body = f'{{"title":"…","status":{status},"detail":"why","code":"{code}"}}'
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body.encode())


OK = Answer(200, {}, b"{}")
UNAVAILABLE = problem(503, "unavailable", retry_after="1")
LOST = Failure(ConnectionError("reset"))
UNSENT = Failure(ConnectionError("refused"), sent=False)


class Run:
    """Carries a request out with given outcomes; `pauses` and `requests` are what it asked for."""

    def __init__(
        self,
        *outcomes: Answer | Failure,
        request: Request | None = None,
        chance: float = 1.0,
        deadline: float = 60.0,
        token: str | None = "token",
    ) -> None:
        self.pauses: list[float] = []
        self.sends: list[Send] = []
        self.result: Answer | DraftwireError | None = None
        now = 0.0
        clock = Clock(now=lambda: now, wall=lambda: WALL, random=lambda: chance)
        operation = Exchange(Limits(10.0, deadline), clock).answer(request or Request("POST", "/v1/x"))
        outcome: object = None
        left = list(outcomes)
        try:
            while True:
                step = operation.send(outcome)
                outcome = None
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    now += step.seconds
                elif isinstance(step, FetchToken):
                    outcome = token
                elif isinstance(step, Send):
                    self.sends.append(step)
                    # The last one stays.
                    outcome = left.pop(0) if len(left) > 1 else left[0]
        except StopIteration as end:
            self.result = end.value
        except DraftwireError as error:
            self.result = error


@pytest.mark.parametrize(
    "outcome",
    [
        UNAVAILABLE,
        problem(429, "rate_limited"),
        Answer(503, {}, b"<html>a proxy's</html>"),
        Answer(502, {}, b""),
        Answer(504, {}, b""),
        LOST,
        UNSENT,
    ],
)
def test_failures_that_pass_are_repeated(outcome: Answer | Failure) -> None:
    run = Run(outcome, outcome, outcome, OK)
    assert run.result == OK
    assert len(run.sends) == 4
    assert len({send.request.headers.get("idempotency-key") for send in run.sends}) == 1


@pytest.mark.parametrize(
    "outcome",
    [
        problem(400, "bad_request"),
        problem(401, "unauthorized"),
        problem(403, "forbidden"),
        problem(404, "not_found"),
        problem(409, "conflict"),
        problem(412, "conflict"),
        problem(413, "too_large"),
        problem(500, "new_code"),
        Answer(301, {"location": "https://elsewhere"}, b""),
        Answer(500, {}, b"<html>"),
        Answer(500, {}, b'{"code":7,"detail":"x"}'),
        Answer(500, {}, b"[" * 100_000),
    ],
)
def test_all_else_is_not(outcome: Answer) -> None:
    run = Run(outcome, OK)
    assert isinstance(run.result, (RefusedError, UnexpectedAnswerError))
    assert run.result.status == outcome.status
    assert len(run.sends) == 1


def test_pauses_grow_up_to_a_bound_and_are_random() -> None:
    outcomes = [LOST] * 10 + [OK]
    assert Run(*outcomes).pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, *[PAUSE_MAX] * 4]
    assert Run(*outcomes, chance=0.5).pauses[:3] == [0.05, 0.1, 0.2]
    # However long it goes on.
    run = Run(*[LOST] * 5000, OK, chance=0.001, deadline=1000.0)
    assert run.result == OK
    assert max(run.pauses) == PAUSE_MAX * 0.001


def test_the_server_says_how_long_to_wait_at_least() -> None:
    assert Run(UNAVAILABLE, OK, chance=0.0).pauses == [1.0]
    assert Run(UNAVAILABLE, OK, chance=1.0).pauses == [1.1]
    date = email.utils.formatdate(WALL + 7, usegmt=True)
    assert Run(problem(429, "rate_limited", retry_after=date), OK, chance=0.0).pauses == [7.0]
    past = email.utils.formatdate(WALL - 7, usegmt=True)
    for text in (past, "soon", "-1", "1.5", "", "²"):
        assert Run(problem(503, "unavailable", retry_after=text), OK, chance=0.0).pauses == [0.0]


def test_the_deadline_ends_it_with_the_last_failure() -> None:
    run = Run(UNAVAILABLE, deadline=5.0, chance=0.0)
    assert isinstance(run.result, UnavailableError)
    assert (run.result.detail, run.result.retry_after) == ("why", 1.0)
    assert run.pauses == [1.0] * 4
    assert [send.timeout for send in run.sends] == [5.0, 4.0, 3.0, 2.0, 1.0]

    run = Run(LOST, deadline=5.0)
    assert isinstance(run.result, ConnectionFailedError)
    assert run.result.__cause__ is LOST.cause
    assert str(run.result) == "no answer: reset"

    # What the server asks for would not fit: waiting makes no sense.
    run = Run(problem(429, "rate_limited", retry_after="3600"), OK)
    assert isinstance(run.result, RateLimitedError)
    assert run.pauses == []


def test_what_must_not_happen_twice_is_repeated_only_if_it_did_not_happen() -> None:
    signal = Request("POST", "/v1/x", repeatable=False)
    for outcome in (UNAVAILABLE, UNSENT):
        assert Run(outcome, OK, request=signal).result == OK
    for outcome in (LOST, Answer(502, {}, b""), Answer(504, {}, b"")):
        assert len(Run(outcome, OK, request=signal).sends) == 1


def test_limits_are_seconds() -> None:
    for seconds in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="seconds above 0"):
            Limits(10.0, seconds)
        with pytest.raises(ValueError, match="seconds above 0"):
            Limits(seconds, 10.0)


def refused(status: int, body: str, headers: Mapping[str, str] | None = None) -> DraftwireError:
    return refusal(Answer(status, headers or {}, body.encode()), WALL)


def test_problems_become_errors_of_their_code() -> None:
    error = refused(404, '{"code":"not_found","detail":"draft d1 does not exist"}')
    assert type(error) is NotFoundError
    assert (error.code, error.status, error.payload) == ("not_found", 404, None)
    # Of a newer server.
    error = refused(451, '{"code":"withheld","detail":"why","payload":[1],"more":true}')
    assert type(error) is RefusedError
    assert (error.code, error.payload) == ("withheld", [1])
    error = refused(405, '{"code":"bad_request","detail":"this path does not take this method"}')
    assert isinstance(error, BadRequestError)
    # A payload that is none of the protocol.
    error = refused(409, '{"code":"conflict","detail":"x","payload":{"draftId":"d","fields":7}}')
    assert type(error) is UnexpectedAnswerError
    error = refused(409, '{"code":"conflict","detail":"x","payload":7}')
    assert type(error) is ConflictError


def test_an_answer_of_somebody_else_says_what_it_was() -> None:
    error = refused(502, "<html>Bad Gateway" + "x" * 1000)
    assert "502" in str(error)
    assert "<html>Bad Gateway" in str(error)
    assert len(str(error)) < 400
    assert "a redirect to https://new.example/" in str(refused(308, "", {"location": "https://new.example/"}))
