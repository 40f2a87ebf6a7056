"""Figures about the rows, gathered batch by batch: pure, mergeable, nothing personal at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.row_token import SOURCE_SIZE
from pipeline.sketch import DistinctCount, hashes
from schemas.masking import masked_id, shape_of
from schemas.quality import (
    BIN_LATITUDE,
    BIN_LONGITUDE,
    SMALLEST_GROUP,
    ColumnProfile,
    CustomerFigures,
    MapArea,
    MapFigure,
    QualityFigures,
    RuleFigure,
    RulePair,
    Share,
    UnreadableFigure,
    ViolationExample,
)
from schemas.rules import BETWEEN_ROWS, CHECK_DIGIT, FORM, RULES

EXAMPLES_PER_RULE = 5
AREAS_KEPT = 5_000
"""Map areas kept, the fullest; the customers of one country fill some hundreds."""
FILES_KEPT = 50
"""Files named per rule, the worst first."""
SHARES_SHOWN = 8
"""Lengths, prefixes and values named per column; the rest is "other"."""
PREFIX_LENGTH = 7
"""Characters of a meter point that name country and grid company (domain: GS1 company prefixes)."""
METER_POINT_COLUMNS = ("meter_point", "parent_meter_point", "metering_location")
CLOSED_COLUMNS = ("location_type", "resource_type")
PROFILED = ("user", "location", *METER_POINT_COLUMNS, *CLOSED_COLUMNS, "latitude", "longitude", "resource")
IDENTIFYING = ("meter_point", "location", "user")
"""What an example is known by: the first of these that its row has."""
_RULE_COLUMNS = {rule.name: rule.columns for rule in RULES} | {
    rule.name: rule.columns for rule in BETWEEN_ROWS
}
QUARANTINE = "quarantine"

Example = tuple[str, str, str]
"""Masked id, columns, shapes."""


@dataclass(slots=True)
class _Column:
    """What is gathered about one column."""

    rows: int = 0
    filled: int = 0
    distinct: DistinctCount = field(default_factory=DistinctCount)
    lengths: Counter[int] = field(default_factory=Counter)
    prefixes: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    ends_in_zeros: int = 0

    def merge(self, other: _Column) -> None:
        self.rows += other.rows
        self.filled += other.filled
        self.distinct.merge(other.distinct)
        self.lengths.update(other.lengths)
        self.prefixes.update(other.prefixes)
        self.values.update(other.values)
        self.ends_in_zeros += other.ends_in_zeros


@dataclass(slots=True)
class _Rule:
    """What is gathered about one rule of one severity; examples by row token."""

    rows: int = 0
    alone: int = 0
    by_source: Counter[int] = field(default_factory=Counter)
    examples: dict[int, Example] = field(default_factory=dict)

    def merge(self, other: _Rule) -> None:
        self.rows += other.rows
        self.alone += other.alone
        self.by_source.update(other.by_source)
        for row, example in other.examples.items():
            self.keep_example(row, example)

    def keep_example(self, row: int, example: Example) -> None:
        """Keep the first rows of the run, whatever order the batches come in."""
        self.examples[row] = example
        if len(self.examples) > EXAMPLES_PER_RULE:
            del self.examples[max(self.examples)]


@dataclass(slots=True)
class _Unreadable:
    rows: int = 0
    first: list[int] = field(default_factory=list)

    def merge(self, other: _Unreadable) -> None:
        self.rows += other.rows
        self.first = sorted(self.first + other.first)[:EXAMPLES_PER_RULE]


class QualityGauge:
    """Gathers the figures of the data-quality report while the rows go by.

    Args:
        files: display names of the exports, by source number.
        rule_columns: which canonical columns a rule looks at, for the shapes in examples; default: `RULES`.
        check_digits_in: numbers of the exports whose ids have a check digit; default: all.
        test_areas: name to WKT polygon (longitude before latitude).
    """

    def __init__(
        self,
        files: Sequence[str],
        *,
        rule_columns: Mapping[str, Sequence[str]] | None = None,
        check_digits_in: Collection[int] | None = None,
        test_areas: Mapping[str, str] | None = None,
    ) -> None:
        self._files = tuple(files)
        self._rule_columns = rule_columns or _RULE_COLUMNS
        self._check_digits_in = check_digits_in
        self._test_areas = {name: shapely.from_wkt(wkt) for name, wkt in sorted((test_areas or {}).items())}
        self._rows = 0
        self._quarantined = 0
        self._without_coordinates = 0
        self._nowhere_quarantined = 0
        self._check_digits = 0
        self._columns: dict[str, _Column] = {}
        self._rules: dict[tuple[str, str], _Rule] = {}
        self._unreadable: dict[str, _Unreadable] = {}
        self._together: Counter[tuple[str, str]] = Counter()
        self._rules_per_row: Counter[int] = Counter()
        self._areas: Counter[tuple[int, int, bool]] = Counter()
        self._customers: Counter[str] = Counter()
        self._customers_counted = False

    # ------------------------------------------------------------------ gathering
    def add_rows(
        self, rows: pl.DataFrame, violations: pl.DataFrame, *, dropped: pl.Series | None = None
    ) -> None:
        """Measure a batch of canonical rows with the violations judged in it (`row, rule, severity`).

        Args:
            dropped: tokens of rows that go on without their coordinates; default: none does.
        """
        broken = _once(violations)
        self._rows += rows.height
        self._measure_columns(rows)
        self._measure_check_digits(rows, broken)
        self._measure_areas(rows, broken, dropped)
        self._count_rules(broken, rows)

    def add_unreadable(self, source: int, unreadable: pl.DataFrame) -> None:
        """Count unreadable lines (`RawBatch.unreadable`: `source_line, lines, reason`)."""
        for reason, lines, first in (
            unreadable.group_by("reason")
            .agg(pl.col("lines").sum(), pl.col("source_line").sort().head(EXAMPLES_PER_RULE).alias("first"))
            .iter_rows()
        ):
            found = _Unreadable(int(lines), [source * SOURCE_SIZE + line for line in first])
            self._unreadable.setdefault(reason, _Unreadable()).merge(found)

    def add_violations(
        self,
        violations: pl.DataFrame,
        rows: pl.DataFrame | None = None,
        *,
        before: pl.DataFrame | None = None,
    ) -> None:
        """Count violations found later, between batches (conflicts), in rows that were measured.

        Args:
            rows: the rows they are about, as they are spooled; without them, examples show file and line only, and
                the map does not move rows to quarantine.
            before: the violations of the same rows that were counted earlier (`row, rule, severity`).
        """
        broken = _once(violations)
        earlier = _once(broken.clear() if before is None else before)
        self._count_rules(broken, rows, earlier)
        self._quarantine_areas(_now_quarantined(broken, earlier), rows)

    def withdraw(self, left_out: pl.DataFrame, blanked: pl.DataFrame) -> None:
        """Take good rows out of the count, and others off the map: the flag of another row protects their address."""
        self._rows -= left_out.height
        for rows in (left_out, blanked):
            placed, areas = _areas(rows, pl.Series([], dtype=pl.UInt64))
            for latitude, longitude, quarantined, count in areas:
                self._areas[latitude, longitude, quarantined] -= count
                if not self._areas[latitude, longitude, quarantined]:
                    del self._areas[latitude, longitude, quarantined]
            self._without_coordinates += placed if rows is blanked else placed - rows.height

    def add_customers(self, rows: pl.DataFrame) -> None:
        """Count the customers of one partition: good rows, all rows of a customer in the same partition.

        Args:
            rows: `user`, or its hash `user_key`, and `meter_point`, `latitude`, `longitude` where the
                export has them. A partition without rows has no columns.
        """
        self._customers_counted = True
        if rows.is_empty():
            return
        user = "user_key" if "user_key" in rows.columns else "user"
        has_meter_point = "meter_point" in rows.columns
        compensable = pl.col("meter_point").is_not_null().any() if has_meter_point else pl.lit(value=False)
        areas = [_inside(rows, area).alias(f"area:{name}") for name, area in self._test_areas.items()]
        by_user = (
            rows.select(user, *(["meter_point"] if has_meter_point else []))
            .with_columns(areas)
            .group_by(user)
            .agg(compensable.alias("compensable"), *(pl.col(area.name).any() for area in areas))
        )
        self._customers["total"] += by_user.height
        for name in by_user.columns[1:]:
            self._customers[name] += int(by_user[name].sum())
        anywhere = pl.any_horizontal(pl.lit(value=False), *(area.name for area in areas))
        self._customers["in_test_area"] += int(by_user.select(anywhere.sum()).item())

    def merge(self, other: QualityGauge) -> None:
        """Add what another gauge has seen (other batches of the same run)."""
        self._rows += other._rows
        self._quarantined += other._quarantined
        self._without_coordinates += other._without_coordinates
        self._nowhere_quarantined += other._nowhere_quarantined
        self._check_digits += other._check_digits
        for name, column in other._columns.items():
            self._columns.setdefault(name, _Column()).merge(column)
        for key, rule in other._rules.items():
            self._rules.setdefault(key, _Rule()).merge(rule)
        for reason, unreadable in other._unreadable.items():
            self._unreadable.setdefault(reason, _Unreadable()).merge(unreadable)
        self._together.update(other._together)
        self._rules_per_row.update(other._rules_per_row)
        self._areas.update(other._areas)
        self._customers.update(other._customers)
        self._customers_counted = self._customers_counted or other._customers_counted

    # ------------------------------------------------------------------ measuring a batch
    def _measure_columns(self, rows: pl.DataFrame) -> None:
        names = [name for name in PROFILED if name in rows.columns]
        names += sorted(name for name in rows.columns if name.startswith("key:"))
        texts = {name: _text_of(name, rows) for name in names}
        wanted = [
            *(pl.col(name).is_not_null().sum().alias(f"filled {name}") for name in names),
            *(pl.col(text).str.ends_with("000").sum().alias(f"zeros {name}")
              for name, text in texts.items() if text and name in METER_POINT_COLUMNS),
        ]  # fmt: skip
        counted = rows.select(wanted).row(0, named=True)
        hashed = rows.select(hashes(text).alias(name) for name, text in texts.items() if text)
        for name in names:
            column = self._columns.setdefault(name, _Column())
            column.rows += rows.height
            column.filled += counted[f"filled {name}"]
            column.ends_in_zeros += counted.get(f"zeros {name}", 0) or 0
            if name in hashed.columns:
                column.distinct.add(hashed[name])
            _count_parts(column, name, texts[name], rows)

    def _measure_check_digits(self, rows: pl.DataFrame, broken: pl.DataFrame) -> None:
        """Count the ids that the rule looks at: those of the right form, whatever else is wrong with them."""
        if "meter_point" not in rows.columns:
            return
        filled = rows.select("row").filter(rows["meter_point"].is_not_null())
        misshapen = broken.filter(rule=FORM).select("row").unique()
        if self._check_digits_in is not None:
            has_one = (pl.col("row") // SOURCE_SIZE).is_in(sorted(self._check_digits_in))
            filled, misshapen = filled.filter(has_one), misshapen.filter(has_one)
        self._check_digits += filled.height - misshapen.height

    def _measure_areas(self, rows: pl.DataFrame, broken: pl.DataFrame, dropped: pl.Series | None) -> None:
        bad = broken.filter(severity=QUARANTINE)["row"].unique()
        keep = rows if dropped is None or dropped.is_empty() else rows.filter(_is_none_of(dropped))
        placed, areas = _areas(keep, bad)
        self._without_coordinates += rows.height - placed
        self._nowhere_quarantined += bad.len()
        for latitude, longitude, quarantined, count in areas:
            self._areas[latitude, longitude, quarantined] += count
            self._nowhere_quarantined -= count if quarantined else 0

    def _quarantine_areas(self, bad: pl.DataFrame, rows: pl.DataFrame | None) -> None:
        """Rows that were on the map as good ones are in quarantine now."""
        self._nowhere_quarantined += bad.height
        if rows is None or bad.is_empty():
            return
        placed, areas = _areas(rows.join(bad, on="row", how="semi"), bad["row"])
        self._nowhere_quarantined -= placed
        for latitude, longitude, _, count in areas:
            self._areas[latitude, longitude, False] -= count
            self._areas[latitude, longitude, True] += count

    def _count_rules(
        self, broken: pl.DataFrame, rows: pl.DataFrame | None, before: pl.DataFrame | None = None
    ) -> None:
        if broken.is_empty():
            return
        broken = broken.with_columns(pl.len().over("row").alias("of_row"))
        if before is None:
            before = broken.clear()
        if before.height:
            broken = self._beside(broken, before)
        per_row = broken.unique("row", keep="any")
        for count, found in per_row.group_by(pl.col("of_row").clip(upper_bound=3)).len().iter_rows():
            self._rules_per_row[count] += found
        self._quarantined += _now_quarantined(broken, before).height
        self._count_each(broken)
        several = broken.filter(pl.col("of_row") > 1)
        self._count_pairs(several, several)
        self._pick_examples(broken, rows)

    def _beside(self, broken: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
        """Take back what is no longer true of rows that broke rules before; `broken` with all rules `of_row`."""
        before = before.with_columns(pl.len().over("row").alias("had"))
        per_row = before.unique("row", keep="any")
        for count, found in per_row.group_by(pl.col("had").clip(upper_bound=3)).len().iter_rows():
            self._rules_per_row[count] -= found
        for name, severity, found in before.filter(had=1).group_by("rule", "severity").len().iter_rows():
            self._rules.setdefault((name, severity), _Rule()).alone -= found
        self._count_pairs(broken, before)
        self._count_pairs(before, broken)
        had = broken.join(per_row.select("row", "had"), on="row", how="left", maintain_order="left")
        return had.with_columns(pl.col("of_row") + pl.col("had").fill_null(0)).drop("had")

    def _count_each(self, broken: pl.DataFrame) -> None:
        source = pl.col("row") // SOURCE_SIZE
        each = broken.group_by("rule", "severity", source.alias("source")).agg(
            pl.len().alias("rows"), (pl.col("of_row") == 1).sum().alias("alone")
        )
        for name, severity, file, count, alone in each.iter_rows():
            rule = self._rules.setdefault((name, severity), _Rule())
            rule.rows += count
            rule.alone += alone
            rule.by_source[file] += count

    def _count_pairs(self, broken: pl.DataFrame, others: pl.DataFrame) -> None:
        """Rows that break a rule of the one and, later in the alphabet, a rule of the other."""
        pairs = (
            broken.select("row", "rule")
            .join(others.select("row", pl.col("rule").alias("other")), on="row")
            .filter(pl.col("rule") < pl.col("other"))
            .group_by("rule", "other")
            .len()
        )
        for first, second, count in pairs.iter_rows():
            self._together[first, second] += count

    def _pick_examples(self, broken: pl.DataFrame, rows: pl.DataFrame | None) -> None:
        first = (
            broken.group_by("rule", "severity")
            .agg(pl.col("row").sort().head(EXAMPLES_PER_RULE))
            .explode("row")
            .sort("row")
        )
        details: dict[int, dict[str, object]] = {}
        if rows is not None:
            named = rows.filter(pl.col("row").is_in(first["row"].unique().implode()))
            details = {row["row"]: row for row in named.iter_rows(named=True)}
        for name, severity, row in first.iter_rows():
            self._rules[name, severity].keep_example(row, self._example(name, details.get(row)))

    def _example(self, rule: str, row: Mapping[str, object] | None) -> Example:
        """Masked id, column and shape of the value that breaks the rule."""
        if row is None:
            return "", "", ""
        columns = dict.fromkeys(name.removesuffix("_raw") for name in self._rule_columns.get(rule, ()))
        known = [name for name in columns if name in row]
        shapes = [shape_of(_as_text(row.get(f"{name}_raw", row[name]))) for name in known]
        identity = next((row[name] for name in IDENTIFYING if row.get(name)), None)
        said = ["location" if name == "place" else name for name in known]
        return masked_id(_as_text(identity)), ", ".join(said), " | ".join(shapes)

    # ------------------------------------------------------------------ the figures
    def figures(self) -> QualityFigures:
        """What was seen so far."""
        return QualityFigures(
            rows=self._rows,
            quarantined=self._quarantined,
            rules=self._rule_figures(),
            unreadable=self._unreadable_figures(),
            columns=tuple(self._profile(name, column) for name, column in self._columns.items()),
            together=tuple(
                RulePair(first, second, rows)
                for (first, second), rows in sorted(
                    self._together.items(), key=lambda pair: (-pair[1], pair[0])
                )
            ),
            rules_per_row=tuple(
                Share(name, self._rules_per_row[count])
                for count, name in ((1, "one rule"), (2, "two rules"), (3, "three or more"))
            ),
            map=self._map(),
            customers=self._customer_figures(),
        )

    def _rule_figures(self) -> tuple[RuleFigure, ...]:
        figures = [
            RuleFigure(
                rule=name,
                severity=severity,
                rows=rule.rows,
                alone=rule.alone,
                by_file=tuple(
                    (self._file(source), rows)
                    for source, rows in sorted(rule.by_source.items(), key=lambda item: (-item[1], item[0]))
                )[:FILES_KEPT],
                examples=tuple(
                    ViolationExample(self._file(row // SOURCE_SIZE), row % SOURCE_SIZE, *example)
                    for row, example in sorted(rule.examples.items())
                ),
            )
            for (name, severity), rule in self._rules.items()
        ]
        return tuple(sorted(figures, key=lambda rule: (rule.severity != QUARANTINE, -rule.rows, rule.rule)))

    def _unreadable_figures(self) -> tuple[UnreadableFigure, ...]:
        return tuple(
            UnreadableFigure(
                reason,
                found.rows,
                tuple(
                    ViolationExample(self._file(row // SOURCE_SIZE), row % SOURCE_SIZE) for row in found.first
                ),
            )
            for reason, found in sorted(self._unreadable.items(), key=lambda item: (-item[1].rows, item[0]))
        )

    def _file(self, source: int) -> str:
        return self._files[source] if source < len(self._files) else f"source {source}"

    def _profile(self, name: str, column: _Column) -> ColumnProfile:
        checked, passed = self._check_digit_figures() if name == "meter_point" else (None, None)
        lengths = {str(length): rows for length, rows in column.lengths.items()}
        return ColumnProfile(
            column=name,
            rows=column.rows,
            filled=column.filled,
            distinct=column.distinct.estimate(),
            distinct_exact=column.distinct.is_exact,
            shortest=min(column.lengths, default=None),
            longest=max(column.lengths, default=None),
            lengths=_shares(lengths, smallest=1),
            prefixes=_shares(column.prefixes, smallest=SMALLEST_GROUP),
            values=_shares(column.values, smallest=1),
            check_digit_checked=checked,
            check_digit_passed=passed,
            ends_in_zeros=column.ends_in_zeros if name in METER_POINT_COLUMNS else None,
        )

    def _check_digit_figures(self) -> tuple[int | None, int | None]:
        """Ids of the right form, and those among them whose check digit is right."""
        if self._check_digits_in is not None and not self._check_digits_in:
            return None, None
        failed = sum(rule.rows for (name, _), rule in self._rules.items() if name == CHECK_DIGIT)
        return self._check_digits, self._check_digits - failed

    def _map(self) -> MapFigure:
        shown: dict[tuple[int, int], list[int]] = {}
        hidden = 0
        for (latitude, longitude, quarantined), rows in self._areas.items():
            if rows < SMALLEST_GROUP:
                hidden += rows
            else:
                shown.setdefault((latitude, longitude), [0, 0])[quarantined] = rows
        largest = sorted(shown.items(), key=lambda area: (-sum(area[1]), area[0]))
        hidden += sum(sum(counts) for _, counts in largest[AREAS_KEPT:])
        areas = tuple(
            MapArea(latitude * BIN_LATITUDE, longitude * BIN_LONGITUDE, good, quarantined)
            for (latitude, longitude), (good, quarantined) in sorted(largest[:AREAS_KEPT])
        )
        placed = sum(rows for (*_, quarantined), rows in self._areas.items() if quarantined)
        return MapFigure(
            areas=areas,
            hidden=hidden,
            without=self._without_coordinates,
            quarantined=placed + self._nowhere_quarantined,
        )

    def _customer_figures(self) -> CustomerFigures | None:
        if not self._customers_counted:
            return None
        areas = sorted(name for name in self._customers if name.startswith("area:"))
        return CustomerFigures(
            total=self._customers["total"],
            compensable=self._customers["compensable"],
            in_test_area=self._customers["in_test_area"],
            by_test_area=tuple(Share(name.removeprefix("area:"), self._customers[name]) for name in areas),
        )


def _areas(rows: pl.DataFrame, bad: pl.Series) -> tuple[int, Iterable[tuple[Any, ...]]]:
    """How many rows are somewhere, and how many in each square of the map, good and bad apart."""
    if not {"latitude", "longitude"} <= set(rows.columns):
        return 0, ()
    degrees = pl.col("latitude").is_between(-90, 90) & pl.col("longitude").is_between(-180, 180)
    placed = rows.select("row", "latitude", "longitude").filter(degrees)
    areas = (
        placed.select(
            (pl.col("latitude") / BIN_LATITUDE).floor().cast(pl.Int32),
            (pl.col("longitude") / BIN_LONGITUDE).floor().cast(pl.Int32),
            pl.col("row").is_in(bad.implode()).alias("quarantined"),
        )
        .group_by("latitude", "longitude", "quarantined")
        .len()
    )
    return placed.height, areas.iter_rows()


def _once(violations: pl.DataFrame) -> pl.DataFrame:
    """Each row and rule once, as text."""
    return violations.select("row", pl.col("rule", "severity").cast(pl.String)).unique()


def _now_quarantined(broken: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """`row` of those that break a rule of severity quarantine and broke none before."""
    bad = [found.filter(severity=QUARANTINE).select("row") for found in (broken, before)]
    return bad[0].unique().join(bad[1], on="row", how="anti")


def _is_none_of(tokens: pl.Series) -> pl.Expr:
    return ~pl.col("row").is_in(tokens.implode())


def _text_of(name: str, rows: pl.DataFrame) -> str | None:
    """The column that holds the text of `name`: itself, or what was received when it was parsed."""
    if rows.schema[name] == pl.String:
        return name
    raw = f"{name}_raw"
    return raw if rows.schema.get(raw) == pl.String else None


def _count_parts(column: _Column, name: str, text: str | None, rows: pl.DataFrame) -> None:
    """Lengths, prefixes and closed values of one column."""
    if text is None:
        return
    lengths = rows.select(pl.col(text).str.len_chars().alias("part"))
    column.lengths.update(_counted(lengths))
    if name in METER_POINT_COLUMNS:
        size = pl.min_horizontal(pl.lit(PREFIX_LENGTH, pl.UInt32), pl.col(text).str.len_chars() // 2)
        column.prefixes.update(_counted(rows.select(pl.col(text).str.slice(0, size).alias("part"))))
    if name in CLOSED_COLUMNS:
        column.values.update(_counted(rows.select(pl.col(name).alias("part"))))


def _counted(parts: pl.DataFrame) -> dict[Any, int]:
    """Rows per non-null value of the column `part`."""
    return dict(parts.filter(pl.col("part").is_not_null()).group_by("part").len().iter_rows())


def _shares(counts: Mapping[str, int], *, smallest: int) -> tuple[Share, ...]:
    """The most frequent parts; thin ones and the tail are folded into "other"."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [Share(name, rows) for name, rows in ranked if rows >= smallest][:SHARES_SHOWN]
    other = sum(counts.values()) - sum(share.rows for share in named)
    return tuple([*named, Share("other", other)] if other else named)


def _inside(rows: pl.DataFrame, area: BaseGeometry) -> pl.Series:
    """Whether each row lies inside; only those in the area's bounding box are looked at closely."""
    if not {"latitude", "longitude"} <= set(rows.columns):
        return pl.Series("inside", [False] * rows.height, pl.Boolean)
    west, south, east, north = area.bounds
    near = pl.col("latitude").is_between(south, north) & pl.col("longitude").is_between(west, east)
    inside = rows.select(near.fill_null(value=False).alias("inside"))["inside"]
    close = inside.arg_true()
    if close.len():
        places = rows.select("longitude", "latitude")[close]
        inside[close] = shapely.contains_xy(
            area, places["longitude"].to_numpy(), places["latitude"].to_numpy()
        )
    return inside


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)


def merged(gauges: Iterable[QualityGauge]) -> QualityGauge:
    """One gauge with everything several have seen; the first one is changed and returned.

    Raises:
        ValueError: there is none.
    """
    first, *rest = gauges
    for gauge in rest:
        first.merge(gauge)
    return first
