"""CSV to text, counted twice.

`framing.py` counts the physical lines of a block and sets aside what a quote-aware parser would misread;
PyArrow parses the rest. Both must arrive at the same number of records, block by block, or the file stops.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from connectors.exports.ahead import read_ahead
from connectors.exports.batch import BATCH_ROWS, LARGEST_LINE, UNREADABLE_SCHEMA, RawBatch
from connectors.exports.blocks import Blocks, WithoutFooter
from connectors.exports.corrections import APOSTROPHE, header_as_it_was, is_correction
from connectors.exports.encodings import SAMPLE, Bytes, Widened, check_start, is_wide
from connectors.exports.framing import (
    LARGEST_RECORD,
    Dialect,
    Faulty,
    Framed,
    Numbers,
    framed,
    plain_line_count,
    walk,
)
from connectors.exports.headers import Found, find_columns, headers_of_texts
from schemas.errors import ExportError
from schemas.profile import FileSection, Profile
from schemas.unreadable import Unreadable

FEW_UNDECODABLE: Final = 3
"""This many lines that are no text, with hardly one beyond ASCII that is, mean another encoding."""

LARGEST_PREFACE: Final = 4 << 20
"""Bytes before the header."""

SEPARATOR_FOLLOWS: Final = b"sep="
"""How a first line begins that tells a spreadsheet the separator."""


@dataclass(slots=True)
class Prepared:
    """A block in UTF-8, every line of it known; `starts` is None when each line is a record."""

    block: bytes
    content: bytes
    lines: int
    starts: Numbers | None = None
    spans: Numbers | None = None
    faulty: list[Faulty] = field(default_factory=list)
    may_repeat_header: bool = False


@dataclass(frozen=True, slots=True)
class Opening:
    """The start of a CSV: where its header is and what it says, and the rest of the stream."""

    dialect: Dialect
    found: Found
    header: tuple[str, ...]
    header_line: int
    preface: bytes
    blocks: Iterator[bytes]
    tail: Blocks
    footer: WithoutFooter


def open_csv(stream: Bytes, profile: Profile, name: str) -> Opening:
    """Read up to the header.

    Raises:
        ExportError: encoding, line ends or header are not as the profile says.
    """
    file = profile.file
    head = _read_fully(stream, SAMPLE)
    skip = check_start(head, file.encoding, name)
    source: Bytes = _Rejoined(head[skip:], stream)
    encoding = file.encoding
    if is_wide(encoding):
        source, encoding = Widened(source, encoding, name), "utf-8"
    line_end = b"\r" if file.newline == "\r" else b"\n"
    tail = Blocks(source, line_end, ended=(file.newline or "\n").encode())
    blocks = iter(tail)
    first = next(blocks, b"")
    _check_line_ends(first, file, name, unterminated=tail.unterminated)
    first = _as_far_as_the_header(first, blocks, file, line_end)
    line, header, begin, rest = _header(first, file, encoding, name)
    multiline = None
    if is_correction(header):
        header = tuple(header_as_it_was(one) for one in header)
        multiline = headers_of_texts(profile)
    found = find_columns(header, profile, name, f"line {line}", multiline=multiline)
    dialect = Dialect(
        separator=file.separator.encode(),
        quote=file.quote.encode(),
        newline=file.newline,
        encoding=encoding,
        width=len(header),
        multiline=found.multiline,
    )
    footer = WithoutFooter(chain([rest] if rest else [], blocks), file.footer_lines, line_end, name)
    return Opening(dialect, found, header, line, first[:begin], iter(footer), tail, footer)


def _read_fully(stream: Bytes, size: int) -> bytes:
    taken = b""
    while len(taken) < size and (more := stream.read(size - len(taken))):
        taken += more
    return taken


class _Rejoined:
    """A stream whose first bytes have been looked at."""

    def __init__(self, head: bytes, rest: Bytes) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int, /) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head
        return self._rest.read(size)


def _check_line_ends(first: bytes, file: FileSection, name: str, *, unterminated: bool) -> None:
    if not first.strip(b"\r\n"):
        raise ExportError(f"{name} is empty.", cure="Export it again.")
    other = b"\n" if file.newline == "\r" else b"\r"
    lines = first.count(b"\r" if file.newline == "\r" else b"\n")
    if (unterminated or len(first) > LARGEST_RECORD) and lines == 1 and first.count(other) > 1:
        found, cure = (
            ("CR", 'Set [file] newline = "\\r".') if other == b"\r" else ("LF", "Leave [file] newline out.")
        )
        raise ExportError(f"{name} ends its lines with {found} alone.", cure=cure)


def _as_far_as_the_header(first: bytes, blocks: Iterator[bytes], file: FileSection, line_end: bytes) -> bytes:
    """Enough blocks for the lines before the header and the header itself, as far as these may be long."""
    announced = file.header_line == 1 and first[:4].lower() == SEPARATOR_FOLLOWS
    lines = file.header_line + announced
    while first.count(line_end) < lines and len(first) <= LARGEST_PREFACE and (more := next(blocks, b"")):
        first += more
    return first


def _header(
    first: bytes, file: FileSection, encoding: str, name: str
) -> tuple[int, tuple[str, ...], int, bytes]:
    """The header's line number, the headers, where they begin in the first block, and what follows there."""
    line_end = b"\r" if file.newline == "\r" else b"\n"
    number, at = file.header_line, 0
    for _ in range(file.header_line - 1):
        at = first.find(line_end, at) + 1
        if not at:
            raise _no_header(name, file.header_line)
    begin = at
    text, at = _line_at(first, at, line_end)
    if number == 1 and text.lower().startswith(SEPARATOR_FOLLOWS):
        _check_sep_line(text, file.separator.encode(), name)
        number, begin = 2, at
        text, at = _line_at(first, at, line_end)
    if not text.strip():
        raise _no_header(name, number)
    if len(text) > LARGEST_RECORD:
        raise ExportError(
            f"{name}: the header, line {number}, is over 1 MB long.", cure="Check [file] newline."
        )
    return number, _headers(text, file, encoding, name, number), begin, first[at:]


