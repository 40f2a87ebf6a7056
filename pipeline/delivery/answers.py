"""Reading what the API says, strictly: only a complete, well-formed answer proves anything (T9, T10, RE4).

Two ways to the ids of a batch. The quick one decodes straight into typed values; it accepts an answer only if
it can show in the same breath that nothing was repeated or skipped. Anything else goes the slow, strict way,
which decides; a property test holds the two together.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 32

Json = dict[str, Any] | list[Any] | str | int | float | bool | None
T = TypeVar("T")


class MalformedAnswer(Exception):
    """The body is not what an answer looks like. `why` is a short word; nothing of the body is kept."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


# ------------------------------------------------------------------ strict JSON
def parse(body: bytes) -> Json:
    """The JSON value of a body.

    Raises:
        MalformedAnswer: empty, over 16 MB, not UTF-8, not JSON, NaN or infinite numbers, a key twice in one
            object, nested deeper than 32, a lone surrogate.
    """
    if not body.strip():
        raise MalformedAnswer("empty")
    if len(body) > MAX_BYTES:
        raise MalformedAnswer("too large")
    try:
        value: Json = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_finite,
        )
    except RecursionError:
        raise MalformedAnswer("too deep") from None
    except UnicodeDecodeError:
        raise MalformedAnswer("not UTF-8") from None
    except ValueError:  # not JSON, or an integer of thousands of digits
        raise MalformedAnswer("not JSON") from None
    _check_depth(value)
    _check_surrogates(body, value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedAnswer("key twice")
    return found


def _constant(_name: str) -> float:
    raise MalformedAnswer("not a number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedAnswer("not a number")
    return number


def _check_depth(value: Json) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        if not level:
            return
    raise MalformedAnswer("too deep")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _check_surrogates(body: bytes, value: Json) -> None:
    if b"\\ud" not in body and b"\\uD" not in body:
        return
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedAnswer("not UTF-8") from None


# ------------------------------------------------------------------ shapes of the contract
class HeldUser(Struct, rename="camel"):
    """A user as the API tells it."""

    user_id: str


class Position(Struct, rename="camel"):
    """Coordinates as the API tells them, degrees; neither is required by the contract."""

    latitude: float | UnsetType | None = UNSET
    longitude: float | UnsetType | None = UNSET


class HeldLocation(Struct, rename="camel"):
    """A location as the API tells it; the contract requires only its id."""

    location_id: str
    user_id: str | UnsetType | None = UNSET
    location_type: str | UnsetType | None = UNSET
    coordinates: Position | UnsetType | None = UNSET
    meter_point_id: str | UnsetType | None = UNSET
    meter_point_ids: list[str] | UnsetType | None = UNSET


class HeldResource(Struct, rename="camel"):
    """A resource or vehicle as the API tells it."""

    resource_id: str
    resource_type: str
    user_id: str | UnsetType | None = UNSET
    location_id: str | UnsetType | None = UNSET
    meter_point_id: str | UnsetType | None = UNSET


class Paging(Struct, rename="camel"):
    """Where a page stands; 1-based."""

    total_records: int
    page_size: int
    current_page: int
    next_page: int | None = None


class UsersPage(Struct, rename="camel"):
    """One page of `GET /users`."""

    pagination: Paging
    users: list[HeldUser] = []


class _UserList(Struct):
    users: list[HeldUser]


class _LocationList(Struct):
    locations: list[HeldLocation]


class _ResourceList(Struct):
    resources: list[HeldResource]


# Strict twins for the quick path: an unknown field sends the answer the slow way.
class _QuickUser(HeldUser, rename="camel", forbid_unknown_fields=True, gc=False): ...


class _QuickPosition(Position, rename="camel", forbid_unknown_fields=True, gc=False): ...


class _QuickLocation(HeldLocation, rename="camel", forbid_unknown_fields=True, gc=False):
    coordinates: _QuickPosition | UnsetType | None = UNSET


class _QuickUsers(Struct, forbid_unknown_fields=True):
    users: list[_QuickUser]


class _QuickLocations(Struct, forbid_unknown_fields=True):
    locations: list[_QuickLocation]


_quick_users = msgspec.json.Decoder(_QuickUsers)
_quick_locations = msgspec.json.Decoder(_QuickLocations)
_encode = msgspec.json.Encoder().encode


# ------------------------------------------------------------------ reading them
def listed_users(body: bytes) -> list[str]:
    """The user ids a batch answer lists, in its order; raises `MalformedAnswer`."""
    quick = _quickly(_quick_users, body)
    users = quick.users if quick else _shaped(body, _UserList).users
    return [user.user_id for user in users]


def listed_locations(body: bytes) -> list[tuple[str | None, str]]:
    """(user id or None if not told, location id) of each location a batch answer lists; `MalformedAnswer`."""
    quick = _quickly(_quick_locations, body)
    locations = quick.locations if quick else _shaped(body, _LocationList).locations
    return [(location.user_id or None, location.location_id) for location in locations]


def users_page(body: bytes) -> UsersPage:
    """A page of `GET /users`; raises `MalformedAnswer`."""
    return _shaped(body, UsersPage)


def held_user(body: bytes) -> HeldUser:
    """The answer of `GET /users/{id}` or of creating one user; raises `MalformedAnswer`."""
    return _shaped(body, HeldUser)


def held_location(body: bytes) -> HeldLocation:
    """One location: answer of GET, POST, PUT or PATCH; raises `MalformedAnswer`."""
    return _shaped(body, HeldLocation)


def held_locations(body: bytes) -> list[HeldLocation]:
    """The answer of `GET /users/{id}/locations`; raises `MalformedAnswer`."""
    return _shaped(body, list[HeldLocation])


def held_resource(body: bytes) -> HeldResource:
    """One resource or vehicle: answer of GET or POST; raises `MalformedAnswer`."""
    return _shaped(body, HeldResource)


def held_resources(body: bytes) -> list[HeldResource]:
    """`GET /users/{id}/resources` (an object) or `GET …/{id}/resources` of a location (a list).

    Raises:
        MalformedAnswer: the body is neither.
    """
    if body.lstrip()[:1] == b"[":
        return _shaped(body, list[HeldResource])
    return _shaped(body, _ResourceList).resources


def _shaped(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.convert(parse(body), shape, strict=True)
    except msgspec.ValidationError:
        raise MalformedAnswer("unexpected shape") from None


def _quickly(decoder: msgspec.json.Decoder[T], body: bytes) -> T | None:
    """The typed value, or None when the slow way must decide.

    With no escapes in the body, decoding and encoding again keeps every colon, in keys and in texts, unless
    a repeated key was dropped: equal counts prove that none was. Depth is bounded by the types; NaN, bad
    UTF-8 and trailing bytes are refused by the decoder.
    """
    if b"\\" in body or len(body) > MAX_BYTES:
        return None
    try:
        value = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if _colons(_encode(value)) == _colons(body) else None


def _colons(text: bytes) -> int:
    # numpy counts a byte seven times as fast as bytes.count, and this runs over every answer.
    return cast("int", np.count_nonzero(np.frombuffer(text, np.uint8) == ord(":")))
