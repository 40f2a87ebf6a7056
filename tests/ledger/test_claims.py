"""Claims on partitions: who holds one may write it, nobody else, and what expires is taken over whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
import sqlalchemy as sa

from connectors.ledger import open_ledger
from connectors.ledger import tables as t
from connectors.ledger.claims import MOST_LOST, NEXT_TURN, SharedLedger, join_ledger
from connectors.ledger.moving import move_ledger
from connectors.ledger.opening import MOVED, put_meta
from connectors.ledger.store import Ledger
from pipeline.holdings import MERGES
from schemas.errors import (
    ClaimLost,
    ConnectionLost,
    GuardError,
    MeterfeedError,
    SettingsError,
    StorageError,
)
from schemas.ledger import Draft, FormerKey, Identity, State
from schemas.sharing import Claim, Standing
from tests.ledger.conftest import IDENTITY, begun, manifest

LONG = 3600.0


@dataclass
class Shared:
    """A run with two partitions on offer, and two workers."""

    run: Ledger
    run_seq: int
    anna: SharedLedger
    bo: SharedLedger
    url: str


@pytest.fixture
def text(postgres_url: str) -> str:
    """The URL of an empty database."""
    return postgres_url


@pytest.fixture
def shared(text: str) -> Iterator[Shared]:
    with ExitStack() as stack:
        run = stack.enter_context(open_ledger(text, identity=IDENTITY, now=1.0))
        anna, bo = (stack.enter_context(join_ledger(text, identity=IDENTITY)) for _ in range(2))
        begun = run.begin_run(
            command="sync", environment="sandbox", profiles="p", job_digest="d", stamp="20260101", now=1.0
        )
        anna.post(begun.run_seq, lanes=2, steps=2, fence=run.fence)
        yield Shared(run, begun.run_seq, anna, bo, text)


def draft(shared: Shared, lane: int, *ids: str) -> Draft:
    return Draft(
        run_seq=shared.run_seq,
        phase="create_users",
        lane=lane,
        cursor_from=0,
        cursor_to=len(ids),
        manifest=manifest(*ids),
    )


def test_a_partition_has_one_holder(shared: Shared):
    first, second = shared.anna.take("anna", seconds=LONG), shared.bo.take("bo", seconds=LONG)
    assert first is not None
    assert second is not None
    assert [1, 2] == [first.lane, second.lane]
    shared.bo.leave(second, done=True)
    assert shared.bo.take("bo", seconds=LONG, lane=1) is None


def test_without_a_claim_nothing_can_be_written_and_with_one_only_its_own_lane(shared: Shared):
    with pytest.raises(StorageError, match="stale fence"):
        shared.anna.intend([draft(shared, 1, "a")], now=2.0)
    assert shared.anna.take("anna", seconds=LONG, lane=1) is not None
    with pytest.raises(StorageError, match="stale fence"):
        shared.anna.intend([draft(shared, 2, "b")], now=2.0)
    [chunk] = shared.anna.intend([draft(shared, 1, "a")], now=2.0)
    assert chunk.fence < 0


def test_who_lost_a_claim_can_commit_nothing_more_and_what_was_under_way_is_in_doubt(shared: Shared):
    claim = shared.anna.take("anna", seconds=-1.0, lane=1)
    assert claim is not None
    [chunk] = shared.anna.intend([draft(shared, 1, "a")], now=2.0)
    taken = shared.bo.take("bo", seconds=LONG, lane=1)
    assert taken is not None
    assert taken.taken_over
    assert [(chunk.chunk_seq, State.IN_DOUBT)] == [
        (one.chunk_seq, one.state) for one in shared.bo.chunks(states=list(State))
    ]
    for write in (
        lambda: shared.anna.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=3.0),
        lambda: shared.anna.intend([draft(shared, 1, "b")], now=3.0),
        lambda: shared.anna.renew(claim, seconds=LONG),
        lambda: shared.anna.leave(claim, done=True),
    ):
        with pytest.raises(ClaimLost):
            write()


def test_a_claim_that_another_has_is_not_renewed_by_one_who_forgot_it(shared: Shared):
    claim = shared.anna.take("anna", seconds=-1.0, lane=1)
    assert claim is not None
    shared.anna.forget()
    assert shared.anna.renew(claim, seconds=-1.0)
    assert shared.bo.take("bo", seconds=LONG, lane=1) is not None
    with pytest.raises(ClaimLost):
        shared.anna.renew(claim, seconds=LONG)


def test_the_triggers_refuse_a_lost_claim_also_without_the_program_asking(shared: Shared):
    assert shared.anna.take("anna", seconds=-1.0, lane=1) is not None
    [chunk] = shared.anna.intend([draft(shared, 1, "a")], now=2.0)
    assert shared.bo.take("bo", seconds=LONG, lane=1) is not None
    shared.anna.held = None  # as if nothing had looked at the claim first
    with pytest.raises(StorageError, match="stale fence"):
        shared.anna.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=3.0)


def test_a_takeover_waits_for_what_its_holder_is_committing(shared: Shared):
    assert shared.anna.take("anna", seconds=-1.0, lane=1) is not None
    order = []

    def take() -> None:
        if shared.bo.take("bo", seconds=LONG, lane=1) is None:  # locked at this moment: passed over
            order.append("passed")

    with shared.anna.together():
        [chunk] = shared.anna.intend([draft(shared, 1, "a")], now=2.0)
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        shared.anna.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=3.0)
    assert ["passed"] == order
    assert shared.bo.take("bo", seconds=LONG, lane=1) is not None
    assert [State.ACKNOWLEDGED] == [one.state for one in shared.bo.chunks(states=list(State))]


def test_a_run_that_takes_the_ledger_over_ends_every_claim(shared: Shared):
    assert shared.anna.take("anna", seconds=LONG, lane=1) is not None
    shared.run.prepare(IDENTITY, 2.0)
    with pytest.raises(ClaimLost):
        shared.anna.intend([draft(shared, 1, "a")], now=2.0)
    assert shared.bo.take("bo", seconds=LONG) is None
    with pytest.raises(StorageError, match="took the ledger over"):
        shared.bo.post(shared.run_seq, lanes=2, steps=1, fence=shared.run.fence - 1)


def test_nobody_begins_a_step_before_all_are_through_with_the_one_before(shared: Shared):
    for lane in (1, 2):
        claim = shared.anna.take("anna", seconds=LONG, lane=lane)
        assert claim is not None
        assert 0 == claim.step
        if lane == 1:
            shared.anna.leave(claim, done=True)
            assert shared.anna.take("anna", seconds=LONG, lane=1) is None
        else:
            shared.anna.leave(claim, done=True)
    claims = [worker.take("x", seconds=LONG) for worker in (shared.anna, shared.bo)]
    assert [1, 1] == [claim.step for claim in claims if claim is not None]


def test_a_step_that_was_not_finished_is_done_by_another(shared: Shared):
    claim = shared.anna.take("anna", seconds=LONG, lane=1)
    assert claim is not None
    shared.anna.leave(claim, done=False)
    again = shared.bo.take("bo", seconds=LONG, lane=1)
    assert again is not None
    assert (0, False) == (again.step, again.taken_over)


def test_what_one_meets_ends_the_run_for_all(shared: Shared):
    claim, other = shared.anna.take("anna", seconds=LONG), shared.bo.take("bo", seconds=LONG)
    assert claim is not None
    assert other is not None
    assert shared.bo.renew(other, seconds=LONG)
    shared.anna.leave(
        claim, done=False, trouble=GuardError("Too many refused.", guard="rejected", cure="Look.")
    )
    assert not shared.bo.renew(other, seconds=LONG)
    shared.bo.leave(other, done=False)
    standing = shared.bo.standing()
    assert standing is not None
    assert isinstance(standing.trouble, GuardError)
    assert ("rejected", "Look.", 0) == (standing.trouble.guard, standing.trouble.cure, standing.held)
    assert shared.bo.take("bo", seconds=LONG) is None


def test_one_workers_lost_connection_is_told_to_all_as_what_it_is(shared: Shared):
    """Asking how far all are was an AttributeError in every one of them, and the run ended without an account."""
    claim = shared.anna.take("anna", seconds=LONG)
    assert claim is not None
    shared.anna.leave(claim, done=False, trouble=ConnectionLost("Gone.", cure="Wait."))
    standing = shared.bo.standing()
    assert standing is not None
    assert (ConnectionLost, 16, "Wait.") == (
        type(standing.trouble),
        standing.trouble.exit_code,
        standing.trouble.cure,
    )


def test_a_partition_that_kills_its_workers_is_given_up(shared: Shared):
    for number in range(MOST_LOST):
        assert shared.anna.take(f"victim {number}", seconds=-1.0, lane=1) is not None
    assert shared.anna.take("last", seconds=-1.0, lane=1) is not None
    assert shared.anna.take("nobody", seconds=LONG, lane=1) is None
    standing = shared.anna.standing()
    assert standing is not None
    assert "partition 0" in str(standing.trouble)


def test_turns_are_leased_one_after_the_other_whoever_asks(shared: Shared):
    began = time.monotonic()
    waits = [worker.lease_turns(10_000, rate=1.0) for worker in (shared.anna, shared.bo, shared.anna)]
    passed = time.monotonic() - began
    assert 0.0 == waits[0]
    for turn, wait in ((10_000.0, waits[1]), (20_000.0, waits[2])):
        assert 0.0 < turn - wait < passed + 1.0


def test_a_worker_of_another_key_or_without_a_ledger_is_refused(shared: Shared, tmp_path):
    other = Identity(tenant="t", base_url=IDENTITY.base_url, key="another")
    with pytest.raises(SettingsError, match="METERFEED_ID_KEY"), join_ledger(shared.url, identity=other):
        raise AssertionError
    with (
        pytest.raises(SettingsError, match="PostgreSQL"),
        join_ledger(f"sqlite:///{tmp_path}/l.sqlite", identity=IDENTITY),
    ):
        raise AssertionError


def test_workers_of_a_run_that_died_cannot_write_into_a_ledger_that_is_being_moved(text: str, tmp_path):
    with ExitStack() as stack:
        with open_ledger(text, identity=IDENTITY, now=1.0) as run:
            begun = run.begin_run(
                command="sync", environment="sandbox", profiles="p", job_digest="d", stamp="20260101", now=1.0
            )
            worker = stack.enter_context(join_ledger(text, identity=IDENTITY))
            worker.post(begun.run_seq, lanes=1, steps=1, fence=run.fence)
            assert worker.take("anna", seconds=LONG) is not None
        worker.intend([draft(Shared(run, begun.run_seq, worker, worker, text), 1, "a")], now=2.0)
        move_ledger(text, f"sqlite:///{tmp_path}/moved.sqlite")
        with pytest.raises(ClaimLost):
            worker.intend([draft(Shared(run, begun.run_seq, worker, worker, text), 1, "b")], now=3.0)


# ------------------------------------------------------------------ who may join
def test_there_must_be_a_ledger_to_join(text: str):
    with pytest.raises(StorageError, match="no ledger yet"), join_ledger(text, identity=IDENTITY):
        raise AssertionError


def test_a_worker_of_another_version_is_refused(shared: Shared):
    with shared.run.engine.begin() as connection:
        connection.execute(sa.text("UPDATE meta SET value = '1' WHERE key = 'schema_version'"))
    with pytest.raises(StorageError, match="different versions"), join_ledger(shared.url, identity=IDENTITY):
        raise AssertionError


def test_a_worker_of_another_tenant_is_refused(shared: Shared):
    other = Identity(tenant="another", base_url=IDENTITY.base_url, key=IDENTITY.key)
    with pytest.raises(SettingsError, match="another tenant"), join_ledger(shared.url, identity=other):
        raise AssertionError


# ------------------------------------------------------------------ how it ends
def test_a_run_that_is_stopped_is_stopped_for_all_and_the_first_reason_stays(shared: Shared):
    claim = shared.anna.take("anna", seconds=LONG, lane=1)
    assert claim is not None
    shared.bo.stop(GuardError("Too many refused.", guard="rejected", cure="Look."))
    shared.bo.stop(StorageError("Something else.", cure="Wait."))
    assert not shared.anna.renew(claim, seconds=LONG)
    assert shared.bo.take("bo", seconds=LONG) is None
    standing = shared.bo.standing()
    assert standing is not None
    assert ("Too many refused. Look.", 1, 0) == (str(standing.trouble), standing.held, standing.done)
    assert () == standing.open


def test_an_offer_that_is_taken_back_leaves_what_was_under_way_in_doubt(shared: Shared):
    assert shared.anna.take("anna", seconds=LONG, lane=1) is not None
    [chunk] = shared.anna.intend([draft(shared, 1, "a")], now=2.0)
    with pytest.raises(StorageError, match="took the ledger over"):
        shared.bo.retract(shared.run_seq, fence=shared.run.fence - 1)
    shared.bo.retract(shared.run_seq, fence=shared.run.fence)
    assert shared.bo.standing() is None
    assert [(chunk.chunk_seq, State.IN_DOUBT, "worker_died")] == [
        (one.chunk_seq, one.state, one.reason) for one in shared.run.chunks(states=list(State))
    ]


def test_how_far_all_are_is_told_by_partition(shared: Shared):
    expired = shared.anna.take("anna", seconds=-1.0, lane=1)
    assert expired is not None
    standing = shared.bo.standing()
    assert standing is not None
    assert (2, 0, 0, (1, 2)) == (standing.lanes, standing.done, standing.held, standing.open)
    for _ in range(2):
        for lane in (1, 2):
            claim = shared.bo.take("bo", seconds=LONG, lane=lane)
            assert claim is not None
            assert (lane == 1 and claim.step == 0) == claim.taken_over
            shared.bo.leave(claim, done=True)
    done = shared.bo.standing()
    assert done is not None
    assert (2, 1, (), True) == (done.done, done.lost, done.open, done.is_done)


def test_a_worker_sees_its_own_partition_and_folds_nothing(shared: Shared):
    for worker, lane in ((shared.anna, 1), (shared.bo, 2)):
        assert worker.take("x", seconds=LONG, lane=lane) is not None
        [chunk] = worker.intend([draft(shared, lane, f"r{lane}")], now=2.0)
        worker.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=3.0)
    assert [1] == [one.lane for one in shared.anna.chunks(states=list(State))]
    of_all = shared.anna.chunks_of_run(shared.run_seq, "create_users", states=list(State))
    assert [1, 2] == [one.lane for one in of_all]
    assert 0 == shared.anna.absorb(MERGES)
    shared.anna.forget()
    assert [2] == [one.lane for one in shared.anna.chunks(states=list(State), lane=2)]
    assert 2 == shared.run.absorb(MERGES)


# ------------------------------------------------------------------ to the word and to the field
def said(error: BaseException) -> tuple[str, str]:
    assert isinstance(error, MeterfeedError)
    return error.message, error.cure


def test_who_may_not_join_is_told_why_and_what_to_do(shared: Shared, tmp_path):
    told = []
    for url, identity in (
        (f"sqlite:///{tmp_path}/l.sqlite", IDENTITY),
        (shared.url, replace(IDENTITY, key="another")),
    ):
        with pytest.raises(SettingsError) as refused, join_ledger(url, identity=identity):
            raise AssertionError
        told.append(said(refused.value))
    with shared.run.engine.begin() as connection:
        connection.execute(sa.text("UPDATE meta SET value = '1' WHERE key = 'schema_version'"))
    with pytest.raises(StorageError) as refused_version, join_ledger(shared.url, identity=IDENTITY):
        raise AssertionError
    told.append(said(refused_version.value))
    assert [
        (
            "Runs can be shared with other workers only over a ledger in PostgreSQL.",
            "Set METERFEED_LEDGER to a postgresql:// URL, or unset METERFEED_SHARED.",
        ),
        (
            "METERFEED_ID_KEY is another one here than where the run is.",
            "Give every worker the settings of the run.",
        ),
        (
            "The run and its workers are of different versions of meterfeed.",
            "Install the same version everywhere.",
        ),
    ] == told


def test_before_the_first_run_a_worker_is_told_to_wait_for_it(text: str):
    with pytest.raises(StorageError) as refused, join_ledger(text, identity=IDENTITY):
        raise AssertionError
    assert ("There is no ledger yet.", "Start the run first, then its workers.") == said(refused.value)


def test_a_worker_knows_the_former_keys_and_joins_no_ledger_that_was_moved(shared: Shared):
    older = replace(IDENTITY, former=(FormerKey("k0", "t0"),))
    with join_ledger(shared.url, identity=older) as ledger:
        assert ([IDENTITY.key], None) == (ledger.key_names(), ledger.path)
    with shared.run.engine.begin() as connection:
        put_meta(connection, {MOVED: "elsewhere"})
    with (
        pytest.raises(SettingsError, match="was moved to elsewhere"),
        join_ledger(shared.url, identity=IDENTITY),
    ):
        raise AssertionError


def test_only_the_run_with_the_newest_fence_can_offer_or_take_back(shared: Shared):
    for call in (
        lambda: shared.bo.post(shared.run_seq, lanes=1, steps=1, fence=shared.run.fence - 1),
        lambda: shared.bo.retract(shared.run_seq, fence=shared.run.fence + 1),
    ):
        with pytest.raises(StorageError) as refused:
            call()
        assert ("Another run took the ledger over.", "Run `meterfeed resume`.") == said(refused.value)


def claims(shared: Shared) -> list[tuple[object, ...]]:
    names = ("run_seq", "lane", "step", "steps", "fence", "owner", "lost", "trouble")
    columns = [t.claim.c[name] for name in names]
    with shared.run.engine.connect() as connection:
        found = connection.execute(sa.select(*columns).order_by(t.claim.c.lane)).all()
    return [tuple(row) for row in found]


def test_an_offer_its_claims_and_their_endings_are_written_down_whole(shared: Shared):
    run, base = shared.run_seq, -shared.run.fence * (1 << 20)
    offered = [(run, lane, 0, 2, base, None, 0, None) for lane in (1, 2)]
    assert offered == claims(shared)
    claim = shared.anna.take("anna", seconds=-1.0, lane=2)
    assert Claim(run, 2, 0, base - 1, taken_over=False) == claim == shared.anna.held
    assert base - 1 == shared.anna.fence
    assert [offered[0], (run, 2, 0, 2, base - 1, "anna", 0, None)] == claims(shared)
    taken = shared.bo.take("bo", seconds=LONG, lane=2)
    assert Claim(run, 2, 0, base - 2, taken_over=True) == taken
    assert [offered[0], (run, 2, 0, 2, base - 2, "bo", 1, None)] == claims(shared)
    shared.bo.leave(taken, done=True)
    assert (None, 0) == (shared.bo.held, shared.bo.fence)
    assert [offered[0], (run, 2, 1, 2, base - 3, None, 1, None)] == claims(shared)
    shared.anna.forget()  # who offers anew leaves nothing of the former offer
    shared.anna.post(run, lanes=1, steps=5, fence=shared.run.fence)
    assert [(run, 1, 0, 5, base, None, 0, None)] == claims(shared)


def expiry(shared: Shared) -> list[float]:
    """In how many seconds each claim expires, by the clock of the database."""
    with shared.run.engine.connect() as connection:
        return [
            float(row[0])
            for row in connection.execute(
                sa.text("SELECT expires_at - extract(epoch FROM clock_timestamp()) FROM claim ORDER BY lane")
            )
        ]


def test_a_claim_expires_when_it_was_said_and_is_renewed_from_now_on(shared: Shared):
    claim = shared.anna.take("anna", seconds=1000.0, lane=1)
    assert claim is not None
    assert 900 < expiry(shared)[0] <= 1000
    assert shared.anna.renew(claim, seconds=9000.0)
    first, second = expiry(shared)
    assert 8900 < first <= 9000
    assert second < 0


def test_what_is_under_way_in_other_partitions_and_runs_is_not_doubted(shared: Shared):
    """A lost worker's chunks are in doubt since the takeover, by the database's clock, and nobody else's."""
    other = begun(shared.run)
    [of_other] = shared.run.intend([replace(draft(shared, 1, "o"), run_seq=other)], now=2.0)
    assert shared.bo.take("bo", seconds=LONG, lane=2) is not None
    [of_bo] = shared.bo.intend([draft(shared, 2, "b")], now=2.0)
    assert shared.anna.take("anna", seconds=-1.0, lane=1) is not None
    sent, held = shared.anna.intend([draft(shared, 1, "a"), draft(shared, 1, "h")], now=2.0)
    shared.anna.settle(held.chunk_seq, state=State.PLANNED, now=3.0, reason="later")
    shared.anna.forget()
    again = shared.anna.take("anna", seconds=LONG, lane=1)
    assert again is not None
    found = {one.chunk_seq: one for one in shared.run.chunks(states=list(State))}
    assert {
        of_other.chunk_seq: (State.IN_FLIGHT, None),
        of_bo.chunk_seq: (State.IN_FLIGHT, None),
        sent.chunk_seq: (State.IN_DOUBT, "worker_died"),
        held.chunk_seq: (State.PLANNED, "later"),
    } == {seq: (one.state, one.reason) for seq, one in found.items()}
    assert again.fence == found[sent.chunk_seq].fence
    assert found[sent.chunk_seq].attempt_ended_at > 1e9, "a time, not the one of the chunk's intent"
    shared.bo.forget()
    shared.bo.retract(shared.run_seq, fence=shared.run.fence)
    found = {one.chunk_seq: one for one in shared.run.chunks(states=list(State))}
    assert (State.IN_FLIGHT, State.IN_DOUBT) == (
        found[of_other.chunk_seq].state,
        found[of_bo.chunk_seq].state,
    )
    assert found[of_bo.chunk_seq].attempt_ended_at > 1e9
    assert shared.run.fence == found[of_bo.chunk_seq].fence


