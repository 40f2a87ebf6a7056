"""Look at the start of an export that no profile describes yet. For proposals only: loading never guesses."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import IO, Final

import polars as pl

from connectors.exports.containers import HEAD, Container, container_of, opened_zip, unpacked, workbook
from connectors.exports.encodings import marked
from connectors.exports.headers import MOST_COLUMNS
from connectors.exports.parquet_reader import look_at_parquet
from connectors.exports.places import Place, display_name, find_places
from schemas.errors import ExportError
from schemas.look import FileLook, Finding, Sureness

SAMPLE_BYTES: Final = 1 << 20
SAMPLE_ROWS: Final = 5_000
FEWEST_QUOTED: Final = 10
_LARGEST_FIELD: Final = 1 << 20
_EXPANSION: Final = 200.0

_SEPARATORS: Final = ";,\t|"
_SINGLE_BYTE: Final = ("cp1252", "cp865", "cp850", "mac-roman")
"""In order of preference where two read the sample equally well; latin-1 is cp1252 but for control signs."""

_LETTERS: Final = frozenset("æøåÆØÅäöÄÖüÜßéÉèÈëàáóőšŠžŽôêñçőíúÁ§°´–—’“”€")
_NO_TABLES: Final = re.compile(
    r"\s*(?:(?P<html><!doctype html|<html)|(?P<xml><\?xml)|(?P<json>[\[{]\s*[\"{\[])|(?P<pdf>%PDF-))",
    re.IGNORECASE,
)
_CALLED: Final = {"html": "a web page", "xml": "XML", "json": "JSON", "pdf": "a PDF"}
"""What comes instead of an export when something went wrong before."""
_FOOTERS: Final = re.compile(
    r"^\W*(sum|total|totalt|totals|i alt|antall|antal|summa|yhteensä|summe|gesamt|anzahl|rows|rader|count|end|slutt)\b",
    re.IGNORECASE,
)


def look_at(argument: str) -> FileLook:
    """What the start of one file or object shows.

    Raises:
        ExportError: it is not one file, is empty, is a workbook, or cannot be unpacked.
    """
    places = find_places([argument])
    if len(places) != 1:
        raise ExportError(f"{display_name(argument)} is {len(places)} files.", cure="Look at one of them.")
    place = places[0]
    name = display_name(place.basename)
    with ExitStack() as stack:
        file = stack.enter_context(place.open())
        kind = container_of(file.read(HEAD))
        file.seek(0)
        if kind is Container.WORKBOOK:
            raise workbook(name)
        if kind is Container.PARQUET:
            return _parquet_look(place, name)
        entries = _entries(file, name) if kind is Container.ZIP else ()
        file.seek(0)
        content, _ = stack.enter_context(
            unpacked(
                file,
                kind=kind,
                size=_size(file),
                member=entries[0] if len(entries) > 1 else None,
                expansion=_EXPANSION,
                name=name,
            )
        )
        stored = b""
        while len(stored) <= SAMPLE_BYTES and (more := content.read(SAMPLE_BYTES)):
            stored += more
    return _csv_look(stored, name, _match(place.basename), kind, entries)


def _size(file: IO[bytes]) -> int:
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    return end


def _entries(file: IO[bytes], name: str) -> tuple[str, ...]:
    """The files of a zip, the largest first."""
    with opened_zip(file, name) as archive:
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
    if any(entry.filename == "[Content_Types].xml" for entry in files):
        raise workbook(name)
    return tuple(entry.filename for entry in sorted(files, key=lambda entry: -entry.file_size))


def _match(basename: str) -> str:
    """A pattern for the names of later files of the kind: what looks like a date or a number may differ."""
    stem, dot, endings = basename.partition(".")
    return re.sub(r"[0-9]+(?:[-_T:]*[0-9]+)*", "*", stem) + (
        dot + endings.split(".")[0] + "*" if dot else "*"
    )


def _parquet_look(place: Place, name: str) -> FileLook:
    columns, rows = look_at_parquet(place, name, SAMPLE_ROWS)
    found = Finding("utf-8", Sureness.SURE, "Parquet texts are UTF-8.")
    return FileLook(
        name=name,
        match=_match(place.basename),
        container=Container.PARQUET.value,
        headers=tuple(str(column["name"]) for column in columns),
        rows=rows,
        is_whole=rows.height < SAMPLE_ROWS,
        encoding=found,
        separator=Finding(",", Sureness.SURE, "Parquet has none."),
        kinds=tuple(str(column["kind"]) for column in columns),
    )


def _csv_look(stored: bytes, name: str, match: str, kind: Container, entries: tuple[str, ...]) -> FileLook:
    if not stored.strip():
        raise ExportError(f"{name} is empty.", cure="Look at a file with rows.")
    is_whole = len(stored) <= SAMPLE_BYTES
    encoding = _encoding(stored)
    text = stored.decode(encoding.value, "replace").removeprefix("\ufeff")
    if (other := _NO_TABLES.match(text)) is not None:
        raise ExportError(
            f"{name} begins like {_CALLED[other.lastgroup or '']}, not like a table.",
            cure="Fetch or export it again; perhaps the server sent an error page instead of the file.",
        )
    newline = None if "\n" in text or "\r" not in text else "\r"
    line_end = newline or "\n"
    open_end = is_whole and not text.endswith((line_end, "\x1a"))
    if not is_whole:
        text = text[: text.rfind(line_end) + 1]
    lines = text.split(line_end)
    quote = "'" if text.count("'") > 4 * text.count('"') and _encloses_fields(text, "'") else '"'
    separator = _separator(lines, quote)
    rows = _rows(text, separator.value, quote)
    width = _usual_width(rows)
    if not width:
        raise ExportError(f"{name} holds no text.", cure="Look at a file with rows.")
    at = next((number for number, row in enumerate(rows) if len(row) == width), 0)
    headers = tuple(rows[at])
    if len(headers) > MOST_COLUMNS:
        raise ExportError(
            f"{name} has {len(headers)} columns.", cure="It is not read as a table of customers."
        )
    body = [row for row in rows[at + 1 :] if any(row)]
    footer = _footer_lines(body, width) if is_whole else 0
    body = [row for row in body[: len(body) - footer] if len(row) == width][:SAMPLE_ROWS]
    has_sep_line = at > 0 and lines[0].lower().startswith("sep=")
    return FileLook(
        name=name,
        match=match,
        container=kind.value,
        headers=headers,
        rows=pl.DataFrame(body, schema={str(place): pl.String for place in range(width)}, orient="row"),
        is_whole=is_whole,
        encoding=encoding,
        separator=separator,
        quote=quote,
        newline=newline,
        header_line=1 if has_sep_line and at == 1 else _line_of_row(lines, at),
        footer_lines=footer,
        open_end=open_end,
        multiline=tuple(
            dict.fromkeys(headers[place] for row in body for place, cell in enumerate(row) if "\n" in cell)
        ),
        entries=entries if len(entries) > 1 else (),
    )


def _line_of_row(lines: Sequence[str], row: int) -> int:
    """The physical line of a row, blank lines counted; rows before the header are one line each."""
    seen = -1
    for number, line in enumerate(lines, start=1):
        seen += bool(line.strip())
        if seen == row:
            return number
    return row + 1


# ------------------------------------------------------------------ encoding
def _encoding(stored: bytes) -> Finding:
    by_mark = marked(stored)
    if by_mark is not None:
        return Finding(by_mark, Sureness.SURE, "The file begins with its byte order mark.")
    head = stored[:4096]
    if head.count(b"\0") * 4 > len(head):
        order = "le" if head[1:2] == b"\0" else "be"
        return Finding(f"utf-16-{order}", Sureness.LIKELY, "Every other byte is a NUL.")
    if stored.isascii():
        return Finding("utf-8", Sureness.LIKELY, "Every byte looked at is ASCII, which UTF-8 contains.")
    try:
        stored[: stored.rfind(b"\n") + 1 or None].decode("utf-8")
    except UnicodeDecodeError:
        return _single_byte(stored)
    return Finding("utf-8", Sureness.SURE, "Every letter beyond ASCII is valid UTF-8.")


def _single_byte(stored: bytes) -> Finding:
    scores = {encoding: _letters(stored, encoding) for encoding in _SINGLE_BYTE}
    best = max(_SINGLE_BYTE, key=lambda encoding: scores[encoding])
    sure = Sureness.LIKELY if scores[best] > 0.9 else Sureness.GUESS
    share = f"{scores[best]:.0%}"
    return Finding(
        best, sure, f"It is not UTF-8, and read so {share} of what is beyond ASCII are usual letters."
    )


def _letters(stored: bytes, encoding: str) -> float:
    """Share of the signs beyond ASCII that are letters people write here."""
    beyond = [sign for sign in stored.decode(encoding, "replace") if ord(sign) > 127]
    return sum(sign in _LETTERS for sign in beyond) / len(beyond) if beyond else 0.0


# ------------------------------------------------------------------ dialect
def _encloses_fields(text: str, quote: str) -> bool:
    """Whether a sign stands at the beginning of many fields, and at the end of as many."""
    opening = len(re.findall(rf"(?:^|[;,\t|]){quote}", text[:20_000], re.MULTILINE))
    closing = len(re.findall(rf"{quote}(?:[;,\t|\r]|$)", text[:20_000], re.MULTILINE))
    return opening > FEWEST_QUOTED and closing * 2 > opening


def _separator(lines: Sequence[str], quote: str) -> Finding:
    text = "\n".join(lines[:500])
    best, best_score = ",", (False, 0.0, 0)
    for sign in _SEPARATORS:
        rows = _rows(text, sign, quote)
        width = _usual_width(rows)
        share = sum(len(row) == width for row in rows) / max(len(rows), 1)
        score = (_has_header(rows, width), round(share, 1), width) if width > 1 else (False, 0.0, 0)
        if score > best_score:
            best, best_score = sign, score
    _, share, width = best_score
    if not width:
        return Finding(best, Sureness.GUESS, "There is one column only.")
    sure = Sureness.SURE if share >= 0.9 else Sureness.GUESS
    return Finding(best, sure, f"{share:.0%} of the lines have {width} fields with it.")


def _has_header(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether one of the first rows is of that width and holds words only."""
    return any(
        len(row) == width and not any(re.match(r"[-+]?[0-9]", cell) for cell in row) for row in rows[:5]
    )


def _rows(text: str, separator: str, quote: str) -> list[list[str]]:
    csv.field_size_limit(_LARGEST_FIELD)
    plain = text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n")
    reader = csv.reader(io.StringIO(plain, newline=""), delimiter=separator, quotechar=quote)
    try:
        return [row for row in reader if row]
    except csv.Error:
        return [line.split(separator) for line in plain.split("\n") if line]


def _usual_width(rows: Sequence[Sequence[str]]) -> int:
    widths = Counter(len(row) for row in rows)
    return max(widths, key=lambda width: (widths[width], width)) if widths else 0


def _footer_lines(body: Sequence[Sequence[str]], width: int) -> int:
    """Lines at the end that look like totals: another width, or a word for a total and little else."""
    count = 0
    for row in reversed(body[-5:]):
        filled = sum(bool(cell.strip()) for cell in row)
        if not (_FOOTERS.match(row[0]) and (len(row) != width or filled < width)):
            break
        count += 1
    return count
