"""Propose a profile from a look at an export: which column is which, in which scheme and reference system.

Header words speak first, what the columns hold decides ties and can overrule them. The result is a TOML text for a
person to read, mend and keep; every line says how sure it is and why. Nothing is ever loaded by it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from pipeline.canonical import normalised, to_degrees
from pipeline.header_words import (
    ACTIVE,
    ADDRESS,
    HEADERS,
    LOCATION_WORDS,
    RESOURCE_WORDS,
    SERIALS,
    YES,
    folded,
)
from schemas.coordinates import land_within, number
from schemas.look import FileLook, Finding, Sureness
from schemas.meter_points import SCHEMES, MeterPointScheme
from schemas.profile import GEOGRAPHIC, PARTS_OF
from schemas.reference import Reference

SURE, LIKELY, GUESS = Sureness.SURE, Sureness.LIKELY, Sureness.GUESS
MOST: Final = 0.9
HALF: Final = 0.5
"""Enough of a damaged column that is called what it should be."""

FEW_WORDS: Final = 12
"""A column with more different values holds no words to be listed."""

UNDOINGS: Final = ("excel-text", "apostrophe", "blanks", "zero-width", "ai-8018", "gb-s-number")

_OPPOSITES: Final = (
    ("nei", "Ja"), ("nej", "Ja"), ("nein", "Ja"), ("no", "Yes"), ("ei", "Kyllä"), ("false", "true"), ("e", "K"),
    ("n", "J"), ("0", "1"),
)  # fmt: skip

PROJECTED: Final = (
    ("EPSG:25833", ("NO",), (-90_000, 1_100_000), (6_450_000, 7_940_000)),
    ("EPSG:25832", ("NO", "DK", "DE"), (200_000, 900_000), (5_200_000, 7_200_000)),
    ("EPSG:25835", ("NO",), (200_000, 800_000), (7_500_000, 7_950_000)),
    ("EPSG:3006", ("SE",), (265_000, 920_000), (6_130_000, 7_680_000)),
    ("EPSG:3021", ("SE",), (1_200_000, 1_900_000), (6_130_000, 7_680_000)),
    ("EPSG:3067", ("FI",), (60_000, 735_000), (6_600_000, 7_780_000)),
    ("EPSG:2393", ("FI",), (3_060_000, 3_735_000), (6_600_000, 7_780_000)),
    ("EPSG:27700", ("GB",), (0, 700_000), (0, 1_300_000)),
    ("EPSG:28992", ("NL",), (0, 300_000), (300_000, 620_000)),
)
"""Reference systems in metres: code, countries that use them, eastings and northings there."""

_LANGUAGES: Final = {"DK": "æø", "SE": "äö", "FI": "yy", "DE": "ß"}


@dataclass(slots=True)
class Proposal:
    """A profile that would read the export, and how sure each part of it is.

    Attributes:
        toml: the profile, every line commented.
        sureness: of the least sure line that matters.
        columns: our name to what was found.
        questions: what a person has to decide.
    """

    toml: str
    sureness: Sureness
    columns: dict[str, Finding]
    questions: list[str] = field(default_factory=list)


def propose(look: FileLook, *, name: str, reference: Reference) -> Proposal:
    """A profile for exports like this one.

    Args:
        look: at its start.
        name: for the profile.
        reference: country outlines, which tell reference systems apart.
    """
    return _Proposer(look, name, reference).proposal()


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the sample."""

    at: int
    header: str
    values: pl.Series
    """Trimmed, without empty ones."""

    @property
    def words(self) -> list[str]:
        """Its different values, the most frequent first."""
        counts = self.values.value_counts(sort=True)
        return [str(value) for value in counts.to_series(0).to_list()]

    @property
    def distinct_share(self) -> float:
        return self.values.n_unique() / self.values.len() if self.values.len() else 0.0


