"""PQ: Parquet that is cut, flipped, lying, of the wrong types, or no Parquet at all."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.corpus.case import Case, cells, csv_of, gsrn, numbered, rows

PARQUET: dict[str, Any] = {"file": {"format": "parquet", "separator": ",", "decimal": ".", "multiline": []}}
ROWS = 50
ANY = frozenset[str]()


def table(count: int = ROWS, **columns: pa.Array | pa.ChunkedArray | None) -> pa.Table:
    """Good rows: text, with doubles for coordinates. Columns are replaced by name; None leaves one out."""
    lines = [cells(number) for number in range(1, count + 1)]
    made: dict[str, Any] = {name: pa.array([line[name] for line in lines], pa.string()) for name in lines[0]}
    for name in ("Breddegrad", "Lengdegrad"):
        made[name] = pa.array([float(line[name].replace(",", ".")) for line in lines])
    for name, values in columns.items():
        if values is None:
            del made[name]
        else:
            made[name] = values
    return pa.table(made)


def parquet(content: pa.Table | None = None, **how: Any) -> bytes:
    """A table as a file in memory, with page checksums."""
    sink = io.BytesIO()
    pq.write_table(table() if content is None else content, sink, **{"write_page_checksum": True} | how)
    return sink.getvalue()


GOOD = parquet()
FOOTER = int.from_bytes(GOOD[-8:-4], "little") + 8


def case(name: str, fault: str, content: bytes | Callable[[], bytes], **expected: Any) -> Case:
    """A case with the Parquet profile."""
    from tests.corpus.case import merged

    profile = merged(PARQUET, expected.pop("profile", {}))
    return Case(
        name=name, fault=fault, content=content, profile=profile, file_name="kunder.parquet", **expected
    )


def _shapes() -> Iterator[Case]:
    size = len(GOOD)
    for percent in (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99):
        yield case(f"cut at {percent} %", "PQ1", GOOD[: size * percent // 100], refused=())
    for missing in (1, 4, 8, FOOTER):
        yield case(f"without its last {missing} bytes", "PQ1", GOOD[:-missing], refused=())
    yield case("without its first magic", "PQ1", GOOD[4:], refused=())
    yield case("first magic wrong", "PQ1", b"PAR2" + GOOD[4:], refused=())
    yield case("last magic wrong", "PQ1", GOOD[:-4] + b"PAR2", refused=())
    yield case("footer of zeros", "PQ1", GOOD[:-FOOTER] + bytes(FOOTER - 8) + GOOD[-8:], refused=())
    for name, length in (
        ("giant", 0x7FFFFFFF),
        ("negative", 0xFFFFFFFF),
        ("zero", 0),
        ("one byte short", FOOTER - 9),
        ("whole file", size),
    ):
        lying = GOOD[:-8] + length.to_bytes(4, "little") + b"PAR1"
        yield case(f"footer length {name}", "PQ1", lying, refused=())
    yield case("magic and nothing", "PQ1", b"PAR1PAR1", refused=())
    yield case("four bytes", "PQ1", b"PAR1", refused=())
    yield case("junk behind it", "PQ1", GOOD + b"junk", refused=())
    yield case("two files joined", "PQ1", GOOD + GOOD, refused=None, rows=ROWS, may_be_refused=True)
    yield case("CSV under .parquet with a Parquet profile", "PQ1", csv_of(rows(3)), refused=())
    yield case("nothing", "PQ1", b"", refused=())
    chance = random.Random(1)
    for number in range(6):
        noise = b"PAR1" + chance.randbytes(400) + (390).to_bytes(4, "little") + b"PAR1"
        yield case(f"noise {number}", "PQ8", noise, refused=())
    for number in range(10):
        start = chance.randrange(size - FOOTER, size - 8)
        broken = bytearray(GOOD)
        broken[start : start + 4] = chance.randbytes(4)
        yield case(
            f"noise in the footer {number}",
            "PQ8",
            bytes(broken),
            rows=ROWS,
            may_be_refused=True,
            loose=ALL_LOOSE,
        )


ALL_LOOSE = {
    line: frozenset({"valid", "quarantined", "unreadable", "filtered"}) for line in range(2, ROWS + 2)
}
"""Nothing but the number of rows is said."""


def _flips() -> Iterator[Case]:
    for compression in ("none", "snappy", "zstd"):
        content = parquet(compression=compression, use_dictionary=False)
        pages = _data_pages(content)
        chance = random.Random(compression)
        for number in range(5):
            start, end = chance.choice(pages)
            place, bit = chance.randrange(start, end), chance.randrange(8)
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            yield case(f"bit {number} flipped in a page, {compression}", "PQ2", bytes(flipped), refused=())
    unchecked = parquet(write_page_checksum=False, use_dictionary=False, compression="none")
    place = unchecked.index(gsrn(7).encode()) + 17
    flipped = bytearray(unchecked)
    flipped[place] ^= 1
    yield case(
        "a digit flipped where pages have no checksum",
        "PQ2",
        bytes(flipped),
        rows=ROWS,
        quarantined={8: ANY},
    )


def _data_pages(content: bytes) -> list[tuple[int, int]]:
    """Where the values of the mapped columns lie: from behind a page's header to the end of its chunk."""
    metadata = pq.read_metadata(io.BytesIO(content))
    mapped = {"Kundenr", "Anlegg", "MålepunktID", "Breddegrad"}
    found = []
    for number in range(metadata.num_columns):
        chunk = metadata.row_group(0).column(number)
        if chunk.path_in_schema in mapped:
            end = chunk.data_page_offset + chunk.total_compressed_size
            found.append((chunk.data_page_offset + (end - chunk.data_page_offset) // 2, end))
    return found


def _id_numbers() -> list[int]:
    return [int(gsrn(number)) for number in range(1, ROWS + 1)]


def _types() -> Iterator[Case]:
    numbers = _id_numbers()
    texts = [str(number) for number in numbers]
    good: dict[str, pa.Array] = {
        "int64": pa.array(numbers, pa.int64()),
        "uint64": pa.array(numbers, pa.uint64()),
        "large text": pa.array(texts, pa.large_string()),
        "a dictionary of text": pa.array(texts).dictionary_encode(),
        "a dictionary of large text": pa.array(texts, pa.large_string()).dictionary_encode(),
        "text in views": pa.array(texts, pa.string_view()),
    }
    for name, values in good.items():
        yield case(
            f"meter points as {name}",
            "PQ3",
            lambda values=values: parquet(table(MålepunktID=values)),
            rows=ROWS,
        )
    bad: dict[str, pa.Array] = {
        "float64": pa.array([float(number) for number in numbers]),
        "float32": pa.array([float(number) for number in numbers], pa.float32()),
        "float16": pa.array([1.0] * ROWS, pa.float16()),
        "booleans": pa.array([True] * ROWS),
        "timestamps": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * ROWS),
        "dates": pa.array([dt.date(2026, 1, 1)] * ROWS),
        "times": pa.array([dt.time(12)] * ROWS),
        "durations": pa.array([dt.timedelta(1)] * ROWS),
        "bytes": pa.array([text.encode() for text in texts], pa.binary()),
        "bytes of fixed width": pa.array([text.encode() for text in texts], pa.binary(18)),
        "lists of text": pa.array([[text] for text in texts]),
        "structs": pa.array([{"id": text} for text in texts]),
        "maps": pa.array([[(text, text)] for text in texts], pa.map_(pa.string(), pa.string())),
        "decimals with a fraction": pa.array(
            [decimal.Decimal(number) for number in numbers], pa.decimal128(20, 2)
        ),
        "a dictionary of floats": pa.array([float(number) for number in numbers]).dictionary_encode(),
    }
    for name, values in bad.items():
        yield case(
            f"meter points as {name}",
            "PQ3",
            lambda values=values: parquet(table(MålepunktID=values)),
            refused=("MålepunktID",),
        )
    for header in ("Kundenr", "Anlegg"):
        floats = pa.array([float(number) for number in range(1, ROWS + 1)])
        yield case(f"{header} as float64", "PQ3", parquet(table(**{header: floats})), refused=(header,))
        structs = pa.array([{"id": str(number)} for number in range(ROWS)])
        yield case(f"{header} as structs", "PQ3", parquet(table(**{header: structs})), refused=(header,))
        ints = pa.array(range(1, ROWS + 1), pa.int32())
        yield case(f"{header} as int32", "PQ3", parquet(table(**{header: ints})), rows=ROWS)
    either: dict[str, pa.Array] = {
        "decimals without a fraction": pa.array(
            [decimal.Decimal(number) for number in numbers], pa.decimal128(18, 0)
        ),
        "a dictionary of int64": pa.array(numbers).dictionary_encode(),
    }
    for name, values in either.items():
        yield case(
            f"meter points as {name}",
            "PQ3",
            lambda values=values: parquet(table(MålepunktID=values)),
            rows=ROWS,
            may_be_refused=True,
        )
    narrow = pa.array([1] * ROWS, pa.int8())
    yield case(
        "meter points as int8",
        "PQ3",
        parquet(table(MålepunktID=narrow)),
        rows=ROWS,
        may_be_refused=True,
        quarantined=dict.fromkeys(range(2, ROWS + 2), ANY),
    )
    nulls = pa.nulls(ROWS)
    yield case(
        "meter points all null, typed so",
        "PQ3",
        parquet(table(MålepunktID=nulls)),
        rows=ROWS,
        may_be_refused=True,
    )
    no_users = dict.fromkeys(range(2, ROWS + 2), ANY)
    nobody = parquet(table(Kundenr=pa.nulls(ROWS, pa.string())))
    yield case("customers all null", "PQ3", nobody, rows=ROWS, may_be_refused=True, quarantined=no_users)


def _coordinate_types() -> Iterator[Case]:
    degrees = [float(cells(number)["Breddegrad"].replace(",", ".")) for number in range(1, ROWS + 1)]
    for name, values in {
        "float32": pa.array(degrees, pa.float32()),
        "text with a point": pa.array([str(value) for value in degrees]),
        "decimals": pa.array([decimal.Decimal(str(value)) for value in degrees], pa.decimal128(10, 5)),
    }.items():
        yield case(
            f"latitudes as {name}",
            "PQ3",
            parquet(table(Breddegrad=values)),
            rows=ROWS,
            may_be_refused=name == "decimals",
        )
    comma = pa.array([str(value).replace(".", ",") for value in degrees])
    profile = {"file": {"decimal": ",", "separator": ";"}}
    yield case(
        "latitudes as text with a comma",
        "PQ3",
        parquet(table(Breddegrad=comma)),
        profile=profile,
        rows=ROWS,
        may_be_refused=True,
    )
    for name, values in {
        "booleans": pa.array([True] * ROWS),
        "timestamps": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * ROWS),
        "lists": pa.array([[value] for value in degrees]),
        "bytes": pa.array([b"60"] * ROWS),
    }.items():
        yield case(f"latitudes as {name}", "PQ3", parquet(table(Breddegrad=values)), refused=("Breddegrad",))
    for name, value in {
        "NaN": float("nan"),
        "infinity": float("inf"),
        "minus zero": -0.0,
        "no number": None,
        "the largest double": 1.7e308,
    }.items():
        odd = pa.array([*degrees[:-1], value])
        yield case(
            f"a latitude that is {name}",
            "VA4",
            parquet(table(Breddegrad=odd)),
            rows=ROWS,
            quarantined={ROWS + 1: ANY},
        )
    small = pa.array([*degrees[:-1], 1e-7])
    yield case(
        "a latitude written with an exponent",
        "VA4",
        parquet(table(Breddegrad=small)),
        rows=ROWS,
        quarantined={ROWS + 1: ANY},
    )
    long = pa.array([*degrees[:-1], 60.100000000000001])
    yield case(
        "a latitude of many digits",
        "VA4",
        parquet(table(Breddegrad=long)),
        rows=ROWS,
        loose={ROWS + 1: frozenset({"valid"})},
    )


