"""First bar: a CSV export becomes user and location records, against DuckDB doing the same checks and grouping.

    python -m benchmarks.records --rows 10000000 --rounds 3 --json records.json

Sides, each in its own process, in turn, on the same file:

    ours            reader, canonical rows, alarms, Pandera judgement, spool, conflicts, fold; records with bodies,
                    digests and keyed meter points to Parquet
    ours_single     the same with one partition: what partitioning costs or saves
    duckdb          the same checks and grouping in SQL; records as columns to Parquet, without bodies or digests
    floor           bare Polars reading the same columns as text and writing them to Parquet
    reading         our reader alone: every row as text with its line, counted twice
    judging         our reader, canonical rows, alarms and judgement, nothing kept

The sides must find the same rows and records, or there is no result.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import Cost, alternating, as_json, in_own_process, machine, medians

SPEED_BAR: Final = 1.5
MEMORY_BAR_MB: Final = 700
FLAT_BAR: Final = 1.15
JUDGING_BAR: Final = 2.0
"""What judging adds to reading, as a multiple of reading."""
WORKERS: Final = 2
MODULE: Final = "benchmarks.records"
WRITE: Final = "write"
"""The side that makes the export."""

Found = dict[str, int]


# ------------------------------------------------------------------ ours
def ours(export: Path, out: Path, *, partitions: int | None = None) -> Found:
    """The path of `meterfeed quality` and `sync` up to the records; provenance is made and counted."""
    from connectors.spool import Spool
    from pipeline.conflicts import ConflictPolicy, find_conflicts
    from pipeline.identity import Identity
    from pipeline.partition import partition_count
    from pipeline.records import Folding

    opened, profile = _opened(export)
    identity, policy = Identity("benchmark key of 32 bytes or so ..", ids="as-is"), ConflictPolicy()
    spool = Spool.create(out / "spool", partitions=partitions or partition_count(opened.row_estimate()))
    read, quarantined = _judge_and_spool(opened, profile, identity, spool)
    find_conflicts(spool, policy)
    folds = _fold_and_write(spool, Folding(identity, policy, scopes=[profile.name]), out)
    conflicting, duplicate, mapped, users, locations, provenance = folds
    assert provenance == 2 * mapped
    spool.delete()
    return _found(read, quarantined + conflicting, duplicate, mapped, users, locations)


def _judge_and_spool(opened: Any, profile: Any, identity: Any, spool: Any) -> tuple[int, int]:
    from pipeline.intake import spool_rows
    from pipeline.partition import RowShape

    shape = RowShape.of(profile)
    return _judge(opened, profile, lambda judged: spool_rows(spool, judged.valid_rows, shape, identity))


def _judge(opened: Any, profile: Any, keep: Callable[[Any], object]) -> tuple[int, int]:
    """Rows read and rows quarantined."""
    from connectors.reference import load_reference
    from pipeline.alarms import Alarms
    from pipeline.canonical import to_canonical
    from pipeline.validation import judge
    from schemas.rules import Rulebook

    rulebook = Rulebook.for_profile(profile, "production", load_reference(), columns=opened.columns_present())
    alarms = Alarms(opened.name, rulebook)
    read = quarantined = 0
    for batch in opened.batches():
        canonical = to_canonical(batch.rows, profile, batch.source)
        judged = judge(canonical.rows, rulebook)
        alarms.observe(canonical.rows, judged)
        read += batch.rows.height + int(batch.unreadable["lines"].sum())
        quarantined += judged.quarantined.len()
        keep(judged)
    alarms.raise_if_damaged()
    return read, quarantined


def _opened(export: Path) -> tuple[Any, Any]:
    import flows  # noqa: F401  settles how Polars allocates, as it does for the command line
    from benchmarks.customers import PROFILE
    from connectors.exports import open_exports
    from schemas.profile import Profile

    profile = Profile.from_toml(PROFILE, "benchmark.toml")
    [opened] = open_exports([str(export)], [profile])
    return opened, profile


def reading(export: Path, _out: Path) -> Found:
    """Every row as text, with file, line and record number."""
    opened, _ = _opened(export)
    return {"read": sum(batch.rows.height for batch in opened.batches())}


def judging(export: Path, _out: Path) -> Found:
    """Reading, and every rule over every row, the outline of the country included."""
    read, quarantined = _judge(*_opened(export), keep=lambda _judged: None)
    return {"read": read, "quarantined": quarantined}


def _fold_and_write(spool: Any, folding: Any, out: Path) -> list[int]:
    """Rows quarantined, duplicate and mapped, users, locations, lines of provenance."""
    from pipeline.records import fold_all
    from schemas.outcomes import Kind

    columns = {
        Kind.USER: ["id", "body", "digest", "row", "row_count"],
        Kind.LOCATION: ["user_id", "id", "body", "digest", "meter_point_keys", "row", "row_count"],
    }
    totals = [0] * 6
    numbers = count()
    for piece in fold_all(spool, folding, workers=WORKERS):
        folded, number = piece.folded, next(numbers)
        for kind, names in columns.items():
            path = out / f"{kind}-{number:04}.parquet"
            folded.records[kind].select(names).write_parquet(path, compression="lz4", statistics=False)
        counts = folded.counts
        made = [folded.records[kind].height for kind in columns]
        part = [
            counts.quarantined,
            counts.duplicate,
            counts.mapped,
            *made,
            folded.provenance.collect().height,
        ]
        totals = [total + more for total, more in zip(totals, part, strict=True)]
        del piece, folded  # or they are held while the next ones are made
    return totals


def _found(*counts: int) -> Found:
    names = ("read", "quarantined", "duplicate", "mapped", "users", "locations")
    return dict(zip(names, counts, strict=True))


# ------------------------------------------------------------------ DuckDB
_WEIGHTED: Final = " + ".join(
    f"{3 if place % 2 else 1} * (ascii(substr(mp, {place}, 1)) - 48)" for place in range(1, 18)
)
_PLAIN_KEY: Final = "[^/\\\\%?#\\x00-\\x20]{1,128}"
_PLACEHOLDERS: Final = "('.', '..', '-', 'null', 'none', 'n/a', '0')"

JUDGED_SQL: Final = f"""
create temp table good as
with canonical as (
    select row_number() over () as row, "Kundenr" as u, "Anlegg" as l, "MålepunktID" as mp,
        case "Kundetype" when 'Husholdning' then 'Residential' when 'Næring' then 'Commercial'
            when 'Annet' then 'Other' end as t,
        "Kundetype" as t_raw, "Breddegrad" as lat_raw, "Lengdegrad" as lon_raw,
        try_cast(replace("Breddegrad", ',', '.') as double) as lat,
        try_cast(replace("Lengdegrad", ',', '.') as double) as lon
    from read_csv($export, delim = ';', header = true, all_varchar = true)
)
select row, u, l, mp, t, lat, lon from canonical
where u is not null and regexp_full_match(u, '{_PLAIN_KEY}') and lower(u) not in {_PLACEHOLDERS}
    and l is not null and regexp_full_match(l, '{_PLAIN_KEY}') and lower(l) not in {_PLACEHOLDERS}
    and (t is not null or t_raw is null)
    and (mp is not null or (lat is not null and lon is not null))
    and (mp is null or (
        regexp_full_match(mp, '[0-9]{{18}}') and starts_with(mp, '7070575')
        and (10 - ({_WEIGHTED}) % 10) % 10 = ascii(substr(mp, 18, 1)) - 48))
    and (lat is null) = (lat_raw is null) and (lon is null) = (lon_raw is null)
    and (lat is null) = (lon is null)
    and (lat is null or (
        isfinite(lat) and isfinite(lon) and lat <> 0 and lon <> 0 and lat <> lon
        and lat between 57.5 and 81.0 and lon between 4.0 and 33.5))
