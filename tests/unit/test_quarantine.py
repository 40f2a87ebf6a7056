"""Rows kept aside, and the correction file that comes back."""

import gzip
import os
import stat
from decimal import Decimal
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.artifacts import RunFolder
from connectors.exports import open_exports
from connectors.exports.corrections import as_it_was, spreadsheet_safe, spreadsheet_safe_lines
from connectors.quarantine import write_quarantine
from schemas.errors import ExportError
from schemas.profile import Profile


def profile(file: str = "", columns: str = 'user = "a"\nmeter_point = "b"\n', name: str = "x") -> Profile:
    return Profile.from_toml(f'name = "{name}"\ncountry = "NO"\n[file]\n{file}\n[columns]\n{columns}', "x")


SEMICOLON = 'separator = ";"\n'


def marks(**lines) -> pl.DataFrame:
    entries = {int(line[1:]): rules for line, rules in lines.items()}
    return pl.DataFrame(
        {"source_line": list(entries), "rules": list(entries.values())},
        schema={"source_line": pl.UInt32, "rules": pl.List(pl.String)},
    )


@pytest.fixture
def keep(tmp_path):
    """Write an export, keep some of its lines aside, and give both files' paths."""

    def keep_(content: bytes, file: str = SEMICOLON, *, name="kunder.csv", columns=None, **lines):
        (tmp_path / name).write_bytes(content)
        settings_ = profile(file, columns) if columns else profile(file)
        exports = open_exports([str(tmp_path / name)], [settings_])
        with RunFolder.create(tmp_path, "run") as folder:
            return write_quarantine(folder, exports, [marks(**lines)])

    return keep_


def text_of(path: str) -> str:
    return Path(path).read_bytes().decode("utf-8-sig")


def rows_of(path: str, file: str = SEMICOLON, columns=None) -> list[tuple]:
    settings_ = profile(file, columns) if columns else profile(file)
    (export,) = open_exports([path], [settings_])
    return [row[:-2] for batch in export.batches() for row in batch.rows.rows()]


CONTENT = b"a;b;c;Navn\n1;2;3;Kari\n4;5\n6;7;8;Ola\n9;10;11;Per\n"


def test_marked_rows_are_copied_with_all_their_columns(keep):
    paths = keep(CONTENT, l2=["x"], l3=["too_few_fields"], l5=["x", "y"])
    frame = pl.read_parquet(paths["quarantine"])
    assert frame.columns == [
        "meterfeed_file", "meterfeed_line", "meterfeed_rules", "meterfeed_text", "a", "b", "c", "Navn",
    ]  # fmt: skip
    assert frame.rows() == [
        ("kunder.csv", 2, ["x"], None, "1", "2", "3", "Kari"),
        ("kunder.csv", 3, ["too_few_fields"], "4;5", None, None, None, None),
        ("kunder.csv", 5, ["x", "y"], None, "9", "10", "11", "Per"),
    ]


def test_a_correction_is_read_back_under_the_same_profile(keep):
    paths = keep(CONTENT, l2=["x"], l5=["y"])
    assert rows_of(paths["correction"]) == [("1", "2"), ("9", "10")]


def test_a_correction_knows_which_rows_it_corrects(keep, tmp_path):
    paths = keep(CONTENT, l2=["x"], l5=["y"])
    (first,) = open_exports([str(tmp_path / "kunder.csv")], [profile(SEMICOLON)])
    (again,) = open_exports([paths["correction"]], [profile(SEMICOLON)])
    assert again.is_correction
    assert not first.is_correction
    assert again.columns_dropped == ("c", "Navn")
    assert again.corrects().rows() == [(2, first.sha256[:32], 2), (3, first.sha256[:32], 5)]
    assert first.corrects().height == 0


def test_a_token_that_was_broken_is_left_out(keep, tmp_path):
    path = tmp_path / "correction-broken.csv"
    text = text_of(keep(CONTENT, l2=["x"], l5=["y"])["correction"])
    path.write_text(text.replace(":5;", ":fem;"), encoding="utf-8")
    (again,) = open_exports([str(path)], [profile(SEMICOLON)])
    assert again.corrects().height == 1


