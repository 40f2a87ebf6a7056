"""An audit that could not ask is not an audit that found nothing."""

import pytest

from tests.security.audit import CLEAN, NOT_CHECKED, VULNERABLE, pinned, verdict

PINS = {"httpx": "0.28.1", "polars": "2.1.0"}
FINE = {"name": "httpx", "version": "0.28.1", "vulns": []}
BAD = {"name": "Polars", "version": "2.1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1.1"]}]}
SKIPPED = {"name": "polars", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("report", "code", "word"),
    [
        (None, NOT_CHECKED, "NOT CHECKED"),
        ({}, NOT_CHECKED, "2 of 2 packages"),
        ({"dependencies": [FINE]}, NOT_CHECKED, "1 of 2 packages, polars first"),
        ({"dependencies": [FINE, SKIPPED]}, NOT_CHECKED, "NOT CHECKED"),
        ({"dependencies": [FINE, BAD]}, VULNERABLE, "polars 2.1.0: PYSEC-1, fixed in 2.1.1"),
        ({"dependencies": [BAD]}, VULNERABLE, "1 of 2 packages, httpx first"),
        ({"dependencies": [FINE, BAD | {"vulns": []}]}, CLEAN, "2 packages were looked up"),
    ],
)
def test_only_an_answer_for_every_package_is_a_pass(report, code, word):
    found, lines = verdict(report, PINS)
    assert code == found
    assert word in "\n".join(lines)


def test_pins_are_read_without_comments():
    assert PINS == pinned("# made by hand\nhttpx==0.28.1\n\nPolars==2.1.0  # reads\n-e .\n")
