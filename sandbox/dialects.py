"""How the energy companies of six countries write their exports: headers, words, separators, encodings.

Everything here is invented. Meter points lie in number blocks nobody is known to hand out, homes lie in
mountain wilderness, names and streets are words for "made up" (see `data/README.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

HOME_TYPES = ("home", "cabin", "business", "other")
"""What a home is used for, in the order of `Dialect.home_types`."""

RESOURCE_TYPES = ("water heater", "charger", "heat pump", "solar", "car", "other")
"""What stands in a home, in the order of `Dialect.resource_types`."""

NUMBERS_PER_BLOCK = 10**8
"""How many meter points one block of synthetic numbers holds."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of the map without homes in it, in hundred-thousandths of a degree or in centimetres."""

    first_low: int
    first_high: int
    second_low: int
    second_high: int


def _degrees(south: float, north: float, west: float, east: float) -> Box:
    return Box(*(round(value * 100_000) for value in (south, north, west, east)))


def _metres(south: int, north: int, west: int, east: int) -> Box:
    return Box(south * 100, north * 100, west * 100, east * 100)


def gsrn(prefix: int) -> Callable[[Ints], Ints]:
    """Numbers to 18 digit ids: nine digits of prefix, eight of number, the GS1 check digit."""

    def numbered(numbers: Ints) -> Ints:
        data = prefix * NUMBERS_PER_BLOCK + numbers
        total, rest, weight = np.zeros_like(data), data.copy(), 3
        while rest.any():
            total += weight * (rest % 10)
            rest //= 10
            weight = 4 - weight
        ids: Ints = data * 10 + (-total) % 10
        return ids

    return numbered