def _texts() -> Iterator[Case]:
    texts: list[str | None] = [gsrn(number) for number in range(1, ROWS + 1)]

    def last(value: str | None) -> pa.Array:
        return pa.array([*texts[:-1], value])

    end = ROWS + 1
    for name, value in {
        "17 digits": gsrn(ROWS)[:-1],
        "a NUL": gsrn(ROWS) + "\0",
        "a line break": gsrn(ROWS) + "\n",
        "an exponent": "7.07058E+17",
    }.items():
        loose = frozenset({"quarantined", "unreadable"})
        yield case(
            f"a meter point with {name}",
            "VA1",
            parquet(table(MålepunktID=last(value))),
            rows=ROWS,
            loose={end: loose},
        )
    yield case("a meter point that is null", "VA1", parquet(table(MålepunktID=last(None))), rows=ROWS)
    yield case("a meter point that is empty", "VA1", parquet(table(MålepunktID=last(""))), rows=ROWS)
    users = [cells(number)["Kundenr"] for number in range(1, ROWS + 1)]
    yield case(
        "a customer that is null",
        "VA3",
        parquet(table(Kundenr=pa.array([*users[:-1], None]))),
        rows=ROWS,
        quarantined={end: ANY},
    )
    bad_text = pa.array([*(user.encode() for user in users[:-1]), b"\xff\xfe"], pa.binary()).view(pa.string())
    yield case(
        "a customer that is no UTF-8",
        "CS3",
        parquet(table(Kundenr=bad_text)),
        rows=ROWS,
        may_be_refused=True,
        loose={end: frozenset({"unreadable", "quarantined"})},
    )
    long = pa.array([*users[:-1], "x" * 200_000])
    yield case(
        "a customer of 200 kB",
        "CS9",
        parquet(table(Kundenr=long)),
        rows=ROWS,
        loose={end: frozenset({"unreadable", "quarantined"})},
    )
    closed = pa.array(["Aktiv"] * (ROWS - 1) + ["Avsluttet"])
    yield case("a closed point", "VA1", parquet(table(Status=closed)), rows=ROWS, filtered=frozenset({end}))


