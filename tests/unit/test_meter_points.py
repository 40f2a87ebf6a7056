"""The registry: every published and computed example, and what is no id."""

from __future__ import annotations

import polars as pl
import pytest

from schemas.meter_points import EVERYWHERE, LOOK_ALIKES, SCHEMES, MeterPointScheme
from schemas.profile import SCHEMES as PROFILE_SCHEMES

ALL = list(SCHEMES.values())
EXAMPLES = [(scheme, text) for scheme in ALL for text in (*scheme.published, *scheme.computed)]

NORDIC_PUBLISHED = {"NO": 5, "SE": 2, "FI": 1}
"""How many real-looking ids out of public documents are among the examples."""


def verdict(scheme: MeterPointScheme, text: str) -> tuple[bool, bool, bool]:
    """Whether a text has form, prefix and check digit of a scheme."""
    column = pl.DataFrame({"id": [text]})
    well_formed = scheme.form.well_formed(pl.col("id"))
    if column.select(well_formed).item() is None:
        return False, False, False
    check = scheme.check_digit.is_valid(well_formed) if scheme.check_digit else pl.lit(value=True)
    return True, column.select(scheme.has_prefix(well_formed)).item(), column.select(check).item()


def is_well_formed(scheme: str, text: str) -> bool:
    return verdict(SCHEMES[scheme], text)[0]


def test_registry_holds_exactly_the_schemes_a_profile_may_name() -> None:
    assert tuple(SCHEMES) == PROFILE_SCHEMES


@pytest.mark.parametrize(("scheme", "text"), EXAMPLES, ids=[f"{s.name}-{t}" for s, t in EXAMPLES])
def test_example_satisfies_its_scheme(scheme: MeterPointScheme, text: str) -> None:
    assert verdict(scheme, text) == (True, True, True)


@pytest.mark.parametrize("name", NORDIC_PUBLISHED)
def test_real_looking_nordic_ids_are_among_the_examples(name: str) -> None:
    assert len(SCHEMES[name].published) >= NORDIC_PUBLISHED[name]


@pytest.mark.parametrize(("scheme", "text"), EXAMPLES, ids=[f"{s.name}-{t}" for s, t in EXAMPLES])
def test_example_with_a_character_more_or_less_is_malformed(scheme: MeterPointScheme, text: str) -> None:
    optional_end = scheme.name in ("IT", "ES")  # their last characters may be left out
    shorter = text[:-1] if not optional_end else text[:13]

    assert not is_well_formed(scheme.name, shorter)
    assert not is_well_formed(scheme.name, text + "0" * 5)


@pytest.mark.parametrize("scheme", ALL, ids=lambda scheme: scheme.name)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.translate({ord("0") + n: 0xFF10 + n for n in range(10)}),
        lambda text: text.translate({ord("0") + n: 0x0660 + n for n in range(10)}),
        lambda text: text[:5] + "\u200b" + text[5:],
        lambda text: " " + text,
        lambda text: text + "\n",
        lambda text: "+" + text[1:],
        lambda text: "-" + text[1:],
        lambda text: text[:-1] + "²",
        lambda text: "",
    ],
    ids=[
        "full-width",
        "Arabic",
        "zero-width",
        "blank",
        "line break",
        "plus",
        "minus",
        "superscript",
        "empty",
    ],
)
def test_look_alike_characters_are_no_digits(scheme: MeterPointScheme, spoil) -> None:
    assert not is_well_formed(scheme.name, spoil((*scheme.published, *scheme.computed)[0]))


