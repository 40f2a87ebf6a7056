"""How one customer writes one kind of export: the TOML file given with `--profile`.

Attribute names are exactly the keys of the TOML file. Everything is declared here; loading guesses
nothing. No I/O: `connectors/profiles.py` finds and reads the files.
"""

from __future__ import annotations

import codecs
import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic import model_validator as check

from schemas.errors import ProfileError

LocationType = Literal["Unknown", "Residential", "Commercial", "Other"]
"""The location types of the API's published contract."""

ResourceType = Literal["Generic", "Vehicle", "Charger", "HotWaterTank", "HVAC", "SolarInverter"]
"""The resource types of the API's published contract."""

VEHICLE: Final = "Vehicle"
"""The resource type that hangs on its user instead of a location."""

Normalisation = Literal["excel-text", "apostrophe", "blanks", "zero-width", "ai-8018", "gb-s-number"]
"""The closed list of what may be undone in a meter point id; each one is counted."""

Axis = Literal["latitude", "longitude", "northing", "easting"]

Scheme = Literal[
    "NO", "DK", "SE", "FI", "NL", "BE", "GB", "DE-MaLo", "DE-MeLo", "AT", "CH", "FR", "IT", "ES", "PT"
]
"""The meter point schemes a profile may name; their rules are in `schemas/meter_points.py`."""

SCHEMES: tuple[str, ...] = get_args(Scheme)
LOCATION_TYPES: tuple[str, ...] = get_args(LocationType)
RESOURCE_TYPES: tuple[str, ...] = get_args(ResourceType)

ENCODINGS = (
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "iso8859-1", "iso8859-15", "iso8859-4",
    "iso8859-10", "cp850", "cp865", "cp437", "mac-roman",
)  # fmt: skip
"""Python's names of the encodings a CSV may declare; aliases such as `latin-1` are folded to these."""

PARTS_OF = {"NO": ("NO", "SJ"), "FI": ("FI", "AX"), "DK": ("DK", "FO", "GL")}
"""Where coordinates of a country's customers may also lie: ISO 3166 gives these parts codes of their own."""

GEOGRAPHIC = ("EPSG:4326", "EPSG:4258")
"""Reference systems in degrees: WGS 84 and ETRS89."""


COUNTRY = r"^[A-Z]{2}$"


def _plain_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _known_encoding(value: str) -> str:
    try:
        name = codecs.lookup(value).name
    except LookupError:
        name = ""
    name = {"utf-8-sig": "utf-8"}.get(name, name)
    if name not in ENCODINGS:
        raise ValueError(f"is not an encoding we read; use one of {', '.join(ENCODINGS)}")
    return name


def _one_ascii_sign(value: str) -> str:
    if len(value) != 1 or not value.isascii() or value in '\r\n\0"':
        raise ValueError('must be one plain character such as ";" or "\\t"')
    return value


def _quote_sign(value: str) -> str:
    if value and (len(value) != 1 or not value.isascii() or value.isalnum() or value in "\r\n\0"):
        raise ValueError('must be one plain character such as \'"\', or "" when the file quotes nothing')
    return value


Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_plain_tuple)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_plain_tuple)]
Header = Annotated[str, Field(min_length=1)]
Country = Annotated[str, Field(pattern=COUNTRY)]
Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A table of the profile: frozen, strict about types, no key we do not know."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class ExportSection(Section):
    """`[export]`: what the file says about rows it does not hold, and what it defines."""

    kind: Literal["full", "delta"] = "delta"
    of: Literal["customers", "resources"] = "customers"


