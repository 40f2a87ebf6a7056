"""What the sender does, step by step, held as stories: every request, every chunk's end, every sum.

A story is one scene played in virtual time against the sandbox in one process. `STORIES=write` in the environment
writes them anew; read the difference before you keep it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import sandbox.faults
from connectors.ledger.store import open_ledger, read_ledger
from pipeline.delivery.books import MANIFEST
from pipeline.delivery.sender import Sender
from pipeline.phases import Phase
from sandbox.core import Core
from sandbox.effects import Cause
from sandbox.exchange import Answer
from sandbox.records import Location, User
from schemas.ledger import Draft, Identity, State
from schemas.profile import GuardsSection
from tests.delivery import harness
from tests.delivery.virtual import BASE, Ended, VirtualBench

STORIES = Path(__file__).parent / "stories"


class Made:
    """Records that are made when a scene is played: whoever imports this module does not start Polars."""

    def __init__(self, make: Callable[..., pl.DataFrame], *arguments: Any) -> None:
        self._make = make
        self._arguments = arguments

    def __call__(self) -> pl.DataFrame:
        return self._make(*self._arguments)


Plan = Mapping[Phase, Made | list[Made]]
users, locations, resources = (
    partial(Made, make) for make in (harness.users, harness.locations, harness.resources)
)

USERS: Plan = {Phase.CREATE_USERS: users(40)}
PLACES: Plan = {Phase.CREATE_USERS: users(12), Phase.CREATE_LOCATIONS: locations(12)}
OF_ONE: Plan = {
    Phase.CREATE_USERS: users(1),
    Phase.CREATE_LOCATIONS: locations(1),
    Phase.CREATE_VEHICLES: resources(1, "Vehicle"),
}
EVERYTHING: Plan = {
    Phase.CREATE_USERS: users(12),
    Phase.CREATE_LOCATIONS: locations(12),
    Phase.CREATE_RESOURCES: resources(8),
    Phase.CREATE_VEHICLES: Made(lambda: harness.resources(12, "Vehicle").tail(3)),
}
UNREADABLE = {"kind": "unavailable-503", "on": "read", "after": 1.25}
"""From the second batch on, reads bring nothing."""
LATE = (
    {"kind": "applied-late", "on": "single", "at": [1], "seconds": 45.0},
    {"kind": "bad-request", "on": "single", "at": [2]},
)
"""The first request is applied after the settle time, the second one is refused before."""
STRICT = GuardsSection(rejected=0.5, minimum_sent=1, rejected_alike=10**6)


def fault(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "on": "batch", **more}


def api(*faults: dict[str, Any], rules: Mapping[str, Any] | None = None, **cell: Any) -> dict[str, Any]:
    return {"fault": list(faults), "rules": dict(rules or {}), "semantics": cell}


@dataclass(frozen=True)
class Scene:
    """What is given, and what happens between the starts.

    Attributes:
        then: what the API is from the second start on, one for each further start; None when it is well and the
            spool is lost.
        before: makes the API hold something.
        settings: of the bench.
        kept: how many records of the plan are left where `then` says that the spool is lost.
    """

    plan: Plan
    api: Mapping[str, Any] = field(default_factory=api)
    then: tuple[Mapping[str, Any] | None, ...] = ()
    before: Callable[[Core], None] = lambda _core: None
    settings: Mapping[str, Any] = field(default_factory=dict)
    recover_only: bool = False
    kept: int = 0


def holding_users(*names: str) -> Callable[[Core], None]:
    def make(core: Core) -> None:
        for name in names:
            core.world.create_user(Cause(core.now(), 0, None, "POST", "before"), User(user_id=name))

    return make


def holding_places(*numbers: int, other: bool = False) -> Callable[[Core], None]:
    def make(core: Core) -> None:
        cause = Cause(core.now(), 0, None, "POST", "before")
        for number in numbers:
            user, points = f"user-{number:05d}", (f"70705759999{number:07d}",)
            core.world.create_user(cause, User(user_id=user))
            kind = "Commercial" if other else "Residential"
            core.world.create_location(
                cause,
                Location(
                    user_id=user, location_id=f"loc-{number:05d}", location_type=kind, meter_point_ids=points
                ),
            )

    return make


def after(batches: int) -> Callable[[Core, float], bool]:
    """Stop once so many batches were answered."""
    return lambda core, _now: sum(line.path.endswith("batch") for line in core.lines) >= batches


SCENES: dict[str, Scene] = {
    # ------------------------------------------------------------ the plain way
    "everything is delivered in order": Scene(EVERYTHING),
    "as many as the canary need no canary": Scene({Phase.CREATE_USERS: users(5)}),
    "one more than the canary": Scene({Phase.CREATE_USERS: users(6)}),
    "a single record goes alone": Scene({Phase.CREATE_USERS: users(1)}),
    "chunks are filled across partitions": Scene({Phase.CREATE_USERS: [users(7), users(7, 7), users(7, 14)]}),
    "many singles share intents": Scene(
        {
            Phase.CREATE_USERS: users(1),
            Phase.CREATE_VEHICLES: Made(
                lambda: harness.resources(401, "Vehicle").with_columns(pl.lit("user-00000").alias("user_id"))
            ),
        }
    ),
    "requests name nobody when told not to": Scene(USERS, settings={"trace": False}),
    "four at once": Scene({Phase.CREATE_USERS: users(120)}, settings={"concurrency": 4, "chunk": 5}),
    "a lane sends its partition only": Scene(
        {Phase.CREATE_USERS: [users(7), users(9, 7), users(8, 16)]}, settings={"lane": 2}
    ),
    "the first chunk is small where the first partition is": Scene(
        {Phase.CREATE_USERS: [users(3), users(20, 3), users(17, 23)]}
    ),
    "the first chunk that goes comes after one that is held back whole": Scene(
        {
            Phase.CREATE_USERS: users(12),
            Phase.CREATE_LOCATIONS: Made(lambda: harness.locations(12).reverse()),
        },
        api(
            {"kind": "altered-values", "on": "by-id"},
            {"kind": "altered-values", "on": "list"},
            rules={"reject_ids": [f"user-{n:05d}" for n in range(7, 12)]},
        ),
    ),
    # ------------------------------------------------------------ stopping, and going on
    "nothing is sent once the end is asked for": Scene(USERS, settings={"stop": after(0)}),
    "a run that was stopped goes on where it was": Scene(PLACES, then=(api(),), settings={"stop": after(1)}),
    "a run that got past its first chunk is not asked for it again": Scene(
        PLACES, then=(api(),), settings={"stop": after(2), "chunk": 20}
    ),
    "a first chunk whose bodies are lost is not asked for": Scene(USERS, then=(None,), settings={"stop": after(1)}),
    "a second start has nothing to do": Scene(PLACES, then=(api(),)),
    "no token, nothing in doubt": Scene(USERS, api({"kind": "token-refused"}), then=(api(),)),
    "no token, and then one of the first is refused": Scene(
        USERS, api({"kind": "token-refused"}), then=(api(rules={"reject_ids": ["user-00002"]}),)
    ),
    "no token, and then the first chunk is refused whole": Scene(
        USERS, api({"kind": "token-refused"}), then=(api(rules={"reject_ids": [f"user-{n:05d}" for n in range(5)]}),)
    ),
    "what is left of the first chunk is refused at the next start": Scene(
        USERS,
        api(fault("bad-request", at=[1]), fault("rate-limited", at=[2], seconds=2000)),
        then=(api(rules={"reject_ids": ["user-00000", "user-00001"]}),),
    ),
    "a plan whose bodies are lost waits": Scene(USERS, api(fault("rate-limited", seconds=2000)), then=(None,)),
    "a chunk of which one body is lost waits": Scene(
        USERS, api(fault("rate-limited", seconds=2000)), then=(None,), kept=4
    ),
    "a removal has no body and goes on": Scene(
        {Phase.DELETE_USERS: Made(lambda: harness.users(2).with_columns(pl.lit(None, pl.String).alias("body")))},
        api({"kind": "rate-limited", "on": "delete", "seconds": 2000}),
        then=(api(),),
        before=holding_users("user-00000", "user-00001"),
    ),
    "no wait outlasts the wish to stop": Scene(
        USERS, api(fault("rate-limited", at=[2], seconds=50)), settings={"stop": lambda _core, now: now > 5}
    ),
    # ------------------------------------------------------------ answers that prove less
    "a short list is read back": Scene(USERS, api(fault("short-list", at=[2]))),
    "a short list of places is read back": Scene(PLACES, api(fault("short-list", at=[4]))),
    "the rest of a short list that cannot be read is in doubt": Scene(
        USERS, api(fault("short-list", at=[2]), UNREADABLE)
    ),
    "foreign ids stop the run": Scene(USERS, api(fault("foreign-id", at=[2])), then=(api(),)),
    "an answer that was lost is read back": Scene(PLACES, api(fault("applied-then-dropped", at=[2, 4]))),
    "a request that was lost is sent again": Scene(PLACES, api(fault("dropped", at=[2, 4]))),
    "what stays unknown is left for the next start": Scene(
        USERS, api(fault("dropped", at=[2]), UNREADABLE), then=(api(),)
    ),
    "children of a parent in doubt wait for it": Scene(
        OF_ONE,
        api({"kind": "dropped", "on": "mutating", "at": [1]}, {"kind": "bad-request", "on": "read"}),
        then=(api(),),
    ),
    "a child whose parent is refused in the end stays blocked": Scene(
        OF_ONE,
        api({"kind": "dropped", "on": "mutating", "at": [1]}, {"kind": "bad-request", "on": "read"}),
        then=(api(rules={"reject_ids": ["user-00000"]}),),
    ),
    "of the children of parents in doubt those follow whose parents are there in the end": Scene(
        {Phase.CREATE_USERS: users(2), Phase.CREATE_LOCATIONS: locations(2)},
        api({"kind": "dropped", "on": "mutating", "at": [1]}, {"kind": "bad-request", "on": "read"}),
        then=(api(rules={"reject_ids": ["user-00000"]}),),
    ),
    "one child stays held back and the next one follows": Scene(
        {Phase.CREATE_USERS: users(3), Phase.CREATE_LOCATIONS: locations(3)},
        api(
            {"kind": "dropped", "on": "mutating", "at": [3]},
            {"kind": "bad-request", "on": "read", "after": 62.0},
            rules={"reject_ids": ["user-00000"]},
        ),
        then=(api(),),
    ),
    "what was lost comes after the refusal of what was sent again": Scene({Phase.CREATE_USERS: users(1)}, api(*LATE)),
    "a batch that was lost comes after the refusal of its parts": Scene(
        {Phase.CREATE_USERS: users(29)},
        api(
            fault("applied-late", at=[4], seconds=55.0),
            fault("rate-limited", at=[5], seconds=1),
            {"kind": "bad-request", "on": "mutating", "after": 32.0, "until": 54.0},
        ),
    ),
    "a batch that was lost comes after a part of it was refused": Scene(
        {Phase.CREATE_USERS: users(29)},
        api(
            fault("applied-late", at=[4], seconds=55.0),
            fault("subset-then-400", at=[5]),
            fault("bad-request", at=[6]),
        ),
    ),
    "a batch that was lost comes after no token was to be had, and a refusal": Scene(
        {Phase.CREATE_USERS: users(29)},
        api(
            fault("applied-late", at=[4], seconds=45.0),
            {"kind": "token-refused", "after": 30.0},
            fault("unauthorized-401", at=[5]),
        ),
        then=(api({"kind": "bad-request", "on": "mutating"}),),
    ),
    "what was lost and then refused may still come when nothing can be read": Scene(
        {Phase.CREATE_USERS: users(1)}, api(*LATE, {"kind": "bad-request", "on": "read", "after": 40.0})
    ),
    "what was lost and then refused may still come when the end is asked for": Scene(
        {Phase.CREATE_USERS: users(1)}, api(*LATE), then=(api(),), settings={"stop": lambda _core, now: now > 40}
    ),
    "children of a parent that is settled late follow in the same start": Scene(
        OF_ONE,
        api(
            {"kind": "dropped", "on": "mutating", "at": [1]},
            {"kind": "bad-request", "on": "read", "until": 92.5},
        ),
        settings={"settle": 90.0},
    ),
    "a child of a parent that is settled late may be in doubt itself": Scene(
        OF_ONE,
        api(
            {"kind": "dropped", "on": "mutating", "at": [1, 4]},
            {"kind": "bad-request", "on": "read", "until": 92.5},
        ),
        settings={"settle": 90.0},
    ),
    "the end is asked for while something is in doubt": Scene(
        OF_ONE,
        api({"kind": "dropped", "on": "mutating", "at": [1]}, {"kind": "bad-request", "on": "read", "until": 92.5}),
        then=(api(),),
        settings={"settle": 90.0, "stop": lambda _core, now: now > 60},
    ),
    "pages in the way of recovering": Scene(
        USERS, api(fault("dropped", at=[2]), UNREADABLE), then=(api({"kind": "login-page", "on": "read"}),)
    ),
    "recovering sends nothing": Scene(
        USERS, api(fault("dropped", at=[2]), UNREADABLE), then=(api(),), recover_only=True
    ),
    # ------------------------------------------------------------ not now
    "told to wait": Scene(USERS, api(fault("rate-limited", at=[2], seconds=3))),
    "told to wait for too long": Scene(USERS, api(fault("rate-limited", at=[2], seconds=1000)), then=(api(),)),
    "told to wait again and again": Scene(USERS, api(fault("rate-limited", seconds=1)), then=(api(),)),
    "a token ends in the middle": Scene(USERS, api(fault("unauthorized-401", at=[2]))),
    "a server that only fails is left alone, and then asked by a read": Scene(
        {Phase.CREATE_USERS: users(120)},
        api({"kind": "unavailable-503", "on": "mutating", "after": 0.4, "until": 8.0}),
        settings={"concurrency": 4},
    ),
    # ------------------------------------------------------------ too large
    "a batch that is too large is halved": Scene(USERS, api(fault("too-large-413", items=3))),
    # ------------------------------------------------------------ refused
    "one culprit is found": Scene(USERS, api(rules={"reject_ids": ["user-00017"]})),
    "a culprit among places is found": Scene(PLACES, api(rules={"reject_ids": ["loc-00007"]})),
    "children of a refused parent are held back": Scene(
        EVERYTHING, api(rules={"reject_ids": ["user-00002", "loc-00007"]}), then=(api(), api())
    ),
    "refused for no reason": Scene(USERS, api(fault("bad-request", at=[2]))),
    "the server points at the culprit": Scene(
        USERS,
        api(fault("bad-request", at=[3], body="pointing"), rules={"reject_ids": ["user-00018"]}),
        settings={"chunk": 16},
    ),
    "the server points at one of eight": Scene(
        USERS, api(fault("bad-request", at=[2], body="pointing at one")), settings={"chunk": 8}
    ),
    "the server points at too many": Scene(
        USERS, api(fault("bad-request", at=[3], body="pointing at three")), settings={"chunk": 16}
    ),
    "a prefix was applied and then refused": Scene(
        USERS, api(fault("prefix-then-400", at=[3])), settings={"chunk": 20}
    ),
    "a part was applied and then refused": Scene(USERS, api(fault("subset-then-400", at=[3])), settings={"chunk": 20}),
    "some are there already": Scene(
        USERS, before=holding_users("user-00007", "user-00020", "user-00033"), settings={"chunk": 20}
    ),
    "all are there already": Scene(USERS, before=holding_users(*(f"user-{n:05d}" for n in range(40)))),
    "other content is there": Scene(
        {Phase.CREATE_LOCATIONS: locations(12)}, before=holding_places(*range(12), other=True)
    ),
    "other content is there in places": Scene(
        {Phase.CREATE_USERS: users(12), Phase.CREATE_LOCATIONS: locations(12)}, before=holding_places(3, 8, other=True)
    ),
    "refused, and then nothing can be read": Scene(
        USERS, api(fault("bad-request", at=[2]), UNREADABLE), then=(api(),)
    ),
    "the first chunk is refused whole": Scene(
        USERS, api(fault("bad-request"), {"kind": "bad-request", "on": "single"})
    ),
    "the first chunk is refused whole, and others were before": Scene(
        {Phase.CREATE_USERS: users(12), Phase.CREATE_LOCATIONS: locations(12)},
        api(rules={"reject_ids": ["user-00011", *(f"loc-{n:05d}" for n in range(5))]}),
    ),
    "the first chunk is held with other content": Scene(
        PLACES, api({"kind": "altered-values", "on": "by-id"}, {"kind": "altered-values", "on": "list"})
    ),
    "the first chunk is held with other content and nobody mends it": Scene(
        PLACES,
        api({"kind": "altered-values", "on": "by-id"}, {"kind": "altered-values", "on": "list"}),
        then=(api({"kind": "altered-values", "on": "by-id"}, {"kind": "altered-values", "on": "list"}), api()),
    ),
    "too many are refused": Scene(
        USERS, api(rules={"reject_ids": [f"user-{n:05d}" for n in range(5, 40)]}), settings={"guards": STRICT}
    ),
    # ------------------------------------------------------------ not allowed, not here
    "a firewall dislikes one record": Scene(
        USERS, api({"kind": "forbidden-403", "on": "mutating", "pattern": "user-00017"})
    ),
    "everything is forbidden": Scene(USERS, api({"kind": "forbidden-403", "on": "api", "after": 1.15}), then=(api(),)),
    "forbidden, and then the API is gone": Scene(
        USERS,
        api(fault("forbidden-403", at=[2]), {"kind": "token-refused", "after": 0.3}, fault("unauthorized-401", at=[3])),
        then=(api(),),
    ),
    "the API has moved": Scene(USERS, api(fault("redirect", at=[2])), then=(api(),)),
}  # fmt: skip


@pytest.fixture(autouse=True)
def pointing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that say where it hurts."""
    for name, said in {
        "pointing": "users[13].userId is not liked",
        "pointing at one": "users[5].userId is not liked",
        "pointing at three": "users[1], users[2] and users[3] are not liked",
    }.items():
        monkeypatch.setitem(
            sandbox.faults.ERROR_BODIES, name, lambda status, said=said: Answer.json(status, said)
        )


