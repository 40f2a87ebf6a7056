"""Rows and profiles that the tests of canonical rows, rules and alarms share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from connectors.reference import load_reference
from pipeline.canonical import to_canonical
from pipeline.validation import Judged, judge
from schemas.profile import Profile
from schemas.rules import Rulebook

REFERENCE = load_reference()

GOOD: dict[str, str | None] = {
    "user": "K00000001",
    "location": "A000000001",
    "location_type": "Residential",
    "meter_point": "707057500068553617",
    "latitude": "60.10501",
    "longitude": "7.35001",
}

PROFILE: dict[str, Any] = {
    "name": "test",
    "country": "NO",
    "columns": {name: name for name in GOOD},
}


def profile(**changes: Any) -> Profile:
    """`PROFILE` with tables merged over its own; a column given as None is taken away."""
    tables: dict[str, Any] = {**PROFILE}
    for table, value in changes.items():
        merges = isinstance(value, Mapping) and isinstance(tables.get(table), Mapping)
        tables[table] = {**tables[table], **value} if merges else value
    tables["columns"] = {name: header for name, header in tables["columns"].items() if header is not None}
    return Profile.model_validate(tables)


def raw_rows(rows: Sequence[Mapping[str, str | None]]) -> pl.DataFrame:
    """Rows as the reader gives them: text, and the line and number of each."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(GOOD)
    return pl.DataFrame(
        {name: [row.get(name) for row in rows] for name in names}, schema=dict.fromkeys(names, pl.String)
    ).with_columns(
        pl.int_range(2, len(rows) + 2, dtype=pl.UInt32).alias("source_line"),
        pl.int_range(1, len(rows) + 1, dtype=pl.UInt32).alias("source_record"),
    )


def judged(
    rows: Sequence[Mapping[str, str | None]], wanted: Profile | None = None, environment: str = "production"
) -> Judged:
    """Rows read with a profile and judged."""
    chosen = wanted or profile()
    known = set(chosen.headers())
    mapped = raw_rows([{name: value for name, value in row.items() if name in known} for row in rows])
    rulebook = Rulebook.for_profile(chosen, environment, REFERENCE)
    return judge(to_canonical(mapped, chosen, 0).rows, rulebook)


def unscreened(rulebook: Rulebook) -> Rulebook:
    """The same rules, with screens that find every row doubtful in every way."""
    names = sorted(frozenset[str]().union(*(rule.screens for rule in rulebook.rules)))
    everything = tuple(pl.col("row").is_not_null().alias(name) for name in names)
    return dataclasses.replace(rulebook, screens=everything)


def overlooked(canonical_rows: pl.DataFrame, rulebook: Rulebook) -> list[str]:
    """Rules broken in rows that no screen of theirs finds: what another screen finds is judged now and then."""
    found = canonical_rows.with_columns(*rulebook.facts).with_columns(*rulebook.screens)
    for fact in rulebook.closer_facts:
        found = found.with_columns(fact)
    return [
        rule.name
        for rule in rulebook.rules
        if found.filter(~rule.good, ~pl.any_horizontal(sorted(rule.screens))).height
    ]


def broken(
    row: Mapping[str, str | None], wanted: Profile | None = None, environment: str = "production"
) -> dict[str, str]:
    """Rule to severity of what one row breaks."""
    violations = judged([row], wanted, environment).violations
    return dict(zip(violations["rule"].to_list(), violations["severity"].to_list(), strict=True))
