"""HTTP/1.1 over asyncio for one careful client: an httpx transport that knows what left and what came back.

Two things httpx's own transport cannot tell, and a register that must not be changed twice needs: whether any
byte of a request had left when it failed, and whether anything stood behind its answer. Measured: when a
server writes two answers in one go, httpx 0.28 hands the second to the next request on that connection, as
its answer. Here one request at a time uses a connection, and a connection that says anything unasked is never
used again. The protocol itself is h11's, as it is httpx's.
"""

from __future__ import annotations

import asyncio
import ipaddress
import select
import socket
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

import h11
import httpx
from aiohappyeyeballs import start_connection

CONNECTING = "meterfeed.connecting"
"""Request extension, there until the first byte of the request is about to leave."""

_LONGEST_HEAD = 64 * 1024
_AT_ONCE = 32 * 1024
"""Bytes shown to h11 in one go before the body: it looks at the size of a head only when it asks for more."""
_MOST_INTERIM = 10
_HIGH_WATER = 256 * 1024
_HAPPY_EYEBALLS_SECONDS = 0.25


class Wire(httpx.AsyncBaseTransport):
    """Carries requests over TCP and TLS.

    Args:
        ssl_context: whom to trust.
        max_connections: open at the same time, over all hosts.
        connect_seconds: for name look-up, TCP and TLS together.
        idle_seconds: a connection unused for longer is not used again: the server may be closing it.
    """

    def __init__(
        self,
        ssl_context: ssl.SSLContext,
        *,
        max_connections: int,
        connect_seconds: float,
        idle_seconds: float,
    ) -> None:
        self._ssl_context = ssl_context
        self._slots = asyncio.Semaphore(max_connections)
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._idle: dict[tuple[str, str, int], list[_Connection]] = {}
        self._open: set[_Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends one request and brings the head of its answer; the body follows as it is read.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout: nothing has left.
            httpx.ReadError: the connection broke.
            httpx.RemoteProtocolError: what came is not one HTTP answer to this request.
        """
        request.extensions[CONNECTING] = True
        body = await request.aread()
        await self._slots.acquire()
        try:
            connection = await self._connection(request.url)
        except BaseException:
            self._slots.release()
            raise
        try:
            message = connection.message(request, body)
            del request.extensions[CONNECTING]
            connection.write(message)
            head = await connection.head()
        except BaseException:
            self._release(connection, reusable=False)
            raise
        return httpx.Response(
            head.status_code, headers=list(head.headers), stream=_Body(self, connection), request=request
        )

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Drops every connection and waits until it is gone."""
        leaving = list(self._open)
        for connection in leaving:
            connection.drop()
        if leaving:
            await asyncio.wait([connection.gone for connection in leaving])

    async def _connection(self, url: httpx.URL) -> _Connection:
        origin = (url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])
        now = asyncio.get_running_loop().time()
        resting = self._idle.get(origin, [])
        while resting:
            connection = resting.pop()
            if connection.is_fit and now - connection.rested_at <= self._idle_seconds:
                return connection
            connection.drop()
        return await self._connect(origin)

    async def _connect(self, origin: tuple[str, str, int]) -> _Connection:
        scheme, host, port = origin
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                where: dict[str, Any] = {"host": host, "port": port}
                if not _is_address(host):
                    where = {"sock": await _first_to_connect(host, port)}
                    where |= {"server_hostname": host} if scheme == "https" else {}
                _, connection = await loop.create_connection(
                    lambda: _Connection(origin, self._open),
                    **where,
                    ssl=self._ssl_context if scheme == "https" else None,
                )
        except TimeoutError:
            raise httpx.ConnectTimeout("no connection in time") from None
        except (OSError, UnicodeError):  # refused, unknown host, certificate
            raise httpx.ConnectError("no connection") from None
        return connection

    def _release(self, connection: _Connection, *, reusable: bool) -> None:
        """The exchange is over: the connection rests or is dropped."""
        if reusable and connection.rest():
            self._idle.setdefault(connection.origin, []).append(connection)
        else:
            connection.drop()
        self._slots.release()


_PORTS = {"http": 80, "https": 443}


# ---------------------------------------------------------------------- several addresses of one host
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


async def _first_to_connect(host: str, port: int) -> socket.socket:
    """A connection to whichever address of a host answers first, tried one a moment after the other (RFC 8305).

    asyncio can do that as well, but loses an open socket when it is cancelled about when one connects: a deadline
    that falls in that moment left a connection open behind us.
    """
    addresses = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await start_connection(addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_SECONDS)


