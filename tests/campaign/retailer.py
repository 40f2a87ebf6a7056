"""A retailer of one schedule: what it had yesterday, what its export says today, and what must come of that.

For the schedules that live through the whole command (`whole.py`). Nothing here knows how the loader does it: what
must be held is worked out from the places of the export, and what is held is read from the sandbox and the ledger.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tests.campaign.checker import (
    CHECKS,
    EXITS,
    MOST_STARTS,
    Check,
    Evidence,
    Record,
    _rows,
    ids_in,
    untrue_exit,
)

Target = tuple[str, str, str]
"""Kind, user and id, as the sandbox counts them: a vehicle is a resource."""

HEAD = "kunde;anlegg;type;punkt;nord;ost;enhet;enhetstype"
TYPES = {"H": "Residential", "N": "Commercial"}


@dataclass(frozen=True)
class Place:
    """A location as an export has it: a row for each meter point, and a device on each of the first rows."""

    user: str
    name: str
    points: tuple[str, ...]
    kind: str = "H"
    north: float = 60.0
    devices: tuple[tuple[str, str], ...] = ()
    """Number and type; no more of them than meter points."""

    def rows(self) -> Iterator[str]:
        for number, point in enumerate(self.points):
            device = self.devices[number] if number < len(self.devices) else ("", "")
            own = (self.user, self.name, self.kind, point, f"{self.north:.6f}", "10.500000", *device)
            yield ";".join(own)

    def content(self) -> Iterator[tuple[Target, Record]]:
        """What the API must hold for it, in the words of the checker."""
        yield ("user", self.user, self.user), {"id": self.user}
        yield (
            ("location", self.user, self.name),
            {
                "user": self.user,
                "id": self.name,
                "type": TYPES[self.kind],
                "place": (round(self.north, 6), 10.5),
                "points": sorted(self.points),
            },
        )
        for own, kind in self.devices:
            location = None if kind == "Vehicle" else self.name
            yield ("resource", self.user, own), {"id": own, "type": kind, "location": location}


Places = dict[str, Place]
"""By name."""


def export_of(places: Places, turn: int = 0) -> str:
    """The export of these places; the next turn has the same rows in another order, and never the same bytes."""
    rows = [row for place in places.values() for row in place.rows()]
    first = turn % max(1, len(rows))
    return "\n".join([HEAD, *rows[first:], *rows[:first]]) + "\n" * (1 + turn % 2)


def point(number: int) -> str:
    return f"70705759{number:09d}7"


LEAVES = "kunde-9"
"""A customer of the day before yesterday, whom yesterday's export named no more."""


def before_yesterday() -> Places:
    return yesterday() | {
        "anlegg-9": Place(LEAVES, "anlegg-9", (point(9),), devices=(("enhet-9", "HVAC"),)),
        "anlegg-10": Place(LEAVES, "anlegg-10", (point(10),)),
    }


def yesterday() -> Places:
    """What the ledger knows and the API holds when a schedule begins."""
    places = [
        Place("kunde-0", "anlegg-0", (point(0),), north=60.1),
        Place("kunde-0", "anlegg-1", (point(1), point(101)), north=60.2, devices=(("enhet-1", "HVAC"),)),
        Place("kunde-1", "anlegg-2", (point(2), point(102)), "N", 60.3),
        Place("kunde-2", "anlegg-3", (point(3),), north=60.4, devices=(("enhet-3", "HotWaterTank"),)),
        Place("kunde-3", "anlegg-4", (point(4), point(104)), north=60.5, devices=(("bil-4", "Vehicle"),)),
        Place("kunde-4", "anlegg-5", (point(5), point(105)), north=60.6),
        Place("kunde-5", "anlegg-6", (point(6), point(106)), north=60.7),
        Place("kunde-5", "anlegg-7", (point(7),), "N", 60.8),
        Place("kunde-6", "anlegg-8", (point(8),), north=60.9),
    ]
    return {place.name: place for place in places}


