"""What a rule is, and what it may know of the profile it is made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

import polars as pl

from schemas.coordinates import Land
from schemas.meter_points import BLANKS, HIDDEN, MeterPointScheme, Severity
from schemas.profile import GEOGRAPHIC, VEHICLE, Profile
from schemas.reference import TestArea

CONTRACT: Final = "The API's published contract (ec-sandbox-swagger.json)"

Missing = Literal["good", "broken"]
Good = Callable[["Subject"], pl.Expr | None]


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule may know when it is made for a profile.

    Attributes:
        columns: canonical columns of the export, `key:*` included.
        scheme: of the meter point ids; None without such a column.
        land: where coordinates may lie; None without coordinates or without an outline.
    """

    profile: Profile
    columns: frozenset[str]
    scheme: MeterPointScheme | None
    land: Land | None
    outside_km: float
    test_areas: tuple[TestArea, ...]

    def has(self, *names: str) -> bool:
        """Whether the export has all these columns."""
        return self.columns.issuperset(names)

    @property
    def defines(self) -> bool:
        """Whether rows define users and locations, or only refer to them."""
        return self.profile.export.of == "customers"

    @property
    def as_is(self) -> bool:
        """Whether ids go on the wire as the export has them."""
        return self.profile.identity.ids == "as-is"

    @property
    def in_degrees(self) -> bool:
        """Whether the coordinate columns hold degrees."""
        return self.profile.coordinates.crs in GEOGRAPHIC

    @property
    def place(self) -> list[str]:
        """Columns that together name the row's location."""
        if self.has("location"):
            return ["location"]
        parts = self.profile.identity.location_from
        return [part if part in self.columns else f"key:{part}" for part in parts if part != "user"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that is true of every good row.

    Attributes:
        name: that thing as a sentence; public.
        sentence: the same for people, with its limits.
        columns: canonical columns it looks at; the first is the one to blame.
        cure: what to do about a row that breaks it.
        source: who says so.
        sandbox, production: what a violation does there.
        missing: what a row without a value is.
        screens: names of screens (`screens` of its file) one of which finds every row that breaks it; empty:
            the rule itself.
        good: true of a good row; None when the rule does not apply to the profile.
    """

    name: str
    sentence: str
    columns: tuple[str, ...]
    cure: str
    source: str
    good: Good = field(repr=False)
    sandbox: Severity = "quarantine"
    production: Severity = "quarantine"
    missing: Missing = "good"
    screens: tuple[str, ...] = ()

    @property
    def about_coordinates(self) -> bool:
        """Whether `[coordinates] on_violation = "drop"` applies to it."""
        return self.columns[0] in ("latitude", "longitude", "latitude_raw", "longitude_raw")


def is_vehicle(subject: Subject) -> pl.Expr:
    """Whether the row is a vehicle, which needs no location."""
    if not subject.has("resource_type"):
        return pl.lit(value=False)
    return (pl.col("resource_type") == VEHICLE).fill_null(value=False)


def has_ink(name: str) -> pl.Expr:
    """Whether there is a value of more than blanks."""
    return pl.col(name).str.contains(rf"[^{BLANKS}{HIDDEN}\r\n]").fill_null(value=False)
