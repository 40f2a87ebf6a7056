"""Exports nobody wrote by hand: any dialect, any mixture of good and bad lines, and the number of each."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import zstandard

from tests.corpus.case import PROFILE, cells, gsrn, merged

COLUMNS = list(cells(1))
BAD_BYTE = "\ue000"
"""Stands for a byte that is no UTF-8."""


@dataclass(slots=True)
class AnyExport:
    """An export, how to read it, and the class of each of its rows, counted while it was made."""

    content: bytes
    profile: dict[str, Any]
    expected: Counter[str]

    @property
    def rows(self) -> int:
        """All of them."""
        return self.expected.total()


@dataclass(slots=True)
class _Writer:
    """Lines of one export in the making."""

    rng: np.random.Generator
    separator: str
    decimal: str
    end: str
    order: list[str]
    multiline: bool
    narrow: bool
    """Whether the encoding has bytes that are no text."""
    lines: list[str] = field(default_factory=list)
    expected: Counter[str] = field(default_factory=Counter)
    number: int = 0
    bad_bytes: int = 0

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def next_cells(self, **changes: str) -> dict[str, str]:
        self.number += 1
        row = cells(self.number, **changes)
        for name in ("Breddegrad", "Lengdegrad"):
            row[name] = row[name].replace(",", self.decimal)
        row["Adresse"] = f"Påfunnveien {self.number}"
        return row

    def field_text(self, text: str) -> str:
        needs = self.separator in text or '"' in text or "\n" in text or "\r" in text
        if needs or self.chance(0.1):
            return '"' + text.replace('"', '""') + '"'
        return text

    def line(self, row: dict[str, str]) -> str:
        return self.separator.join(self.field_text(row[name]) for name in self.order)

    def add(self, line: str, what: str, rows: int = 1) -> None:
        self.lines.append(line)
        self.expected[what] += rows


def _good(out: _Writer) -> None:
    row = out.next_cells()
    if out.chance(0.2):
        row["Adresse"] = f'Gården "Nordre"{out.separator} bruk {out.number}'
    if out.multiline and out.chance(0.2):
        row["Adresse"] += f"{out.end}inngang 2"
    if out.chance(0.1):
        row["Breddegrad"] = row["Lengdegrad"] = ""
    out.add(out.line(row), "mapped")


def _home_of_several(out: _Writer) -> None:
    first = out.next_cells()
    out.add(out.line(first), "mapped")
    for _ in range(int(out.rng.integers(1, 4))):
        same = {name: first[name] for name in ("Kundenr", "Anlegg", "Breddegrad", "Lengdegrad")}
        out.number += 1
        out.add(out.line(first | same | {"MålepunktID": gsrn(out.number)}), "mapped")


def _twice(out: _Writer) -> None:
    row = out.next_cells()
    out.add(out.line(row), "mapped")
    for _ in range(int(out.rng.integers(1, 3))):
        out.add(out.line(row | {"Merknad": str(out.rng.integers(10))}), "duplicate")


def _claimed_twice(out: _Writer) -> None:
    row = out.next_cells()
    out.add(out.line(row), "quarantined")
    out.add(out.line(out.next_cells(MålepunktID=row["MålepunktID"])), "quarantined")


def _quarantined(out: _Writer) -> None:
    row = out.next_cells()
    good = row["MålepunktID"]
    changes: tuple[dict[str, str], ...] = (
        {"MålepunktID": good[:-1]},
        {"MålepunktID": good[:-1] + str((int(good[-1]) + 1) % 10)},
        {"MålepunktID": f"7{out.decimal}07058E+17"},
        {"MålepunktID": gsrn(out.number, "735999999")},
        {"Kundenr": ""},
        {"Kundetype": "Luftslott"},
        {"Breddegrad": "nord"},
        {"Breddegrad": row["Lengdegrad"], "Lengdegrad": row["Breddegrad"]},
        {"Lengdegrad": ""},
        {"Breddegrad": f"0{out.decimal}0", "Lengdegrad": f"0{out.decimal}0"},
        {"Breddegrad": "", "Lengdegrad": "", "MålepunktID": ""},
    )
    out.add(out.line(row | changes[int(out.rng.integers(len(changes)))]), "quarantined")


def _closed(out: _Writer) -> None:
    row = out.next_cells(Status="Avsluttet")
    out.add(out.line(row | ({"MålepunktID": "1"} if out.chance(0.3) else {})), "filtered")


def _ragged(out: _Writer) -> None:
    line = out.line(out.next_cells())
    out.add(line + out.separator if out.chance(0.5) else "Totalt" + out.separator + "7", "unreadable")


def _broken(out: _Writer) -> None:
    """A line break in a column where none is legal: every line of it is unreadable."""
    more = int(out.rng.integers(1, 4))
    row = out.next_cells(Merknad=out.end.join(["se", *(["under"] * more)]))
    out.add(out.line(row), "unreadable", rows=1 + more)


def _header_again(out: _Writer) -> None:
    out.add(out.separator.join(out.order), "unreadable")


def _not_text(out: _Writer) -> None:
    """At most twice: more would say that the encoding itself is wrong."""
    if out.narrow and out.bad_bytes < 2:
        out.bad_bytes += 1
        out.add(out.line(out.next_cells(Merknad=BAD_BYTE)), "unreadable")
    else:
        out.add(out.line(out.next_cells(Merknad="\0")), "unreadable")


def _blank(out: _Writer) -> None:
    """No row at all."""
    out.lines += [""] * int(out.rng.integers(1, 3))


PIECES: tuple[tuple[Callable[[_Writer], None], float], ...] = (
    (_good, 0.50),
    (_home_of_several, 0.08),
    (_twice, 0.06),
    (_claimed_twice, 0.04),
    (_quarantined, 0.10),
    (_closed, 0.06),
    (_ragged, 0.05),
    (_broken, 0.03),
    (_header_again, 0.02),
    (_not_text, 0.02),
    (_blank, 0.04),
)


CUSTOMERS_EACH = 1_000
"""More than an export has: no two exports share a customer, a home or a meter point."""


def any_export(seed: int) -> AnyExport:
    """The export of a seed: some dozen lines, at least one of them a good row."""
    rng = np.random.default_rng(seed)
    separator = str(rng.choice([";", ",", "\t", "|"]))
    decimal = "." if separator == "," else str(rng.choice([",", "."]))
    newline = [None, "\n", "\r\n", "\r"][int(rng.integers(4))]
    encoding = str(rng.choice(["utf-8", "utf-8", "cp1252", "utf-16"]))
    order = list(rng.permutation(COLUMNS)) if rng.random() < 0.3 else list(COLUMNS)
    out = _Writer(
        rng=rng,
        separator=separator,
        decimal=decimal,
        end=newline or str(rng.choice(["\n", "\r\n"])),
        order=[str(name) for name in order],
        multiline=bool(rng.random() < 0.5),
        narrow=encoding == "utf-8",
        number=seed * CUSTOMERS_EACH,
    )
    title = int(rng.integers(3)) if rng.random() < 0.3 else 0
    footer = int(rng.integers(1, 3)) if rng.random() < 0.3 else 0
    _good(out)
    pieces, shares = zip(*PIECES, strict=True)
    for index in rng.choice(len(pieces), size=int(rng.integers(1, 30)), p=shares):
        pieces[index](out)
    top = [f"Uttrekk {number}" for number in range(title)]
    bottom = [f"Totalt{separator}{number}" for number in range(footer)]
    header = separator.join(out.order)
    text = "".join(line + out.end for line in [*top, header, *out.lines, *bottom])
    file = {
        "separator": separator,
        "decimal": decimal,
        "newline": newline,
        "encoding": encoding,
        "header_line": title + 1,
        "footer_lines": footer,
        "multiline": ["Adresse"] if out.multiline else None,
    }
    content = _encoded(text, encoding, mark=bool(rng.random() < 0.3))
    return AnyExport(_packed(content, int(rng.integers(6))), merged(PROFILE, {"file": file}), out.expected)


def _encoded(text: str, encoding: str, *, mark: bool) -> bytes:
    if encoding == "utf-8":
        return (b"\xef\xbb\xbf" if mark else b"") + text.encode().replace(BAD_BYTE.encode(), b"\xff")
    return text.encode(encoding)


def _packed(content: bytes, how: int) -> bytes:
    if how == 0:
        return gzip.compress(content, compresslevel=1, mtime=0)
    if how == 1:
        return zstandard.ZstdCompressor(level=1).compress(content)
    if how == 2:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("kunder.csv", content)
        return out.getvalue()
    return content