def _line_at(first: bytes, at: int, line_end: bytes) -> tuple[bytes, int]:
    end = first.find(line_end, at)
    if end < 0:
        return b"", len(first)
    return first[at:end].rstrip(b"\r"), end + 1


def _no_header(name: str, line: int) -> ExportError:
    return ExportError(
        f"{name} has no header on line {line}.", cure="Mend [file] header_line, or export it again."
    )


def _check_sep_line(text: bytes, separator: bytes, name: str) -> None:
    if text[4:] != separator:
        raise ExportError(
            f"{name} says on line 1 that its separator is another than the profile's.",
            cure="Mend [file] separator.",
        )


def _headers(text: bytes, file: FileSection, encoding: str, name: str, number: int) -> tuple[str, ...]:
    plain = Dialect(file.separator.encode(), file.quote.encode(), file.newline, encoding, 0)
    seen = walk(text, plain)
    if seen.open:
        raise ExportError(
            f"{name}: a quote opens in the header on line {number} and does not close there.",
            cure="Write the headers on one line, or mend [file] quote.",
        )
    try:
        return tuple(one.decode(encoding) for one in seen.fields)
    except UnicodeDecodeError as error:
        offset = text.index(error.object[error.start])
        raise ExportError(
            f"{name} is not {encoding}: byte {offset} of the header, line {number}, is no text.",
            cure='Set [file] encoding to what the file is, usually "utf-8" or "cp1252".',
        ) from None