# ------------------------------------------------------------------ what today's export says
@dataclass(frozen=True)
class Days:
    """What happens to a retailer in one schedule.

    Attributes:
        before: what is held when it begins; nothing on the first day of all.
        exports: today's export, and at times a later one, which says more.
        full: whether an export names everybody, so that it speaks for those it does not name.
        removes: whether somebody asks to remove who vanished.
        guarded: whether the guards stand as tight as on an export of thousands.
        poison: ids the API refuses for good; none where somebody removes, so that a removal put off can be told.
    """

    before: Places
    exports: tuple[Places, ...]
    full: bool
    removes: bool
    guarded: bool
    poison: frozenset[str]

    @property
    def wanted(self) -> Places:
        return self.exports[-1]


def days_of(seed: int, case: int, poison: float) -> Days:
    """The same numbers give the same days for ever."""
    chance = random.Random(f"days/{seed}/{case}")
    full, first = chance.random() < 0.7, chance.random() < 0.2
    before = {} if first else yesterday()
    untouched = list(before)
    chance.shuffle(untouched)
    exports, numbers = [before], iter(range(200, 999))
    for _ in range(chance.choice([1, 1, 2])):
        exports.append(_changed(dict(exports[-1]), chance, untouched, numbers, full=full))
    known = {own for place in before.values() for (_, _, own), _ in place.content()}
    fresh = sorted({own for place in exports[-1].values() for (_, _, own), _ in place.content()} - known)
    removes = not first and full and chance.random() < 0.4
    return Days(
        before,
        tuple(exports[1:]),
        full,
        removes,
        guarded=not removes and chance.random() < 0.5,
        poison=frozenset(own for own in fresh if chance.random() < poison and not removes),
    )


def _changed(
    places: Places, chance: random.Random, untouched: list[str], numbers: Iterator[int], *, full: bool
) -> Places:
    """Another day: customers come, locations change, meter points pass on, devices come and change, some vanish."""
    for _ in range(chance.choice([1, 2, 3, 5])):
        user = f"kunde-{next(numbers)}"
        for _ in range(chance.choice([1, 1, 2, 3])):
            _comes(places, chance, user, numbers)
    for _ in range(min(len(untouched), chance.choice([0, 1, 2, 3]))):
        _changes(places, places[untouched.pop()], chance, numbers, full=full)
    several = [name for name in untouched if len(places[name].points) > 1]
    if len(several) > 1 and chance.random() < 0.3:
        one, other = (places[name] for name in several[:2])
        untouched[:] = [name for name in untouched if name not in several[:2]]
        places[one.name] = replace(one, points=(*one.points[:-1], other.points[-1]))
        places[other.name] = replace(other, points=(*other.points[:-1], one.points[-1]))
    return places


def _changes(
    places: Places, place: Place, chance: random.Random, numbers: Iterator[int], *, full: bool
) -> None:
    """One location of yesterday is another one today, gives a meter point away, or is named no more."""
    gives_all = full and not place.devices
    choices = [
        "content",
        "device",
        "gives",
        "gives" if gives_all else "content",
        "vanishes" if full else "device",
    ]
    match chance.choice(choices):
        case "gives" if len(place.points) > 1 or gives_all:
            # The last meter point goes to a new customer; the only one, and the place is named no more.
            heir = f"anlegg-{next(numbers)}"
            places[heir] = Place(f"kunde-{next(numbers)}", heir, place.points[-1:], north=61.5)
            places[place.name] = replace(place, points=place.points[:-1], devices=place.devices[:1])
            if len(place.points) == 1:
                del places[place.name]
        case "device":
            old = place.devices[:1]
            fresh = (old[0][0], "SolarInverter") if old and old[0][1] != "Vehicle" else None
            devices = (fresh or (f"enhet-{next(numbers)}", "Charger"), *place.devices[1:])
            places[place.name] = replace(place, devices=devices)
        case "vanishes":
            del places[place.name]
            if gives_all and chance.random() < 0.5:
                heir = f"anlegg-{next(numbers)}"
                places[heir] = Place(f"kunde-{next(numbers)}", heir, place.points[:1], "N", 61.0)
        case _:
            kind = "N" if place.kind == "H" else "H"
            places[place.name] = replace(place, kind=kind, north=place.north + 0.01)


