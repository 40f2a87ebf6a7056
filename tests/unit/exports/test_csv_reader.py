"""CSV: what each damage does to a row, and what stops the file."""

import threading

import pytest

from connectors.exports import open_exports
from connectors.exports.csv_reader import CsvRows
from schemas.errors import ExportError

GOOD = b"1;2;3\n"
HEAD = b"a;b;c\n"


def test_rows_know_their_line_and_number(read):
    reading = read(HEAD + b"1;2;3\n\n4;5\n6;7;8\n")
    assert reading.rows == [("1", "2"), ("6", "7")]
    assert reading.lines == [2, 5]
    assert reading.records == [1, 3]
    assert reading.unreadable == {4: "too_few_fields"}


def test_columns_that_are_not_mapped_are_not_read(read):
    reading = read(HEAD + GOOD)
    assert reading.export.columns_dropped == ("c",)
    assert reading.export.columns_present() == {"user", "meter_point"}


def test_one_of_their_columns_can_be_two_of_ours(read):
    reading = read(HEAD + GOOD, columns={"user": "a", "location": "b", "meter_point": "b"})
    assert reading.rows == [("1", "2", "2")]


def test_columns_only_a_key_names_are_read_under_their_header(tmp_path, make_profile, drained):
    from schemas.profile import Profile

    path = tmp_path / "k.csv"
    path.write_bytes(HEAD + GOOD)
    text = (
        'name = "x"\ncountry = "NO"\n[file]\nseparator = ";"\n[identity]\nlocation_from = ["user", "c"]\n'
        '[columns]\nuser = "a"\n'
    )
    (export,) = open_exports([str(path)], [Profile.from_toml(text, "x")])
    assert drained(export).rows == [("1", "3")]
    assert export.columns_present() == {"user", "key:c"}


# ------------------------------------------------------------------ CS1-CS3: encodings
def test_cs1_a_byte_order_mark_is_no_part_of_the_header(read):
    assert read(b"\xef\xbb\xbf" + HEAD + "1;ø;3\n".encode()).rows == [("1", "ø")]


@pytest.mark.parametrize("quoted", ["1", '"1"'])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize(("newline", "line_end"), [("", "\n"), ("", "\r\n"), ('newline = "\\r"', "\r")])
def test_cs1_marks_that_joined_files_keep_are_no_part_of_a_cell(read, quoted, encoding, newline, line_end):
    """In the first row as well, before a line without another sign, and two at once."""
    lines = [
        "a;b;c",
        f"\ufeff{quoted};2\ufeff;3",
        "4;5;6",
        "\ufeff\ufeff7;8;9",
        "\ufeff",
        "\ufeffa;b;c",
        "1;2;3",
        "",
    ]
    reading = read(line_end.join(lines).encode(encoding), f'encoding = "{encoding}"\n{newline}')
    assert [("1", "2\ufeff"), ("4", "5"), ("7", "8"), ("1", "2")] == reading.rows
    assert [2, 3, 4, 7] == reading.lines
    assert {6: "repeated_header"} == reading.unreadable


