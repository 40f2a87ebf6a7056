"""Schedules: which world, what goes wrong in it, what is to be sent, and when the process dies. All from one seed."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox.mangle import MANGLERS
from sandbox.wire import WIRE_FAULTS

CELLS = 1350
STRIDE = 7
"""Coprime to the number of cells, so that any 1,350 cases in a row visit every cell once."""

SETTLE_SECONDS = 30.0


@dataclass(frozen=True)
class Schedule:
    """One case of a campaign; `expanded` prints it."""

    seed: int
    case: int
    cell: int
    semantics: dict[str, Any]
    faults: list[dict[str, Any]]
    sizes: dict[str, int]
    poison: float
    chunk: int
    concurrency: int
    canary: int
    token_lifetime: float
    latency: float
    faulty_lives: int
    kills: list[int] = field(default_factory=list)
    stop_after: float | None = None
    """Virtual seconds after which somebody asks the first life to end."""
    hiccups: list[int] = field(default_factory=list)
    """Transactions of the first life that the disk refuses, once each."""

    @property
    def name(self) -> str:
        return f"SEED={self.seed} CASE={self.case}"

    @property
    def wired(self) -> bool:
        """Whether the requests go byte by byte through the loader's own HTTP, so that the bytes can be wrong."""
        return any(fault["kind"].startswith(WIRE) for fault in self.faults)

    @property
    def reads_pages(self) -> bool:
        """Whether the list of users misleads, and is asked for."""
        return any(fault["on"] == "paged" for fault in self.faults)

    @property
    def lies_about_single_records(self) -> bool:
        """Whether a single record may be refused although nothing is wrong with it."""
        return any(fault["kind"] in LYING for fault in self.faults)

    @property
    def may_double(self) -> bool:
        """Ids are stored twice and lost requests come late: no client can exclude a duplicate there."""
        return self.semantics["b"] == "duplicate" and self.semantics["e"] == "late"

    def expanded(self) -> dict[str, Any]:
        return asdict(self)


LYING = frozenset({"bad-request", "refused-with-status", "forbidden-403"})

WIRE = "wire-"
WIRED = 0.2
"""Share of the schedules with faults of the wire."""

PAGED = 0.03
"""Share of the schedules in which the list of users misleads."""

MANY_USERS = 28
"""So many users that who looks for those of one batch asks for the list, not for each by its id."""

AXES = {
    "a": ("all-or-nothing", "prefix", "subset"),
    "b": ("refuse", "skip", "echo", "overwrite", "duplicate"),
    "c": ("complete", "shuffled", "new-only", "truncated", "empty"),
    "d": ("immediate", "reads-lag", "lists-lag"),
    "e": ("none", "late"),
    "f": ("none", "items", "bytes"),
}


def axes_of(cell: int) -> dict[str, str]:
    """The axes of a cell, counted as the reliability notes count them."""
    found = {}
    for axis in reversed(AXES):
        cell, place = divmod(cell, len(AXES[axis]))
        found[axis] = AXES[axis][place]
    return dict(reversed(found.items()))


