"""The sandbox inside the client's own process: no sockets, and time that only passes when nobody works.

`InProcessTransport` is an `httpx` transport over a `Core`: quick, for thousands of schedules. Faults of the
wire need bytes: `wire_transport` is httpx's own transport over pipes in memory, with the real HTTP parser, and
`MemoryNetwork` is for a client that opens its connections with `loop.create_connection`.
Under `run_in_virtual_time` all wait in virtual time, and so does everything else on the event loop.

    core = Core("storm", now=virtual_now)
    run_in_virtual_time(lambda: main(httpx.AsyncClient(transport=InProcessTransport(core))))
"""

from __future__ import annotations

import asyncio
import os
import random
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import httpcore
import httpx

from sandbox.connection import Sleep, converse
from sandbox.core import Core
from sandbox.exchange import Answer, Call

T = TypeVar("T")

EPOCH = 1_767_225_600.0
"""Where virtual time begins: 2026-01-01T00:00:00Z, in seconds since 1970."""

FOR_EVER = 86_400.0
"""Seconds after which a client without a read timeout gives up on a silent server."""


class InProcessTransport(httpx.AsyncBaseTransport):
    """Answers from a core, and does to the client what the answer's delivery says.

    Args:
        core: what answers.
        sleep: how to wait.
        latency: least and most seconds a request, and its answer, are on their way; drawn from `seed`.
        seed: of the latencies.
    """

    def __init__(
        self,
        core: Core,
        *,
        sleep: Sleep = asyncio.sleep,
        latency: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        self.core = core
        self._sleep = sleep
        self._latency = latency
        self._chance = random.Random(f"latency/{seed}")  # noqa: S311  (reproducible on purpose)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request, or raise what httpx raises on a bad connection."""
        body = await request.aread()
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(request.method, request.url.raw_path.decode("ascii"), headers, body)
        await self._travel()
        answer = self.core.handle(call)
        limit: float | None = request.extensions.get("timeout", {}).get("read")
        delivered = False
        try:
            response = await self._deliver(answer, request, limit)
            delivered = True
        finally:
            self.core.delivered(answer, delivered)
        return response

    async def _travel(self) -> None:
        if self._latency[1] > 0:
            await self._sleep(self._chance.uniform(*self._latency))

    async def _deliver(self, answer: Answer, request: httpx.Request, limit: float | None) -> httpx.Response:
        delivery = answer.delivery
        if delivery.how == "hang":
            await self._sleep(FOR_EVER if limit is None else limit)
            raise httpx.ReadTimeout("", request=request)
        if limit is not None and delivery.after > limit:
            await self._sleep(limit)
            raise httpx.ReadTimeout("", request=request)
        if delivery.after:
            await self._sleep(delivery.after)
        await self._travel()
        if delivery.how == "close":
            raise httpx.RemoteProtocolError(
                "Server disconnected without sending a response.", request=request
            )
        if delivery.how == "reset":
            raise httpx.ReadError("[Errno 104] Connection reset by peer", request=request)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        if answer.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(answer.body)))
        stream = _Stream(self._pieces(answer, request, limit))
        return httpx.Response(answer.status, headers=headers, stream=stream, request=request)

    async def _pieces(
        self, answer: Answer, request: httpx.Request, limit: float | None
    ) -> AsyncIterator[bytes]:
        delivery, body = answer.delivery, answer.body
        if delivery.how == "cut":
            yield body[: delivery.cut]
            raise httpx.RemoteProtocolError(
                f"peer closed connection without sending complete message body "
                f"(received {delivery.cut} bytes, expected {len(body)})",
                request=request,
            )
        size = delivery.piece or len(body) or 1
        for start in range(0, len(body), size):
            yield body[start : start + size]
            if not delivery.piece:
                continue
            if limit is not None and delivery.tick > limit:
                await self._sleep(limit)
                raise httpx.ReadTimeout("", request=request)
            await self._sleep(delivery.tick)


class _Stream(httpx.AsyncByteStream):
    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    async def aclose(self) -> None:
        close = getattr(self._pieces, "aclose", None)
        if close is not None:
            await close()


def wire_transport(core: Core) -> httpx.AsyncHTTPTransport:
    """The transport of httpx itself over pipes in memory: every fault of the wire, the real parser, no sockets."""
    core.wire_ready = True
    transport = httpx.AsyncHTTPTransport()
    transport._pool = httpcore.AsyncConnectionPool(network_backend=MemoryBackend(core))  # noqa: SLF001
    return transport


