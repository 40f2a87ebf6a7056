"""Synthetic exports of any size: a portfolio of invented customers, written the way energy companies write.

    python -m sandbox.portfolio --rows 10000 --seed 7 --out kunder-2026-01.csv

One row is one meter point. A customer has one or several homes, a home one or several meters; some points
are closed, some addresses protected, some quoted or written on two lines. The caller chooses which share of
the rows is damaged and how; what comes back is the truth: which lines are damaged and how many rows of each
class a loader has to find. The same seed always gives the same world, so an export of resources fits the
export of customers with the same seed.

Rows are made in blocks of whole customers with numpy and Polars and appended to the file, so memory does not
grow with the number of rows. Nothing here imports the loader: the truth is independent of it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sandbox.dialects import DIALECTS, NORWEGIAN, NUMBERS_PER_BLOCK, RESOURCE_TYPES, Dialect, Ints

Mask = NDArray[np.bool_]
Kind = Literal["customers", "resources", "both"]

CUSTOMERS_PER_BLOCK = 1 << 15
_STRIDE = 61_803_399
"""Coprime to 10: stepping by it visits every number of a block once, in a scattered order."""
_BAD_BYTE_MARK = "\ue000"
"""Stands for a byte that is no UTF-8 until the block has been encoded."""

HOMES_PER_CUSTOMER = ((1, 0.86), (2, 0.11), (3, 0.02), (12, 0.01))
METERS_PER_HOME = ((1, 0.80), (2, 0.17), (3, 0.03))
RESOURCES_PER_HOME = ((0, 0.45), (1, 0.35), (2, 0.15), (3, 0.05))
SHARES_OF_HOME_TYPES = (0.80, 0.10, 0.08, 0.02)
SHARES_OF_RESOURCE_TYPES = (0.35, 0.25, 0.15, 0.10, 0.12, 0.03)

RECORDS = ("user", "location", "resource", "vehicle")
CLASSES = ("unreadable", "filtered", "quarantined", "duplicate", "mapped")

DAMAGE: Mapping[str, str] = MappingProxyType(
    {
        "short_row": "unreadable",
        "long_row": "unreadable",
        "bad_bytes": "unreadable",
        "line_break": "unreadable",
        "repeated_header": "unreadable",
        "cut_point": "quarantined",
        "exponent_point": "quarantined",
        "serial_for_point": "quarantined",
        "foreign_point": "quarantined",
        "check_digit": "quarantined",
        "no_user": "quarantined",
        "unknown_type": "quarantined",
        "unknown_resource_type": "quarantined",
        "nothing_to_place": "quarantined",
        "contested_point": "quarantined",
        "swapped": "quarantined",
        "half_pair": "quarantined",
        "zero_coordinates": "quarantined",
        "not_a_number": "quarantined",
        "abroad": "quarantined",
        "duplicate": "duplicate",
    }
)
"""Every damage there is, and the class of its rows in production. In the sandbox `check_digit` only warns."""

TEXT_DAMAGE = frozenset({"short_row", "long_row", "bad_bytes", "line_break", "repeated_header"})
"""Damage of lines; a Parquet file has none."""
COORDINATE_DAMAGE = frozenset({"swapped", "half_pair", "zero_coordinates", "not_a_number", "abroad"})
PAIRED_DAMAGE = frozenset({"contested_point", "duplicate"})
"""Damage that takes two rows: a good one and the one that repeats its point or all of it."""

_NEEDED_COLUMNS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "first": COORDINATE_DAMAGE,
        "location_type": frozenset({"unknown_type", "nothing_to_place", "contested_point"}),
        "name": frozenset({"line_break", "bad_bytes"}),
        "resource_type": frozenset({"unknown_resource_type"}),
    }
)
"""Damage that only shows where the export has a column for it."""

USUAL_DAMAGE: Mapping[str, float] = MappingProxyType(
    {
        "short_row": 0.0004,
        "cut_point": 0.002,
        "exponent_point": 0.0006,
        "serial_for_point": 0.0006,
        "check_digit": 0.001,
        "no_user": 0.0004,
        "nothing_to_place": 0.0006,
        "contested_point": 0.0004,
        "half_pair": 0.001,
        "zero_coordinates": 0.001,
        "abroad": 0.0006,
        "duplicate": 0.003,
    }
)
"""What an ordinary export looks like: about 1 % of its rows are quarantined, below the guard of 2 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Shares of rows (closed, gas) and of homes (the rest) that are unusual without being damaged."""

    closed: float = 0.03
    gas: float = 0.02
    protected: float = 0.004
    without_coordinates: float = 0.05
    in_test_area: float = 0.01
    quoted_address: float = 0.02
    two_line_address: float = 0.001


@dataclass(slots=True)
class Damaged:
    """Rows of one damage: how many (physical lines for unreadable ones) and on which lines, 1-based."""

    rows: int = 0
    lines: list[Ints] = field(default_factory=list)

    def line_numbers(self) -> list[int]:
        """The first physical line of each damaged row, in order."""
        return sorted(int(line) for block in self.lines for line in block)


@dataclass(slots=True)
class Truth:
    """What is in a written export, known from making it.

    Attributes:
        rows: rows a loader reads; an unreadable record counts its physical lines.
        lines: physical lines of a CSV file with the header; a Parquet file counts its rows and one.
        damage: per damage the rows and their lines. For `contested_point` both claimants are listed.
        records: records per kind to expect, per environment.
        classes: rows per class, per environment (`sandbox`, `production`).
    """

    dialect: str
    kind: str
    seed: int
    rows: int = 0
    lines: int = 0
    damage: dict[str, Damaged] = field(default_factory=dict)
    classes: dict[str, dict[str, int]] = field(
        default_factory=lambda: {name: dict.fromkeys(CLASSES, 0) for name in ("sandbox", "production")}
    )
    records: dict[str, dict[str, int]] = field(
        default_factory=lambda: {name: dict.fromkeys(RECORDS, 0) for name in ("sandbox", "production")}
    )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; lines are listed per damage."""
        return {
            "dialect": self.dialect,
            "kind": self.kind,
            "seed": self.seed,
            "rows": self.rows,
            "lines": self.lines,
            "classes": self.classes,
            "records": self.records,
            "damage": {
                name: {"rows": found.rows, "lines": found.line_numbers()}
                for name, found in sorted(self.damage.items())
            },
        }


