"""The messy samples: files in which every rule is broken by a known row, which says so in its last column.

`python -m tests.corpus.messy` writes them under data/samples again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.unreadable import Unreadable
from tests.corpus.case import gsrn

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
SAID = "Bryter"
"""The column in which each row says what is wrong with it; no profile maps it."""


@dataclass(slots=True)
class Messy:
    """One messy sample in the making.

    Attributes:
        name: of the file, without suffix.
        about: what the profile beside it begins with.
        profile: its TOML.
        columns: header to the value in row `number` of a good row.
    """

    name: str
    about: str
    profile: str
    columns: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    rules: dict[int, list[str]] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)
    filtered: list[int] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    number: int = 0
    decimal: str = ","

    def __post_init__(self) -> None:
        self.lines.append(";".join([*self.columns, SAID]))

    def cells(self, **changes: str) -> dict[str, str]:
        """The cells of the next good row, some of them changed."""
        self.number += 1
        made = {header: _value(what, self.number) for header, what in self.columns.items()}
        assert set(changes) <= set(made), set(changes) - set(made)
        return made | changes

    def row(self, *rules: str, say: str = "", **changes: str) -> dict[str, str]:
        """A row that breaks exactly these rules."""
        cells = self.cells(**changes)
        self.add(cells, *rules, say=say)
        return cells

    def add(self, cells: Mapping[str, str], *rules: str, say: str = "") -> None:
        """A row with these cells."""
        if rules:
            self.rules[len(self.lines) + 1] = sorted(rules)
        self.lines.append(";".join([*cells.values(), say or " ".join(rules)]))

    def broken(self, reason: Unreadable, line: str) -> None:
        """A line nobody can read."""
        self.unreadable[len(self.lines) + 1] = reason.value
        self.lines.append(line)

    def content(self) -> bytes:
        """The file."""
        return "".join(line + "\n" for line in self.lines).encode().replace("\ue000".encode(), b"\xff")

    def truth(self) -> dict[str, Any]:
        """What has to come out of it."""
        return {
            "profile": f"{self.name}.toml",
            "rows": len(self.lines) - 1,
            "filtered": self.filtered,
            "duplicate": self.duplicates,
            "unreadable": self.unreadable,
            "rules": self.rules,
        }


def _value(what: str, number: int) -> str:
    made = {
        "user": f"K{number:06}",
        "location": f"A{number:06}",
        "point": gsrn(number),
        "latitude": f"60,{10_001 + 2 * number}",
        "longitude": f"7,{30_001 + 2 * number}",
        "northing": f"66761{number:02},51",
        "easting": f"784{number:02},53",
        "resource": "",
        "street": f"Påfunnveien {number}",
    }
    return made.get(what, what)


FORM = "meter_point_id_has_the_form_of_its_scheme"
CHECK = "meter_point_id_has_valid_check_digit"


def messy() -> Messy:
    """The main one: Norwegian, everything in one file."""
    out = Messy(
        "messy",
        "Every rule that can be broken in one Norwegian export is, by a row that says so in its last column.",
        """\
country = "NO"

[file]
separator = ";"
decimal = ","

[identity]
unicode = "refuse"

[columns]
user = "Kundenr"
location = "Anlegg"
location_type = "Kundetype"
meter_point = "MålepunktID"
parent_meter_point = "HovedmålepunktID"
latitude = "Breddegrad"
longitude = "Lengdegrad"
resource = "EnhetID"
resource_type = "Enhetstype"
status = "Status"

[coordinates]
shared_by = 3

[values.location_type]
"Husholdning" = "Residential"

[values.resource_type]
"lader" = "Charger"
"varmepumpe" = "HVAC"
"elbil" = "Vehicle"

