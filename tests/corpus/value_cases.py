"""VA and the damage tables: rows that can be read and must not be sent, and good ones that look bad."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stdnum.no import fodselsnummer

from tests.corpus.case import (
    FIRST_LINE,
    Case,
    cell,
    cells,
    check_digit,
    csv_of,
    gsrn,
    numbered,
    one_bad,
    row,
    rows,
)
from tests.corpus.rules import R

AS_IS = {"identity": {"ids": "as-is"}}
GOOD = gsrn(500)


def _digits(text: str, zero: str) -> str:
    return "".join(chr(ord(zero) + int(sign)) for sign in text)


def _forms() -> Iterator[Case]:
    for length in (1, 8, 11, 13, 16, 17, 19, 22, 32, 40):
        value = (GOOD * 3)[:length]
        yield cell(f"{length} digits", "VA1", "MålepunktID", value, quarantined={R.form})
    for name, value in {
        "a letter O for a zero": "O".join(GOOD.split("0", 1)) if "0" in GOOD else "O" + GOOD[1:],
        "a letter at the end": GOOD[:-1] + "X",
        "full-width digits": _digits(GOOD, "\uff10"),
        "Arabic-Indic digits": _digits(GOOD, "\u0660"),
        "mathematical digits": _digits(GOOD, "\U0001d7ce"),
        "one full-width digit": GOOD[:5] + _digits(GOOD[5], "\uff10") + GOOD[6:],
        "a superscript digit": GOOD[:-1] + "\u00b2",
        "a minus in front": "-" + GOOD[1:],
        "a decimal part": GOOD + ",0",
        "an exponent": "7,07058E+17",
        "an exponent with a point": "7.07057599123457e+17",
        "a hexadecimal number": hex(int(GOOD)),
        "NaN": "NaN",
        "dashes between": "-".join((GOOD[:6], GOOD[6:12], GOOD[12:])),
        "a word": "ukjent",
        "a question mark": "?",
        "#N/A": "#N/A",
        "a date": "2026-01-01",
        "an e-mail address": "ingen@eksempel.invalid",
        "a list of two": f"{GOOD},{gsrn(501)}",
    }.items():
        yield cell(name, "VA1", "MålepunktID", value, quarantined={R.form})
    for name, value in {
        "a zero-width space inside": GOOD[:9] + "\u200b" + GOOD[9:],
        "a zero-width space in front": "\u200b" + GOOD,
        "a byte order mark in front": "\ufeff" + GOOD,
        "a soft hyphen inside": GOOD[:9] + "\u00ad" + GOOD[9:],
        "a word joiner behind": GOOD + "\u2060",
    }.items():
        yield cell(name, "VA1", "MålepunktID", value, quarantined={R.form})
        undone = {"meter_point": {"normalise": ["zero-width"]}}
        expected: dict[str, Any] = {"loose": frozenset({"valid", "quarantined"})} if "hyphen" in name else {}
        yield cell(f"{name}, undone", "VA1", "MålepunktID", value, profile=undone, **expected)
    for name, value in {
        "a blank in front": " " + GOOD,
        "a blank behind": GOOD + " ",
        "blanks every three digits": " ".join(GOOD[n : n + 3] for n in range(0, 18, 3)),
        "blanks as spoken": f"{GOOD[:1]} {GOOD[1:4]} {GOOD[4:7]} {GOOD[7:]}",
        "no-break spaces": "\u00a0".join((GOOD[:6], GOOD[6:12], GOOD[12:])),
        "narrow no-break spaces": "\u202f".join((GOOD[:6], GOOD[6:12], GOOD[12:])),
        "a thin space": GOOD[:9] + "\u2009" + GOOD[9:],
        "a tab behind": GOOD + "\t",
    }.items():
        yield cell(name, "VA1", "MålepunktID", value, quarantined={R.form})
        undone = {"meter_point": {"normalise": ["blanks"]}}
        expected = {"loose": frozenset({"valid", "quarantined"})} if "tab" in name else {}
        yield cell(f"{name}, undone", "VA1", "MålepunktID", value, profile=undone, **expected)
    excel, apostrophe, barcode = "excel-text", "apostrophe", "ai-8018"
    for name, value, undoing in (
        ("a spreadsheet's text formula", f'="{GOOD}"', excel),
        ("an apostrophe in front", f"'{GOOD}", apostrophe),
        ("a bar code in brackets", f"(8018){GOOD}", barcode),
        ("a bar code without brackets", f"8018{GOOD}", barcode),
    ):
        escaped = '"' + value.replace('"', '""') + '"' if '"' in value else value
        yield cell(name, "VA1", "MålepunktID", escaped, quarantined={R.form})
        yield cell(
            f"{name}, undone",
            "VA1",
            "MålepunktID",
            escaped,
            profile={"meter_point": {"normalise": [undoing]}},
        )
        short = escaped.replace(GOOD, GOOD[:-1])
        undone = {"meter_point": {"normalise": [undoing]}}
        yield cell(
            f"{name} around 17 digits", "VA1", "MålepunktID", short, profile=undone, quarantined={R.form}
        )
    both = {"meter_point": {"normalise": ["blanks", "zero-width", "apostrophe"]}}
    value = f"'{GOOD[:9]} \u200b{GOOD[9:]}"
    yield cell("three things at once, undone", "VA1", "MålepunktID", value, profile=both)


def _sums() -> Iterator[Case]:
    for step in range(1, 10):
        wrong = GOOD[:-1] + str((int(GOOD[-1]) + step) % 10)
        yield cell(f"check digit {step} too high", "VA1", "MålepunktID", wrong, quarantined={R.check_digit})
    swapped = next(
        GOOD[:n] + GOOD[n + 1] + GOOD[n] + GOOD[n + 2 :]
        for n in range(9, 16)
        if GOOD[n] != GOOD[n + 1] and abs(int(GOOD[n]) - int(GOOD[n + 1])) != 5
    )
    yield cell("two digits exchanged", "VA1", "MålepunktID", swapped, quarantined={R.check_digit})
    for name, value in {
        "the vendor's printed example": "707057500012345678",
        "the vendor's test id": "707057500000000000",
    }.items():
        yield cell(name, "VA1", "MålepunktID", value, quarantined={R.check_digit})
        yield cell(
            f"{name}, in the sandbox",
            "VA1",
            "MålepunktID",
            value,
            environment="sandbox",
            warned={R.check_digit},
        )
    wrong = GOOD[:-1] + str((int(GOOD[-1]) + 1) % 10)
    yield cell(
        "a wrong check digit in the sandbox",
        "VA1",
        "MålepunktID",
        wrong,
        environment="sandbox",
        warned={R.check_digit},
    )
    yield cell(
        "17 digits in the sandbox",
        "VA1",
        "MålepunktID",
        GOOD[:-1],
        environment="sandbox",
        quarantined={R.form},
    )
    for name, prefix in (
        ("a Swedish", "735999999"),
        ("a Danish", "571313199"),
        ("a Finnish", "643999999"),
        ("a made-up", "123456789"),
    ):
        yield cell(f"{name} prefix", "VA1", "MålepunktID", gsrn(500, prefix), quarantined={R.prefix})
    for value in (
        "707057500068553617",
        "707057500053285691",
        "707057500063144742",
        "707057500052416676",
        "707057500010206103",
    ):
        yield cell(f"{value} of the vendor's examples is well formed", "2.2", "MålepunktID", value)


def _look_alikes() -> Iterator[Case]:
    for name, value in {
        "a meter serial": "6999900063353336",
        "a Swedish meter serial of 16 digits": "7359990012345678",
        "the last eight digits": GOOD[-8:],
        "a product code": "8716867000030",
        "a birth number": "01010000000",
        "a phone number": "+4700000000",
        "a row number": "7",
    }.items():
        yield cell(f"{name} for a meter point", "2.3", "MålepunktID", value, quarantined={R.form})


SCHEMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "DK": (
        ("571313100000000003", "571313174000000011", "571313180100000004"),
        ("571313180100000001", "57131310000000000", "735999100000000010"),
    ),
    "SE": (
        ("735999109151401011", "735999109270751042", "735999100000000010", "735999000000000013"),
        ("735999109151401012", "7359990012345678", "707057500068553617"),
    ),
    "FI": (
        ("645823734848458216", "643000000000000016", "643007127000000013", "643003825000000012"),
        ("643007127000000014", "12345", "8716867000030"),
    ),
    "NL": (
        ("871687000000000016", "871687100000123453", "871694800000000012"),
        ("87168700000000001", "541448000000000011"),
    ),
    "BE": (
        ("541448000000000011", "541448920000123452", "541456000000000010"),
        ("54144800000000001", "871687000000000016"),
    ),
    "GB": (
        ("1000000000012", "1200012345679", "1400123456786", "2000050773706", "2200999999999"),
        ("1000000000013", "100000000001", "012345671000000000012", "10000000000123"),
    ),
    "DE-MaLo": (
        ("41373559241", "48662918097", "50000000005", "91234567891", "10000000017"),
        ("41373559242", "4137355924", "01373559241", "DE00056266802AO6G56M11SN51G21M24S"),
    ),
    "DE-MeLo": (
        ("DE00056266802AO6G56M11SN51G21M24S",),
        ("DE00056266802AO6G56M11SN51G21M24", "AT008100080100O6G56M11SN51G21M24S", "41373559241"),
    ),
    "AT": (
        ("AT008100080100O6G56M11SN51G21M24S",),
        ("AT008100080100O6G56M11SN51G21M24", "CH008100080100O6G56M11SN51G21M24S"),
    ),
    "CH": (
        ("CH008100080100O6G56M11SN51G21M24S",),
        ("CH008100080100O6G56M11SN51G21M24", "DE00056266802AO6G56M11SN51G21M24S"),
    ),
    "FR": (("12345678901234", "01234567890123"), ("1234567890123", "123456789012345", "1234567890123X")),
    "IT": (("IT123E12345678",), ("IT123E1234567", "IT12E12345678", "XX123E12345678", "IT123X12345678")),
    "ES": (
        ("ES1234123456789012JY", "ES0021000000000001RK", "ES0031123456789012BF", "ES0022999999999999NE"),
        ("ES1234123456789012JZ", "ES1234123456789012", "PT0002000000000001BG"),
    ),
    "PT": (
        ("PT0002000000000001BG", "PT0002000012345678MV", "PT0001123456789012MP"),
        ("PT0002000000000001BH", "PT000200000000001BG", "ES0021000000000001RK"),
    ),
}  # fmt: skip


def _schemes() -> Iterator[Case]:
    for scheme, (good, bad) in SCHEMES.items():
        country = scheme[:2]
        profile = {
            "country": country,
            "columns": {"latitude": None, "longitude": None},
            "meter_point": {"scheme": scheme},
        }
        loose_check = scheme in (
            "NL",
            "BE",
        )  # domain.md 2.2: no primary text found, so a wrong sum only warns
        for value in good:
            yield _alone(f"{scheme} {value} is well formed", value, profile)
        for value in bad:
            yield _alone(f"{scheme} {value} is not", value, profile, quarantined={FIRST_LINE: frozenset()})
        if loose_check:
            wrong = good[0][:-1] + str((int(good[0][-1]) + 1) % 10)
            yield _alone(
                f"{scheme} {wrong} only warns",
                wrong,
                profile,
                warned={FIRST_LINE: frozenset({R.check_digit})},
            )


def _alone(name: str, value: str, profile: dict[str, Any], **expected: Any) -> Case:
    """One row: the other rows of a file would have Norwegian ids."""
    return Case(
        name=name,
        fault="2.2",
        content=csv_of([row(1, MålepunktID=value)]),
        profile=profile,
        rows=1,
        **expected,
    )


def _scheme_extras() -> Iterator[Case]:
    base = {
        "country": "GB",
        "columns": {"latitude": None, "longitude": None},
        "meter_point": {"scheme": "GB", "normalise": ["gb-s-number"]},
    }
    yield _alone("a British S number, undone", "012345671000000000012", base)
    yield _alone(
        "a British S number of 20 digits", "12345671000000000012", base, quarantined={FIRST_LINE: frozenset()}
    )
    danish = {
        "country": "DK",
        "columns": {"latitude": None, "longitude": None},
        "meter_point": {"scheme": "DK"},
    }
    gas = gsrn(1, "571515199")
    carrier = {**danish, "meter_point": {"scheme": "DK", "carrier": "electricity"}}
    yield _alone("a gas point beside electricity is filtered", gas, carrier, filtered=frozenset({FIRST_LINE}))
    yield _alone("an electric point beside gas is kept", gsrn(1, "571313199"), carrier)
    spanish = {
        "country": "ES",
        "columns": {"latitude": None, "longitude": None},
        "meter_point": {"scheme": "ES"},
    }
    yield _alone("a Spanish CUPS of 22 signs", "ES1234123456789012JY1F", spanish)


def _unicode() -> Iterator[Case]:
    composed, decomposed = "K\u00c5", "KA\u030a"
    pair = csv_of([row(1, Kundenr=composed), row(2, Kundenr=decomposed)])
    yield Case(name="composed and decomposed customers are one", fault="VA2", content=pair, rows=2)
    refuse = {"identity": {"unicode": "refuse"}}
    yield Case(
        name="decomposed customers where the profile refuses them",
        fault="VA2",
        content=pair,
        profile=refuse,
        rows=2,
        quarantined={3: frozenset()},
    )
    kept = {"identity": {"unicode": "as-is"}}
    yield Case(
        name="composed and decomposed customers are two", fault="VA2", content=pair, profile=kept, rows=2
    )
    cased = csv_of([row(1, Kundenr="k1"), row(2, Kundenr="K1")])
    yield Case(name="customers that differ in case are two", fault="VA2", content=cased, rows=2)


DANGEROUS = {
    "a dot": ".",
    "two dots": "..",
    "a slash": "K1/locations",
    "a backslash": "K1\\x",
    "a coded dot pair": "%2e%2e",
    "a coded slash": "a%2fb",
    "a question mark": "K1?x=1",
    "a hash": "K1#x",
    "a line separator": "K1\u2028",
    "129 bytes": "x" * 129,
    "43 letters of three bytes": "\u20ac" * 43,
    "an escape": "K1\x1b[2J",
    "a delete": "K1\x7f",
}


def _dangerous_ids() -> Iterator[Case]:
    for header in ("Kundenr", "Anlegg"):
        for name, value in DANGEROUS.items():
            loose: dict[str, Any] = {"quarantined": frozenset()}
            if "line separator" in name:
                loose = {"loose": frozenset({"valid", "quarantined"})}
            yield cell(f"{name} as {header}, sent as it is", "VA3", header, value, profile=AS_IS, **loose)
        yield cell(f"128 bytes as {header}, sent as it is", "VA3", header, "x" * 128, profile=AS_IS)
        for name, value in {"empty": "", "blank": " "}.items():
            expected: dict[str, Any] = {"quarantined": frozenset()}
            yield cell(f"{name} {header}, sent as it is", "VA3", header, value, profile=AS_IS, **expected)
        yield cell(f"empty {header}", "VA3", header, "", quarantined=frozenset())
        for name, value in {"a blank in front": " K1", "a blank behind": "K1 "}.items():
            yield cell(
                f"{name} of {header}, sent as it is",
                "VA3",
                header,
                value,
                profile=AS_IS,
                loose=frozenset({"valid", "quarantined"}),
            )
    for word in ("batch", "eligible", "locations"):
        yield cell(
            f"{word} as a customer, sent as it is",
            "VA3",
            "Kundenr",
            word,
            profile=AS_IS,
            quarantined=frozenset(),
        )


def _resources() -> Iterator[Case]:
    columns = {"resource": "EnhetID", "resource_type": "Enhetstype"}
    words = {"resource_type": {"lader": "Charger", "elbil": "Vehicle"}}
    header = "Kundenr;Anlegg;MålepunktID;EnhetID;Enhetstype"
    profile = {
        "export": {"of": "resources"},
        "file": {"multiline": None},
        "columns": {**columns, "location_type": None, "latitude": None, "longitude": None, "status": None},
        "values": {"location_type": None, **words},
        "keep": {},
        "identity": {"ids": "as-is"},
    }

    def resources(name: str, resource: str, kind: str, fault: str = "VA3", **expected: Any) -> Case:
        line = f"{cells(500)['Kundenr']};{cells(500)['Anlegg']};{gsrn(500)};{resource};{kind}"
        return Case(
            name=name, fault=fault, content=csv_of([line], header=header), profile=profile, rows=1, **expected
        )

    bad = {FIRST_LINE: frozenset[str]()}
    yield resources("a charger", "E1", "lader", "VA1")
    yield resources("a car", "E2", "elbil", "VA1")
    yield resources("a resource of unknown type", "E3", "fusjonsreaktor", "VA1", quarantined=bad)
    yield resources("a resource without a type", "E3", "", "VA1", quarantined=bad)
    yield resources("a resource without an id in its own export", "", "lader", "VA1", quarantined=bad)
    for name, value in DANGEROUS.items():
        if "separator" not in name:
            yield resources(f"{name} as EnhetID, sent as it is", value, "lader", quarantined=bad)
    both = {"columns": columns, "values": words}
    mixed = (
        "Kundenr;Anlegg;Kundetype;MålepunktID;Breddegrad;Lengdegrad;Status;Adresse;Merknad;EnhetID;Enhetstype"
    )
    lines = [row(1) + ";;", row(2) + ";E2;lader", row(3) + ";E3;fusjonsreaktor", row(4) + ";E4;"]
    yield Case(
        name="meter points with a resource beside some",
        fault="VA1",
        content=csv_of(lines, header=mixed),
        profile=both,
        rows=4,
        quarantined={4: frozenset(), 5: frozenset()},
    )


COORDINATES: dict[str, tuple[str, str, Any]] = {
    "NaN": ("NaN", "7,35001", "bad"),
    "infinity": ("inf", "7,35001", "bad"),
    "minus infinity": ("60,10501", "-inf", "bad"),
    "a number that overflows": ("1e400", "7,35001", "bad"),
    "a number that overflows in plain digits": ("9" * 400, "7,35001", "bad"),
    "a word": ("nord", "7,35001", "bad"),
    "a hexadecimal number": ("0x3c", "7,35001", "bad"),
    "an underscore": ("6_0,10501", "7,35001", "bad"),
    "full-width digits": ("\uff16\uff10,10501", "7,35001", "bad"),
    "degrees, minutes, seconds": ('60°6\'18""N', "7,35001", "bad"),
    "a degree sign": ("60,10501°", "7,35001", "bad"),
    "a letter for north": ("60,10501N", "7,35001", "bad"),
    "a minus of typographers": ("60,10501", "\u22127,35001", "bad"),
    "both in one cell": ("60,10501 7,35001", "7,35001", "bad"),
    "only a latitude": ("60,10501", "", "bad"),
    "only a longitude": ("", "7,35001", "bad"),
    "zero and zero": ("0", "0", "bad"),
    "zero latitude": ("0,0", "7,35001", "bad"),
    "zero longitude": ("60,10501", "0,0", "bad"),
    "minus zero": ("-0,0", "-0,0", "bad"),
    "latitude and longitude exchanged": ("7,35001", "60,10501", "bad"),
    "a sign too many on the latitude": ("-60,10501", "7,35001", "bad"),
    "a sign too many on the longitude": ("60,10501", "-7,35001", "bad"),
    "latitude above 90": ("90,00001", "7,35001", "bad"),
    "longitude above 180": ("60,10501", "180,00001", "bad"),
    "metres of UTM 33": ("6668000,5", "75000,5", "bad"),
    "Oslo in the wrong zone": ("59,91101", "16,75301", "bad"),
    "Stockholm": ("59,32931", "18,06861", "bad"),
    "Copenhagen": ("55,67611", "12,56831", "bad"),
    "the middle of the Atlantic": ("60,00001", "-30,00001", "bad"),
    "the same number twice": ("60,10501", "60,10501", "bad"),
    "ninety-nine and ninety-nine": ("99", "99", "bad"),
    "one and one": ("1", "1", "bad"),
    "minus one and minus one": ("-1", "-1", "bad"),
    "the pole": ("90", "0", "bad"),
    "Oslo": ("59,91391", "10,75221", "good"),
    "the North Cape": ("71,16951", "25,78311", "good"),
    "Longyearbyen": ("78,22321", "15,62671", "good"),
    "test area 1": ("79,51914", "15,97611", "good"),
    "test area 2": ("78,21662", "15,63509", "good"),
    "an island on the coast": ("60,52485", "5,06001", "good"),
    "fifteen decimals": ("60,105010000000012", "7,350010000000012", "good"),
    "two decimals": ("60,13", "7,37", "warned"),
    "whole degrees": ("60", "7", "warned"),
    "a plus sign": ("+60,10501", "7,35001", "open"),
    "an exponent": ("6,010501e1", "7,35001", "open"),
    "a blank around": (" 60,10501 ", "7,35001", "open"),
    "a point where a comma is declared": ("60.10501", "7.35001", "open"),
    "no digit before the comma": ("60,10501", ",35001", "open"),
    "no digit behind the comma": ("60,", "7,35001", "open"),
}
"""Latitude, longitude, and whether such a row is bad, good, good with a warning, or left open."""


def _coordinates() -> Iterator[Case]:
    for name, (latitude, longitude, verdict) in COORDINATES.items():
        changes = {"Breddegrad": f'"{latitude}"' if '"' in latitude else latitude, "Lengdegrad": longitude}
        about: dict[str, Any] = {
            "bad": {"quarantined": frozenset()},
            "good": {},
            "warned": {"warned": frozenset()},
            "open": {"loose": frozenset({"valid", "quarantined"})},
        }[verdict]
        yield one_bad(f"coordinates: {name}", "VA4", row(500, **changes), **about)
        if verdict == "bad":
            drop = {"coordinates": {"on_violation": "drop"}}
            yield one_bad(
                f"coordinates dropped: {name}", "VA4", row(500, **changes), profile=drop, warned=frozenset()
            )
    nowhere = row(500, Breddegrad="", Lengdegrad="")
    yield one_bad("coordinates: none at all", "VA4", nowhere)
    nothing = row(500, Breddegrad="", Lengdegrad="", MålepunktID="")
    yield one_bad("neither meter point nor coordinates", "VA4", nothing, quarantined={R.place})
    yield cell("coordinates and no meter point", "VA4", "MålepunktID", "", loose=frozenset({"valid"}))
    swapped = {"coordinates": {"axes": ["longitude", "latitude"]}}
    lines = [
        row(n, Breddegrad=cells(n)["Lengdegrad"], Lengdegrad=cells(n)["Breddegrad"]) for n in range(1, 4)
    ]
    yield Case(
        name="coordinates: longitude first, declared",
        fault="VA4",
        content=csv_of(lines),
        profile=swapped,
        rows=3,
    )
    utm = {"coordinates": {"crs": "EPSG:25833", "axes": ["northing", "easting"]}}
    oslo = csv_of([row(1, Breddegrad="6649115,01", Lengdegrad="262985,01")])
    yield Case(name="coordinates: UTM 33, declared", fault="VA4", content=oslo, profile=utm, rows=1)
    bergen = csv_of([row(1, Breddegrad="6734000,01", Lengdegrad="-31975,01")])
    yield Case(
        name="coordinates: Bergen in UTM 33 lies west of zero",
        fault="VA4",
        content=bergen,
        profile=utm,
        rows=1,
    )
    zone = {"coordinates": {"crs": "EPSG:25833", "axes": ["northing", "easting"]}}
    wrong = csv_of([row(1, Breddegrad="6642784,01", Lengdegrad="597947,01")])
    yield Case(
        name="coordinates: UTM 32 read as UTM 33",
        fault="VA4",
        content=wrong,
        profile=zone,
        rows=1,
        quarantined={FIRST_LINE: frozenset()},
    )
    degrees = csv_of([row(1)])
    yield Case(
        name="coordinates: degrees where metres are declared",
        fault="VA4",
        content=degrees,
        profile=zone,
        rows=1,
        quarantined={FIRST_LINE: frozenset()},
    )


def _words() -> Iterator[Case]:
    for name, value in {
        "unknown": "Luftslott",
        "in capitals": "HUSHOLDNING",
        "empty": "",
        "padded": " Husholdning",
    }.items():
        loose = frozenset({"valid", "quarantined"})
        expected: dict[str, Any] = (
            {"quarantined": {R.location_type}} if name == "unknown" else {"loose": loose}
        )
        yield cell(f"a type of home that is {name}", "VA1", "Kundetype", value, **expected)
    star = {"values": {"location_type": {"*": "Unknown"}}}
    yield cell("an unknown type of home with a star", "VA1", "Kundetype", "Luftslott", profile=star)
    for status in ("Avsluttet", "Inaktiv", "", "aktiv"):
        expected = {"loose": frozenset({"valid", "filtered"})} if status == "aktiv" else {"filtered": True}
        yield cell(f"status {status or 'empty'} outside keep", "VA1", "Status", status, **expected)
    closed = row(500, Status="Avsluttet", MålepunktID="1")
    yield one_bad("a closed row with a bad id is filtered, not quarantined", "VA1", closed, filtered=True)
    short = row(500, Status="Avsluttet") + ";x"
    yield one_bad("a closed row that is too long is unreadable, not filtered", "VA1", short, unreadable=None)
    several = row(500, MålepunktID="1", Breddegrad="x", Kundetype="Luftslott")
    yield one_bad(
        "three rules broken in one row are all named",
        "VA1",
        several,
        quarantined={R.form, R.location_type, R.number},
    )


def _damage() -> Iterator[Case]:
    zeros = row(500, MålepunktID=GOOD[:15] + "000")
    yield one_bad(
        "4.2: more than 15 digits become zeros", "4.2", zeros, loose=frozenset({"quarantined", "valid"})
    )
    rounded = str(int(float(GOOD)))
    expected: dict[str, Any] = {"quarantined": {R.check_digit}}
    if check_digit(rounded[:-1]) == rounded[-1]:
        expected = {}
    yield cell("4.2: rounded to a multiple of 128", "4.2", "MålepunktID", rounded, **expected)
    yield cell("4.2: an id with a decimal zero", "4.2", "MålepunktID", GOOD + ".0", quarantined={R.form})
    yield cell("4.2: a spreadsheet's date for a customer", "4.2", "Kundenr", "45000")
    france = {
        "country": "FR",
        "columns": {"latitude": None, "longitude": None},
        "meter_point": {"scheme": "FR"},
    }
    yield _alone("4.2: a leading zero lost", "1234567890123", france, quarantined={FIRST_LINE: frozenset()})
    spread = rows(400)
    for number in range(400):
        spread[number] = row(number + 1, MålepunktID="7,07058E+17")
    yield Case(
        name="4.2: a whole column of exponents", fault="4.2", content=csv_of(spread), refused=(), alarm=True
    )
    for number in range(400):
        spread[number] = row(number + 1, MålepunktID=gsrn(number + 1)[:15] + "000")
    yield Case(
        name="4.2: a whole column of ids ending 000",
        fault="4.2",
        content=csv_of(spread),
        refused=(),
        alarm=True,
    )
    for number in range(400):
        spread[number] = row(number + 1, MålepunktID=str(int(float(gsrn(number + 1)))))
    yield Case(
        name="4.2: a whole column rounded to 128", fault="4.2", content=csv_of(spread), refused=(), alarm=True
    )
    for number in range(400):
        spread[number] = row(
            number + 1, Breddegrad=cells(number + 1)["Lengdegrad"], Lengdegrad=cells(number + 1)["Breddegrad"]
        )
    yield Case(
        name="4.2: both coordinate columns exchanged",
        fault="4.2",
        content=csv_of(spread),
        refused=(),
        alarm=True,
    )
    for number in range(400):
        spread[number] = row(number + 1, Breddegrad="59,91101", Lengdegrad=f"16,75{number:03}1")
    yield Case(
        name="4.2: every home in the wrong UTM zone",
        fault="4.2",
        content=csv_of(spread),
        refused=(),
        alarm=True,
    )
    for number in range(400):
        spread[number] = row(number + 1, Breddegrad=f"66{number:05},1", Lengdegrad=f"2{number:05},1")
    yield Case(
        name="4.2: every coordinate in metres", fault="4.2", content=csv_of(spread), refused=(), alarm=True
    )
    for number in range(400):
        spread[number] = row(number + 1, Kundenr=f"ingen{number}@eksempel.invalid")
    yield Case(
        name="4.2: e-mail addresses for customers",
        fault="4.2",
        content=csv_of(spread),
        refused=(),
        alarm=True,
    )
    for number, birth_number in enumerate(_birth_numbers(400)):
        spread[number] = row(number + 1, Kundenr=birth_number)
    yield Case(
        name="4.2: birth numbers for customers", fault="4.2", content=csv_of(spread), refused=(), alarm=True
    )
    for number in range(400):
        spread[number] = row(number + 1, MålepunktID=GOOD)
    yield Case(
        name="4.2: one meter point for everybody", fault="4.2", content=csv_of(spread), refused=(), alarm=True
    )
    for number in range(400):
        good = gsrn(number + 1)
        spread[number] = row(number + 1, MålepunktID=good[:-1] + str((int(good[-1]) + number % 9 + 1) % 10))
    yield Case(
        name="4.2: every check digit wrong", fault="4.2", content=csv_of(spread), refused=(), alarm=True
    )
    for number in range(400):
        spread[number] = row(number + 1, MålepunktID=f"69999{number:011}")
    yield Case(
        name="4.2: the meter's serial column mapped",
        fault="4.2",
        content=csv_of(spread),
        refused=(),
        alarm=True,
    )


def _birth_numbers(count: int) -> list[str]:
    """Right in form, and nobody's: of the year 1900, in the series hospitals use (month + 40)."""
    found = []
    for number in range(28 * 12 * 500):
        data = f"{number % 28 + 1:02}{number % 12 + 41}00{number // 336:03}"
        data += fodselsnummer.calc_check_digit1(data)
        data += fodselsnummer.calc_check_digit2(data)
        if fodselsnummer.is_valid(data):
            found.append(data)
            if len(found) == count:
                break
    return found


def value_cases() -> list[Case]:
    """Rows that can be read, and what the rules say of them."""
    parts = (
        _forms, _sums, _look_alikes, _schemes, _scheme_extras, _unicode, _dangerous_ids, _resources,
        _coordinates, _words, _damage,
    )  # fmt: skip
    return numbered(case for part in parts for case in part())
