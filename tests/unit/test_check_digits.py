"""Check digits over whole columns agree with plain arithmetic on single ids."""

from __future__ import annotations

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import ean
from stdnum.es import cups

from schemas import check_digits

DIGITS_17 = st.from_regex(r"[1-9][0-9]{16}", fullmatch=True)


def passes(check, *values: str | int) -> list[bool]:
    """What a check says of some values."""
    return pl.DataFrame({"id": list(values)}).select(check(pl.col("id"))).to_series().to_list()


def gs1(*ids: str) -> list[bool]:
    return passes(check_digits.gs1, *(int(text) for text in ids))


@given(DIGITS_17)
def test_gs1_accepts_exactly_the_digit_an_independent_library_makes(data: str) -> None:
    made = ean.calc_check_digit(data)
    ids = [data + str(digit) for digit in range(10)]

    assert gs1(*ids) == [text.endswith(made) for text in ids]


@given(DIGITS_17, st.integers(0, 16), st.integers(1, 9))
def test_gs1_finds_every_single_wrong_digit(data: str, place: int, step: int) -> None:
    good = data + ean.calc_check_digit(data)
    wrong = good[:place] + str((int(good[place]) + step) % 10) + good[place + 1 :]

    assert gs1(good, wrong) == [True, False]


@given(DIGITS_17, st.integers(0, 15))
def test_gs1_finds_swapped_neighbours_unless_they_differ_by_five(data: str, place: int) -> None:
    good = data + ean.calc_check_digit(data)
    swapped = good[:place] + good[place + 1] + good[place] + good[place + 2 :]
    difference = abs(int(good[place]) - int(good[place + 1]))

    assert gs1(swapped) == [difference in (0, 5)]


def test_nine_of_ten_random_ids_fail() -> None:
    ids = [str(707057500000000000 + 7919 * number) for number in range(10_000)]

    assert 0.08 < sum(gs1(*ids)) / len(ids) < 0.12


def test_a_missing_id_stays_missing() -> None:
    column = pl.DataFrame({"id": pl.Series([None], dtype=pl.UInt64)})
    checks = (check_digits.gs1, check_digits.mpan, check_digits.malo)

    assert [column.select(check(pl.col("id"))).item() for check in checks] == [None] * 3


@given(st.from_regex(r"[1-9][0-9]{11}", fullmatch=True))
def test_mpan_is_the_weighted_sum_modulo_eleven_modulo_ten(core: str) -> None:
    primes = (3, 5, 7, 13, 17, 19, 23, 29, 31, 37, 41, 43)
    digit = sum(int(sign) * prime for sign, prime in zip(core, primes, strict=True)) % 11 % 10
    ids = [int(core + str(last)) for last in range(10)]

    assert passes(check_digits.mpan, *ids) == [last == digit for last in range(10)]


@given(st.from_regex(r"[1-9][0-9]{9}", fullmatch=True))
def test_malo_fills_up_to_the_next_ten(body: str) -> None:
    total = sum(map(int, body[0::2])) + 2 * sum(map(int, body[1::2]))
    ids = [int(body + str(last)) for last in range(10)]

    assert passes(check_digits.malo, *ids) == [(total + last) % 10 == 0 for last in range(10)]


@settings(max_examples=50)
@given(st.from_regex(r"[0-9]{16}", fullmatch=True))
def test_mod_529_agrees_with_an_independent_library(digits: str) -> None:
    letters = cups.calc_check_digits("ES" + digits)
    other = "AA" if letters != "AA" else "BB"

    assert passes(check_digits.mod_529, f"ES{digits}{letters}", f"ES{digits}{other}") == [True, False]
