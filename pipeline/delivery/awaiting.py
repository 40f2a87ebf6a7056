"""Hold back what is not its turn: children without a parent, and locations whose meter point somebody still has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from pipeline.delivery.cutting import apart, missing_parents
from pipeline.holdings import KEY
from pipeline.phases import TAKES_FROM, Phase
from pipeline.ports import Ledger
from schemas.ledger import State
from schemas.outcomes import Kind

NOT_DONE = (State.REJECTED, State.IN_DOUBT, State.PLANNED, State.BLOCKED)
"""Leaves whose records did not come to what was planned, or not yet."""

_STILL_MOVES = tuple(f"_{state}" for state in (State.IN_DOUBT, State.IN_FLIGHT, State.PLANNED))

Held = list[tuple[str, pl.DataFrame]]
"""Records that are held back, by the reason."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """What the records of a phase wait for.

    Attributes:
        phase: theirs.
        parents: what is not in place and they hang on, as `cutting.missing_parents` names it; None when all is.
        keys: meter points that were to be given up and are not: `key, blocked_by`; None when all are.
    """

    phase: Phase
    parents: pl.DataFrame | None
    keys: pl.DataFrame | None

    @classmethod
    def by(cls, ledger: Ledger, run_seq: int, phase: Phase) -> Awaited:
        """What a phase of a run waits for at this moment."""
        return cls(phase, missing_parents(ledger, run_seq, phase), unreleased(ledger, run_seq, phase))

    def apart(self, records: pl.DataFrame) -> tuple[pl.DataFrame, Held]:
        """Records whose turn it is, and the others by the reason that holds them back."""
        good, held = apart(records, self.parents, self.phase)
        if self.keys is None or not good.height:
            return good, held
        wanting = (
            good.select(*KEY, pl.col("meter_point_keys").alias("key"))
            .explode("key")
            .join(self.keys, on="key")
            .group_by(KEY)
            .agg(pl.col("blocked_by").max())
        )
        marked = good.join(wanting, on=KEY, how="left", maintain_order="left")
        waiting = marked.filter(pl.col("blocked_by").is_not_null())
        groups = waiting.partition_by("blocked_by", as_dict=True, maintain_order=True)
        held += [(str(reason), group.select(records.columns)) for (reason,), group in groups.items()]
        return marked.filter(pl.col("blocked_by").is_null()).select(records.columns), held


def unreleased(ledger: Ledger, run_seq: int, phase: Phase) -> pl.DataFrame | None:
    """Meter points that locations of earlier phases were to give up and still have: `key, blocked_by`.

    A location gives up what the ledger believes it holds, less what the plan leaves it. Until that is acknowledged,
    an API that wants a meter point once refuses whoever brings it. Costs a query where nothing is open.
    """
    open_chunks = [
        chunk.manifest.select(
            *KEY,
            "bucket",
            pl.col("meter_point_keys").alias("kept"),
            pl.lit(f"release_{chunk.state}").alias("blocked_by"),
        )
        for before in TAKES_FROM.get(phase, ())
        for chunk in ledger.chunks_of_run(run_seq, before, states=NOT_DONE)
    ]
    if not open_chunks:
        return None
    found = list(_given_up(ledger, pl.concat(open_chunks)))
    # Refused is the last word; the order of the alphabet happens to be the order of hope.
    keys = pl.concat(found).group_by("key").agg(pl.col("blocked_by").max()) if found else None
    return keys if keys is not None and keys.height else None


def _given_up(ledger: Ledger, giving: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for (bucket,), some in giving.partition_by("bucket", as_dict=True, maintain_order=True).items():
        held = ledger.holdings(Kind.LOCATION.value, range(int(bucket), int(bucket) + 1))
        if held is not None:
            yield (
                held.select(*KEY, "meter_point_keys")
                .join(some, on=KEY)
                .select(pl.col("meter_point_keys").list.set_difference("kept").alias("key"), "blocked_by")
                .explode("key")
                .drop_nulls("key")
            )


def still_waits(reason: str | None) -> bool:
    """Whether what held a record back was not at its end: its turn may come in the next start."""
    return reason is not None and reason.endswith(_STILL_MOVES)