def test_a_correction_of_a_correction_has_our_columns_once(keep, tmp_path):
    paths = keep(CONTENT, l2=["x"], l5=["y"])
    (again,) = open_exports([paths["correction"]], [profile(SEMICOLON)])
    with RunFolder.create(tmp_path, "second") as folder:
        second = write_quarantine(folder, [again], [marks(l3=["z"])])
    lines = text_of(second["correction"]).splitlines()
    assert lines[0] == "a;b;c;Navn;meterfeed_row;meterfeed_rules;meterfeed_text"
    assert lines[1].startswith(f"9;10;11;Per;{again.sha256[:32]}:3;z;")


def test_a_row_that_could_not_be_split_comes_back_as_its_text(keep):
    paths = keep(b'a;b;c\n1;"2"3\n=4;5\n6;\xd8;7\n8;\x00;9\n', l2=["stray_quote"], l3=["too_few_fields"],
                 l4=["undecodable"], l5=["nul_byte"])  # fmt: skip
    texts = pl.read_parquet(paths["quarantine"])["meterfeed_text"].to_list()
    assert texts == ['1;"2"3', "=4;5", r"6;\xd8;7", r"8;\x00;9"]
    assert "'=4;5" in text_of(paths["correction"])
    assert rows_of(paths["correction"]) == [(None, None)] * 4


@pytest.mark.parametrize("file", ["", 'multiline = ["b"]\n'])
@pytest.mark.parametrize("before", [0, 300, 90_000])
@pytest.mark.parametrize("closing", [b'9;8";7', b"9;8;7"])
def test_every_line_between_stray_quotes_is_copied_once(tmp_path, file, before, closing):
    """Over the ends of blocks, where the second look finds them as the first did; blank lines included."""
    good = b"12345;678;9\n"
    between = [b'1;"2;3', b"", *[b"4;5;6;%d" % number for number in range(2_000)], b"", closing]
    after = b"" if closing == b"9;8;7" else b'1;"2";3\n'
    (tmp_path / "kunder.csv").write_bytes(b"a;b;c\n" + good * before + b"\n".join(between) + b"\n" + after)
    (export,) = open_exports([str(tmp_path / "kunder.csv")], [profile(SEMICOLON + file)])
    batches = list(export.batches())
    found = [row for batch in batches for row in batch.unreadable.rows()]
    assert sum(batch.rows.height for batch in batches) == before + bool(after)
    marked = marks(**{f"l{line}": [reason] for line, _, reason in found})
    with RunFolder.create(tmp_path, "run") as folder:
        paths = write_quarantine(folder, [export], [marked])
    kept = pl.read_parquet(paths["quarantine"])
    assert kept["meterfeed_line"].to_list() == list(range(2 + before, 2 + before + len(between)))
    assert kept["meterfeed_text"].to_list() == [line.decode() for line in between]
    assert len(rows_of(paths["correction"])) == len(between)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_text_that_nobody_mended_is_in_every_further_correction(keep, tmp_path, newline):
    lines = ["a;b;c", '1;"2"3', "=4;5", "6;7;8"]
    paths = keep(
        newline.join(lines).encode() + newline.encode(), l2=["stray_quote"], l3=["too_few_fields"], l4=["x"]
    )
    for number in (2, 3):
        (again,) = open_exports([paths["correction"]], [profile(SEMICOLON)])
        with RunFolder.create(tmp_path, f"run-{number}") as folder:
            paths = write_quarantine(folder, [again], [marks(l2=["user_is_present"], l3=["x"], l4=["x"])])
        kept = pl.read_parquet(paths["quarantine"], columns=["meterfeed_text", "a"])
        assert [('1;"2"3', ""), ("=4;5", ""), (None, "6")] == kept.rows()


