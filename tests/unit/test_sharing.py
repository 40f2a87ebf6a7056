"""The steps in which partitions are sent, troubles that travel, and turns that are leased."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from connectors.api.rate import LeasedTurns
from flows.endings import verdict_of
from pipeline.crew import Crew
from pipeline.phases import Phase
from pipeline.plan import Plan
from pipeline.ports import World
from pipeline.sharing import Worker, _Lease, _share, steps_of, work
from schemas.errors import (
    ApiUnavailable,
    AuthenticationError,
    ClaimLost,
    ConnectionLost,
    GuardError,
    MeterfeedError,
    StorageError,
)
from schemas.sharing import Claim, trouble_from_text, trouble_to_text


def names(sizes: dict[Phase, int]) -> list[list[str]]:
    return [[phase.value for phase in step] for step in steps_of(sizes)]


def test_a_first_load_is_one_step_so_no_partition_waits_for_another():
    sizes = {Phase.CREATE_USERS: 9, Phase.CREATE_LOCATIONS: 9, Phase.CREATE_VEHICLES: 1}
    assert [["create_users", "create_locations", "create_vehicles"]] == names(sizes)


def test_who_gives_a_meter_point_up_is_through_before_anybody_gets_it():
    sizes = dict.fromkeys(Phase, 1)
    steps = names(sizes)
    place = {name: number for number, step in enumerate(steps) for name in step}
    assert place["release_locations"] < place["free_locations"] < place["update_locations"]
    assert place["update_locations"] < place["create_locations"]
    assert list(Phase) == [name for step in steps for name in step]


def test_what_removes_begins_a_step_of_its_own_and_empty_phases_are_in_none():
    sizes = {
        Phase.CREATE_LOCATIONS: 3,
        Phase.UPDATE_LOCATIONS: 0,
        Phase.DELETE_VEHICLES: 1,
        Phase.DELETE_USERS: 2,
    }
    assert [["create_locations"], ["delete_vehicles", "delete_users"]] == names(sizes)
    assert [] == names({})


def test_trouble_arrives_as_the_error_it_was():
    guard = trouble_from_text(trouble_to_text(GuardError("Too many.", guard="rejected", cure="Look.")))
    assert isinstance(guard, GuardError)
    assert ("Too many.", "Look.", "rejected") == (guard.message, guard.cure, guard.guard)
    away = trouble_from_text(trouble_to_text(ApiUnavailable("Away.")))
    assert (ApiUnavailable, "Away.", 15) == (type(away), away.message, away.exit_code)


def every_error(kind: type[MeterfeedError] = MeterfeedError) -> list[type[MeterfeedError]]:
    return [each for one in kind.__subclasses__() for each in (one, *every_error(one))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_whatever_a_worker_meets_arrives_as_what_it_was(kind: type[MeterfeedError]):
    """Also what a module of its own defines: a lost connection ended every worker with a bug."""
    more = {"guard": "shrank"} if issubclass(kind, GuardError) else {}
    told = trouble_from_text(trouble_to_text(kind("Trouble.", cure="Mend it.", **more)))
    assert (kind.exit_code, "Trouble.", "Mend it.") == (told.exit_code, told.message, told.cure)
    assert isinstance(told, kind) or kind.__module__ != "schemas.errors"


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["DiskOnFire", "StorageError", "MeterfeedError"], StorageError),
        (["Unheard", "ClassVar", "annotations", "MeterfeedError"], StorageError),
        (["ApiUnavailable"], ApiUnavailable),
        ("ConnectionLost", ConnectionLost),
        ("Unheard", StorageError),
    ],
)
def test_trouble_of_another_version_is_the_nearest_that_is_known_here(kinds, expected):
    """A kind alone is how earlier versions told it."""
    told = trouble_from_text(json.dumps([kinds, "Trouble.", "Mend it.", None]))
    assert (expected, "Trouble.", "Mend it.") == (type(told), told.message, told.cure)


def test_a_plan_whose_spool_is_gone_is_not_begun():
    async def begin(run):
        begun.append(run)

    def lost(**_):
        raise StorageError("It holds no finished spool.", cure="Run the export again.")

    begun = []
    session = SimpleNamespace(begin_sending=begin)
    ports = SimpleNamespace(crew=object())
    plan = Plan("0" * 64, {}, {Phase.CREATE_USERS: 1}, 1, 1)
    shelf = SimpleNamespace(spool=lost, publish=lost)
    trouble = asyncio.run(_share(session, ports, SimpleNamespace(state="planned"), plan, shelf))
    assert ([], StorageError) == (begun, type(trouble))
    assert trouble.cure.startswith("Run the export again. Nothing of this plan was sent")


def test_a_worker_that_stays_takes_the_limits_of_the_next_start_and_counts_anew():
    """`resume --profile P` raises a limit: whoever waits for work must not go on under the old one."""
    asked: list[str] = []
    plan = {"plan": Plan("d", {}, {}, 1, 0).to_json()}
    rows = [
        SimpleNamespace(
            run_seq=1, run_id="r", fence=fence, plan=json.dumps(plan | {"limits": {"canary": canary}})
        )
        for fence, canary in ((7, 5), (7, 5), (8, 9))
    ]

    async def durable(operation):
        asked.append(getattr(operation, "__name__", "runs"))
        return operation()

    ledger = SimpleNamespace(runs=lambda run_seq: [rows.pop(0)])
    session = SimpleNamespace(traffic=lambda: object(), identity=lambda: object())
    ports = SimpleNamespace(shelf=SimpleNamespace(shared_spool=lambda run_id: object()))
    worker = Worker(SimpleNamespace(ledger=ledger, durable=durable), ports, session)

    async def taken():
        return [await worker._taken(1) for _ in range(3)]

    first, again, other = asyncio.run(taken())
    assert first is again
    assert (5, 9) == (first.limits.canary, other.limits.canary)
    assert first.tally is not other.tally


@pytest.mark.parametrize(
    ("settled", "verdict"),
    [
        (0, "Settings or credentials are wrong; nothing was sent."),
        (7, "Settings or credentials are wrong; nothing more was sent."),
    ],
)
def test_a_worker_that_is_refused_says_whether_it_had_sent_something(monkeypatch, settled, verdict):
    async def claim(_lane):
        return object()

    async def send(_claim):
        return AuthenticationError("Refused.")

    async def of(*_):
        return SimpleNamespace(claim=claim, send=send, settled=settled)

    monkeypatch.setattr(Worker, "of", of)
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    ports = SimpleNamespace(crew=lambda: nullcontext(None), world=clock, stopping=lambda: False)
    with pytest.raises(AuthenticationError) as refused:
        asyncio.run(work(SimpleNamespace(environment="sandbox", lane=None, wait=0.0), ports))
    assert verdict == verdict_of(refused.value)


class Clock:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Bank:
    """Where all processes lease their turns."""

    def __init__(self, rate: float) -> None:
        self.rate, self.next = rate, 0.0

    def for_clock(self, clock: Clock):
        async def lease(count: int) -> float:
            start = max(clock.now, self.next)
            self.next = start + count / self.rate
            return start - clock.now

        return lease


def test_two_processes_together_keep_the_rate():
    bank = Bank(10.0)
    taken: list[float] = []

    async def all_turns() -> None:
        clocks = [Clock(), Clock()]
        turns = [
            LeasedTurns(bank.for_clock(c), 10.0, monotonic=lambda c=c: c.now, sleep=c.sleep) for c in clocks
        ]
        for _ in range(50):
            for clock, one in zip(clocks, turns, strict=True):
                await one.turn()
                taken.append(clock.now)

    asyncio.run(all_turns())
    assert 100 == len(taken)
    for start in taken:
        assert sum(start <= moment < start + 1.0 for moment in taken) <= 11


def test_turns_that_were_not_taken_in_time_are_not_saved_up():
    clock, bank = Clock(), Bank(100.0)
    turns = LeasedTurns(bank.for_clock(clock), 100.0, monotonic=lambda: clock.now, sleep=clock.sleep)

    async def after_a_break() -> list[float]:
        await turns.turn()
        clock.now = 60.0
        moments = []
        for _ in range(30):
            await turns.turn()
            moments.append(clock.now)
        return moments

    moments = asyncio.run(after_a_break())
    assert moments[-1] - moments[0] >= 0.28


class Renewing:
    """A ledger that answers renewals as told: True, False, or an error."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)

    def renew(self, _claim: Claim, *, seconds: float) -> bool:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def lease_after(moments: int, *answers: bool | Exception) -> tuple[_Lease, Clock]:
    """A lease of 60 seconds after so many renewals, fifteen seconds apart."""
    clock = Clock()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)
        clock.now += seconds

    async def durable(operation, *arguments, **named):
        return operation(*arguments, **named)

    world = World(now=lambda: 0.0, monotonic=lambda: clock.now, sleep=sleep, random=lambda: 0.5)
    crew = Crew(Renewing(*answers), durable, None, "anna")  # type: ignore[arg-type]  # what a lease uses of it
    lease = _Lease(crew, Claim(1, 1, 0, -1), world, 60.0, good_until=60.0)

    async def live() -> None:
        keeping = asyncio.create_task(lease.keep())
        while clock.now < 15.0 * moments and not keeping.done():
            await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(live())
    return lease, clock


def test_a_lease_that_is_renewed_lasts():
    lease, clock = lease_after(20, True)
    assert clock.now >= 300.0
    assert not lease.is_over()


def test_nothing_is_sent_under_a_lease_that_could_not_be_renewed_in_time():
    lease, clock = lease_after(3, StorageError("The database is away."))
    assert (False, False) == (lease.lost, lease.is_over())
    clock.now = 60.0
    assert lease.is_over()
    lease, clock = lease_after(20, StorageError("Away for a moment."), True)
    assert not lease.is_over()


def test_a_lease_is_over_when_the_claim_is_lost_or_the_run_is_ending():
    lost, _ = lease_after(3, ClaimLost())
    assert (True, True) == (lost.lost, lost.is_over())
    ending, _ = lease_after(3, False)
    assert (False, True) == (ending.lost, ending.is_over())
