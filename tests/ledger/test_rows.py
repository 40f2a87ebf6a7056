"""What the ledger writes down of runs, chunks and attempts, field by field: a resume has nothing else to go by."""

from __future__ import annotations

from dataclasses import asdict, replace

import polars as pl
import pytest
import sqlalchemy as sa

from connectors.ledger import open_ledger, store
from connectors.ledger import tables as t
from schemas.errors import AccountError
from schemas.ledger import ChunkRow, Draft, Leaf, RunRow, State
from tests.ledger.conftest import IDENTITY, begun, draft, manifest


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite", identity=IDENTITY, now=1.0) as opened:
        yield opened


def table(ledger, which: sa.Table, *names: str) -> list[tuple[object, ...]]:
    columns = [which.c[name] for name in names]
    with ledger.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(*columns).order_by(*which.primary_key))]


def plain(chunk: ChunkRow) -> dict[str, object]:
    """A chunk in values that can be compared."""
    return {**asdict(replace(chunk, manifest=pl.DataFrame())), "manifest": chunk.manifest.rows()}


def stored(ledger, *states: State) -> list[dict[str, object]]:
    return [plain(chunk) for chunk in ledger.chunks(states=states or list(State))]


# ------------------------------------------------------------------ runs
def test_a_run_is_written_down_whole_from_its_beginning_to_its_end(ledger):
    run = ledger.begin_run(
        command="sync", environment="prod", profiles="p,q", job_digest="j", stamp="20261122", now=2.5
    )
    expected = RunRow(
        run_seq=1,
        run_id="20261122-0001",
        command="sync",
        environment="prod",
        profiles="p,q",
        job_digest="j",
        state="running",
        plan_digest=None,
        plan=None,
        approved=None,
        spool=None,
        fence=1,
        started_at=2.5,
        ended_at=None,
        exit_code=None,
        summary=None,
    )
    assert [expected] == [run] == ledger.runs()
    other = begun(ledger)
    ledger.finish_run(1, exit_code=11, state="stopped", summary={"a": [1, 2], "b": None}, now=7.25)
    ended = replace(expected, state="stopped", exit_code=11, ended_at=7.25, summary='{"a":[1,2],"b":null}')
    assert [other, ended] == [ledger.runs()[0].run_seq, ledger.runs()[1]]
    assert "running" == ledger.runs()[0].state
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.finish_run(other, exit_code=0, state="settled", summary={"share": float("nan")}, now=8.0)


def test_a_change_of_a_run_carries_the_fence_of_who_makes_it(tmp_path):
    for fence in (1, 2):
        with open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite", identity=IDENTITY, now=1.0) as ledger:
            if fence == 1:
                first = begun(ledger)
                ledger.change_run(first, state="planned")
                second = begun(ledger)
            assert [(first, "planned", 1), (second, "running" if fence == 1 else "stopped", fence)] == table(
                ledger, t.run, "run_seq", "state", "fence"
            )
            ledger.change_run(first, state="planned")
            assert (first, fence) == table(ledger, t.run, "run_seq", "fence")[0]


@pytest.mark.parametrize("by", ["run_id", "job_digest", "profiles", "state", "plan_digest"])
def test_runs_are_found_by_each_of_their_names(ledger, by):
    ledger.begin_run(command="c", environment="e", profiles="1", job_digest="1", stamp="1", now=1.0)
    wanted = ledger.begin_run(command="c", environment="e", profiles="2", job_digest="2", stamp="2", now=1.0)
    ledger.change_run(wanted.run_seq, state="planned", plan_digest="2")
    value = getattr(ledger.runs()[0], by)
    assert [2] == [run.run_seq for run in ledger.runs(**{by: value})]
    assert [] == ledger.runs(**{by: "nothing like it"})


def test_run_ids_go_on_from_the_highest_number_whatever_day_it_was(ledger):
    ids = []
    for stamp in ("20261122", "20261123", "20261123"):
        ids.append(
            ledger.begin_run(
                command="c", environment="e", profiles="p", job_digest="j", stamp=stamp, now=1.0
            ).run_id
        )
    assert ["20261122-0001", "20261123-0002", "20261123-0003"] == ids


