"""All rules about a single row, in the order of the reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas.rules.keys import LOCATION_RULES, RESOURCE_ID_RULES, USER_RULES
from schemas.rules.meter_point_ids import METER_POINT_RULES
from schemas.rules.places import COORDINATE_RULES
from schemas.rules.rule import Rule
from schemas.rules.words import LOCATION_TYPE_RULES, RESOURCE_RULES

RULES: Final[tuple[Rule, ...]] = (
    *USER_RULES,
    *LOCATION_RULES,
    *LOCATION_TYPE_RULES,
    *METER_POINT_RULES,
    *COORDINATE_RULES,
    *RESOURCE_ID_RULES,
    *RESOURCE_RULES,
)
"""Every rule about a single row, in the order of the report."""

BY_NAME: Final[Mapping[str, Rule]] = {rule.name: rule for rule in RULES}
