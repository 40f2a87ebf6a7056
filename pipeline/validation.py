"""Canonical rows are judged: valid, or in quarantine with every rule they break.

Split, never drop: every row is in exactly one of the two, and a violation names a row, a rule and what it does,
never a value. Pandera is the engine; of what it reports only row, column and rule are taken, because the rest
(failure cases, messages) holds customers' values.

All rows meet the screens of the rulebook; only those that a screen finds doubtful meet the rules, and Pandera is
asked about the rules broken among them. Two counts of each rule, ours and Pandera's, must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
from pandera.errors import SchemaErrors

from schemas.errors import AccountError
from schemas.profile import VEHICLE
from schemas.rules import NOWHERE, UNJUDGED, ActiveRule, Rulebook

QUARANTINE: Final = "quarantine"
WARN: Final = "warn"

_SPENT: Final = (
    "location_type_raw", "resource_type_raw", "latitude_raw", "longitude_raw", "parent_meter_point",
)  # fmt: skip
"""Columns that only rules read. By name: `key:*` columns have the file's headers, which end in anything."""

VIOLATION_TYPES: Final = {"row": pl.UInt64, "rule": pl.String, "severity": pl.String}


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of a batch of canonical rows.

    Attributes:
        valid_rows: rows that break no rule of severity quarantine, without the texts as received.
        quarantined: tokens (UInt64) of all others, in order.
        violations: `row` (UInt64), `rule`, `severity` ("quarantine" or "warn"); several per row, in order of
            row, then of the rulebook.
        dropped: tokens of rows whose coordinates are dropped, in either part.
    """

    valid_rows: pl.DataFrame
    quarantined: pl.Series
    violations: pl.DataFrame
    dropped: pl.Series


def judge(canonical_rows: pl.DataFrame, rulebook: Rulebook) -> Judged:
    """Judge rows made by `to_canonical` by the rules of their profile.

    Raises:
        AccountError: rows or violations were lost on the way, which is a bug of ours.
    """
    with_facts = canonical_rows.lazy().with_columns(*rulebook.facts).collect()
    doubtful, rules = _doubtful(with_facts, rulebook)
    for fact in rulebook.closer_facts:
        doubtful = doubtful.with_columns(fact)
    violations = _violations(doubtful, rules, rulebook)
    dropped = _rows_to_blank(violations, rulebook)
    if dropped.len() and rulebook.named(NOWHERE):
        violations = pl.concat([violations, _now_nowhere(doubtful, dropped)])
    quarantined = violations.filter(pl.col("severity") == QUARANTINE)["row"].unique().sort()
    valid_rows = _without(canonical_rows, quarantined, dropped)
    if valid_rows.height + quarantined.len() != canonical_rows.height:
        raise AccountError("Judging lost rows, or a row token occurs twice.")
    return Judged(valid_rows, quarantined, violations.sort("row", maintain_order=True), dropped)


def _doubtful(with_facts: pl.DataFrame, rulebook: Rulebook) -> tuple[pl.DataFrame, list[ActiveRule]]:
    """The rows that at least one screen finds doubtful, and the rules they may break."""
    try:
        found = with_facts.lazy().select(rulebook.screens).collect()
    except pl.exceptions.PolarsError:
        return with_facts, list(rulebook.rules)
    fired = {name for name in found.columns if found[name].any()}
    rules = [rule for rule in rulebook.rules if rule.screens & fired]
    if not rules:
        return with_facts.clear(), rules
    return with_facts.filter(found.select(pl.any_horizontal(sorted(fired))).to_series()), rules


def _violations(doubtful: pl.DataFrame, rules: Sequence[ActiveRule], rulebook: Rulebook) -> pl.DataFrame:
    """`row, rule, severity` of every one of the rules that these rows break."""
    if not doubtful.height:
        return pl.DataFrame(schema=VIOLATION_TYPES)
    try:
        broken = _broken_rules(doubtful, rules)
    except pl.exceptions.PolarsError:
        return _one_by_one(doubtful, rules, rulebook)
    if not broken:
        return pl.DataFrame(schema=VIOLATION_TYPES)
    try:
        rulebook.schema(broken).validate(doubtful, lazy=True)
    except SchemaErrors as errors:
        found = errors.failure_cases.select("index", "column", "check")
    else:
        raise AccountError("Pandera found no fault in rows that break a rule.")
    if found["index"].null_count():
        # No row to blame: the frame is not of the agreed shape, or a rule failed while it was asked.
        return _one_by_one(doubtful, rules, rulebook)
    counted = dict(found.group_by("check").len().iter_rows())
    if counted != broken:
        raise AccountError(f"Two counts of a rule differ among {', '.join(sorted(broken))}.")
    return _as_violations(found, doubtful["row"], rulebook)


def _broken_rules(doubtful: pl.DataFrame, rules: Sequence[ActiveRule]) -> dict[str, int]:
    """Rule to rows that break it, of the broken ones."""
    wrong = doubtful.lazy().select((~rule.good).sum().alias(rule.name) for rule in rules).collect()
    return {name: count for name, count in wrong.row(0, named=True).items() if count}


def _as_violations(found: pl.DataFrame, tokens: pl.Series, rulebook: Rulebook) -> pl.DataFrame:
    """Pandera's positions and checks as row tokens, rules and severities, in order."""
    rules = pl.DataFrame(
        [(place, rule.name, rule.severity) for place, rule in enumerate(rulebook.rules)],
        schema=["place", "check", "severity"],
        orient="row",
    )
    placed = found.with_columns(tokens.gather(found["index"]).alias("row")).join(rules, on="check")
    return placed.sort("row", "place").select("row", pl.col("check").alias("rule"), "severity")


