import csv

import polars as pl
import pyarrow.parquet as pq
import pytest

from connectors.artifacts import RunFolder
from connectors.reports import tables
from connectors.reports.tables import OUTCOMES, VIOLATIONS, write_csv_copy, writing_table
from schemas.errors import AccountError
from tests.golden.runs import HOSTILE


@pytest.fixture
def folder(tmp_path):
    with RunFolder(tmp_path) as run:
        yield run


def outcomes(count: int = 3, **columns) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "kind": ["location"] * count,
            "masked_id": ["…0017"] * count,
            "outcome": ["created"] * count,
            "source_line": list(range(2, 2 + count)),
            **columns,
        }
    )


def cells(folder: RunFolder, table: tables.Table) -> list[list[str]]:
    text = (folder.path / f"{table.name}.csv").read_bytes().decode("utf-8-sig")
    return list(csv.reader(text.splitlines(), delimiter=";"))


def test_a_table_has_its_columns_its_version_and_nothing_else(folder):
    with writing_table(folder, OUTCOMES) as writer:
        writer.append(outcomes())
        writer.append(outcomes(1, reason=["exists"], outcome=["rejected"]))
    assert writer.rows == 4
    schema = pq.read_schema(folder.path / "outcomes.parquet")
    assert schema.names == list(OUTCOMES.columns)
    assert schema.metadata[b"meterfeed.table"] == b"outcomes"
    assert schema.metadata[b"meterfeed.version"] == b"2"
    rows = pl.read_parquet(folder.path / "outcomes.parquet")
    assert rows["outcome"].cast(pl.String).to_list() == ["created", "created", "created", "rejected"]
    assert rows["reason"].to_list() == [None, None, None, "exists"]


def test_an_empty_table_is_a_table(folder):
    with writing_table(folder, VIOLATIONS):
        pass
    assert write_csv_copy(folder, VIOLATIONS) == 0
    assert cells(folder, VIOLATIONS) == [list(VIOLATIONS.columns)]


@pytest.mark.parametrize(
    "frame", [outcomes(user=["Kari"] * 3), outcomes(outcome=["lost"] * 3), outcomes(kind=["x"] * 3)]
)
def test_unknown_columns_and_values_are_bugs(folder, frame):
    with pytest.raises(AccountError), writing_table(folder, OUTCOMES) as writer:
        writer.append(frame)
    assert not folder.has("outcomes.parquet")


def test_a_csv_opens_in_a_spreadsheet_with_every_cell_as_text(folder):
    with writing_table(folder, OUTCOMES) as writer:
        writer.append(outcomes(1, message=['He said "no"; twice'], source_file=["kunder-æøå.csv"]))
    write_csv_copy(folder, OUTCOMES)
    content = (folder.path / "outcomes.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    assert b'"He said ""no""; twice"' in content
    header, row = cells(folder, OUTCOMES)
    assert dict(zip(header, row, strict=True))["source_file"] == "kunder-æøå.csv"
    assert content.count(b"\r\n") == 2


@pytest.mark.parametrize(
    "text",
    [
        *HOSTILE,
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\t=1",
        "\r=1",
        "\n=1",
        "\x00=1",
        "＝1",
        "＋1",
        "－1",
        "＠1",
        " =1",
        "\x1b[1m=1",
    ],
)
def test_no_cell_is_a_formula_or_a_terminal_command(folder, text):
    with writing_table(folder, OUTCOMES) as writer:
        writer.append(outcomes(1, message=[text], masked_id=[text], source_file=[text], reason=[text]))
    write_csv_copy(folder, OUTCOMES)
    header, row = cells(folder, OUTCOMES)
    assert len(row) == len(header)
    for cell in row:
        assert not cell.lstrip().startswith(tuple("=+-@＝＋－＠"))
        assert "\x1b" not in cell
        assert cell.isprintable()


def test_a_sheet_that_is_too_short_holds_what_needs_somebody_first(folder, monkeypatch):
    monkeypatch.setattr(tables, "SHEET_ROWS", 4)
    with writing_table(folder, OUTCOMES) as writer:
        writer.append(outcomes(5))
        writer.append(outcomes(2, outcome=["rejected", "in_doubt"]))
    assert write_csv_copy(folder, OUTCOMES) == 4
    shown = [row[list(OUTCOMES.columns).index("outcome")] for row in cells(folder, OUTCOMES)[1:]]
    assert shown == ["rejected", "in_doubt", "created", "created"]


def test_the_same_rows_give_the_same_bytes(tmp_path):
    written = []
    for name in ("a", "b"):
        with RunFolder.create(tmp_path, name) as run:
            with writing_table(run, OUTCOMES) as writer:
                writer.append(outcomes())
            write_csv_copy(run, OUTCOMES)
            written.append([(run.path / f"outcomes.{ending}").read_bytes() for ending in ("parquet", "csv")])
    assert written[0] == written[1]