def test_cs1_a_mark_at_the_start_of_a_block_is_no_part_of_a_cell(read):
    """Blocks are cut at line ends, wherever the file is cut."""
    count = 200_000
    reading = read(HEAD + "".join(f"\ufeff{number};ø;3\n" for number in range(count)).encode())
    assert [str(number) for number in range(count)] == [row[0] for row in reading.rows]


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("utf-32", "utf-32"),
        ("cp1252", "cp1252"),
        ("latin-1", "latin-1"),
        ("cp865", "cp865"),
        ("utf-8", "utf-8"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_cs2_a_declared_encoding_is_read(read, encoding, stored, line_end):
    content = line_end.join(["a;b;c", "Øystein;Åse;1", "Ærlig;Ødegård;2", ""]).encode(stored)
    reading = read(content, f'encoding = "{encoding}"')
    assert reading.rows == [("Øystein", "Åse"), ("Ærlig", "Ødegård")]
    assert reading.lines == [2, 3]


def test_cs2_a_mark_before_a_declared_byte_order_is_skipped(read):
    content = b"\xff\xfe" + "a;b;c\n1;2;3\n".encode("utf-16-le")
    assert read(content, 'encoding = "utf-16-le"').rows == [("1", "2")]


@pytest.mark.parametrize(
    ("content", "declared", "told"),
    [
        ("a;b;c\n1;2;3\n".encode("utf-16"), "utf-8", 'encoding = "utf-16"'),
        ("a;b;c\n1;2;3\n".encode("utf-16-le"), "utf-8", 'encoding = "utf-16-le"'),
        ("a;b;c\n1;2;3\n".encode("utf-16-be"), "cp1252", 'encoding = "utf-16-be"'),
        ("a;b;c\n1;2;3\n".encode("utf-32"), "utf-16", 'encoding = "utf-32"'),
        (b"\xef\xbb\xbfa;b;c\n1;2;3\n", "cp1252", 'encoding = "utf-8"'),
        ("a;b;c\n1;Ø;3\n".encode(), "cp1252", 'encoding = "utf-8"'),
        ("a;b;Ø\n1;2;3\n".encode("cp1252"), "utf-8", "byte 4 of the header"),
        (b"a;b;c\n1;2;3\n", "utf-16", "no byte order mark"),
        (b"a;b;c\n1;2;3\n", "utf-16-le", "hold no NUL"),
        ("a;b;c\n1;2;3\n".encode("utf-16-le") + b"\x00\xd8\x41\x00", "utf-16-le", "near byte"),
        ("a;b;c\n" + "1;Ø;3\n" * 5, "utf-8", "line 2 (byte 2 of the line) and 4 others"),
    ],
)
def test_cs3_another_encoding_stops_the_file_and_is_named(refusal, content, declared, told):
    content = content.encode("cp1252") if isinstance(content, str) else content
    assert told in refusal(content, f'encoding = "{declared}"')


@pytest.mark.parametrize("wrong", [b"\xd8", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"])
def test_cs3_a_single_line_that_is_no_text_is_set_aside(read, wrong):
    reading = read(HEAD + "1;Ø;3\n".encode() + b"4;" + wrong + b";6\n7;8;9\n")
    assert reading.unreadable == {3: "undecodable"}
    assert reading.lines == [2, 4]


def test_cs3_bytes_a_single_byte_encoding_does_not_know_are_set_aside(read):
    reading = read(HEAD + b"1;\xd8;3\n4;\x81;6\n", 'encoding = "cp1252"')
    assert reading.unreadable == {3: "undecodable"}
    assert reading.rows == [("1", "Ø")]


def test_cs3_mixed_lines_are_sorted_one_by_one(read):
    lines = [f"{n};Ø;3\n".encode("latin-1" if n % 7 == 3 else "utf-8") for n in range(100)]
    reading = read(HEAD + b"".join(lines))
    assert set(reading.unreadable) == {n + 2 for n in range(100) if n % 7 == 3}
    assert reading.count == 100


LONG_ROWS = b"1;2;" + b"x" * 995 + b"\n"
"""A thousand bytes, so that the line below is several blocks into the file."""


@pytest.mark.parametrize(
    ("wrong", "encoding", "told"),
    [
        (b"1;H\xf8yen;3\n" * 5, "utf-8", "line 4202 (byte 3 of the line) and 4 others"),
        ("1;Høyen;3\n".encode(), "cp1252", "see about line 4202."),
        ('1;Høyen;"3"x\n'.encode(), "cp1252", "see about line 4202."),
    ],
    ids=["no text", "in disguise", "in disguise and damaged"],
)
def test_cs3_the_line_is_named_that_is_in_another_encoding_however_far_the_parsing_has_come(
    tmp_path, refusal, make_profile, wrong, encoding, told
):
    path, file = tmp_path / "k.csv", f'encoding = "{encoding}"'
    path.write_bytes(HEAD + LONG_ROWS * 4200 + wrong + LONG_ROWS * 100)
    assert told in refusal(path, file)
    rules = make_profile('separator = ";"\n' + file)
    (export,) = open_exports([str(path)], [rules])
    with export.opened_csv() as (opening, _):
        never_parsed = CsvRows(opening, rules, "k.csv", source=0, ended=True).prepared()
        with pytest.raises(ExportError) as caught:
            list(never_parsed)
    assert told in str(caught.value)


@pytest.mark.parametrize("lines", ["1;Dvořáček;4\n", '1;Ødegård;"4"x\n'], ids=["undecodable", "stray quote"])
def test_cs3_utf8_is_known_in_blocks_with_damaged_lines_too(refusal, lines):
    """The letter \u010d holds a byte that cp1252 does not know, so its line would have been set aside alone."""
    content = HEAD + f"1;Øystein;3\n{lines}".encode()
    assert "is UTF-8, not cp1252: see about line 2." in refusal(content, 'encoding = "cp1252"')


# ------------------------------------------------------------------ CS4, CS5: NUL and line ends
@pytest.mark.parametrize("row", [b"\x001;2;3\n", b"1;2\x00;3\n", b"1;2;\x00\n"])
def test_cs4_a_nul_makes_its_row_unreadable(read, row):
    reading = read(HEAD + row + GOOD)
    assert reading.unreadable == {2: "nul_byte"}
    assert reading.lines == [3]


def test_cs5_carriage_returns_alone_must_be_declared(read, refusal):
    content = b"a;b;c\r1;2;3\r4;5;6\r"
    assert 'newline = "\\r"' in refusal(content)
    assert read(content, 'newline = "\\r"').lines == [2, 3]


def test_cs5_lf_and_crlf_may_be_mixed_unless_one_is_declared(read):
    content = b"a;b;c\r\n1;2;3\n4;5;6\r\n"
    assert read(content).lines == [2, 3]
    assert read(content, 'newline = "\\r\\n"').unreadable == {2: "other_line_end"}
    assert read(content, 'newline = "\\n"').unreadable == {3: "other_line_end"}


def test_cs5_a_stray_carriage_return_is_no_line_end(read):
    reading = read(HEAD + b"1;2\r;3\n4;5;6\n")
    assert reading.unreadable == {2: "stray_carriage_return"}
    assert reading.lines == [3]


def test_cs5_a_stray_line_feed_among_carriage_returns(read):
    reading = read(b"a;b;c\r1;2\n;3\r4;5;6\r", 'newline = "\\r"')
    assert reading.unreadable == {2: "other_line_end"}
    assert reading.lines == [3]


def test_cs5_the_end_of_file_mark_of_old_systems_is_no_row(read):
    assert read(HEAD + GOOD + b"\x1a").count == 1
    assert read(HEAD + b"1;2;3\x1a\n" + GOOD).unreadable == {2: "control_z"}
    assert read(HEAD + b"\x1a\n" + GOOD).unreadable == {2: "control_z"}


def test_blank_lines_are_no_rows(read):
    reading = read(HEAD + b"\n1;2;3\n\r\n\n4;5;6\n\n\n")
    assert (reading.lines, reading.records, reading.count) == ([3, 6], [1, 2], 2)


def test_blank_lines_are_no_rows_in_one_column_either(read):
    assert read(b"a\n1\n\n2\n", columns={"user": "a"}).rows == [("1",), ("2",)]


# ------------------------------------------------------------------ CS6, CS7: quotes
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_cs6_a_line_break_is_legal_only_where_declared(read, line_end):
    content = line_end.join([b"a;b;c", b'1;2;"x', b"", b'y"', b"4;5;6", b""])
    joined = read(content, 'multiline = ["c"]', columns={"user": "a", "location": "c"})
    assert joined.rows == [("1", "x" + line_end.decode() * 2 + "y"), ("4", "6")]
    assert (joined.lines, joined.records, joined.count) == ([2, 5], [1, 2], 2)
    alone = read(content)
    assert alone.unreadable == dict.fromkeys((2, 3, 4), "line_break_in_quotes")
    assert (alone.lines, alone.count) == ([5], 4)


def test_cs6_a_line_break_in_another_column_makes_the_lines_unreadable(read):
    reading = read(HEAD + b'1;"x\ny";2\n7;8;9\n', 'multiline = ["c"]')
    assert reading.unreadable == dict.fromkeys((2, 3), "line_break_in_quotes")
    assert reading.lines == [4]


def test_cs6_excel_cells_with_lf_inside_crlf_rows(read):
    content = b'a;b;c\r\n1;2;"x\ny"\r\n4;5;6\r\n'
    assert read(content, 'newline = "\\r\\n"\nmultiline = ["c"]').lines == [2, 4]


def test_cs6_records_over_several_lines_may_straddle_blocks(read):
    rows = [f'{n};2;"{"x" * 40}\n{"y" * 40}"\n'.encode() for n in range(40_000)]
    reading = read(HEAD + b"".join(rows), 'multiline = ["c"]')
    assert reading.count == len(reading.rows) == 40_000
    assert reading.lines[-1] == 2 + 2 * 39_999


@pytest.mark.parametrize("gap", [1, 2, 10, 1_000, 10_000])
def test_cs7_no_row_between_two_stray_quotes_is_believed_or_lost(read, gap):
    lines = [f"{n};{n};3\n".encode() for n in range(gap + 20)]
    lines[5], lines[5 + gap] = b'5;"x;3\n', b'6;x";3\n'
    reading = read(HEAD + b"".join(lines))
    assert reading.unreadable == dict.fromkeys(range(7, 8 + gap), "line_break_in_quotes")
    assert reading.count == gap + 20


@pytest.mark.parametrize("gap", [1, 100, 10_000, 60_000])
def test_cs7_stray_quotes_lose_no_row_where_line_breaks_are_legal(read, gap):
    lines = [f'{n};{n};"{n}"\n'.encode() for n in range(gap + 20)]
    lines[5], lines[5 + gap] = b'5;"x;3\n', b'6;x";3\n'
    reading = read(HEAD + b"".join(lines), 'multiline = ["c"]')
    assert sorted(reading.unreadable) == sorted({7, 8, 7 + gap})  # the next row's own quote ends the record
    assert reading.count == gap + 20


def test_cs7_stray_quotes_in_the_column_with_line_breaks_make_no_row_of_many(read):
    """The one damage that looks like a good row: an address that begins in one row and ends in another."""
    lines = [b'1;"x;3\n', b"2;y;3\n", b'3;z";3\n']
    reading = read(HEAD + b"".join(lines), 'multiline = ["b"]')
    assert (sorted(reading.unreadable), reading.rows, reading.count) == ([2, 3, 4], [], 3)


def test_cs7_a_quote_that_never_closes_takes_the_rest_of_a_short_file_with_it(read):
    reading = read(HEAD + GOOD + b'1;"2;3\n' + GOOD * 5 + b"\n" + GOOD)
    assert reading.unreadable == dict.fromkeys(range(3, 11), "line_break_in_quotes")
    assert (reading.lines, reading.count) == ([2], 9)


LONG = b"1;2;" + b"3" * 95 + b"\n"


@pytest.mark.parametrize(("file", "before"), [("", 0), ("", 1), ('multiline = ["b"]', 9_000)])
@pytest.mark.parametrize(("left", "lost"), [(1 << 20, True), ((1 << 20) + 1, False)])
def test_cs7_how_much_follows_a_quote_that_never_closes_decides_wherever_blocks_are_cut(
    read, file, before, left, lost
):
    """`left` is the number of bytes from the start of the quote's line to the end of the file."""
    opens = b'1;"2;'.ljust(left % len(LONG) + len(LONG) - 1, b"3") + b"\n"
    after = (left - len(opens)) // len(LONG)
    reading = read(HEAD + LONG * before + opens + LONG * after, file)
    swallowed = after if lost else 0
    assert reading.unreadable == dict.fromkeys(
        range(2 + before, 3 + before + swallowed), "line_break_in_quotes"
    )
    assert reading.count == before + 1 + after


@pytest.mark.parametrize(
    ("newline", "line_end", "cell", "last_end", "reason"),
    [
        (None, "\n", "a\rb", "\n", "stray_carriage_return"),
        (None, "\r\n", "a\rb", "\r\n", "stray_carriage_return"),
        ("\\r\\n", "\r\n", "a\rb", "\r\n", "stray_carriage_return"),
        ("\\r\\n", "\r\n", "ab", "\n", "other_line_end"),
        ("\\n", "\n", "a\rb", "\n", "stray_carriage_return"),
        ("\\n", "\n", "ab", "\r\n", "other_line_end"),
        ("\\r", "\r", "a\nb", "\r", "other_line_end"),
    ],
)
def test_cs6_quotes_excuse_a_foreign_line_end_within_them_only(
    read, newline, line_end, cell, last_end, reason
):
    file = 'multiline = ["b"]' + (f'\nnewline = "{newline}"' if newline else "")
    broken, after = f'1;"x{line_end}y";', f"7;8;9{line_end}"
    reading = read(f"a;b;c{line_end}{broken}{cell}{last_end}{after}".encode(), file)
    assert {2: reason, 3: reason} == reading.unreadable
    assert [4] == reading.lines
    assert [2, 4] == read(f"a;b;c{line_end}{broken}ab{line_end}{after}".encode(), file).lines


@pytest.mark.parametrize("file", ["", 'multiline = ["b"]'])
@pytest.mark.parametrize("before", [0, 30, 50, 9_000, 19_000])
def test_cs7_lines_of_a_record_that_goes_on_in_the_next_block_are_counted_once(read, file, before):
    """Blocks end at every megabyte, and where the sample ends that is looked at first."""
    swallowed = [b'1;"2;3\n', *[LONG] * 4_000, b'4;5";6\n']
    reading = read(HEAD + LONG * before + b"".join(swallowed) + LONG * 7, file)
    assert list(reading.unreadable) == list(range(2 + before, 2 + before + len(swallowed)))
    assert reading.lines[-7:] == list(range(2 + before + len(swallowed), 9 + before + len(swallowed)))
    assert len(reading.rows) == before + 7
    assert reading.records[-1] == reading.count


def test_cs7_a_field_of_many_lines_is_too_long_only_where_line_breaks_are_legal(read):
    content = HEAD + b'1;"' + b"x\n" * 40_000 + b'";3\n' + GOOD
    assert set(read(content, 'multiline = ["b"]').unreadable.values()) == {"field_too_long"}
    assert set(read(content).unreadable.values()) == {"line_break_in_quotes"}


def test_cs7_a_damaged_line_does_not_make_the_next_one_a_row(read):
    """Whatever else is wrong where a quote opens, what stands between the quotes is none of our customers."""
    for damage in (b"\0", b"\xff", b"\x1a"):
        reading = read(HEAD + GOOD + b'1;"x' + damage + b"\n2;y;3\nz" + b'";3\n' + GOOD, 'multiline = ["c"]')
        assert (list(reading.unreadable), reading.lines) == ([3, 4, 5], [2, 6])


def test_cs7_separators_make_a_field_of_many_lines_rows_from_as_many_on_as_a_row_has(read):
    few = read(HEAD + b'1;"x;\ny";3\n' + GOOD, 'multiline = ["b"]')
    assert (few.rows[0], few.unreadable) == (("1", "x;\ny"), {})
    many = read(HEAD + b'1;"x;\n;y";3\n' + GOOD, 'multiline = ["b"]')
    assert (sorted(many.unreadable), len(many.rows)) == ([2, 3], 1)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (b'"1";"2";"3"', ("1", "2")),
        (b'"1;1";"2""2";3', ("1;1", '2"2')),
        (b'"";"""";"3"', (None, '"')),
        (b'1;2 "x" y;3', ("1", '2 "x" y')),
        (b'1;"2"x;3', "stray_quote"),
        (b'1;"2" ;3', "stray_quote"),
        (b'1;""2;3', "stray_quote"),
        (b'1;2";3', "stray_quote"),
        (b'1;"2;3"x;4', "stray_quote"),
    ],
)
def test_cs7_each_quote_is_judged_by_its_place(read, row, expected):
    reading = read(HEAD + GOOD + row + b"\n" + GOOD)
    assert reading.count == 3
    if isinstance(expected, str):
        assert reading.unreadable == {3: expected}
    else:
        assert reading.rows[1] == expected


@pytest.mark.parametrize("row", [b'1;2;"3', b'1;a"b;"c', b'"1;2;3', b'1;2;"'])
def test_cs7_a_quote_that_opens_is_no_plain_text(read, row):
    reading = read(HEAD + GOOD + row + b"\n" + GOOD)
    assert (reading.unreadable, reading.lines) == (dict.fromkeys((3, 4), "line_break_in_quotes"), [2])


def test_a_file_that_quotes_nothing_takes_quotes_as_text(read):
    assert read(HEAD + b'1;2";3\n', "quote = ''").rows == [("1", '2"')]


# ------------------------------------------------------------------ CS8, CS9: ragged and too large
@pytest.mark.parametrize("at", [0, 7, 19])
@pytest.mark.parametrize(("row", "reason"), [(b"1;2\n", "too_few_fields"), (b"1;2;3;4\n", "too_many_fields")])
def test_cs8_a_ragged_row_is_set_aside_wherever_it_stands(read, at, row, reason):
    lines = [GOOD] * 20
    lines[at] = row
    reading = read(HEAD + b"".join(lines))
    assert reading.unreadable == {at + 2: reason}
    assert reading.count == 20


@pytest.mark.parametrize(
    ("size", "reason"),
    [(65_537, "field_too_long"), (900_000, "field_too_long"), (1_100_000, "record_too_long")],
)
def test_cs9_what_is_too_long_is_set_aside(read, size, reason):
    reading = read(HEAD + GOOD + b"1;" + b"x" * size + b";3\n" + GOOD)
    assert reading.unreadable == {3: reason}
    assert reading.lines == [2, 4]


def test_cs9_a_field_just_short_enough_is_read(read):
    assert len(read(HEAD + b"1;" + b"x" * 65_536 + b";3\n").rows[0][1]) == 65_536


def test_cs9_many_long_fields_in_one_record(read):
    row = b";".join([b"x" * 60_000] * 3)
    assert read(HEAD + row + b"\n" + GOOD).lines == [2, 3]


def test_cs9_a_line_of_100_mb_takes_little_memory(read, tmp_path):
    path = tmp_path / "long.csv"
    with path.open("wb") as file:
        file.write(HEAD + b"1;2;")
        for _ in range(20):
            file.write(b"x" * (5 << 20))
        file.write(b"\n" + GOOD)
    reading = read(path)
    assert reading.unreadable == {2: "record_too_long"}
    assert reading.lines == [3]


def test_cs9_too_many_columns_stop_the_file(refusal):
    header = ";".join(f"c{n}" for n in range(501)).encode()
    assert "501 columns" in refusal(header + b"\n")


# ------------------------------------------------------------------ CS10: headers
@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b"A;b;c", 'header = "folded"'),
        (b"a ;b;c", 'the nearest is "a "'),
        (b"a;b;b", 'the header "b" stands 2 times'),
        (b"a;x;c", 'lacks the header "b"'),
        (b"a,b,c", 'separator = ","'),
        (b"a\tb\tc", 'separator = "\\t"'),
        (b"a|b|c", 'separator = "|"'),
        (b'"a;b;c', "a quote opens in the header"),
    ],
)
def test_cs10_a_header_that_is_not_the_profiles_stops_the_file(refusal, header, told):
    assert told in refusal(header + b"\n" + GOOD)


