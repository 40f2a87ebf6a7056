"""Ids, values, file names and server texts as attackers, through a whole run to every report and the terminal."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import sandbox.faults
from sandbox.exchange import Answer
from sandbox.portfolio import write_portfolio
from sandbox.server import Sandbox
from tests.integration.conftest import ID_KEY
from tests.security.traced import PROFILE, Place

TEXTS = [
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "＝1+1", "＠x", " =1+1", "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil.example","x")', "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>', "' onmouseover='alert(1)", "javascript:alert(1)",
    "</style><style>*{display:none}</style>", "<!--", "]]>", "&lt;b&gt;", "{{7*7}}", "{%raw%}", "${7*7}",
    "\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "\x08\x08\x08", "\u202eevil", "\u2066evil", "\u2028",
    "\u200b", "a\x00b", "line\nbreak", "line\r\nSet-Cookie: a=b", "..", ".", "../../etc/passwd",
    "..\\..\\x", "/etc/passwd", "C:\\x", "%2e%2e%2f", "%00", "?page=1", "#x", "a;b", "a//b", "~root",
    "$(touch x)", "`touch x`", "; rm -rf x", "CON", "nul.txt", "x" * 200, "ﷺ" * 40, '{"exit_code":0}',
    "0123456789012345678", "1e5", "NaN", "null", "None", "true", "👩‍👩‍👧", "e\u0301", "\ufeffbom", "İ",
    "ß",
]  # fmt: skip
"""What a customer number can look like when somebody means harm."""

HEADERS = [
    '=HYPERLINK("http://evil.example","x")',
    "@SUM(A1)",
    "<script>alert(1)</script>",
    "0123456789012345678",
]
"""What the header of a column that nobody reads can look like."""

NAME = "kunder-=1+1 <img src=x onerror=y> \x1b[31m\u202e'\";$(touch x).csv"
SAID = '<script>alert(1)</script> =1+1 \x1b[31m \r\n{"level":"error"} \u202e ../../etc/passwd {{7*7}}'


def plant(folder: Path) -> Path:
    """Rows with a hostile text as customer, place, name of a place's kind, and in columns and headers nobody reads."""
    ordinary = folder / "ordinary.csv"
    write_portfolio(ordinary, rows=2 * len(TEXTS) + 40, damage={})
    with ordinary.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    for number, text in enumerate(TEXTS):
        rows[number].update(Kundenr=text, Kundenavn=text, Epost=text, Adresse=text, Status="Aktiv")
        rows[len(TEXTS) + number].update(
            Anlegg=text, Poststed=text, Kundetype=text if number % 2 else "Annet"
        )
        rows[len(TEXTS) + number]["Kundenr"] = f"K-{number}"
    for row in rows:
        row |= dict.fromkeys(HEADERS, "x")
    path = folder / NAME
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=";", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    ordinary.unlink()
    return path


# ------------------------------------------------------------------ what each kind of file must not hold
_FORMULA = re.compile(r"^\s*[=+@＝＋－＠]|^\s*-(?![0-9]+(?:[.,][0-9]+)?$)|^[\t\r\n\x00]")
_ALLOWED_CONTROLS = {"\n"}


def invisible(text: str) -> list[str]:
    """Characters that move a cursor, change what is read or hide."""
    return [
        f"U+{ord(character):04X}"
        for character in text
        if (unicodedata.category(character)[0] == "C" or unicodedata.category(character) in ("Zl", "Zp"))
        and character not in _ALLOWED_CONTROLS
    ]


def wrong_in_text(content: bytes) -> list[str]:
    return invisible(content.decode("utf-8"))


def wrong_in_csv(content: bytes) -> list[str]:
    text = content.decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=";", strict=True))
    widths = {len(row) for row in rows}
    uneven = [f"rows of {sorted(widths)} cells"] if len(widths) > 1 else []
    return uneven + [cell for row in rows for cell in row if _FORMULA.search(cell)]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "form", "base", "link"):
            self.wrong.append(tag)
        for name, value in attrs:
            address = (value or "").strip().lower()
            outside = name in ("src", "href", "action") and re.match(r"(?:[a-z]+:|//)", address)
            if (
                name.startswith("on")
                or name == "srcdoc"
                or (outside and not address.startswith("data:image/"))
            ):
                self.wrong.append(f"{tag} {name}={value}")
        if tag == "img" and dict(attrs).get("src") == "x":
            self.wrong.append("the image")


def wrong_in_page(content: bytes) -> list[str]:
    page = _Page()
    text = content.decode("utf-8")
    page.feed(text)
    page.close()
    styles = ["a style from outside"] if "*{display:none}" in text else []
    return (
        page.wrong
        + styles
        + invisible(text)
        + (["a template ran"] if re.search(r">[^<]*\b49\b[^<]*7\*7", text) else [])
    )


def wrong_in_lines(content: bytes) -> list[str]:
    wrong = []
    for line in content.decode("utf-8").splitlines():
        if not isinstance(json.loads(line), dict):
            wrong.append(line)
        wrong += invisible(line)
    return wrong