def test_a_worker_finds_chunks_of_its_partition_by_phase_and_of_no_other_run(shared: Shared):
    """An unfinished run may have left something in the partition of the same number: it is not this one's to settle."""
    other = begun(shared.run)
    shared.run.hold([replace(draft(shared, 1, "o"), run_seq=other)], state=State.PLANNED, reason="test")
    assert shared.anna.take("anna", seconds=LONG, lane=1) is not None
    places = draft(shared, 1, "l")
    shared.anna.hold(
        [draft(shared, 1, "u"), replace(places, phase="create_locations")], state=State.PLANNED, reason="test"
    )
    found = [
        [one.manifest["id"].item() for one in shared.anna.chunks(states=[State.PLANNED], **where)]
        for where in ({}, {"run_seq": shared.run_seq}, {"phase": "create_users"})
    ]
    assert [["u", "l"], ["u", "l"], ["u"]] == found


def test_partitions_are_claimed_in_order_and_none_that_is_through(shared: Shared):
    shared.anna.post(shared.run_seq, lanes=3, steps=1, fence=shared.run.fence)
    order = []
    for _ in range(4):
        claim = shared.anna.take("anna", seconds=LONG)
        order.append(None if claim is None else claim.lane)
        if claim is not None:
            shared.anna.leave(claim, done=True)
    assert [1, 2, 3, None] == order
    standing = shared.bo.standing()
    assert Standing(shared.run_seq, 3, 3, 0, 0, (), None) == standing


