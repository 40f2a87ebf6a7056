"""HTTP/1.1 spoken byte by byte, so that it can be spoken wrongly.

One coroutine, `converse`, serves one connection: it reads requests, asks the core, and plays the steps of
the answer. A `Peer` carries the bytes: a socket, or a pipe in memory.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol

from sandbox.contract import BASE_PATH, Operation, match
from sandbox.core import Core
from sandbox.exchange import Answer, Call
from sandbox.faults import TOKEN, WIRE_PREFIX
from sandbox.tokens import TOKEN_PATH
from sandbox.wire import WIRE_FAULTS, Close, Honest, Pause, Reset, Send, Silence, Step, WireFault

MAX_HEAD = 64 * 1024
Sleep = Callable[[float], Awaitable[None]]


class Peer(Protocol):
    """The other end of a connection."""

    async def read(self) -> bytes:
        """Some bytes, or none when the other end has closed."""

    async def write(self, data: bytes) -> bool:
        """Write; False when nobody is listening any more."""

    def close(self) -> None:
        """End with FIN, after what was written."""

    def reset(self) -> None:
        """End with RST, at once."""


class _Gone(Exception):
    """The client left, or does not speak HTTP."""


class _Incoming:
    """Requests out of a stream of bytes."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._held = b""

    async def _more(self) -> None:
        data = await self._peer.read()
        if not data:
            raise _Gone
        self._held += data

    async def until(self, mark: bytes) -> bytes:
        while mark not in self._held:
            if len(self._held) > MAX_HEAD:
                raise _Gone
            await self._more()
        found, _, self._held = self._held.partition(mark)
        return found

    async def exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            await self._more()
        found, self._held = self._held[:size], self._held[size:]
        return found

    async def wait(self, seconds: float | None) -> bool:
        """Wait so long, keeping what arrives meanwhile; False as soon as the client is gone."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self._more()
        except TimeoutError:
            return True
        except _Gone:
            return False


async def converse(core: Core, peer: Peer) -> None:
    """Serve a connection until either side ends it.

    Args:
        core: what answers.
        peer: the other end; it is closed when this returns.
    """
    incoming = _Incoming(peer)
    try:
        while await _exchange(core, peer, incoming):
            pass
    except _Gone:
        pass
    finally:
        peer.close()


async def _exchange(core: Core, peer: Peer, incoming: _Incoming) -> bool:
    """One request and its answer; False when the connection is over."""
    method, target, headers = _parse((await incoming.until(b"\r\n\r\n")).lstrip(b"\r\n"))
    fault, chance = _draw(core, method, target)
    if fault is not None and fault.stage == "request":
        core.note(Call(method, target, headers), WIRE_PREFIX + fault.name)
        return await _play(fault.play(Honest(503, (), b""), chance), peer, incoming)
    if headers.get("expect", "").lower() == "100-continue":
        await peer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _body(incoming, headers)
    answer = core.handle(Call(method, target, headers, body))
    honest = Honest(answer.status, tuple(answer.headers), answer.body)
    if fault is not None and answer.delivery.how == "whole" and answer.line is not None:
        answer.line.fault = WIRE_PREFIX + fault.name
        core.delivered(answer, fault.sound)
        return await _play(fault.play(honest, chance), peer, incoming)
    over = headers.get("connection", "").lower() == "close"
    core.delivered(answer, True)
    return await _play(steps_of(answer, over=over), peer, incoming)


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    request, *lines = head.decode("latin-1").split("\r\n")
    parts = request.split(" ")
    if len(parts) != 3:
        raise _Gone
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return parts[0], parts[1], headers


async def _body(incoming: _Incoming, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        pieces: list[bytes] = []
        while size := int((await incoming.until(b"\r\n")).partition(b";")[0], 16):
            pieces.append(await incoming.exactly(size))
            await incoming.exactly(2)
        await incoming.until(b"\r\n")
        return b"".join(pieces)
    return await incoming.exactly(int(headers.get("content-length", "0")))


def _draw(core: Core, method: str, target: str) -> tuple[WireFault | None, random.Random]:
    operation = _operation(method, target)
    if operation is not None:
        drawn = core.draw_wire(operation)
        if drawn is not None:
            rule, chance = drawn
            return WIRE_FAULTS[rule.kind.removeprefix(WIRE_PREFIX)], chance
    return None, random.Random(0)  # noqa: S311  (never drawn from)


def _operation(method: str, target: str) -> Operation | None:
    segments = Call(method, target).segments
    if segments == tuple(TOKEN_PATH.strip("/").split("/")):
        return TOKEN
    base = tuple(BASE_PATH.strip("/").split("/"))
    if segments[: len(base)] != base:
        return None
    found = match(method, segments[len(base) :])
    return found[0] if found else None


def steps_of(answer: Answer, *, over: bool = False) -> Iterator[Step]:
    """The steps that bring an answer out as its delivery says.

    Args:
        answer: what the core made.
        over: the client asked to end the connection afterwards.
    """
    delivery = answer.delivery
    if delivery.after:
        yield Pause(delivery.after)
    if delivery.how == "hang":
        yield Silence()
    elif delivery.how == "reset":
        yield Reset()
    elif delivery.how == "close":
        yield Close()
    else:
        honest = Honest(answer.status, tuple(answer.headers), answer.body)
        yield Send(honest.head(length=answer.status not in (204, 304)))
        if delivery.how == "cut":
            yield Send(answer.body[: delivery.cut])
            yield Close()
        size = delivery.piece or len(answer.body) or 1
        for start in range(0, len(answer.body), size):
            yield Send(answer.body[start : start + size])
            if delivery.piece:
                yield Pause(delivery.tick)
    if over:
        yield Close()


async def _play(steps: Iterator[Step], peer: Peer, incoming: _Incoming) -> bool:
    """Take the steps; False when the connection is over."""
    for step in steps:
        match step:
            case Send(data):
                if data and not await peer.write(data):
                    return False
            case Pause(seconds):
                if not await incoming.wait(seconds):
                    return False
            case Silence():
                await incoming.wait(None)
                return False
            case Reset():
                peer.reset()
                return False
            case Close():
                peer.close()
                return False
    return True