def test_cs10_headers_may_be_folded_when_declared(read):
    assert read(b" A ;B;c\n" + GOOD, 'header = "folded"').rows == [("1", "2")]


def test_cs10_headers_in_two_unicode_forms_are_one_when_folded(read):
    content = "MålepunktID;a;b\n1;2;3\n".encode()  # a and a ring above, as some systems write it
    assert read(content, 'header = "folded"', columns={"user": "målepunktid"}).rows == [("1",)]


def test_cs10_order_is_free_and_quotes_are_undone(read):
    assert read(b'"c";"b";"a"\n1;2;3\n').rows == [("3", "2")]


def test_cs10_headers_that_are_empty_may_be_several(read):
    assert read(b"a;b;;\n1;2;3;4\n").rows == [("1", "2")]


def test_cs10_a_header_nobody_reads_may_not_stand_twice_either(refusal):
    assert 'the header "x" stands 2 times' in refusal(b"a;b;x;x\n1;2;3;4\n")


def test_cs9_a_header_of_two_megabytes_stops_the_file(refusal):
    assert "over 1 MB" in refusal(b"a;b;" + b"x" * 2_000_000 + b"\n1;2;3\n")


def test_a_header_that_is_far_from_anything_is_not_shown(refusal):
    told = refusal(b"707057500012345678;Kari Nordmann\n1;2\n")
    assert "707057500012345678" not in told
    assert "Kari" not in told


