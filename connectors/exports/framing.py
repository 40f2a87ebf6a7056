"""Lines and records of a CSV, told apart by looking at the bytes alone.

This is the first of the two independent counts. It finds physical lines and everything that would make a
quote-aware parser see other records than a person does; what is left is handed to PyArrow, which must
then count exactly as many records (`csv_reader.py`).

A record that goes over a line end inside quotes is unreadable unless the profile lists its column in `[file]
multiline`: whether a stray quote swallowed ten rows or one row holds ten lines cannot be told. So none of its physical
lines is believed, blank ones included, and all of them are counted. Where line breaks are legal, a field over several
lines that holds as many separators as a row is no address but rows between two stray quotes, and goes the same way.

A quote that nothing closes takes the rest of the file with it, when that is no longer than a record may be; otherwise
it makes no record, and only its own line is unreadable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from connectors.exports.encodings import undecodable_spans
from schemas.unreadable import Unreadable

LF: Final = 10
CR: Final = 13
LARGEST_FIELD: Final = 65_536
LARGEST_RECORD: Final = 1_048_576

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Dialect:
    """How the bytes of a CSV are meant, in an encoding where ASCII is one byte each.

    Attributes:
        quote: empty when nothing is quoted.
        newline: as `[file] newline`; None allows LF and CRLF.
        width: fields in every record.
        multiline: positions of the fields that may hold line breaks inside quotes.
    """

    separator: bytes
    quote: bytes
    newline: str | None
    encoding: str
    width: int
    multiline: frozenset[int] = frozenset()

    @cached_property
    def line_end(self) -> bytes:
        """The byte that ends a physical line."""
        return b"\r" if self.newline == "\r" else b"\n"

    @cached_property
    def before_opening(self) -> Flags:
        """By byte: may stand before a quote that opens (or after a quote, when it is the second of two)."""
        return _flags(self.separator + self.quote + self.line_end)

    @cached_property
    def after_closing(self) -> Flags:
        """By byte: may stand after a quote that closes (or before a quote, when it is the first of two)."""
        return _flags(self.separator + self.quote + b"\r\n")


def _flags(members: bytes) -> Flags:
    table = np.zeros(256, dtype=np.bool_)
    table[list(members)] = True
    return table


@dataclass(frozen=True, slots=True)
class Faulty:
    """Physical lines that are unreadable: the first one's offset in the block, how many, and why."""

    line: int
    reason: Unreadable
    lines: int = 1


@dataclass(slots=True)
class Framed:
    """A block whose every line has been looked at.

    Attributes:
        content: the lines a parser may see, in order.
        starts: for each record in `content`, the offset of its first line in the block.
        spans: how many physical lines each record has.
        lines: physical lines of the block accounted for, blank ones included.
        faulty: those that are not in `content`.
        rest: the start of a record that goes on in the next block; no line of it is accounted for.
    """

    content: bytes
    starts: Numbers
    spans: Numbers
    lines: int
    faulty: list[Faulty] = field(default_factory=list)
    rest: bytes = b""


@dataclass(frozen=True, slots=True)
class Walk:
    """What reading one record sign by sign showed.

    Attributes:
        fields: their texts, quotes undone.
        open: the record ends inside quotes.
        stray: something other than a separator follows a closing quote.
        broken: positions of the fields that hold a line end.
        bare: what stands outside quotes, without the separators.
    """

    fields: tuple[bytes, ...]
    open: bool
    stray: bool
    broken: frozenset[int]
    bare: bytes

    @property
    def longest(self) -> int:
        """Bytes of the longest field."""
        return max(map(len, self.fields))


def walk(record: bytes, dialect: Dialect) -> Walk:
    """Split one record, without its final line end, the slow and certain way."""
    fields: list[bytes] = []
    bare: list[bytes] = []
    broken: set[int] = set()
    stray, at = False, 0
    while True:
        text, quoted = b"", False
        if dialect.quote and record.startswith(dialect.quote, at):
            closing = _closing_quote(record, at + 1, dialect.quote, len(record))
            if closing < 0:
                found = (*fields, record[at:])
                return Walk(found, open=True, stray=stray, broken=frozenset(broken), bare=b"".join(bare))
            text = record[at + 1 : closing].replace(dialect.quote * 2, dialect.quote)
            at, quoted = closing + 1, True
        after = record.find(dialect.separator, at)
        end = len(record) if after < 0 else after
        stray = stray or (quoted and end > at)
        text += record[at:end]
        bare.append(record[at:end])
        if dialect.line_end in text:
            broken.add(len(fields))
        fields.append(text)
        if after < 0:
            found = tuple(fields)
            return Walk(found, open=False, stray=stray, broken=frozenset(broken), bare=b"".join(bare))
        at = after + 1


