"""What differs between the API and the ledger."""

from __future__ import annotations

import polars as pl

from pipeline.holdings import JOINED, RELEASED, UNTOLD
from pipeline.remote import drift


def page(*records: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": ["u"] * len(records),
            "id": [own for own, _ in records],
            "digest": [said for _, said in records],
        },
        schema={"user_id": pl.String, "id": pl.String, "digest": pl.String},
    )


def test_what_is_held_twice_is_named_once_as_doubled() -> None:
    found = drift(page(("a", "1"), ("b", "1")), page(("a", "1"), ("b", "1"), ("b", "1")))
    assert ["b"] == found.doubled["id"].to_list()
    assert 1 == found.count


def test_held_twice_and_believed_by_nobody_is_unexpected_too() -> None:
    found = drift(None, page(("a", "1"), ("a", "1")))
    assert (["a"], ["a"]) == (found.unexpected["id"].to_list(), found.doubled["id"].to_list())


def test_missing_different_and_unexpected_are_told_apart() -> None:
    found = drift(page(("a", "1"), ("b", "1")), page(("b", "2"), ("c", "1")))
    told = [one["id"].to_list() for one in (found.missing, found.different, found.unexpected, found.doubled)]
    assert [["a"], ["b"], ["c"], []] == told


def test_of_a_location_that_kept_meter_points_only_what_it_may_have_is_known() -> None:
    keys = pl.Series("meter_point_keys", [[1, 2]] * 4, pl.List(pl.UInt64))
    there = pl.Series("meter_point_keys", [[2, 1], [1, 2, 3], [1], []], pl.List(pl.UInt64))
    held = page(*((own, "2") for own in "abcd")).with_columns(there)

    def different(said: str) -> list[str]:
        return (
            drift(page(*((own, said) for own in "abcd")).with_columns(keys), held).different["id"].to_list()
        )

    assert ["b", "c", "d"] == different(f"{JOINED}1")
    assert ["b"] == different(RELEASED) == different(UNTOLD), "it may hold fewer"