def test_the_header_may_stand_on_a_later_line(read, refusal):
    content = b"Report 2026\n\n" + HEAD + GOOD
    assert read(content, "header_line = 3").lines == [4]
    assert "lacks the headers" in refusal(content)
    assert "no header on line 9" in refusal(content, "header_line = 9")


def test_a_sep_line_is_no_header(read, refusal):
    assert read(b"sep=;\n" + HEAD + GOOD).lines == [3]
    assert read(b"sep=;\r\n" + HEAD + GOOD, "header_line = 2").lines == [3]


@pytest.mark.parametrize("size", [500, 100_000])
def test_cs9_a_header_is_found_however_long_it_and_the_lines_before_it_are(read, refusal, size):
    long_header = b"a;b;c;" + b"d" * size * 10 + b"\n"
    preface = (b"#" * size + b"\n") * 20
    assert [3] == read(b"SEP=;\n" + long_header + b"1;2;3;4\n").lines
    assert [22] == read(preface + HEAD + GOOD, "header_line = 21").lines
    assert "no header on line 31" in refusal(preface + HEAD + GOOD, "header_line = 31")


def test_cs9_lines_before_the_header_do_not_fill_memory(refusal):
    preface = (b"#" * 1_000_000 + b"\n") * 8
    assert "no header on line 9" in refusal(preface + HEAD + GOOD, "header_line = 9")
    assert "separator is another" in refusal(b"sep=,\n" + HEAD + GOOD)


