"""Proposals: every export of ours gets the profile we wrote by hand, and doubt is said aloud."""

import random
import tomllib
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from connectors.exports import open_exports
from connectors.exports.sniff import look_at
from connectors.profiles import load_profile
from connectors.reference import load_reference
from pipeline.propose import Proposal, propose
from schemas.look import Sureness
from schemas.profile import Profile

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
BY_HAND = {
    "kunder-300.csv": "nordkraft",
    "kunder-300.parquet": "nordkraft-parquet",
    "enheter-100.csv": "nordkraft-resources",
    "portefolje-100.csv": "nordkraft-combined",
    "kunder-dk-60.csv": "danish",
    "anlaggningar-60.csv": "swedish",
    "kayttopaikat-60.csv": "finnish",
    "premises-60.csv": "british",
    "marktlokationen-60.csv": "german",
}


@cache
def reference():
    return load_reference()


def proposed(path: Path) -> tuple[Proposal, Profile]:
    proposal = propose(look_at(str(path)), name="proposed", reference=reference())
    return proposal, Profile.from_toml(proposal.toml, "proposed.toml")


@pytest.fixture
def of(tmp_path):
    """The proposal for a CSV of these columns."""

    def of_(separator=";", encoding="utf-8", **columns):
        names = [name.replace("_", " ") for name in columns]
        lines = [
            separator.join(names),
            *(separator.join(map(str, row)) for row in zip(*columns.values(), strict=True)),
        ]
        path = tmp_path / "eksport-20260101.csv"
        path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
        return proposed(path)

    return of_


def ids(count: int, prefix: str = "707057599") -> list[str]:
    draw = random.Random(1)
    made = []
    for _ in range(count):
        body = prefix + "".join(draw.choices("0123456789", k=17 - len(prefix)))
        total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body)))
        made.append(body + str(-total % 10))
    return made


@pytest.mark.parametrize("sample", BY_HAND)
def test_our_samples_get_the_profile_written_by_hand(sample):
    proposal, profile = proposed(SAMPLES / sample)
    by_hand = load_profile(BY_HAND[sample])
    assert proposal.questions == []
    assert profile.columns == by_hand.columns
    assert profile.country == by_hand.country
    assert profile.export.of == by_hand.export.of
    assert profile.meter_point.scheme == by_hand.meter_point.scheme
    assert (profile.coordinates.crs, profile.coordinates.axes) == (
        by_hand.coordinates.crs,
        by_hand.coordinates.axes,
    )
    assert (profile.file.encoding, profile.file.separator) == (by_hand.file.encoding, by_hand.file.separator)
    assert profile.keep == by_hand.keep
    assert profile.protect == by_hand.protect
    assert profile.values.location_type.items() <= by_hand.values.location_type.items()
    assert profile.values.resource_type.items() <= by_hand.values.resource_type.items()


@pytest.mark.parametrize("sample", BY_HAND)
def test_a_proposal_reads_the_export_it_was_made_from(sample):
    _, profile = proposed(SAMPLES / sample)
    (export,) = open_exports([str(SAMPLES / sample)], [profile])
    assert sum(batch.rows.height for batch in export.batches()) >= 60


@pytest.mark.parametrize(
    ("values", "scheme", "country"),
    [
        (ids(50, "735999"), "SE", "SE"),
        (ids(50, "571313"), "DK", "DK"),
        (ids(50, "643007127"), "FI", "FI"),
        (ids(50, "871687"), "NL", "NL"),
        (ids(50, "541448"), "BE", "BE"),
        ([f"DE00056266802AO6G56M11SN51G21M{n:03d}" for n in range(50)], "DE-MeLo", "DE"),
        ([f"AT008100080100O6G56M11SN51G21M{n:03d}" for n in range(50)], "AT", "AT"),
    ],
)
def test_meter_points_are_known_by_what_they_are(of, values, scheme, country):
    _, profile = of(Kunde=[f"K{n:05d}" for n in range(50)], Nr=values)
    assert profile.columns.meter_point == "Nr"
    assert (profile.meter_point.scheme, profile.country) == (scheme, country)