class CsvRows:
    """Every row of one CSV, once.

    Args:
        opening: of the file, from `open_csv`; its stream is read to the end.
        source: index of the export in the run.
        ended: whether the last line must have a line end.
    """

    def __init__(self, opening: Opening, profile: Profile, name: str, *, source: int, ended: bool) -> None:
        self._opening, self._profile, self._name, self._source = opening, profile, name, source
        self._dialect, self._ended = opening.dialect, ended
        self._columns = [str(place) for place in range(opening.dialect.width)]
        self._read = list(dict.fromkeys(str(place) for place in opening.found.places.values()))
        self._line, self._record, self._last_faulty = opening.header_line, 0, 0
        self._nulls = [*dict.fromkeys(("", *profile.file.nulls))]
        self._telltale = opening.header[int(self._read[0])].encode()
        self._text_beyond_ascii = False
        self._parts: list[pa.Table] = []
        self._unreadable: list[tuple[int, int, str]] = []
        self._held = 0
        self.blank_lines = 0
        self.is_correction = is_correction(opening.header)

    def batches(self) -> Iterator[RawBatch]:
        """Batches of `BATCH_ROWS` rows or a little more.

        Raises:
            ExportError: the file is not what the profile says, is cut, or cannot be counted the same twice.
        """
        for prepared in read_ahead(self.prepared()):
            self._take(prepared)
            if self._held >= BATCH_ROWS:
                yield self._batch()
        self._check_end()
        if self._held:
            yield self._batch()

    # -------------------------------------------------------------- the first count
    def prepared(self) -> Iterator[Prepared]:
        """Every block after the header, each line of it known.

        Another thread may ask for them than the one that parses: nothing of the second count is read or written here.
        """
        rest = b""
        line = self._opening.header_line
        blocks = self._opening.blocks
        block = next(blocks, None)
        while block is not None:
            following = next(blocks, None)
            prepared, rest = self._prepare(rest + block, line, final=following is None)
            line += prepared.lines
            yield prepared
            block = following

    def _prepare(self, block: bytes, before: int, *, final: bool) -> tuple[Prepared, bytes]:
        """A block, and what is left of it for the next one; `before` is how many lines lie before it."""
        if self._dialect.encoding == "utf-8":
            block = _without_marks(block, self._dialect.line_end)
        self._refuse_utf8_in_disguise(block, before)
        lines = plain_line_count(block, self._dialect)
        if lines is not None:
            content = self._in_utf8(block)
            if content is not None:
                self._text_beyond_ascii |= not block.isascii()
                return Prepared(block, content, lines, may_repeat_header=self._telltale in content), b""
        look = framed(block, self._dialect, final=final)
        self._check_encoding(block, look, before)
        return self._looked_at(block, look), look.rest

    def _looked_at(self, block: bytes, look: Framed) -> Prepared:
        content = self._in_utf8(look.content)
        if content is None:  # cannot be: lines that are no text have been taken out
            raise ExportError(f"{self._name} is not {self._dialect.encoding}.", cure="Set [file] encoding.")
        repeat = self._telltale in content
        return Prepared(block, content, look.lines, look.starts, look.spans, look.faulty, repeat)

    def _in_utf8(self, block: bytes) -> bytes | None:
        """The block in UTF-8, or None when some of it is no text in the declared encoding."""
        if block.isascii():
            return block
        encoding = self._dialect.encoding
        try:
            text = block.decode(encoding)
        except UnicodeDecodeError:
            return None
        return block if encoding == "utf-8" else text.encode()

    def _refuse_utf8_in_disguise(self, block: bytes, before: int) -> None:
        """Single-byte text that happens to be valid UTF-8 is not single-byte text; looked at once."""
        if self._text_beyond_ascii or self._dialect.encoding == "utf-8" or block.isascii():
            return
        try:
            block.decode("utf-8")
        except UnicodeDecodeError:
            return
        offset = next(place for place, sign in enumerate(block) if sign > 127)
        line = before + block.count(self._dialect.line_end, 0, offset) + 1
        raise ExportError(
            f"{self._name} is UTF-8, not {self._dialect.encoding}: see about line {line}.",
            cure='Set [file] encoding = "utf-8".',
        )

    def _check_encoding(self, block: bytes, look: Framed, before: int) -> None:
        wrong = [fault.line for fault in look.faulty if fault.reason is Unreadable.UNDECODABLE]
        beyond_ascii = not look.content.isascii()
        if len(wrong) < FEW_UNDECODABLE or self._text_beyond_ascii:
            self._text_beyond_ascii |= beyond_ascii
            return
        right = sum(not line.isascii() for line in look.content.split(self._dialect.line_end))
        if right * 9 >= len(wrong):
            self._text_beyond_ascii |= beyond_ascii
            return
        line = block.split(self._dialect.line_end)[wrong[0]]
        offset = next(place for place, sign in enumerate(line) if sign > 127)
        raise ExportError(
            f"{self._name} is not {self._dialect.encoding}: line {before + wrong[0] + 1} "
            f"(byte {offset} of the line) and {len(wrong) - 1} others near it hold bytes that are no text.",
            cure='Set [file] encoding to what the file is, usually "utf-8" or "cp1252".',
        )

    # -------------------------------------------------------------- the second count
    def _take(self, prepared: Prepared) -> None:
        table, ragged = self._parse(prepared.content)
        records = prepared.lines if prepared.starts is None else len(prepared.starts)
        if table.num_rows + len(ragged) != records and prepared.starts is None:
            prepared = self._looked_at(prepared.block, framed(prepared.block, self._dialect, final=True))
            table, ragged = self._parse(prepared.content)
        starts = np.arange(prepared.lines) if prepared.starts is None else prepared.starts
        if table.num_rows + len(ragged) != len(starts):
            raise ExportError(
                f"{self._name}: between lines {self._line + 1} and {self._line + prepared.lines} one count finds "
                f"{len(starts)} records and the other {table.num_rows + len(ragged)}.",
                cure="Look for quotes out of place in these lines and export the file again.",
            )
        self._add(prepared, table, ragged, starts)

    def _parse(self, content: bytes) -> tuple[pa.Table, list[tuple[int, bool]]]:
        """PyArrow's rows of `content`, and of the ragged ones the number (from 0) and whether they are short."""
        ragged: list[tuple[int, bool]] = []

        def set_aside(row: pa_csv.InvalidRow) -> str:
            ragged.append((row.number - 1, row.actual_columns < row.expected_columns))
            return "skip"

        if not content.strip(b"\r\n"):
            return pa.table({name: pa.array([], pa.string()) for name in self._read}), ragged
        table = pa_csv.read_csv(
            pa.BufferReader(content),
            read_options=pa_csv.ReadOptions(
                use_threads=False, block_size=len(content) + 1, column_names=self._columns
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=self._dialect.separator.decode(),
                quote_char=self._dialect.quote.decode() or False,
                newlines_in_values=bool(self._dialect.multiline),
                invalid_row_handler=set_aside,
            ),
            convert_options=pa_csv.ConvertOptions(
                check_utf8=False,  # every byte has been decoded before
                column_types=dict.fromkeys(self._columns, pa.string()),
                include_columns=self._read,
                strings_can_be_null=True,
                null_values=self._nulls,
            ),
        )
        return table, ragged

    def _add(
        self, prepared: Prepared, table: pa.Table, ragged: list[tuple[int, bool]], starts: Numbers
    ) -> None:
        spans = np.ones(len(starts), np.int64) if prepared.spans is None else prepared.spans
        faults = [(fault.line, fault.lines, fault.reason) for fault in prepared.faulty]
        numbers = np.arange(1, len(starts) + 1) + np.searchsorted([fault[0] for fault in faults], starts)
        is_read = np.ones(len(starts), dtype=np.bool_)
        for place, short in ragged:
            is_read[place] = False
            reason = Unreadable.TOO_FEW_FIELDS if short else Unreadable.TOO_MANY_FIELDS
            faults.append((int(starts[place]), int(spans[place]), reason))
        repeated = self._repeated_headers(table) if prepared.may_repeat_header else None
        if repeated is not None:
            places = np.flatnonzero(is_read)[repeated]
            is_read[places] = False
            table = table.filter(pa.array(~repeated))
            faults += [
                (int(starts[place]), int(spans[place]), Unreadable.REPEATED_HEADER) for place in places
            ]
        lines = starts[is_read] + self._line + 1
        self._parts.append(self._named(table, lines, numbers[is_read] + self._record))
        for line, count, reason in sorted(faults):
            self._unreadable.append((line + self._line + 1, count, reason.value))
            self._last_faulty = line + self._line + count
        self._held += table.num_rows + len(faults)
        self._record += len(starts) + len(prepared.faulty)
        self._line += prepared.lines
        self.blank_lines += prepared.lines - int(spans.sum()) - sum(fault.lines for fault in prepared.faulty)
        if self._line > LARGEST_LINE:
            raise ExportError(f"{self._name} has more than {LARGEST_LINE} lines.", cure="Split the export.")

    def _repeated_headers(self, table: pa.Table) -> Any:
        """A mask of the rows that repeat the header in every column read, or None when there is none."""
        mask = None
        for place in self._read:
            cells = pc.fill_null(table.column(place), "")
            cells = _unmarked(cells) if self.is_correction else cells
            same = pc.equal(cells, self._opening.header[int(place)])
            mask = same if mask is None else pc.and_(mask, same)
        flags = np.asarray(mask)
        return flags if flags.any() else None

    # -------------------------------------------------------------- the end
    def _check_end(self) -> None:
        if self._opening.tail.unterminated:
            self._check_last_line()
        for line in self._opening.footer.footer:
            self._check_footer(line)
        if not self._record:
            raise ExportError(f"{self._name} holds a header and no row.", cure="Export it again.")

    def _check_last_line(self) -> None:
        cut = not self._opening.footer.footer and self._last_faulty == self._line
        if cut or self._ended:
            raise ExportError(
                f"{self._name} is cut or unfinished: line {self._line + len(self._opening.footer.footer)}, "
                f"the last, has no line end{' and is no whole row' if cut else ''}.",
                cure="Export it again"
                + (
                    "."
                    if cut
                    else ', or, if this system never ends its last line, set [file] last_line = "open".'
                ),
            )

    def _check_footer(self, line: bytes) -> None:
        """A declared footer that fills the columns that tell customers apart is a row about to be lost."""
        seen = walk(line.rstrip(b"\r"), self._dialect)
        places = self._opening.found.places
        telling = [places[name] for name in ("user", "location", "meter_point", "resource") if name in places]
        if len(telling) == 1:
            telling = list(places.values())
        if not telling:  # only the row tokens of a correction are read
            return
        if len(seen.fields) == self._dialect.width and all(seen.fields[place].strip() for place in telling):
            raise ExportError(
                f"{self._name}: a line declared as footer, line {self._line + 1} or after it, looks like a row.",
                cure="Mend [file] footer_lines.",
            )

    # -------------------------------------------------------------- handing on
    def _batch(self) -> RawBatch:
        tables, self._parts = pa.concat_tables(self._parts), []
        rows = pl.from_arrow(tables)
        unreadable = pl.DataFrame(self._unreadable, schema=UNREADABLE_SCHEMA, orient="row")
        self._unreadable, self._held = [], 0
        return RawBatch(self._source, rows, unreadable)  # type: ignore[arg-type]

    def _named(self, table: pa.Table, lines: Numbers, records: Numbers) -> pa.Table:
        columns = {name: table.column(str(place)) for name, place in self._opening.found.places.items()}
        if self.is_correction:
            columns = {name: self._as_it_was(column) for name, column in columns.items()}
        numbers = {"source_line": lines, "source_record": records}
        return pa.table(
            columns | {name: pa.array(column.astype(np.uint32)) for name, column in numbers.items()}
        )

    def _as_it_was(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Cells of a correction without their marks; a marked word for "empty" is known only now."""
        unmarked = _unmarked(column)
        is_nothing = pc.is_in(unmarked, value_set=pa.array(self._nulls, pa.string()))
        return pc.if_else(is_nothing, pa.scalar(None, pa.string()), unmarked)


def _without_marks(block: bytes, line_end: bytes) -> bytes:
    """Lines without the byte order marks that files keep when they are joined: they are no part of a cell."""
    first = codecs.BOM_UTF8[:1]
    if first not in block or codecs.BOM_UTF8 not in block:  # one byte is found much faster than three
        return block
    while (
        fewer := block.removeprefix(codecs.BOM_UTF8).replace(line_end + codecs.BOM_UTF8, line_end)
    ) != block:
        block = fewer
    return block


def _unmarked(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells of a correction without the apostrophe that kept a spreadsheet from changing them."""
    marked = pc.starts_with(column, APOSTROPHE)
    return pc.if_else(marked, pc.utf8_slice_codeunits(column, 1), column)