# ------------------------------------------------------------------ CS11-CS15: text stays text
def test_cs11_decimal_commas_stay_as_written(read):
    assert read(HEAD + b"1;59,91;3\n").rows == [("1", "59,91")]


def test_cs12_types_are_never_inferred(read):
    content = HEAD + b"".join(b"%d;0%d;3\n" % (n, n) for n in range(200)) + b"x;7.07058E+17;3\n"
    assert read(content).rows[-1] == ("x", "7.07058E+17")
    assert read(content).rows[0] == ("0", "00")


@pytest.mark.parametrize(
    "value", ["7.07058E+17", "#N/A", "01-02-2026", "=cmd|' /C calc'!A0", "+1", "-1", "@x", "＝x"]
)
def test_cs13_cs15_damaged_and_dangerous_text_is_kept_as_it_is(read, value):
    assert read(HEAD + f"1;{value};3\n".encode()).rows == [("1", value)]


def test_cs14_only_declared_words_mean_nothing(read):
    content = HEAD + b'1;NULL;3\n2;"NULL";3\n3;null;3\n4;;3\n5;"";3\n6;-;3\n7; ;3\n'
    values = [row[1] for row in read(content, 'nulls = ["NULL"]').rows]
    assert values == [None, None, "null", None, None, "-", " "]


