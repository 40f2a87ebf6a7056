"""Where a row goes: everything of one customer into one partition, by a hash that never changes.

A customer's *bucket* (0 … 255) is the top byte of XXH3 over the user id as it goes on the wire, so it can
be worked out again from the API's own list of users. A *partition* is a range of buckets; there is a power
of two of them. Never Polars' own `.hash()`: it may change between versions, and the spool and the ledger
outlive an upgrade.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from pipeline.identity import ID_KEY, SEPARATOR, Identity, natural_key
from schemas.errors import AccountError
from schemas.ledger import BUCKETS
from schemas.outcomes import Kind
from schemas.profile import CANONICAL, Profile

BUCKET_WIDTH: Final = 2**64 // BUCKETS

PARTITION_ROWS: Final = 125_000
"""Rows in a partition, at most: a fold works in about 100 MB, whatever the size of the run."""

SHARED_PARTITION_ROWS: Final = 10_000
"""Rows in a partition of a run that several workers share: there should be more partitions than workers, and what a
lost worker leaves behind should be little."""

USER_KEY = "user_key"
"""UInt64 hash of the wire id of the row's customer; its top byte is the bucket."""


@dataclass(frozen=True, slots=True)
class RowShape:
    """What the rows of one source say about users and locations.

    Attributes:
        defines: the rows define users and locations; False for an export of resources, which only
            refers to them.
        place_from: columns whose values, together, are the natural key of a location within its
            customer. Empty: the rows of resources say only the meter point.
        place_is_an_id: `place_from` is the export's own location number, so it may not occur under two
            customers. An address may.
    """

    defines: bool = True
    place_from: tuple[str, ...] = ("location",)
    place_is_an_id: bool = True

    @classmethod
    def of(cls, profile: Profile) -> Self:
        """The shape a profile declares."""
        defines = profile.export.of == "customers"
        if profile.columns.location is not None:
            return cls(defines, ("location",), place_is_an_id=True)
        named = [part if part in CANONICAL else f"key:{part}" for part in profile.identity.location_from]
        parts = tuple(part for part in named if part != "user") or tuple(named)  # every id holds the customer
        if not parts and defines:
            parts = ("meter_point",)
        return cls(defines, parts, place_is_an_id=False)


_NAMES_PLACES: Final = ("location", "metering_location")
"""Columns that say nothing more once the row has its `place`."""

METER_POINT_KEY = "meter_point_key"
"""UInt64 keyed hash of the row's meter point (`Identity.meter_point_key`)."""


def partition_count(row_estimate: int, *, rows_each: int = PARTITION_ROWS, shared: bool = False) -> int:
    """How many partitions a run of about so many rows gets: a power of two, 256 at most.

    Args:
        row_estimate: rows of the run.
        rows_each: in a partition, at most.
        shared: by several workers, so finer.
    """
    if shared:
        rows_each = min(rows_each, SHARED_PARTITION_ROWS)
    wanted = max(1, -(-row_estimate // rows_each))
    return min(BUCKETS, 1 << (wanted - 1).bit_length())


def user_key(user_id: pl.Expr) -> pl.Expr:
    """The stable 64-bit hash of a wire id."""
    key: pl.Expr = user_id.nchash.xxh3_64()  # type: ignore[attr-defined]
    return key


def bucket(key: pl.Expr) -> pl.Expr:
    """The top byte of a 64-bit hash, as UInt8."""
    return (key // BUCKET_WIDTH).cast(pl.UInt8)


def bucket_of(user_id: str) -> int:
    """The bucket of one customer, from the id on the wire."""
    return int(pl.select(bucket(user_key(pl.lit(user_id)))).item())


def buckets_of(partition: int, partitions: int) -> range:
    """The buckets that make up a partition."""
    width = BUCKETS // partitions
    return range(partition * width, (partition + 1) * width)


def to_spool(valid_rows: pl.DataFrame, shape: RowShape, identity: Identity) -> pl.DataFrame:
    """Judged rows of one source, ready for the spool.

    The natural keys get the spelling ids are made from. What names a location becomes one column `place`, null where
    the row names none. `user_id` is added where it is not `user` itself, `refers` (True) where the rows only refer to
    users and locations, and always `user_key` and `bucket`.

    Raises:
        AccountError: a row has no customer, which no rule lets pass.
    """
    if valid_rows["user"].null_count():
        raise AccountError("a row without a customer was judged valid")
    keys = dict.fromkeys(("user", *shape.place_from, "resource"))  # the customer alone may name the place
    respelled = [natural_key(valid_rows[key], identity) for key in keys if key in valid_rows.columns]
    place = (
        pl.concat_str(shape.place_from, separator=SEPARATOR) if shape.place_from else pl.lit(None, pl.String)
    )
    rows = valid_rows.with_columns(respelled).with_columns(place.alias("place"), *_marks(shape))
    if identity.ids == "hmac":
        rows = rows.with_columns(identity.user_id(pl.col("user")).alias("user_id"))
        if identity.former:
            rows = _under_held_keys(rows, identity)
    rows = rows.with_columns(user_key(wire_user(rows)).alias(USER_KEY))
    spent = [name for name in rows.columns if name in _NAMES_PLACES or name.startswith("key:")]
    return rows.drop(spent).with_columns(bucket(pl.col(USER_KEY)).alias("bucket"))


def _under_held_keys(rows: pl.DataFrame, identity: Identity) -> pl.DataFrame:
    """Give customers who are held under a former key the id they are held under; adds `id_key`."""
    assert identity.held_users is not None
    held = identity.held_users.implode()
    under = {
        f"under_{number}": identity.id_under(key, Kind.USER, pl.col("user"))
        for number, key in enumerate(identity.former, start=1)
    }
    rows = rows.with_columns(**under)
    names = ["user_id", *under]
    number = pl.coalesce(
        *(pl.when(user_key(pl.col(name)).is_in(held)).then(n) for n, name in enumerate(names)), pl.lit(0)
    )
    rows = rows.with_columns(number.cast(pl.UInt8).alias(ID_KEY))
    chosen = pl.coalesce(*(pl.when(pl.col(ID_KEY) == n).then(name) for n, name in enumerate(names)))
    return rows.with_columns(chosen.alias("user_id")).drop(*under)


def wire_user(rows: pl.DataFrame) -> pl.Expr:
    """The customer's id on the wire, in rows made by `to_spool`."""
    return pl.col("user_id" if "user_id" in rows.columns else "user")


def _marks(shape: RowShape) -> list[pl.Expr]:
    return [] if shape.defines else [pl.lit(value=True).alias("refers")]