class FileSection(Section):
    """`[file]`: the dialect. A Parquet file needs none of it but `match`.

    `format` left out: told by the file's first bytes. `newline` left out: LF and CRLF both end a line.
    `header_line` is the physical line of the header, from 1. `footer_lines` are the last
    physical lines of the file and no rows. `quote` empty: no field is quoted. `last_line = "open"`: the system
    never ends its last line, so a missing line end does not mean a cut file.
    """

    match: Annotated[str, Field(min_length=1)] | None = None
    format: Literal["csv", "parquet"] | None = None
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8"
    separator: Annotated[str, AfterValidator(_one_ascii_sign)] = ","
    decimal: Literal[".", ","] = "."
    quote: Annotated[str, AfterValidator(_quote_sign)] = '"'
    newline: Literal["\n", "\r\n", "\r"] | None = None
    nulls: Texts = ("",)
    header: Literal["exact", "folded"] = "exact"
    header_line: Annotated[int, Field(ge=1, le=1000)] = 1
    footer_lines: Annotated[int, Field(ge=0, le=1000)] = 0
    last_line: Literal["ended", "open"] = "ended"
    multiline: Words = ()
    member: Annotated[str, Field(min_length=1)] | None = None


class IdentitySection(Section):
    """`[identity]`: how ids are made."""

    ids: Literal["hmac", "as-is"] = "hmac"
    location_from: Words = ()
    unicode: Literal["NFC", "as-is", "refuse"] = "NFC"


class ColumnsSection(Section):
    """`[columns]`: our name = their header. Left out: the export has no such column."""

    user: Header
    location: Header | None = None
    location_type: Header | None = None
    meter_point: Header | None = None
    parent_meter_point: Header | None = None
    metering_location: Header | None = None
    latitude: Header | None = None
    longitude: Header | None = None
    resource: Header | None = None
    resource_type: Header | None = None
    status: Header | None = None
    protected: Header | None = None

    def mapped(self) -> dict[str, str]:
        """Canonical name to header, in our order, of the columns the export has."""
        return {name: header for name, header in self if header is not None}


CANONICAL = tuple(ColumnsSection.model_fields)
"""Every column we know, in our order."""

TELL_LOCATIONS_APART = ("user", "meter_point", "metering_location")
"""Those of them that `[identity] location_from` may name, beside headers."""


class MeterPointSection(Section):
    """`[meter_point]`: which ids these are. `scheme` is filled in from the country."""

    scheme: Scheme | None = None
    carrier: Literal["electricity", "gas"] | None = None
    normalise: Annotated[tuple[Normalisation, ...], BeforeValidator(_plain_tuple)] = ()


class CoordinatesSection(Section):
    """`[coordinates]`: what the two columns hold, in the columns' order, and where they may lie."""

    crs: Annotated[str, Field(pattern=r"^EPSG:[0-9]{4,6}$")] = "EPSG:4326"
    axes: Annotated[tuple[Axis, Axis], BeforeValidator(_plain_tuple)] = ("latitude", "longitude")
    on_violation: Literal["quarantine", "drop"] = "quarantine"
    within: Annotated[tuple[Country, ...], BeforeValidator(_plain_tuple)] = ()
    shared_by: Annotated[int, Field(ge=1)] = 100
    """Most customers at one and the same point before it is called nobody's home."""


class ValuesSection(Section):
    """`[values.*]`: their word = the API's word; `"*"` stands for every word not listed."""

    location_type: dict[str, LocationType] = Field(default_factory=dict)
    resource_type: dict[str, ResourceType] = Field(default_factory=dict)


class ProtectSection(Section):
    """`[protect]`: which values of the `protected` column protect a row, and how."""

    values: Texts = ()
    action: Literal["no-coordinates", "skip"] = "no-coordinates"


class ConflictsSection(Section):
    """`[conflicts]`: one meter point claimed twice; one location with two contents."""

    meter_point: Literal["quarantine", "keep-first"] = "quarantine"
    location: Literal["quarantine", "keep-first"] = "quarantine"


class GuardsSection(Section):
    """`[guards]`: every limit that stops a run. Shares are of 1; factors are of the last completed run.

    `minimum_rows` and `minimum_sent` are the sample below which a share says nothing. `expansion` is how
    many times larger than its container a file may unpack.
    """

    quarantined: Share = 0.02
    check_digit: Share = 0.01
    minimum_rows: Count = 300
    rejected: Share = 0.01
    minimum_sent: Count = 300
    rejected_alike: Annotated[int, Field(ge=1)] = 25
    canary: Annotated[int, Field(ge=1)] = 5
    shrank: Share = 0.10
    grew: Factor = 1.0
    creates: Factor = 3.0
    updates: Share = 0.30
    meter_points_lost: Count = 20
    deletes: Share = 0.01
    deletes_always: Count = 20
    deletes_hours_apart: Annotated[float, Field(ge=0)] = 20.0
    outside_km: Annotated[float, Field(ge=0)] = 30.0
    outside_country: Share = 0.05
    expansion: Factor = 200.0


