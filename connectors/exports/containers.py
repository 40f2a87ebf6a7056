"""What a file is, told by its first bytes, and the way into gzip, zstd and zip, none of them trusted."""

from __future__ import annotations

import hashlib
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import IO, Final

import pyarrow as pa

from connectors.exports.encodings import Bytes
from schemas.errors import ExportError

HEAD: Final = 8
"""Bytes needed to tell what a file is."""

HARMLESS: Final = 16 << 20
"""Bytes any container may unpack to, whatever the ratio."""

MOST_BYTES: Final = 1 << 40
"""Bytes no container may exceed."""

_DAMAGE: Final = (OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, EOFError, RuntimeError)
"""What unpackers raise at a damaged container, and (`NotImplementedError` among the last) at one packed in a way they
do not know. An `OSError` with a number is the disk's."""


class Container(StrEnum):
    """What the first bytes say."""

    PLAIN = "plain"
    GZIP = "gzip"
    ZSTD = "zstd"
    ZIP = "zip"
    PARQUET = "parquet"
    WORKBOOK = "workbook"


_SIGNS: Final = (
    (b"\x1f\x8b", Container.GZIP),
    (b"\x28\xb5\x2f\xfd", Container.ZSTD),
    (b"PK\x03\x04", Container.ZIP),
    (b"PK\x05\x06", Container.ZIP),
    (b"PAR1", Container.PARQUET),
    (b"PARE", Container.PARQUET),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Container.WORKBOOK),
)


def container_of(head: bytes) -> Container:
    """What a file that begins with `head` is; whatever is not known is plain."""
    return next((kind for sign, kind in _SIGNS if head.startswith(sign)), Container.PLAIN)


class Hashed:
    """A stream that knows how many bytes it gave and their SHA-256; enough of a file for PyArrow."""

    closed = False

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self._digest = hashlib.sha256()
        self.taken = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        stored = self._source.read(size)
        self._digest.update(stored)
        self.taken += len(stored)
        return stored

    def readable(self) -> bool:
        """Always."""
        return True

    def writable(self) -> bool:
        """Never."""
        return False

    def seekable(self) -> bool:
        """Never: every byte is read once."""
        return False

    def tell(self) -> int:
        """Bytes read so far."""
        return self.taken

    def close(self) -> None:
        """Leave the source to whoever opened it."""

    def hexdigest(self) -> str:
        """SHA-256 of the bytes given so far."""
        return self._digest.hexdigest()


class Unpacked:
    """A container's content, never more than `expansion` times its size."""

    def __init__(self, content: Bytes, stored: Hashed | int, expansion: float, name: str) -> None:
        self._content, self._stored, self._expansion, self._name = content, stored, expansion, name
        self._given = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes.

        Raises:
            ExportError: the container is damaged or cut, or unpacks to suspiciously much.
        """
        try:
            text = bytes(self._content.read(size))
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ExportError(
                f"{self._name} cannot be unpacked: it is cut or damaged.", cure="Fetch or export it again."
            ) from None
        self._given += len(text)
        stored = self._stored if isinstance(self._stored, int) else self._stored.taken
        allowed = min(max(HARMLESS, stored * self._expansion), MOST_BYTES)
        if self._given > allowed:
            raise ExportError(
                f"{self._name} unpacks to more than {allowed:.0f} bytes, out of {stored}.",
                cure="If that is right, raise [guards] expansion.",
            )
        return text


@contextmanager
def unpacked(
    file: IO[bytes], *, kind: Container, size: int, member: str | None, expansion: float, name: str
) -> Iterator[tuple[Bytes, Hashed | None]]:
    """The content of an open file, and the hash of the stored bytes where they are read in order.

    Args:
        file: open at its start; seekable when it is a zip.
        kind: what the file is, from `container_of`.
        size: of the file, in bytes.
        member: `[file] member`.
        expansion: `[guards] expansion`.
        name: of the export, for messages.
    """
    with ExitStack() as stack:
        if kind is Container.ZIP:
            entry = stack.enter_context(_zip_entry(file, member, name))
            yield Unpacked(entry, size, expansion, name), None
            return
        hashed = Hashed(file)
        if kind is Container.PLAIN:
            yield hashed, hashed
            return
        stream = pa.CompressedInputStream(pa.PythonFile(hashed, mode="r"), kind.value)
        stack.callback(stream.close)
        yield Unpacked(stream, hashed, expansion, name), hashed


def opened_zip(file: IO[bytes], name: str) -> zipfile.ZipFile:
    """The zip in an open file.

    Raises:
        ExportError: its list of entries is cut, damaged, or of a version we do not know.
    """
    try:
        return zipfile.ZipFile(file)
    except (*_DAMAGE, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ExportError(f"{name} is a cut or damaged zip.", cure="Fetch or export it again.") from None


@contextmanager
def _zip_entry(file: IO[bytes], member: str | None, name: str) -> Iterator[Bytes]:
    with opened_zip(file, name) as archive:
        chosen = _chosen(archive.infolist(), member, name)
        try:
            entry = archive.open(chosen)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError):
            raise ExportError(
                f"{name}: its entry cannot be opened: damaged, or packed in a way we do not read.",
                cure="Pack it again as an ordinary zip.",
            ) from None
        with entry:
            yield entry


def _chosen(entries: list[zipfile.ZipInfo], member: str | None, name: str) -> zipfile.ZipInfo:
    files = [entry for entry in entries if not entry.is_dir()]
    if any(entry.filename == "[Content_Types].xml" for entry in files):
        raise workbook(name)
    named = [entry for entry in files if member is None or entry.filename == member]
    if len(named) != 1:
        what = f"{len(named)} entries of that name" if member else f"{len(named)} files"
        raise ExportError(
            f"{name} is a zip of {what}; it must be one.",
            cure="Name the entry in [file] member, or pack one file.",
        )
    entry = named[0]
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise ExportError(f"{name}: its entry is a link.", cure="Pack the file itself.")
    if entry.flag_bits & 1:
        raise ExportError(f"{name} is encrypted.", cure="Unpack it before, or pack it without a password.")
    return entry


def workbook(name: str) -> ExportError:
    """The error for a spreadsheet given as an export."""
    return ExportError(
        f"{name} is a spreadsheet workbook, not a CSV.",
        cure="Export CSV from the source system; a spreadsheet has most likely damaged long ids already.",
    )
