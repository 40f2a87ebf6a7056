"""What the start of a file shows before anybody has said anything about it."""

import contextlib
import gzip
import io
import zipfile

import pytest

from connectors.exports.sniff import look_at
from schemas.errors import ExportError
from schemas.look import Sureness

ROWS = "Kundenr;Måler;Sted\n" + "".join(f"{n};{n * 7};Østre gate {n}\n" for n in range(40))


@pytest.fixture
def look(tmp_path):
    def look_(content, name="kunder-2026-01.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return look_at(str(tmp_path / name))

    return look_


@pytest.mark.parametrize(
    ("stored", "encoding", "sureness"),
    [
        (ROWS.encode(), "utf-8", Sureness.SURE),
        (b"\xef\xbb\xbf" + ROWS.encode(), "utf-8", Sureness.SURE),
        (ROWS.encode("cp1252"), "cp1252", Sureness.LIKELY),
        (ROWS.encode("cp865"), "cp865", Sureness.LIKELY),
        (ROWS.encode("mac-roman"), "mac-roman", Sureness.LIKELY),
        (ROWS.encode("utf-16"), "utf-16", Sureness.SURE),
        (ROWS.encode("utf-16-le"), "utf-16-le", Sureness.LIKELY),
        (ROWS.encode("utf-16-be"), "utf-16-be", Sureness.LIKELY),
        (b"a;b\n1;2\n", "utf-8", Sureness.LIKELY),
    ],
)
def test_the_encoding_is_told_by_the_letters(look, stored, encoding, sureness):
    found = look(stored)
    assert (found.encoding.value, found.encoding.sureness) == (encoding, sureness)
    assert found.headers[0] in ("Kundenr", "a")


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
def test_the_separator_is_the_one_that_makes_a_table(look, separator):
    found = look(ROWS.replace(";", separator))
    assert found.separator.value == separator
    assert found.headers == ("Kundenr", "Måler", "Sted")


def test_decimal_commas_do_not_make_it_a_comma(look):
    assert look("a;b\n" + "1,5;2,5\n" * 50).separator.value == ";"


def test_one_column_is_a_guess(look):
    found = look("Kundenr\n1\n2\n")
    assert (found.separator.sureness, found.headers) == (Sureness.GUESS, ("Kundenr",))


@pytest.mark.parametrize(
    ("stored", "called"),
    [
        ("<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        ("\n <HTML><p>Logg inn</p>", "a web page"),
        ('{"error": "expired"}', "JSON"),
        ('[{"a": 1}]', "JSON"),
        ('<?xml version="1.0"?><Error/>', "XML"),
        ("%PDF-1.7\n1 0 obj\n", "a PDF"),
    ],
)
def test_what_comes_instead_of_an_export_is_called_by_its_name(look, stored, called):
    with pytest.raises(ExportError, match=f"begins like {called}"):
        look(stored)


@pytest.mark.parametrize("header", ["<tag>;b", "{x};b", "[1];b", "html;b"])
def test_odd_headers_are_still_headers(look, header):
    assert header.split(";")[0] == look(f"{header}\n1;2\n").headers[0]


def test_lines_before_the_header_are_skipped(look):
    assert look("Rapport for januar\n\n" + ROWS).header_line == 3
    assert look("sep=;\n" + ROWS).header_line == 1
    assert look("sep=;\n" + ROWS).headers[0] == "Kundenr"


def test_totals_at_the_end_are_a_footer(look):
    assert look(ROWS + "Sum;40;\n").footer_lines == 1
    assert look(ROWS + "Antall rader: 40\n").footer_lines == 1
    assert look(ROWS).footer_lines == 0


def test_quotes_line_breaks_and_line_ends_are_seen(look):
    assert look(ROWS + '41;1;"Nedre\ngate"\n').multiline == ("Sted",)
    assert look(ROWS.replace("\n", "\r")).newline == "\r"
    assert look(ROWS.replace("\n", "\r\n")).newline is None
    assert look(ROWS.rstrip("\n")).open_end
    assert look("".join(f"'{n}';'a;b'\n" for n in range(40))).quote == "'"


def test_containers_are_looked_into(look):
    assert look(gzip.compress(ROWS.encode())).container == "gzip"
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("les-meg.txt", "hei")
        archive.writestr("kunder.csv", ROWS)
    found = look(sink.getvalue())
    assert found.entries[0] == "kunder.csv"
    assert found.headers[0] == "Kundenr"


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("kunder-2026-01.csv", "kunder-*.csv*"),
        ("kunder_20260131T0203.csv.gz", "kunder_*.csv*"),
        ("mp-707057500012345678.csv", "mp-*.csv*"),
        ("kunder", "kunder*"),
    ],
)
def test_the_pattern_of_a_name_holds_no_digit(look, name, match):
    assert look(ROWS, name).match == match


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "workbook"),
        (b"PK\x03\x04junk", "damaged zip"),
        (";".join("c" * 600) + "\n1\n", "600 columns"),
    ],
)
def test_what_is_no_table_is_refused(look, content, told):
    with pytest.raises(ExportError, match=told):
        look(content)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"\0\0\0\0", b'"' * 5000, b";;;;\n" * 10, b"\x80\x81\x8d", b"a"]
)
def test_odd_bytes_are_looked_at_without_falling_over(look, content):
    with contextlib.suppress(ExportError):
        look(content)
