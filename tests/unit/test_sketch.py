import polars as pl
import pytest

from pipeline.sketch import EXACT_LIMIT, DistinctCount, hashes


def hashed(values: list[str | None]) -> pl.Series:
    return pl.DataFrame({"text": values}, schema={"text": pl.String}).select(hashes("text"))["text"]


def count_of(start: int, end: int) -> DistinctCount:
    count = DistinctCount()
    count.add(hashed([f"K{number}" for number in range(start, end)]))
    return count


def test_few_values_are_counted_exactly():
    count = count_of(0, 300)
    count.add(hashed(["K1", "K2", None, "new"]))
    assert (count.estimate(), count.is_exact) == (301, True)


@pytest.mark.parametrize("size", [EXACT_LIMIT + 1, 30_000, 60_000, 200_000])
def test_many_values_are_estimated_within_three_per_cent(size):
    count = count_of(0, size)
    assert not count.is_exact
    assert count.estimate() == pytest.approx(size, rel=0.03)


@pytest.mark.parametrize(
    ("first", "second"), [((0, 100), (50, 150)), ((0, 9_000), (5_000, 20_000)), ((0, 30_000), (0, 10))]
)
def test_merging_is_counting_together_in_either_order(first, second):
    together = count_of(*first)
    together.add(hashed([f"K{number}" for number in range(*second)]))
    merged, other = count_of(*first), count_of(*second)
    merged.merge(count_of(*second))
    other.merge(count_of(*first))
    assert merged.estimate() == other.estimate() == together.estimate()


def test_nothing_is_nothing():
    count = DistinctCount()
    count.add(hashed([None, None]))
    assert count.estimate() == 0


def test_the_hash_is_the_same_on_every_machine():
    assert hashed(["707057599000000017", None]).to_list() == [2430266990375567004, None]
