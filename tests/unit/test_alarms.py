"""Column alarms: every damage of a whole column stops the file, and an honest column never does."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from stdnum import ean
from stdnum.no import fodselsnummer

from pipeline.alarms import Alarm, Alarms
from pipeline.canonical import to_canonical
from pipeline.validation import judge
from schemas.errors import ColumnAlarm
from schemas.profile import Profile
from schemas.rules import Rulebook
from tests.unit.judging import GOOD, REFERENCE, profile, raw_rows

Row = dict[str, str | None]
ROWS = 400


def gsrn(number: int) -> str:
    data = f"70705759{number * 61_803_399 % 10**9:09}"
    return data + ean.calc_check_digit(data)


def honest(number: int) -> Row:
    return {
        **GOOD,
        "user": f"K{number:08}",
        "location": f"A{number:09}",
        "meter_point": gsrn(number),
        "latitude": f"60.{10_001 + 2 * number}",
        "longitude": f"7.{30_001 + 2 * number}",
    }


def watch(
    rows: Sequence[Row],
    wanted: Profile | None = None,
    environment: str = "production",
    batch: int = 150,
    *,
    is_correction: bool = False,
) -> Alarms:
    chosen = wanted or profile()
    rulebook = Rulebook.for_profile(chosen, environment, REFERENCE)
    alarms = Alarms("kunder.csv", rulebook, is_correction=is_correction)
    raw = raw_rows(rows)
    for start in range(0, raw.height, batch):
        canonical = to_canonical(raw[start : start + batch], chosen, 0)
        alarms.observe(canonical.rows, judge(canonical.rows, rulebook))
    return alarms


def damaged(change: Callable[[int, Row], Row], share: float = 1.0, rows: int = ROWS) -> list[Row]:
    """Honest rows, the given share of them changed, evenly spread."""
    every = round(1 / share)
    return [change(n, honest(n)) if n % every == 0 else honest(n) for n in range(rows)]


def names(alarms: Alarms) -> list[str]:
    return [alarm.name for alarm in alarms.found()]


def test_honest_columns_raise_no_alarm() -> None:
    alarms = watch([honest(number) for number in range(2_000)])

    assert names(alarms) == []
    alarms.raise_if_damaged()


def test_nothing_seen_is_no_alarm() -> None:
    alarms = watch([])

    assert names(alarms) == []


def _cut(number: int, row: Row) -> Row:
    return {**row, "meter_point": f"{gsrn(number)[:15]}000"}


def _rounded(number: int, row: Row) -> Row:
    return {**row, "meter_point": str(int(float(gsrn(number))))}


def _exponent(_number: int, row: Row) -> Row:
    return {**row, "meter_point": "7,07058E+17"}


def _wrong_digit(number: int, row: Row) -> Row:
    good = gsrn(number)
    return {**row, "meter_point": good[:-1] + str((int(good[-1]) + 1 + number % 9) % 10)}


def _same(_number: int, row: Row) -> Row:
    return {**row, "meter_point": gsrn(7)}


def _serial(number: int, row: Row) -> Row:
    return {**row, "meter_point": f"69999{number:011}"}


def _swapped(_number: int, row: Row) -> Row:
    return {**row, "latitude": row["longitude"], "longitude": row["latitude"]}


def _wrong_zone(number: int, row: Row) -> Row:
    return {**row, "latitude": "59.91101", "longitude": f"16.75{number:03}1"}


def _metres(number: int, row: Row) -> Row:
    return {**row, "latitude": f"66{number:05}.1", "longitude": f"2{number:05}.1"}


def _commas(_number: int, row: Row) -> Row:
    return {**row, "latitude": str(row["latitude"]).replace(".", ",")}


@pytest.mark.parametrize(
    ("change", "share", "name"),
    [
        (_cut, 1.0, "ending_000"),
        (_cut, 0.1, "ending_000"),
        (_rounded, 1.0, "rounded"),
        (_exponent, 1.0, "exponents"),
        (_exponent, 0.02, "exponents"),
        (_wrong_digit, 1.0, "check_digit"),
        (_wrong_digit, 0.02, "check_digit"),
        (_same, 1.0, "explosion"),
        (_serial, 1.0, "another_column"),
        (_swapped, 1.0, "outside_country"),
        (_swapped, 0.1, "outside_country"),
        (_wrong_zone, 1.0, "outside_country"),
        (_metres, 1.0, "outside_country"),
        (_commas, 1.0, "not_numbers"),
    ],
)
def test_a_damaged_column_stops_the_file_by_name(
    change: Callable[[int, Row], Row], share: float, name: str
) -> None:
    alarms = watch(damaged(change, share))

    assert name in names(alarms)
    with pytest.raises(ColumnAlarm) as raised:
        alarms.raise_if_damaged()
    assert "kunder.csv" in raised.value.message
    assert raised.value.cure


@pytest.mark.parametrize(
    "change", [_cut, _exponent, _wrong_digit, _same, _serial, _swapped, _metres, _commas]
)
def test_below_the_smallest_sample_a_share_says_nothing(change: Callable[[int, Row], Row]) -> None:
    assert names(watch(damaged(change, rows=299))) == []


@pytest.mark.parametrize("change", [_cut, _exponent, _wrong_digit, _same, _serial, _swapped, _metres])
def test_a_few_bad_rows_are_rows_and_not_a_column(change: Callable[[int, Row], Row]) -> None:
    assert names(watch(damaged(change, 0.005, rows=1_000))) == []


@pytest.mark.parametrize(
    "change", [_cut, _rounded, _exponent, _wrong_digit, _same, _serial, _swapped, _metres, _commas]
)
def test_the_share_of_bad_rows_in_a_correction_says_nothing(change: Callable[[int, Row], Row]) -> None:
    assert names(watch(damaged(change), is_correction=True)) == []


def _sparse(filled: Sequence[str], rows: int = ROWS, column: str = "meter_point") -> list[Row]:
    """Honest rows of which few fill a column, evenly spread."""
    every = rows // len(filled)
    given = {n * every: text for n, text in enumerate(filled)}
    return [{**honest(n), column: given.get(n)} for n in range(rows)]


@pytest.mark.parametrize(
    "filled",
    [["12345"], ["707057500000012000"] * 3, ["7,07058E+17"] * 2, [gsrn(7)] * 40],
    ids=["another column", "cut", "exponents", "explosion"],
)
def test_a_column_that_few_rows_fill_is_judged_row_by_row(filled: list[str]) -> None:
    assert [] == names(watch(_sparse(filled)))


def test_one_spoilt_resource_among_few_does_not_stop_the_file() -> None:
    wanted = profile(columns={"resource": "resource", "resource_type": "resource_type"})
    rows = _sparse(["1,07E+17", *(f"E{n}" for n in range(19))], column="resource")
    rows = [{**row, "resource_type": row["resource"] and "Charger"} for row in rows]

    assert [] == names(watch(rows, wanted))


def test_a_damaged_column_that_a_tenth_of_the_rows_fills_is_found_in_one_batch() -> None:
    """The sample is taken of what is filled."""
    cut = [f"{gsrn(n)[:15]}000" for n in range(400)]

    assert "ending_000" in names(watch(_sparse(cut, rows=4_000), environment="sandbox", batch=4_000))


def test_a_large_smallest_sample_is_no_larger_than_what_is_looked_at() -> None:
    rows = damaged(_rounded, rows=2_500)

    assert "rounded" in names(watch(rows, profile(guards={"minimum_rows": 2_000}), batch=2_500))
    assert [] == names(watch(rows[:1_999], profile(guards={"minimum_rows": 2_000}), batch=2_500))


def test_check_digits_stop_in_production_and_warn_in_the_sandbox() -> None:
    alarms = watch(damaged(_wrong_digit), environment="sandbox")

    alarms.raise_if_damaged()
    assert [alarm.name for alarm in alarms.warnings()] == ["check_digit"]


def test_limits_are_the_profiles_to_set() -> None:
    rows = damaged(_wrong_digit, 0.02)

    assert names(watch(rows, profile(guards={"check_digit": 0.5}))) == []
    assert names(watch(rows[:250], profile(guards={"minimum_rows": 100}))) == ["check_digit"]
    assert names(watch(damaged(_swapped, 0.1), profile(guards={"outside_country": 0.5}))) == []


def test_coordinates_that_would_be_dropped_still_raise_the_alarm() -> None:
    alarms = watch(damaged(_swapped), profile(coordinates={"on_violation": "drop"}))

    assert names(alarms) == ["outside_country"]


def test_a_town_hall_for_everybody_is_worth_a_look_and_no_more() -> None:
    alarms = watch(damaged(lambda _n, row: {**row, "latitude": "60.10501", "longitude": "7.35001"}))

    alarms.raise_if_damaged()
    assert [alarm.name for alarm in alarms.warnings()] == ["one_place"]


def test_several_meters_of_one_customer_are_no_explosion() -> None:
    rows = [{**honest(number), "user": f"K{number // 5}"} for number in range(1_000)]

    assert names(watch(rows)) == []


def test_several_resources_at_one_meter_point_are_no_explosion() -> None:
    columns = {
        "resource": "resource",
        "resource_type": "resource_type",
        "latitude": None,
        "longitude": None,
        "location_type": None,
    }
    wanted = profile(export={"of": "resources"}, columns=columns)
    rows = [
        {
            "user": f"K{n}",
            "location": "A1",
            "meter_point": gsrn(1),
            "resource": f"E{n}",
            "resource_type": "Charger",
        }
        for n in range(1_000)
    ]

    assert names(watch(rows, wanted)) == []


# ------------------------------------------------------------------ personal data
def birth_numbers(count: int) -> list[str]:
    """Right in form and nobody's: January 1900, in the series hospitals make up (month + 40)."""
    found = []
    for number in range(31 * 500):
        data = f"{number % 31 + 1:02}4100{number // 31:03}"
        data += fodselsnummer.calc_check_digit1(data)
        data += fodselsnummer.calc_check_digit2(data)
        if fodselsnummer.is_valid(data):
            found.append(data)
    return found[:count]


