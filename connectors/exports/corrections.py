"""The columns of a correction file that are ours, and cells that survive a spreadsheet.

A correction file holds rejected rows in their original columns, then three of ours. Sent in again under the same
profile it is read like any export: our columns are not part of the row, and the row token says which row of which
file it corrects.

A spreadsheet runs cells that look like formulas, and changes cells that look like numbers, dates or truths: both get a
leading apostrophe when written, which reading a correction takes away again. So do all ids but short whole numbers, for
ids look like such things in more ways than can be listed. A cell that begins with an apostrophe gets a second one, so
that nothing is lost. Headers are cells like any other; the lines before the header and after the last
row, which nobody reads, only get what keeps their formulas from running.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import polars as pl

TOKEN: Final = "meterfeed_row"  # noqa: S105 - of a row, nothing secret
RULES: Final = "meterfeed_rules"
TEXT: Final = "meterfeed_text"
OURS: Final = (TOKEN, RULES, TEXT)
"""What a rejected row was, which rules it broke, and its text when it could not be split."""

APOSTROPHE: Final = "'"

_MONTH: Final = r"(?i:jan|feb|mar|apr|ma[ijy]|jun|jul|aug|sep|o[ck]t|nov|de[csz])\p{L}{0,6}"
_AT_RISK: Final = (
    r"^(?:\s*[=+\-@＝＋－＠]|['\t\r\n]"  # formulas, and what is marked already
    r"|0[0-9]+$|[0-9]{12,}$|[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+$"  # zeros, digits and exponents to be lost
    r"|[0-9]{1,3}(?:\s[0-9]{3})+$"  # blanks between thousands
    r"|[0-9]{1,4}[-/][0-9]{1,4}(?:[-/][0-9]{1,4})?$"  # dates: 1-12, 3/4, 2026-11-23
    r"|(?:[0-9]|[0-2][0-9]|3[01]|[0-9]{4})\.[0-9]{1,4}(?:\.[0-9]{1,4})?\.?$"  # 10.12, 1.2.2026
    r"|[0-9]{1,4}:[0-9]{1,2}(?::[0-9]{1,2}(?:[.,][0-9]+)?)?$"  # times
    rf"|[0-9]{{1,4}}[-/. ]{{0,2}}{_MONTH}(?:[-/. ]{{0,2}}[0-9]{{1,4}})?$|{_MONTH}[-/. ]{{0,2}}[0-9]{{1,4}}$"
    r"|(?i:true|false|sann|usann|sant|falsk|wahr|falsch|tosi|epätosi)$)"  # of which others are made
)
_PLAIN_NUMBER: Final = r"^(?:0|[1-9][0-9]{0,10})$"
"""What no spreadsheet changes."""
_PLAIN_NEGATIVE: Final = r"^-[0-9]{1,11}(?:[.,][0-9]{1,11})?$"
_FORMULA_IN_LINES: Final = (
    r"((?:\A|[\r\n]|{separator})\"*)"
    r"(?=[^\S\r\n{separator}]*[=+\-@＝＋－＠])"
    r"(?!-[0-9]{{1,11}}(?:[.,][0-9]{{1,11}})?\"?(?:\Z|[\r\n]|{separator}))"
)
"""Where a cell begins, quotes and all, that holds a formula and no plain negative number."""

TOKEN_LENGTH: Final = 32
"""Hex characters of the file's SHA-256 in a row token."""


def row_tokens(sha256: str, lines: pl.Series) -> pl.Series:
    """For each line, `<start of the file's SHA-256>:<line>`."""
    return (sha256[:TOKEN_LENGTH] + ":" + lines.cast(pl.String)).alias(TOKEN)


CORRECTS_SCHEMA: Final = {"source_line": pl.UInt32, "corrects_sha256": pl.String, "corrects_line": pl.UInt32}


def token_parts(token: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """File and line out of a row token; null where it is none."""
    parts = token.str.extract_groups(rf"^([0-9a-f]{{{TOKEN_LENGTH}}}):([0-9]{{1,10}})$")
    line = parts.struct.field("2").cast(pl.UInt32, strict=False)
    return parts.struct.field("1").alias("corrects_sha256"), line.alias("corrects_line")


def is_correction(headers: Sequence[str]) -> bool:
    """Whether a file is a correction of ours: it has our token column, once."""
    return list(headers).count(TOKEN) == 1


def spreadsheet_safe(cell: pl.Expr, *, is_id: bool = False) -> pl.Expr:
    """The cell as a spreadsheet may see it; of ids, all but short whole numbers are marked."""
    if is_id:
        risky = (cell != "") & ~cell.str.contains(_PLAIN_NUMBER)
    else:
        risky = cell.str.contains(_AT_RISK) & ~cell.str.contains(_PLAIN_NEGATIVE)
    return pl.when(risky).then(pl.lit(APOSTROPHE) + cell).otherwise(cell)


def spreadsheet_safe_lines(text: str, separator: str) -> str:
    """Lines that are no rows as a spreadsheet may see them: an apostrophe before each formula, and nothing else.

    Not to be undone, and the same when it is done again. A line `sep=` says how to split the others, and stays.
    """
    announced = re.match(rf"(?i:sep=){re.escape(separator)}(?=\r|\n|\Z)", text)
    begin = announced.end() if announced else 0
    pattern = _FORMULA_IN_LINES.format(separator=re.escape(separator))
    return text[:begin] + re.sub(pattern, rf"\g<1>{APOSTROPHE}", text[begin:])


def as_it_was(cell: pl.Expr) -> pl.Expr:
    """The cell without the mark of `spreadsheet_safe`."""
    return cell.str.strip_prefix(APOSTROPHE)


def header_as_it_was(header: str) -> str:
    """The same for a header."""
    return header.removeprefix(APOSTROPHE)