class Profile(Section):
    """One profile. Equal profiles have equal digests, whatever the order of their keys.

    Raises:
        ProfileError: by `from_toml`, naming every wrong key and its cure at once.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    country: Country
    export: ExportSection = ExportSection()
    file: FileSection = FileSection()
    identity: IdentitySection = IdentitySection()
    columns: ColumnsSection
    meter_point: MeterPointSection = MeterPointSection()
    coordinates: CoordinatesSection = CoordinatesSection()
    values: ValuesSection = ValuesSection()
    keep: dict[str, Words] = Field(default_factory=dict)
    protect: ProtectSection = ProtectSection()
    conflicts: ConflictsSection = ConflictsSection()
    guards: GuardsSection = GuardsSection()

    @classmethod
    def from_toml(cls, text: str, origin: str) -> Self:
        """The profile in `text`; `origin` is the file's name, for messages."""
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ProfileError(f"{origin} is not TOML: {error}.", cure="Mend the line it names.") from None
        except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
            raise ProfileError(
                f"{origin} holds a number or a nesting that no profile needs.", cure="Give a profile."
            ) from None
        wrong = [_unknown_sentence(path, known) for path, known in _take_unknown(document, cls)]
        try:
            profile = cls.model_validate(document)
        except ValidationError as error:
            wrong += [sentence for entry in error.errors() for sentence in _sentences(entry)]
        if wrong:
            count = "one key is" if len(wrong) == 1 else f"{len(wrong)} keys are"
            lines = ";\n".join(f"  {sentence}" for sentence in wrong)
            raise ProfileError(
                f"{origin}: {count} wrong:\n{lines}.", cure="Mend the profile and start again."
            )
        return profile

    @check(mode="before")
    @classmethod
    def _fill_in_from_country(cls, document: Any) -> Any:
        """Write out what the country implies, so that stating it or leaving it out is the same profile."""
        country = document.get("country") if isinstance(document, dict) else None
        if not isinstance(country, str) or not re.fullmatch(COUNTRY, country):
            return document
        filled = dict(document)
        scheme = next((name for name in SCHEMES if name.partition("-")[0] == country), None)
        for table, key, value in (
            ("meter_point", "scheme", scheme),
            ("coordinates", "within", PARTS_OF.get(country, (country,))),
        ):
            stated = filled.get(table, {})
            if isinstance(stated, dict):
                filled[table] = {key: value} | stated
        return filled

    @check(mode="after")
    def _agree(self) -> Self:
        contradictions = list(_contradictions(self))
        if contradictions:
            raise ValueError("\n".join(contradictions))
        return self

    def headers(self) -> dict[str, str]:
        """What to read: our name to their header; headers only `location_from` names are `key:<header>`."""
        keys = [part for part in self.identity.location_from if part not in CANONICAL]
        return self.columns.mapped() | {f"key:{header}": header for header in keys}

    def digest(self) -> str:
        """SHA-256 (64 hex characters) of the profile in one canonical spelling, defaults written out."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


# ------------------------------------------------------------------ keys that contradict each other
def _contradictions(profile: Profile) -> Iterator[str]:
    yield from _wrong_columns(profile)
    yield from _wrong_filters(profile)
    yield from _wrong_dialect(profile.file)
    yield from _wrong_identity(profile)
    yield from _wrong_coordinates(profile)
    yield from _wrong_meter_points(profile)


def _wrong_columns(profile: Profile) -> Iterator[str]:
    columns = profile.columns
    if (columns.latitude is None) != (columns.longitude is None):
        yield "[columns] latitude and longitude come in pairs: name both headers or neither"
    elif columns.latitude is not None and columns.latitude == columns.longitude:
        yield f'[columns] latitude and longitude are the same header "{columns.latitude}": name two'
    if (columns.resource is None) != (columns.resource_type is None):
        yield "[columns] resource and resource_type come in pairs: name both headers or neither"
    if profile.export.of == "resources" and columns.resource is None:
        yield '[export] of = "resources" needs [columns] resource and resource_type'
    for kind in ("location_type", "resource_type"):
        if getattr(profile.values, kind) and kind not in columns.mapped():
            yield f"[values.{kind}] needs [columns] {kind}: name its header"


def _wrong_filters(profile: Profile) -> Iterator[str]:
    columns = profile.columns
    for name in profile.keep:
        if name not in columns.mapped():
            yield f"[keep] {name} is not in [columns]: add its header there{_nearest(name, CANONICAL)}"
    for name, words in profile.keep.items():
        if not words:
            yield f"[keep] {name} lists no value, so no row would be kept: list at least one"
    if columns.protected is not None and not profile.protect.values:
        yield "[protect] values is missing: list the values of the protected column that protect a row"
    if columns.protected is None and profile.protect.values:
        yield "[protect] needs [columns] protected: name the header that holds the flag"


def _wrong_dialect(file: FileSection) -> Iterator[str]:
    if file.separator == file.decimal and file.format != "parquet":
        yield f'[file] separator and decimal are both "{file.decimal}": they must differ'
    if file.quote and file.quote in (file.separator, file.decimal):
        yield f'[file] quote is "{file.quote}", which [file] separator or decimal already is'
    if file.multiline and not file.quote:
        yield "[file] multiline needs [file] quote: a line break is only legal inside quotes"


def _wrong_identity(profile: Profile) -> Iterator[str]:
    parts, mapped = profile.identity.location_from, profile.columns.mapped()
    if parts and profile.columns.location is not None:
        yield "[identity] location_from is for exports without a location column: drop one of the two"
    for part in parts:
        if part in CANONICAL and part not in mapped:
            yield f"[identity] location_from names {part}, which is not in [columns]: add its header there"
        elif part in CANONICAL and part not in (*TELL_LOCATIONS_APART, "location"):
            known = ", ".join(TELL_LOCATIONS_APART)
            yield f"[identity] location_from names {part}, which tells no locations apart: name {known} or headers"
    if profile.identity.ids == "as-is":
        yield from _wrong_parts_of_ids_as_they_are(parts)


def _wrong_parts_of_ids_as_they_are(parts: tuple[str, ...]) -> Iterator[str]:
    if len(parts) > 1:
        yield '[identity] ids = "as-is" makes no id out of several columns: use ids = "hmac"'
    elif parts and parts[0] not in ("user", "meter_point"):
        yield (
            f'[identity] location_from ["{parts[0]}"] with ids = "as-is" makes addresses of the API out of any text: '
            'name its header as [columns] location instead, or use ids = "hmac"'
        )


def _wrong_coordinates(profile: Profile) -> Iterator[str]:
    section = profile.coordinates
    pair = set(section.axes)
    if pair not in ({"latitude", "longitude"}, {"northing", "easting"}):
        yield "[coordinates] axes must be latitude and longitude, or northing and easting, in either order"
    elif section.crs in GEOGRAPHIC and "northing" in pair:
        yield f"[coordinates] crs {section.crs} is in degrees, not northing and easting: name the real crs"
    elif section.crs not in GEOGRAPHIC and "axes" not in section.model_fields_set:
        yield f'[coordinates] crs {section.crs} needs axes, such as ["northing", "easting"]'


def _wrong_meter_points(profile: Profile) -> Iterator[str]:
    if profile.meter_point.scheme is None and profile.columns.meter_point is not None:
        known = ", ".join(SCHEMES)
        yield f"[meter_point] scheme is missing: {profile.country} has none of its own; name one of {known}"


# ------------------------------------------------------------------ sentences
_FREE_TABLES = {("keep",), ("values", "location_type"), ("values", "resource_type")}


def _take_unknown(
    document: dict[str, Any], model: type[BaseModel], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Remove and yield every key the profile does not know, with the keys known at that place."""
    known = tuple(model.model_fields)
    for key in list(document):
        here = (*path, key)
        if key not in known:
            del document[key]
            yield here, known
            continue
        inner = model.model_fields[key].annotation
        is_table = isinstance(inner, type) and issubclass(inner, BaseModel)
        if is_table and isinstance(document[key], dict) and here not in _FREE_TABLES:
            yield from _take_unknown(document[key], inner, here)  # type: ignore[arg-type]


