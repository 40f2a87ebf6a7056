"""Every rule about a single row: one entry in one of these files, and nothing about it anywhere else.

* `keys.py`: the texts that become ids; `meter_point_ids.py`; `places.py`: coordinates; `words.py`: types
* `between_rows.py`: what only several rows together can break (held by `pipeline/conflicts.py`)
* `rule.py`: what a rule is; `rulebook.py`: the rules that hold for one profile

A rule's name is a sentence that is true of a good row. It is the same name in the Pandera schema, the quarantine,
the reports, `docs/rules.md` (made from here by `python -m schemas.rules_doc`) and the tests. To add a rule, add an
entry; to add a scheme of meter point ids, see `schemas/meter_points.py`.

**Nulls.** A row without a value keeps every rule about that value: `good` is null and counts as true. Only the
rules whose `missing` is "broken" ask whether there is one.

**Screens.** Most rows are good, so all rows meet only a few cheap expressions, the screens; the rows that one
of them finds doubtful meet the rules. A rule names the screens that find *every* row that breaks it (a test
compares with judging all rows by all rules). Where none of them can be had, the rule is its own screen.
"""

from __future__ import annotations

from schemas.rules.between_rows import BETWEEN_ROWS, RuleBetweenRows
from schemas.rules.meter_point_ids import CHECK_DIGIT, FORM, NOWHERE, PREFIX
from schemas.rules.places import COAST_KM, OUTSIDE
from schemas.rules.registry import BY_NAME, RULES
from schemas.rules.rule import Rule, Subject
from schemas.rules.rulebook import UNJUDGED, ActiveRule, Rulebook

__all__ = [
    "BETWEEN_ROWS",
    "BY_NAME",
    "CHECK_DIGIT",
    "COAST_KM",
    "FORM",
    "NOWHERE",
    "OUTSIDE",
    "PREFIX",
    "RULES",
    "UNJUDGED",
    "ActiveRule",
    "Rule",
    "RuleBetweenRows",
    "Rulebook",
    "Subject",
]
