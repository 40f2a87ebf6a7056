"""The API client: one httpx transport behind one seam, one request in, one answer or one loss out.

What it holds to: a total deadline per request (httpx's own timeouts are per read), no redirects (they would
re-send the body elsewhere), no proxies or certificates from the environment, no cookies, no content
encodings, a cap on answers, and two origins only. Redirects, proxies and cookies are the business of httpx's
client, so there is none: requests go to the transport as they are. Nothing here decides what an answer means,
and nothing is retried but a 401, once, with a new token.
"""

from __future__ import annotations

import asyncio
import logging
import random as chance
import ssl
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import httpx

from connectors.api.losses import loss
from connectors.api.rate import LeasedTurns, RateLimit
from connectors.api.tokens import Secret, Token, Tokens
from connectors.api.urls import checked_origin, origin, url_under
from connectors.api.wire import CONNECTING, Wire
from schemas.errors import SettingsError
from schemas.exchange import Answer, Call, Lost, NoAnswer

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 5.0
"""Idle connections are dropped before a server does it, which would leave a request in doubt."""
_TOKEN_DEADLINE_SECONDS = 30.0


class ApiClient:
    """The Energy Coordination API; fits `pipeline.ports.Api`. Use as an async context manager.

    Args:
        base_url: of the API, path included; https, or http to this machine.
        token_url: of the token endpoint, likewise.
        client_id: of the partner.
        client_secret: its secret, in a type that masks itself.
        transport: carries the requests instead of the network.
        ssl_context: trust other certificates than the usual ones; never less than checked.
        monotonic: seconds, for deadlines of tokens and for durations.
        sleep: waits that many seconds.
        random: a float in [0, 1).
        deadline_seconds: for one request from connecting to the last byte of its answer.
        max_answer_bytes: longer answers are given up.
        rate: requests per second, over all calls; None for no limit.
        turns: instead of `rate`, turns that are shared with other processes.
        trace_header: name of the header that carries `Call.trace`; None sends none.
        user_agent: how we introduce ourselves.
        max_connections: open at the same time; one request at a time on each.

    Raises:
        SettingsError: a URL is not one we may send to, or a number makes no sense.
    """

    def __init__(
        self,
        base_url: str,
        token_url: str,
        client_id: str,
        client_secret: Secret,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        ssl_context: ssl.SSLContext | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = chance.random,
        deadline_seconds: float = 100.0,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        rate: float | None = None,
        turns: LeasedTurns | None = None,
        trace_header: str | None = None,
        user_agent: str = "meterfeed",
        max_connections: int = 32,
    ) -> None:
        if rate is not None and not rate > 0:
            raise SettingsError("METERFEED_RATE is not a positive number.", cure="Leave it out for no limit.")
        self._base = checked_origin(base_url, setting="METERFEED_BASE_URL")
        self._token_url = checked_origin(token_url, setting="METERFEED_TOKEN_URL")
        self._origins = {origin(self._base), origin(self._token_url)}
        self._client_id = client_id
        self._client_secret = client_secret
        self._monotonic = monotonic
        self._deadline = deadline_seconds
        self._max_answer_bytes = max_answer_bytes
        self._trace_header = trace_header
        self._limit = turns or RateLimit(rate, monotonic=monotonic, sleep=sleep)
        self._tokens = Tokens(self._ask_for_token, monotonic=monotonic, sleep=sleep, random=random)
        self._transport = transport or _network(ssl_context, max_connections)
        self._headers = {
            "user-agent": user_agent,
            "accept": "application/json",
            "accept-encoding": "identity",
            "connection": "keep-alive",
        }
        # A batch call has the same URL each time, and to parse one costs as much as to send a request.
        self._url = lru_cache(maxsize=64)(partial(url_under, self._base))
        _silence_url_logs()

    def __repr__(self) -> str:
        return f"<ApiClient {self._base.host}>"

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._tokens.aclose()
        await self._transport.__aexit__(kind, error, trace)

    async def sign_in(self) -> None:
        """Fetches a token now, so that wrong credentials are known before anything else is asked.

        Raises:
            AuthenticationError: the credentials are refused.
            ApiUnavailable: the token endpoint cannot be reached.
        """
        await self._tokens.current()

    async def call(self, call: Call) -> Answer | NoAnswer:
        """Sends one request once; a 401 is answered with one new token and one repeat.

        Raises:
            AuthenticationError: no token to be had, or three fresh ones refused; the call was not applied.
            ApiUnavailable: the token endpoint is; the call was not applied.
            UnsafeSegmentError: an id that may not stand in a URL.
        """
        url = url_under(self._base, call.segments, call.query) if call.query else self._url(call.segments)
        token = await self._tokens.current()
        answer = await self._send_with(token, call, url)
        if isinstance(answer, Answer) and answer.status == 401:
            token = await self._tokens.current()
            answer = await self._send_with(token, call, url)
        return answer

    async def _send_with(self, token: Token, call: Call, url: httpx.URL) -> Answer | NoAnswer:
        headers = {"authorization": f"Bearer {token.value}"}
        if call.body is not None:
            headers["content-type"] = "application/json"
        if self._trace_header and call.trace:
            headers[self._trace_header] = call.trace
        request = httpx.Request(call.method, url, content=call.body, headers=self._headers | headers)
        await self._limit.turn()
        answer = await self._exchange(request, self._deadline, self._max_answer_bytes)
        if isinstance(answer, Answer):
            self._learn(token, answer.status)
        return answer

    def _learn(self, token: Token, status: int) -> None:
        if status == 401:
            self._tokens.refused(token)
        elif status < 500:  # a gateway's 503 says nothing about the token
            self._tokens.accepted(token)

    async def _ask_for_token(self) -> Answer | NoAnswer:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret.get_secret_value(),
        }
        request = httpx.Request(
            "POST",
            self._token_url,
            content=urlencode(form).encode("ascii"),
            headers=self._headers | {"content-type": "application/x-www-form-urlencoded"},
        )
        deadline = min(self._deadline, _TOKEN_DEADLINE_SECONDS)
        return await self._exchange(request, deadline, min(self._max_answer_bytes, 1024 * 1024))

    async def _exchange(self, request: httpx.Request, deadline: float, max_bytes: int) -> Answer | NoAnswer:
        """One request over the wire: a complete answer, or why there is none."""
        assert origin(request.url) in self._origins, "a request to a host that is not ours"
        started = self._monotonic()
        try:
            async with asyncio.timeout(deadline):
                response = await self._transport.handle_async_request(request)
                try:
                    body = await _read(response, max_bytes)
                finally:
                    await response.aclose()
        except TimeoutError:
            lost = Lost.NOT_SENT if CONNECTING in request.extensions else Lost.IN_DOUBT
            return NoAnswer(lost, "deadline", self._monotonic() - started)
        except (httpx.HTTPError, OSError) as error:
            lost, cause = loss(error)
            if CONNECTING in request.extensions:
                lost = Lost.NOT_SENT
            return NoAnswer(lost, cause, self._monotonic() - started)
        except _UnusableError as unusable:
            return NoAnswer(Lost.IN_DOUBT, unusable.cause, self._monotonic() - started)
        return Answer(response.status_code, dict(response.headers.items()), body, self._monotonic() - started)


class _UnusableError(Exception):
    """An answer that is not read to its end."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


async def _read(response: httpx.Response, max_bytes: int) -> bytes:
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("identity", ""):
        raise _UnusableError("content encoding")
    parts: list[bytes] = []
    size = 0
    # The stream itself, not `aiter_raw`: it also serves in-process transports whose answer is already there.
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for part in response.stream:
        size += len(part)
        if size > max_bytes:
            raise _UnusableError("answer too large")
        parts.append(part)
    return b"".join(parts)


def _network(ssl_context: ssl.SSLContext | None, max_connections: int) -> httpx.AsyncBaseTransport:
    return Wire(
        ssl_context or httpx.create_ssl_context(trust_env=False),
        max_connections=max_connections,
        connect_seconds=_CONNECT_SECONDS,
        idle_seconds=_IDLE_SECONDS,
    )


def _below_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _silence_url_logs() -> None:
    """Httpx logs every URL at INFO, ids included; no level set elsewhere may bring that back."""
    for name in ("httpx", "httpcore", "httpcore.connection", "httpcore.http11", "httpcore.proxy"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        if _below_warning not in logger.filters:
            logger.addFilter(_below_warning)
