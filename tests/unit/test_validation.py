"""Split, never drop: what is valid, what is in quarantine, and what Pandera is trusted with."""

from __future__ import annotations

import dataclasses
from typing import Any

import polars as pl
import pytest

from pipeline import validation
from pipeline.canonical import to_canonical
from pipeline.validation import judge
from schemas.errors import AccountError
from schemas.rows import ValidRows
from schemas.rules import UNJUDGED, Rulebook
from tests.unit.judging import GOOD, REFERENCE, broken, judged, profile, raw_rows, unscreened

BAD = {**GOOD, "meter_point": "123", "latitude": "95.00001"}
ROUGH = {**GOOD, "latitude": "60.1", "longitude": "7.3"}
DROP = {"coordinates": {"on_violation": "drop"}}


def rulebook(**changes: Any) -> Rulebook:
    return Rulebook.for_profile(profile(**changes), "production", REFERENCE)


def test_every_row_is_valid_or_in_quarantine() -> None:
    verdict = judged([GOOD, BAD, ROUGH, BAD])

    assert verdict.valid_rows["row"].to_list() == [2, 4]
    assert verdict.quarantined.to_list() == [3, 5]
    assert verdict.quarantined.dtype == pl.UInt64


def test_violations_come_in_order_of_row_and_registry() -> None:
    assert judged([BAD, GOOD, ROUGH]).violations.rows() == [
        (2, "meter_point_id_has_the_form_of_its_scheme", "quarantine"),
        (2, "coordinates_are_within_range", "quarantine"),
        (4, "coordinates_have_four_decimals", "warn"),
    ]


def test_valid_rows_hold_our_columns_only() -> None:
    valid_rows = judged([GOOD, ROUGH]).valid_rows

    ValidRows.validate(valid_rows, lazy=True)
    assert set(valid_rows.columns) == {"row", *GOOD}


def test_columns_of_the_files_own_headers_are_passed_on_whatever_they_end_in() -> None:
    wanted = profile(
        columns={"location": None, "metering_location": "MeLo", "parent_meter_point": "M2"},
        identity={"location_from": ["user", "adresse_raw", "parent_meter_point_raw"]},
    )
    own = {"key:adresse_raw": "Storgata 1", "key:parent_meter_point_raw": "2"}
    row = {**GOOD, **own, "metering_location": "DE1", "parent_meter_point": GOOD["meter_point"]}
    valid_rows = judged([row], wanted).valid_rows

    ValidRows.validate(valid_rows, lazy=True)
    assert {"row", *row} - {"location", "parent_meter_point"} == set(valid_rows.columns)


def test_no_rows_are_no_trouble() -> None:
    rows = to_canonical(raw_rows([GOOD]).clear(), profile(), 0).rows
    verdict = judge(rows, rulebook())

    assert (verdict.valid_rows.height, verdict.quarantined.len(), verdict.violations.height) == (0, 0, 0)


def test_rows_that_are_all_good_are_not_copied_into_pandera(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rulebook, "schema", lambda *_: pytest.fail("asked"))

    assert judged([GOOD] * 3).valid_rows.height == 3


# ------------------------------------------------------------------ coordinates that are dropped
def test_a_row_may_go_on_without_its_bad_coordinates() -> None:
    verdict = judged(
        [GOOD, {**GOOD, "latitude": "95.00001"}, {**GOOD, "longitude": None}, ROUGH], profile(**DROP)
    )

    assert verdict.quarantined.len() == 0
    assert verdict.valid_rows["latitude"].to_list() == [60.10501, None, None, 60.1]
    assert verdict.valid_rows["longitude"].to_list() == [7.35001, None, None, 7.3]
    assert set(verdict.violations["severity"]) == {"warn"}


def test_a_row_that_only_its_bad_coordinates_place_is_in_quarantine() -> None:
    row = {**GOOD, "latitude": "95.00001", "meter_point": None}

    assert broken(row, profile(**DROP)) == {
        "coordinates_are_within_range": "warn",
        "location_has_meter_point_or_coordinates": "quarantine",
    }


def test_a_resource_stands_where_its_row_names_the_location_without_coordinates() -> None:
    columns = {"resource": "resource", "resource_type": "resource_type", "meter_point": None}
    wanted = profile(**DROP, export={"of": "resources"}, columns=columns)
    row = {**GOOD, "resource": "E1", "resource_type": "Charger", "latitude": "abc"}

    assert {"coordinates_are_numbers": "warn"} == broken(row, wanted)


def test_a_bad_meter_point_quarantines_a_row_whose_coordinates_are_dropped() -> None:
    found = broken(BAD, profile(**DROP))

    assert found["meter_point_id_has_the_form_of_its_scheme"] == "quarantine"
    assert found["coordinates_are_within_range"] == "warn"


# ------------------------------------------------------------------ bugs of ours
def with_rule(good: pl.Expr) -> Rulebook:
    """A rulebook whose rule about location types is another one."""
    book = rulebook()
    rules = [
        dataclasses.replace(rule, good=good.alias(rule.name))
        if rule.name == "location_type_is_known"
        else rule
        for rule in book.rules
    ]
    return unscreened(dataclasses.replace(book, rules=tuple(rules)))


def test_a_rule_that_fails_on_a_row_costs_that_row_and_no_other() -> None:
    """VA6."""
    fails_on_words = pl.col("location").cast(pl.Int64, strict=True) > 0
    raw = raw_rows([{**GOOD, "location": text} for text in ("1", "two", "3", "4", "five")])
    verdict = judge(to_canonical(raw, profile(), 0).rows, with_rule(fails_on_words))

    assert verdict.valid_rows["row"].to_list() == [2, 4, 5]
    assert verdict.violations.rows() == [(3, UNJUDGED, "quarantine"), (6, UNJUDGED, "quarantine")]


def test_a_screen_that_fails_makes_every_row_doubtful() -> None:
    book = rulebook()
    fails = pl.col("location").cast(pl.Int64, strict=True).is_null().alias("odd_user")
    verdict = judge(
        to_canonical(raw_rows([BAD, GOOD]), profile(), 0).rows, dataclasses.replace(book, screens=(fails,))
    )

    assert verdict.quarantined.to_list() == [2]


def test_two_counts_that_differ_are_a_bug_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = validation._broken_rules
    monkeypatch.setattr(
        validation, "_broken_rules", lambda *args: {rule: count + 1 for rule, count in honest(*args).items()}
    )
    with pytest.raises(AccountError):
        judged([BAD])


def test_a_row_token_that_occurs_twice_is_a_bug_and_said() -> None:
    rows = to_canonical(raw_rows([BAD]), profile(), 0).rows

    with pytest.raises(AccountError):
        judge(pl.concat([rows, rows]), rulebook())


def test_no_value_is_in_the_words_of_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pandera's own message quotes failure cases; it must not be part of what is raised."""
    honest = validation._broken_rules
    monkeypatch.setattr(
        validation, "_broken_rules", lambda *args: {rule: count + 1 for rule, count in honest(*args).items()}
    )
    with pytest.raises(AccountError) as raised:
        judged([{**GOOD, "meter_point": "7999"}])

    assert "7999" not in str(raised.value)
    assert raised.value.__context__ is None or "7999" not in str(raised.value.__context__)
