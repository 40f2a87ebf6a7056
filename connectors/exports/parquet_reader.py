"""Parquet to text. The file is opened by another process (`parquet_worker.py`); only text comes back.

Ids must arrive as text or whole numbers: a float has already lost digits of an 18-digit id.
"""

from __future__ import annotations

import atexit
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final

import polars as pl
import pyarrow as pa

from connectors.exports.batch import BATCH_ROWS, LARGEST_LINE, UNREADABLE_SCHEMA, RawBatch
from connectors.exports.containers import HARMLESS
from connectors.exports.headers import find_columns, headers_of_texts
from connectors.exports.places import Place
from schemas.errors import ExportError
from schemas.profile import Profile
from schemas.unreadable import Unreadable

HEAD_BYTES: Final = 9
"""Of a frame: its kind and its length."""

WORKER: Final = Path(__file__).with_name("parquet_worker.py")

LARGEST_GROUP: Final = 2 << 30
"""Unpacked bytes that the columns we read may have in one row group."""

BAD: Final = "__bad"
REASONS: Final = {1: Unreadable.UNDECODABLE, 2: Unreadable.NUL_BYTE, 3: Unreadable.FIELD_TOO_LONG}

_COORDINATES: Final = ("latitude", "longitude")
_FLAGS: Final = ("status", "protected")


class ParquetRows:
    """One Parquet file, described when made and read by `batches`.

    Attributes:
        headers: all of them, in the file's order.
        found: where ours are among them.
        dropped: those that are not read.
        notes: what a report should say about the file.

    Raises:
        ExportError: the file is damaged, lacks a column, or has one in a type that is not what it must be.
    """

    def __init__(self, place: Place, profile: Profile, name: str, *, source: int, size: int) -> None:
        self._url, self._profile, self._name = place.url, profile, name
        self._source, self._size = source, size
        about = self._describe()
        columns = about["columns"]
        headers = [str(column["name"]) for column in columns]
        found = find_columns(
            headers, profile, name, "the Parquet schema", multiline=headers_of_texts(profile)
        )
        self.headers, self.found = tuple(headers), found
        self._headers = {ours: headers[at] for ours, at in found.places.items()}
        self.dropped = found.dropped
        self.notes: list[str] = []
        self._fractions = {
            ours for ours, at in found.places.items() if columns[at]["kind"] in ("float", "decimal")
        }
        for ours, at in found.places.items():
            self._check_type(ours, columns[at])
        self._check_size(sum(columns[at]["largest"] for at in set(found.places.values())))
        self._check_rows(about["rows"], about["rows_in_groups"])
        if not about["has_checksums"]:
            self.notes.append(f"{name} carries no page checksums: what is in it could not be verified.")

    def batches(self) -> Iterator[RawBatch]:
        """Batches of about `BATCH_ROWS` rows."""
        request = {"url": self._url, "read": list(dict.fromkeys(self._headers.values()))}
        parts: list[pl.DataFrame] = []
        row = unpacked = 0
        with _answers(request, self._name) as frames:
            for payload in frames:
                part: Any = pl.from_arrow(pa.ipc.open_stream(payload).read_all())
                unpacked += len(payload)
                if unpacked > max(HARMLESS, self._size * self._profile.guards.expansion):
                    raise self._refusal(
                        f"unpacks to more than {unpacked} bytes, out of {self._size}.", _EXPANSION
                    )
                parts.append(self._numbered(part, row))
                row += part.height
                if sum(part.height for part in parts) >= BATCH_ROWS:
                    yield self._batch(parts)
                    parts = []
        if parts:
            yield self._batch(parts)

    def rows(self, numbers: Sequence[int]) -> Iterator[pl.DataFrame]:
        """Rows by number from 1, sorted: `source_line` (UInt32), then every column as text, whatever its type.

        Coordinates have the profile's decimal sign, as those of `batches` do.
        """
        fractions = {self._headers[ours] for ours in self._fractions}
        request = {"url": self._url, "read": list(self.headers), "rows": list(numbers)}
        taken = 0
        with _answers(request, self._name) as frames:
            for payload in frames:
                part: Any = pl.from_arrow(pa.ipc.open_stream(payload).read_all())
                lines = pl.Series("source_line", numbers[taken : taken + part.height], dtype=pl.UInt32)
                taken += part.height
                yield part.drop(BAD).select(lines, pl.all()).with_columns(self._signed(fractions))

    def _numbered(self, part: pl.DataFrame, before: int) -> pl.DataFrame:
        """Rows under our names; numbers are written with the profile's decimal sign, as its texts are."""
        nulls = [*self._profile.file.nulls, ""]
        cells = {ours: pl.col(theirs) for ours, theirs in self._headers.items()}
        cells |= {ours: self._signed([self._headers[ours]]) for ours in self._fractions}
        numbers = pl.int_range(before + 1, before + part.height + 1, dtype=pl.UInt32)
        return part.select(
            *(pl.when(~cell.is_in(nulls)).then(cell).alias(ours) for ours, cell in cells.items()),
            numbers.alias("source_line"),
            numbers.alias("source_record"),
            pl.col(BAD),
        )

    def _signed(self, columns: Iterable[str]) -> pl.Expr:
        """Numbers as text, with the profile's decimal sign."""
        return pl.col(list(columns)).str.replace(".", self._profile.file.decimal, literal=True)

    def _batch(self, parts: list[pl.DataFrame]) -> RawBatch:
        rows = pl.concat(parts, rechunk=True)
        unreadable = rows.filter(pl.col(BAD) > 0).select(
            "source_line",
            lines=pl.lit(1, pl.UInt32),
            reason=pl.col(BAD).replace_strict(REASONS, return_dtype=pl.String),
        )
        readable = rows.filter(pl.col(BAD) == 0) if unreadable.height else rows
        return RawBatch(self._source, readable.drop(BAD), unreadable.cast(UNREADABLE_SCHEMA))  # type: ignore[arg-type]

    # -------------------------------------------------------------- before any row
    def _describe(self) -> dict[str, Any]:
        with _answers({"url": self._url, "read": None}, self._name) as frames:
            (about,) = [json.loads(payload) for payload in frames]
        return dict(about)

    def _check_type(self, ours: str, column: dict[str, Any]) -> None:
        kind, theirs = column["kind"], column["name"]
        if kind in ("text", "integer", "null"):
            return
        if kind in ("float", "decimal") and ours in _COORDINATES:
            return
        if kind == "boolean" and ours in _FLAGS:
            return
        if kind == "float":
            raise self._refusal(
                f'holds "{theirs}" as {column["type"]}: a float keeps 15 to 17 digits, so an 18-digit id in it has '
                "been rounded to a multiple of 64 or 128.",
                "Export the column as text, from where it was still exact.",
            )
        raise self._refusal(
            f'holds "{theirs}" as {column["type"]}, which {ours} cannot be.', "Export the column as text."
        )

    def _check_size(self, largest: int) -> None:
        if largest > LARGEST_GROUP:
            raise self._refusal(
                f"has a row group of {largest} bytes in the columns we read; we take {LARGEST_GROUP}.",
                "Write smaller row groups.",
            )

    def _check_rows(self, rows: int, in_groups: int) -> None:
        if rows != in_groups or rows < 0:
            raise self._refusal(
                f"says that it has {rows} rows; its row groups say {in_groups}.", "Export it again."
            )
        if not rows:
            raise self._refusal("holds no row.", "Export it again.")
        if rows > LARGEST_LINE:
            raise self._refusal(f"has more than {LARGEST_LINE} rows.", "Split the export.")

    def _refusal(self, what: str, cure: str) -> ExportError:
        return ExportError(f"{self._name} {what}", cure=cure)