def test_a_correction_saved_without_its_texts_is_kept_aside_all_the_same(keep, tmp_path):
    text = text_of(keep(CONTENT, l2=["x"], l3=["too_few_fields"])["correction"])
    bare = tmp_path / "correction-bare.csv"
    bare.write_text(text.replace(";meterfeed_text", "").replace(';"4;5"', "").replace(";x;", ";x"))
    (again,) = open_exports([str(bare)], [profile(SEMICOLON)])
    with RunFolder.create(tmp_path, "second") as folder:
        paths = write_quarantine(folder, [again], [marks(l2=["x"], l3=["user_is_present"])])
    assert [None, None] == pl.read_parquet(paths["quarantine"])["meterfeed_text"].to_list()


def test_nothing_marked_makes_no_file(keep, tmp_path):
    assert keep(CONTENT) == {}
    assert os.listdir(tmp_path / "run") == []


def test_both_files_are_for_our_eyes_only(keep, tmp_path):
    for path in keep(CONTENT, l2=["x"]).values():
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert sorted(os.listdir(tmp_path / "run")) == ["correction.csv", "quarantine.parquet"]


def test_a_link_in_the_way_is_replaced_and_not_followed(keep, tmp_path):
    target = tmp_path / "target"
    target.write_text("untouched")
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "run" / "correction.csv").symlink_to(target)
    keep(CONTENT, l2=["x"])
    assert target.read_text() == "untouched"
    assert not (tmp_path / "run" / "correction.csv").is_symlink()


def test_an_export_that_changed_since_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "kunder.csv").write_bytes(CONTENT)
    exports = open_exports([str(tmp_path / "kunder.csv")], [profile(SEMICOLON)])
    (tmp_path / "kunder.csv").write_bytes(CONTENT.replace(b"Kari", b"Hans"))
    os.utime(tmp_path / "kunder.csv", (1, 1))  # within one tick of a coarse clock it would have the same time
    with RunFolder.create(tmp_path, "run") as folder, pytest.raises(ExportError, match="changed"):
        write_quarantine(folder, exports, [marks(l2=["x"])])
    assert os.listdir(tmp_path / "run") == []


# ------------------------------------------------------------------ dialects
@pytest.mark.parametrize(
    "encoding", ["utf-8", "cp1252", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "cp865"]
)
@pytest.mark.parametrize("separator", [";", ",", "\\t", "|"])
def test_a_correction_keeps_dialect_and_encoding(keep, encoding, separator):
    sign = separator.replace("\\t", "\t")
    rows = [
        "a;b;Måler".replace(";", sign),
        sign.join(["1", "2", "Åse"]),
        sign.join(["3", '"4 ""x"""', "Ørn"]),
        "",
    ]
    file = f'separator = "{separator}"\nencoding = "{encoding}"\ndecimal = "{"," if sign != "," else "."}"'
    columns = 'user = "a"\nmeter_point = "b"\nlocation = "Måler"\n'
    paths = keep("\r\n".join(rows).encode(encoding), file, columns=columns, l3=["x"])
    assert rows_of(paths["correction"], file, columns) == [("3", "Ørn", '4 "x"')]


def test_line_breaks_survive(keep):
    file = SEMICOLON + 'multiline = ["c"]\nnewline = "\\r\\n"'
    columns = 'user = "a"\nlocation = "c"\n'
    content = b'a;b;c\r\n1;2;"x\r\n\r\ny"\r\n3;4;"z"\r\n5;6;7\r\n'
    paths = keep(content, file, columns=columns, l2=["x"], l5=["x"])
    assert rows_of(paths["correction"], file, columns) == [("1", "x\r\n\r\ny"), ("3", "z")]


def test_lines_before_the_header_and_the_footer_come_along(keep):
    file = SEMICOLON + "header_line = 3\nfooter_lines = 1"
    content = b"Rapport\n\na;b;c\n1;2;3\n4;5;6\nSum;;2\n"
    paths = keep(content, file, l5=["x"])
    assert rows_of(paths["correction"], file) == [("4", "5")]
    text = text_of(paths["correction"])
    assert text.startswith("Rapport\n\n")
    assert text.endswith("\nSum;;2\n")


RISKY = """=1+1;-MålepunktID;07;'x;c\n"""