def _unknown_sentence(path: tuple[str, ...], known: tuple[str, ...]) -> str:
    hint = _nearest(path[-1], known)
    elsewhere = [table for table, keys in _keys_by_table().items() if path[-1] in keys and table != path[:-1]]
    if elsewhere and not hint:
        hint = f"; it belongs under {_table(elsewhere[0])}"
    return f"{_key(path)}: unknown key{hint or '; the keys here are ' + ', '.join(known)}"


def _keys_by_table() -> dict[tuple[str, ...], tuple[str, ...]]:
    tables: dict[tuple[str, ...], tuple[str, ...]] = {(): tuple(Profile.model_fields)}
    for name, entry in Profile.model_fields.items():
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel):
            tables[(name,)] = tuple(entry.annotation.model_fields)
    return tables


def _nearest(word: str, known: tuple[str, ...]) -> str:
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def _table(path: tuple[str, ...]) -> str:
    return f"[{'.'.join(path)}]" if path else "the top of the file"


def _key(path: tuple[str | int, ...]) -> str:
    words = [str(part) for part in path]
    return words[0] if len(words) == 1 else f"[{'.'.join(words[:-1])}] {words[-1]}"


_EXPECTED = {
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "tuple_type": 'must be a list, such as ["one", "two"]',
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "string_too_short": "is empty: give it a value or leave the key out",
    "finite_number": "must be a finite number",
}


