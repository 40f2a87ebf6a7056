"""The first equation as a law: any export, any mixture of damage, and no row is lost, made up or misjudged.

Some dozen exports are judged and folded together, as the exports of one run are, because a frame of twenty rows
costs as much as one of a thousand. Every count is taken per export all the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from connectors.exports import open_exports
from pipeline.canonical import to_canonical
from pipeline.conflicts import CONTESTED, ConflictPolicy, find_conflicts
from pipeline.identity import Identity
from pipeline.intake import ROWS, spool_rows
from pipeline.partition import RowShape
from pipeline.records import Folding, fold
from pipeline.row_token import SOURCE_SIZE
from pipeline.validation import judge
from schemas.profile import Profile
from schemas.rules import Rulebook
from tests.corpus.memory_spool import MemorySpool
from tests.corpus.reading import reference
from tests.property.any_export import AnyExport, any_export

TOGETHER = 50
ALL = 5_000

Counts = list[Counter[str]]


def classes_of(exports: Sequence[AnyExport], folder: Path) -> Counts:
    """What the loader makes of the rows of each export."""
    counts: Counts = [Counter() for _ in exports]
    spool = MemorySpool()
    canonical_rows: dict[str, list[pl.DataFrame]] = {}
    profiles = [Profile.model_validate(export.profile) for export in exports]
    for source, (export, profile) in enumerate(zip(exports, profiles, strict=True)):
        rows = _read(export, profile, source, folder / "kunder.csv", counts[source])
        canonical_rows.setdefault(profile.file.decimal, []).append(rows)
    for decimal, parts in canonical_rows.items():
        profile = next(profile for profile in profiles if profile.file.decimal == decimal)
        valid_rows = _judge(pl.concat(parts), profile, counts)
        spool_rows(spool, valid_rows, RowShape.of(profile), IDENTITY)
    _fold(spool, counts)
    return [+count for count in counts]


IDENTITY = Identity("k" * 32)


def _read(export: AnyExport, profile: Profile, source: int, path: Path, count: Counter[str]) -> pl.DataFrame:
    path.write_bytes(export.content)
    (opened,) = open_exports([str(path)], [profile])
    made = []
    for batch in opened.batches():
        count["unreadable"] += batch.unreadable["lines"].sum()
        canonical = to_canonical(batch.rows, profile, source)
        assert batch.rows.height == canonical.rows.height + canonical.filtered
        count["filtered"] += canonical.filtered
        made.append(canonical.rows)
    return pl.concat(made)


def _judge(rows: pl.DataFrame, profile: Profile, counts: Counts) -> pl.DataFrame:
    verdict = judge(rows, Rulebook.for_profile(profile, "production", reference()))
    assert verdict.valid_rows.height + verdict.quarantined.len() == rows.height
    _count(verdict.quarantined, "quarantined", counts)
    return verdict.valid_rows


def _fold(spool: MemorySpool, counts: Counts) -> None:
    find_conflicts(spool, ConflictPolicy())
    for partition in range(spool.partitions):
        rows = spool.read(ROWS, partition)
        folded = fold(
            rows, spool.read(CONTESTED, partition), Folding(IDENTITY, scopes=("corpus",) * TOGETHER)
        )
        in_conflict = folded.violations.filter(pl.col("severity") == "quarantine")["row"].unique()
        mapped = folded.provenance.collect()["row"].unique()
        assert in_conflict.len() + folded.duplicates.height + mapped.len() == rows.height
        _count(in_conflict, "quarantined", counts)
        _count(folded.duplicates["row"], "duplicate", counts)
        _count(mapped, "mapped", counts)


def _count(tokens: pl.Series, what: str, counts: Counts) -> None:
    for source, count in (tokens // SOURCE_SIZE).value_counts().iter_rows():
        counts[source][what] += count


def _check(first: int, count: int, folder: Path) -> None:
    exports = [any_export(seed) for seed in range(first, first + count)]
    found = classes_of(exports, folder)
    wrong = {
        first + place: {"made": dict(export.expected), "found": dict(seen)}
        for place, (export, seen) in enumerate(zip(exports, found, strict=True))
        if seen != export.expected
    }
    assert wrong == {}, "by seed"


@pytest.mark.parametrize("first", range(0, ALL, TOGETHER))
def test_every_row_of_five_thousand_exports_has_the_class_it_was_made_for(first: int, tmp_path: Path) -> None:
    """TR2: the law is held by every export of a run, not on average."""
    _check(first, TOGETHER, tmp_path)


def test_one_export_alone(tmp_path: Path) -> None:
    """`METERFEED_SEED=17 pytest …` looks at one export alone."""
    _check(int(os.environ.get("METERFEED_SEED", "0")), 1, tmp_path)
