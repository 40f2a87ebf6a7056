"""The real sender, ledger, journal and client in a world where nothing is real but them: one seed for everything.

A schedule is lived through: a first life that may be killed at any commit or request, more lives that recover and
go on, all against one sandbox in one virtual time. A killed life is dropped as it stands: its ledger file is copied
as a crash would leave it, and requests on their way may still arrive. What happened is kept for the checker.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import polars as pl
import sqlalchemy as sa

from connectors.api import ApiClient
from connectors.api.wire import Wire
from connectors.ledger import open_ledger
from connectors.ledger.journal import Journal
from connectors.ledger.store import Ledger
from flows.settings import Secret
from pipeline.holdings import HOLDING_COLUMNS, RELEASED
from pipeline.phases import Phase
from pipeline.plan import PLAN_SCHEMA
from pipeline.ports import World
from sandbox.core import CLIENT_ID, CLIENT_SECRET, Core
from sandbox.effects import Cause
from sandbox.inprocess import EPOCH, InProcessTransport, MemoryNetwork, VirtualTimeLoop
from sandbox.records import Coordinates, Location, Resource, User
from schemas.errors import StorageError
from schemas.ledger import MANIFEST_SCHEMA, Identity
from schemas.outcomes import Kind
from tests.campaign.checker import Evidence, Life, Sent, Witness, states_in
from tests.campaign.life import Manner, keys_of, live
from tests.campaign.quick import cheaply, lay_out
from tests.campaign.schedules import SETTLE_SECONDS, Schedule

BASE = "http://127.0.0.1:9/energy-coordination/v1"
IDENTITY = Identity("t", BASE, "k")
MOST_CLEAN_LIVES = 4
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
LONGEST_LIFE = 6 * 3600.0
"""Virtual seconds after which a life counts as stuck."""


class Died(BaseException):
    """The process is gone. Not an `Exception`: nobody may handle it."""


class SimulatedLoop(VirtualTimeLoop):
    """Virtual time, and no threads or sockets: what is handed to a thread is done at once, and nobody is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.network: MemoryNetwork
        self._virtual.select = self._nothing_comes  # type: ignore[method-assign]
        self.around: Callable[[Callable[[], Any]], Any] = lambda work: work()

    async def create_connection(self, protocol_factory: Any, *_: Any, **__: Any) -> Any:
        return self.network.connect(protocol_factory)

    def _nothing_comes(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everything waits for something that will never come")
        self._virtual.passed += timeout
        return []

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        done = self.create_future()
        try:
            done.set_result(self.around(lambda: func(*args)))
        except BaseException as error:
            done.set_exception(error)
        return done


# ------------------------------------------------------------------ what is to be sent
@dataclass
class Work:
    """The plan as frames for the sender, and as plain records for the checker."""

    frames: dict[Phase, pl.DataFrame]
    records: list[dict[str, Any]]
    poison: set[str]
    held: dict[Kind, pl.DataFrame]
    """What the ledger knows beforehand: locations that are to give up a meter point, resources to be made anew."""


def work_of(one: Schedule) -> Work:
    chance = random.Random(f"work/{one.seed}/{one.case}")
    records: list[dict[str, Any]] = []

    def add(phase: str, user: str, own: str, body: dict[str, Any] | None, **more: Any) -> None:
        keys = list((body or {}).get("meterPointIds", ()))
        records.append(
            {
                "phase": phase,
                "user_id": user,
                "id": own,
                "location_id": None,
                "keys": keys,
                "body": body,
                "digest": RELEASED if body is None else f"d-{own}",
            }
            | more
        )

    users = [f"user-{n:04d}" for n in range(one.sizes["create_users"])]
    for user in users:
        add("create_users", user, user, {"userId": user})
    homes = users or ["old-user-0"]
    for n in range(one.sizes["release_locations"]):
        keys = [point(900 + n)] if n % 2 else []
        add("release_locations", f"old-user-{n}", f"old-rel-{n}", None, keys=keys)
    for n in range(one.sizes["update_locations"]):
        user = f"old-user-{n}"
        body = location_body(user, f"old-loc-{n}", 500 + n, whole=n % 3 != 2)
        add("update_locations", user, f"old-loc-{n}", body)
    for n in range(one.sizes["create_locations"]):
        user = homes[n % len(homes)]
        # The first new locations take over what released ones give up.
        number = 800 + n if n < one.sizes["release_locations"] else n
        add(
            "create_locations",
            user,
            f"loc-{n:04d}",
            location_body(user, f"loc-{n:04d}", number, whole=n % 4 != 3),
        )
    for n in range(one.sizes["replace_resources"]):
        body = {"resourceId": f"old-res-{n}", "resourceType": "HVAC"}
        add("replace_resources", f"old-user-{n}", f"old-res-{n}", body, location_id=f"old-loc-{n}")
    places = [record for record in records if record["phase"] == "create_locations"]
    for n in range(one.sizes["create_resources"] if places else 0):
        place = places[n % len(places)]
        body = {"resourceId": f"res-{n}", "resourceType": "HotWaterTank"}
        add("create_resources", place["user_id"], f"res-{n}", body, location_id=place["id"])
    for n in range(one.sizes["create_vehicles"]):
        body = {"resourceId": f"car-{n}", "resourceType": "Vehicle"}
        add("create_vehicles", homes[n % len(homes)], f"car-{n}", body)
    makes = [record["id"] for record in records if record["phase"].startswith("create")]
    makes += [record["id"] for record in records if record["phase"] == "replace_resources"]
    poison = {own for own in makes if chance.random() < one.poison}
    return Work(_frames(records), records, poison, _believed(one))


def canaries_of(records: list[dict[str, Any]]) -> frozenset[str]:
    """What a ledger must not hold: the secret, and the meter points of what is sent."""
    points = {one for record in records for one in (record["body"] or {}).get("meterPointIds", ())}
    return frozenset({CLIENT_SECRET, *points})


def in_use() -> int:
    """Files, sockets and threads of this process; what runtimes keep for themselves has no name and does not count."""
    found = threading.active_count()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found += not os.readlink(f"/proc/self/fd/{number}").startswith("anon_inode")
    return found


def point(number: int) -> str:
    return f"70705759999{number:07d}"


def location_body(user: str, own: str, number: int, *, whole: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"userId": user, "locationId": own, "locationType": "Residential"}
    if whole:
        body["coordinates"] = {"latitude": 60.0 + number / 1000, "longitude": 10.5}
    return body | {"meterPointIds": [point(number)]}


def _believed(one: Schedule) -> dict[Kind, pl.DataFrame]:
    released, remade = range(one.sizes["release_locations"]), range(one.sizes["replace_resources"])
    locations = [(f"old-user-{n}", f"old-rel-{n}", None, keys_of(points_of(n))) for n in released]
    resources = [(f"old-user-{n}", f"old-res-{n}", f"old-loc-{n}", []) for n in remade]
    believed = {Kind.LOCATION: locations, Kind.RESOURCE: resources}
    return {kind: _page(held) for kind, held in believed.items() if held}


def _page(held: list[tuple[str, str, str | None, list[int]]]) -> pl.DataFrame:
    n = len(held)
    users, ids, places, keys = zip(*held, strict=True)
    return pl.DataFrame(
        {
            "id": ids,
            "user_id": users,
            "location_id": places,
            "digest": ["before"] * n,
            "meter_point_keys": keys,
            "bucket": [0] * n,
            "row": [0] * n,
            "scope": ["p"] * n,
        },
        schema={name: MANIFEST_SCHEMA[name] for name in HOLDING_COLUMNS},
    )


def _frames(records: list[dict[str, Any]]) -> dict[Phase, pl.DataFrame]:
    frames = {}
    for phase in Phase:
        mine = [record for record in records if record["phase"] == phase]
        if mine:
            frames[phase] = pl.DataFrame(
                {
                    "id": [r["id"] for r in mine],
                    "user_id": [r["user_id"] for r in mine],
                    "location_id": [r["location_id"] for r in mine],
                    "digest": [r["digest"] for r in mine],
                    "meter_point_keys": [keys_of(r["keys"]) for r in mine],
                    "bucket": [0] * len(mine),
                    "row": list(range(len(mine))),
                    "scope": ["p"] * len(mine),
                    "body": [None if r["body"] is None else orjson.dumps(r["body"]).decode() for r in mine],
                },
                schema=PLAN_SCHEMA,
            )
    return frames


def points_of(number: int) -> tuple[str, ...]:
    """The meter points of a location that is to give up the first of them."""
    return (point(800 + number), point(900 + number)) if number % 2 else (point(800 + number),)


def seed_world(core: Core, one: Schedule) -> None:
    """What was there before: users with locations to update and release, and resources to replace."""
    world, cause = core.world, Cause(core.now(), 0, None, "POST", "before")
    for n in range(
        max(1, one.sizes["release_locations"], one.sizes["update_locations"], one.sizes["replace_resources"])
    ):
        user = f"old-user-{n}"
        world.create_user(cause, User(user_id=user))
        world.create_location(
            cause,
            Location(
                user_id=user,
                location_id=f"old-loc-{n}",
                location_type="Commercial",
                coordinates=Coordinates(latitude=59.0, longitude=10.0),
                meter_point_ids=(point(700 + n),),
            ),
        )
        world.create_location(
            cause, Location(user_id=user, location_id=f"old-rel-{n}", meter_point_ids=points_of(n))
        )
        world.create_resource(
            cause,
            Resource(
                user_id=user, location_id=f"old-loc-{n}", resource_id=f"old-res-{n}", resource_type="Generic"
            ),
        )
    world.settle()


@contextmanager
def disk_that_refuses(ledger: Ledger, hiccups: list[int]) -> Iterator[None]:
    """Fails some transactions, counted from 1, once each."""
    commits = 0

    def refuse(_connection: Any) -> None:
        nonlocal commits
        commits += 1
        if commits in hiccups:
            raise StorageError("The ledger could not be used: disk I/O error.")

    sa.event.listen(ledger.engine, "commit", refuse)
    try:
        yield
    finally:
        sa.event.remove(ledger.engine, "commit", refuse)


# ------------------------------------------------------------------ one simulation
@dataclass
class Simulation:
    """One schedule being lived through."""

    one: Schedule
    folder: Path
    database: str | None = None
    """URL of an empty PostgreSQL database for the ledger; a file in `folder` without."""
    sent: list[Sent] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    steps: int = 0
    kill_at: int = 0
    dead: bool = False
    number: int = 0

    def run(self) -> Evidence:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.loop = SimulatedLoop()
        self.loop.set_exception_handler(lambda *_: None)
        self.chance = random.Random(f"client/{self.one.seed}/{self.one.case}")
        try:
            asyncio.set_event_loop(self.loop)
            with cheaply():
                return self.loop.run_until_complete(self._everything())
        finally:
            self._end_tasks()
            asyncio.set_event_loop(None)
            self.loop.close()

    def _end_tasks(self) -> None:
        for _ in range(20):
            left = asyncio.all_tasks(self.loop)
            if not left:
                return
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(left, timeout=1))

    def now(self) -> float:
        return EPOCH + self.loop.time()

    # -------------------------------------------------------- dying
    def step(self) -> None:
        """A place to die at."""
        if self.dead:
            raise Died
        self.steps += 1
        if self.steps == self.kill_at:
            self.die()

    def die(self) -> None:
        self.dead = True
        if self.database is None:
            self._keep_image()
        self.died.set_result(None)
        raise Died

    def _keep_image(self) -> None:
        """The file as the kill leaves it; a server keeps by itself what was committed, and nothing else."""
        image = self.folder / f"life-{self.number + 1}"
        image.mkdir()
        for name in ("ledger.sqlite", "ledger.sqlite-wal"):
            if (self.place / name).exists():
                shutil.copyfile(self.place / name, image / name)

    def _around_commit(self, work: Callable[[], Any]) -> Any:
        self.step()  # nothing of it is stored
        result = work()
        self.step()  # stored, and nobody knows yet
        return result

    # -------------------------------------------------------- lives
    async def _everything(self) -> Evidence:
        one = self.one
        self.work = work_of(one)
        plan = {
            "seed": one.seed * 100_003 + one.case,
            "semantics": one.semantics,
            "rules": {"reject_ids": sorted(self.work.poison)},
        }
        kinder = plan | {"rules": {}}  # what is refused today may be there from before
        self.core = Core(kinder, now=self.now, token_lifetime=one.token_lifetime)
        seed_world(self.core, one)
        before = self.core.state()
        latency = (0.0, one.latency)
        self.loop.network = MemoryNetwork(self.core, latency=latency, seed=one.case)
        self.core.set_faults(plan | {"fault": one.faults})
        self.inner: httpx.AsyncBaseTransport = InProcessTransport(self.core, latency=latency, seed=one.case)
        self.serving: set[asyncio.Task[Any]] = set()
        self.loop.around = self._around_commit
        self.place = self.folder / "life-0"
        self.place.mkdir()
        if one.case % 8 and self.database is None:
            lay_out(self.place / "ledger.sqlite", IDENTITY, EPOCH)
        kills = list(one.kills)
        for _ in range(max(one.faulty_lives, len(kills) + 1)):
            await self._live(kills.pop(0) if kills else 0, faulty=True)
        self.core.set_faults(plan)
        self.core.tokens.lifetime = 3600.0
        for _ in range(MOST_CLEAN_LIVES):
            await asyncio.sleep(self.chance.choice([1.0, 60.0]))
            await self._live(0, faulty=False)
            if self.lives[-1].settled:
                break
        if self._changed_something(self.lives[-1]):
            await asyncio.sleep(120.0)
            await self._live(0, faulty=False)  # nothing is left to do: it must do nothing
        self.core.settle()
        return Evidence(
            ledger=self.ledger_url,
            plan=self.work.records,
            poison=self.work.poison,
            before=before,
            after=self.core.state(),
            effects=self.core.effects(content=True),
            requests=self.core.requests(),
            sent=self.sent,
            lives=self.lives,
            may_double=one.may_double,
            lies=one.lies_about_single_records,
            settle_seconds=SETTLE_SECONDS,
            canaries=canaries_of(self.work.records),
        )

    def _changed_something(self, life: Life) -> bool:
        return any(sent.changes for sent in self.sent[life.first_sent :])

    async def _live(self, kill_at: int, *, faulty: bool) -> None:
        self.steps, self.kill_at, self.dead = 0, kill_at, False
        self.died = self.loop.create_future()
        self.life = Life(number=self.number, faulty=faulty, started=self.now(), first_sent=len(self.sent))
        self.lives.append(self.life)
        begun, held = self.loop.time(), in_use()
        living = asyncio.create_task(
            self._one_life(stop_after=self.one.stop_after if self.number == 0 else None)
        )
        await asyncio.wait({living, self.died}, timeout=LONGEST_LIFE, return_when=asyncio.FIRST_COMPLETED)
        self.life.stuck = not living.done() and not self.dead
        self.dead = self.dead or self.life.stuck
        self.life.killed = self.dead
        await self._bury(living)
        if not self.dead and living.exception() is not None and not living.cancelled():
            raise living.exception()  # type: ignore[misc]
        if not self.dead:
            self.life.left_open = in_use() - held
        self.life.ended = self.now()
        self.life.seconds = self.loop.time() - begun
        self.life.sent = len(self.sent) - self.life.first_sent
        self.number += 1
        if self.life.killed and not self.life.stuck and self.database is None:
            self.place = self.folder / f"life-{self.number}"
        self.life.states = states_in(self.ledger_url)

    async def _bury(self, living: asyncio.Task[Any]) -> None:
        """A dead life does nothing any more; what it had sent is on its way all the same, or is lost."""
        network = self.loop.network
        if self.dead and self.chance.random() < 0.3:
            for task in self.serving | network.serving:
                task.cancel()
        if self.dead:
            for end in list(network.open):
                end.abort()
        for _ in range(50):
            mine = asyncio.all_tasks() - self.serving - network.serving - {asyncio.current_task()}
            if not mine:
                return
            for task in mine:
                task.cancel()
            await asyncio.wait(mine, timeout=0.01)
        raise AssertionError(f"tasks that outlive their process: {mine}")

    @property
    def ledger_url(self) -> str:
        return self.database or f"sqlite:///{self.place}/ledger.sqlite"

    async def _one_life(self, stop_after: float | None) -> None:
        one, begun = self.one, self.loop.time()
        world = World(self.now, self.loop.time, asyncio.sleep, self.chance.random)
        hiccups = one.hiccups if self.number == 0 else []
        manner = Manner(
            chunk=one.chunk,
            concurrency=one.concurrency,
            canary=one.canary,
            settle_seconds=SETTLE_SECONDS,
            stopping=lambda: stop_after is not None and self.loop.time() - begun > stop_after,
            trouble=lambda ledger: disk_that_refuses(ledger, hiccups),
            guarded=is_guarded(one) and not any(life.guard == "rejected" for life in self.lives),
        )
        self.step()
        with (
            Witness(self.ledger_url) as self.witness,
            open_ledger(self.ledger_url, identity=IDENTITY, now=self.now()) as ledger,
        ):
            self.step()
            async with self._client() as client, Journal(ledger) as durable:
                ending = await live(self.work, ledger, durable, client, world, manner)
        self.life.error, self.life.guard = ending.error, ending.guard
        self.life.exit_code, self.life.settled = ending.exit_code, ending.settled

    def _client(self) -> ApiClient:
        if self.one.wired:
            self.inner = Wire(_NO_TLS, max_connections=32, connect_seconds=10.0, idle_seconds=5.0)
        return ApiClient(
            BASE,
            "http://127.0.0.1:9/connect/token",
            CLIENT_ID,
            Secret(CLIENT_SECRET),
            transport=_Carrier(self),
            monotonic=self.loop.time,
            sleep=asyncio.sleep,
            random=self.chance.random,
            deadline_seconds=40.0,
            trace_header="x-attempt",
        )


