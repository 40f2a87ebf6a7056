"""Reading what the API says, strictly: only a complete, well-formed answer proves anything (T9, T10, RE4).

Two ways to the ids of a batch. The quick one decodes the ids alone; it accepts an answer only if its grammar
holds and every record tells its ids exactly once. Anything else goes the slow, strict way, which decides; a
property test holds the two together.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from pipeline.delivery.keys import Pairs

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
    """How many users the whole list has, and a page at most; which page this is, we know."""

    total_records: int
    page_size: int


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


class _NamedUser(Struct, rename="camel", gc=False):
    user_id: str


class _NamedLocation(Struct, rename="camel", gc=False):
    location_id: str
    user_id: str


class _NamedUsers(Struct):
    users: list[_NamedUser]


class _NamedLocations(Struct):
    locations: list[_NamedLocation]


_named_users = msgspec.json.Decoder(_NamedUsers)
_named_locations = msgspec.json.Decoder(_NamedLocations)


# ------------------------------------------------------------------ reading them
def listed_users(body: bytes) -> list[str]:
    """The user ids a batch answer lists, in its order; raises `MalformedAnswer`."""
    named = _quickly(_named_users, body)
    if named is not None and _told(body, users=1, userId=len(named.users)):
        return [user.user_id for user in named.users]
    return [user.user_id for user in _shaped(body, _UserList).users]


def listed_locations(body: bytes) -> Pairs[str | None]:
    """(user id or None if not told, location id) of each location a batch answer lists; `MalformedAnswer`."""
    named = _quickly(_named_locations, body)
    if named is not None:
        count = len(named.locations)
        if _told(body, locations=1, locationId=count, userId=count):
            return Pairs(
                [one.user_id for one in named.locations], [one.location_id for one in named.locations]
            )
    locations = _shaped(body, _LocationList).locations
    return Pairs([one.user_id or None for one in locations], [one.location_id for one in locations])


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
    """The ids of an answer without the rest of it, or None when the slow way must decide.

    The decoder checks the grammar of what it skips, but neither its UTF-8 nor its keys: so only a body of
    plain ASCII without escapes goes this way, and the caller counts the keys it relies on.
    """
    if not body.isascii() or b"\\" in body or len(body) > MAX_BYTES:
        return None
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def _told(body: bytes, **counts: int) -> bool:
    """Whether each key occurs as often as there is something to tell it: then nothing tells it twice.

    A repeated key is the one lie the decoder would not see. Keys beside the ids may repeat: they prove nothing.
    """
    return all(body.count(f'"{key}"'.encode()) == count for key, count in counts.items())
