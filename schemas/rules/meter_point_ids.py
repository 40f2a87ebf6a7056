"""Rules about meter point ids; what is particular to a country is in `schemas/meter_points.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import polars as pl

from schemas.meter_points import LOOK_ALIKES, LookAlike, MeterPointScheme
from schemas.rules.rule import Good, Rule, Subject, is_vehicle

WELL_FORMED: Final = "fact:meter_point"
"""Helper column: the meter point id ready for arithmetic; null when it is not well formed or missing."""

GAS_POINT: Final = "meter_point_id_is_not_a_gas_point"
CHECK_DIGIT: Final = "meter_point_id_has_valid_check_digit"
FORM: Final = "meter_point_id_has_the_form_of_its_scheme"
PREFIX: Final = "meter_point_id_has_prefix_of_its_scheme"
NOWHERE: Final = "location_has_meter_point_or_coordinates"


def _scheme_rule(of: Callable[[MeterPointScheme], pl.Expr | None]) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        return of(subject.scheme) if subject.scheme is not None else None

    return good


def _has_form(_scheme: MeterPointScheme) -> pl.Expr:
    return pl.col(WELL_FORMED).is_not_null() | pl.col("meter_point").is_null()


def _has_prefix(scheme: MeterPointScheme) -> pl.Expr | None:
    return scheme.has_prefix(pl.col(WELL_FORMED)) if scheme.prefix else None


def _has_check_digit(scheme: MeterPointScheme) -> pl.Expr | None:
    return scheme.check_digit.is_valid(pl.col(WELL_FORMED)) if scheme.check_digit else None


def _is_no_sub_meter(subject: Subject) -> pl.Expr | None:
    if not subject.has("meter_point", "parent_meter_point"):
        return None
    return pl.col("parent_meter_point") == pl.col("meter_point")


def _look_alike_rule(look_alike: LookAlike) -> Rule:
    def good(subject: Subject) -> pl.Expr | None:
        scheme = subject.scheme
        if scheme is None:
            return None
        if look_alike.rule == GAS_POINT and scheme.gas and subject.profile.meter_point.carrier is None:
            return ~scheme.is_gas(pl.col(WELL_FORMED))
        pattern = scheme.patterns().get(look_alike.rule)
        if pattern is None:
            return None
        return pl.col(WELL_FORMED).is_not_null() | ~pl.col("meter_point").str.contains(pattern)

    return Rule(
        name=look_alike.rule,
        sentence=f"The meter point id is not {look_alike.is_it}.",
        columns=("meter_point",),
        cure=look_alike.cure,
        source=look_alike.source,
        good=good,
        screens=("malformed", "gas") if look_alike.rule == GAS_POINT else ("malformed",),
    )


def _row_has_meter_point(subject: Subject) -> pl.Expr | None:
    named = subject.place or subject.profile.identity.location_from  # the latter may be the customer alone
    if named or not subject.defines or not subject.has("meter_point"):
        return None
    return pl.col("meter_point").is_not_null() | is_vehicle(subject)


def _has_meter_point_or_coordinates(subject: Subject) -> pl.Expr | None:
    if not subject.defines:
        return None
    given = [
        name
        for name in ("meter_point", "latitude_raw", "longitude_raw")
        if name in _with_raw(subject.columns)
    ]
    known = pl.any_horizontal(pl.lit(value=False), *(pl.col(name).is_not_null() for name in given))
    return known | is_vehicle(subject)


def _with_raw(columns: frozenset[str]) -> frozenset[str]:
    return columns | {f"{name}_raw" for name in ("latitude", "longitude") if name in columns}


def facts(subject: Subject) -> Iterator[pl.Expr]:
    """Helper columns that these rules and their screens read, in terms of canonical rows."""
    if subject.scheme is not None:
        yield subject.scheme.form.well_formed(pl.col("meter_point")).alias(WELL_FORMED)


def screens(subject: Subject) -> Iterator[tuple[str, pl.Expr]]:
    """Names and cheap expressions that find every row that can break a rule that names them."""
    if subject.scheme is None:
        return
    well_formed = pl.col(WELL_FORMED)
    yield "malformed", well_formed.is_null() & pl.col("meter_point").is_not_null()
    if subject.scheme.gas and subject.profile.meter_point.carrier is None:
        yield "gas", subject.scheme.is_gas(well_formed)


METER_POINT_RULES: Final = (
    Rule(
        name=NOWHERE,
        sentence="The row has a meter point id or coordinates, without which the API does not take a location.",
        columns=("meter_point", "latitude", "longitude"),
        cure="Fill in the meter point id; only with it can the customer be compensated.",
        source="https://docs.voluespark.com/guides/energy-coordination/adding-resources",
        good=_has_meter_point_or_coordinates,
        missing="broken",
    ),
    Rule(
        name="row_has_a_meter_point",
        sentence="Where neither `[columns] location` nor `[identity] location_from` names locations, the meter point "
        "id does, and the row has one.",
        columns=("meter_point",),
        cure="Fill in the meter point id, or name the columns that tell locations apart.",
        source="A location without a name of its own is known by its meter point",
        good=_row_has_meter_point,
        missing="broken",
    ),
    Rule(
        name=FORM,
        sentence="The meter point id has exactly the length and the characters of its scheme.",
        columns=("meter_point",),
        cure="Map the right column, or export it as text; what a profile may undo is listed under "
        "[meter_point] normalise.",
        source="See the schemes below",
        good=_scheme_rule(_has_form),
        screens=("malformed",),
    ),
    Rule(
        name=PREFIX,
        sentence="The meter point id begins as ids of its scheme do.",
        columns=("meter_point",),
        cure="Check [meter_point] scheme; ids of another country belong into an export with its own profile.",
        source="See the schemes below",
        good=_scheme_rule(_has_prefix),
    ),
    Rule(
        name=CHECK_DIGIT,
        sentence="The check digit of the meter point id agrees with its other digits. The vendor's own printed "
        "example (707057500012345678) does not, so the sandbox only warns.",
        columns=("meter_point",),
        cure="Correct the id in the source system. No digit is ever repaired here.",
        source="See the schemes below",
        good=_scheme_rule(_has_check_digit),
        sandbox="warn",
    ),
    *(_look_alike_rule(look_alike) for look_alike in LOOK_ALIKES.values()),
    Rule(
        name="meter_point_id_is_not_a_sub_meter",
        sentence="The meter point is not a part of another one (`parent_meter_point` is empty or the id itself).",
        columns=("meter_point", "parent_meter_point"),
        cure="Leave sub-meters out of the export: the parent's id is the one that is billed.",
        source="https://docs.eloverblik.dk (field descriptions)",
        good=_is_no_sub_meter,
    ),
)
