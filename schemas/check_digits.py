"""The check digits of meter point ids, as Polars expressions over whole columns.

Each takes the well-formed id (see `schemas/meter_points.py`) and says whether it is consistent; null stays
null. A check digit is no proof: one in ten wrong ids passes, and so does every swap of neighbours that differ
by five. None of these is ever used to mend a digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import polars as pl

GROUP = 1_000_000
"""Six digits at a time are weighed by looking them up: three look-ups for 18 digits."""

MPAN_WEIGHTS = (3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43)
"""Primes by place from the left; 11 is skipped, because the sum is taken modulo 11."""

CUPS_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
"""Remainder 0 to 22 as a letter; the same table as the Spanish NIF."""


@cache
def _gs1_table() -> pl.Series:
    """Weighted digit sum modulo 10 of every number below a million; weight 1 for the last digit, then 3."""
    numbers = np.arange(GROUP)
    total = sum((1 if place % 2 == 0 else 3) * (numbers // 10**place % 10) for place in range(6))
    return pl.Series(np.asarray(total % 10, dtype=np.uint8))


def gs1(number: pl.Expr) -> pl.Expr:
    """GS1 modulo 10 over a UInt64 of up to 18 digits, the check digit included.

    Weights 3 and 1 alternate from the right, 3 next to the check digit (GS1 General Specifications 7.9, "the
    same for all GS1 identification numbers").
    """
    table = pl.lit(_gs1_table())
    groups = (number % GROUP, number // GROUP % GROUP, number // (GROUP * GROUP) % GROUP)
    first, second, third = (table.gather(group) for group in groups)
    return (first + second + third) % 10 == 0


def mpan(number: pl.Expr) -> pl.Expr:
    """The core of a British MPAN, 13 digits as UInt64: weighted sum modulo 11 modulo 10."""
    return _weighted(number, 13, MPAN_WEIGHTS) % 11 % 10 == number % 10


def malo(number: pl.Expr) -> pl.Expr:
    """A German MaLo-ID, 11 digits as UInt64: odd places once, even places twice, up to the next ten."""
    weights = [1 if place % 2 == 0 else 2 for place in range(10)]
    return (_weighted(number, 11, weights) + number % 10) % 10 == 0


def mod_529(text: pl.Expr) -> pl.Expr:
    """Spanish CUPS and Portuguese CPE: two letters, 16 digits, then the remainder modulo 529 as two letters."""
    remainder = (text.str.slice(2, 16).cast(pl.UInt64, strict=False) % 529).cast(pl.UInt32)
    letters = pl.lit(pl.Series(list(CUPS_LETTERS)))
    expected = pl.concat_str(letters.gather(remainder // 23), letters.gather(remainder % 23))
    return text.str.slice(18, 2) == expected


def _weighted(number: pl.Expr, length: int, weights: Sequence[int]) -> pl.Expr:
    """Sum of the leading digits, each times its weight, the leftmost first."""
    digits = [number // 10 ** (length - 1 - place) % 10 for place in range(len(weights))]
    return pl.sum_horizontal(digit * weight for digit, weight in zip(digits, weights, strict=True))
