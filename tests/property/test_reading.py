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
    [b"1", b"22", b";", b";", b";", b'"', b'"', b'""', b"\n", b"\n", b"\r\n", b"\r", b"\0", b"\x1a", b" "]
    + [b"\xc3\xb8", b"\xd8", b"a;b;c\n"]
)
CELLS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1a\r\n\ufeff"), max_size=12
)  # fmt: skip


def profile(file: str = "") -> Profile:
    columns = '[columns]\nuser = "a"\nlocation = "b"\nmeter_point = "c"\n'
    return Profile.from_toml(f'name = "x"\ncountry = "NO"\n[file]\nseparator = ";"\n{file}\n{columns}', "x")


def read(content: bytes, profile_: Profile):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.csv"
        path.write_bytes(content)
        (export,) = open_exports([str(path)], [profile_])
        return list(export.batches())


@settings(deadline=None, max_examples=400)
@given(pieces=st.lists(PIECES, max_size=60), multiline=st.booleans())
def test_every_physical_line_is_a_row_or_unreadable_or_blank(pieces, multiline):
    body = b"".join(pieces).rstrip(b"\x1a") + b"\n"
    try:
        batches = read(b"a;b;c\n" + body, profile('multiline = ["b"]' if multiline else ""))
    except ExportError as error:
        if "holds a header and no row" in str(error) or "is not utf-8" in str(error):
            return
        raise
    lines = set()
    for batch in batches:
        for line, span in batch.unreadable.select("source_line", "lines").rows():
            assert lines.isdisjoint(range(line, line + span))
            lines.update(range(line, line + span))
        for line, text in batch.rows.select("source_line", "location").rows():
            span = 1 + (text or "").count("\n")
            assert lines.isdisjoint(range(line, line + span))
            lines.update(range(line, line + span))
    stored = body.split(b"\n")[:-1]
    assert lines == {
        number + 2 for number, line in enumerate(stored) if line.strip(b"\r") or number + 2 in lines
    }
    assert all(stored[line - 2].rstrip(b"\r") for line in lines) or multiline


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
    rows=st.lists(st.tuples(CELLS, st.lists(CELLS, min_size=1, max_size=4), CELLS), min_size=1, max_size=12)
)
def test_declared_line_breaks_are_read_back(rows):
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["a", "b", "c"])
    writer.writerows((first, "\n".join(middle), last) for first, middle, last in rows)
    batches = read(sink.getvalue().encode(), profile('multiline = ["b"]'))
    found = [row for batch in batches for row in batch.rows.drop("source_line", "source_record").rows()]
    wanted = [
        tuple(cell or None for cell in (first, "\n".join(middle), last)) for first, middle, last in rows
    ]
    assert found == [row for row in wanted if row != ("a", "b", "c")]