@pytest.mark.parametrize("name", SCENES)
def test_the_sender_does_what_the_story_says(name: str, tmp_path: Path) -> None:
    told = (
        "\n\n".join(
            f"start {number}\n{text}" for number, text in enumerate(played(SCENES[name], tmp_path), 1)
        )
        + "\n"
    )
    kept = STORIES / f"{name.replace(' ', '-').replace(',', '')}.txt"
    if os.environ.get("STORIES") == "write":
        kept.write_text(told, encoding="utf-8")
    assert kept.read_text(encoding="utf-8") == told


def test_what_never_left_the_machine_is_no_request(tmp_path: Path) -> None:
    bench = VirtualBench(tmp_path, {Phase.CREATE_USERS: harness.users(12)}, api({"kind": "token-refused"}))
    bench.start()
    bench.close()
    ledger = read_ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    assert ledger is not None
    assert (0, 0, 0) == ledger.request_counts(bench.run_seq or 0)
    ledger.close()


@pytest.mark.parametrize("second", [api(), api({"kind": "dropped", "on": "mutating", "at": [1]})])
@pytest.mark.parametrize(
    "first", [api(fault("rate-limited", seconds=2000)), api(rules={"reject_ids": ["user-00002"]})]
)
def test_what_another_run_left_is_neither_sent_nor_held_against_this_one(
    first: Mapping[str, Any], second: Mapping[str, Any], tmp_path: Path
) -> None:
    plan = {Phase.CREATE_USERS: harness.users(12), Phase.CREATE_LOCATIONS: harness.locations(12)}
    bench = VirtualBench(tmp_path, plan, first)
    left = bench.start().chunks
    assert {"planned", "blocked"} & {state for _, state, *_ in left}
    bench.run_seq = None
    bench.core.set_faults(second)
    ended = bench.start()
    bench.close()
    assert left == ended.chunks[: len(left)]
    expected = {(phase, "acknowledged", None): 12 for phase in ("create_users", "create_locations")}
    assert expected == ended.account


