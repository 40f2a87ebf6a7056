"""Which of their columns is which of ours: by the header, exactly as the profile says."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.errors import ExportError
from schemas.profile import CANONICAL, Profile

MOST_COLUMNS = 500


@dataclass(frozen=True, slots=True)
class Found:
    """The columns to read.

    Attributes:
        places: our name to the position of their column, from 0; in the profile's order.
        multiline: positions of the columns in which line breaks are legal.
        dropped: their headers that are not read, in the file's order.
    """

    places: dict[str, int]
    multiline: frozenset[int]
    dropped: tuple[str, ...]


def headers_of_texts(profile: Profile) -> tuple[str, ...]:
    """Headers of the columns that may hold line breaks in a Parquet file, and so in its correction."""
    keys = (part for part in profile.identity.location_from if part not in CANONICAL)
    return tuple(dict.fromkeys((*profile.file.multiline, *keys)))


def find_columns(
    headers: Sequence[str], profile: Profile, name: str, where: str, *, multiline: Sequence[str] | None = None
) -> Found:
    """Find every column the profile names.

    Args:
        headers: of the file, in order.
        profile: what to look for.
        name: of the export, for messages.
        where: the headers stand, for messages ("line 1", "the Parquet schema").
        multiline: headers of the columns in which line breaks are legal, where there are such columns; None: those of
            the profile, none of which may be missing.

    Raises:
        ExportError: a header is missing, any is there twice (empty ones may be), or there are too many.
    """
    if len(headers) > MOST_COLUMNS:
        raise ExportError(
            f"{name} has {len(headers)} columns; we read at most {MOST_COLUMNS}.",
            cure="Export fewer columns, or check [file] separator.",
        )
    same = _folded if profile.file.header == "folded" else _as_is
    seen = [same(header) for header in headers]
    wanted = profile.headers()
    asked = [*wanted.values(), *(profile.file.multiline if multiline is None else ())]
    missing = list(dict.fromkeys(header for header in asked if same(header) not in seen))
    if missing:
        raise ExportError(_missing(missing, headers, name, where), cure=_cure(missing, headers, profile))
    twice = [header for header in headers if header and seen.count(same(header)) > 1]
    if twice:
        raise ExportError(
            f'{name}: the header "{twice[0]}" stands {seen.count(same(twice[0]))} times in {where}.',
            cure="Export the file with one header for each column.",
        )
    places = {ours: seen.index(same(theirs)) for ours, theirs in wanted.items()}
    read = set(places.values())
    legal = {same(header) for header in (profile.file.multiline if multiline is None else multiline)}
    return Found(
        places=places,
        multiline=frozenset(at for at, header in enumerate(seen) if header in legal),
        dropped=tuple(header for place, header in enumerate(headers) if place not in read),
    )


def _as_is(header: str) -> str:
    return header


def _folded(header: str) -> str:
    return " ".join(unicodedata.normalize("NFC", header).casefold().split())


def _missing(missing: list[str], headers: Sequence[str], name: str, where: str) -> str:
    told = [f'"{header}"{_near(header, headers)}' for header in missing]
    what = "the header" if len(told) == 1 else "the headers"
    return f"{name} lacks {what} {', '.join(told)} in {where}."


def _near(header: str, headers: Sequence[str]) -> str:
    """The nearest header there is. One that is not near is not shown: it might be a customer's data."""
    by_fold: dict[str, str] = {_folded(other): other for other in headers}
    near = difflib.get_close_matches(_folded(header), list(by_fold), n=1, cutoff=0.6)
    return f' (the nearest is "{by_fold[near[0]]}")' if near else ""


def _cure(missing: list[str], headers: Sequence[str], profile: Profile) -> str:
    folded = {_folded(header) for header in headers}
    if all(_folded(header) in folded for header in missing):
        return 'Set [file] header = "folded", or write the headers in [columns] exactly as the file does.'
    if len(headers) == 1 and profile.file.format != "parquet":
        return _other_separator(headers[0], profile.file.separator)
    return "Mend [columns], or [file] header_line when the headers stand on another line."


def _other_separator(line: str, declared: str) -> str:
    counts: Callable[[str], int] = line.count
    best = max((sign for sign in ";,\t|" if sign != declared), key=counts)
    if not counts(best):
        return "Mend [columns], or [file] header_line when the headers stand on another line."
    return (
        f'The line is one column wide with separator "{declared}"; perhaps [file] separator = {_toml(best)}.'
    )


def _toml(sign: str) -> str:
    return '"\\t"' if sign == "\t" else f'"{sign}"'
