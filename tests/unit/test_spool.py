"""The spool: what goes in comes out, in order, of its partition; damage and a full disk are said, not guessed."""

import os
import resource
import stat
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from connectors.spool import MANIFEST, STRETCH_BYTES, STRETCH_ROWS, Spool
from schemas.errors import StorageError


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool.create(tmp_path / "spool", partitions=4)
    yield made
    made.close()


def rows(first: int, count: int, **columns: object) -> pl.DataFrame:
    number = pl.int_range(first, first + count, dtype=pl.UInt64, eager=True).alias("row")
    frame = pl.DataFrame(number).with_columns(
        text=pl.format("tekst-{}-ø", "row"),
        severity=pl.lit("warn"),
        latitude=pl.when(pl.col("row") % 3 > 0).then(pl.col("row") / 7),
        bucket=(pl.col("row") * 37 % 256).cast(pl.UInt8),
    )
    return frame.with_columns(**{name: pl.lit(value) for name, value in columns.items()})


def all_of(spool: Spool, table: str) -> pl.DataFrame:
    parts = [spool.read(table, partition) for partition in range(spool.partitions)]
    return pl.concat([part for part in parts if part.width], how="diagonal").sort("row")


def test_every_row_comes_back_from_its_own_partition_in_order(spool: Spool) -> None:
    spool.append("rows", rows(0, 1000))
    spool.append("rows", rows(1000, 500))
    for partition in range(4):
        part = spool.read("rows", partition)
        assert part["row"].is_sorted()
        assert set(part["row"] * 37 % 256 // 64) == {partition}
    assert all_of(spool, "rows").equals(rows(0, 1500).drop("bucket"))


def test_frames_of_different_columns_are_read_together(spool: Spool) -> None:
    spool.append("rows", rows(0, 10))
    spool.append("rows", rows(10, 10, resource="r").drop("latitude"))
    together = all_of(spool, "rows")
    assert together["resource"].null_count() == 10
    assert together["row"].to_list() == list(range(20))


def test_many_stretches_make_many_files(spool: Spool) -> None:
    for start in range(0, 2 * STRETCH_ROWS, STRETCH_ROWS // 2):
        spool.append("rows", rows(start, STRETCH_ROWS // 2).select("row", "bucket"))
    assert spool.row_count("rows") == 2 * STRETCH_ROWS
    assert len(list(spool.folder.glob("rows-*.arrows"))) == 2
    assert sum(spool.read("rows", p).height for p in range(4)) == 2 * STRETCH_ROWS


def test_few_words_and_enums_come_back_as_they_were(spool: Spool) -> None:
    words = pl.Enum(["a", "ø", "never"])
    frame = rows(0, 4).with_columns(
        kind=pl.Series(["a", "ø", None, "a"], dtype=words),
        status=pl.lit(None, pl.String),
        op=pl.Series(["update", "create", None, "update"]),
    )
    spool.append("rows", frame)
    spool.append("rows", frame.with_columns(row=pl.col("row") + 4, op=pl.lit("delete")))
    found = all_of(spool, "rows")
    assert found.schema == frame.drop("bucket").schema
    assert found["op"].to_list() == ["update", "create", None, "update", *["delete"] * 4]
    assert found["kind"].to_list() == ["a", "ø", None, "a"] * 2


def test_too_many_words_are_written_as_they_are(spool: Spool) -> None:
    frame = rows(0, 1000).with_columns(op=pl.format("op-{}", "row"))
    spool.append("rows", frame)
    assert all_of(spool, "rows").equals(frame.drop("bucket"))


def test_a_file_is_a_stream_that_any_tool_opens(spool: Spool) -> None:
    spool.append("rows", rows(0, 100).drop("severity"))
    spool.finish()
    [file] = spool.folder.glob("rows-*")
    assert pl.read_ipc_stream(file).sort("row").equals(rows(0, 100).drop("severity", "bucket"))


def test_what_is_kept_of_a_file_is_three_numbers_a_partition(tmp_path: Path) -> None:
    """A description of every batch in memory would be what grows with the run."""
    spool = Spool.create(tmp_path / "spool", partitions=256)
    spool.append("rows", rows(0, 5000))
    before = pa.total_allocated_bytes()
    for partition in range(256):
        spool.read("rows", partition)
    [file] = spool.files()["rows"]
    kept = [file.counts, file.starts, file.checksums]
    assert sum(sys.getsizeof(numbers) for numbers in kept) < 3 * 256 * 8 + 500
    assert pa.total_allocated_bytes() <= before
    spool.close()


def test_wide_rows_are_written_sooner(spool: Spool) -> None:
    wide = rows(0, 1000).with_columns(body=pl.col("row").cast(pl.String).str.pad_start(STRETCH_BYTES // 2500))
    for _ in range(4):
        spool.append("rows", wide)
    assert 2 == len(spool.files()["rows"])  # at three thousand rows, and what was left
    assert 4000 == spool.row_count("rows")


def open_below(folder: Path) -> list[str]:
    """Files in a folder that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that listed them
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return [name for name in found if name.startswith(f"{folder}/")]


def test_no_file_stays_open(spool: Spool) -> None:
    spool.append("rows", rows(0, 1000))
    assert 1000 == all_of(spool, "rows").height
    [path] = spool.folder.iterdir()
    with path.open("rb"):
        assert [str(path)] == open_below(spool.folder)
    assert [] == open_below(spool.folder)


def test_a_table_can_be_read_and_then_grow(spool: Spool) -> None:
    spool.append("rows", rows(0, 100))
    before = all_of(spool, "rows").height
    spool.append("rows", rows(100, 100))
    assert (before, all_of(spool, "rows").height) == (100, 200)


def test_nothing_is_nothing(spool: Spool) -> None:
    spool.append("rows", rows(0, 0))
    assert spool.read("rows", 0).is_empty()
    assert spool.row_count("rows") == 0


def test_a_finished_spool_is_found_again_with_its_facts(spool: Spool) -> None:
    spool.append("rows", rows(0, 300))
    spool.finish({"plan": "abc"})
    found = Spool.open(spool.folder)
    assert all_of(found, "rows").equals(all_of(spool, "rows"))
    assert (found.partitions, found.facts) == (4, {"plan": "abc"})
    found.close()


def test_an_unfinished_spool_is_none(spool: Spool) -> None:
    spool.append("rows", rows(0, 300))
    with pytest.raises(StorageError, match="no finished spool"):
        Spool.open(spool.folder)


def test_a_finished_spool_is_not_written_over(spool: Spool) -> None:
    spool.finish()
    with pytest.raises(StorageError, match="finished spool"):
        Spool.create(spool.folder, partitions=4)


def test_what_an_unfinished_spool_left_is_removed(spool: Spool) -> None:
    spool.append("rows", rows(0, 300))
    spool.read("rows", 0)
    Spool.create(spool.folder, partitions=2)
    assert list(spool.folder.iterdir()) == []


def test_only_we_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        spool = Spool.create(tmp_path / "deep" / "spool", partitions=1)
        spool.append("rows", rows(0, 3))
        spool.finish()
    finally:
        os.umask(before)
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in spool.folder.iterdir()} == {0o600}


def test_dropped_tables_leave_no_file(spool: Spool) -> None:
    spool.append("claims", rows(0, 30))
    spool.read("claims", 0)
    spool.drop("claims")
    assert list(spool.folder.iterdir()) == []


def test_a_deleted_spool_is_gone(spool: Spool) -> None:
    spool.append("rows", rows(0, 3))
    spool.finish()
    spool.delete()
    assert not spool.folder.exists()


def test_a_flipped_bit_is_an_error_not_another_customer(spool: Spool) -> None:
    spool.append("rows", rows(0, 200))
    spool.finish()
    path = next(spool.folder.glob("rows-*"))
    content = bytearray(path.read_bytes())
    content[content.index(b"tekst-100")] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="damaged") as caught:
        all_of(Spool.open(spool.folder), "rows")
    assert "tekst" not in str(caught.value)


def test_a_file_cut_short_is_seen_when_the_spool_is_opened(spool: Spool) -> None:
    spool.append("rows", rows(0, 200))
    spool.finish()
    path = next(spool.folder.glob("rows-*"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match="damaged"):
        Spool.open(spool.folder)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": 99}'])
def test_a_broken_manifest_is_storage_trouble(spool: Spool, content: bytes) -> None:
    (spool.folder / MANIFEST).write_bytes(content)
    with pytest.raises(StorageError):
        Spool.open(spool.folder)


def test_a_full_disk_is_storage_trouble(spool: Spool) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    spool.append("rows", rows(0, 5000))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot be used"):
            spool.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    with pytest.raises(StorageError, match="cannot be used"):
        spool.finish()  # what was lost stays lost, even with room again
    assert not (spool.folder / MANIFEST).exists()


@pytest.mark.parametrize("partitions", [0, 3, 512])
def test_the_number_of_partitions_is_a_power_of_two(tmp_path: Path, partitions: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Spool.create(tmp_path / "spool", partitions=partitions)
