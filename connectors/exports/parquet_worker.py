"""Read one Parquet file in a process of its own, so that a crafted file can crash or starve nobody else.

Run as a script by `parquet_reader.py`, isolated (`python -I`), with a bound on its memory. It takes requests
as JSON, one a line, on its standard input and answers in frames on its standard output: one byte for the
kind, eight for the length, then that many bytes. Kinds: `J` JSON, `A` an Arrow IPC stream of one batch, `E` a
refusal (JSON: a message, a cure, and whether the process is spent), `Z` the end. After `E` and `Z` it waits for
the next request. It imports nothing of ours and knows no profile.
"""

from __future__ import annotations

import json
import resource
import struct
import sys
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MOST_MEMORY: Final = 4 << 30
"""Bytes of address space; beyond it the file is refused."""

ROWS_AT_A_TIME: Final = 50_000
STREAM_BUFFER: Final = 1 << 20
LARGEST_FIELD: Final = 65_536

THRIFT_I32: Final = 5
"""The type of a 32-bit integer in Thrift's compact protocol."""

BAD: Final = "__bad"
"""A column of the answer: 0, or why a row is unreadable: 1 no text, 2 a NUL, 3 a field that is too long."""


class RefusalError(Exception):
    """The file cannot be read; the sentence and the cure are shown to people."""

    def __init__(self, message: str, cure: str = "") -> None:
        super().__init__(message)
        self.message, self.cure = message, cure


def answer(request: dict[str, Any], out: IO[bytes]) -> None:
    """Serve one request: `{"url", "read": null | [column, ...], "rows": [number, ...]?}`.

    With `read` null the file is only described; with `rows` only those rows are sent.
    """
    with _opened(request["url"]) as file, _refusing_damage():
        parquet = pq.ParquetFile(
            file,
            pre_buffer=False,
            buffer_size=STREAM_BUFFER,
            page_checksum_verification=True,
            arrow_extensions_enabled=False,
        )
        if request["read"] is None:
            send(out, b"J", json.dumps(_description(parquet, file)).encode())
        else:
            for batch in _batches(parquet, request["read"], request.get("rows")):
                send(out, b"A", _as_ipc(batch))
    send(out, b"Z", b"")


def send(out: IO[bytes], kind: bytes, payload: bytes) -> None:
    """Write one frame."""
    out.write(kind + struct.pack(">Q", len(payload)) + payload)
    out.flush()


@contextmanager
def _opened(url: str) -> Iterator[Any]:
    if "://" not in url:
        with open(url, "rb") as file:  # noqa: PTH123 - nothing else of a path is needed here
            yield file
        return
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(url)
        opened = system.open(path, "rb", block_size=8 << 20)
    except Exception as error:  # noqa: BLE001 - each store has its own exceptions, and their text may hold secrets
        raise RefusalError(
            f"It cannot be read from its store ({type(error).__name__}).", "Check it."
        ) from None
    with opened as file:
        yield file


@contextmanager
def _refusing_damage() -> Iterator[None]:
    """PyArrow's exceptions quote the file; only their kind is passed on."""
    try:
        yield
    except (RefusalError, MemoryError):
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        text = str(error).lower()
        if "encrypt" in text or "decrypt" in text:
            raise RefusalError("It is encrypted.", "Export it without encryption.") from None
        if "crc" in text or "checksum" in text:
            raise RefusalError("A page does not match its checksum.", "Fetch it again.") from None
        raise RefusalError(
            "It is damaged, cut, or written in a way we do not read.", "Export it again."
        ) from None


# ------------------------------------------------------------------ what the file says of itself
def _description(parquet: pq.ParquetFile, file: Any) -> dict[str, Any]:
    schema, metadata = parquet.schema_arrow, parquet.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [
        {
            "name": field.name,
            "kind": _kind(field.type),
            "type": str(field.type),
            "largest": _largest_chunk(groups, field.name),
        }
        for field in schema
    ]
    return {
        "columns": columns,
        "rows": metadata.num_rows,
        "rows_in_groups": sum(group.num_rows for group in groups),
        "has_checksums": _has_checksums(groups, file),
    }


def _kind(type_: pa.DataType) -> str:
    if pa.types.is_dictionary(type_):
        return _kind(type_.value_type) if _is_text(type_.value_type) else "other"
    tests = (
        ("text", _is_text),
        ("integer", pa.types.is_integer),
        ("float", pa.types.is_floating),
        ("boolean", pa.types.is_boolean),
        ("null", pa.types.is_null),
    )
    if pa.types.is_decimal(type_):
        return "integer" if type_.scale == 0 else "decimal"
    return next((kind for kind, is_kind in tests if is_kind(type_)), "other")


def _is_text(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)
    )


def _largest_chunk(groups: list[Any], name: str) -> int:
    """Unpacked bytes of the largest chunk of a column over all row groups."""
    if not groups:
        return 0
    places = [
        place for place in range(groups[0].num_columns) if groups[0].column(place).path_in_schema == name
    ]
    return max(
        (group.column(place).total_uncompressed_size for group in groups for place in places), default=0
    )


