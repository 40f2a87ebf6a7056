"""Byte order marks, UTF-16 turned into UTF-8 before it is cut into lines, and bytes that are no text."""

from __future__ import annotations

import codecs
from typing import Final, Protocol

from schemas.errors import ExportError

MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
"""Byte order marks, the longer of two that begin alike first."""

SAMPLE: Final = 4096
"""Bytes at the start of a file that are looked at for NULs."""


class Bytes(Protocol):
    """Anything that hands out bytes in order."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


def is_wide(encoding: str) -> bool:
    """Whether a plain line end takes more than one byte, so that the file is converted before it is cut."""
    return encoding.startswith(("utf-16", "utf-32"))


def marked(head: bytes) -> str | None:
    """The encoding a byte order mark announces, or None."""
    return next((encoding for mark, encoding in MARKS if head.startswith(mark)), None)


def check_start(head: bytes, encoding: str, name: str) -> int:
    """How many bytes of byte order mark to skip.

    Args:
        head: the first bytes of the unpacked file, `SAMPLE` of them where there are so many.
        encoding: as declared, one of `schemas.profile.ENCODINGS`.
        name: of the export, for messages.

    Raises:
        ExportError: the mark, or the share of NULs, says that the file is in another encoding.
    """
    found = marked(head)
    if found is None:
        return _check_unmarked(head, encoding, name)
    if found == "utf-8" and encoding == "utf-8":
        return len(codecs.BOM_UTF8)
    if found == encoding:
        return 0  # the decoder needs the mark to tell the byte order
    if encoding.startswith(found + "-") and head.startswith(_mark_of(encoding)):
        return len(_mark_of(encoding))
    raise ExportError(
        f"{name} begins with the byte order mark of {found}, but the profile says {encoding} (line 1, byte 0).",
        cure=f'Set [file] encoding = "{found}".',
    )


def _mark_of(encoding: str) -> bytes:
    return codecs.BOM_UTF16_LE if encoding.endswith("-le") else codecs.BOM_UTF16_BE


def _check_unmarked(head: bytes, encoding: str, name: str) -> int:
    nuls = head.count(b"\0")
    if encoding in ("utf-16", "utf-32"):
        raise ExportError(
            f"{name} has no byte order mark, so {encoding} does not tell its byte order (line 1, byte 0).",
            cure='Set [file] encoding to "utf-16-le" or "utf-16-be", or to what the file really is.',
        )
    if is_wide(encoding) and head and not nuls:
        raise ExportError(
            f"{name} is not {encoding}: its first {len(head)} bytes hold no NUL.",
            cure='Set [file] encoding to what the file is, usually "utf-8" or "cp1252".',
        )
    if not is_wide(encoding) and nuls * 4 > len(head):
        order = "le" if head[1:2] == b"\0" else "be"
        raise ExportError(
            f"{name} is not {encoding}: it is full of NUL bytes, as UTF-16 is (the first at byte {head.index(0)}).",
            cure=f'Set [file] encoding = "utf-16-{order}".',
        )
    return 0


class Widened:
    """A UTF-16 or UTF-32 stream, read as UTF-8.

    Raises:
        ExportError: by `read`, at bytes that are no text in the encoding; they cannot be set aside alone,
            for what follows may be half a character off.
    """

    def __init__(self, source: Bytes, encoding: str, name: str) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._encoding, self._name = encoding, name
        self._taken = 0
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """Some UTF-8, whole characters; empty at the end."""
        while not self._ended:
            stored = self._source.read(size)
            self._ended = not stored
            try:
                text = self._decoder.decode(stored, final=self._ended).encode()
            except (UnicodeDecodeError, UnicodeEncodeError) as error:
                offset = self._taken + (error.start if isinstance(error, UnicodeDecodeError) else 0)
                raise ExportError(
                    f"{self._name} is not {self._encoding}: near byte {offset} there is no text.",
                    cure="Set [file] encoding to what the file is, or export it again.",
                ) from None
            self._taken += len(stored)
            if text:
                return text
        return b""


def undecodable_spans(text: bytes, encoding: str, line_end: bytes) -> list[tuple[int, int]]:
    """Where the lines lie that are no text: (start of the line, byte offset of the first wrong byte in it)."""
    wrong: list[tuple[int, int]] = []
    view, at = memoryview(text), 0
    while at < len(text):
        try:
            str(view[at:], encoding)
        except UnicodeDecodeError as error:
            first = at + error.start
            wrong.append((text.rfind(line_end, 0, first) + 1, first))
            end = text.find(line_end, first)
            at = len(text) if end < 0 else end + 1
        else:
            break
    return wrong