def test_the_serial_beside_it_is_no_meter_point(of):
    _, profile = of(Kundenr=range(1000, 1050), Målernummer=ids(50), EAN=ids(50, "7070575000"))
    assert profile.columns.meter_point == "EAN"


@pytest.mark.parametrize(
    ("spoil", "undoing"),
    [
        (lambda value: f'"=""{value}"""', "excel-text"),
        (lambda value: f"'{value}", "apostrophe"),
        (lambda value: f"{value[:6]} {value[6:12]} {value[12:]}", "blanks"),
        (lambda value: f"\u200b{value}", "zero-width"),
        (lambda value: f"(8018){value}", "ai-8018"),
    ],
)
def test_what_has_been_done_to_ids_is_proposed_to_be_undone(of, spoil, undoing):
    _, profile = of(Kundenr=range(1000, 1050), MålepunktID=[spoil(value) for value in ids(50)])
    assert undoing in profile.meter_point.normalise


def test_ids_a_spreadsheet_has_cut_are_asked_about(of):
    cut = [value[:15] + "000" for value in ids(50)]
    proposal, profile = of(Kundenr=range(1000, 1050), MålepunktID=cut)
    assert profile.columns.meter_point == "MålepunktID"
    assert proposal.sureness is not Sureness.SURE
    assert any("spreadsheet" in question for question in proposal.questions)


def test_ids_that_are_no_ids_any_more_are_asked_about(of):
    proposal, _ = of(Kundenr=range(1000, 1050), MålepunktID=["7.07058E+17"] * 50)
    assert proposal.sureness is Sureness.GUESS
    assert any("still whole" in question for question in proposal.questions)


@pytest.mark.parametrize("rows", ["", '"K1;1\nK2;2\nK3;3\n'])
def test_a_file_without_readable_rows_is_asked_about_and_nothing_is_said_of_its_values(tmp_path, rows):
    (tmp_path / "x.csv").write_text("Kundenr;MålepunktID\n" + rows, encoding="utf-8")
    proposal = propose(look_at(str(tmp_path / "x.csv")), name="x", reference=load_reference())
    assert "No row could be read" in proposal.questions[0]
    assert not any("still whole" in question for question in proposal.questions)
    assert proposal.sureness is Sureness.GUESS


# ------------------------------------------------------------------ coordinates
def places(
    count: int, code: str, south: float, north: float, west: float, east: float
) -> tuple[list[str], list[str]]:
    import pyproj

    draw = random.Random(2)
    points = [(draw.uniform(west, east), draw.uniform(south, north)) for _ in range(count)]
    convert = pyproj.Transformer.from_crs("EPSG:4326", code, always_xy=True)
    metres = [convert.transform(longitude, latitude) for longitude, latitude in points]
    return [f"{north:.2f}" for _, north in metres], [f"{east:.2f}" for east, _ in metres]


@pytest.mark.parametrize(
    ("code", "prefix", "box"),
    [
        ("EPSG:25833", "707057599", (60.0, 61.5, 6.5, 11.5)),
        ("EPSG:25832", "707057599", (60.0, 61.5, 6.5, 11.5)),
        ("EPSG:25832", "571313", (55.9, 56.9, 8.6, 10.0)),
        ("EPSG:3006", "735999", (58.5, 64.0, 13.5, 16.0)),
        ("EPSG:3021", "735999", (58.5, 64.0, 13.5, 16.0)),
        ("EPSG:3067", "643007127", (61.5, 66.0, 24.0, 28.0)),
    ],
)
def test_a_reference_system_is_known_by_where_its_points_lie(of, code, prefix, box):
    north, east = places(60, code, *box)
    _, profile = of(Kundenr=range(1000, 1060), Punkt=ids(60, prefix), Nord=north, Øst=east)
    assert (profile.coordinates.crs, profile.coordinates.axes) == (code, ("northing", "easting"))


def test_columns_that_hold_the_other_axis_are_proposed_as_they_are_and_asked_about(of):
    north, east = places(60, "EPSG:25833", 60.0, 61.5, 6.5, 11.5)
    proposal, profile = of(Kundenr=range(1000, 1060), Punkt=ids(60), Y=east, X=north)
    assert profile.coordinates.axes == ("easting", "northing")
    assert any("the other way round" in question for question in proposal.questions)


