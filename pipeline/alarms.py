"""Column alarms: when a whole column is damaged, no verdict on its rows can be believed and the file stops.

A spreadsheet that cut every id to fifteen digits leaves a tenth of them with a right check digit. So before any
row verdict counts, the columns are looked at as a whole. Alarms tell file, column, share and cure, never a value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from pipeline.sketch import DistinctCount, hashes
from pipeline.validation import QUARANTINE, Judged
from schemas import rules
from schemas.errors import ColumnAlarm
from schemas.meter_points import EVERYWHERE, LOOK_ALIKES, Number
from schemas.rules import Rulebook

EXPONENTS: Final = 0.01
"""Share of exponents in an id column above which a spreadsheet has been at work on all of it."""
ENDING_000: Final = 0.05
"""Share of ids ending in 000; honest ids do in one of a thousand."""
DIVISIBLE_BY_64: Final = 0.20
"""Share of 18 digit ids divisible by 64; honest ids are in one of 64, those held as floating point all are."""
MALFORMED: Final = 0.50
"""Share of malformed ids above which the column is another one."""
CUSTOMERS_PER_POINT: Final = 2.0
"""Customers per different meter point above which different points have become one."""
PERSONAL: Final = 0.50
"""Share of birth numbers, or phone numbers that begin with 00: a single one may be a customer number that looks so."""
ADDRESSES: Final = 0.01
"""Share of mail addresses, or of phone numbers that begin with +, which nothing else looks like."""
FEWEST_PERSONAL: Final = 10
"""Matches below which nothing is said."""
DATES_PER_MATCH: Final = 0.05
"""Different dates per birth number; consecutive customer numbers that pass share a few."""
ONE_POINT: Final = 0.10
"""Share of rows at one and the same point above which it is probably nobody's home."""

SAMPLE_ROWS: Final = 1_000
"""Rows, evenly spread over a batch, that the costly looks take: a damaged column is so everywhere."""
LARGEST_EXACT: Final = 2**53
"""Whole numbers above this lose digits as floating point."""

ID_COLUMNS: Final = ("user", "location", "resource", "meter_point")
MISPLACED: Final = (
    rules.OUTSIDE,
    "coordinates_are_not_swapped",
    "coordinates_have_the_right_signs",
    "coordinates_are_degrees_not_metres",
    "coordinates_are_metres_not_degrees",
    "coordinates_are_within_range",
    "coordinates_can_be_converted",
)
"""Rules whose breach puts a point somewhere else than the country."""
_CURE_TEXT: Final = (
    "Export again from the source system with this column as text, and do not open it in a spreadsheet."
)
_CURE_PERSONAL: Final = (
    "Check [columns]: such a column must not become an id. Map the customer number, or leave the column out."
)

MAIL: Final = "mail addresses"
PHONES: Final = "phone numbers"
DIALLED: Final = "phone numbers or customer numbers filled up with zeros"
BIRTHS: Final = "birth numbers"
VEHICLES: Final = "vehicle identification numbers"

_EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
_PHONE = r"^\+[1-9][0-9 ()-]{6,18}$"
_DIALLED = r"^00[1-9][0-9 ()-]{6,18}$"
_VIN = r"^[A-HJ-NPR-Z0-9]{17}$"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is wrong with a column as a whole.

    Attributes:
        name: out of a closed list, for reports and tests.
        stops: whether the file stops; otherwise it is a warning.
    """

    name: str
    message: str
    cure: str
    stops: bool = True


class Alarms:
    """Watches the columns of one export while its batches are judged.

    Args:
        file: display name of the export.
        rulebook: the one its rows are judged by.
        is_correction: whether it holds nothing but rows that were bad: their share then says nothing about a column,
            and only personal data still stops the file.
    """

    def __init__(self, file: str, rulebook: Rulebook, *, is_correction: bool = False) -> None:
        self._file = file
        self._is_correction = is_correction
        self._rulebook = rulebook
        self._counts: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self._points = DistinctCount()
        self._customers = DistinctCount()
        self._personal: dict[str, _Personal] = {}
        self._places: Counter[Any] = Counter()

    # ------------------------------------------------------------------ gathering
    def observe(self, canonical_rows: pl.DataFrame, judged: Judged) -> None:
        """Look at a batch of canonical rows and its verdicts."""
        self._broken.update(dict(judged.violations.group_by("rule").len().iter_rows()))
        for name in (*ID_COLUMNS, "latitude_raw"):
            if name in canonical_rows.columns:
                self._counts[name] += canonical_rows.height - canonical_rows[name].null_count()
        self._sample(_some(canonical_rows))
        if self._rulebook.subject.scheme is not None:
            named = canonical_rows.select("user", "meter_point").drop_nulls("meter_point")
            self._sample_meter_points(_some(named))

    def _sample(self, rows: pl.DataFrame) -> None:
        for name in ID_COLUMNS:
            if name in rows.columns:
                seen = self._personal.setdefault(name, _Personal(self._rulebook.profile.country))
                seen.add(rows[name].drop_nulls())
        if "latitude" in rows.columns:
            places = rows.select("user", "latitude", "longitude").drop_nulls().unique()
            self._places.update(
                dict(places.group_by(pl.struct("latitude", "longitude").hash()).len().iter_rows())
            )

    def _sample_meter_points(self, rows: pl.DataFrame) -> None:
        scheme = self._rulebook.subject.scheme
        if scheme is not None and isinstance(scheme.form, Number):
            ids = rows.select(scheme.form.well_formed(pl.col("meter_point"))).to_series().drop_nulls()
            self._counts["sampled"] += ids.len()
            self._counts["ending_000"] += int((ids % 1000 == 0).sum())
            self._counts["divisible"] += int((ids % 64 == 0).sum())
        if self._rulebook.subject.defines:
            hashed = rows.drop_nulls("user").select(hashes("meter_point"), hashes("user"))
            self._points.add(hashed["meter_point"])
            self._customers.add(hashed["user"])

    # ------------------------------------------------------------------ saying
    def raise_if_damaged(self) -> None:
        """Stop the file when a column of it is damaged.

        Raises:
            ColumnAlarm: the first alarm of the list, naming file, column, share and cure.
        """
        for alarm in self.found():
            if alarm.stops:
                raise ColumnAlarm(alarm.message, cure=alarm.cure)

    def warnings(self) -> tuple[Alarm, ...]:
        """What a person should look at, though the file goes on."""
        return tuple(alarm for alarm in self.found() if not alarm.stops)

    def found(self) -> Iterator[Alarm]:
        """Every alarm, the most telling first."""
        yield from self._personal_data()
        if self._is_correction:
            return
        yield from self._exponents()
        yield from self._cut_or_rounded()
        yield from self._another_column()
        yield from self._check_digits()
        yield from self._explosion()
        yield from self._misplaced()
        yield from self._one_place()

    def _exponents(self) -> Iterator[Alarm]:
        for column in ID_COLUMNS:
            rule = (
                "meter_point_id_is_not_in_exponent_form"
                if column == "meter_point"
                else f"{column}_is_not_in_exponent_form"
            )
            share = self._share(self._broken[rule], self._counts[column])
            if share > EXPONENTS and self._are_many(self._counts[column]):
                yield self._alarm(
                    "exponents",
                    column,
                    f"{_percent(share)} of the ids are in exponent form (7.07E+17): a spreadsheet has cut their digits",
                    _CURE_TEXT,
                )

    def _cut_or_rounded(self) -> Iterator[Alarm]:
        scheme = self._rulebook.subject.scheme
        if scheme is None or not isinstance(scheme.form, Number):
            return
        enough = min(self._rulebook.profile.guards.minimum_rows, SAMPLE_ROWS)
        if self._counts["sampled"] < enough or not self._are_many(self._counts["meter_point"]):
            return
        ending = self._share(self._counts["ending_000"], self._counts["sampled"])
        if ending > ENDING_000:
            yield self._alarm(
                "ending_000",
                "meter_point",
                f"{_percent(ending)} of the ids end in 000, where 0.1 % should: "
                "a spreadsheet has replaced everything after 15 digits by zeros",
                _CURE_TEXT,
            )
        divisible = self._share(self._counts["divisible"], self._counts["sampled"])
        if divisible > DIVISIBLE_BY_64 and 10 ** (scheme.form.length - 1) > LARGEST_EXACT:
            yield self._alarm(
                "rounded",
                "meter_point",
                f"{_percent(divisible)} of the ids are divisible by 64, where 1.6 % should: "
                "they were held as floating-point numbers and their last digits are wrong",
                _CURE_TEXT,
            )

    def _another_column(self) -> Iterator[Alarm]:
        share = self._share(self._broken[rules.FORM], self._counts["meter_point"])
        scheme = self._rulebook.subject.scheme
        if scheme is None or share <= MALFORMED or not self._are_many(self._counts["meter_point"]):
            return
        names = [name for name in LOOK_ALIKES if self._broken[name]]
        likeliest = max(names, key=lambda name: self._broken[name], default=None)
        if likeliest in EVERYWHERE or likeliest is None:
            what, cure = "", "Check [columns] meter_point and [meter_point] scheme."
        else:
            what, cure = f"; most look like {LOOK_ALIKES[likeliest].is_it}", LOOK_ALIKES[likeliest].cure
        if likeliest in EVERYWHERE and likeliest is not None:
            cure = LOOK_ALIKES[likeliest].cure
        yield self._alarm(
            "another_column",
            "meter_point",
            f"{_percent(share)} of the ids are not {scheme.form.sentence}{what}",
            cure,
        )

    def _check_digits(self) -> Iterator[Alarm]:
        rule = self._rulebook.named(rules.CHECK_DIGIT)
        guards = self._rulebook.profile.guards
        checked = self._counts["meter_point"] - self._broken[rules.FORM]
        share = self._share(self._broken[rules.CHECK_DIGIT], checked)
        if rule is None or share <= guards.check_digit or not self._are_many(checked):
            return
        alarm = self._alarm(
            "check_digit",
            "meter_point",
            f"the check digit is wrong in {_percent(share)} of {checked} ids, "
            f"where [guards] check_digit allows {_percent(guards.check_digit)}",
            "Find out where the column was damaged or mixed up; raise [guards] check_digit when the ids are right.",
        )
        yield (
            alarm
            if rule.severity == QUARANTINE
            else Alarm(alarm.name, alarm.message, alarm.cure, stops=False)
        )

    def _explosion(self) -> Iterator[Alarm]:
        points, customers = self._points.estimate(), self._customers.estimate()
        if not self._are_many(self._counts["meter_point"]):
            return
        if points and customers > CUSTOMERS_PER_POINT * points:
            yield self._alarm(
                "explosion",
                "meter_point",
                f"there are {customers / points:,.0f} customers to every different id: many ids have become one",
                _CURE_TEXT,
            )

    def _misplaced(self) -> Iterator[Alarm]:
        placed, guards = self._counts["latitude_raw"], self._rulebook.profile.guards
        if not self._are_many(placed):
            return
        unread = self._share(self._broken["coordinates_are_numbers"], placed)
        if unread > guards.outside_country:
            yield self._alarm(
                "not_numbers",
                "latitude",
                f"{_percent(unread)} of the coordinates are no numbers in the profile's decimal notation",
                "Check [file] decimal and [columns] latitude, longitude.",
            )
        found = {name: self._broken[name] for name in MISPLACED if self._broken[name]}
        share = self._share(sum(found.values()), placed)
        if share > guards.outside_country:
            commonest = max(found, key=lambda name: found[name])
            yield self._alarm(
                "outside_country",
                "latitude",
                f"{_percent(share)} of the points lie outside {', '.join(self._rulebook.profile.coordinates.within)}"
                f", most against the rule {commonest}",
                rules.BY_NAME[commonest].cure,
            )

    def _one_place(self) -> Iterator[Alarm]:
        total, most = sum(self._places.values()), max(self._places.values(), default=0)
        share = self._share(most, total)
        if share > ONE_POINT and self._are_many(total):
            alarm = self._alarm(
                "one_place",
                "latitude",
                f"{_percent(share)} of the customers looked at are at one and the same point",
                "Leave coordinates empty where only the town or country is known.",
            )
            yield Alarm(alarm.name, alarm.message, alarm.cure, stops=False)

    def _personal_data(self) -> Iterator[Alarm]:
        for column, seen in self._personal.items():
            for what, share in seen.found(as_is=self._rulebook.subject.as_is):
                said = f"{_percent(share)} of the values looked at are {what}"
                yield self._alarm("personal_data", column, said, _CURE_PERSONAL)

    def _alarm(self, name: str, column: str, what: str, cure: str) -> Alarm:
        header = self._rulebook.profile.columns.mapped().get(column, column)
        return Alarm(name, f'{self._file}, column "{header}" ({column}): {what}.', cure)

    def _are_many(self, values: int) -> bool:
        """Whether so many values say something of their column."""
        return values >= self._rulebook.profile.guards.minimum_rows

    @staticmethod
    def _share(part: int, whole: int) -> float:
        return part / whole if whole else 0.0


def _some(rows: pl.DataFrame) -> pl.DataFrame:
    """A thousand rows or up to twice as many, evenly spread; all, where there are fewer."""
    return rows.gather_every(max(1, rows.height // SAMPLE_ROWS))


class _Personal:
    """Counts what a sample of an id column looks like, apart from an id."""

    def __init__(self, country: str) -> None:
        self._country = country
        self._values = 0
        self._matches: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()
        self._dates: set[str] = set()

    def add(self, values: pl.Series) -> None:
        """Look at some values; none of them is kept."""
        self._values += values.len()
        for what, pattern in ((MAIL, _EMAIL), (PHONES, _PHONE)):
            self._matches[what] += int(values.str.contains(pattern).sum())
        dialled = values.filter(values.str.contains(_DIALLED))
        self._matches[DIALLED] += dialled.len()
        self._lengths.update(dialled.str.len_chars().to_list())
        vehicles = values.str.contains(_VIN) & values.str.contains("[A-Z]") & values.str.contains("[0-9]{4}$")
        self._matches[VEHICLES] += int(vehicles.sum())
        shape, is_birth_number = _birth_numbers(self._country)
        births = [value for value in values.filter(values.str.contains(shape)) if is_birth_number(value)]
        self._matches[BIRTHS] += len(births)
        self._dates.update(_date_part(value) for value in births)

    def found(self, *, as_is: bool) -> Iterator[tuple[str, float]]:
        """What values are, if it is something personal, and the share that is."""
        for what in (MAIL, PHONES):
            if self._are(what, ADDRESSES):
                yield what, self._share(what)
        if self._are(DIALLED, PERSONAL) and self._vary_in_length() and not self._are(PHONES, ADDRESSES):
            yield PHONES, self._share(DIALLED)
        diverse = len(self._dates) >= DATES_PER_MATCH * self._matches[BIRTHS]
        if self._are(BIRTHS, PERSONAL) and diverse:
            yield BIRTHS, self._share(BIRTHS)
        if as_is and self._are(VEHICLES, PERSONAL):
            yield VEHICLES, self._share(VEHICLES)

    def _are(self, what: str, share: float) -> bool:
        return self._matches[what] >= max(FEWEST_PERSONAL, share * self._values)

    def _share(self, what: str) -> float:
        return self._matches[what] / self._values

    def _vary_in_length(self) -> bool:
        """Whether what begins with 00 is of several lengths: customer numbers are filled up with zeros to one."""
        commonest = max(self._lengths.values(), default=0)
        return self._matches[DIALLED] - commonest >= max(FEWEST_PERSONAL, ADDRESSES * self._values)


def _birth_numbers(country: str) -> tuple[str, Callable[[str], bool]]:
    """Shape and test of a country's birth numbers; the shape spares most values the test."""
    return _BIRTH_NUMBERS.get(country, ("$^", lambda _value: False))


