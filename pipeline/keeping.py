"""What a location keeps although the good rows of this run do not name it.

A row that was set aside is not a row that is missing. The meter point it names, or would name if it could be read, is
still at its location; only rows that may be believed move it. So a location of which rows were set aside loses no
meter point to its update, unless another good row of the run claims it.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from pipeline.bodies import with_more_meter_points
from pipeline.holdings import JOINED, KEY
from pipeline.identity import DIGEST_LENGTH, Identity, record_digest
from pipeline.partition import wire_user
from schemas.outcomes import Kind

ASIDE_SCHEMA: Final = pl.Schema(
    {
        "user_id": pl.String(),
        "location_id": pl.String(),  # null: of some location of this customer, nobody knows which
        "meter_point": pl.String(),
        "key": pl.UInt64(),
    }
)
"""What rows in quarantine say of locations: one line per row."""

KEPT: Final = "meter_points_kept"
"""Fact of a plan: meter points that stay because rows that were set aside may name them."""


def shorter(update: pl.DataFrame, held: pl.DataFrame | None) -> pl.DataFrame:
    """Changed locations that hold meter points they do not name.

    Args:
        update: in `PLAN_SCHEMA`.
        held: what is held of these buckets.

    Returns:
        Those of `update`, in its order, with `held_digest`, `held_keys` and `others` (the keys they do not name).
    """
    if held is None:
        return update.clear()
    known = held.select(
        *KEY, pl.col("digest").alias("held_digest"), pl.col("meter_point_keys").alias("held_keys")
    )
    others = pl.col("held_keys").list.set_difference("meter_point_keys").list.sort()
    found = update.join(known, on=KEY, how="inner", maintain_order="left").with_columns(
        others.alias("others")
    )
    return found.filter(pl.col("others").list.len() > 0)


def told_by(rows: pl.DataFrame, identity: Identity) -> pl.DataFrame:
    """What rows (made by `to_spool`, set aside) say of locations, in `ASIDE_SCHEMA`."""
    if rows.is_empty():
        return pl.DataFrame(schema=ASIDE_SCHEMA)
    rows = rows.with_columns(wire_user(rows).alias("user_id"))
    if "meter_point" not in rows.columns:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("meter_point"))
    location_id = identity.location_id(pl.col("user"), pl.col("place"))
    return rows.select(
        "user_id",
        pl.when(pl.col("place").is_not_null()).then(location_id).alias("location_id"),
        "meter_point",
        identity.meter_point_key(pl.col("meter_point")).alias("key"),
    ).unique()


def are_meant(short: pl.DataFrame, aside: pl.DataFrame) -> pl.Series:
    """Which locations rows that were set aside speak of.

    They name the location, or one of the meter points it holds, or cannot say which of their customer's they mean.

    Args:
        short: made by `shorter`.
        aside: in `ASIDE_SCHEMA`.
    """
    numbered = short.select(*KEY, "others").with_row_index("place")
    nowhere = aside.filter(pl.col("location_id").is_null())
    keys = numbered.explode("others")
    meant = pl.concat(
        [
            numbered.join(aside, left_on=KEY, right_on=["user_id", "location_id"], how="semi")["place"],
            numbered.join(nowhere, on="user_id", how="semi")["place"],
            keys.join(aside, left_on=["user_id", "others"], right_on=["user_id", "key"], how="semi")["place"],
        ]
    )
    return numbered["place"].is_in(meant.implode())


def say_the_same(short: pl.DataFrame, aside: pl.DataFrame, identity: Identity) -> pl.Series:
    """Which locations say nothing new, were what they hold beside it left there.

    The ledger knows contents by their digests. That of the good rows together with the meter points the other rows
    name is the one that is held; or the good rows joined what is held before, and say the same again.

    Args:
        short: made by `shorter`.
        aside: in `ASIDE_SCHEMA`: where the texts of meter points come from.
    """
    joined_before = short["held_digest"] == JOINED + short["digest"]
    texts = aside.select("user_id", "meter_point", pl.col("key").alias("others")).unique(
        ["user_id", "others"]
    )
    named = (
        short.select(*KEY, "others")
        .explode("others")
        .join(texts, on=["user_id", "others"])
        .group_by(KEY)
        .agg(pl.col("meter_point").alias("others_named"))
    )
    whole = with_more_meter_points(
        short.join(named, on=KEY, how="left", maintain_order="left"), "others_named"
    )
    all_named = whole["others_named"].list.len() == whole["others"].list.len()
    mark = short["digest"].str.head(-DIGEST_LENGTH)  # what a digest begins with is no part of the content
    as_before = (
        mark + whole.select(record_digest(identity, Kind.LOCATION)).to_series() == short["held_digest"]
    )
    return joined_before | (all_named & as_before).fill_null(value=False)


def claimed_by_others(asked: pl.DataFrame, claims: pl.DataFrame) -> pl.DataFrame:
    """Those of some locations' meter points (`user_id, id, key`) that other locations claim (the same columns)."""
    others = claims.select("key", pl.col("user_id").alias("new_user"), pl.col("id").alias("new_id"))
    by_another = (pl.col("user_id") != pl.col("new_user")) | (pl.col("id") != pl.col("new_id"))
    return asked.join(others, on="key").filter(by_another).select(*KEY, "key").unique()


def with_kept(short: pl.DataFrame, claimed: pl.DataFrame) -> pl.DataFrame:
    """Add `kept`: what is left of `others` without what others claim; who gives anything on no longer `is_same`."""
    given = claimed.group_by(KEY).agg(pl.col("key").alias("given"))
    found = short.join(given, on=KEY, how="left", maintain_order="left")
    kept = (
        pl.when(pl.col("given").is_null())
        .then("others")
        .otherwise(pl.col("others").list.set_difference("given"))
    )
    return found.with_columns(
        kept.alias("kept"), (pl.col("is_same") & pl.col("given").is_null()).alias("is_same")
    ).drop("given")
