"""Second and third bar: push locations to a bare loopback server, ledger on, against others doing the same.

    python -m benchmarks.push --locations 500000 --rounds 3 --json push.json

Sides, each in its own process, in turn, from the same Parquet file of records with bodies:

    ours        the sender with intents and endings in a SQLite ledger (full synchronisation), answers read id by id
    httpx       bare asynchronous httpx sending the same bodies, joined natively; answers are not read
    dlt         a dlt custom destination, batches of 1000 of the same bodies, as many at a time as the others, answers
                read id by id; what it keeps of its progress is its own: a load package, and a mark after each batch
    requests    pandas and requests, as scripts do it: a loop over batches of dicts, answers are not read

What is compared is the time from the file on disk to the last answer; imports, an empty ledger and an empty dlt
pipeline are made before.

dlt does less than ours: its marks are not flushed to the disk, and say how many batches of a file were sent, not which
record was taken. Until 2026-11-23 this side was slower than it had to be: it built a dict of each record, one request
at a time, where ours and httpx send bodies that are ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.processes import Found, Sending, said

CHUNK: Final = 1000
CONCURRENCY: Final = 8
FLOOR_BAR: Final = 0.6
DLT_BAR: Final = 5.0
PATH: Final = "/energy-coordination/v1/users/locations/batch"


def write_records(path: Path, count: int) -> None:
    """Locations as a plan on disk holds them: ids, place, digest, body."""
    import polars as pl

    from pipeline.identity import Identity, record_digest
    from pipeline.plan import PLAN_SCHEMA
    from schemas.outcomes import Kind

    number = pl.int_range(count, eager=True).alias("n")
    texts = number.cast(pl.String).str.zfill(12)
    frame = pl.DataFrame({"n": number, "t": texts}).select(
        pl.concat_str(pl.lit("3880a832-f483-8b6a-998d-"), "t").alias("user_id"),
        pl.concat_str(pl.lit("1365caf1-fa04-80b1-98ff-"), "t").alias("id"),
        (pl.lit(60.0) + (pl.col("n") % 1000) / 1e4).alias("latitude"),
        pl.concat_str(pl.lit("707057599"), (pl.col("n") % 10**9).cast(pl.String).str.zfill(9)).alias("point"),
    )
    body = pl.concat_str(
        pl.lit('{"userId":"'),
        "user_id",
        pl.lit('","locationId":"'),
        "id",
        pl.lit('","locationType":"Residential","coordinates":{"latitude":'),
        "latitude",
        pl.lit(',"longitude":10.5},"meterPointIds":["'),
        "point",
        pl.lit('"]}'),
    )
    planned = frame.with_columns(
        body.alias("body"),
        pl.lit(None, pl.String).alias("location_id"),
        pl.lit([], pl.List(pl.UInt64)).alias("meter_point_keys"),
        (pl.int_range(pl.len()) * 256 // pl.len()).cast(pl.UInt8).alias("bucket"),
        pl.int_range(pl.len(), dtype=pl.UInt64).alias("row"),
        pl.lit("p").alias("scope"),
    ).with_columns(record_digest(Identity("k" * 40), Kind.LOCATION))
    planned.select(*PLAN_SCHEMA.names(), "latitude", "point").write_parquet(path)


# ------------------------------------------------------------------ ours
def ours(records: Path, port: int, work: Path) -> Found:
    from benchmarks.delivery import deliver
    from pipeline.phases import Phase

    return asyncio.run(
        deliver(records, Phase.CREATE_LOCATIONS, port, work, chunk=CHUNK, concurrency=CONCURRENCY)
    )


# ------------------------------------------------------------------ the others
def bare_httpx(records: Path, port: int, _work: Path) -> Found:
    import httpx
    import polars as pl

    async def push() -> tuple[int, float]:
        began = time.perf_counter()
        bodies = pl.read_parquet(records, columns=["body"])["body"]
        limit = asyncio.Semaphore(CONCURRENCY)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

            async def one(start: int) -> int:
                async with limit:
                    chunk = bodies.slice(start, CHUNK)
                    body = f'{{"locations":[{chunk.str.join(",").item()}]}}'.encode()
                    answer = await client.post(
                        PATH, content=body, headers={"content-type": "application/json"}
                    )
                    assert answer.status_code == 201
                    return len(chunk)

            sent = sum(await asyncio.gather(*(one(start) for start in range(0, len(bodies), CHUNK))))
        return sent, time.perf_counter() - began

    sent, seconds = asyncio.run(push())
    return {"sent": sent, "seconds": seconds}


def _element(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "userId": row["user_id"],
        "locationId": row["id"],
        "locationType": "Residential",
        "coordinates": {"latitude": row["latitude"], "longitude": 10.5},
        "meterPointIds": [row["point"]],
    }


class _Location(msgspec.Struct, rename="camel"):
    user_id: str
    location_id: str


class _Locations(msgspec.Struct):
    locations: list[_Location]


def dlt_destination(records: Path, port: int, work: Path) -> Found:
    import os

    os.environ.update(
        {
            "DLT_DATA_DIR": str(work / "dlt"),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "ERROR",
            "DATA_WRITER__FILE_MAX_ITEMS": "1",  # each batch of rows is a file, and files are sent side by side
            "LOAD__WORKERS": str(CONCURRENCY),
        }
    )
    import dlt
    import httpx
    import pyarrow.parquet as pq

    answers = msgspec.json.Decoder(_Locations)
    sent: list[int] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        @dlt.destination(batch_size=CHUNK, loader_file_format="parquet", naming_convention="direct")
        def api(items: Any, _table: Any) -> None:
            user, own, bodies = (items.column(name).to_pylist() for name in ("user_id", "id", "body"))
            answer = client.post(
                PATH,
                content=f'{{"locations":[{",".join(bodies)}]}}'.encode(),
                headers={"content-type": "application/json"},
            )
            assert answer.status_code == 201
            told = answers.decode(answer.content).locations
            assert [(one.user_id, one.location_id) for one in told] == list(zip(user, own, strict=True))
            sent.append(len(bodies))

        @dlt.resource(name="locations")
        def locations() -> Any:
            with pq.ParquetFile(records) as file:
                yield from file.iter_batches(
                    -(-file.metadata.num_rows // CONCURRENCY), columns=["user_id", "id", "body"]
                )

        pipeline = dlt.pipeline("push", destination=api, pipelines_dir=str(work / "pipelines"))
        began = time.perf_counter()
        pipeline.run(locations())
        seconds = time.perf_counter() - began
    return {"sent": sum(sent), "seconds": seconds}


def pandas_requests(records: Path, port: int, _work: Path) -> Found:
    import pandas as pd
    import requests

    began = time.perf_counter()
    frame = pd.read_parquet(records, columns=["user_id", "id", "latitude", "point"])
    sent = 0
    with requests.Session() as session:
        session.trust_env = False
        for start in range(0, len(frame), CHUNK):
            rows = frame.iloc[start : start + CHUNK].to_dict("records")
            answer = session.post(
                f"http://127.0.0.1:{port}{PATH}",
                json={"locations": [_element(row) for row in rows]},
                timeout=60,
            )
            assert answer.status_code == 201
            sent += len(rows)
    return {"sent": sent, "seconds": time.perf_counter() - began}


SIDES: Final = {"ours": ours, "httpx": bare_httpx, "dlt": dlt_destination, "requests": pandas_requests}


# ------------------------------------------------------------------ the run
def report(seconds: Mapping[str, float], _count: int) -> dict[str, float]:
    """Compares with the bars."""
    floor, dlt = seconds["httpx"] / seconds["ours"], seconds["dlt"] / seconds["ours"]
    print(f"ours against bare httpx: {floor:.2f}x (bar {FLOOR_BAR}: {said(floor >= FLOOR_BAR)})")
    if floor < FLOOR_BAR:
        print(
            "  the ledger and reading the answers take turns for the interpreter: docs/performance.md, when pushing"
        )
    print(f"ours against dlt:        {dlt:.2f}x (bar {DLT_BAR}: {said(dlt >= DLT_BAR)})")
    print(f"bare httpx against dlt:  {seconds['dlt'] / seconds['httpx']:.2f}x: what httpx allows")
    return {"ratio_httpx": floor, "ratio_dlt": dlt}


if __name__ == "__main__":
    Sending("benchmarks.push", __doc__ or "", "locations", 500_000, write_records, SIDES).run(report)
