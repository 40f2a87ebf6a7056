"""What the API is believed to hold: one page of records per kind and bucket, kept by acknowledged changes.

Columns of a page: `id, user_id, location_id, digest, meter_point_keys, bucket, row, scope`. The digest is the
one of the content that was *acknowledged*, never of one merely attempted.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from pipeline.phases import MANNERS, Phase
from schemas.ledger import MANIFEST_SCHEMA
from schemas.outcomes import Kind

HOLDING_COLUMNS = [name for name in MANIFEST_SCHEMA.names() if name not in ("partition", "position")]
KEY = ["user_id", "id"]

RELEASED = "released"
"""Digest of a location that gave up a meter point: whatever an export says of it next is a change."""

JOINED = "joined:"
"""How the digest of a location begins that holds more than the rows that changed it said: no export says all of it, so
the next full one is compared anew. Of its meter points the ledger knows which it may have."""

UNTOLD = "untold"
"""Digest of a record of which nobody can tell what the API holds: its spool was lost, or it was removed to be made
anew, and that came to nothing. Whatever an export says of it next is a change. Also the reason of the chunk in which
the former was found."""

DELETED = "deleted"
"""Digest of a record that is known to be gone."""


def merge(held: pl.DataFrame | None, records: pl.DataFrame) -> pl.DataFrame:
    """What is held after `records` were acknowledged, the later of two changes to one record winning."""
    fresh = records.select(HOLDING_COLUMNS)
    changes = (fresh if held is None else pl.concat([held, fresh])).sort("bucket", *KEY, maintain_order=True)
    user, own = changes["user_id"], changes["id"]
    is_overtaken = (own == own.shift(-1, fill_value="")) & (user == user.shift(-1, fill_value=""))
    is_gone = is_overtaken | (changes["digest"] == DELETED)
    return changes.filter(~is_gone) if is_gone.any() else changes


REMADE = (Phase.REPLACE_RESOURCES.value, Kind.RESOURCE.value)
"""The phase that changes a record by removing it and making it anew, and the kind of such a record."""


def doubt(held: pl.DataFrame | None, records: pl.DataFrame) -> pl.DataFrame:
    """What is held after a change of `records` was begun, and what became of it is not known to be what was wanted."""
    if held is None:
        return records.head(0).select(HOLDING_COLUMNS)
    begun = records.select(KEY).unique().with_columns(pl.lit(UNTOLD).alias("untold"))
    return held.join(begun, on=KEY, how="left", maintain_order="left").select(
        pl.coalesce("untold", "digest").alias("digest") if name == "digest" else name
        for name in HOLDING_COLUMNS
    )


MERGES: dict[str, tuple[str, Callable[[pl.DataFrame | None, pl.DataFrame], pl.DataFrame]]] = {
    phase.value: (manner.kind.value, merge) for phase, manner in MANNERS.items()
}
"""How the ledger folds acknowledged chunks of each phase into its pages."""
