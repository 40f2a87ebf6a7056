"""Rules about words out of closed lists, and about what resources and their types need of each other."""

from __future__ import annotations

from typing import Final

import polars as pl

from schemas.rules.rule import CONTRACT, Good, Rule, Subject, is_vehicle


def _word_is_known(name: str) -> Good:
    def good(subject: Subject) -> pl.Expr | None:
        if not subject.has(name):
            return None
        return pl.col(f"{name}_raw").is_null() | pl.col(name).is_not_null()

    return good


def _resource_has_a_type(subject: Subject) -> pl.Expr | None:
    if not subject.has("resource", "resource_type"):
        return None
    return pl.col("resource").is_null() | pl.col("resource_type_raw").is_not_null()


def _type_has_a_resource(subject: Subject) -> pl.Expr | None:
    if not subject.has("resource", "resource_type"):
        return None
    if subject.defines:
        return pl.col("resource").is_not_null() | pl.col("resource_type_raw").is_null()
    return pl.col("resource").is_not_null()


def _resource_names_its_place(subject: Subject) -> pl.Expr | None:
    if subject.defines or not subject.has("resource_type"):
        return None
    known = [part for part in (*subject.place, "meter_point") if part in subject.columns]
    named = pl.any_horizontal(pl.lit(value=False), *(pl.col(part).is_not_null() for part in known))
    return named | is_vehicle(subject)


LOCATION_TYPE_RULES: Final = (
    Rule(
        name="location_type_is_known",
        sentence="The type of the location is one the API has (Unknown, Residential, Commercial, Other), or a word "
        "that `[values.location_type]` gives a meaning.",
        columns=("location_type_raw", "location_type"),
        cure='List the word in [values.location_type], or add "*" = "Unknown" for all others.',
        source=CONTRACT,
        good=_word_is_known("location_type"),
    ),
)

RESOURCE_RULES: Final = (
    Rule(
        name="resource_has_a_type",
        sentence="A row that names a resource says of which type it is.",
        columns=("resource_type_raw", "resource"),
        cure="Fill in the type.",
        source=CONTRACT,
        good=_resource_has_a_type,
        missing="broken",
    ),
    Rule(
        name="resource_is_present",
        sentence="A row that gives the type of a resource names it; in an export of resources every row does.",
        columns=("resource", "resource_type_raw"),
        cure="Fill in the resource id.",
        source=CONTRACT,
        good=_type_has_a_resource,
        missing="broken",
    ),
    Rule(
        name="resource_type_is_known",
        sentence="The type of the resource is one the API has (Generic, Vehicle, Charger, HotWaterTank, HVAC, "
        "SolarInverter), or a word that `[values.resource_type]` gives a meaning.",
        columns=("resource_type_raw", "resource_type"),
        cure='List the word in [values.resource_type], or add "*" = "Generic" for all others.',
        source=CONTRACT,
        good=_word_is_known("resource_type"),
    ),
    Rule(
        name="resource_names_its_place",
        sentence="In an export of resources, a row names the location or the meter point its resource stands at. A "
        "vehicle needs none.",
        columns=("location", "meter_point"),
        cure="Fill in the location or the meter point id.",
        source=CONTRACT,
        good=_resource_names_its_place,
        missing="broken",
    ),
)
