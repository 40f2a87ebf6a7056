"""The sender of the harness in one process and in virtual time: hours pass in milliseconds, and every wait is told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import text

from connectors.api import ApiClient
from connectors.ledger import open_ledger
from connectors.ledger.journal import Journal
from flows.settings import Secret
from pipeline.delivery.sender import Sender
from pipeline.delivery.traffic import Traffic
from pipeline.phases import Phase
from pipeline.ports import World
from sandbox.core import CLIENT_ID, CLIENT_SECRET, Core
from sandbox.inprocess import EPOCH, InProcessTransport
from schemas.errors import MeterfeedError
from schemas.ledger import Identity
from schemas.profile import GuardsSection
from tests.campaign.simulator import SimulatedLoop

BASE = "http://127.0.0.1:9/energy-coordination/v1"
ALL_MAY_BE_REFUSED = GuardsSection(rejected=1.0, rejected_alike=10**6)


@dataclass
class Ended:
    """How one start came to an end.

    Attributes:
        account: (phase, state, reason) -> records.
        seconds: virtual time it took.
        left: records `recover` left in doubt.
        requests: the API's log of this start, the token endpoint left out.
        chunks: (phase, state, records, reason, last verdict) of every chunk, by number.
    """

    error: MeterfeedError | None
    account: dict[tuple[str, str, str | None], int]
    seconds: float
    left: int
    requests: list[dict[str, Any]]
    chunks: list[tuple[str, str, int, str | None, str | None]]

    @property
    def changing(self) -> list[dict[str, Any]]:
        return [line for line in self.requests if line["method"] != "GET"]


@dataclass
class VirtualBench:
    """One tenant in one virtual time; start it as often as you like."""

    folder: Path
    plan: Mapping[Phase, pl.DataFrame | list[pl.DataFrame]]
    api: Mapping[str, Any] | None = None
    chunk: int = 10
    concurrency: int = 1
    settle: float = 30.0
    guards: GuardsSection = ALL_MAY_BE_REFUSED
    latency: tuple[float, float] = (0.05, 0.05)
    trace: bool = True
    lane: int = 0
    stop: Callable[[Core, float], bool] = lambda _core, _now: False
    token_lifetime: float = 3600.0
    set_back: float = 0.0
    """Seconds the clock of the machine was set back."""
    held: pl.DataFrame | None = None
    """Locations the ledger believes to be held before the first start."""
    core: Core = field(init=False)

    def __post_init__(self) -> None:
        self.loop = SimulatedLoop()
        self.core = Core(self.api, now=self.now, token_lifetime=self.token_lifetime)
        self.transport = InProcessTransport(self.core, latency=self.latency, seed=7)
        self.run_seq: int | None = None
        # As the ledger holds them, whatever becomes of the plan's files later.
        self.sizes = {phase: sum(piece.height for piece in self.pieces(phase)) for phase in self.plan}

    def now(self) -> float:
        return EPOCH - self.set_back + self.loop.time()

    def close(self) -> None:
        self.loop.close()

    def pieces(self, phase: Phase) -> list[pl.DataFrame]:
        found = self.plan.get(phase, [])
        return [found] if isinstance(found, pl.DataFrame) else found

    def start(self, *, deliver: bool = True) -> Ended:
        asyncio.set_event_loop(self.loop)
        try:
            return self.loop.run_until_complete(self._start(deliver))
        finally:
            asyncio.set_event_loop(None)

    async def _start(self, deliver: bool) -> Ended:
        world = World(self.now, self.loop.time, asyncio.sleep, random.Random(7).random)
        before, begun, left = len(self.core.lines), self.loop.time(), 0
        error: MeterfeedError | None = None
        with open_ledger(
            f"sqlite:///{self.folder}/ledger.sqlite", identity=Identity("t", BASE, "k"), now=self.now()
        ) as ledger:
            async with self._client() as client, Journal(ledger) as journal:
                if self.run_seq is None:
                    self.run_seq = ledger.begin_run(
                        command="sync",
                        environment="sandbox",
                        profiles="p",
                        job_digest="j",
                        stamp="20260101",
                        now=self.now(),
                    ).run_seq
                    if self.held is not None:
                        ledger.store_holdings("location", 0, self.held)
                sender = self.sender(client, ledger, world, journal)
                try:
                    left = await sender.recover()
                    if deliver:
                        partitions = max((len(self.pieces(phase)) for phase in self.plan), default=1)
                        await sender.deliver(self.run_seq, self.sizes, partitions)
                except MeterfeedError as caught:
                    error = caught
            account: dict[tuple[str, str, str | None], int] = {}
            for phase, state, reason, n in ledger.account(self.run_seq):
                account[phase, state, reason] = account.get((phase, state, reason), 0) + n
            chunks = self._chunks(ledger)
        requests = [line for line in self.core.requests()[before:] if not line["path"].startswith("/connect")]
        return Ended(error, account, self.loop.time() - begun, left, requests, chunks)

    def sender(self, client: ApiClient, ledger: Any, world: World, journal: Journal) -> Sender:
        def read_plan(run: int, phase: Phase, partition: int) -> pl.DataFrame | None:
            assert self.run_seq == run, "that is the plan of another run"
            pieces = self.pieces(phase)
            return pieces[partition] if partition < len(pieces) else None

        self.traffic = Traffic(world, chunk_records=self.chunk, concurrency=self.concurrency)
        return Sender(
            api=client,
            ledger=ledger,
            world=world,
            durable=journal,
            read_plan=read_plan,
            traffic=self.traffic,
            guards=self.guards,
            settle_seconds=self.settle,
            meter_point_keys=lambda points: [int(point) for point in points],
            stopping=lambda: self.stop(self.core, self.loop.time()),
            lane=self.lane,
            trace=self.trace,
        )

    @staticmethod
    def _chunks(ledger: Any) -> list[tuple[str, str, int, str | None, str | None]]:
        with ledger.engine.connect() as connection:
            rows = connection.execute(
                text(
                    "SELECT phase, state, n, reason, (SELECT verdict FROM attempt WHERE attempt.chunk_seq ="
                    " chunk.chunk_seq ORDER BY attempt.attempt DESC LIMIT 1) FROM chunk ORDER BY chunk_seq"
                )
            ).all()
        return [tuple(row) for row in rows]

    def _client(self) -> ApiClient:
        return ApiClient(
            BASE,
            "http://127.0.0.1:9/connect/token",
            CLIENT_ID,
            Secret(CLIENT_SECRET),
            transport=self.transport,
            monotonic=self.loop.time,
            sleep=asyncio.sleep,
            random=random.Random(7).random,
            deadline_seconds=40.0,
            trace_header="x-attempt",
        )