# ------------------------------------------------------------------ chunks and attempts
def test_a_chunk_and_its_first_attempt_are_written_down_whole(ledger):
    run = begun(ledger)
    records = manifest("a", "b")
    draft = Draft(run, "create_locations", 3, 5, 7, records, parent_seq=9)
    [sent] = ledger.intend([draft], now=3.5)
    expected = {
        "chunk_seq": 1,
        "chunk_id": sent.chunk_id,
        "run_seq": run,
        "phase": "create_locations",
        "lane": 3,
        "cursor_from": 5,
        "cursor_to": 7,
        "parent_seq": 9,
        "n": 2,
        "state": State.IN_FLIGHT,
        "reason": None,
        "message": None,
        "attempt": 1,
        "attempt_ended_at": None,
        "absorbed": 0,
        "fence": 1,
        "manifest": records.rows(),
    }
    assert [expected] == [plain(sent)] == stored(ledger)
    assert [(1, 1, 1, 3.5, None, None, None)] == attempts(ledger)
    [packed] = ledger.intend([ledger.pack(draft)], now=4.0)
    assert (sent.chunk_id, 2) == (packed.chunk_id, packed.chunk_seq)


def attempts(ledger) -> list[tuple[object, ...]]:
    names = ("chunk_seq", "attempt", "requests", "started_at", "ended_at", "status", "verdict")
    return table(ledger, t.attempt, *names)


def test_each_attempt_is_written_down_with_its_own_ending(ledger):
    [chunk] = ledger.intend([Draft(begun(ledger), "create_users", 0, 0, 1, manifest("a"))], now=3.0)
    ledger.settle(
        1, state=State.PLANNED, now=4.0, status=429, verdict="throttled", reason="told", message="later"
    )
    [waiting] = stored(ledger)
    assert ("told", "later", 4.0, 1) == tuple(
        waiting[name] for name in ("reason", "message", "attempt_ended_at", "attempt")
    )
    again = ledger.again(1, now=5.0)
    assert (2, State.IN_FLIGHT, chunk.chunk_id, 1) == (
        again.attempt,
        again.state,
        again.chunk_id,
        again.fence,
    )
    assert [("a",)] == again.manifest.select("id").rows()
    ledger.settle(1, state=State.ACKNOWLEDGED, now=6.0, status=201, verdict="applied", requests=7)
    assert [(1, 1, 1, 3.0, 4.0, 429, "throttled"), (1, 2, 7, 5.0, 6.0, 201, "applied")] == attempts(ledger)


def test_an_ending_without_a_verdict_leaves_the_attempt_open(ledger):
    ledger.intend([Draft(begun(ledger), "create_users", 0, 0, 1, manifest("a"))], now=3.0)
    ledger.settle(1, state=State.IN_DOUBT, now=4.0, requests=5)
    assert [(1, 1, 1, 3.0, None, None, None)] == attempts(ledger)


def test_chunks_that_are_held_back_have_no_attempt(ledger):
    run = begun(ledger)
    drafts = [Draft(run, "create_users", 0, n, n + 1, manifest(name)) for n, name in enumerate("ab")]
    ledger.hold(drafts, state=State.BLOCKED, reason="parent")
    held = [(one["state"], one["reason"], one["attempt"], one["attempt_ended_at"]) for one in stored(ledger)]
    assert ([(State.BLOCKED, "parent", 0, None)] * 2, []) == (held, attempts(ledger))


