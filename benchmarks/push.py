"""Second and third bar: push locations to a bare loopback server, ledger on, against others doing the same.

    python -m benchmarks.push --locations 500000 --rounds 3 --json push.json

Sides, each in its own process, in turn, from the same Parquet file of records with bodies:

    ours        the sender with intents and endings in a SQLite ledger (full synchronisation), answers read id by id
    httpx       bare asynchronous httpx sending the same bodies, joined natively; answers are not read
    dlt         a dlt custom destination, batches of 1000, httpx inside
    requests    pandas and requests: a loop over batches of dicts

What is compared is the time from the file on disk to the last answer; imports, an empty ledger and an empty dlt
pipeline are made before.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import Cost, alternating, as_json, machine

CHUNK: Final = 1000
CONCURRENCY: Final = 8
FLOOR_BAR: Final = 0.6
DLT_BAR: Final = 5.0
PATH: Final = "/energy-coordination/v1/users/locations/batch"

Found = dict[str, Any]


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


def dlt_destination(records: Path, port: int, work: Path) -> Found:
    import os

    os.environ.update(
        {
            "DLT_DATA_DIR": str(work / "dlt"),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "ERROR",
        }
    )
    import dlt
    import httpx
    import pyarrow.parquet as pq

    sent = 0
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        @dlt.destination(batch_size=CHUNK, loader_file_format="parquet", naming_convention="direct")
        def api(items: Any, _table: Any) -> None:
            nonlocal sent
            rows = items.to_pylist()
            answer = client.post(PATH, json={"locations": [_element(row) for row in rows]})
            assert answer.status_code == 201
            sent += len(rows)

        @dlt.resource(name="locations")
        def locations() -> Any:
            yield from pq.ParquetFile(records).iter_batches(
                100_000, columns=["user_id", "id", "latitude", "point"]
            )

        pipeline = dlt.pipeline("push", destination=api, pipelines_dir=str(work / "pipelines"))
        began = time.perf_counter()
        pipeline.run(locations())
        seconds = time.perf_counter() - began
    return {"sent": sent, "seconds": seconds}


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
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--locations", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--records", type=Path)
    parser.add_argument("--port", type=int)
    asked = parser.parse_args()
    if asked.side:
        with tempfile.TemporaryDirectory() as work:
            print(json.dumps(SIDES[asked.side](asked.records, asked.port, Path(work))))
        return

    from benchmarks.delivery import echo_server

    with tempfile.TemporaryDirectory() as folder, echo_server() as port:
        records = Path(folder) / "records.parquet"
        write_records(records, asked.locations)
        costs = alternating("benchmarks.push", list(SIDES), {"records": records, "port": port}, asked.rounds)
    report(costs, asked)


def report(costs: dict[str, list[Cost]], asked: argparse.Namespace) -> None:
    import statistics

    seconds = {
        side: statistics.median(cost.found["seconds"] for cost in rounds) for side, rounds in costs.items()
    }
    for side, rounds in costs.items():
        assert all(cost.found["sent"] == asked.locations for cost in rounds), side
        rate = asked.locations / seconds[side]
        peak = statistics.median(cost.peak_mb for cost in rounds)
        print(f"{side:<10} {seconds[side]:8.2f} s  {rate:10,.0f} locations/s  {peak:6.0f} MB")
    floor, dlt = seconds["httpx"] / seconds["ours"], seconds["dlt"] / seconds["ours"]
    print(
        f"ours against bare httpx: {floor:.2f}x (bar {FLOOR_BAR}: {'met' if floor >= FLOOR_BAR else 'MISSED'})"
    )
    print(f"ours against dlt:        {dlt:.2f}x (bar {DLT_BAR}: {'met' if dlt >= DLT_BAR else 'MISSED'})")
    if asked.json:
        document = {
            "locations": asked.locations,
            "seconds": seconds,
            "ratio_httpx": floor,
            "ratio_dlt": dlt,
            "machine": machine(),
            "sides": as_json(costs),
        }
        asked.json.write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
