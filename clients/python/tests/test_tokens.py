"""Tokens, judged by real nodes."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from draftwire import Draftwire, ForbiddenError, TokenMinter, UnauthorizedError

from .conftest import MINTER
from .node import ROOT, SECRET, Node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = ROOT / "gateway/src/auth/test_keys"


def claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_a_token_says_who_may_do_what_until_when() -> None:
    before = int(time.time())
    token = claims(
        MINTER.mint("alice", ["subscribe:match:*", "publish:chat"], expires_in=timedelta(minutes=5))
    )
    assert token.pop("iat") - before in (0, 1, 2)
    assert token.pop("exp") - before in (300, 301, 302)
    assert token == {"sub": "alice", "scope": "subscribe:match:* publish:chat"}
    assert "scope" not in claims(MINTER.mint("alice"))
    more = claims(MINTER.mint("alice", expires_in=60.9, claims={"tenant": 7, "nbf": 1}))
    assert (more["tenant"], more["nbf"], more["exp"] - more["iat"]) == (7, 1, 60)


def test_a_right_is_a_right(shared: Node, connect: Callable[..., Draftwire], topic: str) -> None:
    desk = connect(shared.url, token=MINTER.mint("desk", [f"publish:{topic}", f"subscribe:{topic}"]))
    assert desk.publish(topic, "GOAL").seq == 1
    assert len(list(desk.history(topic))) == 1
    with pytest.raises(ForbiddenError):
        desk.publish(f"{topic}-2", "GOAL")
    with pytest.raises(UnauthorizedError):
        connect(shared.url, token=TokenMinter("another secret" * 4).mint("desk", ["service"])).publish(
            topic, "GOAL"
        )


@pytest.mark.parametrize(("key", "algorithm"), [("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")])
def test_a_private_key_signs_for_its_public_key(
    tmp_path: Path, connect: Callable[..., Draftwire], key: str, algorithm: str
) -> None:
    minter = TokenMinter(private_key=(KEYS / f"{key}.pem").read_text(), key_id="k1")
    header = jwt.get_unverified_header(minter.mint("alice"))
    assert (header["alg"], header["kid"]) == (algorithm, "k1")
    with Node(tmp_path, JWT_SECRET="", JWT_PUBLIC_KEY=str(KEYS / f"{key}.pub")) as node:
        assert connect(node.url, token=minter.source("desk", ["service"])).publish("match:1", "GOAL").seq == 1
        with pytest.raises(UnauthorizedError):
            connect(node.url, token=MINTER.source("desk", ["service"])).publish("match:1", "GOAL")


def test_a_server_with_claims_of_its_own(tmp_path: Path, connect: Callable[..., Draftwire]) -> None:
    settings = {
        "JWT_AUDIENCE": "sync",
        "JWT_ISSUER": "https://app.example",
        "JWT_USER_CLAIM": "uid",
        "JWT_SCOPE_CLAIM": "app.rights",
    }
    with Node(tmp_path, **settings) as node:
        fixed = {"audience": "sync", "issuer": "https://app.example"}
        minter = TokenMinter(SECRET, **fixed, user_claim="uid", scope_claim="app.rights")
        desk = connect(node.url, token=minter.source("desk", ["service"]))
        assert desk.publish_user("alice", "INVITED").seq == 1
        nested = TokenMinter(SECRET, **fixed).mint("desk", claims={"uid": 7, "app": {"rights": ["service"]}})
        assert connect(node.url, token=nested).publish_user("alice", "INVITED").seq == 2
        with pytest.raises(UnauthorizedError, match="aud"):
            connect(node.url, token=MINTER.source("desk", ["service"])).publish("match:1", "GOAL")


def test_what_cannot_sign_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        TokenMinter("short")
    for both in ({}, {"secret": SECRET, "private_key": SECRET}):
        with pytest.raises(ValueError, match="a secret or a private key"):
            TokenMinter(**both)
    for pem in (
        (KEYS / "ec.pub").read_text(),
        "-----BEGIN PRIVATE KEY-----\nno\n-----END PRIVATE KEY-----",
        SECRET,
    ):
        with pytest.raises(ValueError, match="no PEM text") as refused:
            TokenMinter(private_key=pem)
        assert "secret" not in str(refused.value)
    assert "secret" not in repr(MINTER)


def test_what_makes_no_sense_in_a_token_is_refused() -> None:
    for scopes in (["service desk"], [""], ["publish:\u00a0*"], "service"):
        with pytest.raises(ValueError, match=r"right|list of words"):
            MINTER.mint("alice", scopes)
    for seconds in (0, 0.9, -5, timedelta(0)):
        with pytest.raises(ValueError, match="valid for a second at least"):
            MINTER.source("alice", expires_in=seconds)


def test_a_source_renews_its_token_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_800_000_000.0
    monkeypatch.setattr("draftwire._tokens.time.time", lambda: now)
    source = MINTER.source("alice", ["service"], expires_in=600)
    first = source()
    now += 539
    assert source() == first
    now += 1
    second = source()
    assert claims(second)["exp"] == 1_800_000_000 + 540 + 600
    # The clock is put right: a token that seems to come from the future would be kept for too long.
    now -= 3600
    assert claims(source())["exp"] == int(now) + 600


def test_a_refused_token_is_replaced_once(
    shared: Node, connect: Callable[..., Draftwire], topic: str
) -> None:
    tokens = [MINTER.mint("desk", ["service"], claims={"exp": 1})]

    def token() -> str:
        asked.append(tokens[0])
        return tokens.pop(0) if len(tokens) > 1 else tokens[0]

    asked: list[str] = []
    dw = connect(shared.url, token=token)
    with pytest.raises(UnauthorizedError):
        dw.publish(topic, "GOAL")
    assert len(asked) == 2
    tokens.append(MINTER.mint("desk", ["service"]))
    assert dw.publish(topic, "GOAL").seq == 1

    # However many there are.
    tokens[:] = [MINTER.mint("desk", claims={"exp": 1, "n": n}) for n in range(10)]
    asked.clear()
    with pytest.raises(UnauthorizedError):
        dw.publish(topic, "GOAL")
    assert len(asked) == 3


def test_a_token_function_that_raises_is_heard(
    shared: Node, connect: Callable[..., Draftwire], topic: str
) -> None:
    def token() -> str:
        raise LookupError("the vault is closed")

    with pytest.raises(LookupError, match="the vault is closed"):
        connect(shared.url, token=token).publish(topic, "GOAL")
