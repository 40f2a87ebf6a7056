"""What a look at the start of an export shows, before anybody has declared anything about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import polars as pl


class Sureness(StrEnum):
    """How far a finding may be trusted. Nothing is ever loaded on any of them: a person keeps the profile."""

    SURE = "sure"
    LIKELY = "likely"
    GUESS = "guess"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        value: as a profile would state it.
        why: a sentence, without any value of a row.
    """

    value: str
    sureness: Sureness
    why: str


@dataclass(frozen=True, slots=True)
class FileLook:
    """The start of one export.

    Attributes:
        name: safe to show.
        match: a pattern that files of this kind would fit, digits left out.
        container: what it is packed in: `plain`, `gzip`, `zstd`, `zip`, or `parquet`.
        entries: names in a zip of several, of which the largest was looked at.
        newline: None when LF or CRLF end the lines.
        header_line: physical line of the header, from 1.
        footer_lines: lines at the end that are no rows; 0 also when the end was not seen.
        open_end: the last line has no line end.
        multiline: headers of columns that hold line breaks.
        kinds: of a Parquet file's columns (`text`, `integer`, `float`, …); empty for CSV.
        rows: the sample: a String column for each header, named by its number from 0; "" and null alike.
        is_whole: the sample is the whole file.
    """

    name: str
    match: str
    container: str
    headers: tuple[str, ...]
    rows: pl.DataFrame
    is_whole: bool
    encoding: Finding
    separator: Finding
    quote: str = '"'
    newline: str | None = None
    header_line: int = 1
    footer_lines: int = 0
    open_end: bool = False
    multiline: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