@dataclass(frozen=True, slots=True)
class _Block:
    """Consecutive rows of whole customers: fields as text, and what the truth needs to know of each row."""

    rows: pl.DataFrame
    customer: Ints
    home: Ints
    filtered: Mask
    placed: Mask
    protected: Mask
    device: Ints
    """Number of the resource in the row; -1: none."""
    is_car: Mask


# ---------------------------------------------------------------- the world
def _choose(chance: NDArray[np.float64], shares: tuple[float, ...]) -> Ints:
    """Indices into `shares` for uniform numbers in [0, 1)."""
    edges = np.cumsum(shares)[:-1]
    return np.searchsorted(edges, chance, side="right").astype(np.int64)


def _counts(rng: np.random.Generator, size: int, table: tuple[tuple[int, float], ...]) -> Ints:
    values = np.array([value for value, _ in table], dtype=np.int64)
    chosen: Ints = values[_choose(rng.random(size), tuple(share for _, share in table))]
    return chosen


def _scatter(numbers: Ints, seed: int) -> Ints:
    """Numbers 0, 1, 2 … to distinct numbers all over a block, the same for the same seed."""
    scattered: Ints = (numbers * _STRIDE + seed * 7_919_167) % NUMBERS_PER_BLOCK
    return scattered


def _words(index: Ints, words: tuple[str, ...]) -> pl.Series:
    return pl.Series(words, dtype=pl.String).gather(pl.Series(index))


def _padded(numbers: Ints, letter: str, width: int) -> pl.Series:
    return letter + pl.Series(numbers).cast(pl.String).str.zfill(width)


