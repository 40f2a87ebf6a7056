"""The figures of a data-quality report: what `pipeline/quality.py` measures and `connectors/reports` shows.

Nothing here identifies a customer: ids are masked, values are given as shapes, prefixes and map areas with
fewer than `SMALLEST_GROUP` rows are folded away.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec

QUALITY_VERSION = 1
SMALLEST_GROUP = 5
"""Rows a prefix or a map area must have to be shown."""
BIN_LATITUDE, BIN_LONGITUDE = 0.5, 1.0
"""Edges of a map area in degrees: 55 km from south to north, and as much from west to east at 60° N."""


@dataclass(frozen=True, slots=True)
class ViolationExample:
    """One row that breaks a rule: file, line, masked id, and the shape of the offending value."""

    file: str
    line: int
    masked_id: str = ""
    column: str = ""
    shape: str = ""


@dataclass(frozen=True, slots=True)
class RuleFigure:
    """A broken rule: severity, rows that break it, rows that break nothing else, rows per file, examples."""

    rule: str
    severity: str
    rows: int
    alone: int = 0
    by_file: tuple[tuple[str, int], ...] = ()
    examples: tuple[ViolationExample, ...] = ()


@dataclass(frozen=True, slots=True)
class UnreadableFigure:
    """Physical lines that could not be read, by reason, with examples (file and line)."""

    reason: str
    rows: int
    examples: tuple[ViolationExample, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """A named part of a column: a length, a prefix or a value, and the rows that have it."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column of the canonical rows.

    Attributes:
        rows: rows in which the column could be filled.
        filled: rows in which it is.
        distinct: different values; exact or within about 1 %, see `distinct_exact`.
        shortest, longest: in characters; None for columns of numbers or without any value.
        lengths: the commonest lengths, most rows first; the rest is folded into "other".
        prefixes: only for meter point columns; the rest is folded into "other".
        values: only for columns whose values are out of a closed list.
        check_digit_checked, check_digit_passed: None when the column has no check digit.
        ends_in_zeros: filled values ending in 000 (spreadsheets cut ids to 15 digits); None: not counted.
    """

    column: str
    rows: int
    filled: int
    distinct: int
    distinct_exact: bool
    shortest: int | None = None
    longest: int | None = None
    lengths: tuple[Share, ...] = ()
    prefixes: tuple[Share, ...] = ()
    values: tuple[Share, ...] = ()
    check_digit_checked: int | None = None
    check_digit_passed: int | None = None
    ends_in_zeros: int | None = None


@dataclass(frozen=True, slots=True)
class RulePair:
    """Two rules and the rows that break both."""

    first: str
    second: str
    rows: int


@dataclass(frozen=True, slots=True)
class MapArea:
    """An area of the map: its south-west corner in degrees, rows that are good and rows in quarantine.

    A count below `SMALLEST_GROUP` is 0 here and added to `MapFigure.hidden`.
    """

    latitude: float
    longitude: float
    good: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class MapFigure:
    """Where the rows lie.

    Attributes:
        hidden: rows in areas too thin to show.
        without: rows that have no coordinates, or go on without them.
        quarantined: rows in quarantine, shown, hidden or without; None in figures of earlier versions.
    """

    areas: tuple[MapArea, ...]
    hidden: int
    without: int
    quarantined: int | None = None
    latitude_step: float = BIN_LATITUDE
    longitude_step: float = BIN_LONGITUDE


@dataclass(frozen=True, slots=True)
class CustomerFigures:
    """Customers among the good rows.

    Attributes:
        total: different customers.
        compensable: those with at least one meter point (the API pays compensation by meter point only).
        in_test_area: those with a location inside one of the test areas.
        by_test_area: customers per test area.
    """

    total: int
    compensable: int
    in_test_area: int
    by_test_area: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class QualityFigures:
    """Everything the data-quality page shows.

    Attributes:
        rows: canonical rows measured (neither unreadable nor filtered).
        quarantined: rows among them that break a rule of severity quarantine.
        rules_per_row: how many quarantined or warned rows break one rule, two, three or more.
        customers: None when the run did not get that far.
    """

    rows: int
    quarantined: int
    rules: tuple[RuleFigure, ...]
    unreadable: tuple[UnreadableFigure, ...]
    columns: tuple[ColumnProfile, ...]
    together: tuple[RulePair, ...]
    rules_per_row: tuple[Share, ...]
    map: MapFigure
    customers: CustomerFigures | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, with `quality_version`."""
        document: dict[str, Any] = msgspec.to_builtins(asdict(self))
        return {"quality_version": QUALITY_VERSION, **document}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> QualityFigures:
        """The inverse of `to_json`; unknown keys are ignored.

        Raises:
            msgspec.ValidationError: a value is not of its type.
        """
        return msgspec.convert(document, cls)