@pytest.mark.parametrize("header", ["exact", "folded"])
def test_a_header_is_no_formula_in_a_correction_and_is_found_when_it_comes_back(keep, tmp_path, header):
    """Twice in a row: a mark is taken off when it is read, not joined by a second one."""
    file = f'{SEMICOLON}header = "{header}"'
    columns = """user = "'x"\nmeter_point = "-MålepunktID"\n"""
    settings_ = profile(file, columns)
    paths = keep(f"{RISKY}a;b;c;d;e\n".encode(), file, columns=columns, l2=["x"])
    heads = [text_of(paths["correction"]).splitlines()[0]]
    (again,) = open_exports([paths["correction"]], [settings_])
    assert ("=1+1", "07", "c") == again.columns_dropped
    with RunFolder.create(tmp_path, "second") as folder:
        second = write_quarantine(folder, [again], [marks(l2=["x"])])
    heads.append(text_of(second["correction"]).splitlines()[0])
    assert ["'=1+1;'-MålepunktID;'07;''x;c;meterfeed_row;meterfeed_rules;meterfeed_text"] * 2 == heads
    assert [("d", "b")] == rows_of(second["correction"], file, columns)
    assert "'x" in pl.read_parquet(second["quarantine"]).columns


def test_a_marked_header_that_stands_in_a_correction_twice_is_no_row(keep, tmp_path):
    """As when two corrections of one kind are joined."""
    columns = """user = "'x"\nmeter_point = "-MålepunktID"\n"""
    text = text_of(keep(f"{RISKY}a;b;c;d;e\n".encode(), columns=columns, l2=["x"])["correction"])
    joined = tmp_path / "correction-joined.csv"
    joined.write_text(text + text, encoding="utf-8")
    assert [("d", "b")] * 2 == rows_of(str(joined), columns=columns)


def test_what_stands_before_the_header_and_after_the_rows_is_no_formula(keep, tmp_path):
    file = SEMICOLON + "header_line = 4\nfooter_lines = 2"
    preface = 'Rapport;=HYPERLINK("http://evil.example")\n\n"@SUM(A1)";-3,5; +1;=2\n'
    footer = "Sum;-12;-A1\n=1+1;;\n"
    paths = keep(f"{preface}a;b;c\n1;2;3\n{footer}".encode(), file, l5=["x"])
    (again,) = open_exports([paths["correction"]], [profile(file)])
    with RunFolder.create(tmp_path, "second") as folder:
        second = write_quarantine(folder, [again], [marks(l5=["x"])])
    for path in (paths["correction"], second["correction"]):
        lines = text_of(path).splitlines()
        assert ['Rapport;\'=HYPERLINK("http://evil.example")', "", "\"'@SUM(A1)\";-3,5;' +1;'=2"] == lines[:3]
        assert ["Sum;-12;'-A1", "'=1+1;;"] == lines[5:]
        assert [("1", "2")] == rows_of(path, file)


@pytest.mark.parametrize(
    ("text", "separator", "safe"),
    [
        ("sep==\n=1", "=", "sep==\n'=1"),
        ("SEP=;\r\n=1\r\n", ";", "SEP=;\r\n'=1\r\n"),
        ("sep=;=1", ";", "sep=;'=1"),
        ("a\t\t =1\t-1\r\n\r\n", "\t", "a\t\t' =1\t-1\r\n\r\n"),
        ("a|x=1|'=1|=2", "|", "a|x=1|'=1|'=2"),
        ('"";"""=1"', ";", '"";"""\'=1"'),
        ("a\r=1", ";", "a\r'=1"),
        ("-1;-1-1", ";", "-1;'-1-1"),
        ("", ";", ""),
    ],
)
def test_only_the_formulas_of_a_line_are_marked_and_only_once(text, separator, safe):
    assert safe == spreadsheet_safe_lines(text, separator)
    assert safe == spreadsheet_safe_lines(safe, separator)


@given(
    text=st.text(alphabet="=+-@1; \"'^\n\r\ta", max_size=30),
    separator=st.sampled_from([";", ",", "\t", "|", "^", "-", "]"]),
)
@settings(deadline=None)
def test_marking_lines_adds_apostrophes_only_and_comes_to_rest(text, separator):
    safe = spreadsheet_safe_lines(text, separator)
    assert text.replace("'", "") == safe.replace("'", "")
    assert safe == spreadsheet_safe_lines(safe, separator)