_EXPANSION: Final = "If that is right, raise [guards] expansion."


def look_at_parquet(place: Place, name: str, rows: int) -> tuple[list[dict[str, Any]], pl.DataFrame]:
    """The columns (`name`, `kind`, `type`) and the first rows as text, columns named by their number from 0."""
    with _answers({"url": place.url, "read": None}, name) as frames:
        (about,) = [json.loads(payload) for payload in frames]
    columns: list[dict[str, Any]] = about["columns"]
    headers = [str(column["name"]) for column in columns]
    wanted = list(range(1, min(rows, about["rows"]) + 1))
    parts: list[Any] = []
    if wanted:
        with _answers({"url": place.url, "read": headers, "rows": wanted}, name) as frames:
            parts = [pl.from_arrow(pa.ipc.open_stream(payload).read_all()) for payload in frames]
    names = [str(at) for at in range(len(headers))]
    if not parts:
        return columns, pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    sample: pl.DataFrame = pl.concat(parts).drop(BAD)
    return columns, sample.rename(dict(zip(headers, names, strict=True)))


# ------------------------------------------------------------------ the other process
_NOT_ITS_BUSINESS: Final = ("METERFEED_", "PG", "PREFECT_")
_idle: list[subprocess.Popen[bytes]] = []
"""A worker that has answered everything it was asked, kept for the next file; at most one."""


@contextmanager
def _answers(request: dict[str, Any], name: str) -> Iterator[Iterator[bytes]]:
    """The payloads a worker answers with. One whose answer was not taken to its end is stopped.

    A refusal is an end as well; a worker that ran out of memory may not have it back and is stopped.
    """
    process = _idle.pop() if _idle else _start()
    ended: list[bool] = []
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # the missing answer will tell
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        yield _payloads(process.stdout, name, ended)
    finally:
        if ended and not _idle:
            _idle.append(process)
        else:
            _stop(process)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own script, in our own interpreter
        [sys.executable, "-I", str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Whoever reads a stranger's bytes has no business with our secrets; those of an object store it needs.
        env={name: value for name, value in os.environ.items() if not name.startswith(_NOT_ITS_BUSINESS)},
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with suppress(BrokenPipeError):
        process.communicate()


@atexit.register
def stop_worker() -> None:
    """Stop the idle worker, if there is one; it would also end by itself with this process."""
    while _idle:
        _stop(_idle.pop())


def _payloads(stream: IO[bytes], name: str, ended: list[bool]) -> Iterator[bytes]:
    while True:
        head = stream.read(HEAD_BYTES)
        length = struct.unpack(">Q", head[1:])[0] if len(head) == HEAD_BYTES else 0
        payload = stream.read(length)
        if len(head) < HEAD_BYTES or len(payload) < length:
            raise ExportError(
                f"{name} ended the process that read it: it is damaged, or made to do so.",
                cure="Export it again.",
            )
        kind = head[:1]
        if kind == b"E":
            refusal = json.loads(payload)
            if not refusal["spent"]:
                ended.append(True)
            raise ExportError(f"{name} cannot be read. {refusal['message']}", cure=refusal["cure"])
        if kind == b"Z":
            ended.append(True)
            return
        yield payload