class _Proposer:
    def __init__(self, look: FileLook, name: str, reference: Reference) -> None:
        self.look, self.name, self.reference = look, name, reference
        self.columns = [
            _Column(at, header, _texts(look.rows[str(at)])) for at, header in enumerate(look.headers)
        ]
        self.taken: dict[str, tuple[_Column, Finding]] = {}
        self.questions: list[str] = []
        self.scheme: Finding | None = None
        self.country: Finding = Finding("NO", GUESS, "")
        self.normalise: tuple[str, ...] = ()
        self.decimal = "."
        self.coordinates: tuple[Finding, tuple[str, str]] | None = None

    def proposal(self) -> Proposal:
        if not self.look.rows.height:
            self.questions.append(
                "No row could be read, so this rests on the headers alone: is there a file with rows? A quote that "
                "opens and never closes swallows all of them."
            )
        self._find_meter_points()
        self._find_country()
        self._find_coordinates()
        for name in (
            "parent_meter_point",
            "metering_location",
            "resource_type",
            "resource",
            "protected",
            "status",
        ):
            self._take_by_header(name)
        self._find_location_type()
        self._find_user()
        self._take_by_header("location")
        toml = "\n".join(self._toml()) + "\n"
        matter = [
            finding
            for name, (_, finding) in self.taken.items()
            if name in ("user", "meter_point", "latitude")
        ]
        least = [self.country.sureness, self.look.encoding.sureness, self.look.separator.sureness]
        least += [finding.sureness for finding in matter]
        if self.coordinates:
            least.append(self.coordinates[0].sureness)
        if "user" not in self.taken:
            least.append(GUESS)
        sureness = max(least, key=list(Sureness).index)
        return Proposal(
            toml, sureness, {name: finding for name, (_, finding) in self.taken.items()}, self.questions
        )

    # -------------------------------------------------------------- taking columns
    def _free(self) -> list[_Column]:
        used = {column.at for column, _ in self.taken.values()}
        return [column for column in self.columns if column.at not in used and column.header]

    def _take(self, name: str, column: _Column, sureness: Sureness, why: str) -> None:
        self.taken[name] = (column, Finding(column.header, sureness, why))

    def _named(self, name: str) -> list[_Column]:
        """Free columns with a header known for `name`, those whose header only contains a known word last."""
        exact = [column for column in self._free() if folded(column.header) in HEADERS[name]]
        return exact or [column for column in self._free() if self._contains(name, column.header)]

    def _contains(self, name: str, header: str) -> bool:
        """Whether one of the header's parts is a word for `name` and for nothing else."""
        parts = [folded(part) for part in re.split(r"[\s_.:/()\-]+", header) if len(part) > 3]
        known_as = {other for other, words in HEADERS.items() if folded(header) in words}
        return not known_as and any(part in HEADERS[name] for part in parts)

    def _take_by_header(self, name: str) -> None:
        for column in self._named(name):
            sure = LIKELY if folded(column.header) in HEADERS[name] else GUESS
            self._take(name, column, sure, "By its header.")
            return

    # -------------------------------------------------------------- meter points
    def _find_meter_points(self) -> None:
        best: tuple[float, _Column, MeterPointScheme, tuple[str, ...]] | None = None
        for column in self.columns:
            if folded(column.header) in SERIALS | HEADERS["parent_meter_point"] or not column.values.len():
                continue
            bonus = 0.05 if folded(column.header) in HEADERS["meter_point"] else 0.0
            for scheme in SCHEMES.values():
                share, undoings = _fit(column.values, scheme)
                if share >= (HALF if bonus else MOST) and (best is None or share + bonus > best[0] + 1e-9):
                    best = (share + bonus, column, scheme, undoings)
        if best is None:
            self._meter_points_by_header()
            return
        _, column, scheme, self.normalise = best
        checked = _checked(column.values, scheme, self.normalise)
        is_named = folded(column.header) in HEADERS["meter_point"]
        fit = _fit(column.values, scheme)[0]
        proven = checked is not None and min(checked, fit) >= MOST and scheme.prefix is not None
        what = f"{_percent(fit)} of its values look like {scheme.called} ({scheme.name})"
        what += "" if checked is None else f", {_percent(checked)} with a correct check digit"
        self._take("meter_point", column, SURE if proven and is_named else LIKELY, what + ".")
        self.scheme = Finding(scheme.name, SURE if proven else LIKELY, what + ".")
        if fit < MOST:
            self.questions.append(
                f'Only {_percent(fit)} of the values of "{column.header}" are whole ids: what has happened to the rest?'
            )
        if checked is not None and checked < MOST:
            self.questions.append(
                f'Only {_percent(checked)} of the ids in "{column.header}" have a correct check digit: is it the '
                "right column, and has a spreadsheet been at it?"
            )

    def _meter_points_by_header(self) -> None:
        for column in self._named("meter_point"):
            if not column.values.len():
                self._take("meter_point", column, GUESS, "By its header; it holds no value.")
                return
            self._take("meter_point", column, GUESS, "By its header; its values fit no scheme we know.")
            self.questions.append(
                f'The values of "{column.header}" fit no scheme of meter point ids: are they meter point ids, and '
                "still whole?"
            )
            return

    def _find_country(self) -> None:
        if self.scheme is not None:
            self.country = Finding(
                self.scheme.value.partition("-")[0], self.scheme.sureness, "By its meter points."
            )
            return
        text = "".join(self.look.headers).casefold()
        for country, letters in _LANGUAGES.items():
            if any(pair in text for pair in ([letters] if country == "FI" else letters)):
                self.country = Finding(country, GUESS, "By the letters of the headers.")
                break
        else:
            self.country = Finding("NO", GUESS, "Nothing tells.")
        self.questions.append("Which country are the meter points in?")

    # -------------------------------------------------------------- coordinates
    def _find_coordinates(self) -> None:
        numeric = {
            column.at: read for column in self._free() if (read := _numbers(column.values)) is not None
        }
        norths = [column for column in self._named("latitude") if column.at in numeric]
        easts = [column for column in self._named("longitude") if column.at in numeric]
        if not norths or not easts:
            return
        first, second = norths[0], easts[0]
        self.decimal = "," if "," in (numeric[first.at][1], numeric[second.at][1]) else "."
        crs, swapped = self._system(first, second)
        if crs is None:
            self.questions.append(
                f'"{first.header}" and "{second.header}" are named like coordinates, but their values fit no '
                "reference system we know."
            )
            return
        axes = ("latitude", "longitude") if crs.value in GEOGRAPHIC else ("northing", "easting")
        if swapped:
            axes = (axes[1], axes[0])
        self.coordinates = (crs, axes)
        self._take("latitude", first, crs.sureness, f"By its header; it holds the {axes[0]}.")
        self._take("longitude", second, crs.sureness, f"By its header; it holds the {axes[1]}.")

    def _system(self, first: _Column, second: _Column) -> tuple[Finding | None, bool]:
        """The reference system, and whether the columns hold east before north."""
        pairs = self._pairs(first, second)
        for swapped, (north, east) in ((False, pairs), (True, pairs[::-1])):
            found = self._best_system(north, east)
            if found is not None:
                if swapped:
                    self.questions.append(
                        f'"{first.header}" holds what "{second.header}" should, and the other way round: the axes '
                        "are proposed as the values say."
                    )
                return found, swapped
        return None, False

    def _pairs(self, first: _Column, second: _Column) -> tuple[np.ndarray, np.ndarray]:
        both = self.look.rows.select(
            number(pl.col(str(column.at)).str.strip_chars(), self.decimal).alias(role)
            for role, column in (("first", first), ("second", second))
        ).drop_nulls()
        both = both.filter((pl.col("first") != 0) & (pl.col("second") != 0))
        return both["first"].to_numpy(), both["second"].to_numpy()

    def _best_system(self, north: np.ndarray, east: np.ndarray) -> Finding | None:
        if not len(north):
            return None
        country = self.country.value
        if _share_between(north, (-90, 90)) >= MOST and _share_between(east, (-180, 180)) >= MOST:
            inside = self._share_inside(north, east)
            if inside is None or inside >= 0.5:
                told = "" if inside is None else f", {_percent(inside)} of them within {country}"
                return Finding("EPSG:4326", SURE if inside else LIKELY, f"The values are degrees{told}.")
            return None
        return self._projected(north, east)

    def _projected(self, north: np.ndarray, east: np.ndarray) -> Finding | None:
        country = self.country.value
        scores: list[tuple[float, str]] = []
        for code, countries, easts, norths in PROJECTED:
            fits = country in countries
            if not fits or min(_share_between(east, easts), _share_between(north, norths)) < MOST:
                continue
            longitude, latitude = to_degrees(code).transform(east, north)
            scores.append((self._share_inside(np.asarray(latitude), np.asarray(longitude)) or 0.0, code))
        if not scores:
            return None
        best = max(scores)
        others = [code for share, code in scores if code != best[1] and share > best[0] - 0.1]
        why = f"Read so, {_percent(best[0])} of the points lie within {country}"
        if others:
            self.questions.append(
                f"Is the reference system {best[1]} or {' or '.join(others)}? The values fit both."
            )
            return Finding(best[1], GUESS, f"{why}; {', '.join(others)} fits too.")
        return Finding(best[1], LIKELY if best[0] >= MOST else GUESS, why + ".")

    def _share_inside(self, latitude: np.ndarray, longitude: np.ndarray) -> float | None:
        """Share of the points on or near land of the country; None where we have no outline of it."""
        within = PARTS_OF.get(self.country.value, (self.country.value,))
        known = [part for part in within if part in self.reference.countries]
        land = land_within(known, self.reference) if known else None
        if land is None:
            return None
        points = pl.DataFrame({"latitude": latitude, "longitude": longitude}).filter(
            pl.col("latitude").is_finite() & pl.col("longitude").is_finite()
        )
        near = points.select(land.km_off(pl.col("latitude"), pl.col("longitude")) <= 5).to_series()
        return float(near.sum()) / len(latitude)

    # -------------------------------------------------------------- customers, homes, words
    def _find_user(self) -> None:
        named = [column for column in self._named("user") if not _is_personal(column.values)]
        for column in named:
            self._take("user", column, LIKELY, "By its header.")
            return
        for column in self._named("user"):
            self.questions.append(
                f'"{column.header}" is named like the customer number, but holds mail addresses or names: which '
                "column tells customers apart?"
            )
        ids = [
            column for column in self._free()
            if column.distinct_share > 0.2 and _share_matching(column.values, r"^[A-Za-z]{0,4}[0-9]{4,}$") >= MOST
            and folded(column.header) not in SERIALS
            and not any(folded(column.header) in words for words in ADDRESS.values())
        ]  # fmt: skip
        if ids:
            self._take("user", ids[0], GUESS, "By its values, which look like numbers of customers.")
        self.questions.append("Which column tells customers apart?")

    def _find_location_type(self) -> None:
        known = frozenset().union(*LOCATION_WORDS.values())
        for column in [*self._named("location_type"), *self._free()]:
            words = column.words
            if not words or len(words) > FEW_WORDS:
                continue
            share = sum(folded(word) in known for word in words) / len(words)
            if share >= 0.5 and folded(column.header) in HEADERS["location_type"]:
                self._take(
                    "location_type", column, SURE, f"By its header and {_percent(share)} of its words."
                )
                return
            if share == 1.0 and len(words) > 1:
                self._take("location_type", column, LIKELY, "By its words.")
                return
        self._take_by_header("location_type")

    # -------------------------------------------------------------- the text
    def _toml(self) -> Iterator[str]:
        look = self.look
        name = _printable(look.name)
        yield f"# Proposed from {look.rows.height} rows of {name}. Read every line before you load anything by it:"
        yield "# sure = the file itself says so; likely = it fits; guess = somebody must know."
        for question in self.questions:
            yield f"# QUESTION: {_printable(question)}"
        yield f"name = {_quoted(self.name)}"
        yield _line("country", self.country.value, self.country)
        yield ""
        yield "[export]"
        yield 'kind = "delta"            # "full" when every export holds every customer: what is missing has vanished'
        if self._is_of_resources():
            yield 'of = "resources"          # likely: it names units and users, and says nothing else of homes'
        yield from self._file_table()
        yield from self._columns_table()
        yield from self._identity_table()
        yield from self._meter_point_table()
        yield from self._coordinates_table()
        yield from self._values_tables()
        yield from self._protect_table()
        yield from self._keep_table()

    def _is_of_resources(self) -> bool:
        return "resource" in self.taken and not {"latitude", "location_type", "protected"} & set(self.taken)

    def _file_table(self) -> Iterator[str]:
        look = self.look
        yield from ("", "[file]", f"match = {_quoted(look.match)}")
        if look.container == "parquet":
            yield 'format = "parquet"'
            return
        yield 'format = "csv"'
        yield _line("encoding", look.encoding.value, look.encoding)
        yield _line("separator", look.separator.value, look.separator)
        if self.coordinates:
            yield f"decimal = {_quoted(self.decimal)}"
        if look.quote != '"':
            yield f"quote = {_quoted(look.quote)}"
        if look.newline is not None:
            yield f"newline = {_quoted(look.newline)}            # sure: no line ends with LF"
        if look.header_line != 1:
            yield f"header_line = {look.header_line}"
        if look.footer_lines:
            yield f"footer_lines = {look.footer_lines}          # likely: the last lines look like totals"
        if look.open_end:
            yield 'last_line = "open"        # guess: the last line has no line end; or is the file cut?'
        if look.multiline:
            yield f"multiline = {_listed(look.multiline)}    # sure: quoted line breaks were seen there"
        if look.entries:
            yield f"member = {_quoted(look.entries[0])}    # guess: the largest of {len(look.entries)} files in the zip"

    def _columns_table(self) -> Iterator[str]:
        yield from ("", "[columns]")
        if "user" not in self.taken:
            yield 'user = "?"                # QUESTION: write the header of the column that tells customers apart'
        order = [name for name in HEADERS if name in self.taken]
        for name in order:
            column, finding = self.taken[name]
            yield _line(name, column.header, finding)
        rest = [column.header for column in self._free()]
        if rest:
            yield f"# Not read: {', '.join(_printable(header) for header in rest)}"

    def _identity_table(self) -> Iterator[str]:
        yield from ("", "[identity]", 'ids = "hmac"')
        if "location" in self.taken or self._is_of_resources():
            return
        address = [
            column.header for kind in ("street", "number", "postcode") for column in self._free()
            if folded(column.header) in ADDRESS[kind]
        ]  # fmt: skip
        if address:
            yield "# No column tells homes apart, so each meter point is one. To take a customer's address instead:"
            yield f"# location_from = {_listed(['user', *address])}"

    def _meter_point_table(self) -> Iterator[str]:
        if self.scheme is None:
            return
        yield from ("", "[meter_point]", _line("scheme", self.scheme.value, self.scheme))
        if SCHEMES[self.scheme.value].gas:
            yield 'carrier = "electricity"   # gas points are left out and counted'
        if self.normalise:
            yield f"normalise = {_listed(self.normalise)}    # likely: undone, more of the ids are whole"

    def _coordinates_table(self) -> Iterator[str]:
        if self.coordinates is None:
            return
        crs, axes = self.coordinates
        yield from ("", "[coordinates]", _line("crs", crs.value, crs))
        if axes != ("latitude", "longitude"):
            yield f"axes = {_listed(axes)}    # what the two columns hold, in their order"

    def _values_tables(self) -> Iterator[str]:
        meanings: Sequence[tuple[str, Mapping[str, frozenset[str]], str]] = (
            ("location_type", LOCATION_WORDS, "Residential, Commercial, Other, Unknown"),
            ("resource_type", RESOURCE_WORDS, ", ".join(RESOURCE_WORDS)),
        )
        for name, known, choices in meanings:
            if name not in self.taken:
                continue
            words = self.taken[name][0].words
            yield from ("", f"[values.{name}]")
            if len(words) > FEW_WORDS:
                yield f"# {len(words)} different words were seen. Each of them must be one of {choices}."
                continue
            for word in words:
                meaning = next((api for api, theirs in known.items() if folded(word) in theirs), None)
                if meaning is not None:
                    yield f"{_quoted(word)} = {_quoted(meaning)}"
                elif word not in choices.split(", "):
                    yield f'# {_quoted(word)} = "?"    # QUESTION: one of {choices}'

    def _protect_table(self) -> Iterator[str]:
        if "protected" not in self.taken:
            return
        words = self.taken["protected"][0].words
        protecting = [word for word in words if folded(word) in YES][:FEW_WORDS] or self._usual_yes()
        yield from ("", "[protect]")
        yield f"values = {_listed(protecting)}    # likely: rows with these values go without coordinates"
        yield 'action = "no-coordinates"'

    def _usual_yes(self) -> list[str]:
        """What protects a row, where the sample holds only the word for the opposite."""
        words = {folded(word) for word in self.taken["protected"][0].words}
        known = [yes for no, yes in _OPPOSITES if no in words]
        return known[:1] or ["Ja", "J", "true", "1"]

    def _keep_table(self) -> Iterator[str]:
        if "status" not in self.taken:
            return
        words = self.taken["status"][0].words
        active = [word for word in words if folded(word) in ACTIVE]
        yield ""
        if active and len(words) <= FEW_WORDS:
            yield "[keep]"
            yield f"status = {_listed(active)}    # likely: rows with another status are counted as filtered"
        else:
            yield "# QUESTION: which statuses are customers? Rows with any other are counted as filtered."
            yield "# [keep]"
            yield f"# status = {_listed(words[:FEW_WORDS] if len(words) <= FEW_WORDS else [])}"