def test_a_word_for_empty_is_empty_in_a_correction_too(keep):
    """Some such words look like formulas, and are marked for the spreadsheet."""
    file = SEMICOLON + 'nulls = ["", "-", "@", "null"]'
    paths = keep(b"a;b;c\n-;2;3\n4;null;5\n6;@;7\n8;'-;9\n", file, l2=["x"], l3=["x"], l4=["x"], l5=["x"])
    assert [(None, "2"), ("4", None), ("6", None), ("8", "'-")] == rows_of(paths["correction"], file)
    assert text_of(paths["correction"]).splitlines()[1].startswith("'-;2;3;")  # so the mark was there


def test_a_cell_that_is_nothing_but_a_mark_is_empty(keep, tmp_path):
    paths = keep(CONTENT, l2=["x"])
    saved = tmp_path / "correction-saved.csv"
    saved.write_text(text_of(paths["correction"]).replace("\n1;2;", "\n1;';"), encoding="utf-8")
    assert [("1", None)] == rows_of(str(saved))


def test_a_footer_that_a_spreadsheet_made_as_wide_as_the_rows_is_no_row(keep, tmp_path):
    file = SEMICOLON + "footer_lines = 1"
    paths = keep(b"a;b;c\n1;2;3\nSum;;2\n", file, l2=["x"])
    saved = tmp_path / "correction-saved.csv"
    saved.write_text(text_of(paths["correction"]).replace("Sum;;2\n", "Sum;;2;;;\n"), encoding="utf-8")
    (again,) = open_exports([str(saved)], [profile(file)])
    assert [("1", "2")] == rows_of(str(saved), file)
    assert [2] == again.corrects()["corrects_line"].to_list()


def test_a_sep_line_comes_along(keep):
    paths = keep(b"sep=;\na;b;c\n1;2;3\n", l3=["x"])
    assert rows_of(paths["correction"]) == [("1", "2")]


def test_a_file_that_quotes_nothing_stays_so(keep):
    file = SEMICOLON + "quote = ''"
    paths = keep(b'a;b;c\n1;2";3\n4;5\n', file, l2=["x"], l3=["too_few_fields"])
    assert rows_of(paths["correction"], file) == [("1", '2"'), (None, None)]


def test_a_packed_export_has_a_plain_correction(keep):
    paths = keep(gzip.compress(CONTENT), SEMICOLON + 'member = "x"\nmatch = "kunder*"', l2=["x"])
    assert rows_of(paths["correction"], SEMICOLON + 'member = "x"\nmatch = "kunder*"') == [("1", "2")]


def test_a_parquet_export_has_a_csv_correction(tmp_path):
    path = tmp_path / "k.parquet"
    table = pa.table(
        {"a": ["1", "2", "3"], "b": ["0707", None, "x"], "tall": [1.5, None, 2.0], "liste": [[1], [2], None]}
    )
    pq.write_table(table, path)
    parquet = profile('format = "parquet"')
    exports = open_exports([str(path)], [parquet])
    with RunFolder.create(tmp_path, "run") as folder:
        paths = write_quarantine(folder, exports, [marks(l1=["x"], l3=["y"])])
    frame = pl.read_parquet(paths["quarantine"])
    assert frame.drop("meterfeed_file", "meterfeed_rules").rows() == [
        (1, None, "1", "0707", "1.5", "[1]"),
        (3, None, "3", "x", "2", None),
    ]
    (again,) = open_exports([paths["correction"]], [parquet])
    assert [row[:2] for batch in again.batches() for row in batch.rows.rows()] == [("1", "0707"), ("3", "x")]


def correction_of(tmp_path, table: pa.Table, settings_: Profile, **lines) -> dict[str, str]:
    pq.write_table(table, tmp_path / "k.parquet")
    exports = open_exports([str(tmp_path / "k.parquet")], [settings_])
    with RunFolder.create(tmp_path, "run") as folder:
        return write_quarantine(folder, exports, [marks(**lines)])


