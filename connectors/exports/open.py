"""Open exports under their profiles: the one entrance to reading."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import IO, Final

import polars as pl

from connectors.exports.ahead import read_ahead
from connectors.exports.batch import RawBatch
from connectors.exports.containers import HEAD, Container, Hashed, container_of, unpacked, workbook
from connectors.exports.corrections import CORRECTS_SCHEMA, OURS, TOKEN, is_correction, token_parts
from connectors.exports.csv_reader import CsvRows, Opening, open_csv
from connectors.exports.encodings import Bytes
from connectors.exports.headers import Found
from connectors.exports.parquet_reader import ParquetRows
from connectors.exports.places import Place, display_name, find_places
from connectors.profiles import CORRECTION, profile_for
from schemas.errors import ExportError
from schemas.profile import Profile

HASH_BLOCK: Final = 4 << 20
ROW_BYTES: Final = 60
"""A low guess of the bytes of a row."""
PACKED: Final = 6
"""A high guess of how often a packed byte unpacks."""


def open_exports(arguments: Sequence[str], profiles: Sequence[Profile]) -> list[OpenedExport]:
    """Open every export the arguments stand for, each under the first profile that fits its name.

    Every file is hashed once and its header is checked, so that a wrong one stops the run before any row of
    any is read.

    Args:
        arguments: files, folders, globs, and `s3://`, `gs://` or `az://` URLs.
        profiles: in order of preference.

    Returns:
        The exports in the order of the arguments, within folders and globs by name.

    Raises:
        ExportError: a file is missing, is no ordinary file, or is not what its profile says.
        ProfileError: no profile fits a file's name.
    """
    places = find_places(arguments)
    chosen = [profile_for(place.basename, profiles) for place in places]
    return [
        OpenedExport(place, profile, index)
        for index, (place, profile) in enumerate(zip(places, chosen, strict=True))
    ]


def fingerprint(argument: str) -> tuple[str, int]:
    """SHA-256 (64 hex characters) and size in bytes of one file or object, without looking into it."""
    places = find_places([argument])
    if len(places) != 1:
        raise ExportError(f"{display_name(argument)} is {len(places)} files.", cure="Name one file.")
    with places[0].open() as file:
        return _fingerprint(file, display_name(places[0].basename))


def _fingerprint(file: IO[bytes], name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    try:
        while stored := file.read(HASH_BLOCK):
            digest.update(stored)
            size += len(stored)
    except OSError as error:
        raise _unreadable(name, error, size) from None
    return digest.hexdigest(), size


def _unreadable(name: str, error: OSError, offset: int) -> ExportError:
    return ExportError(
        f"{name} cannot be read beyond byte {offset}: {error.strerror}.",
        cure="Check the disk and start again.",
    )


class OpenedExport:
    """One export under its profile; fits `Export` of the pipeline's ports.

    Attributes:
        index: of the export in the run, from 0.
        name: of the file, safe to show.
        sha256: of the stored bytes.
        byte_count: of the stored bytes.
        profile: it is read by.
        notes: what a report should say about the file, as sentences.
        columns_dropped: headers of the file that are not read.
        is_correction: whether it is a correction file of ours, mended and sent in again.
    """

    def __init__(self, place: Place, profile: Profile, index: int) -> None:
        self.index, self.profile, self._place = index, profile, place
        self.name = display_name(place.basename)
        self.notes: list[str] = []
        self._signature = place.signature()
        with place.open() as file:
            head = _head(file, self.name)
            self.sha256, self.byte_count = _fingerprint(file, self.name)
        self._kind = container_of(head)
        self._check_kind()
        self._manifest_agrees = self._check_manifest()
        self.columns_dropped: tuple[str, ...]
        self.is_correction = False
        if self._kind is Container.PARQUET:
            self._parquet = ParquetRows(place, profile, self.name, source=index, size=self.byte_count)
            self.columns_dropped = self._parquet.dropped
            self.notes += self._parquet.notes
        else:
            with self.opened_csv() as (opening, _):
                self.columns_dropped = tuple(header for header in opening.found.dropped if header not in OURS)
                self.is_correction = is_correction(opening.header)
        self.check_unchanged()

    def columns_present(self) -> frozenset[str]:
        """The columns this export has, under our names."""
        return frozenset(self.profile.headers())

    def row_estimate(self) -> int:
        """About how many rows, rather too many than too few: it decides how the work is divided."""
        packed = self._kind is not Container.PLAIN
        return self.byte_count * (PACKED if packed else 1) // ROW_BYTES

    def batches(self) -> Iterator[RawBatch]:
        """Every row exactly once, in order.

        Raises:
            ExportError: the file is damaged, cut, not what the profile says, or changes while it is read.
        """
        if self._kind is Container.PARQUET:
            yield from self._parquet.batches()
            self.check_unchanged()
            return
        with self.opened_csv() as (opening, hashed):
            ended = self.profile.file.last_line == "ended" and not self._manifest_agrees
            rows = CsvRows(opening, self.profile, self.name, source=self.index, ended=ended)
            try:
                yield from read_ahead(rows.batches(), depth=1)
            except OSError as error:
                raise _unreadable(self.name, error, hashed.taken if hashed else 0) from None
            if hashed is not None:
                while hashed.read(HASH_BLOCK):
                    pass
            self.check_unchanged(hashed.hexdigest() if hashed else None)

    def corrects(self) -> pl.DataFrame:
        """Which row each row of a correction stands for; no row when the file is none.

        Returns:
            `source_line` (UInt32) of the correction; `corrects_sha256` (String: the first 32 hex characters of the
            other file's SHA-256) and `corrects_line` (UInt32). Rows whose token was removed or broken are left out.
        """
        if not self.is_correction:
            return pl.DataFrame(schema=CORRECTS_SCHEMA)
        with self.opened_csv() as (opening, _):
            found = replace(opening.found, places={TOKEN: opening.header.index(TOKEN)})
            rows = CsvRows(
                replace(opening, found=found), self.profile, self.name, source=self.index, ended=False
            )
            tokens = [batch.rows for batch in rows.batches()]
        return pl.concat(tokens).select("source_line", *token_parts(pl.col(TOKEN))).drop_nulls()

    @property
    def is_parquet(self) -> bool:
        """Whether the file is Parquet."""
        return self._kind is Container.PARQUET

    def parquet_headers(self) -> tuple[tuple[str, ...], Found]:
        """All headers of a Parquet file, and where ours are among them."""
        return self._parquet.headers, self._parquet.found

    def parquet_rows(self, rows: Sequence[int]) -> Iterator[pl.DataFrame]:
        """Some rows of a Parquet file, by number from 1, sorted: `source_line` and every column as text."""
        yield from self._parquet.rows(rows)
        self.check_unchanged()

    @contextmanager
    def opened_csv(self) -> Iterator[tuple[Opening, Hashed | None]]:
        """A CSV read up to its header, and the hash of its stored bytes where they are read in order."""
        with ExitStack() as stack:
            content, hashed = self._content(stack)
            try:
                opening = open_csv(content, self.profile, self.name)
            except OSError as error:
                raise _unreadable(self.name, error, hashed.taken if hashed else 0) from None
            yield opening, hashed

    def _content(self, stack: ExitStack) -> tuple[Bytes, Hashed | None]:
        file = stack.enter_context(self._place.open())
        content, hashed = stack.enter_context(
            unpacked(
                file,
                kind=self._kind,
                size=self.byte_count,
                member=self.profile.file.member,
                expansion=self.profile.guards.expansion,
                name=self.name,
            )
        )
        return content, hashed

    def _check_kind(self) -> None:
        if not self.byte_count:
            raise ExportError(f"{self.name} is empty.", cure="Export it again.")
        if self._kind is Container.WORKBOOK:
            raise workbook(self.name)
        declared, found = self.profile.file.format, "parquet" if self._kind is Container.PARQUET else "csv"
        if declared is not None and declared != found and not self._place.basename.startswith(CORRECTION):
            raise ExportError(
                f"{self.name} is {'' if found == 'parquet' else 'not '}Parquet by its first bytes; "
                f"the profile says {declared}.",
                cure=f'Set [file] format = "{found}", or leave it out.',
            )
        ending = self._place.basename.lower().rsplit(".", 1)[-1]
        expected = {"gz": Container.GZIP, "zst": Container.ZSTD, "zip": Container.ZIP}.get(
            ending, Container.PLAIN
        )
        if self.profile.file.member is not None and self._kind is not Container.ZIP:
            self.notes.append(f"{self.name} is no zip, though the profile names an entry of one.")
        if found == "csv" and expected is not self._kind:
            self.notes.append(f"{self.name} is {self._kind}, whatever its name says.")

    def _check_manifest(self) -> bool:
        text = self._place.manifest()
        if text is None:
            return False
        stated = re.match(r"\\?([0-9a-fA-F]{64})\b", text.strip())
        if stated is None or stated.group(1).lower() != self.sha256:
            raise ExportError(
                f"{self.name} is not the file its manifest describes: the SHA-256 differs.",
                cure="Deliver the file and its .sha256 again.",
            )
        return True

    def check_unchanged(self, sha256: str | None = None) -> None:
        """Compare the file with what it was when it was opened; `sha256` is what was read now, if known.

        Raises:
            ExportError: it was written to or replaced.
        """
        if self._place.signature() != self._signature or sha256 not in (None, self.sha256):
            raise ExportError(
                f"{self.name} changed while it was read.", cure="Wait until it is delivered, and start again."
            )


def _head(file: IO[bytes], name: str) -> bytes:
    try:
        head = file.read(HEAD)
        file.seek(0)
    except OSError as error:
        raise _unreadable(name, error, 0) from None
    return head