def test_children_are_where_their_parent_was_and_end_each_in_its_own_way(ledger):
    run = begun(ledger)
    ledger.intend([Draft(run, "create_users", 2, 4, 8, manifest("a", "b", "c", "d"))], now=3.0)
    leaves = [
        Leaf(manifest("a"), State.ACKNOWLEDGED),
        Leaf(manifest("b"), State.REJECTED, "refused", "not like this"),
        Leaf(manifest("c"), State.PLANNED, "later"),
        Leaf(manifest("d"), State.IN_DOUBT, "short list"),
    ]
    children = ledger.split(1, leaves, now=4.5, status=207, verdict="partly", requests=3)
    place = {"run_seq": run, "phase": "create_users", "lane": 2, "cursor_from": 4, "cursor_to": 8}
    common = {**place, "parent_seq": 1, "n": 1, "attempt_ended_at": 4.5, "absorbed": 0, "fence": 1}
    own = [
        (2, State.ACKNOWLEDGED, None, None, 1, "a"),
        (3, State.REJECTED, "refused", "not like this", 1, "b"),
        (4, State.PLANNED, "later", None, 0, "c"),
        (5, State.IN_DOUBT, "short list", None, 1, "d"),
    ]
    names = ("chunk_seq", "state", "reason", "message", "attempt")
    expected = [
        common
        | dict(zip(names, one[:5], strict=True))
        | {"chunk_id": child.chunk_id, "manifest": manifest(one[5]).rows()}
        for one, child in zip(own, children, strict=True)
    ]
    parent, *rest = stored(ledger)
    assert expected == rest == [plain(child) for child in children]
    assert (State.SPLIT, 4, 4.5, []) == tuple(
        parent[name] for name in ("state", "n", "attempt_ended_at", "manifest")
    )
    assert [(1, 1, 3, 3.0, 4.5, 207, "partly")] == attempts(ledger)


def test_who_was_in_doubt_and_stays_so_is_in_doubt_since_then(ledger):
    """Reading "absent" is believed only some time after the request: that time must not begin anew."""
    ledger.intend([Draft(begun(ledger), "create_users", 0, 0, 3, manifest("a", "b", "c"))], now=3.0)
    ledger.settle(1, state=State.IN_DOUBT, now=4.0)
    leaves = [Leaf(manifest("a", "b"), State.IN_DOUBT), Leaf(manifest("c"), State.ACKNOWLEDGED)]
    first, second = ledger.split(1, leaves, now=9.0)
    assert (4.0, 9.0) == (first.attempt_ended_at, second.attempt_ended_at)
    assert [(1, 1, 1, 3.0, None, None, None)] == attempts(ledger), "nobody has judged it"


def test_a_split_that_would_lose_a_record_changes_nothing(ledger):
    ledger.intend([Draft(begun(ledger), "create_users", 0, 0, 2, manifest("a", "b"))], now=3.0)
    before = stored(ledger)
    for wrong in ([], [Leaf(manifest("a"), State.REJECTED)], [Leaf(manifest(*"abc"), State.REJECTED)]):
        with pytest.raises(AccountError, match="lose or invent"):
            ledger.split(1, wrong, now=4.0, verdict="refused")
    assert (before, None) == (stored(ledger), attempts(ledger)[0][4])


def test_requests_are_counted_by_run_with_what_was_repeated_and_what_was_split(ledger):
    run, other = begun(ledger), begun(ledger)
    drafts = [Draft(run, "create_users", 0, n, n + 2, manifest(f"a{n}", f"b{n}")) for n in (0, 2, 4)]
    ledger.intend([*drafts, replace(drafts[0], run_seq=other)], now=3.0)
    assert (3, 0, 0) == ledger.request_counts(run)
    ledger.settle(1, state=State.PLANNED, now=4.0, verdict="throttled", requests=2)
    ledger.again(1, now=5.0)
    ledger.settle(1, state=State.ACKNOWLEDGED, now=6.0, verdict="applied", requests=5)
    leaves = [Leaf(manifest("a2"), State.PLANNED), Leaf(manifest("b2"), State.REJECTED)]
    ledger.split(2, leaves, now=6.0, verdict="refused", requests=0)
    assert (8, 5, 1) == ledger.request_counts(run)
    assert ((1, 0, 0), (0, 0, 0)) == (ledger.request_counts(other), ledger.request_counts(99))


