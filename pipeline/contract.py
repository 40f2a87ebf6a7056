"""Is the API still the one we know? Compared by shape, over the calls we make, not byte by byte.

Of 237 versions of the vendor's document six changed a shape; the rest changed examples, so a hash would cry
wolf daily. What we send must still be accepted, what we read must still be there; all else may change freely.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 12
"""The deepest shape we use has six levels; deeper ones are recursive and end here."""


# ------------------------------------------------------------------ the normalised shape
@dataclass(frozen=True, slots=True)
class Shape:
    """What a JSON value looks like; descriptions, examples and order left out.

    Attributes:
        type: `string`, `number`, `integer`, `boolean`, `array`, `object`; `unknown` for what we do not use.
        fields: of an object.
        required: names of fields that are always there.
        item: of an array.
        enum: the only values; None for any.
        nullable: may be null.
        limits: what narrows it further: pattern, length, format of a text, range of a number, count of items.
        unused: of an object, fields we know and leave alone; only in what is pinned.
    """

    type: str
    fields: Mapping[str, Shape] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    item: Shape | None = None
    enum: frozenset[str] | None = None
    nullable: bool = False
    limits: frozenset[tuple[str, str]] = frozenset()
    unused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Operation:
    """One call.

    Attributes:
        sends: shape of its body, None without one.
        answers: shape of the body by status, None for an empty body.
        parameters: of query and headers, by name: whether it is required, and its shape.
        unused: statuses we know and for which no shape matters; only in what is pinned.
    """

    sends: Shape | None = None
    answers: Mapping[int, Shape | None] = field(default_factory=dict)
    parameters: Mapping[str, tuple[bool, Shape]] = field(default_factory=dict)
    unused: frozenset[int] = frozenset()


Contract = Mapping[tuple[str, str], Operation]
"""Operations by method and path; path parameters are written `{}`, for their names mean nothing."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a found contract differs from the pinned one; each difference is one sentence."""

    breaking: tuple[str, ...]
    harmless: tuple[str, ...]


# ------------------------------------------------------------------ what we use of it
def _text(*values: str, nullable: bool = False) -> Shape:
    return Shape("string", enum=frozenset(values) or None, nullable=nullable)


def _list(item: Shape, *, nullable: bool = False) -> Shape:
    return Shape("array", item=item, nullable=nullable)


def _object(
    always: Mapping[str, Shape], sometimes: Mapping[str, Shape] | None = None, unused: tuple[str, ...] = ()
) -> Shape:
    fields = {**always, **(sometimes or {})}
    return Shape("object", fields=fields, required=frozenset(always), unused=frozenset(unused))


def _call(
    sends: Shape | None = None,
    *,
    unused: tuple[int, ...],
    parameters: Mapping[str, tuple[bool, Shape]] | None = None,
    **answers: Shape | None,
) -> Operation:
    told = {int(status.removeprefix("_")): shape for status, shape in answers.items()}
    return Operation(sends, told, parameters or {}, frozenset(unused))


_ID = _text()
_MAYBE = _text(nullable=True)
_COUNT = Shape("integer")
_LOCATION_TYPE = _text("Unknown", "Residential", "Commercial", "Other")
_RESOURCE_TYPE = _text("Generic", "Vehicle", "Charger", "HotWaterTank", "HVAC", "SolarInverter")
_COORDINATES = _object({}, {"latitude": Shape("number"), "longitude": Shape("number")})

_USER = _object({"userId": _ID})
_LOCATION_CONTENT = {
    "locationType": _LOCATION_TYPE,
    "coordinates": _COORDINATES,
    "meterPointIds": _list(_text(), nullable=True),
}
_OLD = ("meterPointId",)
_SENT_LOCATION = _object({"locationId": _ID}, _LOCATION_CONTENT, _OLD)
_SENT_LOCATION_OF_USER = _object({"locationId": _ID, "userId": _ID}, _LOCATION_CONTENT, _OLD)
_HELD_LOCATION = _object(
    {"locationId": _ID},
    {
        "locationType": _LOCATION_TYPE,
        "coordinates": _COORDINATES,
        "meterPointIds": _list(_text()),
        "userId": _MAYBE,
    },
    _OLD,
)
_SENT_RESOURCE = _object({"resourceId": _ID, "resourceType": _RESOURCE_TYPE}, {"meterPointId": _MAYBE})
_SENT_VEHICLE = _object({"resourceId": _ID, "resourceType": _RESOURCE_TYPE})
_HELD_RESOURCE = _object(
    {"resourceId": _ID, "resourceType": _RESOURCE_TYPE, "userId": _ID},
    {"locationId": _MAYBE, "meterPointId": _MAYBE},
)
_HELD_LOCATION_RESOURCE = _object(
    {"resourceId": _ID, "resourceType": _RESOURCE_TYPE, "userId": _ID, "locationId": _ID},
    {"meterPointId": _MAYBE},
)
_PAGING = _object(
    {"pageSize": _COUNT, "totalRecords": _COUNT},
    unused=("currentPage", "nextPage", "previousPage", "totalPages"),
)
_PAGE = {"page": (False, _COUNT), "pageSize": (False, _COUNT)}