def _closing_quote(text: bytes, at: int, quote: bytes, limit: int) -> int:
    """Where the quoted field that is open at `at` closes, or -1."""
    while True:
        found = text.find(quote, at, limit)
        if found < 0 or not text.startswith(quote, found + 1):
            return found
        at = found + 2


def record_end(block: bytes, start: int, dialect: Dialect) -> int | None:
    """Where the line end lies that ends the record at `start`; None if it is farther than a record may be long."""
    limit = min(len(block), start + LARGEST_RECORD + 1)
    at = start
    while True:
        if dialect.quote and block.startswith(dialect.quote, at):
            closing = _closing_quote(block, at + 1, dialect.quote, limit)
            if closing < 0:
                return None
            at = closing + 1
        line_end = block.find(dialect.line_end, at, limit)
        separator = block.find(dialect.separator, at, limit if line_end < 0 else line_end)
        if separator < 0:
            return None if line_end < 0 else line_end
        at = separator + 1


def plain_line_count(block: bytes, dialect: Dialect) -> int | None:
    """How many lines, if nothing in the block needs a second look; None if something does.

    The lines may still be ragged or blank, and a line break may still stand inside a well-formed quoted
    field: both make PyArrow's count differ from this one, and then `framed` is called.
    """
    signs = np.frombuffer(block, dtype=np.uint8)
    ends = signs == dialect.line_end[0]
    lines = int(np.count_nonzero(ends))
    if b"\0" in block or b"\x1a" in block or _has_long_line(ends):
        return None
    if not _line_ends_are_plain(block, signs, lines, dialect):
        return None
    if dialect.quote and dialect.quote in block and not _quotes_alternate(signs, ends, dialect):
        return None
    return lines


def _has_long_line(ends: Flags) -> bool:
    """Whether half a field's worth of bytes hold no line end, which every field that is too long does."""
    stretch = LARGEST_FIELD // 2
    whole = len(ends) // stretch
    return not bool(ends[: whole * stretch].reshape(whole, stretch).any(axis=1).all())


def _line_ends_are_plain(block: bytes, signs: npt.NDArray[np.uint8], lines: int, dialect: Dialect) -> bool:
    if dialect.newline == "\r":
        return b"\n" not in block
    if b"\r" not in block:
        return dialect.newline != "\r\n" or lines == 0
    if dialect.newline == "\n":
        return False
    returns = signs == CR
    count = int(np.count_nonzero(returns))
    paired = int(np.count_nonzero(returns[:-1] & (signs[1:] == LF)))
    return count == paired and (dialect.newline is None or paired == lines)


def _quotes_alternate(signs: npt.NDArray[np.uint8], ends: Flags, dialect: Dialect) -> bool:
    """Whether quotes open where a field begins, close where it ends, and are doubled in between."""
    quotes = np.flatnonzero(signs == dialect.quote[0])
    if len(quotes) % 2:
        return False
    opening, closing = quotes[0::2], quotes[1::2]
    first = 1 if opening[0] == 0 else 0
    alternate = bool(
        dialect.before_opening[signs[opening[first:] - 1]].all()
        and dialect.after_closing[signs[closing + 1]].all()
    )
    if not alternate or not dialect.multiline:
        return alternate
    # where line breaks are legal they are common, and it is cheaper to look at once than to parse twice
    return not bool((np.searchsorted(quotes, np.flatnonzero(ends)) % 2).any())


def framed(block: bytes, dialect: Dialect, *, final: bool) -> Framed:
    """Look at every line of `block`, which ends with a line end; `final` when nothing follows it."""
    return _Look(block, dialect, final=final).outcome()