def test_degrees_of_another_country_are_not_taken(of):
    proposal, profile = of(Kundenr=range(1000, 1050), Punkt=ids(50), Lat=["48.85"] * 50, Lon=["2.35"] * 50)
    assert profile.columns.latitude is None
    assert any("fit no reference system" in question for question in proposal.questions)


# ------------------------------------------------------------------ customers and words
def test_names_and_mail_addresses_are_no_customer_numbers(of):
    proposal, profile = of(
        Kunde=[f"{n}@eksempel.invalid" for n in range(50)],
        Avtalenr=range(10_000, 10_050),
        MålepunktID=ids(50),
    )
    assert profile.columns.user == "Avtalenr"
    assert proposal.columns["user"].sureness is Sureness.GUESS
    assert any("mail addresses or names" in question for question in proposal.questions)


def test_a_customer_column_that_cannot_be_found_is_left_to_a_person(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("Farge;MålepunktID\n" + "".join(f"rød;{value}\n" for value in ids(20)), encoding="utf-8")
    proposal, profile = proposed(path)
    assert profile.columns.user == "?"
    assert proposal.sureness is Sureness.GUESS


def test_words_we_do_not_know_are_asked_about(of):
    types = ["Husholdning", "Romstasjon"] * 25
    proposal, profile = of(Kundenr=range(1000, 1050), Kundetype=types, MålepunktID=ids(50))
    assert profile.values.location_type == {"Husholdning": "Residential"}
    assert '# "Romstasjon" = "?"' in proposal.toml


def test_no_value_of_a_customer_is_in_a_proposal(of):
    proposal, _ = of(
        Kundenr=range(7_654_000, 7_654_050), Navn=[f"Prøvar Testsen{n}" for n in range(50)], MålepunktID=ids(50),
        Status=[f"personlig merknad {n}" for n in range(50)],
    )  # fmt: skip
    assert "Testsen" not in proposal.toml
    assert "7654" not in proposal.toml
    assert "merknad" not in proposal.toml
    assert not any(value in proposal.toml for value in ids(50))


def test_every_line_of_a_proposal_is_toml_whatever_the_headers(of):
    proposal, profile = of(**{'Kundenr"': range(1000, 1050), "MålepunktID\\": ids(50), "\x7f#]": ["x"] * 50})
    assert profile.columns.meter_point == "MålepunktID\\"
    tomllib.loads(proposal.toml)


def test_a_proposal_is_the_same_every_time():
    path = SAMPLES / "kunder-300.csv"
    assert proposed(path)[0] == proposed(path)[0]


def test_an_export_of_one_row_is_looked_at(of):
    assert of(Kundenr=["1"], MålepunktID=ids(1))[1].columns.user == "Kundenr"


def test_an_empty_column_decides_nothing(of):
    _, profile = of(
        Kundenr=range(1000, 1050), MålepunktID=ids(50), Breddegrad=[""] * 50, Lengdegrad=[""] * 50
    )
    assert profile.columns.latitude is None


def test_the_sample_is_bounded(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("Kundenr;MålepunktID\n" + "1;707057500068553617\n" * 200_000, encoding="utf-8")
    look = look_at(str(path))
    assert look.rows.height == 5000
    assert not look.is_whole
    assert look.rows.schema == {"0": pl.String, "1": pl.String}


def test_what_cannot_be_seen_in_a_name_is_written_out(tmp_path):
    """A mark of byte order in the middle of a header, as glued files have it, is part of the name; TOML shows it."""
    export = tmp_path / "glued.csv"
    rows = "".join(f"K{n};70705759999900{n:04d}\r\n" for n in range(100, 140))
    export.write_bytes(f"Kundenummer;MålepunktID\ufeff\r\n{rows}".encode())
    toml = propose(look_at(str(export)), name="proposed", reference=load_reference()).toml
    assert {"\n"} >= {sign for sign in toml if not sign.isprintable()}
    assert "MålepunktID\ufeff" in set(tomllib.loads(toml)["columns"].values())
