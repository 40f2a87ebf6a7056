"""Runs over time: read back from their folders, compared with each profile's own history."""

from __future__ import annotations

import stat
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from connectors.reports.history import (
    Document,
    count_at,
    counts_at,
    names_at,
    record_total,
    seconds_between,
    text_at,
)

SUMMARY_LIMIT = 32_000_000
"""Bytes of a `summary.json` that is still believed to be ours."""
ENOUGH_HISTORY = 5
"""Earlier runs that must know a figure before a new one can be called unusual."""
HISTORY_LENGTH = 30
"""Earlier runs a figure is compared with."""
_SPREADS = 4.0
"""Robust standard deviations (1.4826 × median absolute deviation) off the median that are unusual."""
_LEAST_CHANGE = 0.2
"""And at least this much of the median, so that a quiet history does not cry wolf."""
_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder: its name and its `summary.json`."""

    folder: str
    document: Document

    @property
    def run_id(self) -> str:
        """The run's id, or nothing."""
        return text_at(self.document, "run_id")

    @property
    def group(self) -> tuple[str, str]:
        """Profiles and environment: runs are compared within these."""
        return ", ".join(names_at(self.document, "details", "profiles")), text_at(
            self.document, "environment"
        )

    @property
    def order(self) -> tuple[str, str]:
        """Where it stands among others: two may begin in one second, and the later one has the higher id."""
        return text_at(self.document, "started_at"), self.run_id


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that is followed over runs.

    Attributes:
        key: as in `summary.json`, or a rule's name behind `rule:`.
        unit: "count" | "share" | "seconds".
        values: one per run, oldest first; None where the run does not know it.
        odd: whether the value was unusual against the runs before it.
    """

    key: str
    label: str
    unit: str
    values: tuple[float | None, ...]
    odd: tuple[bool, ...]

    @property
    def latest(self) -> float | None:
        """The newest value."""
        return self.values[-1] if self.values else None

    @property
    def usual(self) -> float | None:
        """The median of the values before the newest."""
        known = [value for value in self.values[:-1] if value is not None][-HISTORY_LENGTH:]
        return statistics.median(known) if known else None


@dataclass(frozen=True, slots=True)
class Trend:
    """The runs of one profile in one environment, oldest first, and what is followed over them."""

    profile: str
    environment: str
    runs: tuple[Run, ...]
    measures: tuple[Measure, ...]


def load_runs(runs: Path) -> list[Run]:
    """Every run below a folder that has a readable `summary.json`, oldest first. Others are passed over."""
    found = []
    for folder in sorted(runs.iterdir()) if runs.is_dir() else []:
        document = load_summary(folder)
        if document is not None:
            found.append(Run(folder.name, document))
    return sorted(found, key=lambda run: (run.order, run.folder))


def load_summary(folder: Path) -> Document | None:
    """The `summary.json` of a run folder, or None when there is none that is ours; links are not followed."""
    path = folder / "summary.json"
    try:
        found = path.lstat()
        if folder.is_symlink() or not stat.S_ISREG(found.st_mode) or found.st_size > SUMMARY_LIMIT:
            return None
        document = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
    return document if isinstance(document, dict) and "summary_version" in document else None


def trends(runs: Sequence[Run], *, rules: int = 6) -> list[Trend]:
    """Runs grouped by profile and environment, the most recently used group first.

    Args:
        runs: oldest first.
        rules: how many rules are followed per group, the most frequent of the newest run first.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    newest_first = sorted(groups.items(), key=lambda item: runs.index(item[1][-1]), reverse=True)
    return [
        Trend(profile, environment, tuple(members), tuple(_measures(members, rules)))
        for (profile, environment), members in newest_first
    ]


def _measures(runs: Sequence[Run], rules: int) -> Iterable[Measure]:
    documents = [run.document for run in runs]
    yield _measure("rows.read", "rows read", "count", [count_at(d, "rows", "read") for d in documents])
    yield _measure("held_back", "rows held back", "share", [held_back(d) for d in documents])
    for outcome, label in (("rejected", "records rejected"), ("in_doubt", "records in doubt")):
        yield _measure(outcome, label, "count", [record_total(d, outcome) for d in documents])
    yield _measure("seconds", "duration", "seconds", _durations(documents))
    for rule in _rules_followed(documents)[:rules]:
        yield _measure(f"rule:{rule}", rule, "share", [_rule_share(d, rule) for d in documents])


def _measure(key: str, label: str, unit: str, values: Sequence[float | None]) -> Measure:
    odd = [is_unusual(value, values[:index]) for index, value in enumerate(values)]
    return Measure(key, label, unit, tuple(values), tuple(odd))


def is_unusual(value: float | None, earlier: Sequence[float | None]) -> bool:
    """Whether a value stands out against the ones before it: far from their median, by their own spread."""
    known = [other for other in earlier if other is not None][-HISTORY_LENGTH:]
    if value is None or len(known) < ENOUGH_HISTORY:
        return False
    middle = statistics.median(known)
    spread = 1.4826 * statistics.median(abs(other - middle) for other in known)
    return abs(value - middle) > max(_SPREADS * spread, _LEAST_CHANGE * abs(middle))


def held_back(document: Document) -> float | None:
    """The share of rows that are quarantined or unreadable."""
    read = count_at(document, "rows", "read")
    if not read:
        return None
    held = (count_at(document, "rows", "quarantined") or 0) + (count_at(document, "rows", "unreadable") or 0)
    return held / read


def _durations(documents: Sequence[Document]) -> list[float | None]:
    """Seconds of each run; only runs of the newest one's command, because a plan is no sync."""
    command = text_at(documents[-1], "command")
    return [
        seconds_between(text_at(d, "started_at"), text_at(d, "ended_at"))
        if text_at(d, "command") == command
        else None
        for d in documents
    ]


def _rules_followed(documents: Sequence[Document]) -> list[str]:
    """Rules that hold rows back, the most frequent over the last runs first."""
    counts: dict[str, int] = {}
    for document in documents[-HISTORY_LENGTH:]:
        for rule, rows in counts_at(document, "violations").items():
            counts[rule] = counts.get(rule, 0) + rows
    return sorted((rule for rule, rows in counts.items() if rows), key=lambda rule: (-counts[rule], rule))


def _rule_share(document: Document, rule: str) -> float | None:
    read = count_at(document, "rows", "read")
    return counts_at(document, "violations").get(rule, 0) / read if read else None


def terminal_sparkline(values: Sequence[float | None]) -> str:
    """The course of a figure in eight heights of block characters; a space where it is not known."""
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    span = high - low
    return "".join(
        " " if value is None else _BLOCKS[round((value - low) / span * 7) if span else 0] for value in values
    )
