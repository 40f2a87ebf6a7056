"""How many different values a column has, in bounded memory, mergeable: exact while few, a sketch when many.

The sketch is a HyperLogLog of 2^14 registers with the estimator of Ertl, "New cardinality estimation
algorithms for HyperLogLog sketches" (2017), which needs no correction tables: standard error 0.8 %.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import polars_hash as plh

EXACT_LIMIT = 1 << 14
"""Up to this many different values are counted exactly."""
PRECISION = 14
REGISTERS = 1 << PRECISION
_TAIL_BITS = 64 - PRECISION
_SEED = 0x6D65746572


def hashes(column: str) -> pl.Expr:
    """A 64-bit hash of a String column that is the same on every machine and version; null for null."""
    return plh.col(column).nchash.xxh3_64(seed=_SEED)


class DistinctCount:
    """Counts different values by their hashes. Holds hashes in memory only; nothing of it is written down."""

    def __init__(self) -> None:
        self._exact: np.ndarray | None = np.empty(0, dtype=np.uint64)
        self._registers = np.zeros(0, dtype=np.uint8)

    def add(self, values: pl.Series) -> None:
        """Add hashes made by `hashes` (UInt64; nulls are ignored)."""
        if self._exact is None:
            self._raise_registers(values)
            return
        seen = np.union1d(self._exact, values.drop_nulls().unique().to_numpy())
        self._keep(seen)

    def merge(self, other: DistinctCount) -> None:
        """Add what another count has seen."""
        if other._exact is not None:
            self.add(pl.Series(other._exact, dtype=pl.UInt64))
            return
        self._become_sketch()
        self._registers = np.maximum(self._registers, other._registers)

    @property
    def is_exact(self) -> bool:
        """Whether `estimate` is the exact number."""
        return self._exact is not None

    def estimate(self) -> int:
        """The number of different values seen."""
        return len(self._exact) if self._exact is not None else _estimate(self._registers)

    def _keep(self, seen: np.ndarray) -> None:
        if len(seen) <= EXACT_LIMIT:
            self._exact = seen
            return
        self._become_sketch()
        self._raise_registers(pl.Series(seen, dtype=pl.UInt64))

    def _become_sketch(self) -> None:
        if self._exact is None:
            return
        exact, self._exact = self._exact, None
        self._registers = np.zeros(REGISTERS, dtype=np.uint8)
        self._raise_registers(pl.Series(exact, dtype=pl.UInt64))

    def _raise_registers(self, values: pl.Series) -> None:
        """Per register, keep the longest run of leading zeros, plus one, of the hashes that fall into it."""
        found = values.drop_nulls().to_numpy()
        tail = found & np.uint64((1 << _TAIL_BITS) - 1)
        _, bits = np.frexp(tail.astype(np.float64))  # exact: the tail has 50 bits, a double 53
        ranks = (_TAIL_BITS + 1 - bits).astype(np.uint8)
        np.maximum.at(self._registers, (found >> np.uint64(_TAIL_BITS)).astype(np.intp), ranks)


def _estimate(registers: np.ndarray) -> int:
    """Ertl's improved estimator over the histogram of register values."""
    counts = np.bincount(registers, minlength=_TAIL_BITS + 2)
    size = float(len(registers))
    z = size * _tau(1.0 - counts[_TAIL_BITS + 1] / size)
    for rank in range(_TAIL_BITS, 0, -1):
        z = 0.5 * (z + float(counts[rank]))
    z += size * _sigma(counts[0] / size)
    return round(size * size / (2.0 * math.log(2.0) * z))


def _sigma(x: float) -> float:
    """The part of the estimator for registers never hit."""
    if x == 1.0:
        return math.inf
    weight, total, before = 1.0, x, -1.0
    while total != before:
        x *= x
        before = total
        total += x * weight
        weight += weight
    return total


def _tau(x: float) -> float:
    """The part of the estimator for registers that are full."""
    if x in {0.0, 1.0}:
        return 0.0
    weight, total, before = 1.0, 1.0 - x, -1.0
    while total != before:
        x = math.sqrt(x)
        before = total
        weight *= 0.5
        total -= (1.0 - x) ** 2 * weight
    return total / 3.0
