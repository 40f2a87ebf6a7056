"""A stream of bytes as blocks of whole physical lines, whatever the length of a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connectors.exports.encodings import Bytes
from connectors.exports.framing import LARGEST_RECORD
from schemas.errors import ExportError

BLOCK: Final = 1 << 20
"""Bytes read at a time: a megabyte stays in the processor's cache through every look at it."""

LARGEST_FOOTER: Final = 4 << 20


class Blocks:
    """Iterate over blocks that each end with a line end.

    A line longer than a record may be is shortened to one byte more than that: it never fills memory, and
    is found too long by whoever looks at it. A single ^Z after the last line end is the end-of-file mark
    of an old system, and no line.

    Args:
        line_end: the byte that ends a physical line.
        ended: how a whole line ends, which the last line may lack.

    Attributes:
        unterminated: after the iteration, whether the last line had no line end (it is given one).
    """

    def __init__(self, source: Bytes, line_end: bytes, *, ended: bytes) -> None:
        self._source, self._line_end, self._ended = source, line_end, ended
        self.unterminated = False

    def __iter__(self) -> Iterator[bytes]:
        """Every line of the stream exactly once, in order."""
        rest = b""
        while stored := self._source.read(BLOCK):
            cut = stored.rfind(self._line_end) + 1
            if not cut:
                rest = (rest + stored)[: LARGEST_RECORD + 1]
                continue
            yield self._joined(rest, stored[:cut])
            rest = stored[cut:]
        if rest == b"\x1a":
            return
        if rest:
            self.unterminated = True
            begun = len(self._ended) > 1 and rest.endswith(b"\r")
            yield rest + (self._line_end if begun else self._ended)

    def _joined(self, rest: bytes, lines: bytes) -> bytes:
        if len(rest) <= LARGEST_RECORD:
            return rest + lines
        return rest + lines[lines.index(self._line_end) :]


class WithoutFooter:
    """Hold back the last lines of a stream of blocks.

    Attributes:
        footer: after the iteration, the lines held back, without blank ones after them.
    """

    def __init__(self, blocks: Iterator[bytes], count: int, line_end: bytes, name: str) -> None:
        self._blocks, self._count, self._line_end, self._name = blocks, count, line_end, name
        self.footer: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        """Every line but the footer's."""
        if not self._count:
            yield from self._blocks
            return
        held = b""
        for block in self._blocks:
            text = held + block
            cut = self._footer_start(text)
            if cut:
                yield text[:cut]
            held = text[cut:]
            if len(held) > LARGEST_FOOTER:
                raise ExportError(
                    f"{self._name}: the last {self._count} lines are over 4 MB long.",
                    cure="Mend [file] footer_lines, or export the file again.",
                )
        self.footer = held.split(self._line_end)
        while self.footer and not self.footer[-1].strip(b"\r"):
            self.footer.pop()
        if len(self.footer) < self._count:
            raise ExportError(
                f"{self._name} has no footer of {self._count} lines: only {len(self.footer)} follow the header.",
                cure="Mend [file] footer_lines, or export the file again: it may be cut.",
            )

    def _footer_start(self, text: bytes) -> int:
        """Where the last lines begin; blank ones at the very end come on top of the count."""
        at, found = len(text), 0
        while found < self._count and at > 0:
            begin = text.rfind(self._line_end, 0, at - 1) + 1
            found += bool(found or text[begin:at].strip(b"\r\n"))
            at = begin
        return at