# ------------------------------------------------------------------ CS16, CS17: header again, footer, cut
@pytest.mark.parametrize("again", [HEAD, b'"a";"b";"c"\n', b"\xef\xbb\xbfa;b;c\n"])
def test_cs16_a_repeated_header_is_no_customer(read, again):
    reading = read(HEAD + GOOD + again + GOOD)
    assert reading.unreadable == {3: "repeated_header"}
    assert reading.lines == [2, 4]


def test_cs16_a_value_like_a_header_is_no_repeated_header(read):
    assert read(HEAD + b"a;x;c\n").rows == [("a", "x")]


def test_cs16_a_footer_is_no_row_when_declared(read):
    content = HEAD + GOOD * 3 + b"Total;;3\n\n"
    assert read(content, "footer_lines = 1").count == 3
    assert read(content).count == 4


def test_cs16_blank_lines_between_footers_count(read):
    assert read(HEAD + GOOD * 3 + b"\nTotal;3\nEnd\n\n\n", "footer_lines = 3").count == 3


def test_cs16_a_ragged_footer_not_declared_is_unreadable(read):
    assert read(HEAD + GOOD + b"# 1 row\n").unreadable == {3: "too_few_fields"}


def test_cs16_a_declared_footer_that_looks_like_a_row_stops_the_file(refusal):
    assert "looks like a row" in refusal(HEAD + GOOD * 3, "footer_lines = 1")