BIRTH_NUMBERS = birth_numbers(200)
FINNISH = ["131052-308T", "010150-914D", "131052A308T"]


@pytest.mark.parametrize("column", ["user", "location"])
@pytest.mark.parametrize(
    ("values", "what"),
    [
        ([f"ingen{n}@eksempel.invalid" for n in range(60)], "mail addresses"),
        ([f"+47 00 00 {n:02} 00" for n in range(60)], "phone numbers"),
        ([f"0046{10 ** (6 + n % 3) + n}" for n in range(60)], "phone numbers"),
        (BIRTH_NUMBERS, "birth numbers"),
    ],
    ids=["mail", "phone", "phone as dialled", "birth"],
)
def test_personal_data_in_an_id_column_stops_even_a_small_file(
    column: str, values: list[str], what: str
) -> None:
    alarms = watch([{**honest(number), column: value} for number, value in enumerate(values)])

    with pytest.raises(ColumnAlarm, match=what) as raised:
        alarms.raise_if_damaged()
    assert not any(value in str(raised.value) for value in values)


def test_a_mail_address_among_customer_numbers_is_found_by_the_hundred() -> None:
    rows = damaged(lambda n, row: {**row, "user": f"ingen{n}@eksempel.invalid"}, 0.02, rows=1_000)

    assert names(watch(rows)) == ["personal_data"]
    assert names(watch(rows, is_correction=True)) == ["personal_data"]