def _has_checksums(groups: list[Any], file: Any) -> bool:
    """Whether the first page carries a checksum: field 4 of its header (parquet.thrift, `PageHeader`)."""
    if not groups or not groups[0].num_columns:
        return False
    column = groups[0].column(0)
    start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
    at = file.tell()
    file.seek(start or 0)
    header = file.read(64)
    file.seek(at)
    return _has_field(header, 4)


def _has_field(header: bytes, wanted: int) -> bool:
    """Whether a struct in Thrift's compact protocol, of integers up to `wanted`, has that field."""
    field = at = 0
    while at < len(header):
        delta, type_ = header[at] >> 4, header[at] & 15
        field += delta
        if not delta or type_ != THRIFT_I32:
            return False
        if field >= wanted:
            return field == wanted
        at += 1
        while at < len(header) and header[at] & 0x80:
            at += 1
        at += 1
    return False


# ------------------------------------------------------------------ rows
def _batches(parquet: pq.ParquetFile, columns: list[str], rows: list[int] | None) -> Iterator[pa.RecordBatch]:
    """Every row, or those with these numbers (from 1, sorted)."""
    read = 0
    for batch in parquet.iter_batches(batch_size=ROWS_AT_A_TIME, columns=columns, use_threads=False):
        before, read = read, read + batch.num_rows
        if rows is None:
            yield _as_text(batch, columns)
            continue
        some = rows[bisect_right(rows, before) : bisect_right(rows, read)]
        if some:
            yield _as_text(batch.take(pa.array([row - 1 - before for row in some])), columns)
    if read != parquet.metadata.num_rows:
        raise RefusalError(
            f"It says that it has {parquet.metadata.num_rows} rows, and has {read}.", "Export it again."
        )


def _as_text(batch: pa.RecordBatch, columns: list[str]) -> pa.RecordBatch:
    bad = pa.array([0] * batch.num_rows, pa.uint8())
    texts = []
    for name in columns:
        text, wrong = _column_as_text(batch.column(batch.schema.names.index(name)))
        bad = pc.max_element_wise(bad, wrong)
        texts.append(text)
    return pa.record_batch([*texts, bad], names=[*columns, BAD])


def _column_as_text(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The values as strings, and for each what is wrong with it. Floats become their shortest text."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not _is_text(values.type):
        return _cast(values), pa.array([0] * len(values), pa.uint8())
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return _checked_one_by_one(values)
    text = values.cast(pa.string())
    has_nul = pc.fill_null(pc.match_substring(text, "\0"), fill_value=False)
    is_long = pc.fill_null(pc.greater(pc.binary_length(text), LARGEST_FIELD), fill_value=False)
    wrong = pc.if_else(
        is_long, pa.scalar(3, pa.uint8()), pc.cast(pc.multiply(pc.cast(has_nul, pa.uint8()), 2), "uint8")
    )
    return pc.if_else(pc.equal(wrong, 0), text, pa.scalar(None, pa.string())), wrong


def _cast(values: pa.Array) -> pa.Array:
    try:
        text = values.cast(pa.string())
        return _without_exponents(text) if pa.types.is_decimal(values.type) else text
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # only columns nobody maps have such types
        return pa.array([None if value is None else str(value) for value in values.to_pylist()], pa.string())


def _without_exponents(text: pa.Array) -> pa.Array:
    """Decimals written out: those below a millionth, zero among them, have become `1E-8` and `0E-7`."""
    has_exponent = pc.fill_null(pc.match_substring(text, "E"), fill_value=False)
    if not pc.any(has_exponent).as_py():
        return text
    short = text.filter(has_exponent).dictionary_encode()
    written = pa.array([format(Decimal(one), "f") for one in short.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(text, has_exponent, written.take(short.indices))


def _checked_one_by_one(values: pa.Array) -> tuple[pa.Array, pa.Array]:
    texts: list[str | None] = []
    wrong: list[int] = []
    for stored in values.cast(pa.large_binary()).to_pylist():
        try:
            text = None if stored is None else stored.decode()
        except UnicodeDecodeError:
            texts.append(None)
            wrong.append(1)
            continue
        fault = 0 if text is None else 2 * ("\0" in text) or 3 * (len(stored) > LARGEST_FIELD)
        texts.append(None if fault else text)
        wrong.append(fault)
    return pa.array(texts, pa.string()), pa.array(wrong, pa.uint8())


def _as_ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


def main() -> None:
    """Serve the requests on standard input, one a line, until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for request in sys.stdin.buffer:
        _serve(json.loads(request), sys.stdout.buffer)


def _serve(request: dict[str, Any], out: IO[bytes]) -> None:
    try:
        answer(request, out)
    except RefusalError as refusal:
        told = {"message": refusal.message, "cure": refusal.cure, "spent": False}
    except MemoryError:
        cure = "Write smaller row groups."
        told = {"message": "It needs more memory than a file may.", "cure": cure, "spent": True}
    else:
        return
    send(out, b"E", json.dumps(told).encode())


if __name__ == "__main__":
    main()
