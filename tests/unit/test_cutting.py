"""Plans are cut without a gap or an overlap, wherever an earlier start ended; children wait for their parents."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from pipeline.delivery.cutting import apart, cuts
from pipeline.phases import Phase


def piece(start: int, height: int) -> pl.DataFrame:
    return pl.DataFrame({"n": range(start, start + height)}, schema={"n": pl.Int64})


@given(
    heights=st.lists(st.integers(0, 9), max_size=6),
    start=st.integers(0, 60),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=5),
)
def test_every_record_from_the_start_on_is_cut_once_and_in_order(heights, start, sizes):
    total = sum(heights)
    start = min(start, total)
    begins = [sum(heights[:number]) for number in range(len(heights))]
    pieces = iter(
        [piece(begin, height) if height else None for begin, height in zip(begins, heights, strict=True)]
    )
    turn = iter(sizes * 100)
    found = list(cuts(pieces, start=start, size_of=lambda _rest: next(turn)))
    assert list(range(start, total)) == [n for cut in found for n in cut.records["n"]]
    assert [cut.records["n"][0] for cut in found] == [cut.cursor for cut in found]


def test_a_chunk_is_filled_from_the_next_partition():
    found = list(cuts(iter([piece(0, 3), piece(3, 3)]), start=0, size_of=lambda _rest: 4))
    assert [4, 2] == [cut.records.height for cut in found]


def children(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame({"user_id": [user for user, _ in rows], "location_id": [place for _, place in rows]})


MISSING = pl.DataFrame({"parent": ["bad", "u\x1fgone"], "blocked_by": ["parent_rejected", "parent_in_doubt"]})


def test_a_location_waits_for_its_user():
    good, held = apart(children(("u", "x"), ("bad", "y")), MISSING, Phase.CREATE_LOCATIONS)
    assert ["x"] == good["location_id"].to_list()
    assert [("parent_rejected", ["y"])] == [(why, part["location_id"].to_list()) for why, part in held]


def test_a_resource_waits_for_its_location_and_for_its_user():
    records = children(("u", "here"), ("u", "gone"), ("bad", "there"))
    good, held = apart(records, MISSING, Phase.CREATE_RESOURCES)
    assert ["here"] == good["location_id"].to_list()
    assert {"parent_in_doubt": ["gone"], "parent_rejected": ["there"]} == {
        why: part["location_id"].to_list() for why, part in held
    }


def test_nobody_waits_when_every_parent_is_there():
    good, held = apart(children(("u", "x")), None, Phase.CREATE_LOCATIONS)
    assert (1, []) == (good.height, held)
