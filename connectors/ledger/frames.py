"""Frames as bytes in the ledger: compact, typed, and without any customer value but ids and digests."""

from __future__ import annotations

from io import BytesIO

import polars as pl
import pyarrow as pa

from schemas.errors import StorageError

_FILE_FORMAT = b"ARROW1"
"""How pages of schema version 1 begin, which were written in the file format."""
_ZSTD = b"\x28\xb5\x2f\xfd"
"""How pages begin since schema version 5 (RFC 8878, 3.1.1); those between are bare Arrow streams."""
_CODEC = pa.Codec("zstd", 1)


def to_bytes(frame: pl.DataFrame) -> bytes:
    """A frame as an Arrow IPC stream, compressed as one: column by column, without string views, costs twice that."""
    return packed(to_stream(frame))


def to_stream(frame: pl.DataFrame) -> bytes:
    """A frame as a bare Arrow IPC stream; the first half of `to_bytes`."""
    buffer = BytesIO()
    frame.write_ipc_stream(buffer, compression="uncompressed")
    return buffer.getvalue()


def packed(stream: bytes) -> bytes:
    """The other half of `to_bytes`. Other threads of Python go on meanwhile."""
    page: bytes = _CODEC.compress(stream, asbytes=True)
    return page


def from_bytes(page: bytes) -> pl.DataFrame:
    """The frame that `to_bytes` wrote, today or in any schema version before.

    Raises:
        StorageError: the bytes are not a frame; the ledger is damaged.
    """
    try:
        if page.startswith(_ZSTD):
            return pl.read_ipc_stream(pa.CompressedInputStream(pa.BufferReader(page), "zstd").read())
        read = pl.read_ipc if page.startswith(_FILE_FORMAT) else pl.read_ipc_stream
        return read(BytesIO(page))
    except (pl.exceptions.PolarsError, OSError, pa.ArrowException) as error:
        raise StorageError(
            "The ledger holds a page that cannot be read.",
            cure="Restore the ledger from its backup, or rebuild it with `meterfeed adopt`.",
        ) from error