"""

CONFLICTS_SQL: Final = """
create temp table fine as
with distinct_rows as (
    select u, l, mp, t, lat, lon, min(row) as row, count(*) as copies from good group by all
),
bad_points as (select mp from good group by mp having min(u) <> max(u) or min(l) <> max(l)),
bad_places as (
    select l from good group by l
    having min(u) <> max(u) or min(t) <> max(t) or max(lat) - min(lat) > 1e-4 or max(lon) - min(lon) > 1e-4
)
select * from distinct_rows
where mp not in (select mp from bad_points where mp is not null) and l not in (select l from bad_places)
"""

USERS_SQL: Final = "select u as user_id, min(row) as row, sum(copies) as row_count from fine group by u"
LOCATIONS_SQL: Final = """
select u as user_id, l as location_id, min(t) as location_type, round(min(lat), 7) as latitude,
    round(min(lon), 7) as longitude, list_sort(list(distinct mp)) as meter_points, min(row) as row,
    count(*) as row_count
from fine group by u, l
"""


def duckdb(export: Path, out: Path, *, threads: int = WORKERS) -> Found:
    """The same in SQL, as a person who knows DuckDB would write it; it may use all the memory it likes."""
    import duckdb as engine

    connection = engine.connect(config={"threads": threads})

    def count(query: str) -> int:
        found = connection.execute(query).fetchone()
        assert found is not None
        return int(found[0])

    connection.execute(JUDGED_SQL, {"export": str(export)})
    connection.execute(CONFLICTS_SQL)
    for name, query in (("user", USERS_SQL), ("location", LOCATIONS_SQL)):
        connection.execute(f"copy ({query}) to '{out / name}.parquet' (format parquet, compression lz4)")
    read = count(f"select count(*) from read_csv('{export}', delim = ';', header = true, all_varchar = true)")
    mapped, standing = count("select count(*) from fine"), count("select sum(copies) from fine")
    users, locations = (
        count(f"select count(*) from '{out / name}.parquet'") for name in ("user", "location")
    )
    return _found(read, read - standing, standing - mapped, mapped, users, locations)


# ------------------------------------------------------------------ the floor
def floor(export: Path, out: Path) -> Found:
    """Read the columns as text and write them: what no path can beat."""
    import polars as pl

    pl.scan_csv(export, separator=";", infer_schema=False).sink_parquet(
        out / "rows.parquet", compression="lz4"
    )
    return {}


SIDES: Final[dict[str, Callable[[Path, Path], Found]]] = {
    "ours": ours,
    "ours_single": lambda export, out: ours(export, out, partitions=1),
    "duckdb": duckdb,
    "floor": floor,
    "reading": reading,
    "judging": judging,
}


def _write(export: Path, rows: int) -> None:
    """In a process of its own, or its memory would be counted as that of every side (`benchmarks/processes.py`)."""
    from benchmarks.customers import write_export

    write_export(export, rows)


# ------------------------------------------------------------------ the table
def measure(rows: int, rounds: int, folder: Path, sides: tuple[str, ...]) -> dict[str, Any]:
    """All sides on one file, and ours on a tenth of it for the growth of memory."""
    large, small = folder / f"{rows}.csv", folder / f"{rows // 10}.csv"
    for path, size in ((large, rows), (small, rows // 10)):
        if not path.exists():
            in_own_process(MODULE, WRITE, {"export": path, "rows": size})
    costs = alternating(MODULE, sides, {"export": large}, rounds)
    tenth = in_own_process(MODULE, "ours", {"export": small})
    return {"machine": machine(), "rows": rows, "sides": as_json(costs), "bars": _bars(costs, tenth)}


def _bars(costs: dict[str, list[Cost]], tenth: Cost) -> dict[str, Any]:
    found = {json.dumps(cost.found) for side in ("ours", "duckdb") for cost in costs.get(side, [])}
    if len(found) > 1:
        raise SystemExit(f"the sides do not agree: {sorted(found)}")
    mine = medians(costs["ours"])
    bars = {
        "peak_mb": _bar(mine.peak_mb, MEMORY_BAR_MB, at_most=True),
        "growth_of_memory": _bar(mine.peak_mb / tenth.peak_mb, FLAT_BAR, at_most=True),
    }
    if "reading" in costs and "judging" in costs:
        read = medians(costs["reading"]).wall
        bars["judging_to_reading"] = _bar(
            (medians(costs["judging"]).wall - read) / read, JUDGING_BAR, at_most=True
        )
    if "duckdb" in costs:
        bars["speed_of_duckdb"] = _bar(medians(costs["duckdb"]).wall / mine.wall, SPEED_BAR, at_most=False)
    return bars


def _bar(figure: float, bar: float, *, at_most: bool) -> dict[str, Any]:
    return {"figure": round(figure, 3), "bar": bar, "met": figure <= bar if at_most else figure >= bar}


def print_table(result: dict[str, Any]) -> None:
    """The medians, then each bar."""
    ours_wall = result["sides"]["ours"]["median"]["wall"]
    print(f"{result['rows']:,} rows on {result['machine']['cores']} cores ({result['machine']['cpu']})")
    print(f"{'side':<14}{'seconds':>10}{'ratio':>8}{'cpu s':>10}{'peak MB':>10}")
    for side, entry in result["sides"].items():
        cost = entry["median"]
        wall, cpu, peak = cost["wall"], cost["cpu"], cost["peak_mb"]
        print(f"{side:<14}{wall:>10.2f}{wall / ours_wall:>8.2f}{cpu:>10.2f}{peak:>10.0f}")
    for name, bar in result["bars"].items():
        print(f"{name}: {bar['figure']} (bar {bar['bar']}) {'met' if bar['met'] else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", default="ours,duckdb,floor,reading,judging", help=f"of {', '.join(SIDES)}")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--folder", type=Path, help="keep the exports here between runs")
    parser.add_argument("--side", choices=[*SIDES, WRITE], help=argparse.SUPPRESS)
    parser.add_argument("--export", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side == WRITE:
        _write(options.export, options.rows)
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-") as scratch:
        if options.side:
            json.dump(SIDES[options.side](options.export, Path(scratch)), sys.stdout)
            return
        folder = options.folder or Path(scratch)
        result = measure(options.rows, options.rounds, folder, tuple(options.sides.split(",")))
    print_table(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
