"""The generator of synthetic exports, checked by reading its files with nothing but the standard library."""

import csv
import gzip
import io
import json
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from stdnum import ean

from sandbox import portfolio
from sandbox.dialects import DIALECTS, NORWEGIAN, SWEDISH
from sandbox.portfolio import DAMAGE, write_portfolio

REPOSITORY = Path(__file__).parents[2]
EVERYTHING = dict.fromkeys(DAMAGE, 0.01)


def _rows(path: Path, *, dialect=NORWEGIAN) -> list[dict[str, str]]:
    text = path.read_text(encoding=dialect.encoding)
    return list(csv.DictReader(io.StringIO(text), delimiter=dialect.separator))


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    first, again, other = (tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))
    write_portfolio(first, rows=500, seed=1)
    write_portfolio(again, rows=500, seed=1)
    write_portfolio(other, rows=500, seed=2)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
def test_every_dialect_reads_back_with_its_headers_and_row_count(tmp_path, dialect):
    truth = write_portfolio(tmp_path / "export.csv", rows=400, dialect=dialect, damage={})
    rows = _rows(tmp_path / "export.csv", dialect=dialect)
    assert [header for header, _ in dialect.customers] == list(rows[0])
    assert len(rows) == truth.rows == 400


@pytest.mark.parametrize("name", ["norwegian", "danish", "swedish", "finnish"])
def test_meter_points_lie_in_the_synthetic_block_and_pass_the_check(tmp_path, name):
    dialect = DIALECTS[name]
    header = next(header for header, column in dialect.customers if column == "meter_point")
    write_portfolio(tmp_path / "export.csv", rows=400, dialect=dialect, damage={})
    ids = [row[header] for row in _rows(tmp_path / "export.csv", dialect=dialect)]
    prefixes = {"norwegian": {"707057599"}, "swedish": {"735999999"}, "finnish": {"643999999"}}
    assert {text[:9] for text in ids} == prefixes.get(name, {"571313199", "571515199"})
    assert all(len(text) == 18 and ean.calc_check_digit(text[:-1]) == text[-1] for text in ids)
    assert len(set(ids)) == 400


def test_published_examples_of_other_countries_come_out_of_the_same_arithmetic():
    from sandbox import dialects as d

    one = d.np.array
    assert d.gsrn(707057500)(one([6855361])) == 707057500068553617
    assert d.malo(41)(one([37355924])) == 41373559241
    assert d.mpan(1200)(one([1234567])) == 1200012345679


def test_customers_have_several_homes_and_homes_several_meters(tmp_path):
    write_portfolio(tmp_path / "export.csv", rows=2_000, damage={})
    rows = _rows(tmp_path / "export.csv")
    homes = Counter(user for user, _ in {(row["Kundenr"], row["Anlegg"]) for row in rows})
    meters = Counter(row["Anlegg"] for row in rows)
    assert max(homes.values()) > 2
    assert max(meters.values()) == 3
    assert all(
        len({row["Kundenr"] for row in rows if row["Anlegg"] == home}) == 1 for home in list(meters)[:50]
    )


def test_damage_lies_on_the_lines_the_truth_names(tmp_path):
    truth = write_portfolio(tmp_path / "export.csv", rows=2_000, damage=EVERYTHING)
    lines = [b"", *(tmp_path / "export.csv").read_bytes().split(b"\n")]

    def at(name):
        found = truth.damage[name].line_numbers()
        assert found
        return [lines[number] for number in found]

    width = len(NORWEGIAN.customers)
    plain = [line for line in at("short_row") + at("long_row") if b'"' not in line]
    assert {line.count(b";") for line in plain} == {width - 2, width}
    assert all(b"\xff" in line for line in at("bad_bytes"))
    assert all(line.count(b'"') == 1 for line in at("line_break"))
    assert set(at("repeated_header")) == {lines[1]}
    assert all(b"7,07058E+17" in line for line in at("exponent_point"))
    assert all(line.startswith(b";") for line in at("no_user"))
    assert all(
        line in lines[:number]
        for number, line in zip(truth.damage["duplicate"].line_numbers(), at("duplicate"), strict=True)
    )
    points = Counter(line.split(b";")[5] for line in at("contested_point"))
    assert set(points.values()) == {2}


def test_truth_adds_up_and_counts_physical_lines_of_unreadable_records(tmp_path):
    truth = write_portfolio(tmp_path / "export.csv", rows=2_000, damage=EVERYTHING, mixed=True)
    broken = len(truth.damage["line_break"].line_numbers())
    assert truth.damage["line_break"].rows == 2 * broken
    assert truth.rows == 2_000 + broken
    assert truth.lines == (tmp_path / "export.csv").read_bytes().count(b"\n")
    for classes in truth.classes.values():
        assert sum(classes.values()) == truth.rows
    warned = truth.damage["check_digit"].rows
    assert truth.classes["sandbox"]["mapped"] == truth.classes["production"]["mapped"] + warned


def test_truth_of_a_clean_export_counts_what_a_plain_reader_counts(tmp_path):
    truth = write_portfolio(tmp_path / "export.csv", rows=3_000, damage={})
    kept = [row for row in _rows(tmp_path / "export.csv") if row["Status"] == "Aktiv"]
    assert truth.classes["sandbox"]["mapped"] == len(kept)
    assert truth.records["sandbox"]["user"] == len({row["Kundenr"] for row in kept})
    assert truth.records["sandbox"]["location"] == len({row["Anlegg"] for row in kept})


