"""Tokens for devices and for backends."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import jwt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    SigningKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

TOKEN_TTL: Final = timedelta(hours=1)
"""How long a token is valid when nothing else is asked for."""

_SECRET_BYTES_MIN = 32
"""The server takes no shorter secret."""

_FRESH: Final = 60.0
"""A token that ends within this many seconds is not used any more: requests take time, and clocks differ."""


class TokenMinter:
    """Signs tokens that the server takes.

    Give the secret that the server has as `JWT_SECRET` (HS256), or the private key of the public key that it
    has (RS256, ES256 or EdDSA, by the kind of the key). The latter needs the extra `crypto`.

    Args:
        secret: At least 32 bytes, taken as they are.
        private_key: PEM text of an RSA, P-256 or Ed25519 key.
        key_id: The `kid` of the key, where the server finds its keys by `JWT_JWKS_URL`.
        audience: `aud`, where the server has `JWT_AUDIENCE`.
        issuer: `iss`, where the server has `JWT_ISSUER`.
        user_claim: The claim that holds the user, where the server has `JWT_USER_CLAIM`.
        scope_claim: The claim that holds the rights, where the server has `JWT_SCOPE_CLAIM`.

    Raises:
        ValueError: The key cannot be used.
    """

    def __init__(
        self,
        secret: str | bytes | None = None,
        *,
        private_key: str | bytes | None = None,
        key_id: str | None = None,
        audience: str | None = None,
        issuer: str | None = None,
        user_claim: str = "sub",
        scope_claim: str = "scope",
    ) -> None:
        self._key: bytes | SigningKey
        if secret is not None and private_key is None:
            self._key, self._algorithm = _secret(secret), "HS256"
        elif private_key is not None and secret is None:
            self._key, self._algorithm = _private_key(private_key)
        else:
            raise ValueError("give a secret or a private key")
        self._headers = None if key_id is None else {"kid": key_id}
        fixed = {"aud": audience, "iss": issuer}
        self._claims = {name: value for name, value in fixed.items() if value is not None}
        self._user_claim = user_claim
        self._scope_claim = scope_claim

    def __repr__(self) -> str:
        return f"TokenMinter({self._algorithm})"

    def mint(
        self,
        user_id: str,
        scopes: Iterable[str] = (),
        *,
        expires_in: timedelta | float = TOKEN_TTL,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """Returns a token.

        Args:
            user_id: The user, 1 to 255 characters.
            scopes: The rights: `subscribe:<pattern>`, `publish:<pattern>`, `service`. The server ignores
                other words.
            expires_in: How long it is valid from now on, seconds when it is a number; cut to whole seconds.
            claims: Further claims, which win over all others.

        Raises:
            ValueError: It would not be valid for a second, or a right has a blank in it.
        """
        return self._mint(user_id, _words(scopes), _seconds(expires_in), claims or {})

    def source(
        self,
        user_id: str,
        scopes: Iterable[str] = (),
        *,
        expires_in: timedelta | float = TOKEN_TTL,
        claims: Mapping[str, Any] | None = None,
    ) -> TokenSource:
        """Returns what gives a client its tokens: a new one before the last one ends.

        The arguments are those of `mint`.
        """
        words, seconds, more = _words(scopes), _seconds(expires_in), dict(claims or {})
        return TokenSource(lambda: self._mint(user_id, words, seconds, more), seconds)

    def _mint(self, user_id: str, scope: str, seconds: int, claims: Mapping[str, Any]) -> str:
        now = int(time.time())
        # `sub` is there also where the server reads the user elsewhere: proxies tell users apart by it.
        minted: dict[str, Any] = {"sub": user_id, self._user_claim: user_id, "iat": now, "exp": now + seconds}
        if scope:
            minted[self._scope_claim] = scope
        return jwt.encode({**minted, **self._claims, **claims}, self._key, self._algorithm, self._headers)


class TokenSource:
    """Gives a token that is valid for a while longer, from any thread; see `TokenMinter.source`."""

    def __init__(self, mint: Callable[[], str], seconds: int) -> None:
        self._mint = mint
        self._fresh_for = max(seconds - _FRESH, seconds / 2)
        self._lock = threading.Lock()
        self._token: tuple[str, float] | None = None

    def __call__(self) -> str:
        now = time.time()
        with self._lock:
            # The wall clock may be set back: a token from the future is not kept for longer than its time.
            if self._token is None or not 0 <= now - self._token[1] < self._fresh_for:
                self._token = (self._mint(), now)
            return self._token[0]


def _words(scopes: Iterable[str]) -> str:
    if isinstance(scopes, str):
        raise ValueError("scopes are a list of words")  # noqa: TRY004 a text is an iterable of texts, too
    words = list(scopes)
    for word in words:
        # A word with a blank in it would become two rights.
        if not word or any(character.isspace() for character in word):
            raise ValueError(f"{word!r} is no right: a word without blanks")
    return " ".join(words)


def _seconds(expires_in: timedelta | float) -> int:
    seconds = int(expires_in.total_seconds() if isinstance(expires_in, timedelta) else expires_in)
    if seconds < 1:
        raise ValueError(f"a token must be valid for a second at least, and not for {expires_in}")
    return seconds


def _secret(secret: str | bytes) -> bytes:
    key = secret.encode() if isinstance(secret, str) else secret
    if len(key) < _SECRET_BYTES_MIN:
        raise ValueError(f"the secret has {len(key)} bytes, at least {_SECRET_BYTES_MIN} are needed")
    return key


def _private_key(pem: str | bytes) -> tuple[SigningKey, str]:
    try:
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise ValueError("private keys need the extra crypto: pip install 'draftwire[crypto]'") from error
    try:
        key = load_pem_private_key(pem.encode() if isinstance(pem, str) else pem, password=None)
    except (ValueError, TypeError) as error:
        raise ValueError("the private key is no PEM text of a key without a password") from error
    if isinstance(key, rsa.RSAPrivateKey):
        return key, "RS256"
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key, "ES256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key, "EdDSA"
    raise ValueError("a key of another kind: give one for RS256 (RSA), ES256 (P-256) or EdDSA (Ed25519)")