def rows_again(path: str, settings_: Profile) -> list[tuple]:
    """What a correction brings; each row is read and knows which one it stands for."""
    (export,) = open_exports([path], [settings_])
    batches = list(export.batches())
    assert [0] * len(batches) == [batch.unreadable.height for batch in batches]
    rows = [row[:-2] for batch in batches for row in batch.rows.rows()]
    assert len(rows) == export.corrects().height
    return rows


PLACED = 'user = "a"\nlatitude = "la"\nlongitude = "lo"\n'


@pytest.mark.parametrize("decimal", [",", "."])
def test_numbers_of_parquet_have_the_profiles_decimal_sign_in_a_correction_too(tmp_path, decimal):
    settings_ = profile(f'{SEMICOLON}decimal = "{decimal}"', PLACED)
    longitudes = pa.array([Decimal("10.75"), Decimal("0.00000001")], pa.decimal128(12, 8))
    table = pa.table({"a": ["1", "2"], "la": [59.91, 60.1], "lo": longitudes, "tall": [1.5, 2.5]})
    paths = correction_of(tmp_path, table, settings_, l1=["x"], l2=["x"])
    (export,) = open_exports([str(tmp_path / "k.parquet")], [settings_])
    as_it_came = [row[:-2] for batch in export.batches() for row in batch.rows.rows()]
    assert f"59{decimal}91" == as_it_came[0][1]
    assert as_it_came == rows_again(paths["correction"], settings_)


@pytest.mark.parametrize(
    "file", ["", "quote = ''", 'newline = "\\r"', 'newline = "\\r\\n"', 'multiline = ["x", "b"]']
)
def test_no_sign_in_a_parquet_cell_makes_a_line_of_a_correction_unreadable(tmp_path, file):
    """In a column that is read and in one that is not; `[file] multiline` may name columns that are not there."""
    settings_ = profile(SEMICOLON + file)
    breaks = ["x\ny", "x\r\ny", "x\ry", "x\x1ay", "x\n\n\ry", "x\n;y", "x\n\x1ay"]
    table = pa.table(
        {"a": [str(at) for at in range(len(breaks))], "b": breaks, "navn": breaks[::-1], "c": "d" * 7}
    )
    lines = {f"l{at}": ["x"] for at in range(1, len(breaks) + 1)}
    paths = correction_of(tmp_path, table, settings_, **lines)
    assert breaks == pl.read_parquet(paths["quarantine"])["b"].to_list()
    found = rows_again(paths["correction"], settings_)
    assert [str(at) for at in range(len(breaks))] == [row[0] for row in found]
    may_break = "multiline" in file
    assert ("x\ny" if may_break else "x y") == found[0][1]
    assert ("x\r\ny" if may_break else "x y") == found[1][1]


def test_what_tells_locations_apart_keeps_its_line_breaks_in_a_correction_of_parquet(tmp_path):
    """Another text would be another location."""
    text = (
        'name = "x"\ncountry = "NO"\n[identity]\nlocation_from = ["user", "Adresse"]\n[columns]\nuser = "a"\n'
    )
    settings_ = Profile.from_toml(text, "x")
    table = pa.table({"a": ["1"], "Adresse": ["Storgata 1\n0150 Oslo"], "navn": ["Kari\nNordmann"]})
    paths = correction_of(tmp_path, table, settings_, l1=["x"])
    assert [("1", "Storgata 1\n0150 Oslo")] == rows_again(paths["correction"], settings_)
    assert "Kari Nordmann" in text_of(paths["correction"])


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_a_correction_of_parquet_has_the_lines_its_profile_wants_around_the_rows(tmp_path, newline):
    written = newline.replace("\r", "\\r").replace("\n", "\\n")
    settings_ = profile(
        f'{SEMICOLON}header_line = 3\nfooter_lines = 2\nnewline = "{written}"', 'user = "a"\n'
    )
    paths = correction_of(tmp_path, pa.table({"a": ["1", "2"]}), settings_, l1=["x"], l2=["x"])
    assert [("1",), ("2",)] == rows_again(paths["correction"], settings_)
    lines = text_of(paths["correction"]).split(newline)
    assert ["", "", "a;meterfeed_row;meterfeed_rules;meterfeed_text"] == lines[:3]
    assert [";;;footer", ";;;footer", ""] == lines[-3:]
    (again,) = open_exports([paths["correction"]], [settings_])
    with RunFolder.create(tmp_path, "second") as folder:
        second = write_quarantine(folder, [again], [marks(l5=["x"])])
    assert [("2",)] == rows_again(second["correction"], settings_)