class _Look:
    """One careful look at a block. Offsets are in bytes, line numbers from 0 in the block."""

    def __init__(self, block: bytes, dialect: Dialect, *, final: bool) -> None:
        self.block, self.dialect, self.final = block, dialect, final
        self.signs = np.frombuffer(block, dtype=np.uint8)
        self.ends: Numbers = np.flatnonzero(self.signs == dialect.line_end[0])
        self.begins: Numbers = np.concatenate((np.zeros(1, np.int64), self.ends[:-1] + 1))[: len(self.ends)]
        self.faults: dict[int, Unreadable] = {}
        self.joined: dict[int, int] = {}
        self.stopped_at = len(self.ends)

    def outcome(self) -> Framed:
        self._find_long_lines()
        self._find_foreign_line_ends()
        self._find_bytes_that_are_no_text()
        self._judge_quotes()
        return self._collect()

    # -------------------------------------------------------------- single findings
    def _lines_of(self, places: Numbers) -> list[int]:
        lines: list[int] = np.unique(np.searchsorted(self.ends, places)).tolist()
        return lines

    def _fault(self, lines: list[int], reason: Unreadable) -> None:
        self.faults.update(dict.fromkeys(lines, reason))

    def _find_long_lines(self) -> None:
        long = np.flatnonzero(self.ends - self.begins > LARGEST_FIELD).tolist()
        for line in long:
            if self.ends[line] - self.begins[line] > LARGEST_RECORD:
                self.faults[line] = Unreadable.RECORD_TOO_LONG
            elif walk(self._text(line, line), self.dialect).longest > LARGEST_FIELD:
                self.faults[line] = Unreadable.FIELD_TOO_LONG

    def _find_foreign_line_ends(self) -> None:
        newline, signs = self.dialect.newline, self.signs
        if newline == "\r":
            self._fault(self._lines_of(np.flatnonzero(signs == LF)), Unreadable.OTHER_LINE_END)
            return
        returns = np.flatnonzero(signs == CR)
        stray = returns[signs[np.minimum(returns + 1, len(signs) - 1)] != LF]
        if newline == "\n":
            self._fault(self._lines_of(returns), Unreadable.OTHER_LINE_END)
        elif newline == "\r\n":
            bare = signs[np.maximum(self.ends - 1, 0)] != CR
            self._fault(np.flatnonzero(bare & (self.ends > self.begins)).tolist(), Unreadable.OTHER_LINE_END)
        self._fault(self._lines_of(stray), Unreadable.STRAY_CARRIAGE_RETURN)

    def _find_bytes_that_are_no_text(self) -> None:
        self._fault(self._lines_of(np.flatnonzero(self.signs == 0x1A)), Unreadable.CONTROL_Z)
        self._fault(self._lines_of(np.flatnonzero(self.signs == 0)), Unreadable.NUL_BYTE)
        if not self.block.isascii():
            spans = undecodable_spans(self.block, self.dialect.encoding, self.dialect.line_end)
            places = np.array([place for _, place in spans], dtype=np.int64)
            self._fault(self._lines_of(places), Unreadable.UNDECODABLE)

    # -------------------------------------------------------------- quotes
    def _judge_quotes(self) -> None:
        resume = 0
        for line in self._lines_with_odd_quotes():
            if line < resume:
                continue
            resume = line + 1
            if self.faults.get(line) is not Unreadable.RECORD_TOO_LONG:  # such a line has been shortened
                taken = self._join(line)
                if taken is None:
                    self.stopped_at = line
                    return
                resume = line + taken

    def _lines_with_odd_quotes(self) -> list[int]:
        """Lines whose quotes do not open and close exactly where fields do."""
        if not self.dialect.quote or self.dialect.quote not in self.block:
            return []
        quotes = np.flatnonzero(self.signs == self.dialect.quote[0])
        line_of = np.searchsorted(self.ends, quotes)
        counts = np.bincount(line_of, minlength=len(self.ends))
        rank = np.arange(len(quotes)) - (np.cumsum(counts) - counts)[line_of]
        at_start = quotes == self.begins[line_of]
        opens = at_start | self.dialect.before_opening[self.signs[quotes - 1]]
        closes = self.dialect.after_closing[self.signs[quotes + 1]]
        misplaced = np.where(rank % 2 == 0, ~opens, ~closes)
        odd = (counts % 2).astype(np.bool_)
        odd[line_of[misplaced]] = True
        lines: list[int] = np.flatnonzero(odd).tolist()
        return lines

    def _judge_alone(self, line: int) -> None:
        fault = self._fault_alone(line)
        if fault is not None:
            self.faults.setdefault(line, fault)

    def _fault_alone(self, line: int) -> Unreadable | None:
        """What is wrong with a line that must be a record by itself.

        A quote inside a field that does not begin with one is plain text, as long as they come in pairs:
        a single one is as likely the end of a field that began on an earlier line.
        """
        text = self._text(line, line)
        seen = walk(text, self.dialect)
        if seen.open:
            return Unreadable.LINE_BREAK_IN_QUOTES
        if seen.stray or text.count(self.dialect.quote) % 2:
            return Unreadable.STRAY_QUOTE
        return None

    def _join(self, line: int) -> int | None:
        """How many lines the record at `line` takes; None when it may go on in the next block."""
        if not walk(self._text(line, line), self.dialect).open:
            self._judge_alone(line)
            return 1
        last = self._closing_line(line)
        if last is None:
            return self._join_unclosed(line)
        fault = self._fault_joined(line, last)
        if fault is not None:
            return self._swallow(line, last, fault)
        for absorbed in range(line, last + 1):
            self.faults.pop(absorbed, None)
        self.joined[line] = last - line + 1
        return last - line + 1

    def _join_unclosed(self, line: int) -> int | None:
        """How many lines a quote takes that nothing closes here; None when the next block may close it.

        Only the bytes from the line to the end of the file decide, wherever the blocks are cut.
        """
        if len(self.block) - int(self.begins[line]) > LARGEST_RECORD:
            return self._swallow(line, line, Unreadable.LINE_BREAK_IN_QUOTES)
        if not self.final:
            return None
        return self._swallow(line, len(self.ends) - 1, Unreadable.LINE_BREAK_IN_QUOTES)

    def _swallow(self, first: int, last: int, fault: Unreadable) -> int:
        """Make these lines unreadable, for `fault` where nothing else is wrong; returns how many there are."""
        self.faults |= {line: self.faults.get(line, fault) for line in range(first, last + 1)}
        return last - first + 1

    def _closing_line(self, line: int) -> int | None:
        """The line with whose end the record that begins at `line` ends, if that is in this block."""
        end = record_end(self.block, int(self.begins[line]), self.dialect)
        return None if end is None else int(np.searchsorted(self.ends, end))

    def _fault_joined(self, line: int, last: int) -> Unreadable | None:
        """What is wrong with a record over several lines; whether it is one at all comes first."""
        seen = walk(self._text(line, last), self.dialect)
        if seen.stray:
            return Unreadable.STRAY_QUOTE
        if len(seen.fields) != self.dialect.width or not seen.broken <= self.dialect.multiline:
            return Unreadable.LINE_BREAK_IN_QUOTES
        a_row = max(1, self.dialect.width - 1)
        if any(seen.fields[place].count(self.dialect.separator) >= a_row for place in seen.broken):
            return Unreadable.LINE_BREAK_IN_QUOTES
        hard = {self.faults.get(number) for number in range(line, last + 1)} & _HARD
        if hard:
            return next(reason for reason in Unreadable if reason in hard)
        if seen.longest > LARGEST_FIELD:
            return Unreadable.FIELD_TOO_LONG
        return self._foreign_line_end(seen.bare, last)

    def _foreign_line_end(self, bare: bytes, last: int) -> Unreadable | None:
        """Whether a record over several lines, the `last` one included, has another line end outside its quotes."""
        newline = self.dialect.newline
        if newline == "\r":
            return Unreadable.OTHER_LINE_END if b"\n" in bare else None
        if b"\r" in bare:
            return Unreadable.STRAY_CARRIAGE_RETURN
        has_both = bool(self.signs[self.ends[last] - 1] == CR)
        return Unreadable.OTHER_LINE_END if newline == ("\n" if has_both else "\r\n") else None

    def _text(self, first: int, last: int) -> bytes:
        """Lines `first` to `last` without the final line end."""
        text = self.block[int(self.begins[first]) : int(self.ends[last])]
        return text[:-1] if self.dialect.line_end == b"\n" and text.endswith(b"\r") else text

    # -------------------------------------------------------------- result
    def _collect(self) -> Framed:
        count = self.stopped_at
        lengths = (self.ends - self.begins)[:count]
        if self.dialect.line_end == b"\n":
            lengths = lengths - (self.signs[np.maximum(self.ends[:count] - 1, 0)] == CR) * (lengths > 0)
        starts = lengths > 0
        spans = np.ones(count, dtype=np.int64)
        kept = np.ones(count, dtype=np.bool_)
        for line in self.faults:
            if line < count:
                kept[line] = starts[line] = False
        for line, taken in self.joined.items():
            spans[line], starts[line] = taken, True
            starts[line + 1 : line + taken] = False
        faulty = [Faulty(line, self.faults[line]) for line in sorted(self.faults) if line < count]
        rest = self.block[int(self.begins[count]) :] if count < len(self.begins) else b""
        return Framed(
            content=b"".join(self._kept(kept)),
            starts=np.flatnonzero(starts),
            spans=spans[starts],
            lines=count,
            faulty=faulty,
            rest=rest,
        )

    def _kept(self, kept: Flags) -> Iterator[bytes]:
        edges = np.flatnonzero(np.diff(np.concatenate(([False], kept, [False])).astype(np.int8)))
        for first, after in edges.reshape(-1, 2).tolist():
            yield self.block[int(self.begins[first]) : int(self.ends[after - 1]) + 1]


_HARD = {
    Unreadable.NUL_BYTE, Unreadable.UNDECODABLE, Unreadable.CONTROL_Z, Unreadable.RECORD_TOO_LONG,
    Unreadable.FIELD_TOO_LONG,
}  # fmt: skip
"""Faults that a quoted field does not excuse."""