class MemoryBackend(httpcore.AsyncNetworkBackend):
    """Connects every host and port to a core, in memory."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002  (the signature is httpcore's)
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Open a connection to the core."""
        pipe = _Pipe()
        task = asyncio.create_task(converse(self._core, _ServerEnd(pipe)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _ClientEnd(pipe)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class _Pipe:
    """Bytes under way in both directions."""

    def __init__(self) -> None:
        self.to_server: asyncio.Queue[bytes] = asyncio.Queue()
        self.to_client: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=64)
        self.client_left = asyncio.Event()
        self.ended = False
        """The server said FIN or RST."""
        self.was_reset = False


class _ServerEnd:
    """The client, as the server sees it."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe

    async def read(self) -> bytes:
        return await self._pipe.to_server.get()

    async def write(self, data: bytes) -> bool:
        if self._pipe.client_left.is_set() or self._pipe.ended:
            return False
        put = asyncio.ensure_future(self._pipe.to_client.put(data))
        left = asyncio.ensure_future(self._pipe.client_left.wait())
        try:
            await asyncio.wait({put, left}, return_when=asyncio.FIRST_COMPLETED)
            return put.done()
        finally:
            put.cancel()
            left.cancel()

    def close(self) -> None:
        """The same as `abort`: there is nothing to flush."""
        self._end()

    def reset(self) -> None:
        self._pipe.was_reset = True
        while not self._pipe.to_client.empty():
            self._pipe.to_client.get_nowait()
        self._end()

    def _end(self) -> None:
        if not self._pipe.ended:
            self._pipe.ended = True
            # A full queue needs no mark: its reader looks at `ended` once it has emptied it.
            if not self._pipe.to_client.full():
                self._pipe.to_client.put_nowait(None)


class _ClientEnd(httpcore.AsyncNetworkStream):
    """The server, as httpcore sees it."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._held = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if not self._held:
            self._held = await self._next(timeout)
        found, self._held = self._held[:max_bytes], self._held[max_bytes:]
        return found

    async def _next(self, limit: float | None) -> bytes:
        pipe = self._pipe
        if pipe.ended and pipe.to_client.empty():
            data = None
        else:
            try:
                async with asyncio.timeout(limit):
                    data = await pipe.to_client.get()
            except TimeoutError:
                raise httpcore.ReadTimeout from None
        if pipe.was_reset:
            raise httpcore.ReadError("[Errno 104] Connection reset by peer")
        return data or b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109
        if self._pipe.was_reset:
            raise httpcore.WriteError("[Errno 104] Connection reset by peer")
        if buffer:  # nothing at all would mean that the client left
            self._pipe.to_server.put_nowait(bytes(buffer))

    async def aclose(self) -> None:
        self._pipe.client_left.set()
        self._pipe.to_server.put_nowait(b"")

    def get_extra_info(self, info: str) -> Any:
        # httpcore asks before it uses a connection again: one with something to read is over.
        if info == "is_readable":
            return self._pipe.ended or not self._pipe.to_client.empty() or bool(self._held)
        return None


class MemoryNetwork:
    """Connections in memory for clients that speak through an `asyncio.Protocol`.

    Args:
        core: what answers, whatever host is asked for.
        latency: least and most seconds any bytes are on their way; drawn from `seed`.
        seed: of the latencies.
    """

    def __init__(self, core: Core, *, latency: tuple[float, float] = (0.0, 0.0), seed: int = 0) -> None:
        core.wire_ready = True
        self._core = core
        self._latency = latency
        self._chance = random.Random(f"network/{seed}")  # noqa: S311  (reproducible on purpose)
        self.serving: set[asyncio.Task[None]] = set()
        """One task for every connection that is not over."""
        self.open: set[MemoryTransport] = set()
        """The ends of the client."""

    def travel(self) -> float:
        """Seconds the next bytes are on their way."""
        return self._chance.uniform(*self._latency) if self._latency[1] else 0.0

    def connect(self, factory: Callable[[], asyncio.Protocol]) -> tuple[MemoryTransport, asyncio.Protocol]:
        """What `loop.create_connection` returns."""
        protocol = factory()
        transport = MemoryTransport(self, protocol)
        self.open.add(transport)
        task = asyncio.create_task(converse(self._core, _NetworkPeer(transport)))
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)
        protocol.connection_made(transport)
        return transport, protocol