def test_a_run_is_accounted_for_by_its_leaves(ledger):
    run, other = begun(ledger), begun(ledger)
    drafts = [Draft(run, "create_users", 0, 0, 3, manifest("a", "b", "c"))]
    ledger.intend([*drafts, replace(drafts[0], run_seq=other)], now=3.0)
    leaves = [Leaf(manifest("a"), State.REJECTED, "no"), Leaf(manifest("b", "c"), State.ACKNOWLEDGED)]
    ledger.split(1, leaves, now=4.0)
    expected = [("create_users", "acknowledged", None, 2), ("create_users", "rejected", "no", 1)]
    assert (expected, []) == (ledger.account(run), ledger.account(99))


# ------------------------------------------------------------------ which chunks
def test_chunks_are_found_by_where_they_are(ledger):
    run, other = begun(ledger), begun(ledger)
    places = [(run, "create_users", 0), (run, "create_users", 1), (run, "create_locations", 0)]
    for seq, phase, lane in [*places, (other, "create_users", 0)]:
        ledger.hold([Draft(seq, phase, lane, 0, 1, manifest("a"))], state=State.PLANNED, reason="test")

    def found(**where):
        return [chunk.chunk_seq for chunk in ledger.chunks(states=[State.PLANNED], **where)]

    assert [1, 2, 3, 4] == found()
    assert [1, 2, 3] == found(run_seq=run)
    assert [1, 2, 4] == found(phase="create_users")
    assert [1, 3, 4] == found(lane=0)
    assert [1] == found(run_seq=run, phase="create_users", lane=0)
    assert [] == list(ledger.chunks(states=[State.BLOCKED, State.IN_FLIGHT]))
    of_phase = ledger.chunks_of_run(run, "create_users", states=[State.PLANNED])
    assert [1, 2] == [chunk.chunk_seq for chunk in of_phase]


def test_however_many_chunks_there_are_sixty_four_are_in_memory(ledger, monkeypatch):
    run, read, chunk_row = begun(ledger), [], store.Ledger._chunk_row
    ledger.hold([draft(run, "a", start=at) for at in range(130)], state=State.PLANNED, reason="test")
    monkeypatch.setattr(
        store.Ledger, "_chunk_row", staticmethod(lambda row: read.append(row) or chunk_row(row))
    )
    chunks = ledger.chunks(states=[State.PLANNED])
    assert (1, 64) == (next(chunks).chunk_seq, len(read))
    assert list(range(2, 131)) == [chunk.chunk_seq for chunk in chunks]
    assert 130 == len(read)


def test_how_far_a_phase_was_cut_is_told_by_run_phase_and_lane(ledger):
    run, other = begun(ledger), begun(ledger)
    for number, (seq, phase, lane) in enumerate(
        [
            (run, "create_users", 0),
            (run, "create_users", 1),
            (run, "create_locations", 0),
            (other, "create_users", 0),
        ],
        start=1,
    ):
        ledger.hold([Draft(seq, phase, lane, 0, number, manifest("a"))], state=State.PLANNED, reason="test")
    told = [
        ledger.cursor(run, "create_users", 0),
        ledger.cursor(run, "create_users", 1),
        ledger.cursor(run, "create_locations", 0),
        ledger.cursor(other, "create_users", 0),
        ledger.cursor(other, "create_locations", 0),
    ]
    assert [1, 2, 3, 4, 0] == told


def test_only_what_was_never_sent_by_that_run_is_given_up(ledger):
    run, other = begun(ledger), begun(ledger)
    for seq in (run, other):
        for state in (State.PLANNED, State.BLOCKED, State.REJECTED):
            ledger.hold([Draft(seq, "create_users", 0, 0, 1, manifest("a"))], state=state, reason="test")
    ledger.supersede(run)
    assert [
        State.SUPERSEDED,
        State.SUPERSEDED,
        State.REJECTED,
        State.PLANNED,
        State.BLOCKED,
        State.REJECTED,
    ] == [one["state"] for one in stored(ledger)]