def _comes(places: Places, chance: random.Random, user: str, numbers: Iterator[int]) -> None:
    number = next(numbers)
    points = tuple(point(1000 * one + number) for one in range(chance.choice([1, 1, 2])))
    devices: tuple[tuple[str, str], ...] = ()
    if chance.random() < 0.4:
        devices = (chance.choice([(f"enhet-{number}", "HotWaterTank"), (f"bil-{number}", "Vehicle")]),)
    kind, north = chance.choice("HN"), 62.0 + number / 1000
    places[f"anlegg-{number}"] = Place(user, f"anlegg-{number}", points, kind, north, devices)


# ------------------------------------------------------------------ what must come of it
@dataclass(frozen=True)
class Expected:
    """What must be held in the end.

    Attributes:
        held: what must be there, with its content.
        gave_up: what gave a meter point away and is named no more: with what it has left, or not at all.
        changes: what may be made or changed on the way.
        may_go: what may be deleted on the way.
        refused: what the API refuses for good, and what hangs on that.
    """

    held: dict[Target, Record]
    gave_up: dict[Target, Record]
    changes: frozenset[Target]
    may_go: frozenset[Target]
    refused: frozenset[Target]

    def says(self, target: Target, there: Record | None) -> bool:
        """Whether what is there of a record is what must be."""
        if target in self.gave_up:
            return there is None or there == self.gave_up[target]
        return there == self.held.get(target)


def expected(days: Days, before: dict[Target, Record]) -> Expected:
    """What must come of an export, over what the sandbox held before."""
    wanted = {target: content for place in days.wanted.values() for target, content in place.content()}
    refused = frozenset(
        target
        for place in days.wanted.values()
        for target, _ in place.content()
        if _hangs_on(place, target) & days.poison
    )
    claimed = {one for place in days.wanted.values() for one in place.points}
    gave_up, may_go = {}, set()
    for target, content in before.items():
        if target[0] == "location" and target not in wanted and claimed & set(content["points"]):
            gave_up[target] = content | {"points": sorted(set(content["points"]) - claimed)}
        if target[0] == "resource" and target in wanted and wanted[target] != content:
            may_go.add(target)
    gone = {target for target in before if days.removes and target[1] == LEAVES}
    held = {target: content for target, content in before.items() if target not in gone | gave_up.keys()}
    held |= {target: content for target, content in wanted.items() if target not in refused}
    changes = {target for target, content in wanted.items() if before.get(target) != content}
    return Expected(
        held, gave_up, frozenset(changes | gave_up.keys()), frozenset(may_go | gone | gave_up.keys()), refused
    )


def _hangs_on(place: Place, target: Target) -> set[str]:
    """The ids without which a record cannot be made."""
    kind, user, own = target
    if kind == "resource" and dict(place.devices)[own] != "Vehicle":
        return {user, place.name, own}
    return {user, own}


# ------------------------------------------------------------------ evidence and checks
@dataclass
class WholeEvidence(Evidence):
    """What is left of a schedule that lived through the whole command."""

    expected: Expected = field(kw_only=True)
    at_rest: int = field(kw_only=True)
    """Effects there were before the last life, which had nothing to do."""
    asked_to_end: bool = False
    """Whether somebody may have asked the first life to end."""
    commands: list[str] = field(default_factory=list)
    """What was called in each life."""

    @property
    def checks(self) -> Mapping[str, Check]:
        return WHOLE

    @cached_property
    def last_states(self) -> dict[Target, str]:
        """State of every record in the newest run that has any."""
        found: dict[Target, str] = {}
        for phase, state, manifest in _rows(
            self.ledger,
            "SELECT phase, state, manifest FROM chunk WHERE state NOT IN ('split', 'superseded')"
            " AND run_seq = (SELECT max(run_seq) FROM run WHERE plan IS NOT NULL) ORDER BY chunk_seq",
        ):
            for user, own in ids_in(manifest):
                found[_kind(phase), user, own] = state
        return found