def schedule(seed: int, case: int, *, cell: int | None = None) -> Schedule:
    """The case with this number; the same numbers give the same schedule for ever."""
    chance = random.Random(f"schedule/{seed}/{case}")
    cell = (case * STRIDE + seed) % CELLS if cell is None else cell
    semantics: dict[str, Any] = axes_of(cell)
    semantics |= {
        "lag_seconds": chance.choice([2.0, 10.0, SETTLE_SECONDS - 1.0]),
        "late_seconds": chance.choice([5.0, 40.0, 60.0]),
        "limit_items": chance.choice([3, 5]),
        "limit_bytes": chance.choice([700, 1200]),
    }
    sizes, faults = _sizes(chance), _faults(chance)
    reads_pages = any(fault["on"] == "paged" for fault in faults)
    if reads_pages:
        sizes["create_users"] = max(sizes["create_users"], MANY_USERS)
    if sizes["replace_resources"]:
        # A late removal of what was put back since is beyond any client; it must come within the settle time.
        semantics["late_seconds"] = min(semantics["late_seconds"], SETTLE_SECONDS - 5.0)
    if not any(sizes.values()):
        sizes["create_users"] = 2
    return Schedule(
        seed=seed,
        case=case,
        cell=cell,
        semantics=semantics,
        faults=[_bounded(fault, semantics) for fault in faults],
        sizes=sizes,
        poison=chance.choice([0.0, 0.0, 0.05, 0.15]),
        chunk=MANY_USERS if reads_pages else chance.choice([2, 4, 7, 12, 30]),
        concurrency=chance.randint(1, 8),
        canary=chance.choice([1, 2, 5]),
        token_lifetime=chance.choice([3600.0, 3600.0, 90.0]),
        latency=chance.choice([0.01, 0.2, 1.0]),
        faulty_lives=chance.choice([1, 1, 1, 2]),
        kills=[_kill(chance) for _ in range(chance.choice([0, 0, 1, 1, 1, 2]))],
        stop_after=chance.choice([None, None, None, None, None, 0.3, 3.0, 35.0]),
        hiccups=[_kill(chance) // 2 + 3 for _ in range(chance.choice([0, 0, 0, 0, 1, 2]))],
    )


def _sizes(chance: random.Random) -> dict[str, int]:
    """How much there is of each kind of work: mostly little, as most bugs need three records to show; at times more."""
    much = chance.random() < 0.1
    users = chance.choice([8, 12, 25] if much else [0, 1, 2, 3, 5, 8])
    homes = [0, users, users, users + users // 2] if users else [0, 3]
    return {
        "create_users": users,
        "release_locations": chance.choice([0, 1, 3] if much else [0, 0, 0, 0, 1, 2]),
        "update_locations": chance.choice([0, 2, 5] if much else [0, 0, 0, 0, 1, 3]),
        "create_locations": chance.choice(homes),
        "replace_resources": chance.choice([0, 2] if much else [0, 0, 0, 0, 0, 1]),
        "create_resources": chance.choice([0, 3, 6] if much else [0, 0, 0, 0, 1, 3]),
        "create_vehicles": chance.choice([0, 2] if much else [0, 0, 0, 0, 0, 1]),
    }


def _bounded(fault: dict[str, Any], semantics: dict[str, Any]) -> dict[str, Any]:
    """A late request of a cell that is not late is seen by readers within the settle time, lag included."""
    if "seconds" in fault and fault["kind"] in ("applied-late", "accepted-202"):
        lag = 0.0 if semantics["d"] == "immediate" else semantics["lag_seconds"]
        fault["seconds"] = max(0.5, min(fault["seconds"], SETTLE_SECONDS - 1.0 - lag))
    return fault


def _kill(chance: random.Random) -> int:
    return chance.choice([chance.randint(1, 12), chance.randint(1, 60), chance.randint(1, 200)])


def _faults(chance: random.Random) -> list[dict[str, Any]]:
    luck = chance.random()
    if luck < WIRED:
        return _faults_of_the_wire(chance)
    if luck < WIRED + PAGED:
        return _faults_of_lists(chance)
    count = chance.choice([0, 1, 1, 2, 2, 3, 5])
    return [_fault(chance, *chance.choice(MENU)) for _ in range(count)]


def _faults_of_the_wire(chance: random.Random) -> list[dict[str, Any]]:
    """Several, each soon and not often, so that most of them are played; at times others of the menu too."""
    faults = [
        {"kind": kind, "on": on, "every": chance.choice([1, 2]), "times": chance.choice([1, 1, 2])}
        for kind, on, _ in chance.sample(WIRE_MENU, chance.choice([3, 4, 5]))
    ]
    return faults + [_fault(chance, *chance.choice(MENU)) for _ in range(chance.choice([0, 0, 1, 2]))]


def _faults_of_lists(chance: random.Random) -> list[dict[str, Any]]:
    """The list of users misleads; it is asked for because a batch was lost."""
    lost = {"kind": "applied-then-dropped", "on": "batch", "at": [2, 3]}
    kind, on, options = chance.choice(PAGE_MENU)
    return [lost, _fault(chance, kind, on, options) | {"every": chance.choice([1, 2])}]


def _fault(chance: random.Random, kind: str, on: str, options: dict[str, list[Any]]) -> dict[str, Any]:
    fault: dict[str, Any] = {"kind": kind, "on": on}
    fault |= {name: chance.choice(values) for name, values in options.items()}
    match chance.choice(["often", "some", "at", "burst", "storm"]):
        case _ if on == "token":  # asked for so seldom that a fault late among them is never played
            fault |= {"at": sorted(chance.sample(range(1, 4), 2))}
        case "often":
            fault |= {"probability": 0.5, "times": chance.choice([3, 8])}
        case "some":
            fault |= {"probability": chance.choice([0.05, 0.2])}
        case "at":
            fault |= {"at": sorted(chance.sample(range(1, 10), 2))}
        case "burst":
            start = chance.choice([0.0, 1.0, 20.0])
            fault |= {"after": start, "until": start + chance.choice([0.5, 5.0, 45.0])}
        case _:
            fault |= {"every": chance.choice([2, 3, 4])}
    return fault


UNMISTAKABLE = sorted(
    MANGLERS.keys() - {"flipped-bit", "list-is-null", "ids-cut", "wrong-user", "new-enum-value"}
)
"""Damage after which no answer looks like another, whole and well-formed one."""

_MISTAKABLE = {f"body-{name}" for name in MANGLERS} - {f"body-{name}" for name in UNMISTAKABLE}
WIRE_MENU: list[tuple[str, str, dict[str, list[Any]]]] = [
    (WIRE + name, on, {})
    for name in sorted(WIRE_FAULTS)
    for on in ("mutating", "mutating", "batch", "api", "list")
    if on in ("mutating", "batch") or name not in _MISTAKABLE
]

SECONDS = [1.0, 10.0, 25.0]

MENU: list[tuple[str, str, dict[str, list[Any]]]] = [
    ("applied-then-dropped", "mutating", {}),
    ("applied-then-dropped", "batch", {}),
    ("applied-then-reset", "mutating", {}),
    ("applied-then-cut", "mutating", {"share": [0.0, 0.5, 0.9]}),
    ("applied-then-silence", "mutating", {}),
    ("applied-late", "mutating", {"seconds": SECONDS}),
    ("dropped", "api", {}),
    ("dropped", "mutating", {}),
    ("reset", "mutating", {}),
    ("silence", "mutating", {}),
    ("applied-then-503", "mutating", {"status": [500, 502, 503, 504, 520, 408, 425]}),
    ("accepted-202", "mutating", {"seconds": SECONDS}),
    ("empty-200", "mutating", {"status": [200, 201, 204]}),
    ("multi-status-207", "batch", {}),
    ("unavailable-503", "api", {"status": [500, 502, 503, 504, 520, 408]}),
    ("unavailable-503", "mutating", {"status": [503], "retry_after": [1, 20, 100_000]}),
    ("rate-limited", "api", {"form": ["any"], "seconds": [1, 5, 30]}),
    ("rate-limited", "mutating", {"form": ["any"], "seconds": [1, 5, 30]}),
    ("bad-request", "batch", {"body": ["string", "problem", "html", "empty", "object"]}),
    ("bad-request", "mutating", {"body": ["string", "problem"]}),
    ("refused-with-status", "mutating", {"status": [409, 404, 422, 415]}),
    ("too-large-413", "batch", {"items": [1, 3]}),
    ("unauthorized-401", "api", {"revoke": [True, False]}),
    ("forbidden-403", "mutating", {}),
    ("redirect", "mutating", {"status": [302, 307]}),
    ("prefix-then-400", "batch", {"share": [0.2, 0.5, 0.9]}),
    ("subset-then-400", "batch", {"share": [0.3, 0.5, 0.9]}),
    ("subset-then-201", "batch", {"share": [0.3, 0.5, 0.9]}),
    ("short-list", "batch", {"share": [0.0, 0.5, 0.9]}),
    ("gappy-list", "batch", {}),
    ("shuffled-list", "batch", {}),
    ("doubled-list", "batch", {}),
    ("foreign-id", "batch", {"instead": [True, False]}),
    ("altered-values", "batch", {}),
    ("login-page", "api", {}),
    ("login-page", "mutating", {"applied": [True, False]}),
    ("garbled", "mutating", {}),
    ("garbled", "api", {"how": UNMISTAKABLE}),
    ("wrong-content-type", "api", {}),
    ("slow-answer", "api", {"seconds": [2.0, 15.0, 200.0]}),
    ("slow-drip", "mutating", {"tick": [0.3]}),
    ("stale-read", "list", {}),
    ("token-error", "token", {"status": [500, 503, 429]}),
    ("token-refused", "token", {}),
    ("token-dropped", "token", {}),
    ("token-silence", "token", {}),
    ("token-short-lived", "token", {}),
    ("token-stillborn", "token", {}),
    (
        "token-body",
        "token",
        {
            "fields": [
                {},
                {"expires_in": "soon"},
                {"expires_in": -5},
                {"token_type": "mac"},
                {"access_token": ""},
            ],
            "drop": [[], ["expires_in"], ["token_type"], ["access_token"]],
        },
    ),
]
"""What goes wrong: kind, requests, options to draw from.

Left out is only what no client could tell from the truth: reads by id that find nothing although they are not
lagging (`stale-read` on single records), and reads that tell other content than is held (`altered-values`).
Late requests of cells that are not late come within the settle time.
"""

PAGE_MENU: list[tuple[str, str, dict[str, list[Any]]]] = [
    ("page-shift", "paged", {"by": [1, -1], "size": [7]}),
    ("page-shuffled", "paged", {"size": [7]}),
    ("page-loop", "paged", {}),
    ("page-total", "paged", {"by": [1000, -5]}),
    ("page-clamped", "paged", {"size": [7, 10]}),
]
"""How the list of users misleads."""