def test_many_rows_over_many_blocks(keep):
    count = 200_000
    content = b"a;b;c\n" + b"".join(b"%d;%d;%d\n" % (n, n, n) for n in range(count))
    wanted = list(range(2, count + 2, 997))
    paths = keep(content, **{f"l{line}": ["x"] for line in wanted})
    frame = pl.read_parquet(paths["quarantine"])
    assert frame["meterfeed_line"].to_list() == wanted
    assert frame["a"].to_list() == [str(line - 2) for line in wanted]
    assert rows_of(paths["correction"]) == [(str(line - 2), str(line - 2)) for line in wanted]


# ------------------------------------------------------------------ several exports
def test_exports_of_one_kind_share_a_correction_and_others_have_their_own(tmp_path):
    (tmp_path / "m1.csv").write_bytes(b"a;b\n1;2\n")
    (tmp_path / "m2.csv").write_bytes(b"a;b\n3;4\n")
    (tmp_path / "u1.csv").write_bytes(b"k;navn\n5;Kari\n")
    profiles = [
        profile(SEMICOLON + 'match = "m*.csv"', name="Meters"),
        profile(SEMICOLON + 'match = "u*.csv"', 'user = "k"\n', name="Users"),
    ]
    exports = open_exports([str(tmp_path)], profiles)
    with RunFolder.create(tmp_path, "run") as folder:
        paths = write_quarantine(folder, exports, [marks(l2=["x"])] * 3)
    frame = pl.read_parquet(paths["quarantine"])
    assert frame.select("meterfeed_file", "a", "b", "k", "navn").rows() == [
        ("m1.csv", "1", "2", None, None),
        ("m2.csv", "3", "4", None, None),
        ("u1.csv", None, None, "5", "Kari"),
    ]
    assert {"correction-meters-1.csv", "correction-users-2.csv", "quarantine.parquet"} == set(
        os.listdir(tmp_path / "run")
    )
    again = open_exports([paths["correction"], paths["correction-2"]], profiles)
    assert [export.profile.name for export in again] == ["Meters", "Users"]
    assert [batch.rows.height for export in again for batch in export.batches()] == [2, 1]
    assert again[0].corrects()["corrects_sha256"].to_list() == [
        exports[0].sha256[:32],
        exports[1].sha256[:32],
    ]


def test_in_a_run_of_several_profiles_the_only_correction_belongs_to_its_own(tmp_path):
    """Whichever comes first, and one without `match`, which any name fits, takes none from another."""
    for name in ("no-1.csv", "se-1.csv", "se-nord-1.csv"):
        (tmp_path / name).write_bytes(b"a;b\n1;2\n")
    profiles = [
        profile(SEMICOLON + 'match = "se-nord*"', name="se-nord"),
        profile(SEMICOLON + 'match = "se-*"', name="se"),
        profile(SEMICOLON, name="no"),
    ]
    exports = open_exports([str(tmp_path)], profiles)
    for at, export in enumerate(exports):
        marked = [marks(**({"l2": ["x"]} if at == place else {})) for place in range(len(exports))]
        with RunFolder.create(tmp_path, f"run-{at}") as folder:
            paths = write_quarantine(folder, exports, marked)
        for order in (profiles, profiles[::-1]):
            (again,) = open_exports([paths["correction"]], order)
            assert export.profile.name == again.profile.name


def test_headers_that_are_empty_or_like_ours_have_names_of_their_own(tmp_path):
    (tmp_path / "k.csv").write_bytes(b"a;b;;;x;meterfeed_line\n1;2;3;4;5;6\n")
    exports = open_exports([str(tmp_path / "k.csv")], [profile(SEMICOLON)])
    with RunFolder.create(tmp_path, "run") as folder:
        paths = write_quarantine(folder, exports, [marks(l2=["r"])])
    assert pl.read_parquet(paths["quarantine"]).columns[4:] == [
        "a",
        "b",
        "column 3",
        "column 4",
        "x",
        "column 6",
    ]


