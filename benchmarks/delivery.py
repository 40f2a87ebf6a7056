"""Our side of what is sent: the sender, the API client and a ledger with full synchronisation, against any server."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import polars as pl

from connectors.api import ApiClient
from connectors.ledger import open_ledger
from connectors.ledger.journal import Journal
from flows.settings import Secret
from pipeline.delivery.sender import Sender
from pipeline.delivery.traffic import Traffic
from pipeline.holdings import MERGES
from pipeline.phases import Phase
from pipeline.plan import PLAN_SCHEMA
from pipeline.ports import World
from schemas.ledger import Identity
from schemas.profile import GuardsSection


async def deliver(
    records: Path, phase: Phase, port: int, work: Path, *, chunk: int, concurrency: int
) -> dict[str, float]:
    """Send one phase of a plan on disk to a server on loopback.

    Returns:
        `sent`, the records acknowledged, and `seconds`, from the file on disk to the last answer and the holdings in
        the ledger. Imports and making an empty ledger are left out: a tenant does that once.
    """
    base = f"http://127.0.0.1:{port}/energy-coordination/v1"
    world = World(time.time, time.monotonic, asyncio.sleep, random.random)
    with open_ledger(f"sqlite:///{work}/ledger.sqlite", identity=Identity("t", base, "k"), now=0.0) as ledger:
        run = ledger.begin_run(
            command="bench", environment="sandbox", profiles="p", job_digest="j", stamp="20260101", now=0.0
        )
        began = time.perf_counter()
        plan = pl.read_parquet(records, columns=PLAN_SCHEMA.names())
        client = ApiClient(base, f"http://127.0.0.1:{port}/token", "id", Secret("secret"))
        async with client, Journal(ledger) as journal:
            sender = Sender(
                api=client,
                ledger=ledger,
                world=world,
                durable=journal,
                read_plan=lambda _run, _phase, _partition: plan,
                traffic=Traffic(world, chunk_records=chunk, concurrency=concurrency),
                guards=GuardsSection(),
                settle_seconds=30.0,
                meter_point_keys=lambda _points: [],
            )
            await sender.deliver(run.run_seq, {phase: plan.height}, 1)
            ledger.absorb(MERGES)
        seconds = time.perf_counter() - began
        account = {state: n for _, state, _, n in ledger.account(run.run_seq)}
    return {"sent": account["acknowledged"], "seconds": seconds}
