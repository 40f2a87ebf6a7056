"""Every way httpx can fail, by whether anything may have reached the server.

Only what certainly happened before the first byte of the request counts as not sent; all else is in doubt and
is read back. A test fails when httpx grows an exception that is not in the table.
"""

from __future__ import annotations

import httpx

from schemas.exchange import Lost

LOSSES: dict[type[Exception], tuple[Lost, str]] = {
    httpx.ConnectError: (Lost.NOT_SENT, "connect"),  # refused, name look-up, TLS
    httpx.ConnectTimeout: (Lost.NOT_SENT, "connect timeout"),
    httpx.PoolTimeout: (Lost.NOT_SENT, "pool timeout"),
    httpx.ProxyError: (Lost.NOT_SENT, "proxy"),
    httpx.UnsupportedProtocol: (Lost.NOT_SENT, "unsupported protocol"),
    httpx.WriteError: (Lost.IN_DOUBT, "write failed"),
    httpx.WriteTimeout: (Lost.IN_DOUBT, "write timeout"),
    httpx.ReadError: (Lost.IN_DOUBT, "connection lost"),
    httpx.ReadTimeout: (Lost.IN_DOUBT, "read timeout"),
    httpx.CloseError: (Lost.IN_DOUBT, "connection lost"),
    httpx.NetworkError: (Lost.IN_DOUBT, "connection lost"),
    httpx.TimeoutException: (Lost.IN_DOUBT, "read timeout"),
    httpx.RemoteProtocolError: (Lost.IN_DOUBT, "protocol"),
    httpx.LocalProtocolError: (Lost.IN_DOUBT, "protocol"),
    httpx.ProtocolError: (Lost.IN_DOUBT, "protocol"),
    httpx.TransportError: (Lost.IN_DOUBT, "connection lost"),
    httpx.DecodingError: (Lost.IN_DOUBT, "content encoding"),
    httpx.TooManyRedirects: (Lost.IN_DOUBT, "protocol"),
    httpx.RequestError: (Lost.IN_DOUBT, "connection lost"),
    httpx.HTTPStatusError: (Lost.IN_DOUBT, "protocol"),
    httpx.HTTPError: (Lost.IN_DOUBT, "connection lost"),
}

MISUSE = frozenset(
    {
        httpx.CookieConflict,
        httpx.InvalidURL,
        httpx.RequestNotRead,
        httpx.ResponseNotRead,
        httpx.StreamClosed,
        httpx.StreamConsumed,
        httpx.StreamError,
    }
)
"""Exceptions that only a bug of ours can raise: they are let through."""


def loss(error: httpx.HTTPError | OSError) -> tuple[Lost, str]:
    """Whether anything may have left the machine, and a word for the report."""
    known = (LOSSES[kind] for kind in type(error).__mro__ if kind in LOSSES)
    return next(known, (Lost.IN_DOUBT, "connection lost"))
