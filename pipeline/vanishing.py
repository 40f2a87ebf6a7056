"""What the exports no longer name: since when, and whether that is reason enough to remove it.

A record that is missing once may be missing by mistake. So the ledger remembers since when, and by which export, a
record is missing; only a second full export of its profile, a day later, makes it a candidate. A removed user takes
its locations and resources along, and costs the customer that month's compensation: nothing is removed below which
anything stays, and what a row that could not be judged may have named is not missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import polars as pl

from pipeline.holdings import DELETED, HOLDING_COLUMNS, KEY
from pipeline.phases import Phase
from pipeline.plan import PLAN_SCHEMA
from schemas.ledger import MANIFEST_SCHEMA
from schemas.masking import masked_id
from schemas.outcomes import Kind

EVIDENCE_SCHEMA = pl.Schema(
    {
        "user_id": pl.String(),
        "id": pl.String(),
        "bucket": pl.UInt8(),
        "scope": pl.String(),
        "since": pl.Float64(),  # UTC seconds: when the first export without it was first read
        "export": pl.String(),  # which one
    }
)
"""One line per held record that the last full export of its profile did not name."""

TOMBSTONE_SCHEMA = pl.Schema(
    {"user_id": pl.String(), "id": pl.String(), "bucket": pl.UInt8(), "deleted_at": pl.Float64()}
)
"""One line per record that was removed because it had vanished."""

DELETES: Final[Mapping[Kind, Phase]] = {
    Kind.RESOURCE: Phase.DELETE_RESOURCES,
    Kind.VEHICLE: Phase.DELETE_VEHICLES,
    Kind.LOCATION: Phase.DELETE_LOCATIONS,
    Kind.USER: Phase.DELETE_USERS,
}
"""Which phase removes which kind; in the order of removal, what hangs on something first."""

COST: Final = (
    "A customer whose user is removed loses this month's compensation; "
    "what is removed cannot be brought back."
)
"""What a person must know before approving."""
LISTED: Final = 20
"""Vanished records named in a summary; the rest is counted."""
HOUR: Final = 3600.0
"""Seconds."""


class Waits(StrEnum):
    """Why a vanished record is not removed yet."""

    SEEN_ONCE = "seen_once"
    """Missing from one export only, or from two that are too close."""
    HAS_OTHER_RECORDS = "has_other_records"
    """Something hangs on it that stays: named by another profile, or not due yet itself."""
    HANDS_OVER = "hands_over"
    """Its meter point passes to somebody else in this very run; that comes first."""
    UNREADABLE_ROWS = "unreadable_rows"
    """The export has rows that cannot be read or name no customer: any of them may be this one."""


def evidence_page(kind: Kind) -> str:
    """The ledger's pages of records of a kind that are missing."""
    return f"missing:{kind.value}"


def tombstone_page(kind: Kind) -> str:
    """The ledger's pages of records of a kind that were removed."""
    return f"removed:{kind.value}"


PAGES: Final = tuple(page(kind) for kind in Kind for page in (evidence_page, tombstone_page))
"""Every page of this module, for those who must forget a person everywhere."""


@dataclass(frozen=True, slots=True)
class Absence:
    """What a run's full exports prove by not naming something.

    Attributes:
        asked: whether a person asked to remove what vanished.
        export: names the exports by their content; the same bytes again are no second export.
        read_at: when these bytes were first read, UTC seconds.
        hours: how far apart two exports must be.
    """

    asked: bool = False
    export: str = ""
    read_at: float = 0.0
    hours: float = 20.0

    def to_json(self) -> dict[str, Any]:
        """What a later start needs to write it down."""
        return {"export": self.export, "read_at": self.read_at}


def name_of_exports(hashes: Iterable[str]) -> str:
    """One name for the content of some exports, whatever their order."""
    return hashlib.sha256("\x1f".join(sorted(hashes)).encode()).hexdigest()[:32]


# ------------------------------------------------------------------ judging
def due(
    missing: Mapping[Kind, pl.DataFrame],
    held: Mapping[Kind, pl.DataFrame | None],
    evidence: Mapping[Kind, pl.DataFrame | None],
    releasing: pl.DataFrame | None,
    absence: Absence,
    *,
    blind: bool,
) -> dict[Kind, pl.DataFrame]:
    """Which missing records may be removed, of customers that are wholly in these frames.

    Args:
        missing: held records the exports do not name, per kind (`HOLDING_COLUMNS`).
        held: everything held of these customers.
        evidence: what the ledger remembers of them (`EVIDENCE_SCHEMA`).
        releasing: locations that hand over a meter point in this run.
        blind: the exports have rows that may name anybody.

    Returns:
        The missing records with `since`, `export` and `waits` (a word of `Waits`, null when it may go).
    """
    judged: dict[Kind, pl.DataFrame] = {}
    for kind in DELETES:
        dated = _dated(missing[kind], evidence.get(kind), absence, blind=blind)
        if kind is Kind.LOCATION:
            dated = _where(dated, _in(dated, releasing), Waits.HANDS_OVER)
            staying = _staying([held.get(Kind.RESOURCE)], [judged[Kind.RESOURCE]], ["user_id", "location_id"])
            on = {"left_on": KEY, "right_on": ["user_id", "location_id"]}
            dated = _where(dated, _matches(dated, staying, **on), Waits.HAS_OTHER_RECORDS)
        elif kind is Kind.USER:
            others = [other for other in DELETES if other is not Kind.USER]
            staying = _staying(
                [held.get(one) for one in others], [judged[one] for one in others], ["user_id"]
            )
            dated = _where(dated, _matches(dated, staying, on="user_id"), Waits.HAS_OTHER_RECORDS)
        judged[kind] = dated
    return judged