PINNED: Contract = {
    ("POST", "/users/batch"): _call(
        _object({"users": _list(_USER)}), _201=_object({"users": _list(_USER)}), unused=(200, 400)
    ),
    ("POST", "/users/locations/batch"): _call(
        _object({"locations": _list(_SENT_LOCATION_OF_USER)}),
        _201=_object({"locations": _list(_HELD_LOCATION)}),
        unused=(200, 400),
    ),
    ("POST", "/users"): _call(_USER, _201=_USER, unused=(200, 400)),
    ("POST", "/users/{}/locations"): _call(_SENT_LOCATION, _201=_HELD_LOCATION, unused=(200, 400, 404, 409)),
    ("POST", "/users/{}/vehicles"): _call(_SENT_VEHICLE, _201=_HELD_RESOURCE, unused=(200, 400)),
    ("POST", "/users/{}/locations/{}/resources"): _call(
        _SENT_RESOURCE, _201=_HELD_LOCATION_RESOURCE, unused=(200, 400, 404)
    ),
    ("PATCH", "/users/{}/locations/{}"): _call(
        _object({}, _LOCATION_CONTENT), _200=_HELD_LOCATION, unused=(400, 404, 409)
    ),
    ("PUT", "/users/{}/locations/{}"): _call(_SENT_LOCATION, _200=_HELD_LOCATION, unused=(400, 404)),
    ("DELETE", "/users/{}"): _call(_204=None, unused=(200, 400, 404)),
    ("DELETE", "/users/{}/locations/{}"): _call(_204=None, unused=(200, 400, 404)),
    ("DELETE", "/resources/{}"): _call(_204=None, unused=(200, 400, 404)),
    ("GET", "/users"): _call(
        _200=_object({"pagination": _PAGING}, {"users": _list(_USER)}), parameters=_PAGE, unused=(400,)
    ),
    ("GET", "/users/{}"): _call(_200=_USER, unused=(400, 404)),
    ("GET", "/users/{}/locations"): _call(_200=_list(_HELD_LOCATION), unused=(400,)),
    ("GET", "/users/{}/locations/{}"): _call(_200=_HELD_LOCATION, unused=(400, 404)),
    ("GET", "/users/{}/resources"): _call(_200=_object({"resources": _list(_HELD_RESOURCE)}), unused=(404,)),
    ("GET", "/resources/{}"): _call(_200=_HELD_RESOURCE, unused=(400, 404)),
}
"""Every call this product makes, with the fields it sends and reads; `required` are those always sent, or
always needed."""


# ------------------------------------------------------------------ reading an OpenAPI document
def shape_of(document: object) -> Contract:
    """The normalised shape of every operation in an OpenAPI 3 document; empty for anything else."""
    reader = _Reader(document)
    paths = _mapping(_mapping(document).get("paths"))
    return {
        (method.upper(), re.sub(r"\{[^{}/]*\}", "{}", path)): reader.operation(
            _mapping(operation), _mapping(item)
        )
        for path, item in paths.items()
        for method, operation in _mapping(item).items()
        if method in ("get", "post", "put", "patch", "delete")
    }


