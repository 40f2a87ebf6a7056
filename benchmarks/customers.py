"""A synthetic export of customers for benchmarks: lean, of any size, with a known little damage.

One row per meter point in scattered order, 1.45 meter points a location, 1.15 locations a customer, opaque
numbers as ids. Blocks are written one after the other, so making ten million rows takes no memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

PROFILE: Final = """
name = "benchmark"
country = "NO"
[file]
separator = ";"
decimal = ","
[identity]
ids = "as-is"
[columns]
user = "Kundenr"
location = "Anlegg"
location_type = "Kundetype"
meter_point = "MålepunktID"
latitude = "Breddegrad"
longitude = "Lengdegrad"
[values.location_type]
"Husholdning" = "Residential"
"Næring" = "Commercial"
"Annet" = "Other"
"""

METERS_PER_LOCATION: Final = 1.45
LOCATIONS_PER_USER: Final = 1.15
BLOCK_ROWS: Final = 250_000

# Shares of rows.
WRONG_CHECK_DIGIT: Final = 0.002
ZERO_COORDINATES: Final = 0.001
UNKNOWN_TYPE: Final = 0.0005
DUPLICATE: Final = 0.003
CONTESTED: Final = 0.0004

TYPES: Final = ("Husholdning", "Næring", "Annet")
TOWNS: Final = np.array(
    [(61.1153, 10.4662), (60.7957, 10.6915), (60.1905, 11.9977), (60.8819, 11.5623), (62.5747, 11.3842),
     (61.7717, 9.5397), (59.6689, 9.6502), (60.1700, 10.2550), (60.5300, 8.2060), (60.8600, 10.9300)]
)  # fmt: skip
"""Inland towns; customers live within two kilometres."""

_PREFIX: Final = 70705750000000000
_WEIGHTS: Final = np.array([3, 1] * 8 + [3])


def write_export(path: Path, rows: int, *, seed: int = 1) -> None:
    """Write an export of so many rows; the same seed writes the same bytes."""
    random = np.random.default_rng(seed)
    location_count = max(1, int(rows / METERS_PER_LOCATION))
    user_count = max(1, int(location_count / LOCATIONS_PER_USER))
    user_of = np.concatenate(
        [np.arange(user_count), random.integers(0, user_count, location_count - user_count)]
    ).astype(np.uint32)
    location_of = np.concatenate(
        [np.arange(location_count), random.integers(0, location_count, rows - location_count)]
    ).astype(np.uint32)
    random.shuffle(location_of)
    with path.open("wb") as file:
        for start in range(0, rows, BLOCK_ROWS):
            locations = location_of[start : start + BLOCK_ROWS]
            block = _block(locations, user_of[locations], start, random)
            block.write_csv(file, include_header=start == 0, separator=";", decimal_comma=True)


def _block(
    locations: npt.NDArray[np.uint32], users: npt.NDArray[np.uint32], start: int, random: np.random.Generator
) -> pl.DataFrame:
    count = len(locations)
    stems = random.permutation(np.arange(start, start + count, dtype=np.int64)) * 100
    numbers = _with_check_digit(_PREFIX + stems + random.integers(0, 100, count))
    places = TOWNS[locations % len(TOWNS)]
    # The same location has the same point in every block: its jitter is a function of its number.
    north = ((locations * np.uint64(2654435761)) % np.uint64(40_000)).astype(np.int64) - 20_000
    east = ((locations * np.uint64(40503)) % np.uint64(40_000)).astype(np.int64) - 20_000
    point = np.round(places + np.stack([north, east], axis=1) / 1e6, 6)
    types = locations % len(TYPES)
    chosen = random.permutation(count)
    taken = 0

    def some(share: float) -> npt.NDArray[np.int64]:
        nonlocal taken
        part = chosen[taken : taken + int(count * share)]
        taken += len(part)
        return part

    wrong, nowhere, odd = some(WRONG_CHECK_DIGIT), some(ZERO_COORDINATES), some(UNKNOWN_TYPE)
    numbers[wrong] += np.where(numbers[wrong] % 10 == 9, -1, 1)
    point[nowhere] = 0
    contested, claimed = some(CONTESTED / 2), some(CONTESTED / 2)
    numbers[contested] = numbers[claimed]
    words = np.array(TYPES)[types].astype(object)
    words[odd] = "Ukjent verdi"
    frame = pl.DataFrame(
        {
            "Kundenr": (1_000_000_000 + users.astype(np.int64) * 97).astype(str),
            "Anlegg": (2_000_000_000 + locations.astype(np.int64) * 31).astype(str),
            "Kundetype": pl.Series(words, dtype=pl.String),
            "MålepunktID": numbers.astype(str),
            "Breddegrad": point[:, 0],
            "Lengdegrad": point[:, 1],
        }
    )
    copies, originals = some(DUPLICATE), some(DUPLICATE)
    order = np.arange(count)
    order[copies] = originals[: len(copies)]
    return frame[order]


def _with_check_digit(stems: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Seventeen digits and the GS1 check digit that belongs to them."""
    digits = (stems[:, None] // 10 ** np.arange(16, -1, -1)) % 10
    return stems * 10 + (-(digits * _WEIGHTS).sum(axis=1)) % 10