def wrong_in_xml(content: bytes) -> list[str]:
    ET.fromstring(content)
    return invisible(content.decode("utf-8"))


def wrong_in_json(content: bytes) -> list[str]:
    json.loads(content)
    return invisible(content.decode("utf-8"))


CHECKS: dict[str, Callable[[bytes], list[str]]] = {
    ".csv": wrong_in_csv,
    ".html": wrong_in_page,
    ".jsonl": wrong_in_lines,
    ".txt": wrong_in_text,
    ".xml": wrong_in_xml,
    ".json": wrong_in_json,
}


def wrong(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(folder.rglob("*")):
        if not re.fullmatch(r"[A-Za-z0-9._-]+", path.name):
            yield path.name, ["its name"]
        if path.is_file() and path.suffix in CHECKS:
            found = CHECKS[path.suffix](path.read_bytes())
            if found:
                yield path.name, found[:5]


# ------------------------------------------------------------------ a whole run
def test_nothing_hostile_comes_through_to_anybody(tmp_path, monkeypatch):
    monkeypatch.setitem(sandbox.faults.ERROR_BODIES, "string", lambda status: Answer.json(status, SAID))
    export = plant(tmp_path)
    place = Place(tmp_path / "place", {"METERFEED_ID_KEY": ID_KEY, "METERFEED_CHUNK_SIZE": "40"})
    profile = tmp_path / "hostile.toml"
    as_is = (
        PROFILE.read_text().replace('ids = "hmac"', 'ids = "as-is"').replace('multiline = ["Adresse"]', "")
    )
    profile.write_text(as_is.replace("[keep]", "[guards]\nquarantined = 1.0\nrejected = 1.0\n\n[keep]"))
    faults = [{"kind": "bad-request", "on": ["batch", "single"], "every": 3}]
    with Sandbox(faults={"fault": faults}) as api:
        place.settings |= api.settings
        code = place.run("sync", export, "--profile", profile)
        shown = place.folder / "shown"
        shown.mkdir()
        for n, command in enumerate([("runs",), ("explain", "=1+1")]):
            (place.folder / "out.txt").rename(shown / f"out-{n}.txt")
            (place.folder / "err.txt").rename(shown / f"err-{n}.txt")
            place.run(*command)
        held = {user["userId"] for user in api.state()["users"]} | {
            one["locationId"] for one in api.state()["locations"]
        }
        paths = {line["path"] for line in api.requests()}
    for name in ("out.txt", "err.txt"):
        (place.folder / name).rename(shown / name)
    assert code == 10, (shown / "err-0.txt").read_text() + (shown / "out-0.txt").read_text()
    assert [] == list(wrong(place.data))
    assert [] == list(wrong(shown))
    assert len(held & set(TEXTS)) > 20, "what is harmless in a URL is loaded as it is"
    assert held.isdisjoint({"..", ".", "../../etc/passwd", "%2e%2e%2f", "?page=1", "#x", "a\x00b", "x" * 200})
    assert "unknown" not in paths


# ------------------------------------------------------------------ the checks can fail
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", '"a";"b"\n"1";"=1+1"\n'),
        ("a.csv", '"a";"b"\n"1";"\t=1+1"\n'),
        ("a.csv", '"a";"b"\n"1";"-1+1"\n'),
        ("a.csv", '"a";"b"\n1;2;3\n'),
        ("a.html", "<p><script>alert(1)</script>"),
        ("a.html", "<p><img src=x onerror=alert(1)>"),
        ("a.html", '<a href="javascript:alert(1)">x</a>'),
        ("a.html", '<a href="//evil.example">x</a>'),
        ("a.html", "<p>\u202eevil"),
        ("a.txt", "\x1b[31mred"),
        ("a.txt", "line\rline"),
        ("a.txt", "line\u2028line"),
        ("a.jsonl", '"text"\n'),
        ("a.jsonl", '{"a":"\x7f"}\n'),
        ("a.json", '{"a":"\u200b"}'),
        ("a.xml", "<a>\u202e</a>"),
        ("a b.txt", ""),
    ],
)  # fmt: skip
def test_what_is_hostile_is_found(name, content, tmp_path):
    (tmp_path / name).write_bytes(content.encode())
    assert [name] == [found for found, _ in wrong(tmp_path)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", '"a";"b"\n"\'=1+1";"-17,5"\n'),
        ("a.html", '<style>p{}</style><p title="=1+1">&lt;script&gt;<a href="#x">x</a>'),
        ("a.html", '<img src="data:image/png;base64,AA==">'),
        ("a.txt", "=1+1\nærlig\n"),
        ("a.jsonl", '{"a":"\\u001b"}\n'),
    ],
)  # fmt: skip
def test_what_is_harmless_is_left_alone(name, content, tmp_path):
    (tmp_path / name).write_bytes(content.encode())
    assert [] == list(wrong(tmp_path))