def test_what_was_left_goes_out_in_the_order_of_the_phases(tmp_path: Path) -> None:
    plan = {Phase.CREATE_USERS: harness.users(3), Phase.CREATE_LOCATIONS: harness.locations(3)}
    bench = VirtualBench(tmp_path, plan)
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with open_ledger(url, identity=Identity("t", BASE, "k"), now=bench.now()) as ledger:
        bench.run_seq = ledger.begin_run(
            command="sync",
            environment="sandbox",
            profiles="p",
            job_digest="j",
            stamp="20260101",
            now=bench.now(),
        ).run_seq
        for phase in reversed(plan):
            cut = (
                plan[phase]
                .with_row_index("position")
                .with_columns(pl.col("position").cast(pl.UInt32), partition=pl.lit(0, pl.UInt16))
            )
            left = Draft(bench.run_seq, phase, 0, 0, 3, cut.select(MANIFEST))
            ledger.hold([left], state=State.PLANNED, reason="test")
    ended = bench.start()
    bench.close()
    assert ["users", "locations"] == [line["path"].split("/")[-2] for line in ended.changing]


@pytest.mark.parametrize("several", [1, 4])
def test_a_bug_in_a_job_comes_out(several: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bug(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Sender, "_drive", bug)
    bench = VirtualBench(tmp_path, {Phase.CREATE_VEHICLES: harness.resources(200 * several, "Vehicle")})
    with pytest.raises(ZeroDivisionError):
        bench.start()
    bench.close()


def test_a_bug_comes_out_also_when_the_run_is_asked_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    async def bug(*_: Any) -> None:
        begun.append(1)
        raise ZeroDivisionError

    def one_is_under_way(_core: Core, _now: float) -> bool:
        return any(task.get_coro().__name__ == "_guarded" for task in asyncio.all_tasks())

    monkeypatch.setattr(Sender, "_drive", bug)
    plan = {Phase.CREATE_VEHICLES: harness.resources(800, "Vehicle")}
    bench = VirtualBench(tmp_path, plan, stop=one_is_under_way)
    with pytest.raises(ZeroDivisionError):
        bench.start()
    bench.close()
    assert [1] == begun


def test_every_story_is_played() -> None:
    assert {f"{name.replace(' ', '-').replace(',', '')}.txt" for name in SCENES} == {
        path.name for path in STORIES.iterdir()
    }


def played(scene: Scene, folder: Path) -> list[str]:
    plan = {
        phase: [one() for one in made] if isinstance(made, list) else made()
        for phase, made in scene.plan.items()
    }
    bench = VirtualBench(folder, plan, scene.api, **scene.settings)
    try:
        scene.before(bench.core)
        told = [story(bench.start())]
        for next_api in scene.then:
            bench.stop = lambda _core, _now: False
            if next_api is None:  # the spool is lost
                bench.plan = {phase: frame.head(scene.kept) for phase, frame in bench.plan.items()}
                next_api = api()
            bench.core.set_faults(next_api)
            told.append(story(bench.start(deliver=not scene.recover_only)))
        return told
    finally:
        bench.close()


def story(ended: Ended) -> str:
    lines = [
        f"  {line['method']} {line['path']}{' ' + str(line['count']) if line['method'] != 'GET' else ''} -> "
        f"{line['status'] or 'nothing'}{', ' + line['fault'] if line['fault'] else ''}"
        f"{'' if line['trace'] or line['method'] == 'GET' else ', unnamed'}"
        for line in ended.requests
    ]
    lines = [f"{line} x {n}" if n > 1 else line for line, n in _runs(lines)]
    chunks = [
        f"  {phase} {n}: {state}, {reason or '-'}, {verdict or '-'}"
        for phase, state, n, reason, verdict in ended.chunks
    ]
    account = [
        f"  {phase}: {n} {state}{', ' + reason if reason else ''}"
        for (phase, state, reason), n in sorted(ended.account.items(), key=str)
    ]
    end = [f"after {ended.seconds:.2f} s, {ended.left} left in doubt by recovering"]
    if ended.error is not None:
        guard = getattr(ended.error, "guard", None)
        end.append(
            f"{type(ended.error).__name__}{f' ({guard})' if guard else ''}: {ended.error.message} {ended.error.cure}"
        )
    return "\n".join(["requests", *lines, "chunks", *chunks, "account", *account, *end])


def _runs(lines: list[str]) -> list[tuple[str, int]]:
    counted: list[tuple[str, int]] = []
    for line in lines:
        if counted and counted[-1][0] == line:
            counted[-1] = (line, counted[-1][1] + 1)
        else:
            counted.append((line, 1))
    return counted