def _kind(phase: str) -> str:
    kind = phase.rpartition("_")[2].removesuffix("s")
    return "resource" if kind == "vehicle" else kind


def plan_of(expectation: Expected, days: Days) -> list[Record]:
    """The changes as the checker's other invariants want them: what hangs where, and with what content."""
    phases = {"user": "create_users", "location": "create_locations", "resource": "create_resources"}
    wanted = [(place, *one) for place in days.wanted.values() for one in place.content()]
    bodies = {target: _body(place, target) for place, target, _ in wanted}
    locations = {target: content.get("location") for _, target, content in wanted}
    return [
        {
            "phase": phases[target[0]] if target in bodies else "release_locations",
            "user_id": target[1],
            "id": target[2],
            "location_id": locations.get(target),
            "keys": [],
            "body": bodies.get(target),
        }
        for target in sorted(expectation.changes)
    ]


def _body(place: Place, target: Target) -> Record:
    kind, user, own = target
    if kind == "user":
        return {"userId": user}
    if kind == "resource":
        return {"resourceId": own, "resourceType": dict(place.devices)[own]}
    return {
        "userId": user,
        "locationId": own,
        "locationType": TYPES[place.kind],
        "coordinates": {"latitude": place.north, "longitude": 10.5},
        "meterPointIds": list(place.points),
    }


def held_is_what_the_export_says(of: Evidence) -> Iterator[str]:
    """I4, I9: what the export says is held, with that content; nothing else changed; who was removed is gone."""
    assert isinstance(of, WholeEvidence)
    held = of.held
    for target in sorted(of.expected.held.keys() | of.expected.gave_up.keys() | held.keys()):
        if not of.expected.says(target, held.get(target)):
            wanted = of.expected.gave_up.get(target) or of.expected.held.get(target)
            yield f"{target} is held as {held.get(target)}, and the export says {wanted}"


def nothing_else_was_done(of: Evidence) -> Iterator[str]:
    """I5, I17: made, changed or deleted was only what the export speaks of; each by an attempt of the ledger."""
    assert isinstance(of, WholeEvidence)
    attempts = {
        f"{chunk}-{attempt}"
        for chunk, attempt in _rows(
            of.ledger, "SELECT chunk_id, attempt.attempt FROM attempt JOIN chunk USING (chunk_seq)"
        )
    }
    said_yes = any("apply" in command or "approved" in command for command in of.commands)
    for effect in of.effects:
        target = (effect["kind"], effect["user"], effect["id"])
        if effect["request"] == 0:
            continue
        if effect["effect"] == "delete" and effect["user"] == LEAVES and not said_yes:
            yield f"{target} was removed, and nobody has said yes to that"
        allowed = of.expected.may_go if effect["effect"] == "delete" else of.expected.changes
        if target not in allowed:
            yield f"{target}: {effect['effect']}, and no export said so"
        if effect["trace"] not in attempts:
            yield f"request {effect['request']} has no attempt in the ledger"


