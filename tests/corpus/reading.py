"""Read and judge a case with the real reader and the real rules, and say what became of every line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import polars as pl

from connectors.exports import OpenedExport, RawBatch, open_exports
from connectors.reference import load_reference
from pipeline.alarms import Alarms
from pipeline.canonical import to_canonical
from pipeline.conflicts import CONTESTED, ConflictPolicy, find_conflicts
from pipeline.identity import Identity
from pipeline.intake import ROWS, spool_rows
from pipeline.partition import RowShape
from pipeline.records import Folding, fold
from pipeline.resemblance import Resemblance
from pipeline.validation import judge
from schemas.profile import Profile
from schemas.reference import Reference
from schemas.rules import Rulebook
from tests.corpus.case import FIRST_LINE, Case
from tests.corpus.memory_spool import MemorySpool

LINE_MASK = (1 << 40) - 1
"""A row token holds the line in these bits."""


@dataclass(slots=True)
class Seen:
    """What became of a case, by line; lines of later exports of a folder are added up with the first's."""

    read: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)
    """Every physical line of an unreadable record, with the reason of the record."""
    filtered: set[int] = field(default_factory=set)
    quarantined: dict[int, set[str]] = field(default_factory=dict)
    warned: dict[int, set[str]] = field(default_factory=dict)
    valid: set[int] = field(default_factory=set)
    valid_rows: list[pl.DataFrame] = field(default_factory=list)
    duplicates: set[int] = field(default_factory=set)
    records: Counter[str] = field(default_factory=Counter)
    shift: int = 0
    """From what a source calls a line to the line of this class: a Parquet file has no header."""
    normalised: dict[str, int] = field(default_factory=dict)
    class_counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("unreadable", "filtered", "quarantined", "valid"), 0)
    )


@cache
def reference() -> Reference:
    """The reference data, read once."""
    return load_reference()


def see(case: Case, folder: Path) -> Seen:
    """Everything that becomes of the rows of a case; raises what stops the file."""
    return look(case.put(folder), case.read_with(), case.environment)


def look(path: Path, profile: Profile, environment: str = "production") -> Seen:
    """The same for any file."""
    seen = Seen()
    for export in open_exports([str(path)], [profile]):
        rulebook = Rulebook.for_profile(profile, environment, reference(), columns=export.columns_present())
        alarms = Alarms(export.name, rulebook)
        for batch in export.batches():
            _take(seen, batch, export, rulebook, alarms)
        alarms.raise_if_damaged()
    return seen


def _take(seen: Seen, batch: RawBatch, export: OpenedExport, rulebook: Rulebook, alarms: Alarms) -> None:
    shift = seen.shift = FIRST_LINE - 1 if export.is_parquet else 0
    for line, count, reason in batch.unreadable.iter_rows():
        seen.unreadable.update(dict.fromkeys(range(line + shift, line + shift + count), reason))
        seen.class_counts["unreadable"] += count
        seen.read += count
    seen.read += batch.rows.height
    canonical = to_canonical(batch.rows, export.profile, export.index)
    kept = _lines(canonical.rows["row"], shift)
    seen.filtered |= set((batch.rows["source_line"].cast(pl.Int64) + shift).to_list()) - set(kept)
    seen.class_counts["filtered"] += canonical.filtered
    for kind, count in canonical.normalised.items():
        seen.normalised[kind] = seen.normalised.get(kind, 0) + count
    verdict = judge(canonical.rows, rulebook)
    alarms.observe(canonical.rows, verdict)
    rules = zip(
        _lines(verdict.violations["row"], shift),
        verdict.violations["rule"].cast(pl.String),
        verdict.violations["severity"].cast(pl.String),
        strict=True,
    )
    for line in _lines(verdict.quarantined, shift):
        seen.quarantined[line] = set()
    for line, rule, severity in rules:
        found = seen.quarantined if severity == "quarantine" else seen.warned
        found.setdefault(line, set()).add(rule)
    seen.valid |= set(_lines(verdict.valid_rows["row"], shift))
    seen.valid_rows.append(verdict.valid_rows)
    seen.class_counts["quarantined"] += verdict.quarantined.len()
    seen.class_counts["valid"] += verdict.valid_rows.height


def all_classes(seen: Seen) -> dict[str, int]:
    """Rows per class after `compare_rows`, all five of them."""
    return {
        "unreadable": len(seen.unreadable),
        "filtered": len(seen.filtered),
        "quarantined": len(seen.quarantined),
        "duplicate": len(seen.duplicates),
        "mapped": len(seen.valid),
    }


def compare_rows(seen: Seen, profile: Profile) -> None:
    """Move what the rules between rows say of the valid rows of one file into `seen`."""
    identity = Identity("k" * 32, profile.identity.ids, profile.identity.unicode)
    policy = ConflictPolicy(profile.conflicts.meter_point, profile.conflicts.location)
    spool, shape = MemorySpool(), RowShape.of(profile)
    for valid_rows in seen.valid_rows:
        spool_rows(spool, valid_rows, shape, identity)
    find_conflicts(spool, policy)
    areas = reference().test_areas
    alike = Resemblance(spool, shared_by=profile.coordinates.shared_by, test_areas=areas)
    for partition in range(spool.partitions):
        rows = spool.read(ROWS, partition)
        alike.add(rows)
        folded = fold(rows, spool.read(CONTESTED, partition), Folding(identity, policy, (profile.name,)))
        for token, rule, severity in folded.violations.select("row", "rule", "severity").iter_rows():
            found = seen.quarantined if severity == "quarantine" else seen.warned
            found.setdefault((token & LINE_MASK) + seen.shift, set()).add(rule)
        seen.duplicates |= set(_lines(folded.duplicates["row"], seen.shift))
        seen.records.update({kind.value: records.height for kind, records in folded.records.items()})
    for token, rule in alike.find().select("row", "rule").iter_rows():
        seen.warned.setdefault((token & LINE_MASK) + seen.shift, set()).add(rule)
    seen.valid -= seen.quarantined.keys() | seen.duplicates


def _lines(tokens: pl.Series, shift: int) -> list[int]:
    return [(token & LINE_MASK) + shift for token in tokens.to_list()]
