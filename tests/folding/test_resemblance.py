"""Customers who may be one, and points that are nobody's home: warnings over all rows of a run."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.conflicts import POINT_CROWD, USER_SPELLING
from pipeline.intake import ROWS
from pipeline.partition import bucket, user_key
from pipeline.resemblance import SKELETONS, Resemblance, skeletons
from schemas.reference import TestArea
from tests.corpus.memory_spool import MemorySpool


def spooled(users, points=None):
    """A spool of these customers, a row each from line 2, at these points."""
    spool = MemorySpool()
    rows = pl.DataFrame({"user": users, "row": range(2, len(users) + 2)}, schema_overrides={"row": pl.UInt64})
    if points is not None:
        rows = rows.with_columns(
            pl.Series("latitude", [point[0] for point in points], pl.Float64),
            pl.Series("longitude", [point[1] for point in points], pl.Float64),
        )
    spool.append(ROWS, rows.with_columns(bucket(user_key(pl.col("user"))).alias("bucket")))
    return spool


def found(spool, **how):
    alike = Resemblance(spool, **{"shared_by": 3} | how)
    for partition in range(spool.partitions):
        alike.add(spool.read(ROWS, partition))
    return [(row, rule) for row, rule, severity in alike.find().iter_rows() if severity == "warn"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("K100", "k100"),
        ("K 100", "K100"),
        ("K\u00a0100", "K100"),
        ("K\u200b100", "K100"),
        ("KO1", "K01"),
        ("KI1", "K11"),
        ("К100", "K100"),  # a Cyrillic capital
        ("Α100", "A100"),  # a Greek one
        ("Ｋ１００", "K100"),
        ("00150", "150"),
        ("A\u030a1", "Å1"),
    ],
)
def test_two_that_look_alike_are_both_named(one, other):
    assert one != other
    assert [(2, USER_SPELLING), (4, USER_SPELLING)] == found(spooled([one, "else", other]))


@pytest.mark.parametrize(
    ("one", "other"), [("K100", "K101"), ("A-11", "A1-1"), ("150", "1500"), ("K0150", "K150"), ("ø", "o")]
)
def test_two_that_differ_are_not(one, other):
    assert [] == found(spooled([one, other]))


def test_one_customer_with_many_rows_resembles_nobody():
    assert [] == found(spooled(["K1"] * 9))


@pytest.mark.parametrize("other", [[], ["k1"], ["Å"]])
def test_what_else_a_column_holds_changes_no_skeleton(other):
    """Plain columns take a short way."""
    numbers = ["0150", "150", "7", "00", "K070"]
    found = skeletons(pl.Series("user", numbers + other)).to_list()
    assert ["150", "150", "7", "", "K070"] == found[: len(numbers)]


def test_a_crowd_at_one_point_is_named_row_by_row():
    users = [f"K{number}" for number in range(6)]
    points = [(60.1, 10.1)] * 4 + [(60.2, 10.2), (60.3, 10.3)]
    assert [(line, POINT_CROWD) for line in (2, 3, 4, 5)] == found(spooled(users, points))


def test_as_many_as_are_allowed_are_neighbours():
    assert [] == found(spooled(["K1", "K2", "K3"], [(60.1, 10.1)] * 3))


def test_one_customer_with_many_rows_at_a_point_is_no_crowd():
    assert [] == found(spooled(["K1"] * 50, [(60.1, 10.1)] * 50))


def test_rows_without_a_place_are_no_crowd():
    users = [f"K{number}" for number in range(9)]
    assert [] == found(spooled(users, [(None, None)] * 9))
    assert [] == found(spooled(users))


def test_everybody_may_be_in_a_test_area():
    outline = "POLYGON ((10 60, 11 60, 11 61, 10 61, 10 60))"
    area = TestArea(1, "one", 60.5, 10.5, south=60, west=10, north=61, east=11, outline=outline)
    users = [f"K{number}" for number in range(9)]
    assert [] == found(spooled(users, [(60.5, 10.5)] * 9), test_areas=[area])
    assert 9 == len(found(spooled(users, [(59.5, 10.5)] * 9), test_areas=[area]))


def test_nothing_is_left_in_the_spool():
    spool = spooled(["K1", "k1"])
    found(spool)
    assert not any(spool.read(SKELETONS, partition).width for partition in range(spool.partitions))
