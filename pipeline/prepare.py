"""From exports to records: read, judge, spool, compare across rows, fold. Nothing here talks to the API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pipeline.alarms import Alarms
from pipeline.canonical import PROTECTED, to_canonical
from pipeline.identity import Identity
from pipeline.intake import spare, spool_rows
from pipeline.partition import RowShape, partition_count
from pipeline.ports import Export, Notice, PlanSpool, World
from pipeline.protection import Shielded, spool_marks
from pipeline.quality import QualityGauge
from pipeline.records import Folded
from pipeline.row_token import SOURCE_SIZE, source_columns
from pipeline.validation import VIOLATION_TYPES, judge
from schemas.details import RuleNote
from schemas.errors import ProfileError
from schemas.masking import masked_ids
from schemas.meter_points import SCHEMES
from schemas.profile import Profile
from schemas.reference import Reference, TestArea
from schemas.rules import Rulebook
from schemas.summary import RowCounts


@dataclass(slots=True)
class Tally:
    """Counts of rows while they go by; `counts` gives them as the first equation wants them."""

    read: int = 0
    unreadable: int = 0
    filtered: int = 0
    quarantined: int = 0
    duplicate: int = 0
    mapped: int = 0
    by_source: Counter[int] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    normalised: Counter[str] = field(default_factory=Counter)

    def counts(self) -> RowCounts:
        """The rows of the run.

        Raises:
            AccountError: the first equation does not hold.
        """
        rows = RowCounts(
            self.read, self.unreadable, self.filtered, self.quarantined, self.duplicate, self.mapped
        )
        rows.check()
        return rows


@dataclass(slots=True)
class Judged:
    """Everything that was read and judged.

    Attributes:
        tally: counts of rows so far; duplicates and mapped rows come with the fold.
        spool: valid rows by customer.
        violations: per batch, `row, rule, severity, masked_id` of the broken rules about single rows.
        between: the same of rules between rows, known once folded; each in order of rows, as in `violations`.
        unreadable: `row, reason` of what could not be read.
        gauge: figures of the quality report.
        corrections: sources that are corrections of earlier exports.
        test_areas: places where everybody may be.
    """

    tally: Tally
    spool: PlanSpool
    gauge: QualityGauge
    violations: list[pl.DataFrame]
    unreadable: list[pl.DataFrame]
    profiles: Sequence[Profile]
    shapes: Sequence[RowShape]
    corrections: frozenset[int] = frozenset()
    test_areas: tuple[TestArea, ...] = ()
    between: list[pl.DataFrame] = field(default_factory=list)
    rule_notes: tuple[RuleNote, ...] = ()
    notes: list[str] = field(default_factory=list)
    blind: int = 0
    """Rows of full exports that may name any customer: unreadable, or with a customer number that is none."""
    unplaced: int = 0
    """Such rows of any export that defines locations: they may name any location."""

    def take_folded(self, rows: pl.DataFrame, folded: Folded) -> None:
        """Add what is known only when all rows of a customer are together."""
        held_back = folded.violations.filter(pl.col("severity") == "quarantine")["row"]
        kept = rows.filter(~pl.col("row").is_in(held_back.implode())) if held_back.len() else rows
        self.gauge.add_customers(kept)
        self.tally.duplicate += folded.counts.duplicate
        self.tally.mapped += folded.counts.mapped
        self.tally.quarantined += folded.counts.quarantined
        if folded.violations.height:
            _count_rules(self.tally, folded.violations)
            before = _about(folded.violations["row"], self.violations)
            self.between.append(_with_masked_ids(folded.violations.sort("row"), rows.sort("row")))
            self.gauge.add_violations(folded.violations, rows, before=before)

    def take_shielded(self, shielded: Shielded) -> None:
        """Add what the flags of other rows took from rows, or whole rows: they are filtered, as flagged ones are."""
        self.tally.filtered += shielded.left_out.height
        self.tally.normalised[PROTECTED] += shielded.beside
        self.gauge.withdraw(shielded.left_out, shielded.blanked)

    def take_late(self, violations: pl.DataFrame) -> None:
        """Add warnings that are known only when all customers have been seen."""
        if violations.height:
            _count_rules(self.tally, violations)
            before = _about(violations["row"], [*self.violations, *self.between])
            self.between.append(
                violations.sort("row").with_columns(pl.lit(None, pl.String).alias("masked_id"))
            )
            self.gauge.add_violations(violations, before=before)

    def violation_frames(self, files: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Broken rules as lines of `violations.parquet`."""
        for frame in (*self.violations, *self.between):
            yield frame.select(
                *source_columns(files),
                pl.col("rule").cast(pl.String),
                pl.col("severity").cast(pl.String),
                "masked_id",
            )

    def marks(self, sources: int) -> list[pl.DataFrame]:
        """Per source, the lines to keep aside: `source_line, rules` (why, unreadable rows included)."""
        broken = [
            frame.filter(pl.col("severity").cast(pl.String) == "quarantine").select(
                "row", pl.col("rule").cast(pl.String)
            )
            for frame in (*self.violations, *self.between)
        ]
        lost = [
            frame.select(
                (pl.col("source").cast(pl.UInt64) * SOURCE_SIZE + pl.col("source_line")).alias("row"),
                pl.col("reason").cast(pl.String).alias("rule"),
            )
            for frame in self.unreadable
        ]
        both = [*broken, *lost]
        if not both:
            return [_NO_MARKS] * sources
        marked = (
            pl.concat(both)
            .group_by("row")
            .agg(pl.col("rule").unique(maintain_order=True).alias("rules"))
            .sort("row")
            .select(
                (pl.col("row") // SOURCE_SIZE).alias("source"),
                (pl.col("row") % SOURCE_SIZE).cast(pl.UInt32).alias("source_line"),
                "rules",
            )
        )
        return [marked.filter(pl.col("source") == source).drop("source") for source in range(sources)]


_NO_MARKS = pl.DataFrame(schema={"source_line": pl.UInt32, "rules": pl.List(pl.String)})


def identity_of(profiles: Sequence[Profile], key: str) -> Identity:
    """How this run makes ids.

    Raises:
        ProfileError: the profiles of one run do not make ids in one way, so their records could not meet.
    """
    ways = {(profile.identity.ids, profile.identity.unicode) for profile in profiles}
    if len(ways) > 1:
        raise ProfileError(
            "The profiles of one run make ids in different ways.",
            cure="Give them the same [identity] ids and unicode, or load the exports one after the other.",
        )
    ids, unicode = ways.pop()
    return Identity(key, ids, unicode)


def partitions_for(exports: Sequence[Export], *, shared: bool = False) -> int:
    """How many partitions these exports deserve; `shared`: by several workers."""
    return partition_count(sum(export.row_estimate() for export in exports), shared=shared)


def rulebook_of(export: Export, profile: Profile, environment: str, reference: Reference) -> Rulebook:
    """The rules that hold for an export."""
    return Rulebook.for_profile(profile, environment, reference, columns=export.columns_present())


def judge_exports(
    exports: Sequence[Export],
    profiles: Sequence[Profile],
    *,
    environment: str,
    reference: Reference,
    identity: Identity,
    spool: PlanSpool,
    world: World,
    over: Callable[[], bool] = lambda: False,
) -> Judged:
    """Read every row of every export once, judge it, and spool it by customer when it is good.

    Args:
        exports: in order; `profiles[i]` reads `exports[i]`.

    Raises:
        ExportError: an export is not what its profile says; nothing was sent.
    """
    files = [export.name for export in exports]
    gauge = _gauge(files, profiles, reference)
    judged = Judged(Tally(), spool, gauge, [], [], profiles, [RowShape.of(profile) for profile in profiles])
    judged.test_areas = reference.test_areas
    judged.corrections = frozenset(export.index for export in exports if export.is_correction)
    for export, profile in zip(exports, profiles, strict=True):
        rulebook = rulebook_of(export, profile, environment, reference)
        alarms = Alarms(export.name, rulebook, is_correction=export.is_correction)
        for batch in export.batches():
            if over():
                return judged
            _take(judged, batch.rows, batch.unreadable, export, profile, rulebook, alarms, identity)
            world.notice(Notice("judge", judged.tally.read, None, "rows"))
        alarms.raise_if_damaged()
        judged.notes += [f"{alarm.message} {alarm.cure}" for alarm in alarms.warnings()]
    return judged


def _gauge(files: Sequence[str], profiles: Sequence[Profile], reference: Reference) -> QualityGauge:
    """What measures the rows; check digits only where a scheme has one."""
    schemes = [profile.meter_point.scheme for profile in profiles]
    return QualityGauge(
        files,
        check_digits_in=[at for at, name in enumerate(schemes) if name and SCHEMES[name].check_digit],
        test_areas={area.name: area.outline for area in reference.test_areas},
    )


def _take(
    judged: Judged,
    raw_rows: pl.DataFrame,
    unreadable: pl.DataFrame,
    export: Export,
    profile: Profile,
    rulebook: Rulebook,
    alarms: Alarms,
    identity: Identity,
) -> None:
    tally, source = judged.tally, export.index
    lost = int(unreadable["lines"].sum()) if unreadable.height else 0
    tally.read += raw_rows.height + lost
    tally.by_source[source] += raw_rows.height + lost
    tally.unreadable += lost
    if lost:
        judged.gauge.add_unreadable(source, unreadable)
        judged.unreadable.append(unreadable.with_columns(pl.lit(source, pl.UInt32).alias("source")))
    canonical = to_canonical(raw_rows, profile, source)
    tally.filtered += canonical.filtered
    tally.normalised.update(canonical.normalised)
    verdict = judge(canonical.rows, rulebook)
    alarms.observe(canonical.rows, verdict)
    tally.quarantined += verdict.quarantined.len()
    shape = judged.shapes[source]
    nameless = lost + spare(
        judged.spool, canonical.rows, verdict.quarantined, verdict.violations, shape, identity
    )
    judged.blind += nameless if profile.export.kind == "full" else 0
    judged.unplaced += nameless if shape.defines else 0
    _count_rules(tally, verdict.violations)
    judged.violations.append(_with_masked_ids(verdict.violations, canonical.rows))
    judged.gauge.add_rows(canonical.rows, verdict.violations, dropped=verdict.dropped)
    spool_rows(judged.spool, verdict.valid_rows, shape, identity)
    skip = profile.protect.action == "skip"
    spool_marks(judged.spool, canonical.flagged, shape, identity, skip=skip)


def _with_masked_ids(violations: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Violations with the end of the row's meter point beside them; `rows` are in order of their tokens."""
    if violations.is_empty() or "meter_point" not in rows.columns:
        return violations.with_columns(pl.lit(None, pl.String).alias("masked_id"))
    places = rows["row"].search_sorted(violations["row"])
    named = rows.select("meter_point")[places].select(masked_ids("meter_point"))
    return violations.with_columns(named.to_series().alias("masked_id"))


def _about(rows: pl.Series, frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """`row, rule, severity` of these rows out of frames that are each in order of rows.

    Looked up by halving, for a piece of the fold asks a run's worth of frames for a few rows of each.
    """
    wanted = rows.unique().sort().to_numpy()
    found = [pl.DataFrame(schema=VIOLATION_TYPES)]
    for frame in frames:
        if frame.is_empty():
            continue
        tokens = frame["row"].to_numpy()
        first, after = np.searchsorted(wanted, tokens[0]), np.searchsorted(wanted, tokens[-1], "right")
        near = wanted[first:after]
        begins, ends = np.searchsorted(tokens, near), np.searchsorted(tokens, near, "right")
        lines = ends - begins
        places = np.repeat(ends - np.cumsum(lines), lines) + np.arange(lines.sum())
        if len(places):
            found.append(frame[places])
    return pl.concat(frame.select("row", pl.col("rule", "severity").cast(pl.String)) for frame in found)


def _count_rules(tally: Tally, violations: pl.DataFrame) -> None:
    for rule, severity, count in violations.group_by("rule", "severity").len().iter_rows():
        (tally.violations if severity == "quarantine" else tally.warnings)[str(rule)] += count
