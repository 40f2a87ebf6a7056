"""Laws of judging, over rows nobody would write by hand."""

from __future__ import annotations

import math
import unicodedata

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.canonical import UNDOINGS, normalised, to_canonical
from pipeline.validation import Judged, judge
from schemas.coordinates import number, numbers
from schemas.meter_points import SCHEMES
from schemas.profile import Profile
from schemas.rules import Rulebook
from schemas.rules.keys import NOTHING
from tests.unit.judging import REFERENCE, overlooked, profile, raw_rows, unscreened

IDS = (
    "707057500068553617",
    "707057500053285691",
    "571515199000000010",
    "735999109151401011",
    "707057500012345678",
)
TROUBLE = (
    "",
    " ",
    ".",
    "..",
    "a/b",
    "%2e",
    "NULL",
    "#N/A",
    "7,07E+17",
    "KA\u030a",
    "K\u200b1",
    "\x1f",
    "x" * 129,
    "é",
)
KEYS = (
    st.sampled_from(("K1", "K2", "A-1", "0150", "batch", *TROUBLE))
    | st.sampled_from(NOTHING)
    | st.from_regex(r"[0-9](?:[.,][0-9])?[eE][+-][0-9]{1,2}", fullmatch=True)
    | st.text(max_size=6)
)
METER_POINTS = (
    st.sampled_from((*IDS, *(f"'{text}" for text in IDS), "123", "7359990012345678", "8716867000030"))
    | st.from_regex(r"70705750[0-9]{10}", fullmatch=True)
    | st.from_regex(r'[=" \'0-9()8]{0,24}', fullmatch=True)
)
NUMBERS = (
    st.sampled_from(
        (
            "0",
            "-0.0",
            "60.10501",
            "7.35001",
            "-7.35001",
            "59.9",
            "60",
            "99",
            "1e400",
            "NaN",
            "inf",
            "6649115.01",
        )
    )
    | st.floats(-200, 200).map(lambda value: f"{value:.5f}")
    | st.floats(57, 81).map(lambda value: f"{value:.5f}")
    | st.text("0123456789.,-+eE°N ", max_size=8)
)
WORDS = st.sampled_from(("Residential", "Husholdning", "Other", "Luftslott", ""))
TYPES = st.sampled_from(("Charger", "Vehicle", "lader", ""))


def or_none(values: st.SearchStrategy[str]) -> st.SearchStrategy[str | None]:
    return st.none() | values


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user": or_none(KEYS),
            "location": or_none(KEYS),
            "location_type": or_none(WORDS),
            "meter_point": or_none(METER_POINTS),
            "parent_meter_point": or_none(st.sampled_from(IDS)),
            "latitude": or_none(NUMBERS),
            "longitude": or_none(NUMBERS),
            "resource": or_none(KEYS),
            "resource_type": or_none(TYPES),
            "status": or_none(st.sampled_from(("Aktiv", "Avsluttet"))),
            "protected": or_none(st.sampled_from(("Ja", "Nei"))),
        }
    ),
    max_size=12,
)

EVERYTHING = {
    "columns": {
        name: name for name in ("parent_meter_point", "resource", "resource_type", "status", "protected")
    }
}
KEPT = {"keep": {"status": ["Aktiv"]}, "protect": {"values": ["Ja"]}}
UNDO = {"meter_point": {"normalise": list(UNDOINGS)}}
PROFILES = [
    profile(**EVERYTHING, **KEPT, **UNDO, values={"location_type": {"Husholdning": "Residential"}}),
    profile(
        **EVERYTHING,
        protect={"values": ["Ja"], "action": "skip"},
        identity={"ids": "as-is", "unicode": "refuse"},
    ),
    profile(**EVERYTHING, **KEPT, coordinates={"on_violation": "drop"}),
    profile(
        columns={**EVERYTHING["columns"], "location": None},
        **KEPT,
        country="DK",
        meter_point={"scheme": "DK", "carrier": "electricity"},
        coordinates={"crs": "EPSG:25832", "axes": ["northing", "easting"]},
    ),
    profile(columns={**EVERYTHING["columns"], "location": None}, **KEPT, country="DK"),
    profile(**EVERYTHING, **KEPT, export={"of": "resources"}),
]
RULEBOOKS = {
    (place, environment): Rulebook.for_profile(chosen, environment, REFERENCE)
    for place, chosen in enumerate(PROFILES)
    for environment in ("sandbox", "production")
}
CASES = st.sampled_from(sorted(RULEBOOKS))
quickly = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def canonical(rows: list[dict[str, str | None]], chosen: Profile) -> tuple[pl.DataFrame, int]:
    known = set(chosen.headers())
    names = {name: [row[name] for row in rows] for name in ROW_NAMES if name in known}
    raw = raw_rows([dict(zip(names, values, strict=True)) for values in zip(*names.values(), strict=True)])
    if not rows:
        raw = raw_rows([dict.fromkeys(names)]).clear()
    made = to_canonical(raw, chosen, 3)
    return made.rows, made.filtered


ROW_NAMES = (*PROFILES[0].columns.mapped(),)


