"""Reading ahead: in order, never far ahead, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from connectors.exports.ahead import read_ahead


def readers() -> set[threading.Thread]:
    """Threads that read ahead; what else lives in this process comes and goes as it likes."""
    return {thread for thread in threading.enumerate() if "read-ahead" in thread.name}


def test_items_come_in_order_and_an_error_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise ValueError("after twenty")

    ahead = read_ahead(items(), depth=1)
    assert list(range(20)) == [next(ahead) for _ in range(20)]
    with pytest.raises(ValueError, match="after twenty"):
        next(ahead)


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_is_made_than_fits_in_between(depth: int) -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(200):
            made.append(number)
            yield number

    for taken in read_ahead(items(), depth):
        assert len(made) <= taken + depth + 2  # in hand, those ready, and the one being made
    assert 200 == len(made)


def test_one_within_the_other_ends_with_it() -> None:
    """Blocks are read ahead within batches that are: who stops early leaves no thread and no open source."""
    closed = []

    def blocks() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed.append("blocks")

    def batches() -> Iterator[int]:
        try:
            yield from read_ahead(blocks())
        finally:
            closed.append("batches")

    before = readers()
    ahead = read_ahead(batches(), depth=1)
    assert 0 == next(ahead)
    assert 2 == len(readers() - before)
    ahead.close()  # type: ignore[attr-defined]
    assert ["blocks", "batches"] == closed
    assert set() == readers() - before
