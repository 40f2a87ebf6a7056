"""Every rule has a row that breaks it, and the row that breaks nothing breaks none of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import polars as pl
import pytest

from pipeline.canonical import to_canonical
from pipeline.conflicts import CROSS_ROW_RULES
from schemas.coordinates import CENTRES
from schemas.errors import ProfileError
from schemas.profile import Profile
from schemas.rules import BETWEEN_ROWS, BY_NAME, RULES, Rulebook
from schemas.rules.keys import NOTHING, RESERVED_USERS
from schemas.rules_doc import rules_page
from tests.unit.judging import GOOD, REFERENCE, broken, judged, overlooked, profile, raw_rows

AS_IS = {"identity": {"ids": "as-is"}}
REFUSE = {"identity": {"unicode": "refuse"}}
UTM = {"coordinates": {"crs": "EPSG:25833", "axes": ["northing", "easting"]}}
PLACED_BY_POINT = {"columns": {"location": None, "latitude": None, "longitude": None, "location_type": None}}
WITH_RESOURCES = {"columns": {"resource": "resource", "resource_type": "resource_type"}}
RESOURCES = {
    "export": {"of": "resources"},
    "columns": {
        "resource": "resource",
        "resource_type": "resource_type",
        "latitude": None,
        "longitude": None,
        "location_type": None,
    },
}
BY_ADDRESS = {"columns": {"location": None}, "identity": {"location_from": ["user", "Adresse"]}}
CHARGER = {"resource": "E1", "resource_type": "Charger"}


def of(scheme: str) -> dict[str, Any]:
    return {
        "country": scheme[:2],
        "meter_point": {"scheme": scheme},
        "columns": {"latitude": None, "longitude": None},
    }


@dataclass(frozen=True)
class Breach:
    """A row that breaks a rule, as changes to the good row and to the profile."""

    row: dict[str, str | None]
    profile: dict[str, Any] = field(default_factory=dict)
    also: frozenset[str] = frozenset()


def _about(name: str, called: dict[str, Any], row: dict[str, Any] | None = None) -> dict[str, Breach]:
    """Breaches of the rules that hold for each text that becomes an id."""
    extra = row or {}
    plain, safe = f"{name}_is_a_plain_key", f"{name}_id_is_safe_in_a_url"
    return {
        plain: Breach({**extra, name: "K1\x1b[2J"}, called),
        safe: Breach({**extra, name: "K1/locations"}, {**called, **AS_IS}),
        f"{name}_is_not_a_placeholder": Breach({**extra, name: "#N/A"}, called),
        f"{name}_is_not_in_exponent_form": Breach({**extra, name: "7,07E+17"}, called),
        f"{name}_has_no_blank_edges_or_hidden_characters": Breach({**extra, name: "K1\u200b"}, called),
        f"{name}_is_in_normal_form": Breach({**extra, name: "KA\u030a"}, {**called, **REFUSE}),
    }


FORM = frozenset({"meter_point_id_has_the_form_of_its_scheme"})

BREACHES: dict[str, Breach] = {
    "user_is_present": Breach({"user": None}),
    **_about("user", {}),
    "location_is_present": Breach({"location": None}),
    **_about("location", {}),
    "location_parts_are_plain_text": Breach({"key:Adresse": "Vei 1\x1f2"}, BY_ADDRESS),
    "location_type_is_known": Breach({"location_type": "Luftslott"}),
    "location_has_meter_point_or_coordinates": Breach(
        {"meter_point": None, "latitude": None, "longitude": None}
    ),
    "row_has_a_meter_point": Breach(
        {"meter_point": None}, PLACED_BY_POINT, frozenset({"location_has_meter_point_or_coordinates"})
    ),
    "meter_point_id_has_the_form_of_its_scheme": Breach({"meter_point": "70705750006855361X"}),
    "meter_point_id_has_prefix_of_its_scheme": Breach({"meter_point": "735999100000000010"}),
    "meter_point_id_has_valid_check_digit": Breach({"meter_point": "707057500012345678"}),
    "meter_point_id_is_not_in_exponent_form": Breach({"meter_point": "7,07058E+17"}, also=FORM),
    "meter_point_id_is_not_a_decimal_number": Breach({"meter_point": "707057500068553617,0"}, also=FORM),
    "meter_point_id_is_not_spreadsheet_text": Breach({"meter_point": "'707057500068553617"}, also=FORM),
    "meter_point_id_has_no_blanks_or_hidden_characters": Breach(
        {"meter_point": "707057500068553617 "}, also=FORM
    ),
    "meter_point_id_is_not_a_meter_serial": Breach({"meter_point": "7359990012345678"}, also=FORM),
    "meter_point_id_is_not_a_short_form": Breach({"meter_point": "68553617"}, also=FORM),
    "meter_point_id_is_not_a_product_code": Breach({"meter_point": "8716867000030"}, also=FORM),
    "meter_point_id_is_not_in_bar_code_form": Breach({"meter_point": "8018707057500068553617"}, also=FORM),
    "meter_point_id_is_not_an_s_number": Breach({"meter_point": "012345671000000000012"}, of("GB"), FORM),
    "meter_point_id_is_not_a_metering_location": Breach(
        {"meter_point": "DE00056266802AO6G56M11SN51G21M24S"}, of("DE-MaLo"), FORM
    ),
    "meter_point_id_is_not_a_market_location": Breach({"meter_point": "41373559241"}, of("DE-MeLo"), FORM),
    "meter_point_id_has_not_lost_a_leading_zero": Breach({"meter_point": "1234567890123"}, of("FR"), FORM),
    "meter_point_id_is_not_a_gas_point": Breach({"meter_point": "571515199000000010"}, of("DK")),
    "meter_point_id_is_not_a_sub_meter": Breach(
        {"parent_meter_point": "707057500053285691"}, {"columns": {"parent_meter_point": "parent"}}
    ),
    "coordinates_are_numbers": Breach({"latitude": "NaN"}),
    "coordinates_come_in_pairs": Breach({"longitude": None}),
    "coordinates_can_be_converted": Breach({"latitude": "1" + "0" * 30, "longitude": "262985.01"}, UTM),
    "coordinates_are_degrees_not_metres": Breach({"latitude": "6649115.01", "longitude": "262985.01"}),
    "coordinates_are_metres_not_degrees": Breach(
        {"latitude": "59.91391", "longitude": "10.75221"}, UTM, frozenset({"coordinates_lie_in_the_country"})
    ),
    "coordinates_are_within_range": Breach({"latitude": "90.00001"}),
    "coordinates_are_not_zero": Breach({"latitude": "0", "longitude": "0"}, also=frozenset({"rounded"})),
    "coordinates_are_not_a_placeholder": Breach({"latitude": "60.10501", "longitude": "60.10501"}),
    "coordinates_are_not_swapped": Breach({"latitude": "7.35001", "longitude": "60.10501"}),
    "coordinates_have_the_right_signs": Breach({"longitude": "-7.35001"}),
    "coordinates_lie_in_the_country": Breach({"latitude": "59.32931", "longitude": "18.06861"}),
    "coordinates_lie_on_land": Breach({"latitude": "58.90001", "longitude": "5.20001"}),
    "coordinates_have_four_decimals": Breach({"latitude": "60.13", "longitude": "7.37"}),
    "coordinates_are_not_whole_degrees": Breach(
        {"latitude": "60", "longitude": "10"}, also=frozenset({"rounded"})
    ),
    "coordinates_are_not_the_centre_of_the_country": Breach(
        {"latitude": "60.472024", "longitude": "8.468946"}
    ),
    **_about("resource", WITH_RESOURCES, CHARGER),
    "resource_has_a_type": Breach({"resource": "E1", "resource_type": None}, WITH_RESOURCES),
    "resource_is_present": Breach({"resource": None, "resource_type": "Charger"}, WITH_RESOURCES),
    "resource_type_is_known": Breach({"resource": "E1", "resource_type": "fusjonsreaktor"}, WITH_RESOURCES),
    "resource_names_its_place": Breach({**CHARGER, "location": None, "meter_point": None}, RESOURCES),
}
"""One breach of every rule. `also`: other rules the row cannot but break; "rounded": those about decimals."""

ROUNDED = {"coordinates_have_four_decimals", "coordinates_are_not_whole_degrees"}


def tables(changes: dict[str, Any]) -> Profile:
    """A profile, with `columns` of several changes merged."""
    return profile(**changes)


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_a_row_that_breaks_a_rule_is_named_with_it_and_nothing_unrelated(rule: str) -> None:
    breach = BREACHES[rule]
    found = broken({**GOOD, **breach.row}, tables(breach.profile))

    assert rule in found
    allowed = {rule, *(breach.also - {"rounded"}), *(ROUNDED if "rounded" in breach.also else ())}
    assert set(found) <= allowed


def test_every_rule_has_a_breach_here() -> None:
    assert set(BREACHES) == set(BY_NAME)


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_the_good_row_breaks_nothing(environment: str) -> None:
    assert broken(GOOD, environment=environment) == {}


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_severity_is_what_the_registry_says(rule: str, environment: str) -> None:
    breach = BREACHES[rule]

    assert broken({**GOOD, **breach.row}, tables(breach.profile), environment)[rule] == getattr(
        BY_NAME[rule], environment
    )


def test_rule_names_are_unique_sentences_in_snake_case() -> None:
    names = [rule.name for rule in RULES] + [rule.name for rule in BETWEEN_ROWS]

    assert len(names) == len(set(names))
    verbs = {"is", "are", "has", "have", "come", "lie", "names", "belongs", "can"}
    assert all(name.isidentifier() and name.islower() and verbs & set(name.split("_")) for name in names)


def test_every_rule_has_a_sentence_a_cure_and_a_source() -> None:
    assert all(
        rule.sentence.endswith(".") and rule.cure.endswith(("…", ".", "order.")) and rule.source
        for rule in RULES
    )


def test_rules_between_rows_are_those_that_are_held() -> None:
    assert {rule.name for rule in BETWEEN_ROWS} == set(CROSS_ROW_RULES)


def test_the_page_of_the_rules_is_current(pytestconfig: pytest.Config) -> None:
    page = pytestconfig.rootpath / "docs" / "rules.md"

    assert page.read_text(encoding="utf-8") == rules_page(), "run: python -m schemas.rules_doc docs/rules.md"


# ------------------------------------------------------------------ what names a location
@pytest.mark.parametrize("location_from", [["user"], ["user", "metering_location"]])
def test_a_location_that_has_a_name_needs_no_meter_point_beside_its_coordinates(
    location_from: list[str],
) -> None:
    wanted = profile(
        columns={"location": None, "metering_location": "MeLo"}, identity={"location_from": location_from}
    )
    assert broken({**GOOD, "meter_point": None, "metering_location": "DE1"}, wanted) == {}


def test_a_metering_location_that_names_a_location_is_there_and_is_plain() -> None:
    wanted = profile(
        columns={"location": None, "metering_location": "MeLo"},
        identity={"location_from": ["metering_location"]},
    )
    assert set(broken({**GOOD, "metering_location": "D\x1fE"}, wanted)) == {"location_parts_are_plain_text"}
    assert set(broken({**GOOD, "metering_location": None}, wanted)) == {"location_is_present"}
    only_named = profile(columns={"metering_location": "MeLo"})
    assert broken({**GOOD, "metering_location": "D\x1fE"}, only_named) == {}


# ------------------------------------------------------------------ severities that depend
def test_check_digits_of_uncertain_schemes_only_warn() -> None:
    found = broken({**GOOD, "meter_point": "871687000000000017"}, profile(**of("NL")))

    assert found == {"meter_point_id_has_valid_check_digit": "warn"}


def test_a_finnish_prefix_that_is_not_finnish_only_warns() -> None:
    found = broken({**GOOD, "meter_point": "735999100000000010"}, profile(**of("FI")))

    assert found == {"meter_point_id_has_prefix_of_its_scheme": "warn"}


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_17_digits_quarantine_everywhere(environment: str) -> None:
    found = broken({**GOOD, "meter_point": "70705750006855361"}, environment=environment)

    assert found == {"meter_point_id_has_the_form_of_its_scheme": "quarantine"}


# ------------------------------------------------------------------ coordinates
def at(latitude: str, longitude: str, **changes: Any) -> dict[str, str]:
    return broken({**GOOD, "latitude": latitude, "longitude": longitude}, profile(**changes))


def test_the_vendors_test_areas_are_allowed_in_every_country() -> None:
    changes = of("SE") | {"columns": {}, "coordinates": {"within": ["SE"]}}
    point = {"meter_point": "735999109151401011", "latitude": "79.51914", "longitude": "15.97611"}

    assert broken({**GOOD, **point}, profile(**changes)) == {}


def test_a_country_is_added_with_within() -> None:
    assert at("59.32931", "18.06861", coordinates={"within": ["NO", "SJ", "SE"]}) == {}


@pytest.mark.parametrize(
    ("outside_km", "expected"),
    [
        (0.0, "coordinates_lie_in_the_country"),
        (30.0, "coordinates_lie_on_land"),
        (100.0, "coordinates_lie_on_land"),
    ],
)
def test_how_far_off_land_is_too_far_is_the_profiles_to_say(outside_km: float, expected: str) -> None:
    assert set(at("58.90001", "5.20001", guards={"outside_km": outside_km})) == {expected}


def test_a_distance_beyond_what_the_outlines_can_tell_is_refused() -> None:
    with pytest.raises(ProfileError, match="outside_km"):
        Rulebook.for_profile(profile(guards={"outside_km": 101.0}), "production", REFERENCE)


def test_without_an_outline_the_other_checks_of_coordinates_remain() -> None:
    changes = {"country": "PL", "coordinates": {"within": ["PL"]}, "columns": {"meter_point": None}}

    assert at("52.22971", "21.01221", **changes) == {}
    assert set(at("95.00001", "21.01221", **changes)) == {"coordinates_are_within_range"}
    assert set(at("6649115.01", "262985.01", **changes)) == {"coordinates_are_degrees_not_metres"}


def test_the_centres_lie_in_their_countries() -> None:
    for country, (latitude, longitude) in CENTRES.items():
        changes = {"country": country, "coordinates": {"within": [country]}, "columns": {"meter_point": None}}
        found = at(str(latitude), str(longitude), **changes)
        assert set(found) == {"coordinates_are_not_the_centre_of_the_country"}


@pytest.mark.parametrize(
    ("northing", "easting", "rounded"),
    [
        ("6648100", "262300", True),
        ("6648100.0", "262300.000", True),
        ("+6648100.", "262300.00", True),
        ("6648123.00", "262345.00", False),
        ("6648123.100", "262345.700", False),
        ("6648100", "262345.00", False),
    ],
)
def test_hundreds_of_metres_are_told_by_the_digits_before_the_mark(
    northing: str, easting: str, rounded: bool
) -> None:
    found = broken({**GOOD, "latitude": northing, "longitude": easting}, profile(**UTM))

    assert rounded == ("coordinates_have_four_decimals" in found)


def test_greenwich_is_no_zero() -> None:
    changes = of("GB") | {"columns": {}, "coordinates": {"within": ["GB"]}}
    row = {**GOOD, "meter_point": "1000000000012", "latitude": "51.47791", "longitude": "-0.00150"}

    assert broken(row, profile(**changes)) == {}


# ------------------------------------------------------------------ rows without a value
def test_a_row_without_coordinates_or_without_a_meter_point_is_good() -> None:
    assert broken({**GOOD, "latitude": None, "longitude": None}) == {}
    assert broken({**GOOD, "meter_point": None}) == {}
    assert broken({**GOOD, "location_type": None}) == {}


def test_a_vehicle_needs_neither_location_nor_meter_point() -> None:
    car = {"user": "K1", "resource": "E1", "resource_type": "Vehicle"}

    assert broken({**dict.fromkeys(GOOD), **car}, profile(**WITH_RESOURCES)) == {}
    assert broken({**dict.fromkeys(GOOD), **car}, profile(**RESOURCES)) == {}


def test_rows_without_a_resource_are_good_beside_rows_with_one() -> None:
    assert broken({**GOOD, "resource": None, "resource_type": None}, profile(**WITH_RESOURCES)) == {}


@pytest.mark.parametrize(
    "text",
    [".", "..", "a/b", "a\\b", "%2e", "a?b", "a#b", "a\nb", "a\u2028b", "x" * 129, "€" * 43, "batch", "\x7f"],
)
def test_no_id_that_could_leave_its_place_in_a_url_goes_on(text: str) -> None:
    assert broken({**GOOD, "user": text}, profile(**AS_IS))["user_id_is_safe_in_a_url"] == "quarantine"


@pytest.mark.parametrize(
    "text", ["a/b", "a?b", "K#1", "50 %", "batch", "x" * 128, "blåbær", "1", "O'Brien & Co"]
)
def test_any_plain_text_may_be_a_key_when_ids_are_made(text: str) -> None:
    assert broken({**GOOD, "user": text, "location": text}) == {}


@pytest.mark.parametrize("text", ["7E-5", "7E-12", "7E-05", "1e-3"])
def test_a_flat_is_no_number_in_exponent_form(text: str) -> None:
    """Long numbers have positive exponents. That a row is looked at closely makes no difference."""
    verdict = judged([{**GOOD, "user": text, "location": "A 1"}, {**GOOD, "user": "K 1"}])

    assert [] == verdict.violations.rows()


SIGNS = ("0", "A", "E", ".", "+", "-", "_", "/", " ", "\u200b", "\n", "å", "\u030a")
KEYS = ("user", "location", "resource", "resource_type")


@pytest.mark.parametrize("changes", [{}, AS_IS, REFUSE], ids=["hmac", "as-is", "refuse"])
def test_no_short_text_breaks_a_rule_without_being_found(changes: dict[str, Any]) -> None:
    """Every text of up to four such signs: what is drawn by chance leaves some out."""
    texts = ["".join(signs) for length in range(5) for signs in product(SIGNS, repeat=length)]
    texts += [*NOTHING, *RESERVED_USERS, "x" * 129]
    wanted = profile(columns=dict.fromkeys(GOOD) | {name: name for name in KEYS}, **changes)
    keys = raw_rows([dict.fromkeys(KEYS, text) for text in texts])

    assert [] == overlooked(
        to_canonical(keys, wanted, 0).rows, Rulebook.for_profile(wanted, "production", REFERENCE)
    )


@pytest.mark.parametrize("text", ["7E+17", "7e+5", "7,07E+17", "7.07058e+100", "7,1E-05"])
def test_numbers_as_spreadsheets_show_long_ones_are_no_keys(text: str) -> None:
    assert set(broken({**GOOD, "user": text})) == {"user_is_not_in_exponent_form"}


def test_an_address_on_two_lines_may_name_a_location() -> None:
    assert broken({**GOOD, "key:Adresse": "Påfunnveien 1\r\n0000 Ingensted"}, profile(**BY_ADDRESS)) == {}
    assert set(broken({**GOOD, "key:Adresse": " "}, profile(**BY_ADDRESS))) == {"location_is_present"}


# ------------------------------------------------------------------ the rulebook
def test_the_schema_is_an_ordinary_pandera_schema() -> None:
    schema = Rulebook.for_profile(profile(), "production", REFERENCE).schema()

    assert {check.name for column in schema.columns.values() for check in column.checks} <= set(BY_NAME)


def test_the_digest_tells_what_a_verdict_depends_on() -> None:
    def digest(environment: str = "production", **changes: Any) -> str:
        return Rulebook.for_profile(profile(**changes), environment, REFERENCE).digest

    assert digest() == digest()
    others = [
        digest("sandbox"),
        digest(guards={"outside_km": 20.0}),
        digest(**AS_IS),
        digest(meter_point={"scheme": "SE"}),
    ]
    assert len({digest(), *others}) == 5


def test_several_rules_broken_in_one_row_are_all_named() -> None:
    found = broken({**GOOD, "meter_point": "1", "latitude": "x", "location_type": "Luftslott", "user": None})

    assert set(found) == {
        "user_is_present",
        "location_type_is_known",
        "meter_point_id_has_the_form_of_its_scheme",
        "coordinates_are_numbers",
    }


def test_violations_hold_nothing_but_row_rule_and_severity() -> None:
    violations = judged([{**GOOD, "user": ".."}]).violations

    assert violations.schema == {"row": pl.UInt64, "rule": pl.String, "severity": pl.String}