class _Body(httpx.AsyncByteStream):
    """The body of an answer as it arrives. Closing it early drops the connection."""

    def __init__(self, wire: Wire, connection: _Connection) -> None:
        self._wire = wire
        self._connection: _Connection | None = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection = self._connection
        assert connection is not None, "a body is read once"
        while (part := await connection.body()) is not None:
            yield part
        self._done(reusable=True)

    async def aclose(self) -> None:
        self._done(reusable=False)

    def _done(self, *, reusable: bool) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._wire._release(connection, reusable=reusable)  # noqa: SLF001  the two are one thing


class _Connection(asyncio.Protocol):
    """One TCP or TLS connection, used by one exchange at a time."""

    def __init__(self, origin: tuple[str, str, int], family: set[_Connection]) -> None:
        self.origin = origin
        self.rested_at = 0.0
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._family = family
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD)
        self._arrived = bytearray()
        self._ended = False
        self._broken = False
        self._resting = False
        self._waiter: asyncio.Future[None] | None = None

    # -------------------------------------------------------------- what asyncio tells
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._family.add(self)

    def data_received(self, data: bytes) -> None:
        if self._resting:  # nobody asked
            self.drop()
            return
        self._arrived += data
        if len(self._arrived) > _HIGH_WATER:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._broken = self._broken or exc is not None
        self._family.discard(self)
        self.gone.set_result(None)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -------------------------------------------------------------- resting
    @property
    def is_fit(self) -> bool:
        """Still open, and silent: not even an end has arrived that the loop has yet to tell."""
        if self._ended or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def rest(self) -> bool:
        """Makes ready for the next request; False when there must not be one."""
        if self._ended or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._resting = True
        self.rested_at = asyncio.get_running_loop().time()
        return True

    def drop(self) -> None:
        """Closes at once; what is still to come is not wanted."""
        self._ended = True
        self._transport.abort()

    # -------------------------------------------------------------- one exchange
    def message(self, request: httpx.Request, body: bytes) -> bytes:
        """The bytes of a request; raises `httpx.LocalProtocolError`, before anything has left."""
        try:
            head = self._http.send(
                h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
            )
            data = self._http.send(h11.Data(data=body)) if body else b""
            end = self._http.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            raise httpx.LocalProtocolError("not a request") from None
        return (head or b"") + (data or b"") + (end or b"")

    def write(self, message: bytes) -> None:
        """Sends; whether it arrives is known by the answer only."""
        self._resting = False
        self._transport.write(message)

    async def head(self) -> h11.Response:
        """The head of the final answer."""
        for _ in range(_MOST_INTERIM + 1):
            event = await self._event(_AT_ONCE)
            if isinstance(event, h11.Response):
                self._check(event)
                return event
        raise httpx.RemoteProtocolError("no final answer")

    def _check(self, head: h11.Response) -> None:
        if head.status_code < 300 and self._transport.get_write_buffer_size() > 0:
            raise httpx.RemoteProtocolError("a success before the request was sent")
        names = [name for name, _ in head.headers]
        if b"content-length" in names and b"transfer-encoding" in names:
            raise httpx.RemoteProtocolError("two lengths")  # RFC 9112 6.3: perhaps smuggled

    async def body(self) -> bytes | None:
        """The next part of the body; None at its end."""
        event = await self._event(_HIGH_WATER)
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            raise httpx.RemoteProtocolError("the answer does not end")  # pragma: no cover  h11 raises first
        if self._arrived or self._http.trailing_data[0]:
            self.drop()
            raise httpx.RemoteProtocolError("more than one answer")
        if self._transport.get_write_buffer_size() > 0:
            self._ended = True  # never to be used again: the rest of the request is still leaving
        return None

    async def _event(self, at_once: int) -> h11.Event | type[h11.NEED_DATA | h11.PAUSED]:
        while True:
            try:
                event = self._http.next_event()
                if event is not h11.NEED_DATA:
                    return event
                self._http.receive_data(await self._bytes(at_once))
            except h11.RemoteProtocolError:
                raise httpx.RemoteProtocolError("not an HTTP answer") from None

    async def _bytes(self, at_once: int) -> bytes:
        """What has arrived, at most so much; empty at the end; raises `httpx.ReadError` when the connection broke."""
        while not self._arrived and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if not self._arrived and self._broken:
            raise httpx.ReadError("the connection broke")
        data = bytes(self._arrived[:at_once])
        del self._arrived[:at_once]
        if not self._arrived and not self._ended:
            self._transport.resume_reading()
        return data