def _measured(units: Ints, dialect: Dialect) -> pl.Series:
    """Map units as decimal text in the dialect's notation."""
    text = pl.Series(units / dialect.unit).cast(pl.String)
    return text if dialect.decimal == "." else text.str.replace(".", dialect.decimal, literal=True)


def _places(rng: np.random.Generator, homes: int, dialect: Dialect, mix: Mix) -> tuple[Ints, Ints]:
    """The two coordinates of each home, in map units. The last digit is never 0."""
    boxes = np.array([(b.first_low, b.first_high, b.second_low, b.second_high) for b in dialect.boxes])
    chosen = boxes[rng.integers(len(boxes), size=homes)]
    if dialect.test_areas:
        areas = np.array(
            [(b.first_low, b.first_high, b.second_low, b.second_high) for b in dialect.test_areas]
        )
        inside = rng.random(homes) < mix.in_test_area
        chosen[inside] = areas[rng.integers(len(areas), size=int(inside.sum()))]
    first = rng.integers(chosen[:, 0] // 10, chosen[:, 1] // 10) * 10 + rng.integers(1, 10, size=homes)
    second = rng.integers(chosen[:, 2] // 10, chosen[:, 3] // 10) * 10 + rng.integers(1, 10, size=homes)
    return first, second


def _address(homes: pl.DataFrame, kind: Ints, dialect: Dialect) -> pl.Series:
    """As CSV text: 0 plain, 1 with a separator inside quotes, 2 with quotes, 3 on two lines."""
    plain = pl.concat_str("street", "number", separator=" ")
    separator = dialect.separator
    written = (
        pl.when(pl.lit(pl.Series(kind)) == 1)
        .then(pl.concat_str(pl.lit('"'), plain, pl.lit(f'{separator} {dialect.entrance} B"')))
        .when(pl.lit(pl.Series(kind)) == 2)
        .then(pl.concat_str(pl.lit(f'"{dialect.farm} ""'), "street", pl.lit('"", '), "number", pl.lit('"')))
        .when(pl.lit(pl.Series(kind)) == 3)
        .then(pl.concat_str(pl.lit('"'), plain, pl.lit(f'\n{dialect.entrance} 2"')))
        .otherwise(plain)
    )
    return homes.select(address=written).to_series()


def _homes(
    rng: np.random.Generator, owner: Ints, first_home: int, dialect: Dialect, mix: Mix
) -> pl.DataFrame:
    """One row per home: where it is and what it is for."""
    count = len(owner)
    first, second = _places(rng, count, dialect, mix)
    protected = rng.random(count) < mix.protected
    blank = rng.random(count) < mix.without_coordinates
    chance = rng.random(count)
    kind = np.where(chance < mix.two_line_address, 3, 0)
    kind[chance > 1 - mix.quoted_address] = 1
    kind[chance > 1 - mix.quoted_address / 2] = 2
    within = np.arange(count) - np.searchsorted(owner, owner)
    place = rng.integers(len(dialect.places), size=count)
    homes = pl.DataFrame(
        {
            "location": _padded(np.arange(first_home, first_home + count), "A", 9),
            "location_type": _words(_choose(rng.random(count), SHARES_OF_HOME_TYPES), dialect.home_types),
            "street": _words(rng.integers(len(dialect.streets), size=count), dialect.streets),
            "number": pl.Series(within * 200 + rng.integers(1, 200, size=count)).cast(pl.String),
            "postcode": _words(place, tuple(code for code, _ in dialect.places)),
            "place": _words(place, tuple(name for _, name in dialect.places)),
            "first": _measured(first, dialect),
            "second": _measured(second, dialect),
            "placed": ~blank,
            "protected": _words(protected.astype(np.int64), dialect.yes_no[::-1]),
            "is_protected": protected,
        }
    )
    return homes.with_columns(
        _address(homes, kind, dialect),
        pl.when("placed").then("first").otherwise(pl.lit("")),
        pl.when("placed").then("second").otherwise(pl.lit("")),
    )


def _blocks(seed: int, dialect: Dialect, kind: Kind, mix: Mix) -> Iterator[_Block]:
    """The world of a seed, block by block, without end."""
    home_count = point_count = resource_count = block_number = 0
    while True:
        rng = np.random.default_rng([seed, block_number])
        first_customer = block_number * CUSTOMERS_PER_BLOCK
        block_number += 1
        customers = np.arange(first_customer, first_customer + CUSTOMERS_PER_BLOCK)
        names = _words(rng.integers(len(dialect.first_names), size=len(customers)), dialect.first_names)
        surnames = _words(rng.integers(len(dialect.last_names), size=len(customers)), dialect.last_names)
        owner = np.repeat(customers, _counts(rng, len(customers), HOMES_PER_CUSTOMER))
        homes = _homes(rng, owner, home_count, dialect, mix)
        meters = _counts(rng, len(owner), METERS_PER_HOME)
        devices = _counts(rng, len(owner), RESOURCES_PER_HOME)
        per_home = devices if kind == "resources" else meters
        home = np.repeat(np.arange(len(owner)), per_home)
        nth = np.arange(len(home)) - np.repeat(np.cumsum(per_home) - per_home, per_home)
        point = point_count + (np.cumsum(meters) - meters)[home]
        device = resource_count + (np.cumsum(devices) - devices)[home] + nth
        if kind != "resources":
            point += nth
        ids = dialect.meter_point(_scatter(point, seed))
        gas = np.zeros(len(home), dtype=np.bool_)
        if dialect.gas_point is not None and kind != "resources":
            gas = rng.random(len(home)) < mix.gas
            ids[gas] = dialect.gas_point(_scatter(point[gas], seed))
        closed = rng.random(len(home)) < mix.closed
        customer = owner[home]
        local = customer - first_customer
        type_of_device = _choose(rng.random(len(home)), SHARES_OF_RESOURCE_TYPES)
        has_device = np.full(len(home), kind == "resources") | (nth < devices[home])
        rows = homes[pl.Series(home)].with_columns(
            user=_padded(_scatter(customer, seed), "K", 8),
            name=names[local] + " " + surnames[local],
            meter_point=pl.Series(ids).cast(pl.String),
            metering_location="DE999999"
            + pl.lit("00000" + "0" * 12)
            + pl.Series(point).cast(pl.String).str.zfill(8),
            serial="69999" + pl.Series(_scatter(point, seed + 1)).cast(pl.String).str.zfill(11),
            email="ingen" + pl.Series(customer).cast(pl.String) + "@eksempel.invalid",
            status=_words(closed.astype(np.int64), dialect.status),
            resource=_padded(device, "E", 9),
            resource_type=_words(type_of_device, dialect.resource_types),
            brand=_words(rng.integers(len(dialect.brands), size=len(home)), dialect.brands),
            empty=pl.lit(""),
            **{name: pl.lit(text) for name, text in dialect.extras.items()},
        )
        if kind == "both":
            has = pl.lit(pl.Series(has_device))
            rows = rows.with_columns(
                pl.when(has).then(pl.col("resource", "resource_type", "brand")).otherwise(pl.lit(""))
            )
        yield _Block(
            rows=rows,
            customer=customer,
            home=home_count + home,
            filtered=closed | gas,
            placed=rows["placed"].to_numpy(),
            protected=rows["is_protected"].to_numpy(),
            device=np.where(has_device & (kind != "customers"), device, -1),
            is_car=type_of_device == RESOURCE_TYPES.index("car"),
        )
        home_count += len(owner)
        point_count += int(meters.sum())
        resource_count += int(devices.sum())


# ---------------------------------------------------------------- damage
def _wanted(shares: Mapping[str, float], before: int, now: int) -> dict[str, int]:
    """How many rows of each damage belong into the next `now` rows, so that totals come out exact."""
    return {
        name: int(share * (before + now) + 0.5) - int(share * before + 0.5) for name, share in shares.items()
    }


def _pick(rng: np.random.Generator, block: _Block, wanted: Mapping[str, int]) -> dict[str, Ints]:
    """Disjoint rows for each damage, out of the open, placed, unprotected ones on one line.

    A block that is too short gives fewer. A paired damage gets an even number of rows, of different
    customers: good ones and repeats in turn.
    """
    pool = np.flatnonzero(
        ~block.filtered
        & block.placed
        & ~block.protected
        & (block.rows["address"].str.count_matches("\n") == 0).to_numpy()
    )
    pool = rng.permutation(pool)
    on_wheels = block.is_car & (block.device >= 0)
    picked: dict[str, Ints] = {}
    for name, count in wanted.items():
        take = min(2 * count if name in PAIRED_DAMAGE else count, len(pool))
        able = pool[~on_wheels[pool]] if name == "nothing_to_place" else pool  # a car needs no place
        rows = able[:take]
        pool = pool[~np.isin(pool, rows)]
        if name in PAIRED_DAMAGE:
            rows = np.sort(rows[: take // 2 * 2].reshape(-1, 2), axis=1)
            rows = rows[block.customer[rows[:, 0]] != block.customer[rows[:, 1]]].ravel()
        picked[name] = rows
    return picked


def _with(rows: pl.DataFrame, column: str, index: Ints, values: pl.Series | str) -> pl.DataFrame:
    """`rows` with other text in some cells of one column."""
    if isinstance(values, str):
        values = pl.Series([values] * len(index), dtype=pl.String)
    return rows.with_columns(rows[column].scatter(pl.Series(index), values))


def _wrong_digit(points: pl.Series) -> pl.Series:
    """The same ids with the last digit one higher: right in form, wrong in sum."""
    last = points.str.slice(-1).cast(pl.Int64)
    return points.str.head(-1) + ((last + 1) % 10).cast(pl.String)


def _abroad(rows: pl.DataFrame, index: Ints, dialect: Dialect) -> pl.DataFrame:
    box = dialect.abroad
    spread = np.arange(len(index))
    first = box.first_low + 1 + spread % (box.first_high - box.first_low)
    second = box.second_low + 1 + spread * 7 % (box.second_high - box.second_low)
    rows = _with(rows, "first", index, _measured(first, dialect))
    return _with(rows, "second", index, _measured(second, dialect))


def _spoil_cells(rows: pl.DataFrame, picked: Mapping[str, Ints], dialect: Dialect, seed: int) -> pl.DataFrame:
    """Every damage that is a wrong value in a cell."""
    none = np.empty(0, dtype=np.int64)

    def at(name: str) -> Ints:
        return picked.get(name, none)

    rows = _with(rows, "meter_point", at("cut_point"), rows["meter_point"][at("cut_point")].str.head(-1))
    rows = _with(rows, "meter_point", at("exponent_point"), f"7{dialect.decimal}07058E+17")
    rows = _with(rows, "meter_point", at("serial_for_point"), rows["serial"][at("serial_for_point")])
    if dialect.foreign_point is not None:
        foreign = dialect.foreign_point(_scatter(at("foreign_point"), seed))
        rows = _with(rows, "meter_point", at("foreign_point"), pl.Series(foreign).cast(pl.String))
    rows = _with(rows, "meter_point", at("check_digit"), _wrong_digit(rows["meter_point"][at("check_digit")]))
    rows = _with(rows, "user", at("no_user"), "")
    rows = _with(rows, "location_type", at("unknown_type"), dialect.unknown_type)
    rows = _with(rows, "resource_type", at("unknown_resource_type"), dialect.unknown_type)
    for column in ("meter_point", "metering_location", "first", "second"):
        rows = _with(rows, column, at("nothing_to_place"), "")
    claimed = at("contested_point")
    rows = _with(rows, "meter_point", claimed[1::2], rows["meter_point"][claimed[::2]])
    swapped, first = at("swapped"), rows["first"]
    rows = _with(rows, "first", swapped, rows["second"][swapped])
    rows = _with(rows, "second", swapped, first[swapped])
    rows = _with(rows, "second", at("half_pair"), "")
    rows = _with(rows, "first", at("not_a_number"), "NaN")
    for column in ("first", "second"):
        rows = _with(rows, column, at("zero_coordinates"), f"0{dialect.decimal}0")
    return _abroad(rows, at("abroad"), dialect)


def _spoil_lines(
    lines: pl.Series, names: pl.Series, picked: Mapping[str, Ints], dialect: Dialect, header: str
) -> pl.Series:
    """Every damage of a whole line. The name is a column in which line breaks are not legal."""
    for damage, rows in picked.items():
        chosen = lines[rows]
        match damage:
            case "short_row":
                chosen = chosen.str.replace(f"{dialect.separator}[^{dialect.separator}]*$", "")
            case "long_row":
                chosen = chosen + f"{dialect.separator}?"
            case "bad_bytes":
                chosen = chosen.str.replace(" ", _BAD_BYTE_MARK, literal=True)
            case "line_break":
                broken = '"' + names[rows].str.replace(" ", "\n", literal=True) + '"'
                pairs = zip(chosen, names[rows], broken, strict=True)
                chosen = pl.Series([line.replace(name, new, 1) for line, name, new in pairs], dtype=pl.String)
            case "repeated_header":
                chosen = pl.Series([header] * len(rows), dtype=pl.String)
            case _:
                continue
        lines = lines.scatter(pl.Series(rows), chosen)
    return lines


def _repeat_rows(rows: pl.DataFrame, pairs: Ints) -> pl.DataFrame:
    """Each second row of the pairs becomes an exact copy of the first."""
    if not len(pairs):
        return rows
    source = np.arange(len(rows))
    source[pairs[1::2]] = pairs[::2]
    return rows[pl.Series(source)]


# ---------------------------------------------------------------- the truth
def _account(truth: Truth, block: _Block, picked: Mapping[str, Ints], lines: Ints, heights: Ints) -> None:
    """Add a block to the truth. `lines` is each row's first line, `heights` its number of physical lines."""
    unreadable = np.zeros(len(lines), dtype=np.bool_)
    for name, rows in picked.items():
        listed = rows[1::2] if name == "duplicate" else rows
        found = truth.damage.setdefault(name, Damaged())
        found.lines.append(lines[np.sort(listed)])
        found.rows += int(heights[listed].sum()) if name in TEXT_DAMAGE else len(listed)
        if DAMAGE[name] == "unreadable":
            unreadable[rows] = True
    truth.rows += int(np.where(unreadable, heights, 1).sum())
    for environment, counts in truth.classes.items():
        mapped = ~block.filtered
        for name, rows in picked.items():
            if name == "check_digit" and environment == "sandbox":
                continue
            listed = rows[1::2] if name == "duplicate" else rows
            mapped[listed] = False
            counts[DAMAGE[name]] += int(heights[listed].sum()) if name in TEXT_DAMAGE else len(listed)
        counts["filtered"] += int(block.filtered.sum())
        counts["mapped"] += int(mapped.sum())
        records = truth.records[environment]
        device = mapped & (block.device >= 0)
        records["resource"] += len(np.unique(block.device[device & ~block.is_car]))
        records["vehicle"] += len(np.unique(block.device[device & block.is_car]))
        if truth.kind != "resources":  # resources refer to users and locations, they do not define them
            records["user"] += len(np.unique(block.customer[mapped]))
            records["location"] += len(np.unique(block.home[mapped]))


# ---------------------------------------------------------------- writing
class _CsvFile:
    """Blocks as lines of text, encoded at the last moment."""

    def __init__(self, stream: IO[bytes], dialect: Dialect, columns: tuple[tuple[str, str], ...]) -> None:
        self._stream, self._dialect = stream, dialect
        self._fields = [name for _, name in columns]
        self.header = dialect.separator.join(header for header, _ in columns)
        self._codec = "utf-8" if dialect.encoding == "utf-8-sig" else dialect.encoding
        self._stream.write((self.header + dialect.newline).encode(dialect.encoding))
        self.next_line = 2

    def append(self, rows: pl.DataFrame, picked: Mapping[str, Ints]) -> tuple[Ints, Ints]:
        """Write a block; returns the first line of each row and how many lines it takes."""
        text = rows.select(pl.concat_str(self._fields, separator=self._dialect.separator)).to_series()
        text = _spoil_lines(text, rows["name"], picked, self._dialect, self.header)
        heights: Ints = text.str.count_matches("\n", literal=True).to_numpy().astype(np.int64) + 1
        lines: Ints = self.next_line + np.cumsum(heights) - heights
        self.next_line += int(heights.sum())
        block = pl.DataFrame({"line": text}).write_csv(include_header=False, quote_style="never")
        if self._dialect.newline != "\n":
            block = block.replace("\n", self._dialect.newline)
        encoded = block.encode(self._codec) if self._codec != "utf-8" else block.encode()
        self._stream.write(encoded.replace(_BAD_BYTE_MARK.encode(), b"\xff"))
        return lines, heights

    def close(self) -> None:
        """Nothing is buffered here."""


class _ParquetFile:
    """Blocks as row groups: text columns, coordinates as doubles."""

    def __init__(self, stream: IO[bytes], dialect: Dialect, columns: tuple[tuple[str, str], ...]) -> None:
        import pyarrow.parquet as pq

        self._columns, self._dialect = columns, dialect
        self._stream, self._open = stream, pq.ParquetWriter
        self._writer: Any = None
        self.next_line = 2

    def append(self, rows: pl.DataFrame, _picked: Mapping[str, Ints]) -> tuple[Ints, Ints]:
        """Write a block; a row's line is its number plus one, as if there were a header."""
        unquoted = pl.col("address").str.strip_chars('"').str.replace_all('""', '"', literal=True)
        degrees = [
            pl.col(name)
            .replace("", None)
            .str.replace(self._dialect.decimal, ".", literal=True)
            .cast(pl.Float64)
            for name in ("first", "second")
        ]
        table = (
            rows.with_columns(unquoted, *degrees)
            .select(pl.col(name).alias(header) for header, name in self._columns)
            .with_columns(pl.col(pl.String).replace("", None))
            .to_arrow()
        )
        if self._writer is None:
            self._writer = self._open(
                self._stream, table.schema, compression="zstd", write_page_checksum=True
            )
        self._writer.write_table(table)
        lines = np.arange(self.next_line, self.next_line + len(rows), dtype=np.int64)
        self.next_line += len(rows)
        return lines, np.ones(len(rows), dtype=np.int64)

    def close(self) -> None:
        """Write the footer."""
        if self._writer is not None:
            self._writer.close()


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(path, mode="wb", compresslevel=1, mtime=0))
    return path.open("wb")


def _damage_of(
    shares: Mapping[str, float], dialect: Dialect, columns: tuple[tuple[str, str], ...], *, parquet: bool
) -> dict[str, float]:
    """The damages that this dialect and format can show; an unknown name is an error."""
    unknown = sorted(set(shares) - set(DAMAGE))
    if unknown:
        raise ValueError(f"unknown damage {unknown}; known: {sorted(DAMAGE)}")
    present = {name for _, name in columns}
    possible = set(DAMAGE) - (TEXT_DAMAGE if parquet else frozenset())
    for needed, damages in _NEEDED_COLUMNS.items():
        if needed not in present:
            possible -= damages
    if dialect.encoding not in ("utf-8", "utf-8-sig"):
        possible -= {"bad_bytes"}
    if dialect.foreign_point is None:
        possible -= {"foreign_point"}
    return {name: share for name, share in shares.items() if name in possible and share > 0}


def write_portfolio(
    path: Path,
    *,
    rows: int,
    seed: int = 7,
    dialect: Dialect = NORWEGIAN,
    kind: Kind = "customers",
    mix: Mix | None = None,
    damage: Mapping[str, float] = USUAL_DAMAGE,
    mixed: bool = False,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Truth:
    """Write an export and say what is in it.

    Args:
        path: `….csv`, `….csv.gz` or `….parquet`; an existing file is replaced.
        rows: records to write (a record over two lines is one).
        seed: the same seed and number of rows give the same bytes.
        dialect: how the company writes; see `sandbox.dialects`.
        kind: one row per meter point, one per resource, or meter points with a resource beside some.
        mix: shares of the unusual; none: `Mix()`.
        damage: share of rows per damage of `DAMAGE`; those the format cannot show are left out.
        mixed: rows of one customer do not stand together, but are shuffled within a block.
        progress: told the number of rows written so far.

    Returns:
        The truth about the export.

    Raises:
        ValueError: a damage is not known, or the rows do not suffice for the synthetic number block.
    """
    if not 0 <= rows <= NUMBERS_PER_BLOCK // 4:
        raise ValueError(f"rows must lie between 0 and {NUMBERS_PER_BLOCK // 4}")
    columns = dialect.customers if kind == "customers" else dialect.resources
    if kind == "both":
        columns = (
            *dialect.customers,
            *(c for c in dialect.resources if c[1] in ("resource", "resource_type")),
        )
    parquet = path.suffix == ".parquet"
    shares = _damage_of(damage, dialect, columns, parquet=parquet)
    truth = Truth(dialect=dialect.name, kind=kind, seed=seed)
    with _open(path) as stream:
        file = (_ParquetFile if parquet else _CsvFile)(stream, dialect, columns)
        written = 0
        for number, whole in enumerate(_blocks(seed, dialect, kind, mix or Mix())):
            rng = np.random.default_rng([seed, number, 1])
            order = np.arange(min(len(whole.rows), rows - written))
            block = _at(whole, rng.permutation(order) if mixed else order)
            picked = _pick(rng, block, _wanted(shares, written, len(block.rows)))
            spoiled = _spoil_cells(block.rows, picked, dialect, seed)
            spoiled = _repeat_rows(spoiled, picked.get("duplicate", np.empty(0, dtype=np.int64)))
            lines, heights = file.append(spoiled, picked)
            _account(truth, block, picked, lines, heights)
            written += len(block.rows)
            progress(written)
            if written == rows:
                break
        file.close()
        truth.lines = file.next_line - 1
    return truth


def _at(block: _Block, index: Ints) -> _Block:
    """Some rows of a block, in the order of the index."""
    return _Block(
        rows=block.rows[pl.Series(index)],
        **{
            column.name: getattr(block, column.name)[index]
            for column in fields(_Block)
            if column.name != "rows"
        },
    )


# ---------------------------------------------------------------- command line
def _shares(text: str) -> tuple[str, float]:
    name, _, share = text.partition("=")
    if name not in DAMAGE:
        raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(DAMAGE)}")
    return name, float(share or "0.001")


def main(arguments: list[str] | None = None) -> int:
    """`python -m sandbox.portfolio`: write one export, print how many rows of each class it holds."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox.portfolio", description="Write a synthetic export."
    )
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True, help="….csv, ….csv.gz or ….parquet")
    parser.add_argument("--dialect", choices=sorted(DIALECTS), default="norwegian")
    parser.add_argument("--kind", choices=("customers", "resources", "both"), default="customers")
    parser.add_argument("--mixed", action="store_true", help="do not keep a customer's rows together")
    parser.add_argument("--clean", action="store_true", help="no damage at all")
    parser.add_argument(
        "--damage",
        type=_shares,
        action="append",
        metavar="NAME=SHARE",
        help=f"instead of the usual: {', '.join(DAMAGE)}",
    )
    parser.add_argument("--truth", type=Path, help="write what is in the export to this JSON file")
    chosen = parser.parse_args(arguments)
    damage = {} if chosen.clean else dict(chosen.damage) if chosen.damage else USUAL_DAMAGE
    truth = write_portfolio(
        chosen.out,
        rows=chosen.rows,
        seed=chosen.seed,
        dialect=DIALECTS[chosen.dialect],
        kind=chosen.kind,
        damage=damage,
        mixed=chosen.mixed,
    )
    if chosen.truth:
        chosen.truth.write_text(json.dumps(truth.to_json(), indent=1) + "\n", encoding="utf-8")
    counts = ", ".join(f"{name} {count}" for name, count in truth.classes["production"].items())
    sys.stdout.write(f"{chosen.out}: {truth.rows} rows in {truth.lines} lines ({counts})\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
