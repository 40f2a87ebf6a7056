"""The whole command in virtual time: `pipeline.run` from the export to the account, with faults, kills and guards.

A share of the schedules lives through it instead of through a sender with a plan made by hand. Real are the exports
on disk, their reading and judging, the planner and what it compares with, the session and what it decides about the
runs before, guards and approvals, the spool, and all that the other schedules have. Only reports are not drawn.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl

from connectors.artifacts import RunFolder
from connectors.exports import open_exports
from connectors.ledger import open_ledger
from connectors.ledger.journal import Journal
from connectors.ledger.store import Ledger
from connectors.reference import load_reference
from connectors.shelf import FileRunShelf, FileShelf
from connectors.spool import Spool
from pipeline import prepare
from pipeline import run as story
from pipeline.job import fingerprint
from pipeline.order import Opened, Order, Ports
from pipeline.ports import Export, World
from pipeline.session import InterruptedEarly
from sandbox.core import CLIENT_SECRET, Core
from sandbox.effects import Cause
from sandbox.inprocess import EPOCH, InProcessTransport, MemoryNetwork
from sandbox.records import Coordinates, Location, Resource, User
from schemas.errors import MeterfeedError
from schemas.ledger import Identity
from schemas.outcomes import Exit
from schemas.profile import Profile
from schemas.reference import Reference
from schemas.rules import Rulebook
from schemas.summary import Artifacts, Summary
from tests.campaign.checker import Evidence, Life, Witness, _held
from tests.campaign.life import SMALL_SAMPLES, WIDE_OPEN
from tests.campaign.quick import cheaply
from tests.campaign.retailer import (
    Places,
    WholeEvidence,
    before_yesterday,
    days_of,
    expected,
    export_of,
    plan_of,
    runs_in,
    states_of,
    yesterday,
)
from tests.campaign.schedules import SETTLE_SECONDS, Schedule
from tests.campaign.simulator import (
    BASE,
    MOST_CLEAN_LIVES,
    SimulatedLoop,
    Simulation,
    disk_that_refuses,
)

ONE_IN = 100
"""Of so many schedules, one lives through the whole command: it costs as much as nine others."""
MOST_GUARDED_LIVES = 8
"""Lives without faults that guards may stop, one after the other."""

KEY = "an id key for days, long enough to be taken"
WHOSE = Identity("t", BASE, fingerprint(KEY))
DAY = 86_400.0
"""Seconds."""

PROFILE = """
name = "days"
country = "NO"
[export]
kind = "{kind}"
[file]
format = "csv"
encoding = "utf-8"
separator = ";"
decimal = "."
[identity]
ids = "as-is"
[columns]
user = "kunde"
location = "anlegg"
location_type = "type"
meter_point = "punkt"
latitude = "nord"
longitude = "ost"
resource = "enhet"
resource_type = "enhetstype"
[meter_point]
scheme = "NO"
[coordinates]
crs = "EPSG:4326"
[values.location_type]
"H" = "Residential"
"N" = "Commercial"
[values.resource_type]
{types}
[guards]
{guards}
"""
NO_CANARY = 1000
OPEN = WIDE_OPEN | {
    "shrank": 1.0,
    "grew": 1000.0,
    "creates": 1000.0,
    "updates": 1.0,
    "meter_points_lost": 1000,
}
TIGHT = SMALL_SAMPLES | {"minimum_rows": 5, "meter_points_lost": 0}
"""The shares and factors of the defaults, with samples as small as these exports are."""


@cache
def profile_of(*, full: bool, guarded: bool, canary: int) -> Profile:
    """The profile of a retailer; an operator opens its guards by hand when one was right to ask and wrong to stop."""
    guards = (TIGHT if guarded else OPEN) | {"canary": canary}
    types = ("HVAC", "HotWaterTank", "SolarInverter", "Charger", "Vehicle")
    text = PROFILE.format(
        kind="full" if full else "delta",
        types="\n".join(f'"{one}" = "{one}"' for one in types),
        guards="\n".join(f"{name} = {limit}" for name, limit in guards.items()),
    )
    return Profile.from_toml(text, "days")


@cache
def reference() -> Reference:
    return load_reference()


@lru_cache(maxsize=64)
def _rulebook(profile: str, columns: frozenset[str]) -> Rulebook:
    return Rulebook.for_profile(_PROFILES[profile], "sandbox", reference(), columns=columns)


_PROFILES: dict[str, Profile] = {}


def rulebook_of(export: Export, profile: Profile, _environment: str, _reference: Reference) -> Rulebook:
    """The rules of a profile, put together once in a process and not twice in a life."""
    digest = profile.digest()
    _PROFILES[digest] = profile
    return _rulebook(digest, export.columns_present())


@contextmanager
def frugally() -> Iterator[None]:
    """What `cheaply` is for lives, for commands."""
    with patch.object(prepare, "rulebook_of", rulebook_of), patch.object(story, "rulebook_of", rulebook_of):
        yield


def is_whole(one: Schedule) -> bool:
    """Whether a schedule lives through the whole command."""
    return random.Random(f"whole/{one.seed}/{one.case}").randrange(ONE_IN) == 0


# ------------------------------------------------------------------ the shelf
@dataclass(frozen=True, slots=True)
class PlainShelf(FileShelf):
    """Run folders without pages, charts and copies for spreadsheets: nothing of them is read again."""

    step: Callable[[], None] = lambda: None

    def open(self, run_id: str, *, fresh: bool = False) -> FileRunShelf:
        is_new = fresh or not (self.data_dir / run_id).is_dir()
        folder = RunFolder.create(self.data_dir, run_id) if is_new else RunFolder(self.data_dir / run_id)
        return PlainRun(run_id, folder, self.step)


class PlainRun(FileRunShelf):
    """A run folder with its spool, and more places to die at."""

    def __init__(self, name: str, folder: RunFolder, step: Callable[[], None]) -> None:
        super().__init__(name, folder)
        self._step = step

    def new_spool(self, partitions: int) -> Spool:
        self._step()
        return super().new_spool(partitions)

    def drop_spool(self) -> None:
        self._step()
        super().drop_spool()
        self._step()

    def keep_aside(self, exports: Sequence[Any], marks: Sequence[pl.DataFrame]) -> None:
        self._step()  # the spool is finished, and the ledger knows of no plan

    def write_table(self, table: str, frames: Iterator[pl.DataFrame]) -> None:
        pass

    def copy_table(self, table: str) -> None:
        pass

    def write_reports(self, summary: Summary, **_: Any) -> Artifacts:
        return Artifacts()


# ------------------------------------------------------------------ what was before
@dataclass(frozen=True)
class Yesterday:
    """What two nights without faults left behind."""

    files: dict[str, bytes]
    state: dict[str, Any]


@cache
def left_behind() -> Yesterday:
    """The ledger after two nights of the real command, and what the API holds after them."""
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    try:
        calm = Schedule(0, 0, 0, {}, [], {}, 0.0, 100, 4, 5, 3600.0, 0.0, 1)
        night = WholeRun(calm, folder, since=EPOCH - 3 * DAY)
        return night.calm_nights([before_yesterday(), yesterday()])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def put_there(core: Core, state: dict[str, Any]) -> None:
    """Let the sandbox hold what another one held."""
    world, cause = core.world, Cause(core.now(), 0, None, "POST", "before")
    for one in state["users"]:
        world.create_user(cause, User(user_id=one["userId"]))
    for one in state["locations"]:
        world.create_location(
            cause,
            Location(
                user_id=one["userId"],
                location_id=one["locationId"],
                location_type=one.get("locationType", "Unknown"),
                coordinates=Coordinates(**one["coordinates"]),
                meter_point_ids=tuple(one.get("meterPointIds", ())),
            ),
        )
    for one in state["resources"]:
        world.create_resource(
            cause,
            Resource(
                user_id=one["userId"],
                location_id=one.get("locationId"),
                resource_id=one["resourceId"],
                resource_type=one["resourceType"],
                meter_point_id=one.get("meterPointId"),
            ),
        )
    world.settle()


# ------------------------------------------------------------------ one schedule
@dataclass
class WholeRun(Simulation):
    """A schedule whose lives are commands: `sync`, `resume`, and what an operator adds to them."""

    since: float = EPOCH
    commands: list[str] = field(default_factory=list)
    turn: int = 0
    told: Summary | None = None
    """What the present life came to."""
    last: Summary | None = None
    """The last thing anybody was told."""
    of_latest: bool = True
    """Whether the newest plan is that of the newest export."""
    stopping: Callable[[], bool] = lambda: False

    def now(self) -> float:
        return self.since + self.loop.time()

    def _keep_image(self) -> None:
        shutil.copytree(
            self.place,
            self.folder / f"life-{self.number + 1}",
            ignore=shutil.ignore_patterns("*-shm", "*.lock"),
        )

    # -------------------------------------------------------- the nights before
    def calm_nights(self, exports: Sequence[Places]) -> Yesterday:
        self.loop = SimulatedLoop()
        self.chance = random.Random(0)
        self.core = Core({}, now=self.now)
        self.inner = InProcessTransport(self.core)
        self.serving = set()
        self.place = self.folder / "life-0"
        self.place.mkdir(parents=True)
        self.profile = profile_of(full=True, guarded=False, canary=5)
        self.life = Life(0, faulty=False, started=0.0, first_sent=0)

        async def nights() -> None:
            for number, places in enumerate(exports):
                await asyncio.sleep(number * DAY)
                with Witness(self.ledger_url) as self.witness:
                    summary = await story.sync(self._order("sync", self._export(places, 0)), self._ports())
                assert summary.exit_code == Exit.OK, summary

        try:
            with cheaply(), frugally():
                self.loop.run_until_complete(nights())
                files = {path.name: path.read_bytes() for path in self.place.iterdir() if path.is_file()}
            return Yesterday(
                {name: files[name] for name in files if not name.endswith(".lock")}, self.core.state()
            )
        finally:
            self.loop.close()

    # -------------------------------------------------------- the schedule
    def run(self) -> Evidence:
        left_behind()
        with frugally():
            return super().run()

    async def _everything(self) -> Evidence:
        # A late removal of what was put back since is beyond any client; it must come within the settle time.
        semantics = self.one.semantics
        late = {"late_seconds": min(semantics["late_seconds"], SETTLE_SECONDS - 5.0)}
        one = self.one = replace(self.one, semantics=semantics | late)
        self.days = days = days_of(one.seed, one.case, one.poison)
        plan = {
            "seed": one.seed * 100_003 + one.case,
            "semantics": one.semantics,
            "rules": {"reject_ids": sorted(days.poison)},
        }
        self.core = Core(plan, now=self.now, token_lifetime=one.token_lifetime)
        self.place = self.folder / "life-0"
        self.place.mkdir()
        if days.before:
            put_there(self.core, left_behind().state)
            for name, content in left_behind().files.items():
                (self.place / name).write_bytes(content)
        before = self.core.state()
        latency = (0.0, one.latency)
        self.loop.network = MemoryNetwork(self.core, latency=latency, seed=one.case)
        self.core.set_faults(plan | {"fault": one.faults})
        self.inner = InProcessTransport(self.core, latency=latency, seed=one.case)
        self.serving = set()
        self.loop.around = self._around_commit
        self.profile = profile_of(full=days.full, guarded=days.guarded, canary=one.canary)
        await self._bad_lives()
        self.core.set_faults(plan)
        self.core.tokens.lifetime = 3600.0
        await self._good_lives()
        await asyncio.sleep(120.0)
        at_rest = len(self.core.effects())
        await self._until_settled(1, lambda: True)
        self.core.settle()
        expectation = expected(days, _held(before))
        return WholeEvidence(
            ledger=self.ledger_url,
            plan=plan_of(expectation, days),
            poison=set(days.poison),
            before=before,
            after=self.core.state(),
            effects=self.core.effects(content=True),
            requests=self.core.requests(),
            sent=self.sent,
            lives=self.lives,
            may_double=one.may_double,
            lies=one.lies_about_single_records,
            settle_seconds=SETTLE_SECONDS,
            canaries=frozenset({CLIENT_SECRET}) | {p for place in days.wanted.values() for p in place.points},
            expected=expectation,
            at_rest=at_rest,
            asked_to_end=one.stop_after is not None,
            commands=self.commands,
        )

    async def _bad_lives(self) -> None:
        """The first life plans; a later one goes on, plans again, or has a newer export."""
        kills = list(self.one.kills)
        for number in range(max(self.one.faulty_lives, len(kills) + 1)):
            again = self.chance.choice(["sync", "sync", "turned", "resume"]) if number else "sync"
            await self._command(
                "resume" if again == "resume" else "sync",
                kill_at=kills.pop(0) if kills else 0,
                faulty=True,
                turned=again == "turned",
                latest=number > 0,
            )

    async def _good_lives(self) -> None:
        if self.chance.random() < 0.3:
            await asyncio.sleep(1.0)
            await self._command("resume", faulty=False)
        await self._until_settled(MOST_CLEAN_LIVES - 1, lambda: self.chance.random() < 0.5)

    async def _until_settled(self, tries: int, turned: Callable[[], bool]) -> None:
        """Load until it is done; who was stopped by a guard, and who finished that, tries again."""
        for _ in range(MOST_GUARDED_LIVES):
            await asyncio.sleep(self.chance.choice([1.0, 60.0]))
            await self._command("sync", faulty=False, turned=turned() or self._was_skipped())
            tries -= self.lives[-1].guard is None and not self.lives[-1].cures
            if self.lives[-1].settled or not tries:
                break

    async def _command(
        self, command: str, *, faulty: bool, turned: bool = False, latest: bool = True, kill_at: int = 0
    ) -> None:
        """One life. Whoever was stopped by a guard looks at the report, and says what the cure says."""
        self.turn += turned
        cures = command == "sync" and self._waits()
        if cures:
            command = "resume"
            self.profile = profile_of(full=self.days.full, guarded=False, canary=NO_CANARY)
        plan = self._cure() if command == "sync" else None
        export = self._export(self.days.exports[-1 if latest else 0], self.turn)
        self.order = self._order(command, export, removes=self.days.removes)
        if plan is not None and self.chance.random() < 0.5:
            self.order = replace(self.order, command="apply", run=plan)
        elif plan is not None:
            self.order = replace(self.order, approve=plan)
        self.commands.append(
            f"{self.order.command}{' turned' * turned}{' approved' * bool(self.order.approve)}"
        )
        self.told = None
        unfinished = runs_in(self.ledger_url, "sending")
        await self._live(kill_at, faulty=faulty)
        self.last = self.told or self.last
        self.life.cures = cures
        self.life.states = {} if self.told is None else states_of(self.ledger_url, self.told.run_id)
        if self.told is not None and self.order.command == "sync":
            # What had to be finished first is told of as well.
            for own in unfinished & runs_in(self.ledger_url, "settled") - {self.told.run_id}:
                both = Counter(self.life.states) + Counter(states_of(self.ledger_url, own))
                self.life.states = dict(both)
        # A removal is put off, as a reject, while a list that lags still shows what hangs on the record.
        good = (Exit.OK,) if self.days.removes else (Exit.OK, Exit.DONE_WITH_REJECTS)
        is_good = self.life.exit_code in good
        if self.order.command == "sync":
            self.of_latest = latest
        # Applied is what a guard stopped: the plan of a whole export, if perhaps not of the newest.
        loads = self.order.command in ("sync", "apply") and self.of_latest
        self.life.settled = loads and is_good and not self._was_skipped()

    def _waits(self) -> bool:
        """Whether an earlier delta, which a guard stopped, has to be finished first: its cure says to resume it."""
        return bool(self.lives) and self.lives[-1].guard is not None and self.told is None

    def _was_skipped(self) -> bool:
        """Whether these very bytes were done before: what was refused then is not sent again."""
        return self.told is not None and "already_done" in self.told.extra

    def _cure(self) -> str | None:
        """The digest of a plan that a guard stopped; or guards that are wider from here on."""
        if self.last is None or self.last.error is None or self.last.error.kind != "GuardError":
            return None
        digest: str | None = self.last.extra.get("plan_digest")
        if digest is not None and digest in self.last.error.cure:
            return digest
        self.profile = profile_of(full=self.days.full, guarded=False, canary=NO_CANARY)
        return None

    async def _one_life(self, stop_after: float | None) -> None:
        begun = self.loop.time()
        self.stopping = lambda: stop_after is not None and self.loop.time() - begun > stop_after
        self.step()
        with Witness(self.ledger_url) as self.witness:
            try:
                summary = await getattr(story, self.order.command)(self.order, self._ports())
            except MeterfeedError as error:
                self.life.error, self.life.guard = type(error).__name__, getattr(error, "guard", None)
                self.life.exit_code = error.exit_code
                return
            except InterruptedEarly:
                return
        if summary is None:  # there was nothing to resume
            self.life.exit_code = int(Exit.OK)
            return
        self.told = summary
        self.life.exit_code = int(summary.exit_code)
        self.life.error = None if summary.error is None else summary.error.kind
        self.life.guard = "some" if self.life.error == "GuardError" else None

    # -------------------------------------------------------- the world of the command
    def _export(self, places: Places, turn: int) -> Path:
        path = self.folder / "kunder.csv"
        path.write_text(export_of(places, turn), encoding="utf-8")
        return path

    def _order(
        self, command: str, export: Path, *, approve: str | None = None, removes: bool = False
    ) -> Order:
        return Order(
            command=command,
            environment="sandbox",
            exports=(str(export),),
            profiles=(self.profile,),
            delete_vanished=removes,
        )

    def _ports(self) -> Ports:
        return Ports(
            world=World(self.now, self.loop.time, asyncio.sleep, self.chance.random),
            open_exports=_opened,
            list_exports=list,
            shelf=PlainShelf(self.place, None, self.step),
            reference=reference(),
            key=KEY,
            ledger=self._ledger,
            api=self._client,
            chunk_records=self.one.chunk,
            concurrency=self.one.concurrency,
            settle_seconds=SETTLE_SECONDS,
            stopping=lambda: self.stopping(),
        )

    @asynccontextmanager
    async def _ledger(self) -> AsyncIterator[tuple[Ledger, Journal]]:
        with (
            open_ledger(self.ledger_url, identity=WHOSE, now=self.now(), mark_in=self.place) as ledger,
            disk_that_refuses(ledger, self.one.hiccups if self.number == 0 else []),
        ):
            self.step()
            async with Journal(ledger) as journal:
                yield ledger, journal


def _opened(arguments: Sequence[str], profiles: Sequence[Profile]) -> Opened:
    return [(export, export.profile) for export in open_exports(arguments, profiles)]
