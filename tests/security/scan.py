"""Look for texts in whatever a process left behind, in every spelling and inside every container."""

from __future__ import annotations

import base64
import gzip
import html
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from io import BytesIO
from pathlib import Path
from shutil import copy2
from urllib.parse import quote

import polars as pl
import pyarrow as pa


def spellings(text: str) -> dict[str, bytes]:
    """A text as the bytes it may lie about in."""
    plain = text.encode()
    found = {
        "plain": plain,
        "latin-1": text.encode("latin-1", "ignore"),
        "url": quote(text, safe="").encode(),
        "url, lower case": quote(text, safe="").lower().encode(),
        "hex": plain.hex().encode(),
        "hex, upper case": plain.hex().upper().encode(),
        "utf-16-le": text.encode("utf-16-le"),
        "utf-16-be": text.encode("utf-16-be"),
        "json": json.dumps(text)[1:-1].encode(),
        "html": html.escape(text).encode(),
    }
    for offset in range(3):  # base64 depends on where the text begins; its ends depend on the neighbours
        encoded = base64.b64encode(b"\0" * offset + plain).rstrip(b"=")
        found[f"base64 at {offset}"] = encoded[(0, 2, 3)[offset] : -1]
        found[f"base64 for urls at {offset}"] = encoded[(0, 2, 3)[offset] : -1].translate(
            bytes.maketrans(b"+/", b"-_")
        )
    return found


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what is compressed in it."""
    raw = path.read_bytes()
    yield raw
    if path.name.endswith(("-wal", "-shm")):
        return  # read with its database
    if raw.startswith(b"SQLite format 3\0"):
        yield from _values(path)
    else:
        yield from _unpacked(raw)


def _unpacked(raw: bytes) -> Iterator[bytes]:
    if raw.startswith(b"PAR1"):
        yield _text(pl.read_parquet(BytesIO(raw)))
    elif raw.startswith(b"ARROW1"):
        yield _text(pl.read_ipc(BytesIO(raw)))
    elif raw.startswith(b"\xff\xff\xff\xff"):
        yield _text(pl.read_ipc_stream(BytesIO(raw)))
    elif raw.startswith(b"\x1f\x8b"):
        yield gzip.decompress(raw)
    elif raw.startswith(b"\x28\xb5\x2f\xfd"):
        yield from _unpacked(pa.CompressedInputStream(pa.BufferReader(raw), "zstd").read())


def _text(frame: pl.DataFrame) -> bytes:
    return json.dumps(frame.to_dict(as_series=False), default=str, ensure_ascii=False).encode()


def _values(path: Path) -> Iterator[bytes]:
    """Every value of a database, with what its write-ahead log adds, read from a copy."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "copy.sqlite"
        copy2(path, copied)
        wal = path.with_name(path.name + "-wal")
        if wal.exists():
            copy2(wal, copied.with_name("copy.sqlite-wal"))
        with closing(sqlite3.connect(copied)) as database:
            tables = [
                name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type='table'")
            ]
            for table in tables:
                for row in database.execute(f'SELECT * FROM "{table}"'):
                    for value in row:
                        if isinstance(value, bytes):
                            yield value
                            yield from _unpacked(value)
                        elif isinstance(value, str):
                            yield value.encode()


def found_in(pieces: Iterable[bytes], texts: Mapping[str, str]) -> set[str]:
    """Names of the texts that are in some bytes, in any spelling."""
    wanted = {name: {*spellings(text).values()} - {b""} for name, text in texts.items()}
    return {
        name for piece in pieces for name, forms in wanted.items() if any(form in piece for form in forms)
    }


def spots(folder: Path, texts: Mapping[str, str]) -> set[tuple[str, str]]:
    """(file, name of the text) of everything found below a folder, in names of files too."""
    found = set()
    wanted = {name: {*spellings(text).values()} - {b""} for name, text in texts.items()}
    for path in sorted(folder.rglob("*")):
        pieces = [str(path.relative_to(folder)).encode()]
        if path.is_file():
            pieces += contents(path)
        for piece in pieces:
            found |= {
                (path.relative_to(folder).as_posix(), name)
                for name, forms in wanted.items()
                if any(form in piece for form in forms)
            }
    return found
