"""Raw rows under our names: what is parsed, mapped, undone, left out, and what is left alone."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.canonical import UNDOINGS, to_canonical
from pipeline.quality import PROFILED
from schemas.errors import ProfileError
from schemas.profile import Profile
from schemas.rows import CanonicalRows
from tests.unit.judging import GOOD, broken, profile, raw_rows

ID = "707057500068553617"
EVERY_UNDOING = {"meter_point": {"normalise": list(UNDOINGS)}}


def canonical(wanted: Profile, *rows: dict[str, str | None], source: int = 0) -> pl.DataFrame:
    return to_canonical(raw_rows(rows), wanted, source).rows


def meter_point(text: str | None, wanted: Profile) -> str | None:
    value: str | None = canonical(wanted, {**GOOD, "meter_point": text})["meter_point"].item()
    return value


def test_canonical_rows_have_the_agreed_shape() -> None:
    rows = canonical(profile(), GOOD)

    CanonicalRows.validate(rows, lazy=True)
    assert rows["latitude"].item() == 60.10501
    assert rows["latitude_raw"].item() == "60.10501"


def test_row_tokens_sort_in_the_order_of_the_run() -> None:
    first = to_canonical(raw_rows([GOOD, GOOD]), profile(), 0).rows["row"].to_list()
    second = to_canonical(raw_rows([GOOD]), profile(), 1).rows["row"].to_list()

    assert first == [2, 3]
    assert second == [(1 << 40) + 2]


def test_columns_the_export_lacks_are_left_out() -> None:
    wanted = profile(columns={"latitude": None, "longitude": None, "location": None})
    row = {name: GOOD[name] for name in ("user", "location_type", "meter_point")}

    assert canonical(wanted, row).columns == [
        "row",
        "user",
        "meter_point",
        "location_type",
        "location_type_raw",
    ]


def test_every_column_that_the_quality_report_speaks_of_goes_along() -> None:
    row = {**GOOD, **dict.fromkeys(set(PROFILED) - set(GOOD), "1")}
    rows = canonical(profile(columns={name: name for name in PROFILED}), row)

    CanonicalRows.validate(rows, lazy=True)
    assert set() == set(PROFILED) - set(rows.columns)


def test_no_rows_are_no_trouble() -> None:
    rows = to_canonical(raw_rows([GOOD]).clear(), profile(**EVERY_UNDOING), 0)

    assert (rows.rows.height, rows.filtered, dict(rows.normalised)) == (0, 0, {})


# ------------------------------------------------------------------ which rows
def test_rows_outside_keep_are_counted_and_gone() -> None:
    wanted = profile(columns={"status": "status"}, keep={"status": ["Aktiv", "Ny"]})
    raw = raw_rows([{**GOOD, "status": word} for word in ("Aktiv", "Ny", "aktiv", "Avsluttet", None)])
    rows = to_canonical(raw, wanted, 0)

    assert rows.rows["row"].to_list() == [2, 3]
    assert rows.filtered == 3
    assert "status" not in rows.rows.columns


@pytest.mark.parametrize(("carrier", "kept"), [("electricity", [2, 4, 5]), ("gas", [3])])
def test_points_of_the_other_carrier_are_filtered_and_unreadable_ids_are_not(
    carrier: str, kept: list[int]
) -> None:
    wanted = profile(
        country="DK",
        columns={"latitude": None, "longitude": None},
        meter_point={"scheme": "DK", "carrier": carrier},
    )
    ids = ["571313100000000003", "571515199000000010", "5715151", None]
    rows = to_canonical(
        raw_rows([{"user": "K1", "location": "A1", "meter_point": text} for text in ids]), wanted, 0
    )

    expected = kept if carrier == "electricity" else [3, 4, 5]
    assert rows.rows["row"].to_list() == expected


PROTECTED = {"columns": {"protected": "protected"}, "protect": {"values": ["Ja", "J"]}}


def test_protected_rows_go_without_coordinates() -> None:
    flags = ("Ja", "Nei", None)
    rows = to_canonical(raw_rows([{**GOOD, "protected": flag} for flag in flags]), profile(**PROTECTED), 0)

    assert rows.rows["latitude"].to_list() == [None, 60.10501, 60.10501]
    assert rows.rows["latitude_raw"].null_count() == 1
    assert (rows.filtered, dict(rows.normalised)) == (0, {"protected": 1})


UNSEEN = ["J ", "\u00a0J", "\ufeffJ", "J\u200b", "J\t", " J\r\n", "\x00J", "\u00adJ\u2003"]


@pytest.mark.parametrize("flag", UNSEEN)
def test_a_flag_protects_whatever_stands_in_its_cell_unseen(flag: str) -> None:
    """It would fail open: the coordinates would be sent, and nothing would say so."""
    row = {**GOOD, "protected": flag}

    assert [None] == canonical(profile(**PROTECTED), row)["latitude"].to_list()
    assert 1 == to_canonical(raw_rows([row]), profile(**PROTECTED), 0).flagged.height
    listed_so = profile(columns={"protected": "protected"}, protect={"values": [flag]})
    assert [None] == canonical(listed_so, {**GOOD, "protected": "J"})["latitude"].to_list()


@pytest.mark.parametrize("flag", ["j", "JJ", "NJ", "", " ", None])
def test_another_word_than_the_listed_ones_protects_nothing(flag: str | None) -> None:
    assert [60.10501] == canonical(profile(**PROTECTED), {**GOOD, "protected": flag})["latitude"].to_list()


@pytest.mark.parametrize("status", ["Aktiv ", "\ufeffAktiv", "Ak\u00adtiv"])
def test_what_is_kept_does_not_hang_on_characters_nobody_sees(status: str) -> None:
    wanted = profile(columns={"status": "status"}, keep={"status": ["Aktiv"]})
    made = to_canonical(raw_rows([{**GOOD, "status": status}, {**GOOD, "status": "aktiv"}]), wanted, 0)

    assert ([2], 1) == (made.rows["row"].to_list(), made.filtered)


def test_protected_rows_that_only_coordinates_place_are_left_out() -> None:
    row = {**GOOD, "protected": "Ja", "meter_point": None}
    rows = to_canonical(raw_rows([row, GOOD]), profile(**PROTECTED), 0)

    assert (rows.rows["row"].to_list(), rows.filtered) == ([3], 1)


def test_what_flagged_rows_say_is_known_whatever_becomes_of_them() -> None:
    """Their siblings are protected, too: also by the flag of a row that nobody wants."""
    wanted = profile(
        columns={"protected": "protected", "status": "status"},
        protect={"values": ["Ja"], "action": "skip"},
        keep={"status": ["Aktiv"]},
        meter_point={"normalise": ["blanks"]},
    )
    open_row = {**GOOD, "protected": "Nei", "status": "Aktiv"}
    flagged = {**open_row, "protected": "Ja", "meter_point": f"{ID[:6]} {ID[6:]}"}
    made = to_canonical(raw_rows([open_row, flagged, {**flagged, "status": "Avsluttet"}]), wanted, 0)

    assert ([2], 2, {"protected": 1}) == (
        made.rows["row"].to_list(),
        made.filtered,
        {name: count for name, count in made.normalised.items() if name == "protected"},
    )
    assert [(3, ID, 60.10501), (4, ID, 60.10501)] == made.flagged.select(
        "row", "meter_point", "latitude"
    ).rows()


def test_a_protected_vehicle_goes_without_coordinates_and_stays() -> None:
    wanted = profile(
        columns={"protected": "protected", "resource": "resource", "resource_type": "resource_type"},
        protect={"values": ["Ja"]},
    )
    car = {"protected": "Ja", "meter_point": None, "resource": "E1", "resource_type": "Vehicle"}
    made = to_canonical(raw_rows([{**GOOD, **car}, {**GOOD, **car, "resource_type": "HVAC"}]), wanted, 0)

    assert ([2], [None], 1) == (made.rows["row"].to_list(), made.rows["latitude"].to_list(), made.filtered)


def test_a_protected_resource_goes_without_coordinates_and_stays() -> None:
    """Its row names the location it stands at; only the rows of customers are nowhere without a point."""
    columns = {"protected": "protected", "resource": "resource", "resource_type": "resource_type"}
    wanted = profile(
        columns={**columns, "meter_point": None}, protect={"values": ["Ja"]}, export={"of": "resources"}
    )
    charger = {**GOOD, "protected": "Ja", "resource": "E1", "resource_type": "Charger"}
    made = to_canonical(raw_rows([{name: charger[name] for name in wanted.headers()}]), wanted, 0)

    assert ([2], [None], 0) == (made.rows["row"].to_list(), made.rows["latitude"].to_list(), made.filtered)


def test_protected_rows_may_be_left_out_altogether() -> None:
    wanted = profile(columns={"protected": "protected"}, protect={"values": ["Ja"], "action": "skip"})
    rows = to_canonical(raw_rows([{**GOOD, "protected": "Ja"}, {**GOOD, "protected": "ja"}]), wanted, 0)

    assert (rows.rows["row"].to_list(), rows.filtered, dict(rows.normalised)) == ([3], 1, {"protected": 1})


# ------------------------------------------------------------------ meter points
@pytest.mark.parametrize(
    ("undoing", "text"),
    [
        ("excel-text", f'="{ID}"'),
        ("apostrophe", f"'{ID}"),
        ("blanks", "7 070 575 000 685 536 17"),
        ("blanks", f"{ID[:6]}\u00a0{ID[6:12]}\u202f{ID[12:]}"),
        ("blanks", f"\t{ID} "),
        ("zero-width", f"\ufeff{ID[:9]}\u200b{ID[9:]}\u2060"),
        ("ai-8018", f"8018{ID}"),
        ("ai-8018", f"(8018){ID}"),
    ],
)
def test_an_undoing_is_taken_and_counted_where_the_profile_lists_it(undoing: str, text: str) -> None:
    with_it, without = profile(meter_point={"normalise": [undoing]}), profile()
    rows = to_canonical(raw_rows([GOOD, {**GOOD, "meter_point": text}]), with_it, 0)

    assert rows.rows["meter_point"].to_list() == [ID, ID]
    assert dict(rows.normalised) == {undoing: 1}
    assert meter_point(text, without) == text


def test_a_meter_point_that_is_its_own_parent_is_so_after_the_undoings() -> None:
    """Else it would be called a sub-meter: the other column holds the same text."""
    wanted = profile(**EVERY_UNDOING, columns={"parent_meter_point": "parent_meter_point"})
    row = {**GOOD, "meter_point": f'="{ID}"', "parent_meter_point": f'="{ID}"'}
    made = to_canonical(raw_rows([row, {**row, "parent_meter_point": "unknown"}]), wanted, 0)

    assert [(ID, ID), (ID, "unknown")] == made.rows.select("meter_point", "parent_meter_point").rows()
    assert {"excel-text": 2} == dict(made.normalised)
    assert {} == broken({name: row[name] for name in wanted.headers()}, wanted)


def test_a_british_s_number_becomes_its_core() -> None:
    wanted = profile(
        country="GB",
        columns={"latitude": None, "longitude": None},
        meter_point={"scheme": "GB", "normalise": ["gb-s-number"]},
    )
    rows = canonical(wanted, {"user": "K1", "location": "A1", "meter_point": "012345671000000000012"})

    assert rows["meter_point"].item() == "1000000000012"


def test_several_undoings_work_together() -> None:
    rows = to_canonical(
        raw_rows([{**GOOD, "meter_point": f"'{ID[:9]} \u200b{ID[9:]}"}]), profile(**EVERY_UNDOING), 0
    )

    assert rows.rows["meter_point"].item() == ID
    assert dict(rows.normalised) == {"zero-width": 1, "blanks": 1, "apostrophe": 1}


@pytest.mark.parametrize("text", [f"'{ID[:-1]}", "''" + ID, '="7 0"', "８０１８", "", "  ", f"8018{ID}1"])
def test_an_undoing_that_leaves_no_id_is_not_taken(text: str) -> None:
    rows = to_canonical(raw_rows([{**GOOD, "meter_point": text}]), profile(**EVERY_UNDOING), 0)

    assert rows.rows["meter_point"].item() == text
    assert not rows.normalised


def test_no_digit_is_ever_invented() -> None:
    wrong = ID[:-1] + "8"

    assert meter_point(f" {wrong}", profile(**EVERY_UNDOING)) == wrong


# ------------------------------------------------------------------ words
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Husholdning", "Residential"),
        ("Commercial", "Commercial"),
        ("husholdning", None),
        (" Husholdning", None),
        ("Luftslott", None),
        (None, None),
    ],
)
def test_words_get_the_meaning_the_profile_lists(word: str | None, expected: str | None) -> None:
    rows = canonical(
        profile(values={"location_type": {"Husholdning": "Residential"}}), {**GOOD, "location_type": word}
    )

    assert rows["location_type"].item() == expected
    assert rows["location_type_raw"].item() == word


def test_a_star_stands_for_every_word_that_is_not_listed() -> None:
    wanted = profile(values={"location_type": {"Husholdning": "Residential", "*": "Unknown"}})
    words = ["Husholdning", "Luftslott", "*", None]
    rows = canonical(wanted, *({**GOOD, "location_type": word} for word in words))

    assert rows["location_type"].to_list() == ["Residential", "Unknown", "Unknown", None]


# ------------------------------------------------------------------ coordinates
def degrees(wanted: Profile, first: str | None, second: str | None) -> tuple[float | None, float | None]:
    rows = canonical(wanted, {**GOOD, "latitude": first, "longitude": second})
    return rows["latitude"].item(), rows["longitude"].item()


def test_decimal_commas_are_read_where_declared() -> None:
    assert degrees(profile(file={"decimal": ",", "separator": ";"}), "59,9139", "10,7522") == (
        59.9139,
        10.7522,
    )


def test_longitude_may_come_first() -> None:
    wanted = profile(coordinates={"axes": ["longitude", "latitude"]})

    assert degrees(wanted, "10.7522", "59.9139") == (59.9139, 10.7522)


@pytest.mark.parametrize(
    ("crs", "axes", "first", "second"),
    [
        ("EPSG:25833", ["northing", "easting"], "6649115.01", "262985.01"),
        ("EPSG:25833", ["easting", "northing"], "262985.01", "6649115.01"),
        ("EPSG:25832", ["northing", "easting"], "6642784.01", "597947.01"),
        ("EPSG:4258", ["latitude", "longitude"], "59.914", "10.752"),
    ],
)
def test_every_declared_reference_system_and_order_puts_oslo_where_it_is(
    crs: str, axes: list[str], first: str, second: str
) -> None:
    latitude, longitude = degrees(profile(coordinates={"crs": crs, "axes": axes}), first, second)

    assert latitude == pytest.approx(59.91, abs=0.02)
    assert longitude == pytest.approx(10.75, abs=0.03)


@pytest.mark.parametrize(
    ("first", "second"),
    [("6649115", None), (None, "262985"), ("nord", "262985"), ("1e30", "5"), ("9" * 300, "5")],
)
def test_what_cannot_be_converted_is_missing(first: str | None, second: str | None) -> None:
    wanted = profile(coordinates={"crs": "EPSG:25833", "axes": ["northing", "easting"]})

    assert degrees(wanted, first, second) == (None, None)


def test_an_unknown_reference_system_is_the_profiles_mistake() -> None:
    wanted = profile(coordinates={"crs": "EPSG:999999", "axes": ["northing", "easting"]})

    with pytest.raises(ProfileError, match="EPSG:999999"):
        canonical(wanted, GOOD)