def of(verdict: Judged) -> tuple[object, ...]:
    """A verdict in a form that can be compared."""
    return verdict.valid_rows.rows(), verdict.quarantined.to_list(), verdict.violations.rows()


@quickly
@given(ROWS, CASES)
def test_every_row_is_filtered_valid_or_in_quarantine_exactly_once(
    rows: list[dict[str, str | None]], case: tuple[int, str]
) -> None:
    canonical_rows, filtered = canonical(rows, PROFILES[case[0]])
    verdict = judge(canonical_rows, RULEBOOKS[case])

    assert len(rows) == filtered + verdict.valid_rows.height + verdict.quarantined.len()
    ended = verdict.valid_rows["row"].to_list() + verdict.quarantined.to_list()
    assert sorted(ended) == canonical_rows["row"].to_list()
    bad = verdict.violations.filter(pl.col("severity") == "quarantine")["row"].unique().sort()
    assert bad.to_list() == verdict.quarantined.to_list()
    assert not verdict.violations.is_duplicated().any()


@quickly
@given(ROWS, CASES)
def test_screens_overlook_nothing(rows: list[dict[str, str | None]], case: tuple[int, str]) -> None:
    rulebook = RULEBOOKS[case]
    canonical_rows, _ = canonical(rows, PROFILES[case[0]])

    assert of(judge(canonical_rows, rulebook)) == of(judge(canonical_rows, unscreened(rulebook)))
    assert [] == overlooked(canonical_rows, rulebook)


@quickly
@given(ROWS, CASES, st.integers(0, 12))
def test_a_row_is_judged_alike_in_any_batch(
    rows: list[dict[str, str | None]], case: tuple[int, str], cut: int
) -> None:
    canonical_rows, _ = canonical(rows, PROFILES[case[0]])
    whole = judge(canonical_rows, RULEBOOKS[case])
    parts = [judge(part, RULEBOOKS[case]) for part in (canonical_rows[:cut], canonical_rows[cut:])]

    assert whole.valid_rows.rows() == [row for part in parts for row in part.valid_rows.rows()]
    assert whole.violations.rows() == [row for part in parts for row in part.violations.rows()]


@quickly
@given(ROWS, CASES)
def test_what_goes_on_can_be_sent(rows: list[dict[str, str | None]], case: tuple[int, str]) -> None:
    valid_rows = judge(canonical(rows, PROFILES[case[0]])[0], RULEBOOKS[case]).valid_rows

    for row in valid_rows.iter_rows(named=True):
        pair = [row[name] for name in ("latitude", "longitude") if name in row]
        assert all(value is None for value in pair) or all(math.isfinite(value) for value in pair)
        for name in ("user", "location", "resource"):
            text = row.get(name)
            assert text is None or not any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in text)
            assert text not in (".", "..")
            if text is not None and case[0] == 1:
                assert not set(text) & set("/\\%?#")
                assert len(text.encode()) <= 128
                assert unicodedata.is_normalized("NFC", text)


@settings(deadline=None, max_examples=300)
@given(st.lists(or_none(st.text("0123456789.,-+", max_size=7) | NUMBERS), max_size=5), st.sampled_from(",."))
def test_a_number_is_read_alike_whatever_stands_beside_it(texts: list[str | None], decimal: str) -> None:
    """Columns of plain signs are read another way than columns with anything else."""
    column = pl.Series("text", texts, pl.String)
    one_way = numbers(column, decimal).to_list()
    other_way = column.to_frame().select(number(pl.col("text"), decimal)).to_series().to_list()

    assert one_way == other_way
    assert numbers(column[1:], decimal).to_list() == other_way[1:]
    assert numbers(pl.concat([column, pl.Series("text", ["e°"])]), decimal).to_list() == [*other_way, None]


SCHEME_IDS = st.sampled_from(
    [(name, text) for name, scheme in SCHEMES.items() for text in (*scheme.published, *scheme.computed)]
)
JUNK = st.lists(
    st.sampled_from(("'", " ", "\u00a0", "\u200b", "\ufeff", '="', '"', "8018", "(8018)", "0")), max_size=4
)


@quickly
@given(SCHEME_IDS, JUNK, JUNK)
def test_undoing_twice_is_undoing_once(example: tuple[str, str], before: list[str], after: list[str]) -> None:
    name, text = example
    received = pl.Series("meter_point", ["".join([*before, text, *after]), text, None])
    once, _ = normalised(received, SCHEMES[name], tuple(UNDOINGS))
    twice, counts = normalised(once, SCHEMES[name], tuple(UNDOINGS))

    assert once.to_list() == twice.to_list()
    assert not counts
    assert once.to_list()[1:] == [text, None]


@quickly
@given(SCHEME_IDS, JUNK, JUNK)
def test_an_undoing_only_takes_characters_away(
    example: tuple[str, str], before: list[str], after: list[str]
) -> None:
    name, text = example
    dirty = "".join([*before, text, *after])
    (clean,) = normalised(pl.Series("meter_point", [dirty]), SCHEMES[name], tuple(UNDOINGS))[0]
    rest = iter(dirty)

    assert all(sign in rest for sign in clean)
