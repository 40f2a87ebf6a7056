"""Rules between rows: what two customers, or two rows of one customer, say about the same thing.

Rows of two customers meet in no partition, so what may belong to one customer only leaves a *claim*: a
narrow row of hashes, spooled by the hash of what is claimed. Every partition of claims is judged alone,
and what it finds is spooled again by customer, as `row, rule, kept`, so that memory stays flat however
many rows are in conflict. Rows of one customer are compared in the fold (`pipeline/records.py`).

Which claim stands never depends on the order of files by accident. `quarantine` (the default) lets none
stand; `keep-first` lets the customer stand whose row came first in the run. Either way every row is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

from pipeline.identity import Identity
from pipeline.partition import METER_POINT_KEY, USER_KEY, RowShape, bucket
from pipeline.ports import RowSpool
from schemas.profile import VEHICLE

Policy = Literal["quarantine", "keep-first"]

METER_POINT_OWNER: Final = "meter_point_belongs_to_one_customer"
METER_POINT_PLACE: Final = "meter_point_belongs_to_one_location"
LOCATION_OWNER: Final = "location_belongs_to_one_customer"
LOCATION_CONTENT: Final = "location_has_one_content"
RESOURCE_OWNER: Final = "resource_belongs_to_one_customer"
RESOURCE_CONTENT: Final = "resource_has_one_content"
RESOURCE_METER_POINT: Final = "resource_has_one_meter_point"
RESOURCE_PLACE: Final = "resource_has_a_location"
ROW_PLACE: Final = "row_names_its_location"
USER_SPELLING: Final = "user_is_spelled_in_one_way"
POINT_CROWD: Final = "coordinates_are_shared_by_few_customers"

CROSS_ROW_RULES: Final = (
    METER_POINT_OWNER,
    METER_POINT_PLACE,
    LOCATION_OWNER,
    LOCATION_CONTENT,
    RESOURCE_OWNER,
    RESOURCE_CONTENT,
    RESOURCE_METER_POINT,
    RESOURCE_PLACE,
    ROW_PLACE,
    USER_SPELLING,
    POINT_CROWD,
)

RuleName: Final[pl.DataType] = pl.Enum(CROSS_ROW_RULES)

CLAIMED: Final = {METER_POINT_OWNER: "meter_point", LOCATION_OWNER: "place", RESOURCE_OWNER: "resource"}
"""What only one customer may have: rule to the column that names it."""

CLAIMS: Final = "claims"
"""The spool's table of claims."""

CLAIM_BUCKETS: Final = 4
"""Buckets of claims that are judged together: claims are narrow, and larger groups are written faster."""

COORDINATE_TOLERANCE: Final = 1e-4
"""Degrees within which two points are one location: at most 11 m, two meters in one building."""

CONTESTED: Final = "contested"
"""The spool's table of rows in conflict across customers: `row, rule, kept`."""


@dataclass(frozen=True, slots=True)
class ConflictPolicy:
    """Which of several claims stands: `[conflicts]` of the profile. Resources have no choice there."""

    meter_point: Policy = "quarantine"
    location: Policy = "quarantine"

    def of(self, rule: str) -> Policy:
        """The policy a rule follows."""
        if rule in (METER_POINT_OWNER, METER_POINT_PLACE):
            return self.meter_point
        return self.location if rule in (LOCATION_OWNER, LOCATION_CONTENT) else "quarantine"


def claims_of(rows: pl.DataFrame, shape: RowShape, identity: Identity) -> dict[str, pl.DataFrame]:
    """What rows made by `to_spool` claim for their customers: spool table to claims.

    Rows of resources claim nothing of what they only refer to. A location is claimed by its number, never
    by an address. A resource is claimed when its own text goes on the wire: made with HMAC, the same
    number under two customers is two ids.
    """
    columns = []
    if shape.defines and "meter_point" in rows.columns:
        columns.append("meter_point")
    if shape.defines and shape.place_is_an_id:
        columns.append("place")
    if identity.ids == "as-is" and "resource" in rows.columns:
        columns.append("resource")
    return {CLAIMS: pl.concat(_claims(rows, column) for column in columns)} if columns else {}