def test_how_far_a_shared_run_is_is_told_whole(shared: Shared):
    shared.anna.post(shared.run_seq, lanes=4, steps=2, fence=shared.run.fence)
    first = shared.anna.take("anna", seconds=LONG, lane=1)
    assert first is not None
    shared.anna.leave(first, done=True)  # a step ahead: not open until the others are through
    assert shared.anna.take("anna", seconds=LONG, lane=2) is not None
    assert shared.bo.take("bo", seconds=-1.0, lane=3) is not None
    assert Standing(shared.run_seq, 4, 0, 1, 0, (3, 4), None) == shared.bo.standing()
    assert shared.bo.take("bo", seconds=LONG, lane=3) is not None
    assert Standing(shared.run_seq, 4, 0, 2, 1, (4,), None) == shared.bo.standing()


def test_a_partition_given_up_names_itself_and_what_to_look_for(shared: Shared):
    for number in range(MOST_LOST):
        assert shared.anna.take(f"victim {number}", seconds=-1.0, lane=2) is not None
    standing = shared.anna.standing()
    assert standing is not None
    assert (None, (1, 2)) == (standing.trouble, standing.open)
    assert shared.anna.take("last", seconds=-1.0, lane=2) is not None
    standing = shared.anna.standing()
    assert standing is not None
    assert standing.trouble is not None
    assert (
        "5 workers were lost while they sent partition 1.",
        "Look for what ends them (memory?), then run `meterfeed resume`.",
    ) == said(standing.trouble)
    assert (5, ()) == (standing.lost, standing.open)


def test_turns_are_as_far_apart_as_the_rate_says(shared: Shared):
    waits = [worker.lease_turns(40_000, rate=4.0) for worker in (shared.anna, shared.bo)]
    assert 0.0 == waits[0]
    assert 9_000.0 < waits[1] <= 10_000.0
    with shared.run.engine.begin() as connection:
        connection.execute(t.meta.delete().where(t.meta.c.key == NEXT_TURN))
    assert 0.0 == shared.anna.lease_turns(1, rate=1.0)


def test_what_ended_the_run_is_told_by_the_first_who_met_it(shared: Shared):
    claim = shared.anna.take("anna", seconds=LONG, lane=1)
    assert claim is not None
    shared.anna.leave(claim, done=True, trouble=StorageError("Full.", cure="Make room."))
    assert [1, 0] == [one[2] for one in claims(shared)]
    shared.bo.stop(StorageError("Other.", cure="Wait."))
    standing = shared.bo.standing()
    assert standing is not None
    assert standing.trouble is not None
    assert (("Full.", "Make room."), (), 0) == (said(standing.trouble), standing.open, standing.held)
    assert [True, True] == [one[7] is not None for one in claims(shared)]
