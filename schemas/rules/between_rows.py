"""Rules that only several rows together can break: their words. `pipeline/conflicts.py` holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.meter_points import Severity


@dataclass(frozen=True, slots=True)
class RuleBetweenRows:
    """A rule that only several rows together can break.

    Attributes:
        columns: what it looks at, as spooled rows name it; the first is the one to blame.
        severity: what a violation does, in every environment.
        setting: the key of the profile that lets the first claim stand; empty where there is none.
    """

    name: str
    sentence: str
    cure: str
    columns: tuple[str, ...]
    setting: str = ""
    severity: Severity = "quarantine"


BETWEEN_ROWS: Final[tuple[RuleBetweenRows, ...]] = (
    RuleBetweenRows(
        "meter_point_belongs_to_one_customer",
        "No meter point is claimed by two customers, in all files of the run together.",
        "Find out whose it is; leave closed contracts out with [keep].",
        ("meter_point",),
        "[conflicts] meter_point",
    ),
    RuleBetweenRows(
        "meter_point_belongs_to_one_location",
        "No meter point is at two locations of one customer.",
        "Correct the location, or leave closed contracts out with [keep].",
        ("meter_point", "place"),
        "[conflicts] meter_point",
    ),
    RuleBetweenRows(
        "location_belongs_to_one_customer",
        "No location number occurs under two customers.",
        "Find out whose it is; leave closed contracts out with [keep].",
        ("place",),
        "[conflicts] location",
    ),
    RuleBetweenRows(
        "location_has_one_content",
        "The rows of one location say the same type, and coordinates at most some metres apart.",
        "Correct the rows that differ.",
        ("place", "location_type", "latitude", "longitude"),
        "[conflicts] location",
    ),
    RuleBetweenRows(
        "resource_belongs_to_one_customer",
        "No resource id that is sent as it is occurs under two customers.",
        'Correct the rows, or use [identity] ids = "hmac".',
        ("resource",),
    ),
    RuleBetweenRows(
        "resource_has_one_content",
        "The rows of one resource say the same type and location.",
        "Correct the rows that differ.",
        ("resource", "resource_type", "place"),
    ),
    RuleBetweenRows(
        "resource_has_one_meter_point",
        "The rows of one resource name the same meter point; otherwise it goes without, with a warning.",
        "Correct the rows that differ.",
        ("resource", "meter_point"),
        severity="warn",
    ),
    RuleBetweenRows(
        "resource_has_a_location",
        "A resource other than a vehicle hangs on a location that its row, or its customer's rows, can name.",
        "Fill in the location or the meter point.",
        ("resource", "place"),
    ),
    RuleBetweenRows(
        "row_names_its_location",
        "A row that says something about a place names the place.",
        "Fill in the location.",
        ("place",),
    ),
    RuleBetweenRows(
        "user_is_spelled_in_one_way",
        "No customer number of the run differs from another only in case, blanks, leading zeros, or signs that look "
        "alike (O and 0, I and 1, Latin and Cyrillic or Greek letters). They are two customers all the same; the "
        "first row of each is named.",
        "Find out whether they are one; a spreadsheet takes leading zeros away.",
        ("user",),
        severity="warn",
    ),
    RuleBetweenRows(
        "coordinates_are_shared_by_few_customers",
        "At most `[coordinates] shared_by` (100) customers of the run are at exactly one point, as in a block of "
        "flats; where more are, it is the middle of a town, a postcode or a municipality. The vendor's test areas "
        "are exempt.",
        "Leave both empty where only the town is known; raise the number where so many live at one address.",
        ("latitude", "longitude"),
        "[coordinates] shared_by",
        severity="warn",
    ),
)
"""Every rule between rows."""