@pytest.mark.parametrize(
    ("scheme", "text", "expected"),
    [
        ("NO", "707057500012345678", (True, True, False)),  # printed in the vendor's guide
        ("NO", "707057500000000000", (True, True, False)),  # the vendor's test id
        ("NO", "735999100000000010", (True, False, True)),
        ("DK", "571313180100000001", (True, True, False)),
        ("NL", "541448000000000011", (True, False, True)),
        ("FI", "735999100000000010", (True, False, True)),
        ("GB", "1000000000013", (True, True, False)),
        ("DE-MaLo", "41373559242", (True, True, False)),
        ("ES", "ES1234123456789012JZ", (True, True, False)),
        ("PT", "PT0002000000000001BH", (True, True, False)),
    ],
)
def test_wrong_prefix_and_check_digit_are_told_apart(
    scheme: str, text: str, expected: tuple[bool, ...]
) -> None:
    assert verdict(SCHEMES[scheme], text) == expected


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        ("NO", "007057500012345678"),
        ("DE-MaLo", "01373559241"),
        ("GB", "0100000000012"),
        ("AT", "CH008100080100O6G56M11SN51G21M24S"),
        ("DE-MeLo", "de00056266802ao6g56m11sn51g21m24s"),
        ("FR", "1234567890123"),
        ("IT", "IT123X12345678"),
        ("ES", "ES1234123456789012JY1A"),
    ],
)
def test_malformed(scheme: str, text: str) -> None:
    assert not is_well_formed(scheme, text)


@pytest.mark.parametrize(
    ("scheme", "text", "rule"),
    [
        ("NO", "7,07058E+17", "meter_point_id_is_not_in_exponent_form"),
        ("NO", "7.07057599123457e+17", "meter_point_id_is_not_in_exponent_form"),
        ("NO", "707057500068553617.0", "meter_point_id_is_not_a_decimal_number"),
        ("NO", '="707057500068553617"', "meter_point_id_is_not_spreadsheet_text"),
        ("NO", "'707057500068553617", "meter_point_id_is_not_spreadsheet_text"),
        ("NO", "7 070 575 000 685 536 17", "meter_point_id_has_no_blanks_or_hidden_characters"),
        ("NO", "707057\u00a0500068553617", "meter_point_id_has_no_blanks_or_hidden_characters"),
        ("NO", "\ufeff707057500068553617", "meter_point_id_has_no_blanks_or_hidden_characters"),
        ("SE", "7359990012345678", "meter_point_id_is_not_a_meter_serial"),
        ("NO", "68553617", "meter_point_id_is_not_a_short_form"),
        ("FI", "A1234", "meter_point_id_is_not_a_short_form"),
        ("FI", "8716867000030", "meter_point_id_is_not_a_product_code"),
        ("SE", "8018735999109151401011", "meter_point_id_is_not_in_bar_code_form"),
        ("SE", "(8018)735999109151401011", "meter_point_id_is_not_in_bar_code_form"),
        ("GB", "012345671000000000012", "meter_point_id_is_not_an_s_number"),
        ("GB", "12345678", "meter_point_id_is_not_a_gas_point"),
        ("DE-MaLo", "DE00056266802AO6G56M11SN51G21M24S", "meter_point_id_is_not_a_metering_location"),
        ("DE-MeLo", "41373559241", "meter_point_id_is_not_a_market_location"),
        ("FR", "1234567890123", "meter_point_id_has_not_lost_a_leading_zero"),
    ],
)
def test_look_alike_is_named_for_what_it_is(scheme: str, text: str, rule: str) -> None:
    patterns = SCHEMES[scheme].patterns()
    column = pl.DataFrame({"id": [text]})
    named = [
        name for name, pattern in patterns.items() if column.select(pl.col("id").str.contains(pattern)).item()
    ]

    assert named == [rule]


def test_danish_gas_is_told_from_electricity_by_its_prefix() -> None:
    denmark = SCHEMES["DK"]
    ids = pl.DataFrame({"id": ["571515199000000010", "571313199000000018"]})

    assert ids.select(denmark.is_gas(denmark.form.well_formed(pl.col("id")))).to_series().to_list() == [
        True,
        False,
    ]


@pytest.mark.parametrize("scheme", ALL, ids=lambda scheme: scheme.name)
def test_no_example_looks_like_something_else(scheme: MeterPointScheme) -> None:
    column = pl.DataFrame({"id": [*scheme.published, *scheme.computed]})
    for pattern in scheme.patterns().values():
        assert not column.select(pl.col("id").str.contains(pattern).any()).item()


def test_every_look_alike_is_known_to_some_scheme_and_has_a_cure() -> None:
    used = {rule for scheme in ALL for rule in scheme.patterns()}

    assert set(LOOK_ALIKES) == used | {"meter_point_id_is_not_a_gas_point"}
    assert set(EVERYWHERE) <= set(LOOK_ALIKES)
    assert all(look_alike.cure and look_alike.source for look_alike in LOOK_ALIKES.values())