def test_what_is_given_up_or_folded_or_erased_carries_the_fence_of_who_did_it(tmp_path):
    for fence in (1, 2):
        with open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite", identity=IDENTITY, now=1.0) as ledger:
            if fence == 1:
                run = begun(ledger)
                acknowledged(ledger, run, "create_users", "a")
                for name in "bc":
                    ledger.hold(
                        [Draft(run, "create_users", 0, 0, 1, manifest(name))], state=State.PLANNED, reason="x"
                    )
                continue
            ledger.absorb(PHASES)
            ledger.redact("b")
            assert [("acknowledged", 2), ("planned", 2), ("planned", 1)] == table(
                ledger, t.chunk, "state", "fence"
            )
            ledger.supersede(run)
            assert [2, 2, 2] == [one for (one,) in table(ledger, t.chunk, "fence")]


# ------------------------------------------------------------------ taking over
def test_who_takes_over_doubts_what_was_in_flight_and_stops_what_was_running(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with open_ledger(url, identity=IDENTITY, now=1.0) as ledger:
        running, settled = begun(ledger), begun(ledger)
        ledger.change_run(settled, state="settled")
        ledger.intend([Draft(running, "create_users", 0, 0, 1, manifest("a"))], now=3.0)
        ledger.hold([Draft(running, "create_users", 0, 1, 2, manifest("b"))], state=State.PLANNED, reason="x")
    with open_ledger(url, identity=IDENTITY, now=42.5) as ledger:
        assert [(State.IN_DOUBT, "run_died", 42.5, 2), (State.PLANNED, "x", None, 1)] == [
            tuple(one[name] for name in ("state", "reason", "attempt_ended_at", "fence"))
            for one in stored(ledger)
        ]
        assert [("stopped", 2), ("settled", 1)] == table(ledger, t.run, "state", "fence")
        assert 2 == ledger.fence


# ------------------------------------------------------------------ erasing
def test_erasing_takes_the_ids_and_the_digest_and_leaves_the_rest(ledger):
    records = manifest("a", "b", "a").with_columns(
        location_id=pl.Series(["l1", "l2", "l3"]), digest=pl.Series(["d1", "d2", "d3"])
    )
    run = begun(ledger)
    ledger.intend(
        [Draft(run, "create_users", 0, 0, 3, records), Draft(run, "create_users", 0, 3, 4, manifest("c"))],
        now=3.0,
    )
    ledger.settle(1, state=State.PLANNED, now=4.0)
    assert 2 == ledger.redact("a")
    first, second = ledger.chunks(states=list(State))
    erased = dict.fromkeys(("id", "user_id", "location_id", "digest"), pl.lit("erased"))
    expected = [
        records.with_columns(**erased).row(0),
        records.row(1),
        records.with_columns(**erased).row(2),
    ]
    assert (expected, manifest("c").rows()) == (first.manifest.rows(), second.manifest.rows())


# ------------------------------------------------------------------ folding
def kept(held: pl.DataFrame | None, fresh: pl.DataFrame) -> pl.DataFrame:
    fresh = fresh.select("id", "bucket")
    return fresh if held is None else pl.concat([held, fresh])


def acknowledged(ledger, run: int, phase: str, *ids: str, bucket: int = 0) -> None:
    [chunk] = ledger.intend([Draft(run, phase, 0, 0, len(ids), manifest(*ids, bucket=bucket))], now=3.0)
    ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=4.0)


PHASES = {"create_users": ("user", kept), "create_locations": ("location", kept)}


def test_nothing_is_folded_while_fewer_wait_than_asked_for(ledger):
    run = begun(ledger)
    acknowledged(ledger, run, "create_users", "a", "b")
    assert (0, {}) == (ledger.absorb(PHASES, at_least=3), ledger.holding_counts())
    assert (2, {"user": 2}) == (ledger.absorb(PHASES, at_least=2), ledger.holding_counts())
    assert 0 == ledger.absorb(PHASES, at_least=0)


