"""Resources, one request each, against bare asynchronous httpx at the same concurrency; and what the ledger costs.

    python -m benchmarks.singles --resources 20000 --rounds 3 --json singles.json

Sides, each in its own process, in turn:

    ours        the sender with intents and endings in a SQLite ledger (full synchronisation), answers read and compared
    httpx       bare asynchronous httpx sending the same requests; answers are not read
    ledger      no network: intents, endings and holdings of 200,000 locations in chunks of 1000, one after the other
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.processes import Found, Sending, said

CONCURRENCY: Final = 16
FLOOR_BAR: Final = 0.6
LEDGER_BAR_MICROSECONDS: Final = 5.0
LEDGER_RECORDS: Final = 200_000
CHUNK: Final = 1000


def write_records(path: Path, count: int) -> None:
    """Resources as a plan on disk holds them."""
    import polars as pl

    from pipeline.identity import Identity, record_digest
    from pipeline.plan import PLAN_SCHEMA
    from schemas.outcomes import Kind

    number = pl.int_range(count, eager=True).cast(pl.String).str.zfill(12).alias("t")
    frame = pl.DataFrame(number).select(
        pl.concat_str(pl.lit("3880a832-f483-8b6a-998d-"), "t").alias("user_id"),
        pl.concat_str(pl.lit("1365caf1-fa04-80b1-98ff-"), "t").alias("location_id"),
        pl.concat_str(pl.lit("77d0b1c2-0a1b-8c2d-9e3f-"), "t").alias("id"),
        pl.lit([], pl.List(pl.UInt64)).alias("meter_point_keys"),
        (pl.int_range(pl.len()) * 256 // pl.len()).cast(pl.UInt8).alias("bucket"),
        pl.int_range(pl.len(), dtype=pl.UInt64).alias("row"),
        pl.lit("p").alias("scope"),
    )
    body = pl.concat_str(pl.lit('{"resourceId":"'), "id", pl.lit('","resourceType":"HotWaterTank"}'))
    planned = frame.with_columns(body.alias("body")).with_columns(
        record_digest(Identity("k" * 40), Kind.RESOURCE)
    )
    planned.select(PLAN_SCHEMA.names()).write_parquet(path)


def ours(records: Path, port: int, work: Path) -> Found:
    from benchmarks.delivery import deliver
    from pipeline.phases import Phase

    return asyncio.run(
        deliver(records, Phase.CREATE_RESOURCES, port, work, chunk=CHUNK, concurrency=CONCURRENCY)
    )


def bare_httpx(records: Path, port: int, _work: Path) -> Found:
    import httpx
    import polars as pl

    async def push() -> int:
        frame = pl.read_parquet(records, columns=["user_id", "location_id", "body"])
        limit = asyncio.Semaphore(CONCURRENCY)
        base = f"http://127.0.0.1:{port}/energy-coordination/v1/users"
        async with httpx.AsyncClient(timeout=60) as client:

            async def one(user: str, location: str, body: str) -> int:
                async with limit:
                    answer = await client.post(
                        f"{base}/{user}/locations/{location}/resources",
                        content=body.encode(),
                        headers={"content-type": "application/json", "authorization": "Bearer t"},
                    )
                    assert answer.status_code == 201
                    return 1

            # Some thousands at a time: a task for each of millions would measure the tasks.
            return sum(
                [
                    sum(await asyncio.gather(*(one(*row) for row in part.iter_rows())))
                    for part in frame.iter_slices(2000)
                ]
            )

    began = time.perf_counter()
    sent = asyncio.run(push())
    return {"sent": sent, "seconds": time.perf_counter() - began}


def ledger_alone(records: Path, _port: int, work: Path) -> Found:
    import polars as pl

    from connectors.ledger import open_ledger
    from pipeline.delivery.books import MANIFEST
    from pipeline.holdings import MERGES
    from pipeline.phases import Phase
    from schemas.ledger import Draft, Identity, State

    plan = pl.read_parquet(records)
    enough = -(-LEDGER_RECORDS // plan.height)
    plan = (
        pl.concat([plan] * enough)
        .head(LEDGER_RECORDS)
        .with_columns(
            pl.lit(0, pl.UInt16).alias("partition"), pl.int_range(pl.len(), dtype=pl.UInt32).alias("position")
        )
    )
    with open_ledger(f"sqlite:///{work}/ledger.sqlite", identity=Identity("t", "b", "k"), now=0.0) as ledger:
        run = ledger.begin_run(
            command="bench", environment="sandbox", profiles="p", job_digest="j", stamp="20260101", now=0.0
        )
        began = time.perf_counter()
        for start in range(0, plan.height, CHUNK):
            manifest = plan.slice(start, CHUNK).select(MANIFEST)
            draft = Draft(run.run_seq, Phase.CREATE_LOCATIONS, 0, start, start + manifest.height, manifest)
            [chunk] = ledger.intend([draft], now=1.0)
            ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=2.0, status=201, verdict="applied")
        ledger.absorb(MERGES)
        seconds = time.perf_counter() - began
        counted = sum(n for _, _, _, n in ledger.account(run.run_seq))
    return {"sent": counted, "seconds": seconds}


SIDES: Final = {"ours": ours, "httpx": bare_httpx, "ledger": ledger_alone}


def report(seconds: Mapping[str, float], _count: int) -> dict[str, float]:
    """Compares with the bars."""
    floor = seconds["httpx"] / seconds["ours"]
    each = seconds["ledger"] / LEDGER_RECORDS * 1e6
    print(f"ours against bare httpx: {floor:.2f}x (bar {FLOOR_BAR}: {said(floor >= FLOOR_BAR)})")
    enough = said(each <= LEDGER_BAR_MICROSECONDS)
    print(f"ledger: {each:.1f} µs a record (bar {LEDGER_BAR_MICROSECONDS}: {enough})")
    return {"ratio_httpx": floor, "ledger_microseconds": each}


if __name__ == "__main__":
    Sending("benchmarks.singles", __doc__ or "", "resources", 20_000, write_records, SIDES).run(report)
