"""What the API holds. Pure: no clock, no network, no chance.

A `Tables` changes through one door, `apply`, with entries of the effect log. That makes three things the
same thing: doing a request, catching up a lagging reader, and starting again from a log.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from sandbox.effects import Change, Entry
from sandbox.records import Enrollment, Kind, Location, Record, Resource, User, plain

LocationKey = tuple[str, str]
"""User id and location id: the path of a location names both, so its id is unique below its user."""


class Tables:
    """Users, locations, resources and enrolments, with the look-ups the API needs."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.locations: dict[LocationKey, Location] = {}
        self.resources: dict[str, Resource] = {}
        self.enrollments: dict[str, Enrollment] = {}
        self._holders: dict[str, LocationKey] = {}
        self._sharers: dict[str, list[LocationKey]] = {}
        """Further holders of a meter point, in worlds where it may be shared."""
        self.copies: dict[tuple[Kind, str, str], list[Record]] = {}
        """Second and further copies, in worlds that store an id twice: (kind, user, id) -> records."""
        self._locations_of: dict[str, list[str]] = {}
        self._resources_of: dict[str, list[str]] = {}
        self._user_list: list[User] | None = None

    def apply(self, entry: Entry) -> None:
        """Do to the tables what the effect says was done."""
        kind, change, record = entry
        if isinstance(record, Location):
            self._apply_location(change, record)
        elif isinstance(record, User):
            self._apply_user(change, record)
        elif isinstance(record, Resource):
            self._apply_resource(change, record)
        elif change == "delete":
            self.enrollments.pop(record.user_id, None)
        else:
            self.enrollments[record.user_id] = record
        if change == "delete" and self.copies:
            self.copies.pop(self._copy_key(kind, record), None)

    def _apply_user(self, change: Change, user: User) -> None:
        self._user_list = None
        if change == "delete":
            self.users.pop(user.user_id, None)
        elif change == "create" and user.user_id in self.users:
            self.copies.setdefault(self._copy_key("user", user), []).append(user)
        else:
            self.users[user.user_id] = user

    def _apply_location(self, change: Change, location: Location) -> None:
        key = (location.user_id, location.location_id)
        known = self.locations.get(key)
        if change == "create" and known is not None:
            self.copies.setdefault(self._copy_key("location", location), []).append(location)
            return
        if known is not None:
            for point in known.meter_point_ids:
                self._release(point, key)
        if change == "delete":
            if self.locations.pop(key, None) is not None:
                self._locations_of[key[0]].remove(key[1])
            return
        if known is None:
            self._locations_of.setdefault(key[0], []).append(key[1])
        self.locations[key] = location
        for point in location.meter_point_ids:
            if self._holders.setdefault(point, key) != key:
                sharers = self._sharers.setdefault(point, [])
                if key not in sharers:
                    sharers.append(key)

    def _release(self, point: str, key: LocationKey) -> None:
        sharers = self._sharers.get(point, [])
        if key in sharers:
            sharers.remove(key)
        elif self._holders.get(point) == key:
            if sharers:
                self._holders[point] = sharers.pop(0)
            else:
                del self._holders[point]

    def holders_of(self, point: str) -> tuple[LocationKey, ...]:
        """The locations that hold a meter point, none of them twice."""
        holder = self._holders.get(point)
        if holder is None:
            return ()
        return (holder, *self._sharers.get(point, ())) if self._sharers else (holder,)

    def _apply_resource(self, change: Change, resource: Resource) -> None:
        key = resource.resource_id
        known = self.resources.get(key)
        if change == "create" and known is not None:
            self.copies.setdefault(self._copy_key("resource", resource), []).append(resource)
            return
        if known is not None:
            self._resources_of[known.user_id].remove(key)
            del self.resources[key]
        if change != "delete":
            self.resources[key] = resource
            self._resources_of.setdefault(resource.user_id, []).append(key)

    @staticmethod
    def _copy_key(kind: Kind, record: Record) -> tuple[Kind, str, str]:
        if isinstance(record, Location):
            return (kind, record.user_id, record.location_id)
        if isinstance(record, Resource):
            return (kind, "", record.resource_id)
        return (kind, record.user_id, "")

    def user_list(self) -> list[User]:
        """Every user in order of creation, an id stored twice twice. Not to be changed."""
        if self._user_list is None:
            self._user_list = list(self.users.values())
            for (kind, _, _), records in self.copies.items():
                if kind == "user":
                    self._user_list.extend(record for record in records if isinstance(record, User))
        return self._user_list

    def locations_of(self, user: str) -> list[Location]:
        """The user's locations in order of creation, with their copies."""
        found: list[Location] = []
        for location_id in self._locations_of.get(user, ()):
            found.append(self.locations[(user, location_id)])
            copies = self.copies.get(("location", user, location_id), ()) if self.copies else ()
            found.extend(copy for copy in copies if isinstance(copy, Location))
        return found

    def resources_of(self, user: str, location: str | None = None) -> list[Resource]:
        """The user's resources (at one location), in order of creation, with their copies."""
        found: list[Resource] = []
        for resource_id in self._resources_of.get(user, ()):
            resource = self.resources[resource_id]
            copies = self.copies.get(("resource", "", resource_id), ()) if self.copies else ()
            found.extend(
                each
                for each in (resource, *copies)
                if isinstance(each, Resource) and (location is None or each.location_id == location)
            )
        return found

    def counts(self) -> dict[str, int]:
        """How many of each kind, a copy counted like an original."""
        copies = Counter[str]()
        for (kind, _, _), records in self.copies.items():
            copies[kind] += len(records)
        return {
            "user": len(self.users) + copies["user"],
            "location": len(self.locations) + copies["location"],
            "resource": len(self.resources) + copies["resource"],
            "enrollment": len(self.enrollments),
        }

    def dump(self) -> dict[str, Any]:
        """Everything, as JSON-ready values in canonical form."""
        return {
            "counts": self.counts(),
            "users": [plain(each) for each in self.users.values()],
            "locations": [plain(each) for each in self.locations.values()],
            "resources": [plain(each) for each in self.resources.values()],
            "enrollments": [plain(each) for each in self.enrollments.values()],
            "copies": [
                {"kind": kind, **plain(record)}
                for (kind, _, _), records in self.copies.items()
                for record in records
            ],
        }