def _groups() -> Iterator[Case]:
    many = table(2_000)
    yield case("a row group for each row", "PQ4", lambda: parquet(many, row_group_size=1), rows=2_000)
    yield case("a row group for every seven rows", "PQ4", lambda: parquet(many, row_group_size=7), rows=2_000)
    yield case("tiny pages", "PQ4", lambda: parquet(many, data_page_size=64, write_batch_size=8), rows=2_000)
    yield case("pages of the second version", "PQ4", lambda: parquet(data_page_version="2.0"), rows=ROWS)
    for codec in ("none", "gzip", "brotli", "lz4", "zstd", "snappy"):
        yield case(f"{codec} compression", "PQ4", lambda codec=codec: parquet(compression=codec), rows=ROWS)
    for version in ("1.0", "2.4", "2.6"):
        yield case(
            f"format version {version}", "PQ4", lambda version=version: parquet(version=version), rows=ROWS
        )
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table().schema, write_page_checksum=True) as writer:
        writer.write_table(table())
        writer.write_table(table().slice(0, 0))
        writer.write_table(table().slice(0, 0))
    yield case("empty row groups", "PQ4", sink.getvalue(), rows=ROWS)
    yield case("no rows", "PQ4", parquet(table().slice(0, 0)), refused=())
    yield case("no rows and no columns", "PQ4", parquet(pa.table({})), refused=())


