"""The columns of a correction file that are ours, and cells that survive a spreadsheet.

A correction file holds rejected rows in their original columns, then three of ours. Sent in again under the same
profile it is read like any export: our columns are not part of the row, and the row token says which row of which
file it corrects.

A spreadsheet runs cells that look like formulas, and changes cells that look like numbers: both get a leading
apostrophe when written, which reading a correction takes away again. A cell that begins with an apostrophe gets
a second one, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

TOKEN: Final = "meterfeed_row"  # noqa: S105 - of a row, nothing secret
RULES: Final = "meterfeed_rules"
TEXT: Final = "meterfeed_text"
OURS: Final = (TOKEN, RULES, TEXT)
"""What a rejected row was, which rules it broke, and its text when it could not be split."""

APOSTROPHE: Final = "'"

_AT_RISK: Final = (
    r"^(?:\s*[=+\-@＝＋－＠]|['\t\r\n]"  # formulas, and what is marked already
    r"|0[0-9]+$|[0-9]{12,}$|[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+$)"  # zeros, digits and exponents to be lost
)
_PLAIN_NEGATIVE: Final = r"^-[0-9]{1,11}(?:[.,][0-9]{1,11})?$"

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


def spreadsheet_safe(cell: pl.Expr) -> pl.Expr:
    """The cell as a spreadsheet may see it."""
    risky = cell.str.contains(_AT_RISK) & ~cell.str.contains(_PLAIN_NEGATIVE)
    return pl.when(risky).then(pl.lit(APOSTROPHE) + cell).otherwise(cell)


def as_it_was(cell: pl.Expr) -> pl.Expr:
    """The cell without the mark of `spreadsheet_safe`."""
    return cell.str.strip_prefix(APOSTROPHE)
