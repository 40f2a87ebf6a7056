"""The sandbox as a server on loopback: `Sandbox` in a thread for tests, `serve` in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.app import CONNECTION, Message, Receive, SandboxApp, Send, end_with_reset
from sandbox.connection import converse
from sandbox.contract import BASE_PATH
from sandbox.core import CLIENT_ID, CLIENT_SECRET, Clock, Core
from sandbox.faults import FaultPlan, PlanSource, load_plan
from sandbox.semantics import Rules, Semantics
from sandbox.tokens import TOKEN_PATH

HOST = "127.0.0.1"
"""The sandbox is never reachable from another machine."""


class _Protocol(H11Protocol):
    """Hands the connection to the application, so that a fault can end it without an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        inner = self.app

        @functools.wraps(inner)
        async def with_connection(scope: Message, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[CONNECTION] = transport
            await inner(scope, receive, send)

        self.app = with_connection


class Sandbox:
    """The API on a port of this machine, until the `with` block ends.

    Args:
        port: where to listen; 0 takes a free one.
        faults: a plan's name, file or mapping, see `sandbox.faults`.
        semantics: the cell; wins over the plan's.
        rules: what is refused about a record; wins over the plan's.
        state_dir: keep the logs there, and take up what they say when started again.
        seed: of every draw; wins over the plan's.
        client_id: the one client that gets tokens.
        client_secret: its secret.
        token_lifetime: seconds a token lives.
        now: the clock for lags, late requests and tokens.
        wire: speak HTTP byte by byte, so that faults of the wire can be played, also by a later plan; on by
            itself when the first plan has some. Slower than the ordinary server.

    Raises:
        ValueError: the plan is wrong.
        OSError: the port is taken, the plan or the state cannot be read.
    """

    def __init__(
        self,
        port: int = 0,
        faults: PlanSource = None,
        *,
        semantics: Semantics | str | None = None,
        rules: Rules | Mapping[str, Any] | None = None,
        state_dir: str | Path | None = None,
        seed: int | None = None,
        client_id: str = CLIENT_ID,
        client_secret: str = CLIENT_SECRET,
        token_lifetime: float = 3600.0,
        now: Clock = time.time,
        wire: bool = False,
    ) -> None:
        self.client_id = client_id
        self.client_secret = client_secret
        self.core = Core(
            _plan(faults, semantics, rules, seed),
            client_id=client_id,
            client_secret=client_secret,
            token_lifetime=token_lifetime,
            now=now,
            state_dir=Path(state_dir) if state_dir is not None else None,
        )
        self.core.wire_ready = wire or self.core.plan.has_wire_faults
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self._thread: threading.Thread | None = None
        self._carrier: _Uvicorn | _Wire = (_Wire if self.core.wire_ready else _Uvicorn)(
            self.core, self._socket
        )

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://{HOST}:{self.port}"

    @property
    def base_url(self) -> str:
        """What METERFEED_BASE_URL takes."""
        return self.origin + BASE_PATH

    @property
    def token_url(self) -> str:
        """What METERFEED_TOKEN_URL takes."""
        return self.origin + TOKEN_PATH

    @property
    def settings(self) -> dict[str, str]:
        """The settings a client needs, named as the loader's environment variables."""
        return {
            "METERFEED_BASE_URL": self.base_url,
            "METERFEED_TOKEN_URL": self.token_url,
            "METERFEED_CLIENT_ID": self.client_id,
            "METERFEED_CLIENT_SECRET": self.client_secret,
        }

    def state(self) -> dict[str, Any]:
        """Everything held, see `Core.state`."""
        return self.core.state()

    def effects(self, since: int = 0, *, content: bool = False) -> list[dict[str, Any]]:
        """The effect log, see `Core.effects`."""
        return self.core.effects(since, content=content)

    def requests(self) -> list[dict[str, Any]]:
        """The request log."""
        return self.core.requests()

    def settle(self) -> None:
        """Apply what is still under way, whatever the clock says."""
        self.core.settle()

    def reset(self) -> None:
        """Forget records, logs and tokens."""
        self.core.reset()

    def set_faults(self, faults: PlanSource) -> None:
        """Take another plan; records and logs stay."""
        self.core.set_faults(faults)

    def __enter__(self) -> Self:
        """Start serving in a thread. Requests sent from now on are answered."""
        self._thread = threading.Thread(target=self.run, name=f"sandbox-{self.port}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving; requests still under way are cut off."""
        self._carrier.stop()
        if self._thread is not None:
            self._thread.join()
        self.close()

    def run(self) -> None:
        """Serve in this thread until told to stop."""
        asyncio.run(self._carrier.serve())

    def close(self) -> None:
        """Give back the port and the log files."""
        self._socket.close()
        self.core.close()


class _Uvicorn:
    """Carries requests with uvicorn: the quick and ordinary way."""

    def __init__(self, core: Core, listener: socket.socket) -> None:
        self._socket = listener
        self._server = uvicorn.Server(
            uvicorn.Config(
                SandboxApp(core),
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=1,
            )
        )

    async def serve(self) -> None:
        """Serve until told to stop."""
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Stop, from any thread."""
        self._server.should_exit = True


class _Wire:
    """Carries requests with our own HTTP, which can be spoken wrongly."""

    def __init__(self, core: Core, listener: socket.socket) -> None:
        self._core = core
        self._socket = listener
        self._told = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()

    async def serve(self) -> None:
        """Serve until told to stop."""
        self._loop = asyncio.get_running_loop()
        async with await asyncio.start_server(self._connected, sock=self._socket, limit=1 << 20):
            if not self._told.is_set():
                await self._over.wait()

    def stop(self) -> None:
        """Stop, from any thread."""
        self._told.set()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _SocketPeer(reader, writer)
        try:
            await converse(self._core, peer)
            await peer.linger()
        except (OSError, asyncio.CancelledError):
            # The client is gone, or the sandbox ends: either way nobody is left to be told.
            peer.reset()


LINGER = 2.0
"""Seconds a closed connection waits for its client to close as well."""


class _SocketPeer:
    """A client on a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ended = False

    async def read(self) -> bytes:
        try:
            return await self._reader.read(1 << 18)
        except OSError:
            return b""

    async def write(self, data: bytes) -> bool:
        if self._writer.is_closing():
            return False
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            return False
        return True

    def close(self) -> None:
        if not self._ended:
            self._ended = True
            with contextlib.suppress(OSError):
                self._writer.write_eof()

    def reset(self) -> None:
        self._ended = True
        end_with_reset(self._writer.transport)

    async def linger(self) -> None:
        """Read on until the client closes: to end a connection with bytes unread is a reset, not a FIN."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while await self.read():
                    pass
        self._writer.close()


def serve(
    port: int = 0,
    faults: PlanSource = None,
    *,
    state_dir: str | Path | None = None,
    announce: Callable[[Sandbox], None] | None = None,
    **settings: Any,
) -> None:
    """Serve in the foreground until interrupted.

    Args:
        port: where to listen; 0 takes a free one.
        faults: a plan's name, file or mapping.
        state_dir: keep the logs there, and take up what they say.
        announce: called once the port is taken, before the first request.
        settings: further arguments of `Sandbox`.

    Raises:
        ValueError: the plan is wrong.
        OSError: the port is taken, the plan or the state cannot be read.
    """
    sandbox = Sandbox(port, faults, state_dir=state_dir, **settings)
    try:
        if announce is not None:
            announce(sandbox)
        with contextlib.suppress(KeyboardInterrupt):
            sandbox.run()
    finally:
        sandbox.close()


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(256)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _plan(
    faults: PlanSource,
    semantics: Semantics | str | None,
    rules: Rules | Mapping[str, Any] | None,
    seed: int | None,
) -> FaultPlan:
    plan = load_plan(faults)
    if isinstance(semantics, str):
        semantics = Semantics.parse(semantics)
    if rules is not None and not isinstance(rules, Rules):
        rules = Rules.from_mapping(rules)
    return replace(
        plan,
        semantics=semantics or plan.semantics,
        rules=rules or plan.rules,
        seed=plan.seed if seed is None else seed,
    )