# ------------------------------------------------------------------ what values look like
def _texts(values: pl.Series) -> pl.Series:
    trimmed = values.str.strip_chars()
    return trimmed.filter(trimmed.is_not_null() & (trimmed != ""))


def _fit(values: pl.Series, scheme: MeterPointScheme) -> tuple[float, tuple[str, ...]]:
    """Share of the values that are ids of the scheme, and the undoings that raise it."""
    plain = _share_of(values, scheme)
    undone, counts = normalised(values, scheme, UNDOINGS)
    share = _share_of(undone, scheme)
    if share <= plain:
        return plain, ()
    return share, tuple(name for name in UNDOINGS if counts[name])


def _share_of(values: pl.Series, scheme: MeterPointScheme) -> float:
    ids = pl.select(scheme.form.well_formed(pl.lit(values))).to_series()
    right = pl.select(pl.lit(ids).is_not_null() & scheme.has_prefix(pl.lit(ids))).to_series()
    return float(right.fill_null(value=False).sum()) / values.len()


def _checked(values: pl.Series, scheme: MeterPointScheme, undoings: tuple[str, ...]) -> float | None:
    """Share of the ids with a correct check digit; None where the scheme has none."""
    if scheme.check_digit is None:
        return None
    undone, _ = normalised(values, scheme, undoings)
    ids = pl.select(scheme.form.well_formed(pl.lit(undone))).to_series().drop_nulls()
    return float(pl.select(scheme.check_digit.is_valid(pl.lit(ids))).to_series().mean() or 0.0)  # type: ignore[arg-type]