def _date_part(value: str) -> str:
    """The six digits of the date; Swedish numbers of twelve digits begin with the century."""
    digits = re.sub("[^0-9]", "", value)
    return digits[2:8] if len(digits) == 12 else digits[:6]


def _norwegian(value: str) -> bool:
    from stdnum.no import fodselsnummer

    return bool(fodselsnummer.is_valid(value))


def _swedish(value: str) -> bool:
    from stdnum.se import personnummer

    short = value.replace("-", "").replace("+", "")[-10:]
    return bool(personnummer.is_valid(f"{short[:6]}-{short[6:]}"))


def _danish(value: str) -> bool:
    from stdnum.dk import cpr

    # Since 2007 numbers without a right check sum are given out too; as a test of a column it still serves.
    return bool(cpr.is_valid(value)) and cpr.checksum(cpr.compact(value)) == 0


def _finnish(value: str) -> bool:
    from stdnum.fi import hetu

    return bool(hetu.is_valid(value))


_BIRTH_NUMBERS: Final[Mapping[str, tuple[str, Callable[[str], bool]]]] = {
    "NO": (r"^[0-9]{6} ?[0-9]{5}$", _norwegian),
    "SE": (r"^(?:[0-9]{2})?[0-9]{6}[-+]?[0-9]{4}$", _swedish),
    "DK": (r"^[0-9]{6}-?[0-9]{4}$", _danish),
    "FI": (r"^[0-9]{6}[-+A-FU-Y][0-9]{3}[0-9A-Z]$", _finnish),
}


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
