"""Rows on their way, on disk: what keeps memory flat, and what `resume` and `apply` work from.

A spool is a folder of Parquet files and a manifest. Rows arrive in any number of frames; every so often
what has arrived is sorted by bucket and written as one file with one row group per partition. Reading a
partition takes its row group out of each file. Forty files of sixty-four row groups cost a third of the
CPU of 2,560 small files, and stay Parquet that any tool opens.

    rows-0000.parquet   0600   row group p = partition p of the first stretch of rows
    rows-0001.parquet
    manifest.json       0600   written last: without it there is no spool

Values are encoded by length and difference and not compressed: that is nearly as small as LZ4 here and a
third cheaper. Every page carries a checksum, which is verified on reading: a flipped bit is an error, not
another customer.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import StorageError
from schemas.ledger import BUCKETS

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"

STRETCH_ROWS: Final = 250_000
"""Rows gathered before they are sorted and written, at least; about 25 MB."""

GROUP_ROWS: Final = 2_000
"""Rows a row group should have on average: below that the files are mostly their own description."""

FILE_BUFFER: Final = 1 << 20

FEW_VALUES: Final = frozenset(
    {"kind", "location_type", "op", "resource_type", "rule", "scope", "severity", "status"}
)
"""Columns of a few different words: written as a dictionary."""


@dataclass(slots=True)
class SpoolFile:
    """One file of a table: rows in each partition, its size in bytes."""

    name: str
    counts: list[int]
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """As an entry of the manifest."""
        return {"name": self.name, "counts": self.counts, "bytes": self.bytes}


@dataclass(slots=True)
class _Table:
    files: list[SpoolFile] = field(default_factory=list)
    buffer: list[pl.DataFrame] = field(default_factory=list)
    buffered: int = 0
    readers: list[pq.ParquetFile] = field(default_factory=list)


class Spool:
    """Tables of rows, split by customer into partitions.

    A frame given to `append` has a column `bucket` (UInt8, 0 … 255), which decides the partition and is
    not stored. Frames of one table may differ in their columns; read together, what is absent is null.

    Safe to use from several threads. Writing happens in a thread of its own, at most one stretch behind,
    while the caller reads and judges the next rows; trouble it meets is raised by the next call.

    Attributes:
        folder: where it lives; made 0700, its files 0600.
        partitions: how many, a power of two, at most 256.
        facts: whatever the writer wants to find again, as JSON values.
    """

    def __init__(self, folder: Path, partitions: int, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.partitions = partitions
        self.facts = dict(facts)
        self._tables: dict[str, _Table] = {}
        self._stretch = max(STRETCH_ROWS, GROUP_ROWS * partitions)
        self._lock = threading.RLock()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool")
        self._writing: Future[None] | None = None
        self._being_written: _Table | None = None

    # -------------------------------------------------------------- making and finding
    @classmethod
    def create(cls, folder: Path, *, partitions: int) -> Self:
        """A new, empty spool. What an unfinished one left in the folder is removed first.

        Raises:
            StorageError: the folder cannot be made, or holds a finished spool.
        """
        if partitions < 1 or BUCKETS % partitions:
            raise ValueError("the number of partitions is a power of two, at most 256")
        with _storage(folder):
            if (folder / MANIFEST).exists():
                raise StorageError(
                    f"{folder.name} holds a finished spool.", cure="Purge the run it belongs to."
                )
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700, parents=True)
            folder.chmod(0o700)
        return cls(folder, partitions, {})

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A finished spool, for `resume` and `apply`.

        Raises:
            StorageError: there is none, it was never finished, or a file is not the size it had.
        """
        if not (folder / MANIFEST).is_file():
            raise StorageError(f"{folder.name} holds no finished spool.", cure="Run the export again.")
        with _storage(folder):
            manifest = json.loads((folder / MANIFEST).read_bytes())
            if manifest["format"] != FORMAT:
                raise StorageError(
                    f"{folder.name} was spooled by another version.", cure="Run the export again."
                )
            spool = cls(folder, manifest["partitions"], manifest["facts"])
            for table, files in manifest["tables"].items():
                spool._tables[table] = _Table([SpoolFile(**entry) for entry in files])
            for file in (file for table in spool._tables.values() for file in table.files):
                if (folder / file.name).stat().st_size != file.bytes:
                    raise StorageError(f"{file.name} of the spool is damaged.", cure="Run the export again.")
        return spool

    # -------------------------------------------------------------- writing
    def append(self, table: str, rows: pl.DataFrame) -> None:
        """Take rows into a table; they are on disk by the time the table is read or the spool finished.

        Raises:
            StorageError: the disk is full or failing.
        """
        if rows.is_empty():
            return
        with self._lock:
            shelf = self._tables.setdefault(table, _Table())
            if shelf.buffer and shelf.buffer[0].schema != rows.schema:
                self._write(table)
            shelf.buffer.append(rows)
            shelf.buffered += rows.height
            if shelf.buffered >= self._stretch:
                self._write(table)

    def finish(self, facts: Mapping[str, Any] | None = None) -> None:
        """Put everything on disk for good, the manifest last. May be called again after more was appended."""
        with self._lock:
            for name in self._tables:
                self._write(name)
            self._wait()
            self.facts |= facts or {}
            tables = {name: [file.as_json() for file in table.files] for name, table in self._tables.items()}
            files = [file.name for table in self._tables.values() for file in table.files]
            manifest = {
                "format": FORMAT,
                "partitions": self.partitions,
                "facts": self.facts,
                "tables": tables,
            }
            with _storage(self.folder):
                for file in files:
                    _fsync(self.folder / file)
                _replace(self.folder / MANIFEST, json.dumps(manifest).encode())

    def _write(self, table: str) -> None:
        """Hand the buffer to the writer, once it has written what it was given before."""
        shelf = self._tables[table]
        if not shelf.buffer:
            return
        stretch, shelf.buffer, shelf.buffered = shelf.buffer, [], 0
        self._wait()
        self._being_written = shelf
        self._writing = self._writer.submit(self._write_stretch, table, shelf, stretch)

    def _wait(self) -> None:
        """Until the writer is done. A stretch it lost is lost: every later call says so too."""
        if self._writing is not None:
            self._writing.result()

    def _write_stretch(self, table: str, shelf: _Table, stretch: list[pl.DataFrame]) -> None:
        rows, counts = self._by_partition(pl.concat(stretch, rechunk=False))
        stretch.clear()  # from here on there is one copy of them
        name = f"{table}-{len(shelf.files):04}.parquet"
        with _storage(self.folder):
            path = self.folder / name
            _write_row_groups(path, rows, counts)
            shelf.files.append(SpoolFile(name, counts, path.stat().st_size))

    def _by_partition(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, list[int]]:
        """The rows in the order of their partitions, and how many each partition has.

        NumPy sorts one byte by counting, in a thirtieth of the time of a comparing sort.
        """
        partition = rows["bucket"].to_numpy().astype(np.uint16) // (BUCKETS // self.partitions)
        order = np.argsort(partition, kind="stable")
        counts = np.bincount(partition, minlength=self.partitions)
        columns = [_taken(column, order) for column in rows.drop("bucket").get_columns()]
        return pl.DataFrame(columns), counts.tolist()

    # -------------------------------------------------------------- reading
    def read(self, table: str, partition: int) -> pl.DataFrame:
        """One partition of a table, in the order its rows were appended; no columns when there is no row.

        Raises:
            StorageError: a file is gone, damaged or shorter than the manifest says.
        """
        with self._lock:
            shelf = self._settled(table)
            groups = []
            with _storage(self.folder):
                for file in shelf.files[len(shelf.readers) :]:
                    path = self.folder / file.name
                    shelf.readers.append(pq.ParquetFile(path, page_checksum_verification=True))
                for file, reader in zip(shelf.files, shelf.readers, strict=True):
                    if file.counts[partition]:
                        groups.append(read_group(reader, file, partition))
        rows = together(groups)
        groups.clear()
        pa.default_memory_pool().release_unused()  # or two allocators keep what they once needed
        return rows

    def row_count(self, table: str, partition: int | None = None) -> int:
        """Rows in a table, or in one partition of it."""
        with self._lock:
            counts = [file.counts for file in self._settled(table).files]
        return sum(sum(each) if partition is None else each[partition] for each in counts)

    def _settled(self, table: str) -> _Table:
        """A table with everything appended so far on disk."""
        shelf = self._tables.get(table, _Table())
        if shelf.buffer:
            self._write(table)
        if shelf is self._being_written:
            self._wait()
        return shelf

    def files(self) -> dict[str, list[SpoolFile]]:
        """The files of each table, with everything appended so far on disk."""
        with self._lock:
            return {name: list(self._settled(name).files) for name in list(self._tables)}

    # -------------------------------------------------------------- letting go
    def drop(self, table: str) -> None:
        """Forget a table and remove its files."""
        with self._lock:
            shelf = self._settled(table)
            self._tables.pop(table, None)
            _close(shelf)
            with _storage(self.folder):
                for file in shelf.files:
                    (self.folder / file.name).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files; the spool stays. What was appended and not finished is not waited for."""
        self._writer.shutdown()
        for table in self._tables.values():
            _close(table)

    def delete(self) -> None:
        """Remove the spool: the manifest first, so that half a removal is no spool."""
        self.close()
        with _storage(self.folder):
            (self.folder / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(self.folder)
        self._tables.clear()


# ------------------------------------------------------------------ Parquet
def _taken(column: pl.Series, order: npt.NDArray[np.intp]) -> pl.Series:
    """The values in another order; NumPy takes plain numbers in a third of the time."""
    if column.dtype.is_numeric() and not column.null_count():
        return pl.Series(column.name, column.to_numpy()[order])
    return column.gather(order)


def _write_row_groups(path: Path, rows: pl.DataFrame, counts: list[int]) -> None:
    """A Parquet file with one row group per partition that has rows, in order.

    Written through a buffer: page by page, the file costs three times as much in system calls.
    """
    arrow = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
    names, schema = rows.columns, rows.schema
    del rows
    with (
        _private_file(path) as file,
        pq.ParquetWriter(
            file,
            arrow.schema,
            compression="none",
            write_statistics=False,
            write_page_checksum=True,
            use_dictionary=[name for name in names if name in FEW_VALUES],
            column_encoding=_encodings(schema),
        ) as writer,
    ):
        start = 0
        for count in filter(None, counts):
            writer.write_table(arrow.slice(start, count), row_group_size=count)
            start += count


def _encodings(schema: pl.Schema) -> dict[str, str]:
    """Texts by length, row numbers by difference; hashes and coordinates gain nothing."""
    texts = {
        name: "DELTA_LENGTH_BYTE_ARRAY"
        for name, dtype in schema.items()
        if dtype == pl.String and name not in FEW_VALUES
    }
    return texts | ({"row": "DELTA_BINARY_PACKED"} if schema.get("row") == pl.UInt64 else {})


def read_group(reader: pq.ParquetFile, file: SpoolFile, partition: int) -> pa.Table:
    """The row group of a partition: those without rows have none."""
    group = sum(1 for count in file.counts[:partition] if count)
    rows = reader.read_row_group(group, use_threads=False)
    if rows.num_rows != file.counts[partition]:
        raise StorageError(f"{file.name} of the spool is damaged.", cure="Run the export again.")
    return rows


def together(groups: list[pa.Table]) -> pl.DataFrame:
    """Row groups of one partition as one frame; what a group has no column for is null."""
    if not groups:
        return pl.DataFrame()
    if all(group.schema == groups[0].schema for group in groups):
        return _frame(pa.concat_tables(groups))
    return pl.concat([_frame(group) for group in groups], how="diagonal", rechunk=True)


def _frame(rows: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(rows, rechunk=True)
    assert isinstance(frame, pl.DataFrame)
    return frame


# ------------------------------------------------------------------ files
@contextmanager
def _storage(folder: Path) -> Iterator[None]:
    """Say disk trouble as what it is. Messages name the folder and the cause, never a value."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # PyArrow's own: a checksum or a header that is not what was written
            raise _damaged(folder) from None
        cause = error.strerror or "input/output error"
        raise StorageError(
            f"The spool {folder.name} cannot be used: {cause}.", cure="Free or mend the disk."
        ) from None
    except (pa.ArrowException, KeyError, ValueError, TypeError):
        raise _damaged(folder) from None


def _damaged(folder: Path) -> StorageError:
    return StorageError(f"The spool {folder.name} is damaged.", cure="Run the export again.")


def _private_file(path: Path) -> IO[bytes]:
    """A new file only we may read, from its first moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "wb", buffering=FILE_BUFFER)


def _replace(path: Path, content: bytes) -> None:
    """The whole file or the file before it, whatever happens in between."""
    fresh = path.with_suffix(".new")
    with _private_file(fresh) as file:
        file.write(content)
    _fsync(fresh)
    fresh.rename(path)
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _close(table: _Table) -> None:
    for reader in table.readers:
        reader.close()
    table.readers.clear()