def _dated(
    missing: pl.DataFrame, evidence: pl.DataFrame | None, absence: Absence, *, blind: bool
) -> pl.DataFrame:
    """Missing records with what is remembered of them; those seen missing for the first time begin now."""
    known = (evidence if evidence is not None else pl.DataFrame(schema=EVIDENCE_SCHEMA)).select(
        *KEY, "since", "export"
    )
    twice = (pl.col("export") != absence.export) & (
        absence.read_at - pl.col("since") >= absence.hours * HOUR
    ).fill_null(value=False)
    waits = (
        pl.lit(Waits.UNREADABLE_ROWS.value) if blind else pl.when(~twice).then(pl.lit(Waits.SEEN_ONCE.value))
    )
    return (
        missing.select(HOLDING_COLUMNS)
        .join(known, on=KEY, how="left", maintain_order="left")
        .with_columns(pl.col("since").fill_null(absence.read_at), pl.col("export").fill_null(absence.export))
        .with_columns(waits.alias("waits"))
    )


def _where(records: pl.DataFrame, hit: pl.Series, word: Waits) -> pl.DataFrame:
    """`word` for those records that wait for nothing worse."""
    return records.with_columns(
        pl.when(pl.col("waits").is_null() & hit)
        .then(pl.lit(word.value))
        .otherwise(pl.col("waits"))
        .alias("waits")
    )


def _staying(
    held: Sequence[pl.DataFrame | None], judged: Sequence[pl.DataFrame], columns: Sequence[str]
) -> pl.DataFrame:
    """What will still be there: everything held but what may go."""
    parts = []
    for there, going in zip(held, judged, strict=True):
        if there is not None:
            gone = going.filter(pl.col("waits").is_null())
            parts.append(there.join(gone, on=KEY, how="anti").select(columns).drop_nulls())
    return pl.concat(parts).unique() if parts else pl.DataFrame(schema=dict.fromkeys(columns, pl.String))


def _in(records: pl.DataFrame, others: pl.DataFrame | None) -> pl.Series:
    if others is None or not others.height:
        return pl.Series([False] * records.height, dtype=pl.Boolean)
    return _matches(records, others, on=KEY)


def _matches(records: pl.DataFrame, others: pl.DataFrame, **on: Any) -> pl.Series:
    """Which records have a match among the others."""
    numbered = records.with_row_index("place")
    hits = numbered.join(others, how="semi", **on)["place"]
    return numbered["place"].is_in(hits.implode())


def removals(judged: pl.DataFrame) -> pl.DataFrame:
    """The records that may go, as lines of a plan."""
    going = judged.filter(pl.col("waits").is_null()).with_columns(
        pl.lit(DELETED).alias("digest"), pl.lit(None, pl.String).alias("body")
    )
    return going.select(pl.col(name).cast(dtype) for name, dtype in PLAN_SCHEMA.items()).sort("bucket", *KEY)


# ------------------------------------------------------------------ remembering
def remembered(
    old: pl.DataFrame | None,
    missing: pl.DataFrame,
    named_again: pl.DataFrame,
    *,
    full_scopes: Collection[str],
    absence: Absence,
) -> pl.DataFrame:
    """The evidence of some buckets after a run.

    What a full export names again is forgotten; what it does not name keeps the date it was first missed. Profiles
    that did not speak keep what they said.

    Args:
        missing: `KEY`, `bucket`, `scope` of what the run's full exports do not name.
        named_again: `KEY` of what any of its exports names.
    """
    before = (old if old is not None else pl.DataFrame(schema=EVIDENCE_SCHEMA)).join(
        named_again, on=KEY, how="anti"
    )
    others = before.filter(~pl.col("scope").is_in(list(full_scopes)))
    mine = missing.select(*KEY, "bucket", "scope").join(
        before.select(*KEY, "since", "export"), on=KEY, how="left", maintain_order="left"
    )
    mine = mine.with_columns(
        pl.col("since").fill_null(absence.read_at), pl.col("export").fill_null(absence.export)
    )
    columns = [pl.col(name).cast(dtype) for name, dtype in EVIDENCE_SCHEMA.items()]
    return (
        pl.concat([others.select(columns), mine.select(columns)])
        .unique(KEY, keep="last")
        .sort("bucket", *KEY)
    )


def buried(old: pl.DataFrame | None, removed: pl.DataFrame, *, at: float) -> pl.DataFrame:
    """The tombstones of some buckets after records (manifests) were removed at an instant."""
    columns = [pl.col(name).cast(dtype) for name, dtype in TOMBSTONE_SCHEMA.items()]
    fresh = removed.with_columns(pl.lit(at).alias("deleted_at")).select(columns)
    before = pl.DataFrame(schema=TOMBSTONE_SCHEMA) if old is None else old
    return pl.concat([before, fresh]).unique(KEY, keep="first", maintain_order=True).sort("bucket", *KEY)


# ------------------------------------------------------------------ telling
def told(kind: Kind, judged: pl.DataFrame, room: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Counts of one kind, and some of its records by name, for the summary of a plan."""
    waiting = {
        str(word): count for word, count in judged["waits"].drop_nulls().value_counts().sort("waits").rows()
    }
    counts = {"missing": judged.height, "due": judged["waits"].null_count(), "waiting": waiting}
    listed = [
        {"kind": kind.value, "id": masked_id(one), "missing_since": since, "waits": waits}
        for one, since, waits in judged.select("id", "since", "waits").sort("since", "id").head(room).rows()
    ]
    return counts, listed


def nothing_missing() -> pl.DataFrame:
    """No record, with the columns of `due`."""
    schema = {name: MANIFEST_SCHEMA[name] for name in HOLDING_COLUMNS}
    return pl.DataFrame(schema={**schema, "since": pl.Float64, "export": pl.String, "waits": pl.String})
