"""How the API behaves where its vendor says nothing: six axes, 1,350 cells, one engine.

Pure: the time comes from an injected clock, chance from a seed, and nothing here knows HTTP. The default
cell is the strict and sane one: all or nothing, an id that exists refuses the batch, complete answers,
reads see writes, a lost request is applied at once or never, no limits.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import product
from typing import Any, Generic, Literal, TypeVar

import msgspec

from sandbox.effects import Cause, EffectLog, Entry
from sandbox.records import (
    Coordinates,
    Enrollment,
    Kind,
    Location,
    PatchBody,
    Record,
    Resource,
    User,
    id_of,
)
from sandbox.store import LocationKey, Tables

R = TypeVar("R", User, Location, Resource)


class Atomicity(StrEnum):
    """Axis A: what a batch with a bad record leaves behind."""

    ALL_OR_NOTHING = "all-or-nothing"
    PREFIX = "prefix"
    SUBSET = "subset"


class Existing(StrEnum):
    """Axis B: what happens to an id that is already there."""

    REFUSE = "refuse"
    SKIP = "skip"
    ECHO = "echo"
    OVERWRITE = "overwrite"
    DUPLICATE = "duplicate"


class Listing(StrEnum):
    """Axis C: the list in the answer to a batch."""

    COMPLETE = "complete"
    SHUFFLED = "shuffled"
    NEW_ONLY = "new-only"
    TRUNCATED = "truncated"
    EMPTY = "empty"


class Visibility(StrEnum):
    """Axis D: when a read sees a write."""

    IMMEDIATE = "immediate"
    READS_LAG = "reads-lag"
    LISTS_LAG = "lists-lag"


class Lateness(StrEnum):
    """Axis E: whether a request whose answer is lost is applied at once or up to a minute later."""

    NONE = "none"
    LATE = "late"


class Limit(StrEnum):
    """Axis F: what bounds a batch."""

    NONE = "none"
    ITEMS = "items"
    BYTES = "bytes"


AXES: dict[str, type[StrEnum]] = {
    "a": Atomicity,
    "b": Existing,
    "c": Listing,
    "d": Visibility,
    "e": Lateness,
    "f": Limit,
}


@dataclass(frozen=True, slots=True)
class Semantics:
    """One cell of the matrix, with the sizes its axes need.

    Attributes:
        a: batch atomicity.
        b: existing id.
        c: answer list.
        d: read visibility.
        e: late application.
        f: batch limit.
        lag_seconds: reads lag by 0 to this many seconds.
        late_seconds: late requests are applied after 0 to this many seconds.
        limit_items: records a batch may hold when `f` is items.
        limit_bytes: bytes a batch body may have when `f` is bytes.
    """

    a: Atomicity = Atomicity.ALL_OR_NOTHING
    b: Existing = Existing.REFUSE
    c: Listing = Listing.COMPLETE
    d: Visibility = Visibility.IMMEDIATE
    e: Lateness = Lateness.NONE
    f: Limit = Limit.NONE
    lag_seconds: float = 30.0
    late_seconds: float = 60.0
    limit_items: int = 100
    limit_bytes: int = 32_768

    def __post_init__(self) -> None:
        for axis, kind in AXES.items():
            object.__setattr__(self, axis, _member(kind, axis, getattr(self, axis)))

    @classmethod
    def cells(cls) -> Iterator[Semantics]:
        """All 1,350 cells, in the order of their numbers."""
        for values in product(*AXES.values()):
            yield cls(*values)  # type: ignore[arg-type]

    @classmethod
    def of_cell(cls, number: int) -> Semantics:
        """The cell with this number, 0 to 1,349; 0 is the default."""
        if not 0 <= number < CELLS:
            raise ValueError(f"there is no cell {number}: they are numbered 0 to {CELLS - 1}")
        values: list[StrEnum] = []
        for kind in reversed(AXES.values()):
            number, place = divmod(number, len(kind))
            values.append(list(kind)[place])
        return cls(*reversed(values))  # type: ignore[arg-type]

    @classmethod
    def parse(cls, text: str) -> Semantics:
        """Read `"cell=17"`, or `"a=prefix,b=skip"` where axes not named keep their default."""
        values: dict[str, Any] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, separator, value = (piece.strip() for piece in part.partition("="))
            if not separator:
                raise ValueError(f"write axis=value, not {part!r}")
            values[name] = value
        return cls.from_mapping(values)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Semantics:
        """Read the table `[semantics]` of a fault file: `cell`, and any attribute on top of it."""
        known = {each.name: each for each in fields(cls)}
        values = dict(values)
        start = cls.of_cell(int(values.pop("cell", 0)))
        for name, value in values.items():
            if name not in known:
                raise ValueError(f"unknown semantics {name!r}; known are cell, {', '.join(known)}")
            if name not in AXES:
                values[name] = type(getattr(start, name))(value)
        return replace(start, **values)

    @property
    def cell(self) -> int:
        """The number of the cell."""
        number = 0
        for axis, kind in AXES.items():
            number = number * len(kind) + list(kind).index(getattr(self, axis))
        return number

    def __str__(self) -> str:
        return ",".join(f"{axis}={getattr(self, axis)}" for axis in AXES)


CELLS = 3 * 5 * 5 * 3 * 2 * 3
"""How many cells the matrix has."""


def _member(kind: type[StrEnum], axis: str, value: str) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"axis {axis} is one of {', '.join(kind)}, not {value!r}") from None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the API refuses about one record.

    Attributes:
        meter_point_unique: who may share a meter point: nobody in the `tenant`, only locations of other
            users (`user`), or anybody (`off`).
        meter_point_pattern: regular expression every meter point must match whole; None takes any text.
        reject_ids: ids of users, locations or resources that are refused.
        reject_meter_points: meter points that are refused.
        reject_fraction: the share of meter points (of ids, for a location without any) that is refused, the
            same ones in every run with the same `reject_seed`.
        reject_users_fraction: the same for user ids.
        reject_seed: which ones.
        reject_reason: what the 400 says.
        eligible_meter_points: meter points that are eligible wherever they stand.
    """

    meter_point_unique: Literal["tenant", "user", "off"] = "tenant"
    meter_point_pattern: str | None = None
    reject_ids: frozenset[str] = frozenset()
    reject_meter_points: frozenset[str] = frozenset()
    reject_fraction: float = 0.0
    reject_users_fraction: float = 0.0
    reject_seed: int = 0
    reject_reason: str = "The meter point is not known in the grid."
    eligible_meter_points: frozenset[str] = frozenset()

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Rules:
        """Read the table `[rules]` of a fault file."""
        known = {each.name for each in fields(cls)}
        read = dict(values)
        for name, value in read.items():
            if name not in known:
                raise ValueError(f"unknown rule {name!r}; known are {', '.join(sorted(known))}")
            if name.endswith(("_ids", "_points")):
                read[name] = frozenset(value)
        return cls(**read)

    def chosen(self, text: str, fraction: float) -> bool:
        """Whether the seeded share takes this text."""
        if fraction <= 0.0:
            return False
        drawn = hashlib.sha256(f"{self.reject_seed}:{text}".encode()).digest()[:8]
        return int.from_bytes(drawn, "big") < fraction * 2**64