def test_cs16_more_footer_than_file(refusal):
    assert "no footer of 5 lines" in refusal(HEAD + b"Total;;1\n", "footer_lines = 5")


def test_cs16_a_footer_in_a_large_file(read):
    content = HEAD + b"12345678;12345678;12345678\n" * 200_000 + b"Sum\n200000\n"
    assert read(content, "footer_lines = 2").count == 200_000


@pytest.mark.parametrize("left", range(1, 6))
def test_cs17_a_cut_last_row_stops_the_file_wherever_it_is_cut(refusal, left):
    assert "cut or unfinished" in refusal(HEAD + GOOD + b"4;5;67\n"[:left])


def test_cs17_an_open_last_line_is_read_when_declared_and_whole(read, refusal):
    assert read(HEAD + GOOD + b"4;5;6", 'last_line = "open"').lines == [2, 3]
    assert "no whole row" in refusal(HEAD + GOOD + b"4;5", 'last_line = "open"')


@pytest.mark.parametrize("cut", [b"", b"\r"])
def test_cs17_an_open_last_line_is_read_whatever_ends_the_others(read, refusal, cut):
    content = HEAD.replace(b"\n", b"\r\n") + b"1;2;3\r\n4;5;6" + cut
    assert [2, 3] == read(content, 'newline = "\\r\\n"\nlast_line = "open"').lines
    assert 'set [file] last_line = "open"' in refusal(content, 'newline = "\\r\\n"')
    assert [2, 3] == read(content.replace(b"\r\n", b"\r"), 'newline = "\\r"\nlast_line = "open"').lines