def _claims(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """What is claimed (a number out of `CLAIMED`), two hashes of its text, the claimant and the row.

    The hashes have 96 bits between them, so that two texts never meet.
    """
    kind = list(CLAIMED.values()).index(column)
    named = rows.filter(pl.col(column).is_not_null()) if rows[column].null_count() else rows
    text = pl.col(column).nchash  # type: ignore[attr-defined]
    claims = named.select(
        pl.lit(kind, pl.UInt8).alias("claimed"),
        text.xxh3_64(seed=kind).alias("key"),
        text.xxhash32(seed=kind).alias("check"),
        USER_KEY,
        "row",
    )
    coarse = bucket(pl.col("key")) // CLAIM_BUCKETS * CLAIM_BUCKETS
    return claims.with_columns(coarse.alias("bucket"))


def find_conflicts(spool: RowSpool, policy: ConflictPolicy) -> None:
    """Judge all claims in the spool; leaves the table `contested` and removes the claims."""
    for partition in range(spool.partitions):
        spool.append(CONTESTED, contested(spool.read(CLAIMS, partition), policy))
    spool.drop(CLAIMS)


def contested(claims: pl.DataFrame, policy: ConflictPolicy) -> pl.DataFrame:
    """The rows whose claim another customer makes too.

    Args:
        claims: all claims on some keys: `claimed, key, check, user_key, row`.
        policy: whether the first claimant's rows stand.

    Returns:
        `row` (UInt64), `rule`, `kept` (Boolean: the claim stands) and `bucket` of the claimant.
    """
    if claims.is_empty():
        return _NOTHING_CONTESTED
    suspects = _suspects(claims).sort("row")
    if suspects.is_empty():
        return _NOTHING_CONTESTED
    same = ("claimed", "key", "check")
    disputed = suspects.filter(pl.col(USER_KEY).n_unique().over(same) > 1)
    first_stands = [policy.of(rule) == "keep-first" for rule in CLAIMED]
    is_first = pl.col(USER_KEY) == pl.col(USER_KEY).first().over(same)
    return disputed.select(
        "row",
        pl.col("claimed").replace_strict(dict(enumerate(CLAIMED)), return_dtype=RuleName).alias("rule"),
        (is_first & pl.lit(pl.Series(first_stands)).gather("claimed")).alias("kept"),
        bucket(pl.col(USER_KEY)).alias("bucket"),
    )


def _suspects(claims: pl.DataFrame) -> pl.DataFrame:
    """The claims on whatever seems to be claimed by two: all that are, and a few by chance.

    One number holds 32 bits of what is claimed and 32 of the claimant. Sorted, two claimants of one thing
    are neighbours that differ in the lower half only. NumPy sorts numbers in a fifth of the time of a
    group-by; two customers share the lower half once in four billion.
    """
    half = np.uint64(32)
    claimed = claims["key"].to_numpy() << np.uint64(8)  # the upper bits are those of the partition
    pairs = np.sort((claimed >> half << half) | (claims[USER_KEY].to_numpy() & np.uint64(2**32 - 1)))
    change = pairs[1:] ^ pairs[:-1]
    twice = np.unique(pairs[1:][(change > 0) & (change >> half == 0)] >> half)
    return claims.filter(pl.Series(claimed >> half).is_in(pl.Series(twice).implode()))


_NOTHING_CONTESTED = pl.DataFrame(
    schema={"row": pl.UInt64, "rule": RuleName, "kept": pl.Boolean, "bucket": pl.UInt8}
)


# ------------------------------------------------------------------ rows of one customer, in the fold
VIOLATIONS: Final = pl.Schema({"row": pl.UInt64(), "rule": RuleName, "severity": pl.String()})
"""What every function below returns: one line per row and rule; severity "quarantine" or "warn"."""


def ownership_violations(contested_rows: pl.DataFrame) -> pl.DataFrame:
    """The partition's part of the table `contested`, as violations: a claim that stands is only named."""
    if contested_rows.is_empty():
        return pl.DataFrame(schema=VIOLATIONS)
    severity = pl.when("kept").then(pl.lit("warn")).otherwise(pl.lit("quarantine"))
    return contested_rows.select("row", pl.col("rule").cast(RuleName), severity.alias("severity"))


def content_violations(rows: pl.DataFrame, policy: ConflictPolicy) -> pl.DataFrame:
    """Rows of one customer that contradict each other, or name nothing a record could be made of.

    Args:
        rows: as `records.neighbours` and the fold complete them: all rows of a customer's location are
            neighbours, and the meter points in them are sorted.
        policy: what becomes of contradicting rows.
    """
    found = [
        _split_meter_points(rows, policy.of(METER_POINT_PLACE)),
        _location_contents(rows, policy.of(LOCATION_CONTENT)),
        _resource_contents(rows),
        _lost_rows(rows),
    ]
    return pl.concat(found)


def differing_locations(rows: pl.DataFrame) -> pl.DataFrame:
    """`user, place` of the locations whose rows do not all say the same type and point; usually very few."""
    beside = [pl.col(name).eq_missing(pl.col(name).shift()) for name in ("user", "place")]
    differs = [
        pl.col(name).ne_missing(pl.col(name).shift()) for name in ("location_type", "latitude", "longitude")
    ]
    return (
        rows.filter(pl.all_horizontal(beside) & pl.any_horizontal(differs)).select("user", "place").unique()
    )


def _split_meter_points(rows: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """One meter point of a customer at two of the customer's locations."""
    with_both = pl.col("defines") & pl.col("meter_point").is_not_null() & pl.col("place").is_not_null()
    suspects = _repeated(rows.filter(with_both), METER_POINT_KEY)
    return _contradicting(suspects, ["user", "meter_point"], ["place"], METER_POINT_PLACE, policy)


def _location_contents(rows: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Two types, or two points farther apart than a building is wide, for one location."""
    located = rows.filter(pl.col("defines") & pl.col("place").is_not_null())
    members = located.join(differing_locations(located), on=["user", "place"], how="semi").sort("row")
    group = ("user", "place")
    contradict = [
        pl.col(axis).max().over(group) - pl.col(axis).min().over(group) > COORDINATE_TOLERANCE
        for axis in ("latitude", "longitude")
    ]
    two_types = pl.col("location_type").min().over(group) != pl.col("location_type").max().over(group)
    members = members.filter(pl.any_horizontal(*contradict, two_types))
    return _verdict(members, _stands_with_first_location(), LOCATION_CONTENT, policy)


def _stands_with_first_location() -> pl.Expr:
    """Whether a row says nothing else than the first row of its location that says anything."""
    group = ("user", "place")
    agrees = [
        (pl.col(axis) - pl.col(axis).drop_nulls().first().over(group)).abs() <= COORDINATE_TOLERANCE
        for axis in ("latitude", "longitude")
    ]
    same_type = pl.col("location_type") == pl.col("location_type").drop_nulls().first().over(group)
    return pl.all_horizontal(claim.fill_null(value=True) for claim in (*agrees, same_type))


def _resource_contents(rows: pl.DataFrame) -> pl.DataFrame:
    """One resource of a customer with two types or at two locations; with two meter points it goes without."""
    named = rows.filter(pl.col("resource").is_not_null())
    suspects = _repeated(named, "resource")
    if suspects.is_empty():
        return pl.DataFrame(schema=VIOLATIONS)
    of = ["user", "resource"]
    off_wheels = pl.col("resource_type").ne_missing(VEHICLE)
    suspects = suspects.with_columns(pl.when(off_wheels).then(pl.col("place", "meter_point")))
    broken = _contradicting(suspects, of, ["resource_type", "place"], RESOURCE_CONTENT, "quarantine")
    rest = suspects.join(broken, on="row", how="anti")
    loose = _contradicting(rest, of, ["meter_point"], RESOURCE_METER_POINT, "quarantine")
    return pl.concat([broken, loose.with_columns(pl.lit("warn").alias("severity"))])


def _lost_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows that say something no record could carry: no row may be called mapped and be lost."""
    no_place = pl.col("place").is_null()
    says_where = pl.any_horizontal(pl.col("meter_point", "latitude", "location_type").is_not_null())
    homeless = pl.col("resource").is_not_null() & pl.col("resource_type").ne_missing(VEHICLE) & no_place
    empty = ~pl.col("defines") & pl.col("resource").is_null()
    nameless = (pl.col("defines") & no_place & says_where) | empty
    lost = [(rows.filter(homeless), RESOURCE_PLACE), (rows.filter(nameless), ROW_PLACE)]
    nothing_stands = pl.lit(value=False)
    return pl.concat(_verdict(members, nothing_stands, rule, "quarantine") for members, rule in lost)


def _repeated(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """The rows whose value in a column occurs more than once; looking for any is cheaper than marking them."""
    if rows[column].n_unique() == rows.height:
        return rows.clear()
    return rows.filter(pl.col(column).is_duplicated())


def _contradicting(
    rows: pl.DataFrame, group: list[str], contents: list[str], rule: str, policy: Policy
) -> pl.DataFrame:
    """Rows of groups in which some content has two values (null says nothing)."""
    if rows.is_empty():
        return pl.DataFrame(schema=VIOLATIONS)
    values = [pl.col(content).drop_nulls().n_unique().over(group) > 1 for content in contents]
    members = rows.filter(pl.any_horizontal(values)).sort("row")
    first = [pl.col(content) == pl.col(content).drop_nulls().first().over(group) for content in contents]
    return _verdict(members, pl.all_horizontal(claim.fill_null(value=True) for claim in first), rule, policy)


def _verdict(members: pl.DataFrame, stands: pl.Expr, rule: str, policy: Policy) -> pl.DataFrame:
    """Every member is named; under `keep-first` those that stand are only warned of."""
    kept = stands if policy == "keep-first" else pl.lit(value=False)
    return members.sort("row").select(
        "row",
        pl.lit(rule, RuleName).alias("rule"),
        pl.when(kept).then(pl.lit("warn")).otherwise(pl.lit("quarantine")).alias("severity"),
    )
