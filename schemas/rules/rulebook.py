"""The rules that hold for one profile in one environment, as Pandera checks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

import pandera.polars as pa
import polars as pl

from schemas import rows as row_shapes
from schemas.coordinates import checked_outside_km, land_within
from schemas.meter_points import SCHEMES, Severity
from schemas.profile import Profile
from schemas.reference import Reference
from schemas.rules import keys, meter_point_ids, places
from schemas.rules.meter_point_ids import CHECK_DIGIT, PREFIX
from schemas.rules.registry import RULES
from schemas.rules.rule import Rule, Subject

RULES_VERSION: Final = 1
"""Raise it when a rule changes in a way its expression does not show."""

FAMILIES: Final = (keys, meter_point_ids, places)
"""The files whose rules have screens."""

UNJUDGED: Final = "row_can_be_judged"
"""The rule of a row on which a rule itself fails: a bug of ours, and no reason to lose the rest of the file."""


@dataclass(frozen=True, slots=True)
class ActiveRule:
    """A rule as it holds for one profile in one environment.

    Attributes:
        column: the one to blame.
        good: true or null for good rows; reads canonical columns and the helper columns.
        screens: names of the screens one of which finds every row that breaks it.
        drops: a row that breaks it goes on without its coordinates (`[coordinates] on_violation = "drop"`).
    """

    name: str
    column: str
    severity: Severity
    good: pl.Expr = field(repr=False)
    screens: frozenset[str]
    drops: bool = False

    def check(self) -> pa.Check:
        """The rule as a named Pandera check; it sees the whole frame."""
        good = self.good
        return pa.Check(lambda frame: frame.lazyframe.select(good), name=self.name)


@dataclass(frozen=True, slots=True)
class Rulebook:
    """The rules that hold for a profile in an environment, ready to judge canonical rows.

    Attributes:
        rules: those that apply, in the order of `RULES`.
        facts: helper columns (`fact:*`) that screens and rules read, in terms of canonical rows.
        closer_facts: helper columns that only rules read, in terms of canonical rows and `facts`, in this order.
        screens: cheap named expressions; a row that none of them finds doubtful breaks no rule.
        digest: 16 hex characters that change when a verdict may.
    """

    profile: Profile
    environment: str
    subject: Subject = field(repr=False)
    rules: tuple[ActiveRule, ...] = field(repr=False)
    facts: tuple[pl.Expr, ...] = field(repr=False)
    closer_facts: tuple[pl.Expr, ...] = field(repr=False)
    screens: tuple[pl.Expr, ...] = field(repr=False)
    digest: str

    @classmethod
    def for_profile(
        cls,
        profile: Profile,
        environment: str,
        reference: Reference,
        *,
        columns: frozenset[str] | None = None,
    ) -> Self:
        """The rulebook of `profile`.

        Args:
            environment: "sandbox" or "production".
            columns: what the export has, if not everything the profile maps.

        Raises:
            ProfileError: a country without outline, or a distance beyond what the outlines can tell.
        """
        subject = _subject(profile, reference, frozenset(profile.headers()) if columns is None else columns)
        known = dict(family for part in FAMILIES for family in part.screens(subject))
        rules = tuple(
            made for rule in RULES if (made := _active(rule, subject, environment, frozenset(known)))
        )
        own = {rule.name: ~rule.good for rule in rules if rule.name in rule.screens}
        asked = frozenset().union(*(rule.screens for rule in rules))
        screens = {name: screen for name, screen in {**known, **own}.items() if name in asked}
        return cls(
            profile=profile,
            environment=environment,
            subject=subject,
            rules=rules,
            facts=(*meter_point_ids.facts(subject), *places.facts(subject)),
            closer_facts=tuple(places.closer_facts(subject)),
            screens=tuple(screen.fill_null(value=False).alias(name) for name, screen in screens.items()),
            digest=_digest(profile, environment, reference, rules),
        )

    def named(self, name: str) -> ActiveRule | None:
        """The rule of that name, if it applies."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def schema(self, names: Iterable[str] | None = None) -> pa.DataFrameSchema:
        """The rules as a Pandera schema over canonical rows with the helper columns; all, or those named."""
        wanted = None if names is None else set(names)
        checks: dict[str, list[pa.Check]] = {}
        for rule in self.rules:
            if wanted is None or rule.name in wanted:
                checks.setdefault(rule.column, []).append(rule.check())
        return row_shapes.with_checks(checks)


def _subject(profile: Profile, reference: Reference, columns: frozenset[str]) -> Subject:
    has_pair = columns.issuperset(("latitude", "longitude"))
    name = profile.meter_point.scheme if "meter_point" in columns else None
    return Subject(
        profile=profile,
        columns=columns,
        scheme=SCHEMES[name] if name else None,
        land=land_within(profile.coordinates.within, reference) if has_pair else None,
        outside_km=checked_outside_km(profile.guards.outside_km),
        test_areas=reference.test_areas,
    )


def _active(rule: Rule, subject: Subject, environment: str, known: frozenset[str]) -> ActiveRule | None:
    good = rule.good(subject)
    if good is None:
        return None
    severity = _severity(rule, subject, environment)
    drops = rule.about_coordinates and severity == "quarantine" and drops_coordinates(subject.profile)
    if rule.missing == "broken":
        good = good.fill_null(value=False)
    return ActiveRule(
        name=rule.name,
        column=_blamed(rule, subject),
        severity="warn" if drops else severity,
        good=good.alias(rule.name),
        screens=known.intersection(rule.screens) or frozenset({rule.name}),
        drops=drops,
    )


def drops_coordinates(profile: Profile) -> bool:
    """Whether a row with bad coordinates goes on without them."""
    return profile.coordinates.on_violation == "drop"


def _blamed(rule: Rule, subject: Subject) -> str:
    """The first column of the rule that the rows have."""
    have = {"row"} | subject.columns
    for raw in ("latitude", "longitude", "location_type", "resource_type"):
        have |= {f"{raw}_raw"} if raw in subject.columns else set()
    return next((name for name in rule.columns if name in have), "row")


def _severity(rule: Rule, subject: Subject, environment: str) -> Severity:
    in_production = environment == "production"
    severity = rule.production if in_production else rule.sandbox
    scheme = subject.scheme
    if rule.name == CHECK_DIGIT and scheme is not None and scheme.check_digit is not None:
        severity = scheme.check_digit.production if in_production else scheme.check_digit.sandbox
    if rule.name == PREFIX and scheme is not None and scheme.prefix is not None:
        severity = scheme.prefix.severity
    return severity


def _digest(profile: Profile, environment: str, reference: Reference, rules: Iterable[ActiveRule]) -> str:
    said = [str(RULES_VERSION), environment, profile.digest(), reference.digest]
    said += [f"{rule.name}\x1f{rule.severity}\x1f{rule.good}" for rule in rules]
    return hashlib.sha256("\x1e".join(said).encode()).hexdigest()[:16]
