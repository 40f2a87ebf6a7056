"""Rows on their way, on disk: what keeps memory flat, and what `resume` and `apply` work from.

A spool is a folder of Arrow streams and a manifest. Rows arrive in any number of frames; every so often what has
arrived is sorted by bucket and written as one file with one record batch per partition. The manifest says where each
batch lies and what its checksum is, so reading a partition takes its bytes out of each file and nothing else: a
description of 5,000 Parquet row groups took 34 MB in memory, and more with every row of the run.

    rows-0000.arrows    0600   the n-th batch = the n-th partition that has rows, of the first stretch of rows
    rows-0001.arrows
    manifest.json       0600   written last: without it there is no spool

Values are not encoded nor compressed, but for the columns of a few words: half the time of Parquet to write and to
read, for half as much again on disk. Any tool that reads Arrow streams opens a file. A flipped bit is an error, not
another customer.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from schemas.errors import StorageError
from schemas.ledger import BUCKETS

Buffer = bytes | memoryview

FORMAT: Final = 2
MANIFEST: Final = "manifest.json"

STRETCH_ROWS: Final = 250_000
"""Rows gathered before they are sorted and written; of an export, about 25 MB."""

STRETCH_BYTES: Final = 32 << 20
"""Bytes gathered at most: the records of a plan are four times as wide as rows. They come partition by partition, so
their batches are large whatever a stretch is."""

BATCH_ROWS: Final = 1_000
"""Rows a record batch should have on average: below that, most of the time is spent between them."""

FILE_BUFFER: Final = 1 << 20

FEW_VALUES: Final = frozenset(
    {"kind", "location_type", "op", "resource_type", "rule", "scope", "severity", "status"}
)
"""Columns of a few different words: written as numbers, with the words in the schema."""

WORDS: Final = b"words"
"""In the metadata of such a column: its words, as JSON."""

IS_ENUM: Final = b"enum"
"""In the metadata of such a column: it was an Enum of these words, not text."""

MOST_WORDS: Final = 255

LARGEST_TEXTS: Final = 2**31 - 1
"""Bytes of a column of texts that 32-bit offsets can point into."""

END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"


@dataclass(slots=True)
class SpoolFile:
    """One file of a table.

    Attributes:
        counts: rows in each partition.
        bytes: the size of the file.
        starts: where the batch of each partition begins, and where the last one ends; the schema lies before.
        checksums: CRC-32 of the schema, then of each partition's batch (0 where there is none).
    """

    name: str
    counts: Sequence[int]
    bytes: int
    starts: Sequence[int]
    checksums: Sequence[int]

    def __post_init__(self) -> None:
        # Thousands of numbers per file: as Python objects they would be what grows with the run.
        self.counts, self.starts, self.checksums = (
            array("q", numbers) for numbers in (self.counts, self.starts, self.checksums)
        )

    def as_json(self) -> dict[str, Any]:
        """As an entry of the manifest."""
        numbers = {name: list(getattr(self, name)) for name in ("counts", "starts", "checksums")}
        return {"name": self.name, "bytes": self.bytes} | numbers

    def schema(self, stored: Buffer) -> pa.Schema:
        """The schema, from the bytes before the first batch.

        Raises:
            ValueError: they are not what was written.
        """
        if zlib.crc32(stored) != self.checksums[0]:
            raise ValueError("checksum")
        return pa.ipc.read_schema(pa.py_buffer(stored))

    def batch(self, schema: pa.Schema, partition: int, stored: Buffer) -> pa.RecordBatch:
        """The rows of a partition, from the bytes of its batch, which are not copied.

        Raises:
            ValueError: they are not what was written.
        """
        if zlib.crc32(stored) != self.checksums[partition + 1]:
            raise ValueError("checksum")
        rows = pa.ipc.read_record_batch(pa.py_buffer(stored), schema)
        if rows.num_rows != self.counts[partition]:
            raise ValueError("rows")
        return rows


@dataclass(slots=True)
class _Table:
    files: list[SpoolFile] = field(default_factory=list)
    buffer: list[pl.DataFrame] = field(default_factory=list)
    buffered_rows: int = 0
    buffered_bytes: int = 0
    schemas: dict[str, pa.Schema] = field(default_factory=dict)


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
        self._stretch = max(STRETCH_ROWS, BATCH_ROWS * partitions)
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
            shelf.buffered_rows += rows.height
            shelf.buffered_bytes += int(rows.estimated_size())
            if shelf.buffered_rows >= self._stretch or shelf.buffered_bytes >= STRETCH_BYTES:
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
        stretch, shelf.buffer = shelf.buffer, []
        shelf.buffered_rows = shelf.buffered_bytes = 0
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
        name = f"{table}-{len(shelf.files):04}.arrows"
        with _storage(self.folder):
            path = self.folder / name
            shelf.files.append(_write_batches(path, rows, counts))

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
            with _storage(self.folder):
                batches = [
                    self._batch(shelf, file, partition) for file in shelf.files if file.counts[partition]
                ]
        rows = together(batches)
        batches.clear()
        pa.default_memory_pool().release_unused()  # or two allocators keep what they once needed
        return rows

    def _batch(self, shelf: _Table, file: SpoolFile, partition: int) -> pa.RecordBatch:
        """Opened for each: a large run has more files than a process may hold open."""
        with _opened(self.folder / file.name) as descriptor:
            if file.name not in shelf.schemas:
                shelf.schemas[file.name] = file.schema(_bytes_at(descriptor, 0, file.starts[0]))
            start, stop = file.starts[partition : partition + 2]
            return file.batch(shelf.schemas[file.name], partition, _bytes_at(descriptor, start, stop))

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
            with _storage(self.folder):
                for file in shelf.files:
                    (self.folder / file.name).unlink(missing_ok=True)

    def close(self) -> None:
        """End the writer; the spool stays. What was appended and not finished is not waited for."""
        self._writer.shutdown()

    def delete(self) -> None:
        """Remove the spool: the manifest first, so that half a removal is no spool."""
        self.close()
        with _storage(self.folder):
            (self.folder / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(self.folder)
        self._tables.clear()


# ------------------------------------------------------------------ Arrow
def _taken(column: pl.Series, order: npt.NDArray[np.intp]) -> pl.Series:
    """The values in another order; NumPy takes plain numbers in a third of the time."""
    if column.dtype.is_numeric() and not column.null_count():
        return pl.Series(column.name, column.to_numpy()[order])
    return column.gather(order)


def _write_batches(path: Path, rows: pl.DataFrame, counts: list[int]) -> SpoolFile:
    """An Arrow stream with one record batch per partition that has rows, in order."""
    batch = _as_arrow(rows)
    del rows
    schema = batch.schema.serialize()
    starts, checksums = [schema.size], [zlib.crc32(schema)]
    with _private_file(path) as file:
        file.write(schema)
        at = 0
        for count in counts:
            stored = batch.slice(at, count).serialize() if count else b""
            file.write(stored)
            starts.append(starts[-1] + len(stored))
            checksums.append(zlib.crc32(stored))
            at += count
        file.write(END_OF_STREAM)
    return SpoolFile(path.name, counts, starts[-1] + len(END_OF_STREAM), starts, checksums)


def _as_arrow(rows: pl.DataFrame) -> pa.RecordBatch:
    """The rows as one batch: few words as numbers, texts with short offsets where they fit."""
    columns, fields = [], []
    for column in rows.get_columns():
        coded, metadata = _coded(column)
        array_ = coded.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        if array_.type == pa.large_string() and array_.nbytes < LARGEST_TEXTS:
            array_ = array_.cast(pa.string())
        columns.append(array_)
        fields.append(pa.field(column.name, array_.type, metadata=metadata))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _coded(column: pl.Series) -> tuple[pl.Series, dict[bytes, bytes] | None]:
    """A column of few words as numbers, and what makes words of them again; any other column as it is."""
    is_enum = isinstance(column.dtype, pl.Enum)
    if not is_enum and (column.dtype != pl.String or column.name not in FEW_VALUES):
        return column, None
    words = column.dtype.categories if is_enum else column.drop_nulls().unique().sort()  # type: ignore[attr-defined]
    if not is_enum and words.len() > MOST_WORDS:
        return column, None
    numbers = column.cast(pl.Enum(words)).to_physical()
    metadata = {WORDS: json.dumps(words.to_list()).encode()}
    return numbers, metadata | ({IS_ENUM: b""} if is_enum else {})


def together(batches: Sequence[pa.RecordBatch]) -> pl.DataFrame:
    """Batches of one partition as one frame; what a batch has no column for is null."""
    if not batches:
        return pl.DataFrame()
    first = batches[0].schema
    if all(batch.schema.equals(first, check_metadata=True) for batch in batches):
        return _frame(batches)
    return pl.concat([_frame([batch]) for batch in batches], how="diagonal", rechunk=True)


def _frame(batches: Sequence[pa.RecordBatch]) -> pl.DataFrame:
    """Batches of one schema."""
    frame = pl.from_arrow(pa.Table.from_batches(batches), rechunk=True)
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(_in_words(batches[0].schema))


def _in_words(schema: pa.Schema) -> Iterable[pl.Expr]:
    for column in schema:
        if column.metadata and WORDS in column.metadata:
            words = pl.col(column.name).cat.to(pl.Enum(json.loads(column.metadata[WORDS])))
            yield words if IS_ENUM in column.metadata else words.cast(pl.String)


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


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _bytes_at(descriptor: int, start: int, stop: int) -> Buffer:
    """A stretch of a file; shorter only where the file is."""
    stored = pa.allocate_buffer(stop - start)
    view, at = memoryview(stored), 0
    while at < len(view) and (read := os.preadv(descriptor, [view[at:]], start + at)):
        at += read
    return view[:at]


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
    with _opened(path) as descriptor:
        os.fsync(descriptor)