def _sentences(error: Mapping[str, Any]) -> Iterator[str]:
    """One sentence per wrong key out of one pydantic error, which may carry several contradictions."""
    place, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if kind == "value_error" and not place:
        yield from str(context["error"]).split("\n")
        return
    path = tuple(part for part in place if isinstance(part, str)) or ("the file",)
    yield f"{_key(path)}: {_expected(kind, context, path, error)}"


def _expected(kind: str, context: Mapping[str, Any], path: tuple[str, ...], error: Mapping[str, Any]) -> str:
    if kind == "missing":
        return "is missing: " + _MISSING.get(path, "add it")
    if kind == "literal_error":
        return f"must be one of {context['expected']}{_nearest_literal(error)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(path, f"must look like {context['pattern']}")
    if kind in ("greater_than_equal", "less_than_equal", "greater_than"):
        return str(error["msg"]).removeprefix("Input ").replace("should", "must")
    return _EXPECTED.get(kind, str(error["msg"]))


_MISSING = {
    ("name",): 'give the profile a short name, such as name = "nordkraft"',
    ("country",): 'name the country of the meter points, such as country = "NO"',
    ("columns",): 'add the table with at least user = "<the header of the customer number>"',
    ("coordinates", "axes"): "list two axes, in the columns' order",
    ("columns", "user"): "name the header of the column that tells customers apart",
}

_PATTERNS = {
    (
        "name",
    ): "must be 1 to 64 letters, digits, dots, dashes or underscores, and begin with a letter or digit",
    ("country",): 'must be an ISO 3166 code of two capital letters, such as "NO"',
    ("coordinates", "within"): "must list ISO 3166 codes of two capital letters",
    ("coordinates", "crs"): 'must be an EPSG code, such as "EPSG:4326" or "EPSG:25833"',
}


def _nearest_literal(error: Mapping[str, Any]) -> str:
    value = error.get("input")
    words = tuple(str(error["ctx"]["expected"]).replace(" or ", ", ").replace("'", "").split(", "))
    return _nearest(value, words) if isinstance(value, str) else ""
