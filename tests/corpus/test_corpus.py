"""Every curated bad input ends in the class the documents give it, and no row of it is unaccounted for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schemas.errors import ColumnAlarm, ExportError
from tests.corpus.case import ROW_CLASSES, Case
from tests.corpus.container_cases import container_cases
from tests.corpus.csv_cases import csv_cases
from tests.corpus.parquet_cases import parquet_cases
from tests.corpus.reading import Seen, see
from tests.corpus.value_cases import value_cases

CSV = [*container_cases(), *csv_cases(), *value_cases()]
PARQUET = parquet_cases()

CUSTOMER_VALUES = re.compile(r"707057[0-9]{12}|K0000|A0000|Påfunnveien|@eksempel|60[.,]1")
"""What rows of the corpus hold and no message may show."""


@pytest.mark.parametrize("case", [*CSV, *PARQUET], ids=lambda case: case.id)
def test_bad_input_ends_in_its_class(case: Case, tmp_path: Path) -> None:
    try:
        seen = see(case, tmp_path)
    except ExportError as refusal:
        _check_refusal(case, refusal)
    else:
        assert case.refused is None, f"was read: {seen.class_counts}"
        _check_rows(case, seen)


def _check_refusal(case: Case, refusal: ExportError) -> None:
    assert case.refused is not None or case.may_be_refused, f"was refused: {refusal}"
    assert refusal.exit_code == 11
    assert refusal.cure
    assert not CUSTOMER_VALUES.search(str(refusal))
    if case.alarm:
        assert isinstance(refusal, ColumnAlarm)
    assert not case.refused or any(word in str(refusal) for word in case.refused), str(refusal)


def _check_rows(case: Case, seen: Seen) -> None:
    assert seen.read == case.rows
    assert sum(seen.class_counts.values()) == case.rows
    wanted: dict[int, str] = {}
    for line, reason in case.unreadable.items():
        wanted.update(dict.fromkeys(range(line, line + case.heights.get(line, 1)), "unreadable"))
        if reason is not None:
            assert seen.unreadable.get(line) == reason
    wanted |= dict.fromkeys(case.filtered, "filtered") | dict.fromkeys(case.quarantined, "quarantined")
    found = _classes(seen)
    odd = {line: what for line, what in found.items() if what != wanted.get(line, "valid")}
    odd = {line: what for line, what in odd.items() if what not in case.loose.get(line, ())}
    assert odd == {}, f"wanted {wanted}, rules {seen.quarantined}"
    for line, rules in case.quarantined.items():
        assert rules <= seen.quarantined[line]
    for line, rules in case.warned.items():
        assert rules <= seen.warned.get(line, set())
        assert seen.warned.get(line), "no rule warned"


def _classes(seen: Seen) -> dict[int, str]:
    by_class = dict(
        zip(ROW_CLASSES, (seen.unreadable, seen.filtered, seen.quarantined, seen.valid), strict=True)
    )
    return {line: name for name, lines in by_class.items() for line in lines}


def test_corpus_holds_what_was_promised() -> None:
    """At least 300 CSV and 100 Parquet inputs, each with a name of its own."""
    names = [case.id for case in [*CSV, *PARQUET]]
    assert len(CSV) >= 300
    assert len(PARQUET) >= 100
    assert len(set(names)) == len(names)


FAULTS = {
    *(f"IN{number}" for number in (2, 3, 4, 5, 6, 7, 11)),
    *(f"CS{number}" for number in range(1, 18) if number != 13),
    *(f"PQ{number}" for number in range(1, 9)),
    *(f"VA{number}" for number in range(1, 5)),
    *("2.2", "2.3", "4.2"),
}
"""Rows of the fault catalogue and of the damage tables. CS13 is 4.2; what needs a moving file, several files,
a ledger or a guard (IN1, IN8 to IN10, IN12, VA5 to VA8) is tested where those are."""


def test_corpus_covers_every_row_of_the_catalogue() -> None:
    assert {case.fault for case in [*CSV, *PARQUET]} == FAULTS
