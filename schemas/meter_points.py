"""The registry of meter point ids: one entry per scheme, and nothing about a scheme anywhere else.

An entry says what a well-formed id is, which prefix it has, how its check digit works, how severe a wrong one
is, and what is often found in its place. The rules of `schemas/rules/` are built from it. To add a scheme, add
an entry to `SCHEMES` and its name to `schemas/profile.py` (`Scheme`).

A well-formed id (`well_formed`) is its number (UInt64) for schemes of digits, its text for the others, and null
for anything else, so that everything after it is arithmetic. Digits are `[0-9]` only: full-width ones are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import polars as pl

from schemas import check_digits
from schemas.profile import Normalisation

Severity = Literal["quarantine", "warn"]


class Form(Protocol):
    """What a well-formed id looks like."""

    @property
    def sentence(self) -> str:
        """For people."""
        ...

    def well_formed(self, text: pl.Expr) -> pl.Expr:
        """The id ready for arithmetic (or its text); null where it is not well formed."""
        ...

    def starts_with(self, well_formed: pl.Expr, prefix: str) -> pl.Expr:
        """Whether a well-formed id has this prefix."""
        ...


@dataclass(frozen=True, slots=True)
class Number:
    """Exactly `length` digits, the first of which is not 0. Held as UInt64: 18 digits fit."""

    length: int

    @property
    def sentence(self) -> str:
        """For people."""
        return f"exactly {self.length} digits 0-9, the first not 0"

    def well_formed(self, text: pl.Expr) -> pl.Expr:
        """The number. A sign would leave one digit too few for the lower bound."""
        number = text.cast(pl.UInt64, strict=False)
        lowest = 10 ** (self.length - 1)
        fits = (text.str.len_bytes() == self.length) & (number >= lowest)
        return pl.when(fits).then(number)

    def starts_with(self, well_formed: pl.Expr, prefix: str) -> pl.Expr:
        """By dividing the rest away."""
        begins: pl.Expr = well_formed // 10 ** (self.length - len(prefix)) == int(prefix)
        return begins


@dataclass(frozen=True, slots=True)
class Text:
    """Whatever a regular expression describes, anchored at both ends."""

    pattern: str
    sentence: str

    def well_formed(self, text: pl.Expr) -> pl.Expr:
        """The text itself."""
        return pl.when(text.str.contains(self.pattern)).then(text)

    def starts_with(self, well_formed: pl.Expr, prefix: str) -> pl.Expr:
        """By comparing."""
        return well_formed.str.starts_with(prefix)


@dataclass(frozen=True, slots=True)
class Prefix:
    """What ids of the scheme begin with. `of` says whose numbers these are."""

    beginnings: tuple[str, ...]
    of: str
    severity: Severity = "quarantine"


@dataclass(frozen=True, slots=True)
class CheckDigit:
    """How the check digit is worked out. `sandbox` and `production` are what a wrong one does there."""

    sentence: str
    is_valid: Callable[[pl.Expr], pl.Expr]
    sandbox: Severity = "warn"
    production: Severity = "quarantine"


@dataclass(frozen=True, slots=True)
class LookAlike:
    """Something that is often found where a meter point id should be.

    Attributes:
        rule: true of a row that does not have it.
        is_it: what it is, for people.
        cure: what to do about it.
        pattern: regular expression it matches in most schemes; empty where a scheme must say.
        undone_by: the normalisation that undoes it where the profile asks for that.
        source: where this was seen.
    """

    rule: str
    is_it: str
    cure: str
    source: str
    pattern: str = ""
    undone_by: Normalisation | None = None


HIDDEN = "\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
"""Characters that take no room on paper, as the inside of a character class."""
BLANKS = "\t \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
"""Blanks of every width, likewise; line breaks are not among them."""

LOOK_ALIKES = {
    look_alike.rule: look_alike
    for look_alike in (
        LookAlike(
            "meter_point_id_is_not_in_exponent_form",
            "a number as spreadsheets show it (7.07058E+17): every digit after the first few is lost",
            "Export again from the source system with the column as text; the lost digits cannot be restored.",
            "https://support.microsoft.com/kb/269370",
            r"^[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]{1,3}$",
        ),
        LookAlike(
            "meter_point_id_is_not_a_decimal_number",
            "a number with a decimal part, as a table of numbers writes it",
            "Export the column as text.",
            "IEEE 754: floating-point numbers above 2^53 skip whole numbers (by 64 or 128 at 18 digits)",
            r"^[0-9]+[.,][0-9]*$",
        ),
        LookAlike(
            "meter_point_id_is_not_spreadsheet_text",
            'an id in a spreadsheet\'s text trick (="…" or an apostrophe in front)',
            'Add "excel-text" or "apostrophe" to [meter_point] normalise.',
            "https://support.microsoft.com/kb/269370",
            r"^(?:=|')",
            "excel-text",
        ),
        LookAlike(
            "meter_point_id_has_no_blanks_or_hidden_characters",
            "an id with blanks or invisible characters in it",
            'Add "blanks" or "zero-width" to [meter_point] normalise.',
            "Unicode 16, categories Zs and Cf",
            f"[{BLANKS}{HIDDEN}]",
            "blanks",
        ),
        LookAlike(
            "meter_point_id_is_not_a_meter_serial",
            "the number printed on the meter, which changes when the meter is swapped; "
            "Swedish ones of 16 digits even begin with 735999",
            "Map the column of the metering point (målepunkt-ID, anläggnings-id, EAN), not that of the meter.",
            "https://beta.nve.no (consumer questions: målernummer and målepunkt-ID)",
            r"^[0-9]{15,16}$",
        ),
        LookAlike(
            "meter_point_id_is_not_a_short_form",
            "the last digits of an id, as people say it on the phone",
            "Export the whole id; which digits are missing is the source system's to say.",
            "https://www.hallingkraft.no; https://gs1.se",
            r"^[0-9]{8}$",
        ),
        LookAlike(
            "meter_point_id_is_not_a_product_code",
            "a 13 digit article number (8716867000030 is the code of electricity as a product)",
            "Map the column of the metering point, not that of the product.",
            "Fingrid Datahub, Tuotteen tyyppi",
            r"^[0-9]{13}$",
        ),
        LookAlike(
            "meter_point_id_is_not_in_bar_code_form",
            "an id behind the bar code's application identifier 8018",
            'Add "ai-8018" to [meter_point] normalise.',
            "https://gs1.se (Identifiera och märka elanläggningar)",
            r"^(?:8018|\(8018\))[0-9]{18}$",
            "ai-8018",
        ),
        LookAlike(
            "meter_point_id_is_not_an_s_number",
            "the 21 digits printed on a British bill: eight of tariff, then the MPAN core",
            'Add "gb-s-number" to [meter_point] normalise.',
            "https://en.wikipedia.org/wiki/Meter_Point_Administration_Number",
            r"^[0-9]{21}$",
            "gb-s-number",
        ),
        LookAlike(
            "meter_point_id_is_not_a_metering_location",
            "a German metering location (MeLo, 33 characters), which is not billed",
            'Map the column of the market location (MaLo), or set [meter_point] scheme = "DE-MeLo".',
            "https://de.wikipedia.org/wiki/Marktlokations-Identifikationsnummer",
            r"^DE[0-9]{11}[0-9A-Z]{20}$",
        ),
        LookAlike(
            "meter_point_id_is_not_a_market_location",
            "a German market location (MaLo, 11 digits)",
            'Map the column of the metering location (MeLo), or set [meter_point] scheme = "DE-MaLo".',
            "https://de.wikipedia.org/wiki/Marktlokations-Identifikationsnummer",
            r"^[1-9][0-9]{10}$",
        ),
        LookAlike(
            "meter_point_id_has_not_lost_a_leading_zero",
            "an id one digit short: its leading zero was lost in a column of numbers",
            "Export the column as text.",
            "PRM may begin with 0; columns of numbers cannot hold that",
        ),
        LookAlike(
            "meter_point_id_is_not_a_gas_point",
            "the point of a gas connection",
            'Leave gas out of the export, or set [meter_point] carrier = "electricity" to filter it.',
            "https://info.skat.dk (oid 2061636); python-stdnum stdnum/es/cups.py",
        ),
    )
}
"""What each look-alike is. A scheme names those that occur in it, with its own pattern where that differs."""

EVERYWHERE = (
    "meter_point_id_is_not_in_exponent_form",
    "meter_point_id_is_not_a_decimal_number",
    "meter_point_id_is_not_spreadsheet_text",
    "meter_point_id_has_no_blanks_or_hidden_characters",
)
"""Look-alikes of every scheme."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterPointScheme:
    """One way of numbering meter points.

    Attributes:
        name: as in `[meter_point] scheme`.
        called: what the country calls such an id.
        look_alikes: rule name to its own pattern; empty: the usual one of `LOOK_ALIKES`.
        gas: prefixes that are gas connections, where that can be told.
        published: ids printed in somebody's documents.
        computed: ids made here to satisfy the check.
    """

    name: str
    called: str
    form: Form
    source: str
    prefix: Prefix | None = None
    check_digit: CheckDigit | None = None
    look_alikes: Mapping[str, str] = field(default_factory=dict)
    gas: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()

    def patterns(self) -> dict[str, str]:
        """Rule name to pattern, of every look-alike that a pattern tells."""
        named = dict.fromkeys(EVERYWHERE, "") | dict(self.look_alikes)
        return {rule: pattern or LOOK_ALIKES[rule].pattern for rule, pattern in named.items()}

    def has_prefix(self, well_formed: pl.Expr) -> pl.Expr:
        """Whether a well-formed id begins as the scheme's ids do; true where no beginning is known."""
        if self.prefix is None:
            return pl.lit(value=True)
        return pl.any_horizontal(
            self.form.starts_with(well_formed, start) for start in self.prefix.beginnings
        )

    def is_gas(self, well_formed: pl.Expr) -> pl.Expr:
        """Whether a well-formed id is a gas connection; false where that cannot be told."""
        if not self.gas:
            return pl.lit(value=False)
        return pl.any_horizontal(self.form.starts_with(well_formed, start) for start in self.gas)