def _bombs() -> Iterator[Case]:
    def remark(size: int) -> bytes:
        blown = pa.array(["x" * size] * ROWS)
        return parquet(table(Merknad=blown), compression="zstd", use_dictionary=False)

    def keys() -> bytes:
        blown = pa.array(["K" * 60_000] * 2_000)
        return parquet(table(2_000, Kundenr=blown), compression="zstd", use_dictionary=False)

    loose = {line: frozenset({"valid", "quarantined", "unreadable"}) for line in range(2, ROWS + 2)}
    yield case(
        "a remark of a megabyte in each row",
        "PQ5",
        lambda: remark(1_000_000),
        rows=ROWS,
        may_be_refused=True,
        loose=loose,
    )
    yield case("a customer number of 60 kB in each of 2000 rows", "PQ5", keys, refused=())
    for name, told in (("more", 60), ("fewer", 40)):
        yield case(f"row counts that tell {name}", "PQ5", _lying(told), rows=ROWS, may_be_refused=True)


def _lying(told: int) -> bytes:
    """The good file with another number of rows in its footer, which are zigzag numbers of one byte."""
    footer = bytearray(GOOD[-FOOTER:])
    place = footer.index(bytes([2 * ROWS]))
    footer[place] = 2 * told
    return GOOD[:-FOOTER] + bytes(footer)