def test_cs17_a_manifest_vouches_for_an_open_last_line(read, tmp_path):
    import hashlib

    content = HEAD + GOOD + b"4;5;6"
    (tmp_path / "export.csv.sha256").write_text(hashlib.sha256(content).hexdigest() + "  export.csv\n")
    assert read(content).lines == [2, 3]


# ------------------------------------------------------------------ empty
@pytest.mark.parametrize("content", [HEAD, HEAD + b"\n\n\r\n"])
def test_in7_an_export_without_rows_is_refused(refusal, content):
    assert "holds a header and no row" in refusal(content)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_in7_an_empty_export_is_refused(refusal, content):
    assert "is empty" in refusal(content)


# ------------------------------------------------------------------ large
def test_batches_are_of_an_eighth_of_a_million_rows_and_a_block(read):
    reading = read(HEAD + b"12345678;12345678;12345678\n" * 600_000)
    assert reading.count == 600_000
    assert reading.batches == 4
    assert reading.lines == list(range(2, 600_002))
    assert reading.records == list(range(1, 600_001))


def readers_since(before):
    return [thread for thread in set(threading.enumerate()) - before if "read-ahead" in thread.name]


def test_no_thread_is_left_when_reading_stops_early(tmp_path, make_profile):
    path = tmp_path / "x.csv"
    path.write_bytes(HEAD + b"1;2;3\n" * 1_000_000)
    (export,) = open_exports([str(path)], [make_profile('separator = ";"')])
    before = set(threading.enumerate())
    batches = export.batches()
    next(batches)
    assert readers_since(before)
    batches.close()
    assert [] == readers_since(before)
