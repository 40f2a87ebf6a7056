"""A second look at rows that were set aside: every column of theirs, and of no other row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from connectors.exports.corrections import OURS, TEXT, as_it_was
from connectors.exports.csv_reader import CsvRows, Opening, Prepared
from connectors.exports.framing import Dialect, Numbers
from connectors.exports.headers import Found
from connectors.exports.open import OpenedExport
from schemas.errors import ExportError
from schemas.unreadable import Unreadable

IDS: Final = ("user", "location", "meter_point", "parent_meter_point", "metering_location", "resource")
"""Our columns that hold ids."""

FOOTER: Final = "footer"
"""What stands in the last column of a footer that the profile asks for and the file cannot have."""

_UNREADABLE: Final = [reason.value for reason in Unreadable]


class Copies:
    """Rows of one export, copied from its file.

    Attributes:
        headers: of the export, ours left out.
        preface: its lines before the header, with their line ends.
        footer: its lines after the last row, as `rows` found them; empty before.
        ids: which of the headers, counted from 0, are those of ids, and of what else tells locations apart.
        texts: which of them may hold line breaks.

    A Parquet file has lines neither before nor after its rows. A CSV under its profile has: blank ones before, and
    after them such as are no rows however wide a spreadsheet makes them.
    """

    def __init__(self, export: OpenedExport) -> None:
        self._export = export
        self.footer: list[str] = []
        self.preface = ""
        self._text_at: int | None = None
        """Where a correction has the text of the row that it stands for."""
        if export.is_parquet:
            self.headers: tuple[str, ...]
            self.headers, found = export.parquet_headers()
            self._kept = list(range(len(self.headers)))
            self.ids, self.texts = self._ids(found), found.multiline
            file = export.profile.file
            self.preface = (file.newline or "\n") * (file.header_line - 1)
            self.footer = [file.separator * (len(self.headers) + len(OURS) - 1) + FOOTER] * file.footer_lines
            return
        with export.opened_csv() as (opening, _):
            self._kept = [at for at, header in enumerate(opening.header) if header not in OURS]
            self.headers = tuple(opening.header[at] for at in self._kept)
            if export.is_correction and TEXT in opening.header:
                self._text_at = opening.header.index(TEXT)
            self.preface = opening.preface.decode(opening.dialect.encoding, "replace")
            self.ids, self.texts = (
                self._ids(opening.found),
                frozenset(map(self._kept.index, opening.found.multiline)),
            )

    def _ids(self, found: Found) -> frozenset[int]:
        names = (name for name in found.places if name in IDS or name.startswith("key:"))
        return frozenset(self._kept.index(found.places[name]) for name in names)

    def rows(self, marks: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The marked rows in the file's order.

        Args:
            marks: `source_line` (UInt32, sorted) and `rules` (List(String)); a rule that is a reason of
                `schemas.unreadable` says that the row cannot be split.

        Yields:
            `source_line`, `rules`, `text` (String, the row as stored when it cannot be split, else null), and a
            String column for each header, named by its number from 0; null in all of them beside such a text.
            A row of a correction brings the text that stands beside its cells.
        """
        if not marks.height:
            return
        self._export.check_unchanged()
        whole = marks.with_columns(
            is_text=pl.col("rules")
            .list.eval(pl.element().is_in(_UNREADABLE))
            .list.any()
            .fill_null(value=False)
        )
        parts = self._of_parquet(whole) if self._export.is_parquet else self._of_csv(whole)
        for part in parts:
            if part.height:
                yield part.join(marks, on="source_line", how="left", maintain_order="left")
        self._export.check_unchanged()

    # -------------------------------------------------------------- Parquet
    def _of_parquet(self, marks: pl.DataFrame) -> Iterator[pl.DataFrame]:
        texts = dict(marks.select("source_line", "is_text").rows())
        for part in self._export.parquet_rows(marks["source_line"].to_list()):
            named = part.rename({name: str(at) for at, name in enumerate(part.columns[1:])})
            is_text = named["source_line"].replace_strict(texts, return_dtype=pl.Boolean)
            cells = [str(at) for at in self._kept]
            text = pl.concat_str(cells, separator=" ", ignore_nulls=True)
            yield named.with_columns(is_text.alias("is_text")).select(
                "source_line",
                pl.when("is_text").then(text).alias("text"),
                *(pl.when(~pl.col("is_text")).then(cell).alias(cell) for cell in cells),
            )

    # -------------------------------------------------------------- CSV
    def _of_csv(self, marks: pl.DataFrame) -> Iterator[pl.DataFrame]:
        wanted = marks["source_line"].to_numpy()
        as_text = marks["is_text"].to_numpy()
        with self._export.opened_csv() as (opening, _):
            rows = CsvRows(opening, self._export.profile, self._export.name, source=0, ended=False)
            line = opening.header_line
            for prepared in rows.prepared():
                first, after = np.searchsorted(wanted, [line + 1, line + prepared.lines + 1])
                if after > first:
                    offsets = wanted[first:after].astype(np.int64) - line - 1
                    yield self._of_block(prepared, opening, offsets, as_text[first:after], line)
                line += prepared.lines
            self.footer = [text.decode(opening.dialect.encoding, "replace") for text in opening.footer.footer]

    def _of_block(
        self, prepared: Prepared, opening: Opening, offsets: Numbers, as_text: Any, line: int
    ) -> pl.DataFrame:
        """The wanted records of one block; a block is a megabyte, so all of them may be held at once."""
        pieces = _records(prepared, opening.dialect, offsets)
        split, whole = np.flatnonzero(~as_text), np.flatnonzero(as_text)
        parts = []
        if len(split):
            parts.append(self._split([pieces[at] for at in split], opening, offsets[split] + line + 1))
        if len(whole):
            texts = [readable_text(pieces[at], opening.dialect.encoding) for at in whole]
            parts.append(self._unsplit(texts, offsets[whole] + line + 1))
        return pl.concat(parts).sort("source_line")

    def _split(self, records: list[bytes], opening: Opening, lines: Numbers) -> pl.DataFrame:
        dialect = opening.dialect
        content = b"".join(records)
        if dialect.encoding != "utf-8":
            content = content.decode(dialect.encoding).encode()
        names = [str(place) for place in range(dialect.width)]
        table = pa_csv.read_csv(
            pa.BufferReader(content),
            read_options=pa_csv.ReadOptions(
                use_threads=False, block_size=len(content) + 1, column_names=names
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=dialect.separator.decode(),
                quote_char=dialect.quote.decode() or False,
                newlines_in_values=bool(dialect.multiline),
                invalid_row_handler=lambda _: "skip",
            ),
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[str(place) for place in self._needed()],
            ),
        )
        if table.num_rows != len(records):
            raise ExportError(
                f"{self._export.name}: rows that were read whole cannot be split now.",
                cure="Deliver the file again: it must have changed.",
            )
        found: Any = pl.from_arrow(table)
        cells: pl.DataFrame = found.select(
            pl.Series("source_line", lines, dtype=pl.UInt32),
            self._text_beside().alias("text"),
            *(self._as_read(pl.col(str(place))).alias(str(at)) for at, place in enumerate(self._kept)),
        )
        return cells

    def _needed(self) -> list[int]:
        return self._kept if self._text_at is None else [*self._kept, self._text_at]

    def _text_beside(self) -> pl.Expr:
        """What nobody has split yet must come back, or the next round has nothing to mend it from."""
        if self._text_at is None:
            return pl.lit(None, pl.String)
        text = as_it_was(pl.col(str(self._text_at)))
        return pl.when(text != "").then(text)

    def _as_read(self, cell: pl.Expr) -> pl.Expr:
        """A cell of a correction without the mark it was written with, or each correction would add one."""
        return as_it_was(cell) if self._export.is_correction else cell

    def _unsplit(self, texts: list[str], lines: Numbers) -> pl.DataFrame:
        return pl.DataFrame({"source_line": lines.astype(np.uint32), "text": texts}).with_columns(
            pl.lit(None, pl.String).alias(str(at)) for at in range(len(self._kept))
        )


def _records(prepared: Prepared, dialect: Dialect, offsets: Numbers) -> list[bytes]:
    """The bytes of the records that begin on these lines of a block, line ends included."""
    signs = np.frombuffer(prepared.block, dtype=np.uint8)
    ends = np.flatnonzero(signs == dialect.line_end[0])
    begins = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    spans = np.ones(len(offsets), dtype=np.int64)
    if prepared.starts is not None and prepared.spans is not None and len(prepared.starts):
        places = np.minimum(np.searchsorted(prepared.starts, offsets), len(prepared.starts) - 1)
        spans = np.where(prepared.starts[places] == offsets, prepared.spans[places], 1)
    return [
        prepared.block[begin : end + 1]
        for begin, end in zip(begins[offsets].tolist(), ends[offsets + spans - 1].tolist(), strict=True)
    ]


def readable_text(stored: bytes, encoding: str) -> str:
    """Bytes that could not be read, as one line of text: what is no text is written in hex."""
    text = stored.decode(encoding, "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f]", lambda sign: f"\\x{ord(sign.group()):02x}", text.strip("\r\n"))