class _Reader:
    """Resolves references inside one document."""

    def __init__(self, document: object) -> None:
        self._document = document

    def operation(self, operation: Mapping[str, Any], item: Mapping[str, Any]) -> Operation:
        body = self._resolved(operation.get("requestBody"))
        answers = _mapping(operation.get("responses"))
        return Operation(
            sends=self._content(body),
            answers={
                int(status): self._content(self._resolved(answer))
                for status, answer in answers.items()
                if str(status).isdecimal()
            },
            parameters=dict(
                self._parameters([*_list_of(item, "parameters"), *_list_of(operation, "parameters")])
            ),
        )

    def _parameters(self, parameters: list[Any]) -> Iterator[tuple[str, tuple[bool, Shape]]]:
        for each in parameters:
            parameter = self._resolved(each)
            if parameter.get("in") in ("query", "header", "cookie"):
                shape = self.shape(parameter.get("schema"))
                yield str(parameter.get("name")), (parameter.get("required") is True, shape)

    def _content(self, holder: Mapping[str, Any]) -> Shape | None:
        """The shape of a body's JSON; None when it has no JSON, or JSON of no stated shape."""
        for media_type, content in _mapping(holder.get("content")).items():
            schema = _mapping(content).get("schema")
            if media_type.partition(";")[0].strip() == "application/json" and schema is not None:
                return self.shape(schema)
        return None

    def shape(self, schema: object, depth: int = 0) -> Shape:
        told = self._resolved(schema)
        if depth > MAX_DEPTH or not told:
            return Shape("unknown")
        parts = [self._resolved(part) for part in _list_of(told, "allOf")]
        if parts:  # how a reference gets a description or a nullable beside it
            told = _merged([*parts, told])
        kind, nullable = _type_of(told)
        item = told.get("items")
        enum = told.get("enum")
        values = None if not isinstance(enum, list) else frozenset(str(v) for v in enum if v is not None)
        return Shape(
            kind,
            fields={
                name: self.shape(field, depth + 1) for name, field in _mapping(told.get("properties")).items()
            },
            required=frozenset(str(name) for name in _list_of(told, "required")),
            item=None if item is None else self.shape(item, depth + 1),
            enum=values,
            nullable=nullable or told.get("nullable") is True,
            limits=_limits(told, kind),
        )

    def _resolved(self, value: object) -> Mapping[str, Any]:
        """The object itself or, behind at most a few references within the document, the one meant."""
        for _ in range(MAX_DEPTH):
            found = _mapping(value)
            reference = found.get("$ref")
            if not isinstance(reference, str):
                return found
            value = self._document
            for step in reference.removeprefix("#/").split("/"):
                value = _mapping(value).get(step)
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list_of(holder: Mapping[str, Any], name: str) -> list[Any]:
    value = holder.get(name)
    return value if isinstance(value, list) else []


def _merged(parts: list[Mapping[str, Any]]) -> Mapping[str, Any]:
    whole: dict[str, Any] = {}
    for part in parts:
        whole.update({name: value for name, value in part.items() if name != "allOf"})
    whole["properties"] = {k: v for part in parts for k, v in _mapping(part.get("properties")).items()}
    whole["required"] = [name for part in parts for name in _list_of(part, "required")]
    return whole


def _type_of(told: Mapping[str, Any]) -> tuple[str, bool]:
    """Type and whether null is allowed; OpenAPI 3.1 writes `["string", "null"]`."""
    kind = told.get("type")
    if isinstance(kind, list):
        others = [one for one in kind if one != "null"]
        return (others[0] if len(others) == 1 else "unknown"), "null" in kind
    if kind is None and ("properties" in told or "enum" in told):
        kind = "object" if "properties" in told else "string"
    return (kind if isinstance(kind, str) else "unknown"), False


_LIMITS = (
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "const",
)


def _limits(told: Mapping[str, Any], kind: str) -> frozenset[tuple[str, str]]:
    names = (*_LIMITS, "format") if kind == "string" else _LIMITS
    return frozenset((name, str(told[name])) for name in names if name in told)


# ------------------------------------------------------------------ comparing
def compare(pinned: Contract, found: Contract) -> Comparison:
    """How `found` differs from `pinned` in the calls we make, sorted by whether it would hurt us.

    Breaking is what could make a call of ours be refused or its answer misread: a call, field or status
    gone, a type changed, a value we send no longer known, a field newly demanded, a text newly limited. An
    answer may gain fields and values; what we send may be asked for less strictly.
    """
    breaking: list[str] = []
    harmless: list[str] = []
    for (method, path), operation in pinned.items():
        name = f"{method} {path}"
        other = found.get((method, path))
        if other is None:
            breaking.append(f"{name}: gone")
            continue
        for is_breaking, what in _operation(operation, other):
            (breaking if is_breaking else harmless).append(f"{name}: {what}")
    return Comparison(tuple(breaking), tuple(harmless))


