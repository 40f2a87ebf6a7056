"""Bearer tokens by client credentials: fetched once for everyone, before they expire, and never shown.

The token endpoint refusing us ends the run at once, after a single attempt, so that nobody is locked out; one
that is down, slow or throttled is tried a few times. A token the API refuses at its very first use counts:
three of those end the run, because fetching more would never help.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from schemas.errors import ApiUnavailable, AuthenticationError
from schemas.exchange import Answer, NoAnswer

ATTEMPTS = 4
DEFAULT_LIFETIME = 300.0
LONGEST_LIFETIME = 86_400.0
REFUSED_AT_FIRST_USE = 3
_LATELY = 3600.0
"""Seconds within which so many are one trouble: the life of a usual token."""
_BACKOFF_BASE = 1.0
_BACKOFF_CEILING = 30.0
_LONGEST_WAIT = 60.0
"""A token endpoint that asks for a longer wait than this is unavailable."""

_TOKEN = re.compile(r"[\x21-\x7e]+")
_OAUTH_ERRORS = frozenset(
    {
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    }
)
_CURE = "Check METERFEED_TOKEN_URL, METERFEED_CLIENT_ID and METERFEED_CLIENT_SECRET."


class Secret(Protocol):
    """A secret that does not show itself; pydantic's `SecretStr` is one."""

    def get_secret_value(self) -> str:
        """The secret."""
        ...


@dataclass(eq=False, slots=True)
class Token:
    """One access token. Times are on the monotonic clock; `proven` once the API has accepted it."""

    value: str = field(repr=False)
    refresh_at: float
    expires_at: float
    proven: bool = False


class Tokens:
    """The current token of a run.

    Args:
        ask: posts the token form once and brings what came back.
        monotonic: seconds.
        sleep: waits that many seconds.
        random: a float in [0, 1).
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[Answer | NoAnswer]],
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        random: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._sleep = sleep
        self._random = random
        self._token: Token | None = None
        self._flight: asyncio.Task[Token] | None = None
        self._refused_at_first_use: list[float] = []
        """When; those of long ago were single cases, and say nothing of the credentials."""

    async def current(self) -> Token:
        """A token that is not about to expire; one request serves everyone who waits for it.

        Raises:
            AuthenticationError: the credentials are refused, or what comes back is no token.
            ApiUnavailable: the token endpoint is unreachable, failing or throttling, after a few attempts.
        """
        token, now = self._token, self._monotonic()
        if token is not None and now < token.refresh_at:
            return token
        try:
            return await self._fetched()
        except ApiUnavailable:
            # The old token may still be good for a while: use it, ask again a little later.
            if token is None or token is not self._token or self._monotonic() >= token.expires_at:
                raise
            token.refresh_at = min(token.expires_at, self._monotonic() + _BACKOFF_CEILING)
            return token

    def accepted(self, token: Token) -> None:
        """The API answered a call with this token, and not with 401."""
        token.proven = True

    def refused(self, token: Token) -> None:
        """The API answered 401 to a call with this token: it is not used again.

        Raises:
            AuthenticationError: the third token within an hour that was refused at its first use.
        """
        if token is not self._token:
            return  # someone else has already replaced it
        self._token = None
        if token.proven:
            return
        now = self._monotonic()
        lately = [at for at in self._refused_at_first_use if now - at < _LATELY]
        self._refused_at_first_use = [*lately, now]
        if len(self._refused_at_first_use) >= REFUSED_AT_FIRST_USE:
            raise AuthenticationError(
                f"The API refused {REFUSED_AT_FIRST_USE} fresh tokens.",
                cure="Check that the credentials belong to this environment. " + _CURE,
            )

    async def aclose(self) -> None:
        """Stops a token request that nobody waits for any more."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    async def _fetched(self) -> Token:
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fetch())
            self._flight.add_done_callback(_seen)
        return await asyncio.shield(self._flight)

    async def _fetch(self) -> Token:
        for attempt in range(1, ATTEMPTS + 1):
            asked_at = self._monotonic()
            answer = await self._ask()
            found = token_in(answer, asked_at)
            if isinstance(found, Token):
                self._token = found
                return found
            wait = told_wait(answer)
            if not found.may_pass or attempt == ATTEMPTS or wait > _LONGEST_WAIT:
                raise found.error
            jittered = self._random() * min(_BACKOFF_BASE * 2**attempt, _BACKOFF_CEILING)
            await self._sleep(max(jittered, wait))
        raise AssertionError  # pragma: no cover  the last attempt returns or raises


def _seen(flight: asyncio.Task[Token]) -> None:
    """Marks a failure as looked at: whoever waited was told, or was cancelled."""
    if not flight.cancelled():
        flight.exception()


# ------------------------------------------------------------------ what the endpoint says
@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no token; `may_pass` when asking again can help."""

    error: ApiUnavailable | AuthenticationError
    may_pass: bool


def token_in(answer: Answer | NoAnswer, asked_at: float) -> Token | Failure:
    """The token the endpoint gave, or why there is none."""
    if isinstance(answer, NoAnswer):
        return Failure(
            ApiUnavailable(f"The token endpoint gave no answer ({answer.cause}).", cure=_CURE), True
        )
    status = answer.status
    if status in (408, 425, 429) or status >= 500:
        again = "Run `meterfeed resume` later."
        return Failure(ApiUnavailable(f"The token endpoint answers {status}.", cure=again), True)
    if status == 200:
        useless = "The token endpoint answers without a usable token."
        return read_token(answer.body, asked_at) or Failure(AuthenticationError(useless, cure=_CURE), True)
    if 300 <= status < 400:
        return Failure(AuthenticationError("The token endpoint has moved.", cure=_CURE), False)
    refused = f"The token endpoint refused the credentials ({_told(answer)})."
    return Failure(AuthenticationError(refused, cure=_CURE), False)


def _told(answer: Answer) -> str:
    """Status and, if it is one of the standard's words, the error; nothing else of the body is repeated."""
    try:
        body = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return str(answer.status)
    error = body.get("error") if isinstance(body, dict) else None
    return (
        f"{answer.status} {error}"
        if isinstance(error, str) and error in _OAUTH_ERRORS
        else str(answer.status)
    )


def told_wait(answer: Answer | NoAnswer) -> float:
    """`Retry-After` in seconds, 0 when there is none; its date form is left to the backoff."""
    text = answer.headers.get("retry-after", "") if isinstance(answer, Answer) else ""
    return float(text[:12]) if re.fullmatch(r"[0-9]+", text) else 0.0


def read_token(body: bytes, asked_at: float) -> Token | None:
    """The token in an answer, None when there is none that can be used as a bearer."""
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    value, kind = told.get("access_token"), told.get("token_type")
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        return None
    if not isinstance(kind, str) or kind.lower() != "bearer":
        return None
    seconds = lifetime(told.get("expires_in"))
    return Token(value, asked_at + refresh_after(seconds), asked_at + seconds)


def lifetime(told: object) -> float:
    """`expires_in` as seconds we believe: 5 minutes when it is missing or nonsense, a day at most."""
    if isinstance(told, str) and re.fullmatch(r"[0-9]{1,15}", told):
        told = int(told)
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 < told < math.inf:
        return DEFAULT_LIFETIME
    return float(min(told, LONGEST_LIFETIME))


def refresh_after(seconds: float) -> float:
    """When to fetch the next: at 80 % or a minute before the end, whichever is first, from half-time on."""
    return min(0.8 * seconds, max(seconds - 60.0, 0.5 * seconds))