# ------------------------------------------------------------------ spreadsheets
@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+47 12345678", "-2+3", "@SUM(A1)", "\t=1", " =1", "＝1", "＋1", "－1", "＠x", "'x", "0150", "7" * 18,
     "7E5", "1,5e10", "7.07E+17", "1-12", "3/4", "2026-11-23", "10.12", "1.2.2026", "12:30", "1 000",
     "1\u00a0000\u00a0000", "MAR5", "5. mai", "12-Dec-26", "true", "SANN"],
)  # fmt: skip
def test_what_a_spreadsheet_would_run_or_change_is_marked(cell):
    assert safe([cell]) == ["'" + cell]


@pytest.mark.parametrize("cell", ["", "0", "12345678901", "59,91", "-31975.5", "Kari", "a=b", "K-1", "E17"])
def test_ordinary_cells_are_left_alone(cell):
    assert safe([cell]) == [cell]


@pytest.mark.parametrize("cell", ["1-12", "A-1", "5 %", "kr 5", "Kari", "0150", "-5", "123456789012", " 1"])
def test_every_id_that_is_no_short_whole_number_is_marked(cell):
    assert ["'" + cell] == safe([cell], is_id=True)


@pytest.mark.parametrize("cell", ["", "0", "7", "12345678901"])
def test_ids_that_no_spreadsheet_changes_are_left_alone(cell):
    assert [cell] == safe([cell], is_id=True)


def test_ids_are_marked_in_every_column_of_ids_and_come_back_as_they_were(keep):
    ids = ("user", "location", "meter_point", "parent_meter_point", "metering_location", "resource")
    ours = (*ids, "resource_type", "status")
    columns = "".join(f'{name} = "{header}"\n' for name, header in zip(ours, "abcdefgh", strict=True))
    paths = keep(b"a;b;c;d;e;f;g;h\n" + b"x-1;" * 7 + b"x-1\n", columns=columns, l2=["x"])
    assert ["'x-1"] * 6 + ["x-1"] * 2 == text_of(paths["correction"]).splitlines()[1].split(";")[:8]
    assert [("x-1",) * 8] == rows_of(paths["correction"], columns=columns)


def safe(cells: list[str], *, is_id: bool = False) -> list[str]:
    marked = spreadsheet_safe(pl.col("x"), is_id=is_id)
    return pl.DataFrame({"x": cells}).select(marked.alias("x"))["x"].to_list()


@settings(deadline=None, max_examples=300)
@given(
    cells=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=20),
    is_id=st.booleans(),
)
def test_the_mark_is_undone_exactly(cells, is_id):
    marked = (
        pl.DataFrame({"x": safe(cells, is_id=is_id)}).select(as_it_was(pl.col("x")).alias("x"))["x"].to_list()
    )
    assert marked == cells


def test_a_correction_of_a_correction_is_marked_once(tmp_path):
    """Each round through a spreadsheet would otherwise add an apostrophe, until no id is well formed."""
    content = b"a;b;c;Navn\n707057599990009002;'x;+47;'=1\n"
    (tmp_path / "kunder.csv").write_bytes(content)
    name, rounds = "kunder.csv", []
    for number in range(3):
        (export,) = open_exports([str(tmp_path / name)], [profile(SEMICOLON)])
        with RunFolder.create(tmp_path, f"round-{number}") as folder:
            paths = write_quarantine(folder, [export], [marks(l2=["z"])])
        name = f"correction-{number}.csv"
        (tmp_path / name).write_bytes(Path(paths["correction"]).read_bytes())
        cells = text_of(paths["correction"]).splitlines()[1].split(";")[:4]
        rounds.append((cells, pl.read_parquet(paths["quarantine"]).row(0)[4:]))
    assert [
        (["'707057599990009002", "''x", "'+47", "''=1"], ("707057599990009002", "'x", "+47", "'=1"))
    ] * 3 == (rounds)
