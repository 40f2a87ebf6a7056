import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.masking import masked_id, masked_ids, masked_name, masked_text, printable, shape_of, visible


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("707057599000000017", "…0017"),
        ("1234", "…4"),
        ("12", "…"),
        ("K0012345", "…45"),
        ("", ""),
        (None, ""),
        ("a1b2\x1b[31mc3d4e5f6", "…e5f6"),
    ],
)
def test_an_id_shows_at_most_four_characters_and_a_third_of_itself(value, shown):
    assert masked_id(value) == shown


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=40))))
def test_a_column_is_masked_like_single_ids(values):
    column = pl.DataFrame({"id": values}, schema={"id": pl.String})
    expected = [None if value is None else masked_id(value) for value in values]
    assert column.select(masked_ids("id")).to_series().to_list() == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Meter point 707057599000000017 is taken", "Meter point …0017 is taken"),
        ("7070 5759 9000 0000 17", "…0017"),
        ("user 3b0c4429-8fc1-8149-afbf-4c8996fb9242", "user …9242"),
        ("ask kari.testsen@example.invalid", "ask …@…"),
        ("two\r\nlines\u2028and\ttabs", "two lines and tabs"),
        ("\x1b]0;owned\x07\x1b[31mred", "red"),
        ("\u202egnp.exe", "gnp.exe"),
        ("line 12345", "line 12345"),
    ],
)
def test_foreign_sentences_lose_ids_addresses_and_invisible_marks(text, shown):
    assert masked_text(text) == shown


def test_foreign_sentences_are_cut():
    assert masked_text("a" * 900) == "a" * 199 + "…"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("kunder-2026-03-01.csv", "kunder-2026-03-01.csv"),
        ("kunder-20260301.csv", "kunder-20260301.csv"),
        ("meteringvalues-mp-707057599000000017-consumption.csv", "meteringvalues-mp-…0017-consumption.csv"),
        ("evil\x1b[2J\nname.csv", "evil name.csv"),
    ],
)
def test_file_names_keep_dates_and_lose_ids(name, shown):
    assert masked_name(name) == shown


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("707057599000000017", "9×18"),
        ("7,07058E+17", "9 , 9×5 A + 9×2"),
        ("Påfunnveien 1", "A a×10 space 9"),
        ("７", "?"),
        ("", "empty"),
        (None, "empty"),
    ],
)
def test_a_shape_says_how_a_value_looks(value, shape):
    assert shape_of(value) == shape


@settings(deadline=None)
@given(st.text())
def test_nothing_invisible_is_printable(text):
    shown = printable(text)
    assert shown.isprintable() or all(char.isspace() for char in shown if not char.isprintable())
    assert printable(shown) == shown
    assert "\x1b" not in visible(text)
