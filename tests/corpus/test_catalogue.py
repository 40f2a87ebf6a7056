"""Every fault of the catalogue about files and rows, and every damage seen in real exports, is named by a test.

The catalogue's own words are in the project's notes; here is what each row of it is about. A case of the corpus
names its fault, and so does any other test that holds one.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from schemas.rules import BETWEEN_ROWS, RULES
from tests.corpus.test_corpus import CSV, PARQUET

TESTS = Path(__file__).parents[1]

FAULTS = {
    "IN1": "written or replaced while it is read",
    "IN2": "truncated gzip",
    "IN3": "several gzip members",
    "IN4": "a name that lies about the content",
    "IN5": "decompression bombs",
    "IN6": "zips of several, encrypted, outside, linked",
    "IN7": "empty files",
    "IN8": "far fewer or more rows than last time",
    "IN9": "a manifest that differs",
    "IN10": "delivered twice, or out of order",
    "IN11": "no permission, no file, no ordinary file",
    "IN12": "a read error in the middle",
    **{f"CS{number}": "CSV" for number in range(1, 18)},
    **{f"PQ{number}": "Parquet" for number in range(1, 9)},
    "VA1": "meter points that are none",
    "VA2": "ids that are nearly the same",
    "VA3": "ids that are dangerous in a URL",
    "VA4": "coordinates",
    "VA5": "rows that contradict each other",
    "VA6": "a rule that fails on a row",
    "VA7": "nearly every row bad",
    "VA8": "values in messages",
    "TR1": "results that depend on order or threads",
    "TR2": "rows lost between stages",
    "TR3": "a record that cannot be written as JSON",
    "TR4": "memory that grows with the rows",
}

DAMAGES = {
    "more than 15 digits become zeros": ("4.2: more than 15 digits become zeros", "column of ids ending 000"),
    "shown as 7.07E+17 and saved so": ("4.2: a whole column of exponents", "VA1 an exponent"),
    "one such cell in a clean column": ("VA1 an exponent with a point",),
    "held as a float64": ("4.2: a whole column rounded to 128", "PQ3 meter points as float64"),
    "held as an int64": ("PQ3 meter points as int64", "4.2: a leading zero lost"),
    "text tricks of spreadsheets, blanks": (
        "a spreadsheet's text formula, undone",
        "an apostrophe in front, undone",
        "blanks every three digits, undone",
    ),
    "cp1252 read as UTF-8": ("CS3 cp1252 read as UTF-8",),
    "UTF-16": ("CS2 utf-16 declared as UTF-8", "CS2 utf-16 declared"),
    "sep=; as the first line": ("CS10 sep=; declared", "CS10 sep=; not declared"),
    "a header twice": ("CS10 a mapped header twice",),
    "a short row": ("CS8 one field too few in the middle row",),
    "decimal commas": ("CS11 decimal commas where points are declared",),
    "line breaks, separators and quotes inside cells": (
        "CS6 LF inside a quoted address",
        "CS7 a separator inside quotes",
        "CS7 a stray quote in Merknad closed 10 lines later",
    ),
    "dates of spreadsheets": ("4.2: a spreadsheet's date for a customer",),
    "the encoding of the machine, a byte order mark": ("CS3 cp1252 declared", "CS1 byte order mark"),
    "cells that are formulas": ("CS15 ",),
}


COORDINATE_CHECKS = {
    "1 unparsable, NaN, infinite": "coordinates_are_numbers",
    "2 one half only": "coordinates_come_in_pairs",
    "3 out of range": "coordinates_are_within_range",
    "4 metres where degrees are declared": "coordinates_are_degrees_not_metres",
    "4 degrees where metres are declared": "coordinates_are_metres_not_degrees",
    "5 zero": "coordinates_are_not_zero",
    "6 swapped": "coordinates_are_not_swapped",
    "7 a flipped sign": "coordinates_have_the_right_signs",
    "8 outside the country": "coordinates_lie_in_the_country",
    "8 off the coast": "coordinates_lie_on_land",
    "9 the middle of a country": "coordinates_are_not_the_centre_of_the_country",
    "9 one point shared by many": "coordinates_are_shared_by_few_customers",
    "10 few decimals": "coordinates_have_four_decimals",
    "11 the same number twice": "coordinates_are_not_a_placeholder",
    "11 whole degrees": "coordinates_are_not_whole_degrees",
}
"""The checks worth having, but for three that are no rule about a row: 12 (how numbers are written) is what
`coordinates_are_numbers` reads by, 13 is the column alarm, and 14, more decimals than mean anything, is rounded off
when sent."""


@pytest.mark.parametrize("check", COORDINATE_CHECKS)
def test_every_check_of_coordinates_is_a_rule_with_a_page(check: str) -> None:
    name = COORDINATE_CHECKS[check]
    assert name in {rule.name for rule in (*RULES, *BETWEEN_ROWS)}
    assert f"`{name}`" in (TESTS.parent / "docs" / "rules.md").read_text(encoding="utf-8")


@cache
def _source() -> str:
    own = Path(__file__)
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(TESTS.rglob("*.py")) if path != own)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_the_catalogue_is_named_by_a_test(fault: str) -> None:
    in_cases = any(case.fault == fault for case in [*CSV, *PARQUET])
    in_tests = re.search(rf"\b{fault}\b|def test_{fault.lower()}_", _source())
    assert in_cases or in_tests, FAULTS[fault]


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_of_real_exports_has_its_case(damage: str) -> None:
    ids = [case.id for case in [*CSV, *PARQUET]]
    for name in DAMAGES[damage]:
        assert any(name in one for one in ids), name


def test_there_are_at_least_four_hundred_bad_inputs() -> None:
    bad = [
        case for case in [*CSV, *PARQUET] if case.refused is not None or case.unreadable or case.quarantined
    ]
    assert 400 <= len(bad)