def test_resources_stand_in_homes_of_the_customers_export_of_the_same_seed(tmp_path):
    write_portfolio(tmp_path / "customers.csv", rows=2_000, damage={})
    truth = write_portfolio(tmp_path / "resources.csv", rows=300, kind="resources", damage={})
    homes = {(row["Kundenr"], row["Anlegg"], row["MålepunktID"]) for row in _rows(tmp_path / "customers.csv")}
    resources = _rows(tmp_path / "resources.csv")
    assert {(row["Kundenr"], row["Anlegg"], row["MålepunktID"]) for row in resources} <= homes
    kept = [row for row in resources if row["Status"] == "Aktiv"]
    assert truth.records["sandbox"]["vehicle"] == sum(row["Enhetstype"] == "elbil" for row in kept) > 0


def test_parquet_holds_the_same_world_with_coordinates_as_numbers(tmp_path):
    write_portfolio(tmp_path / "export.csv", rows=500, damage={})
    write_portfolio(tmp_path / "export.parquet", rows=500, damage={})
    table = pq.read_table(tmp_path / "export.parquet").to_pylist()
    for text, row in zip(_rows(tmp_path / "export.csv"), table, strict=True):
        assert text["MålepunktID"] == row["MålepunktID"]
        assert text["Adresse"] == row["Adresse"]
        assert (text["Breddegrad"] or None) == (
            row["Breddegrad"] and str(row["Breddegrad"]).replace(".", ",")
        )


def test_gzip_unpacks_to_the_plain_export_and_has_no_date(tmp_path):
    write_portfolio(tmp_path / "export.csv", rows=200)
    write_portfolio(tmp_path / "export.csv.gz", rows=200)
    packed = (tmp_path / "export.csv.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "export.csv").read_bytes()
    assert packed[4:8] == bytes(4)


def test_blocks_join_without_a_seam(tmp_path, monkeypatch):
    """Points, homes and totals go on from block to block."""
    monkeypatch.setattr(portfolio, "CUSTOMERS_PER_BLOCK", 50)
    truth = write_portfolio(tmp_path / "export.csv", rows=1_000, damage={"cut_point": 0.01})
    rows = _rows(tmp_path / "export.csv")
    assert len({row["MålepunktID"] for row in rows}) == 1_000
    assert truth.damage["cut_point"].rows == sum(len(row["MålepunktID"]) == 17 for row in rows) == 10


def test_swedish_coordinates_are_metres(tmp_path):
    write_portfolio(tmp_path / "export.csv", rows=50, dialect=SWEDISH, damage={})
    norths = [
        float(row["N"].replace(",", "."))
        for row in _rows(tmp_path / "export.csv", dialect=SWEDISH)
        if row["N"]
    ]
    assert all(7_470_000 <= north <= 7_490_000 for north in norths)


def test_unknown_damage_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="rot13"):
        write_portfolio(tmp_path / "export.csv", rows=1, damage={"rot13": 0.1})


def _commands() -> list[str]:
    readme = (REPOSITORY / "data" / "README.md").read_text(encoding="utf-8")
    return [line for line in readme.splitlines() if line.startswith("python -m sandbox.portfolio")]


@pytest.mark.parametrize("command", _commands(), ids=lambda command: command.rpartition("/")[2])
def test_committed_samples_are_what_the_readme_says_made_them(tmp_path, command, capsys):
    arguments = shlex.split(command)[3:]
    made = [Path(word) for word in arguments if word.startswith("data/samples/")]
    moved = [str(tmp_path / Path(word).name) if Path(word) in made else word for word in arguments]
    assert portfolio.main(moved) == 0
    assert str(made[0].name) in capsys.readouterr().out
    for path in made:
        ours, theirs = tmp_path / path.name, REPOSITORY / path
        if path.suffix == ".parquet":
            assert pq.read_table(ours).equals(pq.read_table(theirs))
        else:
            assert ours.read_bytes() == theirs.read_bytes()
    shutil.rmtree(tmp_path)


def test_every_sample_export_has_its_truth_beside_it():
    samples = REPOSITORY / "data" / "samples"
    truths = {
        path.name.removesuffix(".truth.json"): json.loads(path.read_text()) for path in samples.glob("*.json")
    }
    exports = [path for path in samples.iterdir() if path.suffix in (".csv", ".parquet")]
    assert all(path.name in truths or path.stem in truths for path in exports)


@pytest.mark.parametrize(
    ("name", "country"),
    [("norwegian", "NO"), ("danish", "DK"), ("finnish", "FI"), ("british", "GB"), ("german", "DE")],
)
def test_homes_lie_inside_their_country_and_the_place_abroad_far_outside(name, country):
    import shapely

    dialect = DIALECTS[name]
    outlines = pq.read_table(REPOSITORY / "data" / "reference" / "outlines.parquet").to_pylist()
    land = shapely.from_wkb(next(line["wkb"] for line in outlines if line["country"] == country))

    def box(corners):
        return shapely.box(*(edge / 100_000 for edge in (
            corners.second_low, corners.first_low, corners.second_high, corners.first_high
        )))  # fmt: skip

    assert all(land.contains(box(corners)) for corners in dialect.boxes)
    assert land.distance(box(dialect.abroad)) > 1
