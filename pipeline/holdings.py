"""What the API is believed to hold: one page of records per kind and bucket, kept by acknowledged changes.

Columns of a page: `id, user_id, location_id, digest, meter_point_keys, bucket, row, scope`. The digest is the
one of the content that was *acknowledged*, never of one merely attempted.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from pipeline.phases import CHANGING, MANNERS, Phase
from schemas.ledger import MANIFEST_SCHEMA

HOLDING_COLUMNS = [name for name in MANIFEST_SCHEMA.names() if name not in ("partition", "position")]
KEY = ["user_id", "id"]

RELEASED = "released"
"""Digest of a location that gave up a meter point: whatever an export says of it next is a change."""

JOINED = "joined:"
"""How the digest of a location begins that holds more than the rows that changed it said: no export says all of it, so
the next full one is compared anew. Of its meter points the ledger knows which it may have."""

UNTOLD = "untold"
"""Digest of a record of which nobody can tell what the API holds: its spool was lost, or a change of it was begun and
came to nothing. Whatever an export says of it next is a change. Also the reason of the chunk in which the former was
found."""

PROTECTED = "protected:"
"""How the digest of a protected location begins: a correction that comes without the flagged row finds it there. What
becomes of the location does not take the mark away, but an export that speaks for all of it."""

DELETED = "deleted"
"""Digest of a record that is known to be gone."""


Fold = Callable[[pl.DataFrame | None, pl.DataFrame], pl.DataFrame]
"""Maps what is held, and records in the same buckets, to what is held after."""


def is_protected(digest: pl.Expr) -> pl.Expr:
    """Whether a digest is that of a protected location, however it came about."""
    return digest.str.contains(PROTECTED, literal=True)


def merge(held: pl.DataFrame | None, records: pl.DataFrame) -> pl.DataFrame:
    """What is held after `records` were acknowledged, the later of two changes to one record winning."""
    fresh = records.select(HOLDING_COLUMNS)
    changes = (fresh if held is None else pl.concat([held, fresh])).sort("bucket", *KEY, maintain_order=True)
    user, own = changes["user_id"], changes["id"]
    if (fresh["digest"] == RELEASED).any():
        changes = _released(changes)
    is_overtaken = (own == own.shift(-1, fill_value="")) & (user == user.shift(-1, fill_value=""))
    is_gone = is_overtaken | (changes["digest"] == DELETED)
    return changes.filter(~is_gone) if is_gone.any() else changes


def _released(changes: pl.DataFrame) -> pl.DataFrame:
    """Changes, sorted by their records, in which a protected location that gives up a meter point stays protected."""
    digest = pl.col("digest")
    was_protected = is_protected(digest.shift(1).over(KEY))
    kept = pl.when((digest == RELEASED) & was_protected).then(pl.lit(PROTECTED + RELEASED)).otherwise(digest)
    return changes.with_columns(kept.alias("digest"))


def untold() -> pl.Expr:
    """The digest of a record of which nobody can tell what it says, but that its address is protected."""
    marked = pl.when(is_protected(pl.col("digest"))).then(pl.lit(PROTECTED + UNTOLD))
    return marked.otherwise(pl.lit(UNTOLD)).alias("digest")


def still_marked(found: pl.DataFrame, marked: pl.DataFrame) -> pl.DataFrame:
    """Locations as they were read back, those of `marked` as protected ones: the API knows of no flag."""
    numbered = found.with_row_index("place")
    is_marked = pl.col("place").is_in(numbered.join(marked, on=KEY, how="semi")["place"].implode())
    digest = pl.when(is_marked).then(pl.lit(PROTECTED) + pl.col("digest")).otherwise("digest")
    return numbered.with_columns(digest.alias("digest")).drop("place")


def doubt(held: pl.DataFrame | None, records: pl.DataFrame) -> pl.DataFrame:
    """What is held after a change of `records` was begun, and what became of it is not known to be what was wanted."""
    if held is None:
        return records.head(0).select(HOLDING_COLUMNS)
    begun = records.select(KEY).unique().with_columns(pl.lit(value=True).alias("begun"))
    digest = pl.when("begun").then(untold()).otherwise("digest").alias("digest")
    return held.join(begun, on=KEY, how="left", maintain_order="left").select(
        digest if name == "digest" else name for name in HOLDING_COLUMNS
    )


MERGES: dict[str, tuple[str, Fold]] = {
    phase.value: (manner.kind.value, merge) for phase, manner in MANNERS.items()
}
"""How the ledger folds acknowledged chunks of each phase into its pages."""

DOUBTS: dict[str, tuple[str, Fold]] = {
    phase.value: (MANNERS[phase].kind.value, doubt) for phase in Phase if phase in CHANGING
}
"""How the ledger folds chunks of a phase into its pages that were begun and did not end well."""