# ------------------------------------------------------------------ families
GSRN = Number(18)
GS1 = CheckDigit("GS1 modulo 10, weights 3 and 1 from the right", check_digits.gs1)
GS1_UNSURE = CheckDigit(
    "GS1 modulo 10 by construction; no primary text says so, hence a warning only",
    check_digits.gs1,
    production="warn",
)
GSRN_LOOK_ALIKES = dict.fromkeys(
    (
        "meter_point_id_is_not_a_meter_serial",
        "meter_point_id_is_not_a_short_form",
        "meter_point_id_is_not_a_product_code",
        "meter_point_id_is_not_in_bar_code_form",
    ),
    "",
)


def _metering_code(country: str) -> Text:
    """33 characters: country, network operator (6), postcode (5), 20 letters or digits."""
    return Text(
        rf"^{country}[0-9]{{11}}[0-9A-Z]{{20}}$", f"{country}, 11 digits, then 20 capital letters or digits"
    )


_MOD_529 = CheckDigit("the 16 digits modulo 529, as two letters", check_digits.mod_529)

SCHEMES: Mapping[str, MeterPointScheme] = {
    scheme.name: scheme
    for scheme in (
        MeterPointScheme(
            name="NO",
            called="målepunkt-ID",
            form=GSRN,
            prefix=Prefix(("7070575",), "the Norwegian meter points (70, then Elhub's 70575)"),
            check_digit=GS1,
            look_alikes=GSRN_LOOK_ALIKES,
            source="https://www.gs1.no/kort-om-malepunkt-id; https://dok.elhub.no",
            published=(
                "707057500068553617",
                "707057500053285691",
                "707057500063144742",
                "707057500052416676",
                "707057500010206103",
            ),
        ),
        MeterPointScheme(
            name="DK",
            called="målepunkts-ID",
            form=GSRN,
            prefix=Prefix(("571313", "571515"), "the Danish electricity (571313) and gas (571515) points"),
            check_digit=GS1,
            look_alikes=GSRN_LOOK_ALIKES,
            gas=("571515",),
            source="https://info.skat.dk/data.aspx?oid=2061636",
            computed=(
                "571313100000000003",
                "571313174000000011",
                "571313180100000004",
                "571313999999999999",
                "571313246400123451",
            ),
        ),
        MeterPointScheme(
            name="SE",
            called="anläggnings-id",
            form=GSRN,
            prefix=Prefix(("735999",), "the Swedish installations"),
            check_digit=GS1,
            look_alikes=GSRN_LOOK_ALIKES,
            source="https://gs1.se (Identifiera och märka elanläggningar)",
            published=("735999109151401011", "735999109270751042"),
            computed=("735999100000000010", "735999000000000013", "735999119000123452"),
        ),
        MeterPointScheme(
            name="FI",
            called="käyttöpaikkatunnus",
            form=GSRN,
            # Usually 643, but Fingrid's own example begins with 645: 640 to 649 are GS1 Finland's.
            prefix=Prefix(("64",), "GS1 Finland", severity="warn"),
            check_digit=GS1,
            look_alikes=GSRN_LOOK_ALIKES | {"meter_point_id_is_not_a_short_form": r"^[0-9A-Z]{5,9}$"},
            source="https://wiki.docs.datahub.fi (General elements); https://www.ese.fi",
            published=("645823734848458216",),
            computed=(
                "643000000000000016",
                "643007127000000013",
                "643006966000000019",
                "643003825000000012",
            ),
        ),
        MeterPointScheme(
            name="NL",
            called="EAN-18",
            form=GSRN,
            prefix=Prefix(("87",), "GS1 Nederland"),
            check_digit=GS1_UNSURE,
            look_alikes=GSRN_LOOK_ALIKES,
            source="https://www.overstappen.eu; https://www.ffcheck.nl",
            computed=(
                "871687000000000016",
                "871687100000123453",
                "871694800000000012",
                "871689000000001233",
                "871234567890123451",
            ),
        ),
        MeterPointScheme(
            name="BE",
            called="EAN-18",
            form=GSRN,
            prefix=Prefix(("5414",), "the Belgian network operators"),
            check_digit=GS1_UNSURE,
            look_alikes=GSRN_LOOK_ALIKES,
            source="https://www.ores.be",
            computed=(
                "541448000000000011",
                "541448920000123452",
                "541449600000000128",
                "541448812000001239",
                "541456000000000010",
            ),
        ),
        MeterPointScheme(
            name="GB",
            called="MPAN core",
            form=Number(13),
            # 10 to 23 are the regions, newer licensees follow: only what lies below and above is certain.
            prefix=Prefix(("1", "2", "3"), "a distributor (10 to 23, and newer licensees)", severity="warn"),
            check_digit=CheckDigit("weighted sum by primes, modulo 11, modulo 10", check_digits.mpan),
            look_alikes={
                "meter_point_id_is_not_an_s_number": "",
                "meter_point_id_is_not_a_gas_point": r"^[0-9]{6,10}$",
            },
            source="https://en.wikipedia.org/wiki/Meter_Point_Administration_Number",
            computed=("1000000000012", "1200012345679", "1400123456786", "2000050773706", "2200999999999"),
        ),
        MeterPointScheme(
            name="DE-MaLo",
            called="MaLo-ID",
            form=Number(11),
            check_digit=CheckDigit(
                "odd places once, even places twice, up to the next ten", check_digits.malo
            ),
            look_alikes={"meter_point_id_is_not_a_metering_location": ""},
            source="https://de.wikipedia.org/wiki/Marktlokations-Identifikationsnummer",
            published=("41373559241", "48662918097"),
            computed=("50000000005", "91234567891", "10000000017"),
        ),
        MeterPointScheme(
            name="DE-MeLo",
            called="MeLo-ID (Zählpunktbezeichnung)",
            form=_metering_code("DE"),
            look_alikes={"meter_point_id_is_not_a_market_location": ""},
            source="BDEW MeteringCode, page 9 (quoted at https://de-academic.com/dic.nsf/dewiki/2639667)",
            published=("DE00056266802AO6G56M11SN51G21M24S",),
        ),
        MeterPointScheme(
            name="AT",
            called="Zählpunktbezeichnung",
            form=_metering_code("AT"),
            source="https://oesterreichsenergie.at; https://www.wienernetze.at",
            published=("AT008100080100O6G56M11SN51G21M24S",),
        ),
        MeterPointScheme(
            name="CH",
            called="Messpunktbezeichnung",
            form=_metering_code("CH"),
            source="https://malo-generator.de (Europa-Vergleich)",
            computed=("CH008100080100O6G56M11SN51G21M24S",),
        ),
        MeterPointScheme(
            name="FR",
            called="PRM (PDL, RAE)",
            form=Text(r"^[0-9]{14}$", "exactly 14 digits 0-9"),
            look_alikes={"meter_point_id_has_not_lost_a_leading_zero": r"^[0-9]{13}$"},
            source="https://opera-energie.com (no public check rule found)",
            computed=("12345678901234", "01234567890123"),
        ),
        MeterPointScheme(
            name="IT",
            called="POD",
            form=Text(
                r"^IT[0-9]{3}E[0-9]{8}[0-9A-Z]?$",
                "IT, 3 digits, E, 8 digits, and perhaps one more letter or digit",
            ),
            source="https://it.wikipedia.org/wiki/Point_of_delivery",
            published=("IT123E12345678",),
            computed=("IT123E123456789",),
        ),
        MeterPointScheme(
            name="ES",
            called="CUPS",
            form=Text(
                r"^ES[0-9]{16}[A-Z]{2}(?:[0-9][FPRCXYZ])?$",
                "ES, 16 digits, 2 letters, and perhaps a digit and one of FPRCXYZ",
            ),
            check_digit=_MOD_529,
            source="https://github.com/arthurdejong/python-stdnum (stdnum/es/cups.py)",
            published=("ES1234123456789012JY", "ES1234123456789012JY1F"),
            computed=(
                "ES0021000000000001RK",
                "ES0031123456789012BF",
                "ES0022999999999999NE",
                "ES0028000000012345WJ",
            ),
        ),
        MeterPointScheme(
            name="PT",
            called="CPE",
            form=Text(r"^PT[0-9]{16}[A-Z]{2}$", "PT, 16 digits, 2 letters"),
            check_digit=_MOD_529,
            source="https://poupaenergia.pt; https://github.com/imhugofonseca/portuguese-utils",
            computed=(
                "PT0002000000000001BG",
                "PT0002000012345678MV",
                "PT0001123456789012MP",
                "PT0003000000000001QV",
                "PT0002999999999999QS",
            ),
        ),
    )
}
"""Every scheme a profile may name."""