def the_ledger_knows_what_is_held(of: Evidence) -> Iterator[str]:
    """I3, I9: in the end nothing is open, refused is only what deserves it, and what is believed to be held is."""
    assert isinstance(of, WholeEvidence)
    for (state,) in _rows(of.ledger, "SELECT DISTINCT state FROM chunk"):
        if state in ("planned", "in_flight", "in_doubt"):
            yield f"chunks are still {state}"
    for target, state in of.last_states.items():
        if state in ("rejected", "blocked") and target not in of.expected.refused:
            yield f"{target} is {state} and nothing is wrong with it"
    believed = set()
    for kind, page in _rows(of.ledger, "SELECT kind, page FROM holding"):
        if ":" not in kind:
            believed |= {("resource" if kind == "vehicle" else kind, user, own) for user, own in ids_in(page)}
    for target in sorted(believed - of.held.keys()):
        yield f"the ledger believes {target} to be held"
    for target in sorted(of.held.keys() - believed):
        yield f"{target} is held, and the ledger does not know it"


def it_comes_to_rest(of: Evidence) -> Iterator[str]:
    """I10: without faults four lives settle it; what comes after has an effect on nothing."""
    assert isinstance(of, WholeEvidence)
    clean = [life for life in of.lives if not life.faulty]
    starts = [life for life in clean if life.guard is None and not life.cures]
    if not any(life.settled for life in starts[:MOST_STARTS]) or not clean[-1].settled:
        yield f"after {len(clean)} lives without faults it is not settled: {clean[-1].states}, {of.commands}"
    for effect in of.effects[of.at_rest :]:
        yield f"nothing was left to do, and {effect['kind']} {effect['id']} saw a {effect['effect']}"


INTERRUPTED = 130
WAITING = "blocked, and may go"
"""Records held back by what was not at its end at the time."""
STATES: Mapping[str, Any] = EXITS | {"superseded": 15, WAITING: 10}


def the_exit_is_what_the_ledger_says(of: Evidence) -> Iterator[str]:
    """I13: the exit code is the truth table applied to the runs it speaks of, as the life left them."""
    assert isinstance(of, WholeEvidence)
    for life in of.lives:
        if life.killed or life.exit_code is None:
            continue
        if life.exit_code == INTERRUPTED and of.asked_to_end and life.number == 0:
            continue
        codes = {0} | {STATES[state] for state in life.states if state in STATES}
        if WAITING in life.states and not codes & {12, 15}:
            codes.add(15)  # it is not done: what holds those records back is not open any more
        yield from untrue_exit(life, codes)


SAME = ("I6", "I7", "I8", "I11", "I12", "I14", "I16", "I19", "I20")
"""Invariants that are the same for a sender and for the whole command."""

WHOLE: dict[str, Check] = {name: CHECKS[name] for name in SAME} | {
    "I3": the_ledger_knows_what_is_held,
    "I5": nothing_else_was_done,
    "I9": held_is_what_the_export_says,
    "I10": it_comes_to_rest,
    "I13": the_exit_is_what_the_ledger_says,
}


MAY_GO = (
    "CASE WHEN state = 'blocked' AND (reason LIKE '%_in_doubt' OR reason LIKE '%_planned'"
    f" OR reason LIKE '%_in_flight') THEN '{WAITING}' ELSE state END"
)


def runs_in(ledger: str, state: str) -> set[str]:
    """Runs in a state; none where there is no ledger yet."""
    with suppress(sqlite3.OperationalError):  # killed before the file or the tables were made
        return {own for own, now in _rows(ledger, "SELECT run_id, state FROM run") if now == state}
    return set()


def states_of(ledger: str, run_id: str | None) -> dict[str, int]:
    """Records of a run per state; what it planned and is in no chunk is planned. Nothing for a run without a plan."""
    for run_seq, plan, own in _rows(ledger, "SELECT run_seq, plan, run_id FROM run WHERE plan IS NOT NULL"):
        if own != run_id:
            continue
        found = {
            state: int(n)
            for state, n in _rows(
                ledger,
                f"SELECT {MAY_GO}, sum(n) FROM chunk WHERE state <> 'split'"
                f" AND run_seq = {int(run_seq)} GROUP BY 1",
            )
        }
        left = sum(json.loads(plan)["plan"]["phase_sizes"].values()) - sum(found.values())
        return found | ({"planned": found.get("planned", 0) + left} if left else {})
    return {}