[keep]
status = ["Aktiv"]
""",
        {
            "Kundenr": "user",
            "Anlegg": "location",
            "Kundetype": "Husholdning",
            "MålepunktID": "point",
            "HovedmålepunktID": "",
            "Breddegrad": "latitude",
            "Lengdegrad": "longitude",
            "EnhetID": "",
            "Enhetstype": "",
            "Status": "Aktiv",
        },
    )
    out.row(say="god")
    for header, ours in (("Kundenr", "user"), ("Anlegg", "location"), ("EnhetID", "resource")):
        kind = {"Enhetstype": "lader"} if ours == "resource" else {}
        if ours != "resource":
            out.row(f"{ours}_is_present", **{header: ""})
        else:
            out.row("resource_is_present", Enhetstype="lader")
        out.row(f"{ours}_is_a_plain_key", **kind, **{header: ".."})
        out.row(f"{ours}_is_not_a_placeholder", **kind, **{header: "ukjent"})
        out.row(f"{ours}_is_not_in_exponent_form", **kind, **{header: "1,23457E+11"})
        out.row(f"{ours}_has_no_blank_edges_or_hidden_characters", **kind, **{header: "X 1 "})
        out.row(f"{ours}_is_in_normal_form", **kind, **{header: "Xa\u030a1"})
    out.row("location_type_is_known", Kundetype="Luftslott")
    out.row("resource_has_a_type", EnhetID="E000001")
    out.row("resource_type_is_known", EnhetID="E000002", Enhetstype="fusjonsreaktor")
    nowhere = {"MålepunktID": "", "Breddegrad": "", "Lengdegrad": ""}
    out.row("location_has_meter_point_or_coordinates", **nowhere)
    _meter_points(out)
    _coordinates(out)
    _between_rows(out)
    _other_classes(out)
    return out


def _meter_points(out: Messy) -> None:
    good = gsrn(900)
    for rule, text in {
        "in_exponent_form": "7,07058E+17",
        "a_decimal_number": good + ",0",
        "a_meter_serial": "6999900063353336",
        "a_short_form": good[-8:],
        "a_product_code": "8716867000030",
    }.items():
        out.row(FORM, f"meter_point_id_is_not_{rule}", MålepunktID=text)
    out.row(FORM, "meter_point_id_is_not_in_bar_code_form", MålepunktID=f"(8018){good}")
    out.row(FORM, "meter_point_id_is_not_spreadsheet_text", MålepunktID=f"'{good}")
    spoken = f"{good[:6]} {good[6:12]} {good[12:]}"
    out.row(FORM, "meter_point_id_has_no_blanks_or_hidden_characters", MålepunktID=spoken)
    out.row(FORM, MålepunktID=good[:-1])
    out.row("meter_point_id_has_prefix_of_its_scheme", MålepunktID=gsrn(901, "735999999"))
    out.row(CHECK, MålepunktID="707057500012345678")
    out.row("meter_point_id_is_not_a_sub_meter", HovedmålepunktID=gsrn(902))


def _coordinates(out: Messy) -> None:
    for latitude, longitude, rules in (
        ("60,1°", "7,30501", ["are_numbers"]),
        ("60,10501", "", ["come_in_pairs"]),
        ("6676100,51234", "78400,53234", ["are_degrees_not_metres"]),
        ("90,00001", "7,30501", ["are_within_range"]),
        ("0", "7,30501", ["are_not_zero"]),
        ("59,00001", "59,00001", ["are_not_a_placeholder"]),
        ("7,30501", "60,10501", ["are_not_swapped"]),
        ("60,10501", "-7,30501", ["have_the_right_signs"]),
        ("48,85661", "8,35221", ["lie_in_the_country"]),
        ("61,50001", "4,60001", ["lie_on_land"]),
        ("60,11", "7,31", ["have_four_decimals"]),
        ("60", "8", ["have_four_decimals", "are_not_whole_degrees"]),
        ("60,472024", "8,468946", ["are_not_the_centre_of_the_country"]),
    ):
        out.row(*(f"coordinates_{rule}" for rule in rules), Breddegrad=latitude, Lengdegrad=longitude)


def _between_rows(out: Messy) -> None:
    """Rows that are well formed alone and contradict each other."""

    def pair(rule: str, *headers: str, first: Mapping[str, str], second: Mapping[str, str]) -> None:
        one = out.row(rule, **first)
        out.row(rule, **{header: one[header] for header in headers}, **second)

    pair("meter_point_belongs_to_one_customer", "MålepunktID", first={}, second={})
    pair("meter_point_belongs_to_one_location", "Kundenr", "MålepunktID", first={}, second={})
    pair("location_belongs_to_one_customer", "Anlegg", first={}, second={})
    far = {"Breddegrad": "60,20001"}
    pair("location_has_one_content", "Kundenr", "Anlegg", "Lengdegrad", first={}, second=far)
    home = ("Kundenr", "Anlegg", "Breddegrad", "Lengdegrad", "EnhetID")
    charger, pump = {"Enhetstype": "lader"}, {"Enhetstype": "varmepumpe"}
    pair("resource_has_one_content", *home, first={"EnhetID": "E000010", **charger}, second=pump)
    pair("resource_has_one_meter_point", *home, first={"EnhetID": "E000011", **charger}, second=charger)
    out.row("row_names_its_location", Anlegg="", EnhetID="E000012", Enhetstype="elbil")
    for number in ("KO7000", "k07000"):
        out.row("user_is_spelled_in_one_way", Kundenr=number)
    for _ in range(4):
        middle = {"Breddegrad": "60,40001", "Lengdegrad": "7,70001"}
        out.row("coordinates_are_shared_by_few_customers", **middle)


def _other_classes(out: Messy) -> None:
    cells = out.row(say="god")
    out.duplicates.append(len(out.lines) + 1)
    out.add(cells, say="lik raden over")
    out.filtered.append(len(out.lines) + 1)
    out.row(say="avsluttet", Status="Avsluttet")
    out.broken(Unreadable.TOO_FEW_FIELDS, "K999999;A999999;too_few_fields")
    out.broken(Unreadable.REPEATED_HEADER, out.lines[0])
    out.row(say="god")


AS_IS = """\
country = "NO"

