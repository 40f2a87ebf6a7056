"""The messy samples break every rule there is, each by a row that says so, and no row breaks another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.profiles import load_profile
from pipeline.conflicts import CROSS_ROW_RULES, RESOURCE_PLACE
from schemas.rules import RULES
from tests.corpus.messy import Messy, all_messy, files
from tests.corpus.reading import Seen, compare_rows, look

MESSY = all_messy()


def _paths(sample: Messy) -> tuple[Path, Path, Path]:
    export, profile, truth = files(sample)
    return export, profile, truth


def _seen(sample: Messy, environment: str) -> Seen:
    export, profile_path, _ = _paths(sample)
    profile = load_profile(str(profile_path))
    seen = look(export, profile, environment)
    compare_rows(seen, profile)
    return seen


@pytest.mark.parametrize("sample", MESSY, ids=lambda sample: sample.name)
def test_committed_files_are_the_ones_made_here(sample: Messy) -> None:
    """After a change: `python -m tests.corpus.messy`."""
    for path, content in files(sample).items():
        assert path.read_bytes() == content, path.name


@pytest.mark.parametrize("sample", MESSY, ids=lambda sample: sample.name)
def test_every_row_breaks_exactly_the_rules_it_names(sample: Messy) -> None:
    truth = json.loads(_paths(sample)[2].read_text(encoding="utf-8"))
    seen = _seen(sample, "production")
    broken = {line: sorted(rules) for line, rules in (seen.quarantined | seen.warned).items()}
    for line in seen.quarantined.keys() & seen.warned.keys():
        broken[line] = sorted(seen.quarantined[line] | seen.warned[line])
    assert broken == {int(line): rules for line, rules in truth["rules"].items()}
    assert seen.unreadable == {int(line): reason for line, reason in truth["unreadable"].items()}
    assert sorted(seen.filtered) == truth["filtered"]
    assert sorted(seen.duplicates) == truth["duplicate"]
    assert seen.read == truth["rows"]


@pytest.mark.parametrize("sample", MESSY, ids=lambda sample: sample.name)
def test_sandbox_breaks_the_same_rules_and_quarantines_no_check_digit(sample: Messy) -> None:
    production, sandbox = _seen(sample, "production"), _seen(sample, "sandbox")
    lines = {line for line, rules in production.quarantined.items() if rules == {CHECK_DIGIT}}
    assert sandbox.quarantined.keys() == production.quarantined.keys() - lines
    assert all(CHECK_DIGIT in sandbox.warned[line] for line in lines)


CHECK_DIGIT = "meter_point_id_has_valid_check_digit"


# A resource nobody says the place of has broken `resource_names_its_place` or `location_is_present` before:
# this rule is the net below them.
def test_every_registered_rule_has_a_messy_row_and_every_messy_rule_is_registered() -> None:
    named = {rule for sample in MESSY for rules in sample.rules.values() for rule in rules}
    assert named | {RESOURCE_PLACE} == {rule.name for rule in RULES} | set(CROSS_ROW_RULES)
    assert RESOURCE_PLACE not in named, "it can be broken after all: it needs no exception any more"