def _columns() -> Iterator[Case]:
    yield case("a mapped column missing", "PQ3", parquet(table(MålepunktID=None)), refused=("MålepunktID",))
    yield case("the customer column missing", "PQ3", parquet(table(Kundenr=None)), refused=("Kundenr",))
    whole = table()
    twice = pa.Table.from_arrays([*whole.columns, whole["Kundenr"]], names=[*whole.column_names, "Kundenr"])
    yield case("a mapped column twice", "PQ3", parquet(twice), refused=("Kundenr",))
    spare = pa.Table.from_arrays([*whole.columns, whole["Merknad"]], names=[*whole.column_names, "Merknad"])
    yield case("an unmapped column twice", "PQ3", parquet(spare), rows=ROWS, may_be_refused=True)
    upper = whole.rename_columns([name.upper() for name in whole.column_names])
    yield case("columns in capitals", "PQ3", parquet(upper), refused=())
    folded = {"file": {"header": "folded"}}
    yield case("columns in capitals, folded", "PQ3", parquet(upper), profile=folded, rows=ROWS)
    order = whole.select(list(reversed(whole.column_names)))
    yield case("columns in another order", "PQ3", parquet(order), rows=ROWS)
    extra = whole.append_column("Fødselsnummer", pa.array([{"a": [1]}] * ROWS))
    yield case("an unmapped column of a strange type", "PQ3", parquet(extra), rows=ROWS)
    floats = whole.append_column("Forbruk", pa.array([1.5] * ROWS))
    yield case("an unmapped column of doubles", "PQ3", parquet(floats), rows=ROWS)
    nested = pa.table({"rad": whole.to_struct_array()})
    yield case("everything inside one struct", "PQ3", parquet(nested), refused=())
    wide = whole
    for number in range(600):
        wide = wide.append_column(f"x{number}", pa.nulls(ROWS, pa.string()))
    yield case("609 columns", "CS9", lambda: parquet(wide), rows=ROWS, may_be_refused=True)
    index = whole.replace_schema_metadata({"pandas": '{"index_columns": ["__index_level_0__"]}'})
    yield case("a data frame's metadata", "PQ3", parquet(index), rows=ROWS)
    lie = whole.replace_schema_metadata({"ARROW:schema": "bm90IGEgc2NoZW1h"})
    yield case("a stored schema that is none", "PQ6", parquet(lie), rows=ROWS, may_be_refused=True)


def _closed() -> Iterator[Case]:
    yield case("an encrypted footer", "PQ6", GOOD[:-4] + b"PARE", refused=())
    yield case("encrypted at both ends", "PQ6", b"PARE" + GOOD[4:-4] + b"PARE", refused=())
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)] * ROWS, pa.binary(16)))
    yield case("meter points as UUIDs", "PQ6", parquet(table(MålepunktID=uuids)), refused=("MålepunktID",))
    json = pa.ExtensionArray.from_storage(pa.json_(), pa.array([f'"{gsrn(1)}"'] * ROWS))
    yield case("meter points as JSON", "PQ6", parquet(table(MålepunktID=json)), refused=("MålepunktID",))
    codec = bytearray(GOOD)
    footer = GOOD[-FOOTER:]
    name = b"Kundenr"
    place = len(GOOD) - FOOTER + footer.index(name + b"\x15\x02") + len(name) + 1
    codec[place] = 2 * 40
    yield case("an unknown compression", "PQ6", bytes(codec), refused=())


def _folders() -> Iterator[Case]:
    def folder(*files: tuple[str, bytes]) -> Callable[[Path], Path]:
        def place(path: Path) -> Path:
            inbox = path / "kunder.parquet"
            inbox.mkdir()
            for name, content in files:
                (inbox / name).write_bytes(content)
            return inbox

        return place

    other = parquet(table(MålepunktID=pa.array(_id_numbers())))
    for name, files in {
        "a folder of two schemas": (("a.parquet", GOOD), ("b.parquet", other)),
        "a folder of one file": (("a.parquet", GOOD),),
        "a folder with a mark of success": (("a.parquet", GOOD), ("_SUCCESS", b"")),
        "an empty folder": (),
    }.items():
        yield Case(
            name=name,
            fault="PQ7",
            place=folder(*files),
            profile=PARQUET,
            rows=ROWS * len([file for file, _ in files if file.endswith(".parquet")]),
            refused=None if files else (),
        )


def _packed() -> Iterator[Case]:
    import gzip

    import zstandard

    for name, content in {
        "gzip": gzip.compress(GOOD, mtime=0),
        "zstd": zstandard.ZstdCompressor().compress(GOOD),
    }.items():
        yield case(f"Parquet inside {name}", "IN4", content, rows=ROWS, may_be_refused=True)


def parquet_cases() -> list[Case]:
    """Everything that can be wrong with a Parquet export."""
    parts = (
        _shapes, _flips, _types, _coordinate_types, _texts, _groups, _bombs, _columns, _closed, _folders, _packed,
    )  # fmt: skip
    return numbered(entry for part in parts for entry in part())