def mpan(prefix: int) -> Callable[[Ints], Ints]:
    """Numbers to 13 digit British cores: four digits of prefix, eight of number, check digit modulo 11."""
    primes = (43, 41, 37, 31, 29, 23, 19, 17, 13, 7, 5, 3)

    def numbered(numbers: Ints) -> Ints:
        data = prefix * NUMBERS_PER_BLOCK + numbers
        total = sum(prime * (data // 10**place % 10) for place, prime in enumerate(primes))
        ids: Ints = data * 10 + total % 11 % 10
        return ids

    return numbered


def malo(prefix: int) -> Callable[[Ints], Ints]:
    """Numbers to 11 digit German ids: two digits of prefix, eight of number, odd places once, even twice."""

    def numbered(numbers: Ints) -> Ints:
        data = prefix * NUMBERS_PER_BLOCK + numbers
        total = sum((2 if place % 2 == 0 else 1) * (data // 10**place % 10) for place in range(10))
        ids: Ints = data * 10 + (-total) % 10
        return ids

    return numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way of writing an export.

    Attributes:
        customers: (header, field) of each column of an export of meter points, in order.
        resources: the same for an export of resources.
        unit: what a coordinate counts, as a divisor of the box units (degrees or metres).
        meter_point: turns numbers below `NUMBERS_PER_BLOCK` into ids.
        gas_point: the same for gas points that lie between the electric ones; None: there are none.
        foreign_point: well-formed ids of another country; None where every beginning may be the country's.
        boxes: where homes may lie; test_areas: where a small share of them lies; abroad: a place outside.
    """

    name: str
    customers: tuple[tuple[str, str], ...]
    resources: tuple[tuple[str, str], ...]
    separator: str = ";"
    decimal: str = ","
    encoding: str = "utf-8"
    newline: str = "\n"
    unit: int = 100_000
    meter_point: Callable[[Ints], Ints]
    gas_point: Callable[[Ints], Ints] | None = None
    foreign_point: Callable[[Ints], Ints] | None
    boxes: tuple[Box, ...]
    test_areas: tuple[Box, ...] = ()
    abroad: Box
    home_types: tuple[str, str, str, str]
    resource_types: tuple[str, str, str, str, str, str]
    unknown_type: str
    status: tuple[str, str]
    """What open and closed points are called."""
    yes_no: tuple[str, str]
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    streets: tuple[str, ...]
    places: tuple[tuple[str, str], ...]
    """(postcode, place) pairs."""
    entrance: str
    farm: str
    brands: tuple[str, ...] = ("Fiksjon", "Attrapp", "Kuliss")
    extras: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Fields with the same text in every row."""


_MOUNTAINS_NO = (
    _degrees(60.05, 60.30, 7.30, 7.80),  # Hardangervidda
    _degrees(61.85, 61.97, 9.60, 9.90),  # Rondane
    _degrees(62.30, 62.42, 9.15, 9.45),  # Dovrefjell
    _degrees(66.55, 66.75, 14.90, 15.30),  # Saltfjellet
    _degrees(69.20, 69.45, 24.05, 24.75),  # Finnmarksvidda
)
_TEST_AREAS_NO = (
    _degrees(79.5187, 79.5197, 15.9740, 15.9780),
    _degrees(78.2163, 78.2169, 15.6330, 15.6370),
)

NORWEGIAN = Dialect(
    name="norwegian",
    customers=(
        ("Kundenr", "user"),
        ("Kundenavn", "name"),
        ("Epost", "email"),
        ("Anlegg", "location"),
        ("Kundetype", "location_type"),
        ("MålepunktID", "meter_point"),
        ("Målernummer", "serial"),
        ("Adresse", "address"),
        ("Postnr", "postcode"),
        ("Poststed", "place"),
        ("Breddegrad", "first"),
        ("Lengdegrad", "second"),
        ("Adressesperre", "protected"),
        ("Status", "status"),
    ),
    resources=(
        ("Kundenr", "user"),
        ("Anlegg", "location"),
        ("EnhetID", "resource"),
        ("Enhetstype", "resource_type"),
        ("MålepunktID", "meter_point"),
        ("Merke", "brand"),
        ("Status", "status"),
    ),
    meter_point=gsrn(707057599),
    foreign_point=gsrn(735999999),
    boxes=_MOUNTAINS_NO,
    test_areas=_TEST_AREAS_NO,
    abroad=_degrees(48.80, 48.90, 8.20, 8.40),
    home_types=("Husholdning", "Fritidsbolig", "Næring", "Annet"),
    resource_types=("varmtvannsbereder", "lader", "varmepumpe", "solcelleanlegg", "elbil", "annet"),
    unknown_type="Luftslott",
    status=("Aktiv", "Avsluttet"),
    yes_no=("Ja", "Nei"),
    first_names=("Påfunn", "Eksempla", "Øve", "Åsynja", "Prøvar", "Dikta", "Mønstre", "Fiksja"),
    last_names=("Testsen", "Prøveland", "Påfunnhaug", "Øvelsesberg", "Eksempelstad", "Diktrud", "Ærligmoen"),
    streets=("Påfunnveien", "Eksempelgata", "Øvelsesstien", "Attrappbakken", "Luftslottet", "Diktaråsen"),
    places=(("9997", "PÅFUNNVIK"), ("9998", "EKSEMPELNES"), ("0000", "INGENSTED")),
    entrance="inngang",
    farm="Gården",
)

DANISH = Dialect(
    name="danish",
    customers=(
        ("Kundenummer", "user"),
        ("Navn", "name"),
        ("MålepunktsID", "meter_point"),
        ("MålepunktsID_hovedmåler", "empty"),
        ("Målernummer", "serial"),
        ("Vejnavn", "street"),
        ("Husnummer", "number"),
        ("Postnummer", "postcode"),
        ("By", "place"),
        ("Aftagertype", "location_type"),
        ("Beskyttet_Adresse", "protected"),
        ("Tilstand", "status"),
    ),
    resources=(
        ("Kundenummer", "user"),
        ("MålepunktsID", "meter_point"),
        ("Vejnavn", "street"),
        ("Husnummer", "number"),
        ("EnhedsID", "resource"),
        ("Enhedstype", "resource_type"),
        ("Tilstand", "status"),
    ),
    encoding="utf-8-sig",
    newline="\r\n",
    meter_point=gsrn(571313199),
    gas_point=gsrn(571515199),
    foreign_point=gsrn(735999999),
    boxes=(_degrees(57.05, 57.10, 8.95, 9.05),),
    abroad=_degrees(48.80, 48.90, 8.20, 8.40),
    home_types=("Husstand", "Fritidshus", "Erhverv", "Andet"),
    resource_types=("vandvarmer", "lader", "varmepumpe", "solceller", "elbil", "andet"),
    unknown_type="Luftkastel",
    status=("Tilsluttet", "Nedlagt"),
    yes_no=("true", "false"),
    first_names=("Påhit", "Øvelse", "Digte", "Attrap", "Ærlig"),
    last_names=("Prøvesen", "Eksempelgaard", "Påhitskov", "Øvelseskjær"),
    streets=("Påhitsvej", "Eksempelgade", "Øvelsesstræde", "Attrapvænget"),
    places=(("9999", "Påhitby"), ("0000", "Ingensteds")),
    entrance="opgang",
    farm="Gården",
)

SWEDISH = Dialect(
    name="swedish",
    customers=(
        ("Kundnummer", "user"),
        ("Namn", "name"),
        ("Anläggnings-id", "meter_point"),
        ("Anläggning", "location"),
        ("Kundkategori", "location_type"),
        ("Mätarnummer", "serial"),
        ("Adress", "address"),
        ("Postnummer", "postcode"),
        ("Ort", "place"),
        ("N", "first"),
        ("E", "second"),
        ("Skyddad", "protected"),
        ("Läge", "status"),
    ),
    resources=(
        ("Kundnummer", "user"),
        ("Anläggning", "location"),
        ("Enhets-id", "resource"),
        ("Enhetstyp", "resource_type"),
        ("Anläggnings-id", "meter_point"),
        ("Läge", "status"),
    ),
    separator="\t",
    encoding="cp1252",
    newline="\r\n",
    unit=100,
    meter_point=gsrn(735999999),
    foreign_point=gsrn(643999999),
    boxes=(_metres(7_470_000, 7_490_000, 600_000, 625_000),),  # Sarek, EPSG:3006
    abroad=_metres(6_140_000, 6_150_000, 900_000, 910_000),
    home_types=("Hushåll", "Fritidshus", "Företag", "Övrigt"),
    resource_types=("varmvattenberedare", "laddbox", "värmepump", "solceller", "elbil", "övrigt"),
    unknown_type="Luftslott",
    status=("Aktiv", "Avslutad"),
    yes_no=("J", "N"),
    first_names=("Påhitta", "Övning", "Exempla", "Ärlige"),
    last_names=("Provsson", "Påhittberg", "Exempelström", "Övningsgård"),
    streets=("Påhittsvägen", "Exempelgatan", "Övningsgränd", "Attrappstigen"),
    places=(("999 99", "PÅHITTSBY"), ("000 00", "INGENSTANS")),
    entrance="uppgång",
    farm="Gården",
)

FINNISH = Dialect(
    name="finnish",
    customers=(
        ("Asiakasnumero", "user"),
        ("Nimi", "name"),
        ("Käyttöpaikka", "location"),
        ("Käyttöpaikan tunnus", "meter_point"),
        ("Tuotteen tunnus", "product"),
        ("Asiakastyyppi", "location_type"),
        ("Osoite", "address"),
        ("Postinumero", "postcode"),
        ("Postitoimipaikka", "place"),
        ("Leveysaste", "first"),
        ("Pituusaste", "second"),
        ("Turvakielto", "protected"),
        ("Tila", "status"),
    ),
    resources=(
        ("Asiakasnumero", "user"),
        ("Käyttöpaikka", "location"),
        ("Laitteen tunnus", "resource"),
        ("Laitetyyppi", "resource_type"),
        ("Käyttöpaikan tunnus", "meter_point"),
        ("Tila", "status"),
    ),
    meter_point=gsrn(643999999),
    foreign_point=None,
    boxes=(_degrees(68.45, 68.60, 25.30, 25.80),),  # Lemmenjoki
    abroad=_degrees(48.80, 48.90, 8.20, 8.40),
    home_types=("Kotitalous", "Vapaa-ajan asunto", "Yritys", "Muu"),
    resource_types=("lämminvesivaraaja", "latausasema", "lämpöpumppu", "aurinkopaneeli", "sähköauto", "muu"),
    unknown_type="Pilvilinna",
    status=("Voimassa", "Päättynyt"),
    yes_no=("K", "E"),
    first_names=("Keksi", "Esimerkki", "Höpö", "Väärä"),
    last_names=("Koeläinen", "Esimerkkilä", "Keksittynen", "Höpönen"),
    streets=("Keksintie", "Esimerkkikatu", "Höpöpolku", "Pilvilinnantie"),
    places=(("99999", "KEKSITTY"), ("00000", "EI MISSÄÄN")),
    entrance="rappu",
    farm="Tila",
    extras=MappingProxyType({"product": "8716867000030"}),
)

BRITISH = Dialect(
    name="british",
    customers=(
        ("Account", "user"),
        ("Name", "name"),
        ("Premises", "location"),
        ("MPAN", "meter_point"),
        ("Meter serial number", "serial"),
        ("Category", "location_type"),
        ("Address", "address"),
        ("Postcode", "postcode"),
        ("Town", "place"),
        ("Latitude", "first"),
        ("Longitude", "second"),
        ("Status", "status"),
    ),
    resources=(
        ("Account", "user"),
        ("Premises", "location"),
        ("Device", "resource"),
        ("Device type", "resource_type"),
        ("MPAN", "meter_point"),
        ("Status", "status"),
    ),
    separator=",",
    decimal=".",
    newline="\r\n",
    meter_point=mpan(2099),
    foreign_point=gsrn(735999999),
    boxes=(_degrees(57.00, 57.08, -3.80, -3.60),),  # Cairngorms
    abroad=_degrees(48.80, 48.90, 8.20, 8.40),
    home_types=("Domestic", "Holiday home", "Business", "Other"),
    resource_types=("immersion heater", "charge point", "heat pump", "solar", "electric car", "other"),
    unknown_type="Castle in the air",
    status=("Live", "Closed"),
    yes_no=("Y", "N"),
    first_names=("Sample", "Madéup", "Testy", "Invented"),
    last_names=("O'Nobody", "Specimen", "Placeholder", "Fictional"),
    streets=("Madeup Lane", "Specimen Street", "Nowhere Close", "Fiction Road"),
    places=(("ZZ99 9ZZ", "Nowhere"), ("ZZ99 3VZ", "Madeupton")),
    entrance="flat",
    farm="Farm",
)

GERMAN = Dialect(
    name="german",
    customers=(
        ("Kundennummer", "user"),
        ("Name", "name"),
        ("Vertragskonto", "location"),
        ("Marktlokation", "meter_point"),
        ("Messlokation", "metering_location"),
        ("Zählernummer", "serial"),
        ("Kundengruppe", "location_type"),
        ("Straße", "address"),
        ("PLZ", "postcode"),
        ("Ort", "place"),
        ("Status", "status"),
    ),
    resources=(
        ("Kundennummer", "user"),
        ("Vertragskonto", "location"),
        ("Geräte-ID", "resource"),
        ("Gerätetyp", "resource_type"),
        ("Marktlokation", "meter_point"),
        ("Status", "status"),
    ),
    encoding="cp1252",
    newline="\r\n",
    meter_point=malo(99),
    foreign_point=gsrn(735999999),
    boxes=(_degrees(53.0, 53.1, 10.0, 10.1),),
    abroad=_degrees(40.0, 40.1, 3.0, 3.1),
    home_types=("Haushalt", "Ferienhaus", "Gewerbe", "Sonstige"),
    resource_types=("Warmwasserspeicher", "Wallbox", "Wärmepumpe", "PV-Anlage", "E-Auto", "Sonstige"),
    unknown_type="Luftschloss",
    status=("aktiv", "beendet"),
    yes_no=("ja", "nein"),
    first_names=("Erfunde", "Mustera", "Übung", "Ätsch"),
    last_names=("Mustermann", "Beispielhuber", "Übungsmüller", "Größenwahn"),
    streets=("Musterstraße", "Beispielweg", "Übungsgäßchen", "Luftschloßallee"),
    places=(("99999", "Musterstadt"), ("00000", "Nirgendwo")),
    entrance="Aufgang",
    farm="Hof",
)

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {dialect.name: dialect for dialect in (NORWEGIAN, DANISH, SWEDISH, FINNISH, BRITISH, GERMAN)}
)
