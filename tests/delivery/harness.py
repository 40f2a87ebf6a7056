"""The real sender, ledger and client against the real sandbox, on plans made by hand."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from connectors.api import ApiClient
from connectors.ledger import open_ledger
from connectors.ledger.journal import Journal
from connectors.ledger.store import Ledger
from flows.settings import Secret
from pipeline.delivery.sender import Sender
from pipeline.delivery.traffic import Traffic
from pipeline.phases import Phase
from pipeline.plan import PLAN_SCHEMA
from pipeline.ports import World
from schemas.errors import MeterfeedError
from schemas.ledger import Identity
from schemas.profile import GuardsSection


def users(n: int, start: int = 0) -> pl.DataFrame:
    ids = [f"user-{number:05d}" for number in range(start, start + n)]
    return _frame(ids, ids, [f'{{"userId":"{one}"}}' for one in ids])


def locations(n: int, start: int = 0) -> pl.DataFrame:
    numbers = range(start, start + n)
    return _frame(
        [f"user-{number:05d}" for number in numbers],
        [f"loc-{number:05d}" for number in numbers],
        [
            f'{{"userId":"user-{number:05d}","locationId":"loc-{number:05d}","locationType":"Residential",'
            f'"coordinates":{{"latitude":60.{number:05d},"longitude":10.5}},'
            f'"meterPointIds":["70705759999{number:07d}"]}}'
            for number in numbers
        ],
    )


def resources(n: int, kind: str = "HotWaterTank") -> pl.DataFrame:
    numbers = range(n)
    return _frame(
        [f"user-{number:05d}" for number in numbers],
        [f"res-{number:05d}" for number in numbers],
        [f'{{"resourceId":"res-{number:05d}","resourceType":"{kind}"}}' for number in numbers],
        [None if kind == "Vehicle" else f"loc-{number:05d}" for number in numbers],
    )


def _frame(
    user_ids: list[str], ids: list[str], bodies: list[str], places: list | None = None
) -> pl.DataFrame:
    n = len(ids)
    return pl.DataFrame(
        {
            "id": ids,
            "user_id": user_ids,
            "location_id": places or [None] * n,
            "digest": [f"d-{one}" for one in ids],
            "meter_point_keys": [[]] * n,
            "bucket": [0] * n,
            "row": list(range(n)),
            "scope": ["p"] * n,
            "body": bodies,
        },
        schema=PLAN_SCHEMA,
    )


@dataclass
class Delivery:
    ledger: Ledger
    sender: Sender
    run_seq: int
    plan: dict[Phase, pl.DataFrame]
    error: MeterfeedError | None = None
    lines: list[tuple[str, str, str | None, int]] = field(default_factory=list)

    def account(self) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        for phase, state, _, n in self.ledger.account(self.run_seq):
            counts[phase, state] = counts.get((phase, state), 0) + n
        return counts

    @property
    def posts(self) -> int:
        return self.ledger.request_counts(self.run_seq)[0]


@dataclass
class Bench:
    """One tenant: a sandbox, a ledger file, settings."""

    sandbox: object
    folder: Path
    settle: float = 0.2
    chunk: int = 100
    concurrency: int = 4
    guards: GuardsSection = field(default_factory=lambda: GuardsSection(rejected=1.0, rejected_alike=10**6))
    deadline: float = 60.0
    stopping: object = staticmethod(lambda: False)
    run_id: str | None = None

    def deliver(self, plan: dict[Phase, pl.DataFrame], *, resume: bool = False) -> Delivery:
        return asyncio.run(self._deliver(plan, resume))

    @asynccontextmanager
    async def _client(self):
        async with ApiClient(
            self.sandbox.base_url,
            self.sandbox.token_url,
            self.sandbox.client_id,
            Secret(self.sandbox.client_secret),
            deadline_seconds=self.deadline,
        ) as client:
            yield client

    async def _deliver(self, plan: dict[Phase, pl.DataFrame], resume: bool) -> Delivery:
        world = World(time.time, time.monotonic, asyncio.sleep, random.Random(7).random)
        with open_ledger(
            f"sqlite:///{self.folder}/ledger.sqlite",
            identity=Identity("t", self.sandbox.base_url, "k"),
            now=time.time(),
        ) as ledger:
            if resume:
                run_seq = ledger.runs()[0].run_seq
            else:
                run_seq = ledger.begin_run(
                    command="sync",
                    environment="sandbox",
                    profiles="p",
                    job_digest="j",
                    stamp="20261122",
                    now=time.time(),
                ).run_seq
            async with self._client() as client, Journal(ledger) as journal:
                sender = Sender(
                    api=client,
                    ledger=ledger,
                    world=world,
                    durable=journal,
                    read_plan=lambda _run, phase, _partition: plan.get(phase),
                    traffic=Traffic(world, chunk_records=self.chunk, concurrency=self.concurrency),
                    guards=self.guards,
                    settle_seconds=self.settle,
                    meter_point_keys=lambda points: [int(point) for point in points],
                    stopping=self.stopping,
                )
                delivery = Delivery(ledger, sender, run_seq, plan)
                try:
                    await sender.recover()
                    await sender.deliver(run_seq, {phase: frame.height for phase, frame in plan.items()}, 1)
                except MeterfeedError as error:
                    delivery.error = error
            delivery.accounted = delivery.account()
            delivery.lines = ledger.account(run_seq)
            delivery.requests = ledger.request_counts(run_seq)
            return delivery


def creates(sandbox) -> dict[str, int]:
    """How often each id was created, from the effect log."""
    counts: dict[str, int] = {}
    for effect in sandbox.effects():
        if effect["effect"] == "create":
            key = f"{effect['kind']}:{effect['id']}"
            counts[key] = counts.get(key, 0) + 1
    return counts
