"""One bad input and what has to become of it, written from the documents and not from what the code does.

A case says the class of every row: a row named nowhere has to be good. So the number of rows a file holds is
counted here, by whoever made the file, and a row that vanishes or appears is found in every case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.profile import Profile

HEADER = "Kundenr;Anlegg;Kundetype;MålepunktID;Breddegrad;Lengdegrad;Status;Adresse;Merknad"
FIRST_LINE = 2
"""The line of the first row of a file that begins with the header."""

PROFILE: dict[str, Any] = {
    "name": "corpus",
    "country": "NO",
    "file": {"format": "csv", "separator": ";", "decimal": ",", "multiline": ["Adresse"]},
    "columns": {
        "user": "Kundenr",
        "location": "Anlegg",
        "location_type": "Kundetype",
        "meter_point": "MålepunktID",
        "latitude": "Breddegrad",
        "longitude": "Lengdegrad",
        "status": "Status",
    },
    "values": {"location_type": {"Husholdning": "Residential", "Næring": "Commercial"}},
    "keep": {"status": ["Aktiv"]},
}

ROW_CLASSES = ("unreadable", "filtered", "quarantined", "valid")


def check_digit(data: str) -> str:
    """GS1 check digit: weights 3, 1, 3 … from the right."""
    total = sum((3 if place % 2 == 0 else 1) * int(digit) for place, digit in enumerate(reversed(data)))
    return str(-total % 10)


def gsrn(number: int, prefix: str = "707057599") -> str:
    """An 18 digit id of the synthetic block."""
    data = f"{prefix}{number * 61_803_399 % 10**8:08}"
    return data + check_digit(data)


def cells(number: int, **changes: str) -> dict[str, str]:
    """The cells of good row `number` by header, some of them changed; its customer and home are its own."""
    row = {
        "Kundenr": f"K{number:08}",
        "Anlegg": f"A{number:09}",
        "Kundetype": "Husholdning",
        "MålepunktID": gsrn(number),
        "Breddegrad": f"60,{10_001 + number % 10_000 * 2}",
        "Lengdegrad": f"7,{30_001 + number % 10_000 * 2}",
        "Status": "Aktiv",
        "Adresse": f"Påfunnveien {number}",
        "Merknad": "",
    }
    assert set(changes) <= set(row), set(changes) - set(row)
    return row | changes


def row(number: int, **changes: str) -> str:
    """A good row as a line without its end."""
    return ";".join(cells(number, **changes).values())


def rows(count: int, first: int = 1) -> list[str]:
    """Good rows."""
    return [row(number) for number in range(first, first + count)]


def text_of(lines: Iterable[str], *, header: str | None = HEADER, end: str = "\n") -> str:
    """Lines with a header before them and an end behind each."""
    return "".join(line + end for line in ([header] if header is not None else []) + list(lines))


def csv_of(lines: Iterable[str], *, encoding: str = "utf-8", **how: Any) -> bytes:
    """The same, encoded."""
    return text_of(lines, **how).encode(encoding)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with changes, table by table; None removes a key."""
    out = dict(base)
    for key, value in changes.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(out.get(key), Mapping) and key != "keep":
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file, the profile it is read with, and what has to come out.

    Attributes:
        name: unique; what is wrong with the file.
        fault: the row of the catalogue it stands for: `CS8`, `PQ3`, `VA1`, or `4.2` for the damage table.
        content: the bytes, or what makes them; not used when `place` is given.
        place: puts the input under a folder and returns its path, for what is not a plain file.
        profile: changes to `PROFILE`.
        rows: how many rows the file holds: records, and physical lines where a record is unreadable.
        refused: words one of which the refusal says; empty tuple: refused in any words; None: it is read.
        may_be_refused: the documents allow both; what is read has to be read as stated.
        alarm: the refusal is of a whole column.
        unreadable: line to reason; None: any reason. `heights`: lines it takes, where more than one.
        quarantined: line to the rules broken, at least.
        warned: line to the rules that only warn.
        filtered: lines outside `[keep]`.
        loose: line to the classes the documents leave open.
        environment: whose severities hold.
    """

    name: str
    fault: str
    content: bytes | Callable[[], bytes] = b""
    place: Callable[[Path], Path] | None = None
    file_name: str = "kunder-2026.csv"
    profile: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 0
    refused: tuple[str, ...] | None = None
    may_be_refused: bool = False
    alarm: bool = False
    unreadable: Mapping[int, str | None] = field(default_factory=dict)
    heights: Mapping[int, int] = field(default_factory=dict)
    quarantined: Mapping[int, frozenset[str]] = field(default_factory=dict)
    warned: Mapping[int, frozenset[str]] = field(default_factory=dict)
    filtered: frozenset[int] = frozenset()
    loose: Mapping[int, frozenset[str]] = field(default_factory=dict)
    environment: str = "production"

    @property
    def id(self) -> str:
        """For the test's name."""
        return f"{self.fault} {self.name}"

    def put(self, folder: Path) -> Path:
        """The input, under a folder."""
        if self.place is not None:
            return self.place(folder)
        path = folder / self.file_name
        path.write_bytes(self.content() if callable(self.content) else self.content)
        return path

    def read_with(self) -> Profile:
        """The profile, validated."""
        return Profile.model_validate(merged(PROFILE, self.profile))

    def counts(self) -> dict[str, int]:
        """Rows per class, where nothing is loose."""
        unreadable = sum(self.heights.get(line, 1) for line in self.unreadable)
        found = {
            "unreadable": unreadable,
            "filtered": len(self.filtered),
            "quarantined": len(self.quarantined),
        }
        return found | {"valid": self.rows - sum(found.values())}


def one_bad(name: str, fault: str, bad: str, *, before: int = 2, after: int = 2, **expected: Any) -> Case:
    """A line of its own between good rows. `expected` speaks of that line alone, without its number.

    `unreadable=reason`, `quarantined={rules}`, `warned={rules}`, `loose={classes}` or `filtered=True`;
    with none of them the line has to be good.
    """
    line = FIRST_LINE + before
    about = {
        key: {line: expected.pop(key)}
        for key in ("unreadable", "quarantined", "warned", "loose")
        if key in expected
    }
    if expected.pop("filtered", False):
        about["filtered"] = frozenset({line})  # type: ignore[assignment]
    how = {key: expected.pop(key) for key in ("encoding", "end", "header") if key in expected}
    lines = [*rows(before), bad, *rows(after, first=1_000)]
    content = expected.pop("content", None) or csv_of(lines, **how)
    return Case(name=name, fault=fault, content=content, rows=before + 1 + after, **about, **expected)


def cell(name: str, fault: str, header: str, value: str, **expected: Any) -> Case:
    """A row between good ones with one cell changed."""
    return one_bad(name, fault, row(500, **{header: value}), **expected)


def numbered(cases: Iterator[Case]) -> list[Case]:
    """The cases as a list; two may not share a name."""
    made = list(cases)
    names = [case.id for case in made]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"two cases share the name {twice}"
    return made