class MemoryTransport(asyncio.Transport):
    """The client's end of a connection in memory; bytes arrive in order, each after its time on the way."""

    def __init__(self, network: MemoryNetwork, protocol: asyncio.Protocol) -> None:
        super().__init__({"socket": _SILENT})
        self._network = network
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._paused = False
        self._held: list[bytes | Exception | None] = []
        self._last = {"out": 0.0, "in": 0.0}
        self.to_server: asyncio.Queue[bytes] = asyncio.Queue()
        self.flows = asyncio.Event()
        self.flows.set()

    def _at(self, way: str) -> float:
        self._last[way] = max(self._last[way], self._loop.time() + self._network.travel())
        return self._last[way]

    # ---------------------------------------------------------- for the client
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; it arrives later, or never."""
        if not self._closing:
            self._loop.call_at(self._at("out"), self.to_server.put_nowait, bytes(data))

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0

    def is_closing(self) -> bool:
        """Whether either side has ended it."""
        return self._closing

    def pause_reading(self) -> None:
        """Let nothing arrive for now."""
        self._paused = True
        self.flows.clear()

    def resume_reading(self) -> None:
        """Let arrive what was held back."""
        self._paused = False
        self.flows.set()
        held, self._held = self._held, []
        for one in held:
            self._arrive(one)

    def close(self) -> None:
        """The same as `abort`: there is nothing to flush."""
        self.abort()

    def abort(self) -> None:
        """Leave: what was written still arrives, then the end."""
        if not self._closing:
            self._loop.call_at(self._at("out"), self.to_server.put_nowait, b"")
            self._lose(None)

    # ---------------------------------------------------------- for the server
    def bring(self, what: bytes | Exception | None) -> None:
        """Bytes, None for FIN or an error for RST, on their way to the client."""
        self._loop.call_at(self._at("in"), self._arrive, what)

    def _arrive(self, what: bytes | Exception | None) -> None:
        if self._closing:
            return
        if self._paused:
            self._held.append(what)
        elif isinstance(what, bytes):
            self._protocol.data_received(what)
        else:
            if what is None:
                self._protocol.eof_received()
            if not self._closing:
                self._lose(what)

    def _lose(self, error: Exception | None) -> None:
        self._closing = True
        self.flows.set()
        self._network.open.discard(self)
        self._loop.call_soon(self._protocol.connection_lost, error)


class _SilentSocket:
    """What a client may poll to see whether anything is waiting: nothing ever is, it has been told already."""

    def __init__(self) -> None:
        self._number: int | None = None

    def fileno(self) -> int:
        if self._number is None:
            self._number = os.eventfd(0)
        return self._number


_SILENT = _SilentSocket()


class _NetworkPeer:
    """The client, as `converse` sees it."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport
        self._ended = False

    async def read(self) -> bytes:
        return await self._transport.to_server.get()

    async def write(self, data: bytes) -> bool:
        await self._transport.flows.wait()
        if self._ended or self._transport.is_closing():
            return False
        self._transport.bring(data)
        if len(data) >= _LARGE:
            await asyncio.sleep(0)
        return True

    def close(self) -> None:
        """The same as `abort`: there is nothing to flush."""
        self._end(None)

    def reset(self) -> None:
        self._end(ConnectionResetError(104, "Connection reset by peer"))

    def _end(self, how: Exception | None) -> None:
        if not self._ended:
            self._ended = True
            self._transport.bring(how)


_LARGE = 16 * 1024


class _VirtualSelector(selectors.DefaultSelector):
    """Never waits: moves the time on instead."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            # Nothing is scheduled: only another thread can wake us, so really wait for it.
            return super().select(None)
        self.passed += timeout
        return found


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next thing to do.

    Threads live in real time: work handed to one (`asyncio.to_thread`) may seem to take until the next timer.
    """

    def __init__(self) -> None:
        self._virtual = _VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.passed


def virtual_now() -> float:
    """The wall clock of virtual time, seconds since 1970; `EPOCH` while no virtual loop runs."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return EPOCH
    return EPOCH + (loop.time() if isinstance(loop, VirtualTimeLoop) else 0.0)


def run_in_virtual_time(main: Callable[[], Coroutine[Any, Any, T]] | Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine on a fresh loop in virtual time, and return what it returns."""

    async def whole() -> T:
        return await main()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(whole())