[file]
separator = ";"
decimal = ","

[identity]
ids = "as-is"

[columns]
user = "Kundenr"
location = "Anlegg"
meter_point = "MålepunktID"
resource = "EnhetID"
resource_type = "Enhetstype"

[values.resource_type]
"lader" = "Charger"
"""


def messy_as_is() -> Messy:
    """Ids that are sent as they are."""
    columns = {
        "Kundenr": "user",
        "Anlegg": "location",
        "MålepunktID": "point",
        "EnhetID": "",
        "Enhetstype": "",
    }
    out = Messy(
        "messy-as-is", "Ids that would address somebody else when they are sent as they are.", AS_IS, columns
    )
    out.row(say="god")
    out.row("user_id_is_safe_in_a_url", Kundenr="K1/locations")
    out.row("user_id_is_safe_in_a_url", Kundenr="batch")
    out.row("location_id_is_safe_in_a_url", Anlegg="A1?x=1")
    out.row("resource_id_is_safe_in_a_url", EnhetID="%2e%2e", Enhetstype="lader")
    for _ in range(2):
        out.row("resource_belongs_to_one_customer", EnhetID="E000001", Enhetstype="lader")
    return out


def messy_places() -> Messy:
    """Homes known by their address."""
    profile = """\
country = "NO"

[file]
separator = ";"

[identity]
location_from = ["user", "Adresse"]

[columns]
user = "Kundenr"
meter_point = "MålepunktID"
"""
    columns = {"Kundenr": "user", "MålepunktID": "point", "Adresse": "street"}
    out = Messy("messy-places", "Homes known by their address.", profile, columns)
    out.row(say="god")
    out.row("location_is_present", Adresse="")
    out.row("location_parts_are_plain_text", Adresse="Påfunnveien \x1f2")
    return out


def messy_points() -> Messy:
    """Homes known by their meter point."""
    profile = """\
country = "NO"

[file]
separator = ";"
decimal = ","

[columns]
user = "Kundenr"
meter_point = "MålepunktID"
latitude = "Breddegrad"
longitude = "Lengdegrad"
"""
    columns = {"Kundenr": "user", "MålepunktID": "point", "Breddegrad": "latitude", "Lengdegrad": "longitude"}
    out = Messy("messy-points", "Homes known by nothing but their meter point.", profile, columns)
    out.row(say="god")
    out.row("row_has_a_meter_point", MålepunktID="")
    return out


def messy_metres() -> Messy:
    """Coordinates of a map projection."""
    profile = """\
country = "NO"

[file]
separator = ";"
decimal = ","

[columns]
user = "Kundenr"
location = "Anlegg"
meter_point = "MålepunktID"
latitude = "Nord"
longitude = "Øst"

[coordinates]
crs = "EPSG:25833"
axes = ["northing", "easting"]
"""
    columns = {
        "Kundenr": "user",
        "Anlegg": "location",
        "MålepunktID": "point",
        "Nord": "northing",
        "Øst": "easting",
    }
    out = Messy("messy-metres", "Coordinates in metres of UTM zone 33.", profile, columns)
    out.row(say="god")
    out.row("coordinates_can_be_converted", Øst="100000000,53")
    out.row(
        "coordinates_are_metres_not_degrees", "coordinates_lie_in_the_country", Nord="60,10501", Øst="7,30501"
    )
    out.row("coordinates_have_four_decimals", Nord="6676100", Øst="78400")
    return out


def _scheme(name: str, country: str, scheme: str, good: str, bad: str, *rules: str) -> Messy:
    profile = f"""\
country = "{country}"

[file]
separator = ";"

[columns]
user = "Kundenr"
location = "Anlegg"
meter_point = "Id"

