"""What the API keeps: users, locations, resources, enrolments; and the bodies it takes.

The names on the wire are the vendor's (camel case). Fields stand in the order of their wire names, so that
the encoding of a kept record is its canonical JSON: sorted keys, nothing absent, nothing null.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

LocationType = Literal["Unknown", "Residential", "Commercial", "Other"]
ResourceType = Literal["Generic", "Vehicle", "Charger", "HotWaterTank", "HVAC", "SolarInverter"]
Kind = Literal["user", "location", "resource", "enrollment"]


class Coordinates(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False
):
    """A point in degrees (WGS 84). The contract lets either half be absent; the sandbox's rules do not."""

    latitude: float | None = None
    longitude: float | None = None

    @property
    def whole(self) -> bool:
        """Both halves are there and on the globe."""
        return (
            self.latitude is not None
            and self.longitude is not None
            and -90.0 <= self.latitude <= 90.0
            and -180.0 <= self.longitude <= 180.0
        )


class User(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, gc=False):
    """A customer of the partner: an id and nothing else. Also the body of `POST /users`."""

    user_id: str


class Location(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A place of a user. `Unknown`, no meter points and no coordinates are the same as absent."""

    coordinates: Coordinates | None = None
    location_id: str
    location_type: LocationType = "Unknown"
    meter_point_ids: tuple[str, ...] = ()
    user_id: str


class Resource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A device. One without a location hangs on its user: a vehicle."""

    location_id: str | None = None
    meter_point_id: str | None = None
    resource_id: str
    resource_type: ResourceType
    user_id: str


class Enrollment(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A user taking part in the program, and since when."""

    enrollment_date: str
    enrollment_id: str
    user_id: str


Record = User | Location | Resource | Enrollment

RECORD_TYPES: dict[str, type[User | Location | Resource | Enrollment]] = {
    "user": User,
    "location": Location,
    "resource": Resource,
    "enrollment": Enrollment,
}


class UsersBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /users/batch`."""

    users: list[User]


class LocationBody(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, gc=False
):
    """Body of `POST` and `PUT` of one location; `meterPointId` is the deprecated singular."""

    location_id: str
    location_type: LocationType = "Unknown"
    coordinates: Coordinates | None = None
    meter_point_id: str | None = None
    meter_point_ids: tuple[str, ...] | None = None

    def of(self, user: str) -> Location:
        """The record this body asks for."""
        points = self.meter_point_ids
        if not points:
            points = (self.meter_point_id,) if self.meter_point_id is not None else ()
        return Location(
            coordinates=self.coordinates,
            location_id=self.location_id,
            location_type=self.location_type,
            meter_point_ids=points,
            user_id=user,
        )


class LocationWithUserBody(
    LocationBody, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, gc=False
):
    """One element of `POST /users/locations/batch`."""

    user_id: str


class LocationsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of `POST /users/locations/batch`."""

    locations: list[LocationWithUserBody]


class PatchBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Body of `PATCH` of a location: only what is there changes."""

    location_type: LocationType | msgspec.UnsetType = msgspec.UNSET
    coordinates: Coordinates | msgspec.UnsetType | None = msgspec.UNSET
    meter_point_ids: tuple[str, ...] | msgspec.UnsetType | None = msgspec.UNSET


class ResourceBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Body of `POST` of a resource at a location."""

    resource_id: str
    resource_type: ResourceType
    meter_point_id: str | None = None


class VehicleBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Body of `POST` of a vehicle; the contract lets any resource type through."""

    resource_id: str
    resource_type: ResourceType


def canonical(record: Record) -> bytes:
    """The record as canonical JSON: sorted keys, no blanks, nothing null, empty or `Unknown`."""
    return msgspec.json.encode(record)


def plain(record: Record) -> dict[str, Any]:
    """The record as the JSON values of its canonical form."""
    return msgspec.json.decode(canonical(record), type=dict[str, Any])


def digest(record: Record) -> str:
    """SHA-256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical(record)).hexdigest()


def digest_of(kind: Kind, content: Mapping[str, Any]) -> str:
    """The digest a record would have in the effect log, for a body that somebody else has kept.

    Args:
        kind: what the body describes.
        content: one element as it goes on the wire (with `userId`, and `locationId` for a resource of a
            location); null, empty and `Unknown` members count as absent.
    """
    present = {name: value for name, value in content.items() if value is not None}
    return digest(msgspec.convert(present, RECORD_TYPES[kind]))


def id_of(record: Record) -> str:
    """The id under which the effect log names the record."""
    if isinstance(record, Location):
        return record.location_id
    if isinstance(record, Resource):
        return record.resource_id
    return record.user_id
