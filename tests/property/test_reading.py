"""Laws of reading: no line is lost whatever the bytes, and what was written well is read back exactly."""

import csv
import io
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.exports import open_exports
from schemas.errors import ExportError
from schemas.profile import Profile

PIECES = st.sampled_from(
    [
        *(b"1", b"22", b";", b";", b";", b'"', b'"', b'""', b"\n", b"\n", b"\r\n", b"\r"),
        *(b"\0", b"\x1a", b" ", b"\xc3\xb8", b"\xd8", b"a;b;c\n"),
    ]
)
CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1a\r\n\ufeff"), max_size=12
)  # fmt: skip

LINES = CELLS.map(lambda text: text.replace(";", ","))
"""Lines of one field: with as many separators as a row has it would be taken for rows swallowed by stray quotes."""


def profile(file: str = "") -> Profile:
    columns = '[columns]\nuser = "a"\nlocation = "b"\nmeter_point = "c"\n'
    return Profile.from_toml(f'name = "x"\ncountry = "NO"\n[file]\nseparator = ";"\n{file}\n{columns}', "x")


def read(content: bytes, profile_: Profile):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(content)
        (export,) = open_exports([str(path)], [profile_])
        return list(export.batches())


def heights(body: bytes) -> list[int]:
    """Lines of each record, sign by sign: a quote opens where a field begins, and its double closes nothing."""
    found, height, at, quoted, begins = [], 0, 0, False, True
    while at < len(body):
        sign, at = body[at : at + 1], at + 1
        if sign == b'"' and quoted and body[at : at + 1] == b'"':
            at += 1
        elif sign == b'"' and (quoted or begins):
            quoted, begins = not quoted, False
        elif sign == b"\n":
            height += 1
            if not quoted:
                found.append(height)
                height, begins = 0, True
        elif not quoted:
            begins = sign == b";"
    return found + [height] * bool(height)


@settings(deadline=None, max_examples=400)
@given(pieces=st.lists(PIECES, max_size=60), multiline=st.booleans())
def test_a_record_is_one_row_or_blank_or_unreadable_with_every_line_of_it(pieces, multiline):
    body = b"".join(pieces).rstrip(b"\x1a") + b"\n"
    try:
        batches = read(b"a;b;c\n" + body, profile('multiline = ["b"]' if multiline else ""))
    except ExportError as error:
        if "holds a header and no row" in str(error) or "is not utf-8" in str(error):
            return
        raise
    rows: dict[int, str | None] = {}
    unreadable: list[int] = []
    for batch in batches:
        unreadable += batch.unreadable["source_line"].to_list()
        assert (batch.unreadable["lines"] == 1).all()
        rows |= dict(batch.rows.select("source_line", "location").rows())
    stored, first = body.split(b"\n"), 2
    for height in heights(body):
        lines = list(range(first, first + height))
        if first in rows:
            text = rows.pop(first) or ""
            assert text.count("\n") + 1 == height
            assert height == 1 or (multiline and text.count(";") < 2)
        elif height > 1 or stored[first - 2].strip(b"\r") or first in unreadable:
            assert [line for line in unreadable if line in lines] == lines
        first += height
    assert not rows
    assert len(unreadable) == len(set(unreadable))
    assert all(line < first for line in unreadable)


@settings(deadline=None, max_examples=200)
@given(
    rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=20),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-32"]),
)
def test_what_a_csv_writer_writes_is_read_back(rows, quoting, line_end, encoding):
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=";", quoting=quoting, lineterminator=line_end)
    writer.writerow(["a", "b", "c"])
    writer.writerows(rows)
    batches = read(sink.getvalue().encode(encoding), profile(f'encoding = "{encoding}"'))
    found = [row for batch in batches for row in batch.rows.drop("source_line", "source_record").rows()]
    wanted = [tuple(cell or None for cell in row) for row in rows if row != ("a", "b", "c")]
    assert found == wanted


@settings(deadline=None, max_examples=200)
@given(
    rows=st.lists(st.tuples(CELLS, st.lists(LINES, min_size=1, max_size=4), CELLS), min_size=1, max_size=12)
)
def test_declared_line_breaks_are_read_back(rows):
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["a", "b", "c"])
    writer.writerows((first, "\n".join(middle), last) for first, middle, last in rows)
    batches = read(sink.getvalue().encode(), profile('multiline = ["b"]'))
    found = [row for batch in batches for row in batch.rows.drop("source_line", "source_record").rows()]
    wanted = [
        tuple(cell or None for cell in (first, "\n".join(middle), last))
        for first, middle, last in rows
        if len(middle) == 1 or sum(line.count(";") for line in middle) < 2  # two are as many as a row has
    ]
    assert found == [row for row in wanted if row != ("a", "b", "c")]
    assert sum(batch.unreadable["lines"].sum() for batch in batches) == sum(
        len(middle)
        for first, middle, last in rows
        if (first, middle, last) == ("a", ["b"], "c")
        or (len(middle) > 1 and sum(line.count(";") for line in middle) > 1)
    )