Difference = tuple[bool, str]


def _operation(pinned: Operation, found: Operation) -> Iterator[Difference]:
    yield from _parameters(pinned, found)
    if pinned.sends is not None:
        if found.sends is None:
            yield True, "takes no JSON body any more"
        else:
            yield from _sent("body", pinned.sends, found.sends)
    elif found.sends is not None:
        yield True, "takes a body now"
    for status, shape in pinned.answers.items():
        if status not in found.answers:
            yield True, f"answer {status} gone"
        elif shape is not None:
            told = found.answers[status]
            if told is None:
                yield True, f"answer {status} has no JSON body any more"
            else:
                yield from _read(f"answer {status}", shape, told)
    for status in sorted(found.answers.keys() - pinned.answers.keys() - pinned.unused):
        yield False, f"also answers {status}"


def _parameters(pinned: Operation, found: Operation) -> Iterator[Difference]:
    for name, (_, shape) in pinned.parameters.items():
        if name not in found.parameters:
            yield True, f"parameter {name} gone"
        else:
            yield from _sent(f"parameter {name}", shape, found.parameters[name][1])
    for name in sorted(found.parameters.keys() - pinned.parameters.keys()):
        required = found.parameters[name][0]
        yield required, f"parameter {name} {'demanded' if required else 'added'}"


def _sent(where: str, pinned: Shape, found: Shape) -> Iterator[Difference]:
    """What we send against what is now accepted: accepting less is breaking."""
    if not _accepts(found.type, pinned.type):
        yield True, f"{where}: {pinned.type} became {found.type}"
        return
    for limit, value in sorted(found.limits - pinned.limits):
        yield True, f"{where}: {limit} {value} demanded"
    yield from _sent_values(where, pinned, found)
    for name, shape in pinned.fields.items():
        if name in found.fields:
            yield from _sent(f"{where}.{name}", shape, found.fields[name])
        else:
            yield True, f"{where}.{name}: gone"
    for name in sorted(found.required - pinned.required):
        yield True, f"{where}.{name}: demanded"
    for name in sorted(found.fields.keys() - pinned.fields.keys() - found.required - pinned.unused):
        yield False, f"{where}.{name}: added"
    if pinned.item is not None and found.item is not None:
        yield from _sent(f"{where}[]", pinned.item, found.item)
    elif pinned.item is not None:
        yield True, f"{where}[]: not stated any more"


def _sent_values(where: str, pinned: Shape, found: Shape) -> Iterator[Difference]:
    if found.enum is None:
        return
    if pinned.enum is None:
        yield True, f"{where}: only certain values are taken now"
        return
    for value in sorted(pinned.enum - found.enum):
        yield True, f"{where}: {value} is not taken any more"
    for value in sorted(found.enum - pinned.enum):
        yield False, f"{where}: {value} is taken too"


def _accepts(found: str, pinned: str) -> bool:
    return found == pinned or (found == "number" and pinned == "integer")


def _read(where: str, pinned: Shape, found: Shape) -> Iterator[Difference]:
    """What we read against what is now told: telling less, or otherwise, is breaking."""
    if not _accepts(pinned.type, found.type):
        yield True, f"{where}: {pinned.type} became {found.type}"
        return
    if found.enum is not None and pinned.enum is not None and found.enum != pinned.enum:
        yield False, f"{where}: other values are told"
    for name, shape in pinned.fields.items():
        if name not in found.fields:
            yield True, f"{where}.{name}: gone"
            continue
        needed = name in pinned.required
        if needed and name not in found.required:
            yield True, f"{where}.{name}: may be left out now"
        told = found.fields[name]
        if told.nullable and not shape.nullable:
            yield needed, f"{where}.{name}: may be null now"
        yield from _read(f"{where}.{name}", shape, told)
    for name in sorted(found.fields.keys() - pinned.fields.keys() - pinned.unused):
        yield False, f"{where}.{name}: added"
    if pinned.item is not None and found.item is not None:
        if found.item.nullable and not pinned.item.nullable:
            yield True, f"{where}[]: may be null now"
        yield from _read(f"{where}[]", pinned.item, found.item)
    elif pinned.item is not None:
        yield True, f"{where}[]: not stated any more"
