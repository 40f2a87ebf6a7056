"""The fold: the valid rows of one partition become user, location, resource and vehicle records.

All rows of a customer are in one partition, so a partition is folded alone, on any thread or machine, and
gives the same records however many partitions there are. Every valid row ends in exactly one class:

    rows of the partition = quarantined (in conflict) + duplicate + mapped

and every mapped row is in the provenance of at least one record, every record has at least one row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.bodies import COORDINATE_DECIMALS, with_location_body, with_resource_body, with_user_body
from pipeline.conflicts import (
    CONTESTED,
    VIOLATIONS,
    ConflictPolicy,
    content_violations,
    differing_locations,
    ownership_violations,
)
from pipeline.holdings import PROTECTED
from pipeline.identity import ID_KEY, Identity, record_digest
from pipeline.intake import ROWS
from pipeline.partition import METER_POINT_KEY, USER_KEY, bucket, user_key, wire_user
from pipeline.ports import RowSpool
from pipeline.protection import COVERED, MARKS, Shielded, shield
from pipeline.row_token import SOURCE_SIZE
from schemas.errors import AccountError
from schemas.outcomes import Kind
from schemas.profile import VEHICLE

FOLD_ROWS: Final = 40_000
"""Rows folded at a time, about: twice as many take a tenth less CPU, and 30 MB more at ten million rows."""

KindName: Final[pl.DataType] = pl.Enum([kind.value for kind in Kind])

RECORD_SCHEMA: Final = pl.Schema(
    {
        "kind": KindName,
        "id": pl.String(),
        "user_id": pl.String(),
        "location_id": pl.String(),  # the location itself, or the one a resource hangs on; null otherwise
        "meter_point_keys": pl.List(pl.UInt64()),  # of a location; empty otherwise
        "digest": pl.String(),
        "body": pl.String(),
        "row": pl.UInt64(),  # the first of its rows
        "row_count": pl.UInt32(),
        "bucket": pl.UInt8(),
        "scope": pl.String(),  # the profile of its first row
    }
)
"""One line per record, in the order of first rows."""

PROVENANCE_SCHEMA: Final = pl.Schema({"kind": KindName, "id": pl.String(), "row": pl.UInt64()})

_ADDED = ("user_id", USER_KEY, METER_POINT_KEY)

_OPTIONAL = {
    "place": pl.String,
    "meter_point": pl.String,
    "location_type": pl.String,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "resource": pl.String,
    "resource_type": pl.String,
}


@dataclass(frozen=True, slots=True)
class FoldCounts:
    """`rows = quarantined + duplicate + mapped`."""

    rows: int
    quarantined: int
    duplicate: int
    mapped: int

    def check(self) -> None:
        """Raise `AccountError` unless every row has exactly one class."""
        accounted = self.quarantined + self.duplicate + self.mapped
        if self.rows != accounted:
            raise AccountError(f"a partition of {self.rows} rows accounts for {accounted}")


@dataclass(frozen=True, slots=True)
class Folded:
    """What became of the rows of one partition.

    Attributes:
        records: per kind, in `RECORD_SCHEMA`; kinds without a record are empty.
        provenance: `kind, id, row`: one line per mapped row and record it went into. Lazy: it is what a fold is held
            to, and no load asks for it.
        duplicates: `row` and `first_row`, the row it repeats.
        violations: `row, rule, severity` of the rules between rows.
        counts: the rows by class.
        only_named: `user_id, id` of locations that rows name without saying what one is made of.
    """

    records: dict[Kind, pl.DataFrame]
    provenance: pl.LazyFrame
    duplicates: pl.DataFrame
    violations: pl.DataFrame
    counts: FoldCounts
    only_named: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Folding:
    """What a fold needs to know besides the rows; the same for every partition of a run.

    Attributes:
        scopes: name of the profile of each source, by source number.
    """

    identity: Identity
    policy: ConflictPolicy = ConflictPolicy()
    scopes: Sequence[str] = ("",)


def fold(rows: pl.DataFrame, contested_rows: pl.DataFrame, folding: Folding) -> Folded:
    """Fold one partition.

    Args:
        rows: rows made by `partition.to_spool`, all rows of every customer in them.
        contested_rows: the same partition of the table `contested` (`conflicts.find_conflicts`).
        folding: ids, conflict policy and profile names.

    Raises:
        AccountError: a row was lost or counted twice: a bug.
    """
    if rows.is_empty():
        return _nothing()
    rows = neighbours(rows, folding.identity)
    owners = ownership_violations(contested_rows)
    distinct, duplicates = _without_duplicates(_without(rows, _quarantined(owners)))
    mappable = _complete(distinct)
    contents = content_violations(mappable, folding.policy)
    rejected = _quarantined(contents)
    echoes = duplicates.join(contents, left_on="first_row", right_on="row")
    mapped = _with_locates(_without(mappable, rejected))
    duplicates = duplicates.filter(~pl.col("first_row").is_in(rejected.implode()))
    violations = pl.concat([owners, contents, echoes.select(VIOLATIONS.names())])
    counts = FoldCounts(rows.height, _quarantined(violations).len(), duplicates.height, mapped.height)
    counts.check()
    records = {kind: _record(made, kind, folding) for kind, made in _made(mapped, folding.identity)}
    provenance = _provenance(mapped, records, folding.identity)
    only_named = _only_named(mapped, folding.identity)
    return Folded(records, provenance, duplicates, violations, counts, only_named)


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole customers of one partition, neighbours by their hash, and what became of their rows.

    Attributes:
        keys: the hashes (`user_key`) of its customers; the pieces of a partition share out all there could be, so
            that what is held of a customer who has no rows has its piece, too.
        is_last: of its partition.
        shielded: what protected addresses took from the rows of the partition; with its last piece only.
    """

    partition: int
    keys: range
    is_last: bool
    rows: pl.DataFrame
    folded: Folded
    shielded: Shielded | None = None

    def only(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The lines of a frame, with `user_id`, that are about customers of this piece."""
        key = user_key(pl.col("user_id"))
        return frame.filter(key.is_between(_hash(self.keys.start), _hash(self.keys.stop - 1)))


def _hash(number: int) -> pl.Expr:
    return pl.lit(number, pl.UInt64)


def fold_all(
    spool: RowSpool, folding: Folding, *, workers: int = 2, rows_each: int = FOLD_ROWS
) -> Generator[Piece]:
    """Fold every partition of the spool, in order, piece by piece, while the caller deals with the piece before.

    A piece has all rows of its customers, and about as many rows however large the run is; so has what a fold needs
    besides, and what it makes.

    Args:
        workers: pieces folded at a time.
        rows_each: in a piece, about.

    Raises:
        AccountError: a row was lost or counted twice: a bug.
        StorageError: the spool is damaged.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fold")
    ahead: deque[tuple[int, range, Shielded | None, pl.DataFrame, Future[Folded]]] = deque()

    def settled() -> Piece:
        partition, keys, shielded, rows, future = ahead.popleft()
        return Piece(partition, keys, shielded is not None, rows, future.result(), shielded)

    try:
        for partition in range(spool.partitions):
            rows, contested_rows = spool.read(ROWS, partition), spool.read(CONTESTED, partition)
            shielded = shield(rows, spool.read(MARKS, partition))
            pieces = customers_apart(shielded.rows, partition, spool.partitions, rows_each)
            shielded = replace(shielded, rows=rows.clear())
            del rows
            while pieces:
                keys, some = pieces.popleft()
                future = pool.submit(fold, some, _only(contested_rows, some), folding)
                ahead.append((partition, keys, None if pieces else shielded, some, future))
                del some, future
                if len(ahead) > workers:
                    yield settled()
        while ahead:
            yield settled()
    finally:
        pool.shutdown(cancel_futures=True)


def customers_apart(
    rows: pl.DataFrame, partition: int, partitions: int, rows_each: int
) -> deque[tuple[range, pl.DataFrame]]:
    """The rows of a partition in pieces of about so many, all rows of a customer in one, with the hashes of each.

    By the hash that decided the partition, in its order.
    """
    width = 2**64 // partitions
    first = partition * width
    count = -(-rows.height // rows_each)
    if count <= 1:
        return deque([(range(first, first + width), rows)])
    share = -(-width // count)
    key = rows.select(user_key(wire_user(rows))).to_series() - first
    number = (key // share).to_numpy()
    return deque(
        (range(first + n * share, first + min((n + 1) * share, width)), rows.filter(pl.Series(number == n)))
        for n in range(count)
    )


def _only(contested_rows: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    return contested_rows.join(rows, on="row", how="semi") if contested_rows.height else contested_rows


# ------------------------------------------------------------------ rows
def _quarantined(violations: pl.DataFrame) -> pl.Series:
    return violations.filter(pl.col("severity") == "quarantine")["row"].unique()


def _without(rows: pl.DataFrame, numbers: pl.Series) -> pl.DataFrame:
    return rows.filter(~pl.col("row").is_in(numbers.implode())) if numbers.len() else rows


def neighbours(rows: pl.DataFrame, identity: Identity) -> pl.DataFrame:
    """The rows of a customer side by side, within them those of a location, in order of meter points.

    Sorted by hashes, which is three times as fast as sorting or grouping by the texts. Adds `user_id` (as
    on the wire), `user_key` and `meter_point_key`. Should two customers ever share a hash, texts decide.
    """
    absent = [
        pl.lit(None, dtype).alias(name) for name, dtype in _OPTIONAL.items() if name not in rows.columns
    ]
    keyed = rows.with_columns(*absent, wire_user(rows).alias("user_id")).with_columns(
        user_key(pl.col("user_id")).alias(USER_KEY),
        user_key(pl.col("place")).alias("place_key"),
        identity.meter_point_key(pl.col("meter_point")).alias(METER_POINT_KEY),
    )
    keyed = keyed.sort(USER_KEY, "place_key", "meter_point")
    for text, key in (("user", USER_KEY), ("place", "place_key")):
        if not keyed.select((_begins(text) == _begins(key)).all()).item():
            return keyed.sort("user", "place", "meter_point").drop("place_key")
    return keyed.drop("place_key")


def _begins(*columns: str) -> pl.Expr:
    """True in the first row, and where a row differs from the one before in any of the columns."""
    differs = [pl.col(name).ne_missing(pl.col(name).shift()) for name in columns]
    return pl.any_horizontal(*differs, pl.int_range(pl.len()) == 0)


def _without_duplicates(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """First copies, and `row, first_row` of the others. Copies are neighbours; equality decides."""
    like_previous = rows.select(same=_begins("user", "place", METER_POINT_KEY).not_()).to_series()
    if not like_previous.any():
        return rows, pl.DataFrame(schema={"row": pl.UInt64, "first_row": pl.UInt64})
    suspects = rows.filter(like_previous | like_previous.shift(-1, fill_value=False))
    mapped_columns = [name for name in rows.columns if name not in ("row", *_ADDED)]
    first = pl.col("row").min().over(mapped_columns)
    copies = suspects.select("row", first.alias("first_row")).filter(pl.col("row") != pl.col("first_row"))
    return _without(rows, copies["row"]), copies.sort("row")


def _complete(rows: pl.DataFrame) -> pl.DataFrame:
    """Coordinates whole or absent, which rows define, and where the resources of the others are."""
    defines = pl.col("refers").is_null() if "refers" in rows.columns else pl.lit(value=True)
    complete = rows.with_columns(defines.alias("defines"))
    whole = pl.col("latitude").is_finite() & pl.col("longitude").is_finite()
    complete = complete.with_columns(pl.when(whole).then(pl.col("latitude", "longitude")))
    return complete if complete["defines"].all() else _with_places(complete)


def _with_locates(rows: pl.DataFrame) -> pl.DataFrame:
    """Which rows make a location: `locates`.

    A vehicle hangs on the customer alone. Where nothing but vehicles without meter point and coordinates names a
    location, there is nothing to make one of: the API would refuse it.
    """
    locates = rows.with_columns((pl.col("defines") & pl.col("place").is_not_null()).alias("locates"))
    says_nothing = pl.all_horizontal(pl.col("meter_point", "latitude").is_null())
    on_wheels = pl.col("resource_type").eq_missing(VEHICLE)
    passing = locates.filter(pl.col("locates") & on_wheels & says_nothing).select("user", "place", "row")
    if passing.is_empty():
        return locates
    there = (
        locates.join(passing, on=["user", "place"], how="semi")
        .filter("locates")
        .join(passing, on="row", how="anti")
    )
    nowhere = passing.join(there, on=["user", "place"], how="anti")["row"]
    return locates.with_columns(pl.col("locates") & ~pl.col("row").is_in(nowhere.implode()))


def _with_places(rows: pl.DataFrame) -> pl.DataFrame:
    """Where the resources of rows that only refer are: the customer's location with that meter point.

    When no row of the run defines it, the meter point itself names it, as it does in exports without a
    location column; whether there is such a location is for the plan to see.
    """
    known = rows.filter(
        pl.col("defines") & pl.col("place").is_not_null() & pl.col("meter_point").is_not_null()
    )
    known = known.group_by("user", "meter_point").agg(pl.col("place").min().alias("known_place"))
    found = rows.join(known, on=["user", "meter_point"], how="left", maintain_order="left")
    referred = pl.coalesce("place", "known_place", "meter_point")
    return found.with_columns(pl.when("defines").then("place").otherwise(referred).alias("place")).drop(
        "known_place"
    )


# ------------------------------------------------------------------ records
def _made(rows: pl.DataFrame, identity: Identity) -> Iterator[tuple[Kind, pl.DataFrame]]:
    """Groups of rows with ids and bodies, kind by kind, so that only one of them is in memory at a time."""
    defining = rows if rows["defines"].all() else rows.filter("defines")
    yield Kind.USER, with_user_body(_users(defining))
    yield Kind.LOCATION, with_location_body(_locations(rows, identity))
    resources = rows.filter(pl.col("resource").is_not_null())
    on_wheels = pl.col("resource_type").eq_missing(VEHICLE)
    for kind, chosen in ((Kind.RESOURCE, ~on_wheels), (Kind.VEHICLE, on_wheels)):
        yield kind, with_resource_body(_resources(resources.filter(chosen), kind, identity))


def _users(rows: pl.DataFrame) -> pl.DataFrame:
    users = _Groups.of(rows, "user").first_rows("user_id", USER_KEY)
    return users.with_columns(pl.col("user_id").alias("id"), pl.lit(None, pl.String).alias("location_id"))


def _locations(rows: pl.DataFrame, identity: Identity) -> pl.DataFrame:
    located = rows if rows["locates"].all() else rows.filter("locates")
    groups = _Groups.of(located, "user", "place")
    covered = [COVERED] if COVERED in rows.columns else []
    content = ("location_type", "latitude", "longitude", *covered, *_id_key(rows))
    locations = groups.first_rows("user", "user_id", USER_KEY, "place", *content)
    for name, lists in (("meter_point", "meter_points"), (METER_POINT_KEY, "meter_point_keys")):
        unique = _sorted_unique(groups.lists(located[name]), located[METER_POINT_KEY])
        locations = locations.with_columns(unique.alias(lists))
    location_id = identity.location_id(pl.col("user"), pl.col("place"))
    return _settled(locations, located).with_columns(
        location_id.alias("id"),
        location_id.alias("location_id"),
        pl.col("latitude", "longitude").round(COORDINATE_DECIMALS) + 0.0,  # -0.0 becomes 0.0
    )


@dataclass(frozen=True, slots=True)
class _Groups:
    """Neighbouring rows that belong together: the position at which each group starts."""

    rows: pl.DataFrame
    starts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: pl.DataFrame, *columns: str) -> Self:
        return cls(rows, np.flatnonzero(rows.select(_begins(*columns)).to_series().to_numpy()))

    def first_rows(self, *columns: str) -> pl.DataFrame:
        """The columns of each group's first row, the smallest `row` in it and `row_count`."""
        row = self.rows["row"].to_numpy()
        smallest = np.minimum.reduceat(row, self.starts) if self.starts.size else row
        count = np.diff(self.starts, append=self.rows.height)
        return self.rows.select(columns)[self.starts].with_columns(
            pl.Series("row", smallest, pl.UInt64), pl.Series("row_count", count, pl.UInt32)
        )

    def lists(self, values: pl.Series) -> pl.Series:
        """The values of each group as a list, without copying them."""
        offsets = np.append(self.starts, self.rows.height)
        members = values.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
        return pl.Series(pa.LargeListArray.from_arrays(pa.array(offsets), members))


def _settled(locations: pl.DataFrame, located: pl.DataFrame) -> pl.DataFrame:
    """The content of locations whose rows differ within what is allowed.

    The type is the one any row names. Of slightly different points the smallest pair is taken whole: an
    average would be a point nobody named.
    """
    differing = differing_locations(located)
    if differing.is_empty():
        return locations
    rows = located.join(differing, on=["user", "place"], how="semi").sort(
        "latitude", "longitude", nulls_last=True
    )
    settled = rows.group_by("user", "place").agg(
        pl.col("location_type").min(), pl.col("latitude", "longitude").first()
    )
    return locations.update(settled, on=["user", "place"])


def _sorted_unique(lists: pl.Series, keys: pl.Series) -> pl.Series:
    """Drop nulls and repetitions from lists of neighbours; usually there are none, as the keys show."""
    if keys.null_count():
        lists = lists.list.drop_nulls()
    if (keys == keys.shift()).any():
        lists = lists.list.unique(maintain_order=True)
    return lists


def _resources(rows: pl.DataFrame, kind: Kind, identity: Identity) -> pl.DataFrame:
    """Resources or vehicles. One that rows put behind two meters goes without a meter point."""
    resources = rows.group_by("user", "resource", maintain_order=True).agg(
        pl.col("user_id", USER_KEY, "resource_type", *_id_key(rows)).first(),
        pl.col("place", "meter_point").min(),
        (pl.col("meter_point").min() == pl.col("meter_point").max()).alias("one_meter"),
        pl.col("row").min(),
        pl.len().alias("row_count"),
    )
    hangs = pl.col("place").is_not_null() if kind is Kind.RESOURCE else pl.lit(value=False)
    place_id = identity.location_id(pl.col("user"), pl.col("place"))
    return resources.with_columns(
        identity.resource_id(pl.col("user"), pl.col("resource"), kind).alias("id"),
        pl.when(hangs).then(place_id).alias("location_id"),
        pl.when(hangs & pl.col("one_meter")).then("meter_point").alias("meter_point"),
    )


def _id_key(rows: pl.DataFrame) -> list[str]:
    """The column that chooses a customer's id key, where there is a choice."""
    return [ID_KEY] if ID_KEY in rows.columns else []


def _record(made: pl.DataFrame, kind: Kind, folding: Folding) -> pl.DataFrame:
    """The columns of a record."""
    if kind is not Kind.LOCATION:
        made = made.with_columns(pl.lit([], pl.List(pl.UInt64)).alias("meter_point_keys"))
    digest = record_digest(folding.identity, kind)
    if COVERED in made.columns:
        digest = pl.when(COVERED).then(pl.lit(PROTECTED) + digest).otherwise(digest).alias("digest")
    return made.select(
        pl.lit(kind.value, KindName).alias("kind"),
        "id",
        "user_id",
        "location_id",
        "meter_point_keys",
        digest,
        "body",
        "row",
        pl.col("row_count").cast(pl.UInt32),
        bucket(pl.col(USER_KEY)).alias("bucket"),
        _scope(folding.scopes),
    )


def _scope(scopes: Sequence[str]) -> pl.Expr:
    if len(scopes) == 1:
        return pl.lit(scopes[0]).alias("scope")
    return pl.lit(pl.Series(scopes)).gather(pl.col("row") // SOURCE_SIZE).alias("scope")


# ------------------------------------------------------------------ provenance
def _provenance(rows: pl.DataFrame, records: dict[Kind, pl.DataFrame], identity: Identity) -> pl.LazyFrame:
    """Which rows each record comes from."""
    is_resource, on_wheels = pl.col("resource").is_not_null(), pl.col("resource_type").eq_missing(VEHICLE)
    user, place, resource = pl.col("user"), pl.col("place"), pl.col("resource")
    parts = {
        Kind.USER: (pl.col("defines"), pl.col("user_id")),
        Kind.LOCATION: (pl.col("locates"), identity.location_id(user, place)),
        Kind.RESOURCE: (is_resource & ~on_wheels, identity.resource_id(user, resource)),
        Kind.VEHICLE: (is_resource & on_wheels, identity.resource_id(user, resource, Kind.VEHICLE)),
    }
    lines = [
        rows.lazy()
        .filter(belongs)
        .select(pl.lit(kind.value, KindName).alias("kind"), record_id.alias("id"), "row")
        for kind, (belongs, record_id) in parts.items()
        if records[kind].height
    ]
    return pl.concat(lines) if lines else pl.LazyFrame(schema=PROVENANCE_SCHEMA)


def _only_named(rows: pl.DataFrame, identity: Identity) -> pl.DataFrame:
    """The locations that rows name and none is made of; but not one whose address must not stay where it is held."""
    named = rows.filter(pl.col("defines") & pl.col("place").is_not_null() & ~pl.col("locates"))
    named = named.filter(~pl.col(COVERED)) if COVERED in named.columns else named
    location_id = identity.location_id(pl.col("user"), pl.col("place"))
    return named.select("user_id", location_id.alias("id")).unique() if named.height else _NO_LOCATIONS


_NO_LOCATIONS = pl.DataFrame(schema={"user_id": pl.String, "id": pl.String})


def _nothing() -> Folded:
    records = {kind: pl.DataFrame(schema=RECORD_SCHEMA) for kind in Kind}
    duplicates = pl.DataFrame(schema={"row": pl.UInt64, "first_row": pl.UInt64})
    provenance = pl.LazyFrame(schema=PROVENANCE_SCHEMA)
    violations, counts = pl.DataFrame(schema=VIOLATIONS), FoldCounts(0, 0, 0, 0)
    return Folded(records, provenance, duplicates, violations, counts, _NO_LOCATIONS)