def _one_by_one(doubtful: pl.DataFrame, rules: Sequence[ActiveRule], rulebook: Rulebook) -> pl.DataFrame:
    """Halve until the rows on which a rule fails stand alone; they go to quarantine, the others are judged."""
    if doubtful.height == 1:
        return pl.DataFrame(
            {"row": doubtful["row"], "rule": [UNJUDGED], "severity": [QUARANTINE]}, schema=VIOLATION_TYPES
        )
    half = doubtful.height // 2
    return pl.concat([_violations(part, rules, rulebook) for part in (doubtful[:half], doubtful[half:])])


# ------------------------------------------------------------------ coordinates that are dropped
def _rows_to_blank(violations: pl.DataFrame, rulebook: Rulebook) -> pl.Series:
    """Tokens of rows that go on without their coordinates."""
    dropping = [rule.name for rule in rulebook.rules if rule.drops]
    return violations.filter(pl.col("rule").is_in(dropping))["row"].unique()


def _now_nowhere(doubtful: pl.DataFrame, dropped: pl.Series) -> pl.DataFrame:
    """The violation of rows that only their dropped coordinates could have placed."""
    rows = doubtful.filter(pl.col("row").is_in(dropped.implode()))
    if "meter_point" in rows.columns:
        rows = rows.filter(pl.col("meter_point").is_null())
    if "resource_type" in rows.columns:
        rows = rows.filter(~(pl.col("resource_type") == VEHICLE).fill_null(value=False))
    return rows.select("row", pl.lit(NOWHERE).alias("rule"), pl.lit(QUARANTINE).alias("severity"))


def _without(canonical_rows: pl.DataFrame, quarantined: pl.Series, dropped: pl.Series) -> pl.DataFrame:
    """The valid rows, in order, with our columns only."""
    valid_rows = canonical_rows.drop(_SPENT, strict=False)
    if quarantined.len():
        valid_rows = valid_rows.filter(~pl.col("row").is_in(quarantined.implode()))
    if dropped.len():
        keeps = ~pl.col("row").is_in(dropped.implode())
        valid_rows = valid_rows.with_columns(pl.when(keeps).then(pl.col("latitude", "longitude")))
    return valid_rows
