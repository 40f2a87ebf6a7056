"""What a person may see of a value: its last characters, its length, its shape. Never the value.

Reports, logs and terminal lines show ids as `…5678` and other people's sentences (server messages, file
names) with long digit runs, addresses of people and invisible characters taken out.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl  # heavy: whoever only cleans a sentence need not pay for it

VISIBLE_TAIL = 4
"""Most characters of an id that a report shows."""
TAIL_SHARE = 3
"""At most one character in this many is shown, so that a four-digit customer number stays hidden."""
MESSAGE_LIMIT = 200
"""Longest foreign sentence that is repeated, in characters."""

_UUID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{8}([0-9a-f]{4})\b", re.IGNORECASE | re.ASCII)
_LONG_NUMBER = re.compile(r"[0-9](?:[ \u00a0.\-]?[0-9]){5,}", re.ASCII)
_ID_IN_NAME = re.compile(r"[0-9]{9,}", re.ASCII)
_EMAIL = re.compile(r"[^\s@<>\"']{1,64}@[^\s@<>\"']{1,190}")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])|\x9b[0-?]*[ -/]*[@-~]")
_SPACES = re.compile(r"(?:(?![\u00a0\u202f])\s)+")
"""Any white space and line break, but not the no-break spaces inside of figures."""
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def masked_id(value: str | None) -> str:
    """An id as `…5678`; `…` alone when four characters would be too much of it; empty for None or ''."""
    if not value:
        return ""
    tail = min(VISIBLE_TAIL, len(value) // TAIL_SHARE)
    return "…" + (printable(value[-tail:]) if tail else "")


def masked_ids(column: str) -> pl.Expr:
    """`masked_id` over a String column; null stays null. Nothing is cleaned: escape on the way out."""
    import polars as pl

    tail = pl.min_horizontal(
        pl.lit(VISIBLE_TAIL, pl.UInt32), pl.col(column).str.len_chars() // pl.lit(TAIL_SHARE, pl.UInt32)
    )
    return pl.lit("…") + pl.col(column).str.slice(pl.col(column).str.len_chars() - tail)


def printable(text: str) -> str:
    """The text on one line, without terminal escapes, controls, bidirectional or other invisible marks."""
    shown = visible(_SPACES.sub(" ", _ANSI.sub("", text)))
    return _SPACES.sub(" ", shown).strip()


def visible(text: str) -> str:
    """The text without terminal escapes and characters nobody can see; spaces stay as they are."""
    clean = _ANSI.sub("", text)
    if clean.isascii() and clean.isprintable():
        return clean
    return "".join(char for char in clean if unicodedata.category(char) not in _INVISIBLE)


def masked_text(text: str | None, *, limit: int = MESSAGE_LIMIT) -> str:
    """A foreign sentence that is fit to repeat: printable, ids and addresses masked, cut at `limit`."""
    if not text:
        return ""
    clean = printable(text[: 20 * limit])
    clean = _EMAIL.sub("…@…", clean)
    clean = _UUID.sub(r"…\1", clean)
    clean = _LONG_NUMBER.sub(lambda found: masked_id(re.sub(r"[^0-9]", "", found[0])), clean)
    return clean if len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


def masked_name(text: str | None, *, limit: int = 120) -> str:
    """A file name that is fit to repeat: ids of nine digits or more are masked, dates stay readable.

    Exports of the Norwegian hub carry the meter point in their name.
    """
    clean = _EMAIL.sub("…@…", printable((text or "")[: 20 * limit]))
    clean = _ID_IN_NAME.sub(lambda found: masked_id(found[0]), clean)
    return clean if len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


def shape_of(value: str | None, *, limit: int = 24) -> str:
    """How a value looks without saying what it is: `9` for a digit, `A`/`a` for a letter, runs as `9×17`.

    Example:
        `shape_of("70705750001234567X")` is `9×17 A`.
    """
    if value is None:
        return "empty"
    groups: list[tuple[str, int]] = []
    for char in value[:200]:
        mark = _mark(char)
        if groups and groups[-1][0] == mark:
            groups[-1] = (mark, groups[-1][1] + 1)
        else:
            groups.append((mark, 1))
    text = " ".join(mark if count == 1 else f"{mark}×{count}" for mark, count in groups)
    return (text if len(text) <= limit else text[: limit - 1].rstrip() + "…") or "empty"


def _mark(char: str) -> str:
    """The class of one character, as a character that is safe to show."""
    if char in "0123456789":
        return "9"
    if char.isalpha():
        return "A" if char.isupper() else "a"
    if char in ".,;:-+_/()'=":
        return char
    return "space" if char in " \u00a0\t" else "?"