@pytest.mark.parametrize("width", [10, 12])
@pytest.mark.parametrize("rows", [40, 2_000])
def test_customer_numbers_filled_up_with_zeros_are_no_phone_numbers(width: int, rows: int) -> None:
    """Billing systems fill them up to one length; no setting would let them through."""
    padded = [{**honest(n), "user": f"{10 ** (width - 3) + 7_919 * n:0{width}}"} for n in range(rows)]
    mistyped = [{**row, "user": f"{row['user']}0"} if n in (3, 7) else row for n, row in enumerate(padded)]

    assert [] == names(watch(padded))
    assert [] == names(watch(mistyped))


def test_a_share_is_called_what_it_is() -> None:
    rows = damaged(lambda n, row: {**row, "user": f"+47 0000 {n:04}"}, 0.02, rows=1_000)
    (alarm,) = watch(rows).found()

    assert "2 % of the values looked at are phone numbers" in alarm.message


@pytest.mark.parametrize(
    "number",
    [
        lambda n: f"{n:08}",
        lambda n: f"{10_000_000_000 + n}",
        lambda n: f"{9_001_000_000 + n}",
        lambda n: f"{1001010000 + 7 * n}",
        lambda n: f"2024-{n:06}",
        lambda n: f"{n * 61_803_398_875 % 10**11:011}",
    ],
)
@pytest.mark.parametrize("country", ["NO", "SE", "DK", "FI"])
def test_customer_numbers_are_not_taken_for_birth_numbers(number: Callable[[int], str], country: str) -> None:
    columns = {"latitude": None, "longitude": None, "meter_point": None}
    wanted = profile(country=country, columns=columns, coordinates={"within": [country]})
    rows = [{**honest(n), "user": number(n)} for n in range(1_000)]

    assert "personal_data" not in names(watch(rows, wanted))


def test_vehicle_numbers_as_ids_stop_the_file_when_they_would_be_sent() -> None:
    columns = {"resource": "resource", "resource_type": "resource_type"}
    rows = [{**honest(n), "resource": f"WVWZZZ1JZXW{n:06}", "resource_type": "Vehicle"} for n in range(50)]

    assert names(watch(rows, profile(columns=columns, identity={"ids": "as-is"}))) == ["personal_data"]
    assert names(watch(rows, profile(columns=columns))) == []


# ------------------------------------------------------------------ the words
VALUES = re.compile(r"[0-9]{8}|K0|A0|@|E\+17,|[67]\.[0-9]{4}")


@pytest.mark.parametrize("change", [_cut, _rounded, _wrong_digit, _same, _serial, _swapped, _metres, _commas])
def test_an_alarm_names_file_column_and_share_and_never_a_value(change: Callable[[int, Row], Row]) -> None:
    for alarm in watch(damaged(change)).found():
        assert isinstance(alarm, Alarm)
        assert re.search(r'kunder\.csv, column "(?:meter_point|latitude)"', alarm.message)
        assert not VALUES.search(alarm.message.replace("7.07E+17", ""))


def test_a_wrong_column_is_called_what_it_looks_like() -> None:
    (alarm,) = [alarm for alarm in watch(damaged(_serial)).found() if alarm.name == "another_column"]

    assert "printed on the meter" in alarm.message


def test_batches_make_no_difference() -> None:
    rows: list[Row] = damaged(_wrong_digit, 0.02)
    whole: list[Any] = [alarm.message for alarm in watch(rows, batch=1_000).found()]

    assert whole == [alarm.message for alarm in watch(rows, batch=7).found()]