class _Carrier(httpx.AsyncBaseTransport):
    """Carries requests to the sandbox and notes them; once on its way, a request does not need its sender."""

    def __init__(self, simulation: Simulation) -> None:
        self._of = simulation

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        of = self._of
        of.step()  # nothing has left
        sent = Sent(
            life=of.number,
            time=of.now(),
            method=request.method,
            path=request.url.path,
            trace=request.headers.get("x-attempt"),
            body=request.content,
        )
        if sent.changes:
            sent.intent = of.witness.intent(sent.trace)
        of.sent.append(sent)
        carrying = asyncio.create_task(of.inner.handle_async_request(request))
        of.serving.add(carrying)
        carrying.add_done_callback(
            lambda task: (of.serving.discard(task), task.cancelled() or task.exception())
        )
        try:
            response = await asyncio.shield(carrying)
        finally:
            sent.ended = of.now()
        of.step()  # answered, and nobody read it
        return response

    async def aclose(self) -> None:
        await self._of.inner.aclose()


GUARDED = 0.1
"""Share of the schedules in which refusals stop a life; the next one has wider guards, as its cure says."""


def is_guarded(one: Schedule) -> bool:
    """Whether the guards on refusals stand in a schedule, until one of them has stopped a life."""
    return random.Random(f"guarded/{one.seed}/{one.case}").random() < GUARDED


def simulate(one: Schedule, folder: Path, database: str | None = None) -> Evidence:
    """Live through a schedule: with the whole command, or with a sender and a plan that is given to it."""
    from tests.campaign.whole import WholeRun, is_whole  # which rests on this module

    if database is None and is_whole(one):
        return WholeRun(one, folder).run()
    return Simulation(one, folder, database).run()