[meter_point]
scheme = "{scheme}"
"""
    columns = {"Kundenr": "user", "Anlegg": "location", "Id": good}
    out = Messy(name, f"Meter points of the scheme {scheme}.", profile, columns)
    out.row(say="good")
    out.row(*rules, Id=bad)
    return out


def _schemes() -> Iterator[Messy]:
    melo, not_a = "DE99999900000000000000000000000001", "meter_point_id_is_not_a"
    british = _scheme(
        "messy-british", "GB", "GB", "2099123456784", "0" + "1" * 20, FORM, f"{not_a}n_s_number"
    )
    british.row(FORM, f"{not_a}_gas_point", Id="9999999999")
    yield british
    yield _scheme(
        "messy-german", "DE", "DE-MaLo", "99123456787", melo[:33], FORM, f"{not_a}_metering_location"
    )
    yield _scheme(
        "messy-german-melo", "DE", "DE-MeLo", melo[:33], "99123456787", FORM, f"{not_a}_market_location"
    )
    yield _scheme(
        "messy-french",
        "FR",
        "FR",
        "09999999912345",
        "9999999912345",
        FORM,
        "meter_point_id_has_not_lost_a_leading_zero",
    )


def messy_resources() -> Messy:
    """An export of resources."""
    profile = """\
country = "NO"

[export]
of = "resources"

[file]
separator = ";"

[columns]
user = "Kundenr"
location = "Anlegg"
meter_point = "MålepunktID"
resource = "EnhetID"
resource_type = "Enhetstype"

[values.resource_type]
"lader" = "Charger"
"""
    columns = {
        "Kundenr": "user",
        "Anlegg": "location",
        "MålepunktID": "point",
        "EnhetID": "",
        "Enhetstype": "lader",
    }
    out = Messy("messy-resources", "What stands in the homes of other exports.", profile, columns)
    out.row(say="god", EnhetID="E000001")
    out.row("resource_is_present")
    out.row("resource_names_its_place", Anlegg="", MålepunktID="", EnhetID="E000002")
    out.row(say="målepunktet sier hvor", Anlegg="", EnhetID="E000003")
    return out


def messy_bytes() -> Messy:
    """Lines nobody can read."""
    profile = """\
country = "NO"

[file]
separator = ";"

[columns]
user = "Kundenr"
location = "Anlegg"
meter_point = "MålepunktID"
"""
    columns = {"Kundenr": "user", "Anlegg": "location", "MålepunktID": "point"}
    out = Messy("messy-bytes", "Lines nobody can read.", profile, columns)

    def line(said: str, sign: str = ";") -> str:
        return ";".join(out.cells().values()) + sign + said

    out.row(say="god")
    out.broken(Unreadable.TOO_FEW_FIELDS, line("", "").rpartition(";")[0])
    out.broken(Unreadable.TOO_MANY_FIELDS, line("too;many_fields"))
    out.broken(Unreadable.LINE_BREAK_IN_QUOTES, line('"line_break'))
    out.broken(Unreadable.LINE_BREAK_IN_QUOTES, "")
    out.broken(Unreadable.LINE_BREAK_IN_QUOTES, 'in_quotes"')
    out.broken(Unreadable.STRAY_QUOTE, line('"stray" quote'))
    out.broken(Unreadable.UNDECODABLE, line("undecodable \ue000"))
    out.broken(Unreadable.NUL_BYTE, line("nul_byte \0"))
    out.broken(Unreadable.STRAY_CARRIAGE_RETURN, line("stray_carriage_return \r."))
    out.broken(Unreadable.CONTROL_Z, line("control_z \x1a"))
    out.broken(Unreadable.REPEATED_HEADER, out.lines[0])
    out.row(say="god ÆØÅ")
    return out


def all_messy() -> list[Messy]:
    """Every messy sample."""
    return [
        messy(),
        messy_as_is(),
        messy_places(),
        messy_points(),
        messy_metres(),
        *_schemes(),
        messy_resources(),
        messy_bytes(),
    ]


def files(sample: Messy) -> dict[Path, bytes]:
    """The three files of a sample: export, profile, truth. All but the main one lie in a folder of their own."""
    folder = SAMPLES if sample.name == "messy" else SAMPLES / "messy"
    profile = f'# {sample.about}\nname = "{sample.name}"\n{sample.profile}'
    truth = json.dumps(sample.truth(), indent=1, ensure_ascii=False) + "\n"
    return {
        folder / f"{sample.name}.csv": sample.content(),
        folder / f"{sample.name}.toml": profile.encode(),
        folder / f"{sample.name}.truth.json": truth.encode(),
    }


def main() -> int:
    """Write them all."""
    for sample in all_messy():
        for path, content in files(sample).items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
