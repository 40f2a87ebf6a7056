"""The core as an ASGI application: takes requests apart, puts answers on the wire the way they should go.

A plain ASGI callable: routing is the contract's table and has to be the same in-process, so a framework
would only add a second router.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sandbox.core import Core
from sandbox.exchange import Answer, Call

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONNECTION = "sandbox.connection"
"""The key in `scope["extensions"]` under which the server hands over the connection's transport."""

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a request body beyond which the sandbox answers 413 by itself."""


class SandboxApp:
    """The application.

    Args:
        core: what answers.
        local_only: refuse requests whose Host header is not this machine, so that no web page opened in a
            browser here can read the records by pointing its own name at us.
    """

    def __init__(self, core: Core, *, local_only: bool = True) -> None:
        self.core = core
        self._local_only = local_only

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        body = await _read(receive)
        if body is None:
            return
        if len(body) > MAX_BODY:
            answer = Answer(413)
        elif self._local_only and not _is_local(headers.get("host", "")):
            answer = Answer(421)
        else:
            query = scope["query_string"]
            target = scope["raw_path"] + (b"?" + query if query else b"")
            answer = self.core.handle(Call(scope["method"], target.decode("latin-1"), headers, body))
        transport = scope.get("extensions", {}).get(CONNECTION)
        reported = False

        def report() -> None:
            nonlocal reported
            reported = True
            self.core.delivered(answer, transport is None or not transport.is_closing())

        try:
            await _deliver(answer, receive, send, transport, report)
        finally:
            if not reported:
                self.core.delivered(answer, False)


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None if the client left before its end."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        piece = message.get("body", b"")
        size += len(piece)
        if size <= MAX_BODY + len(piece):
            pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _deliver(
    answer: Answer,
    receive: Receive,
    send: Send,
    transport: asyncio.Transport | None,
    report: Callable[[], None],
) -> None:
    """Send an answer as its delivery says; `report` is called before its last byte goes out.

    Before, not after: a client that has the whole answer must find it in the log as delivered.
    """
    delivery = answer.delivery
    if delivery.after and not await _wait(delivery.after, receive):
        return
    if delivery.how == "hang":
        await _wait(None, receive)
        return
    if delivery.how in ("close", "reset"):
        await _end(transport, receive, reset=delivery.how == "reset")
        return
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    if answer.status not in (204, 304):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if delivery.how == "cut":
        await send({"type": "http.response.body", "body": answer.body[: delivery.cut], "more_body": True})
        await _end(transport, receive, reset=False)
        return
    if delivery.piece:
        for start in range(0, len(answer.body), delivery.piece):
            piece = answer.body[start : start + delivery.piece]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if not await _wait(delivery.tick, receive):
                return
        report()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    else:
        report()
        await send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _wait(seconds: float | None, receive: Receive) -> bool:
    """Wait so long (None: for ever); False as soon as the client is gone."""
    try:
        async with asyncio.timeout(seconds):
            await _gone(receive)
    except TimeoutError:
        return True
    return False


async def _gone(receive: Receive) -> None:
    """Wait until the connection is closed."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(transport: asyncio.Transport | None, receive: Receive, *, reset: bool) -> None:
    """End a connection: FIN after what was written, or RST at once."""
    if transport is None:
        return
    if reset:
        end_with_reset(transport)
    else:
        transport.close()
    await _gone(receive)


def end_with_reset(transport: asyncio.WriteTransport) -> None:
    """End a connection with RST: what was written and not yet sent is lost."""
    raw = transport.get_extra_info("socket")
    if raw is not None and not transport.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
