"""Rows kept aside: `quarantine.parquet` for us, and correction files to be mended and sent in again.

Both hold customers' data as it came: 0600, in the run folder, gone with `meterfeed purge`.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.artifacts import RunFolder, slug
from connectors.exports import OpenedExport
from connectors.exports.again import Copies
from connectors.exports.corrections import (
    OURS,
    RULES,
    TEXT,
    TOKEN,
    row_tokens,
    spreadsheet_safe,
    spreadsheet_safe_lines,
)
from connectors.exports.encodings import is_wide

QUARANTINE: Final = "quarantine.parquet"
CORRECTION: Final = "correction.csv"

FILE, LINE, BROKEN, RAW = "meterfeed_file", "meterfeed_line", "meterfeed_rules", "meterfeed_text"
"""Our columns of the quarantine, before the exports' own."""


def write_quarantine(
    folder: RunFolder, exports: Sequence[OpenedExport], marks: Sequence[pl.DataFrame]
) -> dict[str, str]:
    """Copy the marked rows of every export, straight from its file, into the run folder.

    Args:
        folder: of the run.
        exports: as opened for the run; each is read once more, and refused if it has changed since.
        marks: for each export, `source_line` (UInt32) and `rules` (List(String): broken rules, or why the row is
            unreadable), one line a row.

    Returns:
        `quarantine` and `correction` with the files' paths as text, and `correction-2`, … when the exports are
        not of one kind; empty, and no file, when nothing is marked.

    Raises:
        ExportError: an export has changed.
        StorageError: the disk is full, or the folder went away.
    """
    kept = [
        _Kept(export, frame.sort("source_line"), Copies(export))
        for export, frame in zip(exports, marks, strict=True)
        if frame.height
    ]
    if not kept:
        return {}
    profiles = {export.profile.digest() for export in exports}
    corrections = _grouped(kept, names_profile=len(profiles) > 1)
    with ExitStack() as stack:
        quarantine = _Quarantine(stack.enter_context(folder.writing(QUARANTINE)), kept)
        stack.callback(quarantine.close)
        files = [
            _Correction(stack.enter_context(folder.writing(name)), group[0])
            for name, group in corrections.items()
        ]
        for file, group in zip(files, corrections.values(), strict=True):
            for one in group:
                for rows in one.copies.rows(one.marks):
                    quarantine.write(one, rows)
                    file.write(one, rows)
            file.finish(group[0].copies.footer)
    names = {"quarantine": QUARANTINE} | {
        "correction" if number == 1 else f"correction-{number}": name
        for number, name in enumerate(corrections, start=1)
    }
    return {what: str(folder.path / name) for what, name in names.items()}


@dataclass(frozen=True, slots=True)
class _Kept:
    """One export with rows to keep aside."""

    export: OpenedExport
    marks: pl.DataFrame
    copies: Copies

    @property
    def columns(self) -> list[str]:
        """Its headers, each once and none empty or like ours."""
        names: list[str] = []
        for at, header in enumerate(self.copies.headers):
            name = header if header and header not in (FILE, LINE, BROKEN, RAW) else f"column {at + 1}"
            names.append(name if name not in names else f"{name} ({at + 1})")
        return names


def _grouped(kept: Sequence[_Kept], *, names_profile: bool) -> dict[str, list[_Kept]]:
    """Exports that can share a correction file: the same profile, the same headers.

    In a run of several profiles each file's name says whose it is, for `profiles.profile_for` to find it again.
    """
    groups: dict[tuple[str, tuple[str, ...], str], list[_Kept]] = {}
    for one in kept:
        groups.setdefault((one.export.profile.digest(), one.copies.headers, one.copies.preface), []).append(
            one
        )
    return {
        CORRECTION
        if number == 1 and not names_profile
        else f"correction-{slug(group[0].export.profile.name)}-{number}.csv": group
        for number, group in enumerate(groups.values(), start=1)
    }