class Refusal(Exception):
    """The API says no. `status` is the documented one; the operation decides the shape of the body.

    The sentence names no id: a client must not be able to lean on a hint the vendor never promised.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Page:
    """One page of users, and where it stands."""

    users: list[User]
    number: int
    size: int
    total: int

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return -(-self.total // self.size)


@dataclass(slots=True)
class _Verdict(Generic[R]):
    """What judging a batch found: entries to apply, records for the answer, the first reason against."""

    entries: list[Entry] = field(default_factory=list)
    listed: list[tuple[R, bool]] = field(default_factory=list)
    refusal: Refusal | None = None


MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100

Postponed = Callable[[float], None]
"""Something to do later; it is told the time it was due at."""


class World:
    """The API without its wires: every operation, in any cell.

    Args:
        log: where effects go; what it can restore is applied first.
        now: the clock, in seconds; only ever compared with itself.
        semantics: the cell.
        rules: what is refused about a record.
        seed: of every draw: lags, delays, shuffles.
    """

    def __init__(
        self,
        *,
        log: EffectLog,
        now: Callable[[], float],
        semantics: Semantics | None = None,
        rules: Rules | None = None,
        seed: int = 0,
    ) -> None:
        self.log = log
        self.now = now
        self.semantics = semantics or Semantics()
        self.rules = rules or Rules()
        self.truth = Tables()
        for entry in log.restore():
            self.truth.apply(entry)
        self._replica: Tables | None = None
        self._invisible: list[tuple[float, int, Entry]] = []
        self._visible_at: dict[tuple[Kind, str, str], float] = {}
        self._postponed: list[tuple[float, int, Postponed]] = []
        self._order = 0
        self._configured = 0
        self._pattern: re.Pattern[str] | None = None
        self.reseed(seed)
        self.configure()

    # -- time and chance -------------------------------------------------------------------------------

    def reseed(self, seed: int) -> None:
        """Start every draw again from a seed."""
        self.seed = seed
        self.chance = random.Random(f"world/{seed}")  # noqa: S311  (reproducible on purpose)

    def configure(self, semantics: Semantics | None = None, rules: Rules | None = None) -> None:
        """Change cell or rules while running; readers that lagged catch up when lagging ends."""
        self._configured += 1
        self.semantics = semantics or self.semantics
        self.rules = rules or self.rules
        pattern = self.rules.meter_point_pattern
        self._pattern = re.compile(pattern) if pattern else None
        if self.semantics.d is Visibility.IMMEDIATE:
            self._replica = None
            self._invisible.clear()
            self._visible_at.clear()
        elif self._replica is None:
            self._replica = Tables()
            for table in (self.truth.users, self.truth.locations, self.truth.resources):
                for record in table.values():
                    self._replica.apply((_kind_of(record), "create", record))

    def advance(self) -> None:
        """Let everything happen whose time has come, in order of time."""
        now = self.now()
        while self._postponed and self._postponed[0][0] <= now:
            due, _, action = heapq.heappop(self._postponed)
            action(due)
        while self._invisible and self._invisible[0][0] <= now:
            entry = heapq.heappop(self._invisible)[2]
            if self._replica is not None:
                self._replica.apply(entry)

    def settle(self) -> None:
        """Let everything happen that is still under way, whatever the clock says."""
        while self._postponed:
            due, _, action = heapq.heappop(self._postponed)
            action(due)
        while self._invisible:
            entry = heapq.heappop(self._invisible)[2]
            if self._replica is not None:
                self._replica.apply(entry)

    @property
    def version(self) -> tuple[int, int, int]:
        """Changes whenever what a read shows may have changed."""
        return (self._configured, len(self.log), len(self._invisible))

    @property
    def under_way(self) -> int:
        """Requests accepted and not yet applied."""
        return len(self._postponed)

    def postpone(self, seconds: float, action: Postponed) -> None:
        """Do something later, in the order of its time."""
        self._order += 1
        heapq.heappush(self._postponed, (self.now() + seconds, self._order, action))

    def reset(self) -> None:
        """Forget everything held, logged or under way."""
        self.truth = Tables()
        self.log.clear()
        self._postponed.clear()
        self._replica = None
        self._invisible.clear()
        self._visible_at.clear()
        self.configure()

    # -- writing ---------------------------------------------------------------------------------------

    def _commit(self, cause: Cause, entries: list[Entry]) -> None:
        self.log.append(cause, entries)
        for entry in entries:
            self.truth.apply(entry)
        if self._replica is not None:
            self._show_later(entries, cause.time)

    def _show_later(self, entries: list[Entry], now: float) -> None:
        """Queue the entries for lagging readers; two changes of one record never overtake each other."""
        for entry in entries:
            kind, _, record = entry
            key = (kind, record.user_id, id_of(record))
            at = max(
                now + self.chance.uniform(0.0, self.semantics.lag_seconds), self._visible_at.get(key, 0.0)
            )
            self._visible_at[key] = at
            self._order += 1
            heapq.heappush(self._invisible, (at, self._order, entry))

    def check_limit(self, items: int, size: int) -> None:
        """Axis F: refuse a batch that is too big.

        Args:
            items: records in the batch.
            size: bytes of its body.
        """
        limits = self.semantics
        if limits.f is Limit.ITEMS and items > limits.limit_items:
            raise Refusal(400, f"A batch may hold at most {limits.limit_items} items.")
        if limits.f is Limit.BYTES and size > limits.limit_bytes:
            raise Refusal(413, "The request body is too large.")

    def create_users(self, cause: Cause, users: list[User], atomicity: Atomicity | None = None) -> list[User]:
        """Create a batch of users; the list is the answer's.

        Args:
            cause: the request behind it.
            users: what was sent.
            atomicity: overrides axis A for this one request.
        """
        return self._batch(cause, users, self._judge_user, "user", atomicity)

    def create_locations(
        self, cause: Cause, locations: list[Location], atomicity: Atomicity | None = None
    ) -> list[Location]:
        """Create a batch of locations of several users; the list is the answer's."""
        return self._batch(cause, locations, self._judge_location, "location", atomicity)

    def _batch(
        self,
        cause: Cause,
        records: list[R],
        judge: Callable[[R, dict[str, list[LocationKey]]], Refusal | None],
        kind: Kind,
        atomicity: Atomicity | None,
    ) -> list[R]:
        atomicity = atomicity or self.semantics.a
        verdict = self._judge_all(records, judge, kind, stop=atomicity is not Atomicity.SUBSET)
        if verdict.refusal is not None:
            if atomicity is not Atomicity.ALL_OR_NOTHING:
                self._commit(cause, verdict.entries)
            raise verdict.refusal
        self._commit(cause, verdict.entries)
        return self._listed(verdict.listed)

    def _judge_all(
        self,
        records: list[R],
        judge: Callable[[R, dict[str, list[LocationKey]]], Refusal | None],
        kind: Kind,
        *,
        stop: bool,
    ) -> _Verdict[R]:
        verdict = _Verdict[R]()
        existing = self.semantics.b
        held: Mapping[Any, Record] = self.truth.users if kind == "user" else self.truth.locations
        in_batch: set[str | LocationKey] = set()
        claims: dict[str, list[LocationKey]] = {}
        for record in records:
            key = (record.user_id, record.location_id) if isinstance(record, Location) else record.user_id
            there = key in held or key in in_batch
            refusal = judge(record, claims)
            if refusal is None and there and existing is Existing.REFUSE:
                refusal = Refusal(409, f"A {kind} with the same id already exists.")
            if refusal is not None:
                verdict.refusal = verdict.refusal or Refusal(400, refusal.reason)
                if stop:
                    break
                continue
            in_batch.add(key)
            if isinstance(record, Location):
                for point in record.meter_point_ids:
                    claims.setdefault(point, []).append((record.user_id, record.location_id))
            if not there or existing is Existing.DUPLICATE:
                verdict.entries.append((kind, "create", record))
            elif existing is Existing.OVERWRITE:
                verdict.entries.append((kind, "overwrite", record))
            if not (there and existing is Existing.SKIP):
                verdict.listed.append((record, not there or existing is Existing.DUPLICATE))
        return verdict

    def _listed(self, listed: list[tuple[R, bool]]) -> list[R]:
        """Axis C, but for the empty body, which is not a list."""
        records = [record for record, _ in listed]
        match self.semantics.c:
            case Listing.SHUFFLED:
                self.chance.shuffle(records)
            case Listing.NEW_ONLY:
                records = [record for record, new in listed if new]
            case Listing.TRUNCATED if records:
                del records[self.chance.randrange(len(records)) :]
            case _:
                pass
        return records

    def create_user(self, cause: Cause, user: User) -> User:
        """Create one user."""
        return self._single(cause, user, self._judge_user(user, {}), "user", user.user_id in self.truth.users)

    def create_location(self, cause: Cause, location: Location) -> Location:
        """Create one location of a user that exists."""
        if location.user_id not in self.truth.users:
            raise Refusal(404, "The user was not found.")
        there = (location.user_id, location.location_id) in self.truth.locations
        return self._single(cause, location, self._judge_location(location, {}), "location", there)

    def create_resource(self, cause: Cause, resource: Resource) -> Resource:
        """Create a resource at a location, or a vehicle of a user."""
        if resource.location_id is None:
            if resource.user_id not in self.truth.users:
                raise Refusal(400, "The user was not found.")
        elif (resource.user_id, resource.location_id) not in self.truth.locations:
            raise Refusal(404, "The location was not found.")
        refusal = self._judge_id(resource.resource_id)
        if refusal is None and resource.location_id is not None and resource.meter_point_id is not None:
            location = self.truth.locations[(resource.user_id, resource.location_id)]
            if resource.meter_point_id not in location.meter_point_ids:
                refusal = Refusal(400, "The meter point does not belong to the location.")
        there = resource.resource_id in self.truth.resources
        return self._single(cause, resource, refusal, "resource", there)

    def _single(self, cause: Cause, record: R, refusal: Refusal | None, kind: Kind, there: bool) -> R:
        """A single create: to skip an id that exists is to refuse it: there is no list to leave it out of."""
        if refusal is not None:
            raise refusal
        existing = self.semantics.b
        if there and existing in (Existing.REFUSE, Existing.SKIP):
            raise Refusal(409 if kind == "location" else 400, f"A {kind} with the same id already exists.")
        if not there or existing is Existing.DUPLICATE:
            self._commit(cause, [(kind, "create", record)])
        elif existing is Existing.OVERWRITE:
            self._commit(cause, [(kind, "overwrite", record)])
        return record

    def put_location(self, cause: Cause, location: Location) -> Location:
        """Replace a location that exists."""
        self._held(location.user_id, location.location_id)
        refusal = self._judge_location(location, {})
        if refusal is not None:
            raise Refusal(400, refusal.reason)
        self._commit(cause, [("location", "overwrite", location)])
        return location

    def patch_location(self, cause: Cause, user: str, location_id: str, patch: PatchBody) -> Location:
        """Change what the body names of a location that exists."""
        held = self._held(user, location_id)
        changed = Location(
            coordinates=_given(patch.coordinates, held.coordinates),
            location_id=location_id,
            location_type=_given(patch.location_type, held.location_type),
            meter_point_ids=_given(patch.meter_point_ids, held.meter_point_ids) or (),
            user_id=user,
        )
        refusal = self._judge_location(changed, {})
        if refusal is not None:
            raise refusal
        self._commit(cause, [("location", "patch", changed)])
        return changed

    def delete_user(self, cause: Cause, user: str) -> None:
        """Delete a user with everything below it: resources, locations, enrolment."""
        if user not in self.truth.users:
            raise Refusal(404, "The user was not found.")
        entries: list[Entry] = [("resource", "delete", each) for each in self.truth.resources_of(user)]
        entries += [("location", "delete", each) for each in self.truth.locations_of(user)]
        if user in self.truth.enrollments:
            entries.append(("enrollment", "delete", self.truth.enrollments[user]))
        entries.append(("user", "delete", self.truth.users[user]))
        self._commit(cause, entries)

    def delete_location(self, cause: Cause, user: str, location_id: str) -> None:
        """Delete a location with the resources at it."""
        held = self._held(user, location_id)
        entries: list[Entry] = [
            ("resource", "delete", each) for each in self.truth.resources_of(user, location_id)
        ]
        self._commit(cause, [*entries, ("location", "delete", held)])

    def delete_resource(self, cause: Cause, resource_id: str) -> None:
        """Delete a resource."""
        held = self.truth.resources.get(resource_id)
        if held is None:
            raise Refusal(404, "The resource was not found.")
        self._commit(cause, [("resource", "delete", held)])

    def enroll(self, cause: Cause, user: str) -> Enrollment:
        """Enrol a user; enrolling twice changes nothing."""
        if user not in self.truth.users:
            raise Refusal(404, "The user was not found.")
        held = self.truth.enrollments.get(user)
        if held is not None:
            return held
        since = datetime.fromtimestamp(cause.time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        made = Enrollment(
            enrollment_date=since,
            enrollment_id=str(uuid.UUID(int=self.chance.getrandbits(128), version=4)),
            user_id=user,
        )
        self._commit(cause, [("enrollment", "create", made)])
        return made

    def leave(self, cause: Cause, user: str) -> None:
        """End a user's enrolment."""
        held = self.truth.enrollments.get(user)
        if held is None:
            raise Refusal(404, "The user is not enrolled.")
        self._commit(cause, [("enrollment", "delete", held)])

    # -- judging ---------------------------------------------------------------------------------------

    def _judge_id(self, text: str) -> Refusal | None:
        if not text.strip():
            return Refusal(400, "An id must not be empty.")
        if text in self.rules.reject_ids:
            return Refusal(400, self.rules.reject_reason)
        return None

    def _judge_user(self, user: User, _: dict[str, list[LocationKey]]) -> Refusal | None:
        if self.rules.chosen(user.user_id, self.rules.reject_users_fraction):
            return Refusal(400, self.rules.reject_reason)
        return self._judge_id(user.user_id)

    def _judge_location(self, location: Location, claims: dict[str, list[LocationKey]]) -> Refusal | None:
        if location.user_id not in self.truth.users:
            return Refusal(400, "The user was not found.")
        if location.coordinates is not None and not location.coordinates.whole:
            return Refusal(400, "Coordinates need a latitude and a longitude on the globe.")
        points = location.meter_point_ids
        if not points and location.coordinates is None:
            return Refusal(400, "A location needs meter point ids or coordinates.")
        return self._judge_id(location.location_id) or self._judge_points(location, points, claims)

    def _judge_points(
        self, location: Location, points: tuple[str, ...], claims: dict[str, list[LocationKey]]
    ) -> Refusal | None:
        rules = self.rules
        if rules.reject_fraction and any(
            rules.chosen(text, rules.reject_fraction) for text in points or (location.location_id,)
        ):
            return Refusal(400, rules.reject_reason)
        key = (location.user_id, location.location_id)
        for point in points:
            if not point.strip():
                return Refusal(400, "A meter point id must not be empty.")
            if point in rules.reject_meter_points:
                return Refusal(400, rules.reject_reason)
            if self._pattern is not None and not self._pattern.fullmatch(point):
                return Refusal(400, "The meter point id is not valid.")
            holders = self.truth.holders_of(point)
            if point in claims:
                holders = (*holders, *claims[point])
            if holders and any(holder != key and self._clashes(holder, key) for holder in holders):
                return Refusal(409, "The meter point belongs to another location.")
        return None

    def _clashes(self, holder: LocationKey, key: LocationKey) -> bool:
        unique = self.rules.meter_point_unique
        return unique == "tenant" or (unique == "user" and holder[0] == key[0])

    def _held(self, user: str, location_id: str) -> Location:
        held = self.truth.locations.get((user, location_id))
        if held is None:
            raise Refusal(404, "The location was not found.")
        return held

    # -- reading ---------------------------------------------------------------------------------------

    @property
    def lists(self) -> Tables:
        """What lists show now."""
        return self._replica or self.truth

    @property
    def by_id(self) -> Tables:
        """What a read by id shows now."""
        if self._replica is not None and self.semantics.d is Visibility.READS_LAG:
            return self._replica
        return self.truth

    def page(self, users: list[User], number: int, size: int) -> Page:
        """Cut one page out of a list; pages are numbered from 1.

        Raises:
            Refusal: 400 for a page below 1 or a size outside 1 to 1000.
        """
        if number < 1:
            raise Refusal(400, "Page must be at least 1.")
        if not 1 <= size <= MAX_PAGE_SIZE:
            raise Refusal(400, f"PageSize must be between 1 and {MAX_PAGE_SIZE}.")
        start = (number - 1) * size
        return Page(users[start : start + size], number, size, len(users))

    def user(self, user: str) -> User:
        """One user.

        Raises:
            Refusal: 404.
        """
        found = self.by_id.users.get(user)
        if found is None:
            raise Refusal(404, "The user was not found.")
        return found

    def location(self, user: str, location_id: str) -> Location:
        """One location.

        Raises:
            Refusal: 404.
        """
        found = self.by_id.locations.get((user, location_id))
        if found is None:
            raise Refusal(404, "The location was not found.")
        return found

    def resource(self, resource_id: str) -> Resource:
        """One resource.

        Raises:
            Refusal: 404.
        """
        found = self.by_id.resources.get(resource_id)
        if found is None:
            raise Refusal(404, "The resource was not found.")
        return found

    def resources(self, user: str, location_id: str | None = None) -> list[Resource]:
        """The resources of a user, or of one location.

        Raises:
            Refusal: 404 for an unknown user or location.
        """
        if location_id is None:
            self.user(user)
        else:
            self.location(user, location_id)
        return self.lists.resources_of(user, location_id)

    def points(self, user: str) -> list[Coordinates]:
        """Where the user's locations are, as far as they say."""
        return [each.coordinates for each in self.lists.locations_of(user) if each.coordinates is not None]


def _kind_of(record: Record) -> Kind:
    if isinstance(record, User):
        return "user"
    if isinstance(record, Location):
        return "location"
    return "resource" if isinstance(record, Resource) else "enrollment"


def _given(new: Any, old: Any) -> Any:
    """The new value unless the body left it out."""
    return old if new is msgspec.UNSET else new
