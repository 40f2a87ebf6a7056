"""The token endpoint: OAuth 2 client credentials, with tokens that expire."""

from __future__ import annotations

import base64
import binascii
import hmac
import random
from collections.abc import Callable
from urllib.parse import parse_qs

from sandbox.exchange import Answer, Call

TOKEN_PATH = "/connect/token"  # noqa: S105  (a path)
FORM = "application/x-www-form-urlencoded"


class Tokens:
    """Issues and checks tokens.

    Args:
        client_id: the one client.
        client_secret: its secret.
        lifetime: seconds a token lives.
        now: the clock tokens age by.
        chance: where the tokens come from; seeded, they guard nothing but synthetic data.
    """

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        lifetime: float,
        now: Callable[[], float],
        chance: random.Random,
    ) -> None:
        self.client_id = client_id
        self.lifetime = lifetime
        self._secret = client_secret
        self._now = now
        self._chance = chance
        self._expiry: dict[str, float] = {}

    def answer(self, call: Call) -> Answer:
        """Answer a request of the token endpoint."""
        if call.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            return _error(400, "invalid_request")
        try:
            form = {name: values[-1] for name, values in parse_qs(call.body.decode("ascii")).items()}
        except ValueError:
            return _error(400, "invalid_request")
        if form.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type" if "grant_type" in form else "invalid_request")
        basic = _basic(call.headers.get("authorization", ""))
        client, secret = basic or (form.get("client_id", ""), form.get("client_secret", ""))
        if not self._knows(client, secret):
            answer = _error(401 if basic else 400, "invalid_client")
            if basic:
                answer.headers.append(("www-authenticate", "Basic"))
            return answer
        return self.issue()

    def issue(self, lifetime: float | None = None) -> Answer:
        """Hand out a new token."""
        lifetime = self.lifetime if lifetime is None else lifetime
        token = f"sandbox.{self._chance.getrandbits(192):048x}"
        self._expiry[token] = self._now() + lifetime
        answer = Answer.json(
            200, {"access_token": token, "expires_in": int(lifetime), "token_type": "Bearer"}, count=1
        )
        answer.headers.append(("cache-control", "no-store"))
        return answer

    def accepts(self, header: str) -> bool:
        """Whether an `Authorization` header holds a token of ours that has not expired."""
        scheme, _, token = header.partition(" ")
        expiry = self._expiry.get(token.strip()) if scheme.lower() == "bearer" else None
        return expiry is not None and self._now() < expiry

    def revoke(self) -> None:
        """End every token handed out so far."""
        self._expiry.clear()

    def _knows(self, client: str, secret: str) -> bool:
        same_client = hmac.compare_digest(client.encode(), self.client_id.encode())
        return hmac.compare_digest(secret.encode(), self._secret.encode()) and same_client


def unauthorized() -> Answer:
    """The answer to a request without a valid token."""
    return Answer(401, headers=[("www-authenticate", 'Bearer error="invalid_token"')])


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return client, secret


def _error(status: int, code: str) -> Answer:
    return Answer.json(status, {"error": code})