def _numbers(values: pl.Series) -> tuple[float, str] | None:
    """Share of the values that are numbers, and with which decimal sign; None when most are not."""
    if not values.len():
        return None
    shares = []
    for decimal in (".", ","):
        read = pl.select(number(pl.lit(values), decimal)).to_series()
        shares.append((float(read.is_not_null().sum()) / values.len(), decimal))
    best = max(shares, key=lambda entry: entry[0])
    return best if best[0] >= MOST else None


def _share_between(values: np.ndarray, bounds: tuple[float, float]) -> float:
    return float(((values >= bounds[0]) & (values <= bounds[1])).mean())


def _share_matching(values: pl.Series, pattern: str) -> float:
    return float(values.str.contains(pattern).sum()) / values.len() if values.len() else 0.0


def _is_personal(values: pl.Series) -> bool:
    """Whether most values are mail addresses, or words with a blank between them, as names are."""
    tests: Sequence[Callable[[pl.Series], float]] = (
        lambda texts: _share_matching(texts, r"^[^@\s]+@[^@\s]+\.[a-zA-Z]+$"),
        lambda texts: _share_matching(texts, r"^\p{L}[\p{L}'.-]+( \p{L}[\p{L}'.-]+)+$"),
    )
    return any(test(values) > 0.5 for test in tests)


# ------------------------------------------------------------------ spelling TOML
def _quoted(text: str) -> str:
    """A TOML basic string in which everything can be seen: a mark of byte order inside a name is written out."""
    written = json.dumps(text, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else f"\\U{ord(sign):08x}" for sign in written)


def _listed(texts: Sequence[str]) -> str:
    return "[" + ", ".join(_quoted(text) for text in texts) + "]"


def _line(key: str, value: str, finding: Finding) -> str:
    return f"{f'{key} = {_quoted(value)}':<25} # {finding.sureness}: {_printable(finding.why)}"


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share in (0.0, 1.0) or 0.005 <= share < 0.995 else f"{share:.1%}"