class _Quarantine:
    """The Parquet file: our columns, then every column of every export, null where an export lacks it."""

    def __init__(self, stream: BinaryIO, kept: Sequence[_Kept]) -> None:
        self._columns = list(dict.fromkeys(name for one in kept for name in one.columns))
        ours = [(FILE, pa.large_string()), (LINE, pa.uint32()), (BROKEN, pa.large_list(pa.large_string()))]
        texts = [(name, pa.large_string()) for name in (RAW, *self._columns)]
        self._writer = pq.ParquetWriter(
            stream, pa.schema([*ours, *texts]), compression="zstd", write_page_checksum=True
        )

    def write(self, one: _Kept, rows: pl.DataFrame) -> None:
        places = {name: str(at) for at, name in enumerate(one.columns)}
        none = pl.lit(None, pl.String)
        frame = rows.select(
            pl.lit(one.export.name).alias(FILE),
            pl.col("source_line").alias(LINE),
            pl.col("rules").alias(BROKEN),
            pl.col("text").alias(RAW),
            *((pl.col(places[name]) if name in places else none).alias(name) for name in self._columns),
        )
        self._writer.write_table(frame.to_arrow().cast(self._writer.schema))

    def close(self) -> None:
        self._writer.close()


@dataclass(slots=True)
class _Correction:
    """A CSV in the export's own dialect and encoding; UTF-8 begins with a mark, for spreadsheets need it."""

    stream: BinaryIO
    first: _Kept
    _encoder: codecs.IncrementalEncoder = field(init=False)

    def __post_init__(self) -> None:
        encoding = self.first.export.profile.file.encoding
        self._encoder = codecs.getincrementalencoder(encoding)("backslashreplace")
        if encoding == "utf-8" or (is_wide(encoding) and encoding not in ("utf-16", "utf-32")):
            self._put("\ufeff")
        self._put(self._safe_lines(self.first.copies.preface))
        found = pl.DataFrame({"header": [*self.first.copies.headers, *OURS]})
        headers = found.select(spreadsheet_safe(pl.col("header"))).to_series().to_list()
        header_row = pl.DataFrame([headers], schema=[str(at) for at in range(len(headers))], orient="row")
        self._put(self._as_csv(header_row))

    def write(self, one: _Kept, rows: pl.DataFrame) -> None:
        cells = [
            spreadsheet_safe(self._on_a_line(one, at), is_id=at in one.copies.ids)
            for at in range(len(one.copies.headers))
        ]
        self._put(
            self._as_csv(
                rows.select(
                    *(cell.alias(str(at)) for at, cell in enumerate(cells)),
                    row_tokens(one.export.sha256, rows["source_line"]).alias(TOKEN),
                    pl.col("rules").list.join(" ").alias(RULES),
                    spreadsheet_safe(self._one_field(self._one_line(pl.col("text").fill_null("")))).alias(
                        TEXT
                    ),
                )
            )
        )

    def finish(self, footer: Sequence[str]) -> None:
        for line in footer:
            self._put(self._safe_lines(line.rstrip("\r")) + self._line_end)

    @property
    def _line_end(self) -> str:
        return self.first.export.profile.file.newline or "\n"

    def _safe_lines(self, text: str) -> str:
        return spreadsheet_safe_lines(text, self.first.export.profile.file.separator)

    def _on_a_line(self, one: _Kept, at: int) -> pl.Expr:
        """A cell that comes back; Parquet cells may hold what makes a line of a CSV unreadable."""
        cell = pl.col(str(at)).fill_null("")
        if not one.export.is_parquet:
            return cell
        file = one.export.profile.file
        if at not in one.copies.texts or not file.quote or file.newline == "\r":
            return self._one_field(self._one_line(cell))
        return (
            pl.when(cell.str.contains("\n", literal=True))
            .then(cell.str.replace_all("\x1a", " ", literal=True))
            .otherwise(self._one_line(cell))
        )

    def _one_line(self, text: pl.Expr) -> pl.Expr:
        return text.str.replace_all(r"[\r\n\x1a]+", " ")

    def _one_field(self, text: pl.Expr) -> pl.Expr:
        """A text that stays one field where nothing is quoted."""
        file = self.first.export.profile.file
        return text if file.quote else text.str.replace_all(file.separator, " ", literal=True)

    def _as_csv(self, rows: pl.DataFrame) -> str:
        file = self.first.export.profile.file
        sink = io.BytesIO()
        rows.write_csv(
            sink,
            include_header=False,
            separator=file.separator,
            quote_char=file.quote or '"',
            quote_style="necessary" if file.quote else "never",
            line_terminator=self._line_end,
        )
        return sink.getvalue().decode()

    def _put(self, text: str) -> None:
        self.stream.write(self._encoder.encode(text))