def test_each_phase_is_folded_into_its_own_kind_in_the_order_of_its_chunks(ledger, monkeypatch):
    calls = []

    def noted(kind):
        def merge(held, fresh):
            calls.append((kind, fresh["id"].to_list()))
            return kept(held, fresh)

        return kind, merge

    monkeypatch.setattr(store, "_ABSORB_BATCH", 3)
    run = begun(ledger)
    for phase, ids in [
        ("create_users", "ab"),
        ("create_users", "cd"),
        ("create_users", "e"),
        ("create_locations", "f"),
        ("create_users", "g"),
    ]:
        acknowledged(ledger, run, phase, *ids)
    assert 7 == ledger.absorb({"create_users": noted("user"), "create_locations": noted("location")})
    assert [
        ("user", ["a", "b", "c", "d"]),
        ("user", ["e"]),
        ("location", ["f"]),
        ("user", ["g"]),
    ] == calls
    assert {"user": 6, "location": 1} == ledger.holding_counts()
    assert [1] * 5 == [absorbed for (absorbed,) in table(ledger, t.chunk, "absorbed")]


def test_what_is_held_is_read_by_kind_and_bucket(ledger):
    run = begun(ledger)
    for number, name in enumerate("abc"):
        acknowledged(ledger, run, "create_users", name, bucket=number)
    acknowledged(ledger, run, "create_locations", "l", bucket=1)
    ledger.absorb(PHASES)
    read = [
        None if held is None else held["id"].to_list()
        for held in (
            ledger.holdings("user", range(256)),
            ledger.holdings("user", range(1, 3)),
            ledger.holdings("location", range(256)),
            ledger.holdings("user", range(7, 9)),
        )
    ]
    assert [["a", "b", "c"], ["b", "c"], ["l"], None] == read
    assert [("location", 1, 1), ("user", 0, 1), ("user", 1, 1), ("user", 2, 1)] == table(
        ledger, t.holding, "kind", "bucket", "n"
    )


@pytest.mark.parametrize(
    ("at_once", "expected"),
    [
        (1, [[3], [5], [9]]),
        (3, [[3], [5], [9]]),
        (4, [[3, 5], [9]]),
        (5, [[3, 5], [9]]),
        (8, [[3, 5], [9]]),
        (9, [[3, 5, 9]]),
    ],
)
def test_buckets_are_merged_as_many_at_a_time_as_fit_with_what_is_held(
    ledger, at_once, expected, monkeypatch
):
    """Held: 2 in bucket 3, 4 in bucket 9; fresh: one in each of 3, 5 and 9."""
    run = begun(ledger)
    for bucket, ids in ((3, "ab"), (9, "cdef")):
        acknowledged(ledger, run, "create_users", *ids, bucket=bucket)
    ledger.absorb(PHASES)
    fresh = pl.concat([manifest(f"n{bucket}", bucket=bucket) for bucket in (9, 3, 5)])
    monkeypatch.setattr(store, "_ABSORB_BATCH", at_once)
    with ledger.engine.connect() as connection:
        assert expected == ledger._stretches(connection, "user", fresh)


def test_every_run_is_found_however_many_came_after(ledger):
    """A month of hourly loads is more than a thousand of them; the large columns may be left out."""
    first = begun(ledger)
    ledger.change_run(first, plan="{}", plan_digest="p")
    ledger.finish_run(first, exit_code=0, state="settled", summary={}, now=2.0)
    with ledger.engine.begin() as connection:
        row = dict(connection.execute(sa.select(t.run)).mappings().one())
        later = [{**row, "run_seq": first + n, "run_id": f"later-{n}"} for n in range(1, 1_101)]
        connection.execute(t.run.insert(), later)
    assert 1_101 == len(ledger.runs(brief=True)) == len(ledger.runs(plan_digest="p"))
    [whole], [brief] = ledger.runs(run_seq=first), ledger.runs(run_seq=first, brief=True)
    assert ("{}", "{}", None, None) == (whole.plan, whole.summary, brief.plan, brief.summary)
    assert replace(whole, plan=None, summary=None) == brief
