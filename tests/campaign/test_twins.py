"""Every invariant can fail: a bug is planted for each, and the checker must name it."""

from __future__ import annotations

import ast
import dataclasses
import os
import sqlite3
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
import sqlalchemy as sa

import pipeline.delivery.sender as sender
import pipeline.delivery.singles as singles
from connectors.ledger import statements, store
from connectors.ledger.store import Ledger
from pipeline import account, records
from pipeline.conflicts import ConflictPolicy
from pipeline.delivery.books import Part
from pipeline.delivery.calls import delete_user_call
from pipeline.delivery.doubts import Doubts
from pipeline.delivery.readback import Found, Reader
from pipeline.delivery.sender import Sender
from pipeline.delivery.singles import Ended, Singles
from pipeline.phases import Phase
from schemas.errors import AccountError, ApiUnavailable
from schemas.ledger import State
from schemas.outcomes import Exit
from tests.campaign import bugs, life, quick, simulator
from tests.campaign.campaign import run_case
from tests.campaign.checker import CHECKS, Evidence, doubles, spellings, violations
from tests.campaign.schedules import Schedule, axes_of
from tests.campaign.simulator import simulate
from tests.campaign.test_slice import SEED
from tests.folding import test_laws as laws
from tests.folding.harness import Source
from tests.property import test_exports_conserve as exports

SIZES = {
    "create_users": 12,
    "release_locations": 3,
    "update_locations": 2,
    "create_locations": 12,
    "replace_resources": 0,
    "create_resources": 3,
    "create_vehicles": 2,
}


def calm(**changes: Any) -> Schedule:
    """A schedule in which nothing goes wrong, but for what is said."""
    axes = axes_of(0) | changes.pop("axes", {})
    return Schedule(
        **{
            "seed": 1,
            "case": 1,
            "cell": 0,
            "faults": [],
            "sizes": SIZES,
            "poison": 0.0,
            "chunk": 6,
            "concurrency": 2,
            "canary": 1,
            "token_lifetime": 3600.0,
            "latency": 0.2,
            "faulty_lives": 1,
            "semantics": axes
            | {"lag_seconds": 29.0, "late_seconds": 20.0, "limit_items": 5, "limit_bytes": 1200},
        }
        | changes
    )


def broken(evidence: Evidence) -> set[str]:
    """The invariants that do not hold."""
    return {wrong.partition(":")[0] for wrong in violations(evidence)}


LOST = [{"kind": "applied-then-dropped", "on": "batch", "at": [2, 4]}]


def test_nothing_is_wrong_without_a_bug(tmp_path: Path) -> None:
    assert [] == violations(simulate(calm(faults=LOST), tmp_path))


# ------------------------------------------------------------------ bugs in the loader
def test_an_intent_that_is_not_committed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bugs.the_intent_is_not_committed(monkeypatch)
    assert "I7" in broken(simulate(calm(), tmp_path))


def test_a_lost_answer_that_is_retried_blindly_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.a_lost_answer_is_retried_blindly(monkeypatch)
    assert "I6" in broken(simulate(calm(axes={"b": "duplicate"}, faults=LOST), tmp_path))


def test_a_short_list_that_is_acknowledged_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = calm(faults=[{"kind": "subset-then-201", "on": "batch", "at": [2, 4]}])
    assert [] == violations(simulate(one, tmp_path / "well"))
    bugs.a_short_list_is_acknowledged(monkeypatch)
    assert "I4" in broken(simulate(one, tmp_path / "ill"))


def test_the_rest_of_a_split_that_is_forgotten_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bugs.the_rest_of_a_split_is_forgotten(monkeypatch)
    assert {"I9", "I10"} <= broken(simulate(calm(axes={"f": "items"}), tmp_path))


FAMILIES = {
    bugs.the_intent_is_not_committed: (0, "I7"),
    bugs.a_lost_answer_is_retried_blindly: (0, "I6"),
    bugs.a_short_list_is_acknowledged: (40, "I4"),
    bugs.the_rest_of_a_split_is_forgotten: (0, "I9"),
}
"""Each family of bugs, with the case of the slice to begin at and an invariant that must break.

A list that is short because records were not made is one fault of some fifty, so the search begins near the first case
that has it where it matters; the others are found from the first case on.
"""
SOON = 50
"""Cases within which a family must be caught, aimed at nothing."""


@pytest.mark.parametrize("bug", FAMILIES, ids=lambda bug: bug.__name__)
def test_the_slice_catches_every_family_of_bugs(bug: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, invariant = FAMILIES[bug]
    bug(monkeypatch)
    seen: set[str] = set()
    for case in range(first, first + SOON):
        seen |= {wrong.partition(":")[0] for wrong in run_case(SEED, case).violations}
        if invariant in seen:
            return
    pytest.fail(f"{invariant} held in {SOON} cases from {first} on; broken were {seen or 'none'}")


def test_records_a_split_leaves_out_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def halve(self: Sender, shipment: Any, verdict: Any) -> None:
        middle = shipment.records.height // 2
        pieces = [shipment.records.head(middle), shipment.records.slice(middle + 1)]
        parts = [Part(piece, State.PLANNED) for piece in pieces]
        await self._go_on(await self.books.split(shipment, parts, verdict))

    monkeypatch.setattr(Sender, "_halve", halve)
    assert "I3" in broken(simulate(calm(axes={"f": "items"}), tmp_path))


def test_children_that_are_sent_first_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "Phase", list(reversed(Phase)))
    assert "I11" in broken(simulate(calm(), tmp_path))


def test_what_a_dead_run_had_in_flight_and_nobody_doubts_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = statements.DOUBT_WHAT_WAS_IN_FLIGHT.where(sa.false())
    monkeypatch.setattr(statements, "DOUBT_WHAT_WAS_IN_FLIGHT", nothing)
    assert "I16" in broken(simulate(calm(kills=[20]), tmp_path))


def test_a_row_that_is_lost_on_its_way_to_the_fold_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled = exports.spool_rows

    def all_but_one(spool: Any, rows: pl.DataFrame, *more: Any) -> Any:
        return spooled(spool, rows.slice(1), *more)

    monkeypatch.setattr(exports, "spool_rows", all_but_one)
    with pytest.raises(AssertionError, match="by seed"):
        exports.test_one_export_alone(tmp_path)


ROWS = [
    {"user": f"u{n}", "location": f"l{n}", "meter_point": f"mp{n}", "latitude": 59.0, "longitude": 10.0}
    for n in range(3)
]


def test_a_record_that_names_the_row_of_another_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    law = laws.test_provenance_and_records_name_each_other.hypothesis.inner_test
    law([Source(ROWS)], ConflictPolicy(), "as-is")
    honest = records._provenance

    def one_further(*of: Any) -> pl.LazyFrame:
        return honest(*of).with_columns(pl.col("row") + 1)

    monkeypatch.setattr(records, "_provenance", one_further)
    with pytest.raises(AssertionError):
        law([Source(ROWS)], ConflictPolicy(), "as-is")


def test_absence_that_is_believed_at_once_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Doubts._settle_one

    async def hasty(self: Doubts, shipment: Any, *, resend: bool) -> bool:
        self.settle_seconds = 0.0
        return await settle(self, shipment, resend=resend)

    monkeypatch.setattr(Doubts, "_settle_one", hasty)
    one = calm(axes={"b": "duplicate", "d": "reads-lag"}, faults=LOST)
    assert "I6" in broken(simulate(one, tmp_path))


def test_a_belief_that_outlives_what_was_removed_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resource is removed to be made anew, and the API does not take the new one."""
    one = calm(sizes=dict.fromkeys(SIZES, 0) | {"replace_resources": 2}, poison=1.0)
    assert set() == broken(simulate(one, tmp_path / "honest"))
    monkeypatch.setattr(Ledger, "absorb_undone", lambda *_: 0)
    assert {"I9"} == broken(simulate(one, tmp_path / "credulous"))


def test_an_acknowledged_record_that_the_ledger_forgets_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of every chunk is told as loaded and is not in the holdings: the next export makes it again."""
    kind, merge = life.MERGES["create_locations"]

    def all_but_one(held: pl.DataFrame | None, records: pl.DataFrame) -> pl.DataFrame:
        return merge(held, records.slice(1))

    monkeypatch.setattr(life, "MERGES", life.MERGES | {"create_locations": (kind, all_but_one)})
    assert {"I9"} == broken(simulate(calm(), tmp_path))


def test_a_belief_in_other_content_than_was_acknowledged_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update is acknowledged, and the holdings go on saying what was held before it."""
    honest = life.MERGES

    def keep_the_old(held: pl.DataFrame | None, records: pl.DataFrame) -> pl.DataFrame:
        _, merge = honest["update_locations"]
        return merge(held, records.with_columns(digest=pl.lit("before")))

    monkeypatch.setattr(life, "MERGES", honest | {"update_locations": ("location", keep_the_old)})
    assert {"I9"} == broken(simulate(calm(), tmp_path))


def test_a_refusal_that_is_not_read_back_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Reader, phase: Any, records: Any) -> list[Found]:
        return [Found.ABSENT for _ in records]

    monkeypatch.setattr(Reader, "find_after_refusal", nothing)
    one = calm(faults=[{"kind": "prefix-then-400", "on": "batch", "at": [2, 4]}])
    assert "I9" in broken(simulate(one, tmp_path))


def test_a_resource_in_another_place_than_planned_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs on another location of the same customer, and the answer says so as if it had been asked for."""
    one = calm(sizes=SIZES | {"create_users": 2, "create_locations": 4, "create_resources": 2})
    assert [] == violations(simulate(one, tmp_path / "well"))
    honest = singles.create_call

    def elsewhere(phase: Phase, record: Any, trace: str) -> Any:
        moved = {"loc-0000": "loc-0002"}.get(record["location_id"], record["location_id"])
        return honest(phase, record | {"location_id": moved}, trace)

    monkeypatch.setattr(singles, "create_call", elsewhere)
    assert {"I4"} == broken(simulate(one, tmp_path / "ill"))


def test_a_delivery_that_takes_a_fifth_start_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start learns what became of two chunks, and sends two more: the fifth only learns, and is through."""

    async def put_off(self: Sender, shipment: Any, verdict: Any, _began: float) -> None:
        await self.books.settle(shipment, State.IN_DOUBT, verdict)
        raise ApiUnavailable("enough for today")

    def chunks(number: int) -> Schedule:
        sizes = dict.fromkeys(SIZES, 0) | {"create_users": 2 * number}
        return calm(sizes=sizes, chunk=2, canary=2, concurrency=1)

    monkeypatch.setattr(Sender, "_after_batch", put_off)
    assert [] == violations(simulate(chunks(7), tmp_path / "four"))
    fifth = simulate(chunks(9), tmp_path / "fifth")
    assert [False] * 5 + [True] == [one.settled for one in fifth.lives]
    assert {"I10"} == broken(fifth)


def test_other_content_on_a_second_attempt_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bugs.a_second_attempt_carries_other_content(monkeypatch)
    one = calm(faults=[{"kind": "dropped", "on": "batch", "at": [4, 5]}])
    found = simulate(one, tmp_path)
    assert "I8" in broken(dataclasses.replace(found, requests=[]))


def test_what_a_process_of_its_own_sent_is_seen_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of real processes there is no other evidence of the moment of sending, and none of the bodies."""
    lost = calm(faults=[{"kind": "dropped", "on": "batch", "at": [4, 5]}])
    with monkeypatch.context() as planted:
        bugs.a_second_attempt_carries_other_content(planted)
        found = simulate(lost, tmp_path / "content")
    assert "I8" in broken(dataclasses.replace(found, sent=[]))
    bugs.the_intent_is_not_committed(monkeypatch)
    found = simulate(calm(), tmp_path / "intent")
    assert "I7" in broken(dataclasses.replace(found, sent=[]))


def test_a_record_nobody_planned_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = sender.batch_call

    def more(phase: Any, records: Any, trace: str) -> Any:
        call, expected = honest(phase, records, trace)
        body = orjson.loads(call.body or b"")
        if "users" in body:
            body["users"].append({"userId": "somebody-else"})
        return dataclasses.replace(call, body=orjson.dumps(body)), expected

    monkeypatch.setattr(sender, "batch_call", more)
    assert "I5" in broken(simulate(calm(), tmp_path))


def test_an_account_of_records_sent_again_does_not_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = sender.cuts
    monkeypatch.setattr(
        sender, "cuts", lambda pieces, *, start, size_of: honest(pieces, start=0, size_of=size_of)
    )
    with pytest.raises(AccountError):
        simulate(calm(), tmp_path)


def test_a_user_deleted_for_a_location_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def whole_user(record: Any, trace: str) -> Any:
        call, _ = delete_user_call(record["user_id"])
        return dataclasses.replace(call, trace=trace), honest(record, trace)[1]

    honest = singles.delete_location_call
    monkeypatch.setattr(singles, "delete_location_call", whole_user)
    assert "I17" in broken(simulate(calm(), tmp_path))


def test_an_exit_that_flatters_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account, "exits", lambda *_: {Exit.OK})
    assert "I13" in broken(simulate(calm(poison=0.3), tmp_path))


def test_a_run_that_never_ends_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait_on(self: Doubts, shipment: Any, *, resend: bool) -> bool:
        await self.wire.world.sleep(600.0)
        return await self._settle_one(shipment, resend=resend)

    monkeypatch.setattr(Doubts, "_settle_one", wait_on)
    assert "I20" in broken(simulate(calm(faults=LOST), tmp_path))


def test_a_read_that_is_never_given_up_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = Reader.find

    async def again_and_again(self: Reader, phase: Any, records: Any) -> Any:
        for _ in range(300):
            found = await find(self, phase, records)
        return found

    monkeypatch.setattr(Reader, "find", again_and_again)
    assert "I12" in broken(simulate(calm(faults=LOST), tmp_path))


def test_good_records_that_are_rejected_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def rejected(self: Singles, phase: Any, record: Any, acted: Any) -> Ended:
        return Ended(State.REJECTED, "no reason")

    monkeypatch.setattr(Singles, "_ending", rejected)
    assert "I9" in broken(simulate(calm(), tmp_path))


# ------------------------------------------------------------------ bugs that leave their trace in the files only
@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return simulate(calm(), tmp_path_factory.mktemp("done"))


def meddled(done: Evidence, folder: Path, *statements: str) -> Evidence:
    """The same evidence with another ledger file."""
    copy = folder / "ledger.sqlite"
    copy.write_bytes(Path(done.ledger.removeprefix("sqlite:///")).read_bytes())
    connection = sqlite3.connect(copy)
    for trigger in ("chunk_moves", "chunk_history", "history_stays", "chunk_born", "chunk_born_history"):
        connection.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return dataclasses.replace(done, ledger=f"sqlite:///{copy}")


COLUMNS = (
    "chunk_id, run_seq, phase, lane, cursor_from, cursor_to, parent_seq, n, state, reason, message, attempt,"
    " attempt_ended_at, absorbed, manifest, fence"
)
MOVE = "INSERT INTO history (chunk_seq, from_state, to_state, attempt, fence) VALUES"


@pytest.mark.parametrize(
    ("name", "statement"),
    [
        ("I3", "DELETE FROM chunk WHERE chunk_seq = 2"),
        ("I3", f"INSERT INTO chunk SELECT 900 + chunk_seq, {COLUMNS} FROM chunk WHERE chunk_seq = 2"),
        ("I9", "UPDATE chunk SET state = 'rejected' WHERE chunk_seq = 2"),
        ("I14", "UPDATE chunk SET message = 'refused: 707057599990000003' WHERE chunk_seq = 2"),
        ("I16", "UPDATE chunk SET state = 'in_flight' WHERE chunk_seq = 2"),
        ("I16", f"{MOVE} (2, 'acknowledged', 'planned', 1, 1)"),
    ],
)
def test_a_ledger_that_says_otherwise_is_seen(
    done: Evidence, tmp_path: Path, name: str, statement: str
) -> None:
    """The ledger is edited, without its triggers: they let no bug of ours get so far. Bugs that do are above."""
    assert name in broken(meddled(done, tmp_path, statement))


@pytest.mark.parametrize("form", range(len(spellings("707057599990000003"))))
def test_a_meter_point_in_the_ledger_is_seen_however_it_is_spelt(
    done: Evidence, tmp_path: Path, form: int
) -> None:
    spelt = spellings("707057599990000003")[form]
    found = broken(meddled(done, tmp_path, f"UPDATE meta SET value = x'{spelt.hex()}' WHERE key = 'tenant'"))
    assert {"I14"} == found


def test_a_meter_point_that_lies_across_two_pages_of_the_file_is_seen(done: Evidence, tmp_path: Path) -> None:
    """SQLite puts a long value on several pages, each with a number before it: no bytes in a row tell of it."""
    canary, before = "707057599990000003", 470
    value = (b"." * before + canary.encode()).ljust(4571, b".").decode()
    found = meddled(done, tmp_path, f"UPDATE meta SET value = '{value}' WHERE key = 'tenant'")
    assert canary.encode() not in (tmp_path / "ledger.sqlite").read_bytes()
    assert {"I14"} == broken(found)


def test_a_change_when_nothing_was_left_to_do_is_seen(done: Evidence) -> None:
    """The evidence is edited: that the last life of all is looked at, and every request of it. A bug is above."""
    again = next(sent for sent in done.sent if sent.changes)
    last = dataclasses.replace(done.lives[-1], first_sent=len(done.sent), sent=1)
    assert "I10" in broken(
        dataclasses.replace(done, sent=[*done.sent, again], lives=[*done.lives[:-1], last])
    )


def test_a_body_in_the_ledger_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = store.to_bytes

    def talkative(frame: pl.DataFrame) -> bytes:
        return honest(frame.with_columns(digest=pl.lit("707057599990000003")))

    monkeypatch.setattr(store, "to_bytes", talkative)
    monkeypatch.setattr(quick, "cheaply", nullcontext)
    monkeypatch.setattr(simulator, "cheaply", nullcontext)
    assert "I14" in broken(simulate(calm(), tmp_path))


def test_a_descriptor_that_is_not_closed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    honest = Ledger.account

    def forgetful(self: Ledger, run_seq: int) -> Any:
        kept.append(os.open(tmp_path, os.O_RDONLY))
        return honest(self, run_seq)

    monkeypatch.setattr(Ledger, "account", forgetful)
    try:
        assert "I19" in broken(simulate(calm(), tmp_path))
    finally:
        for number in kept:
            os.close(number)


def test_a_process_that_takes_too_much_memory_is_seen(done: Evidence) -> None:
    """The evidence is edited: a bug would have to take 600 MB in a process of its own, and be given them."""
    last = dataclasses.replace(done.lives[-1], peak_megabytes=2000.0)
    assert {"I19"} == broken(dataclasses.replace(done, lives=[*done.lives[:-1], last]))


def test_a_child_before_its_parent_is_seen(done: Evidence) -> None:
    """The evidence is edited: the sandbox makes no child without a parent, so that no bug of ours can get so far."""
    before = [effect for effect in done.effects if effect["request"] == 0]
    backwards = [effect for effect in reversed(done.effects) if effect["request"]]
    assert "I11" in broken(dataclasses.replace(done, effects=before + backwards))


# ------------------------------------------------------------------ none is forgotten
CHECKER = "tests/campaign/checker.py"
HERE = "tests/campaign/test_twins.py"
DETERMINISM = "tests/integration/test_determinism.py"
CONTAINMENT = "tests/security/test_containment.py"
NIGHTS = "tests/campaign/test_nights.py"

INVARIANTS: dict[str, tuple[list[str], list[str]]] = {
    "I1": (
        [
            "tests/property/test_exports_conserve.py::test_every_row_of_five_thousand_exports_has_the_class_it_was_made_for",
            "tests/campaign/nights.py::check_rows",
        ],
        [
            f"{HERE}::test_a_row_that_is_lost_on_its_way_to_the_fold_is_seen",
            f"{NIGHTS}::test_what_a_night_lost_doubled_or_miscounted_is_seen",
        ],
    ),
    "I2": (
        [
            "tests/folding/test_laws.py::test_provenance_and_records_name_each_other",
            "tests/campaign/nights.py::check_provenance",
        ],
        [
            f"{HERE}::test_a_record_that_names_the_row_of_another_is_seen",
            f"{NIGHTS}::test_what_a_night_lost_doubled_or_miscounted_is_seen",
        ],
    ),
    "I3": (
        [f"{CHECKER}::record_conservation"],
        [
            f"{HERE}::test_records_a_split_leaves_out_are_seen",
            f"{HERE}::test_a_ledger_that_says_otherwise_is_seen",
        ],
    ),
    "I4": (
        [f"{CHECKER}::nothing_acknowledged_is_lost"],
        [
            f"{HERE}::test_a_short_list_that_is_acknowledged_is_seen",
            f"{HERE}::test_a_resource_in_another_place_than_planned_is_seen",
        ],
    ),
    "I5": ([f"{CHECKER}::no_phantoms"], [f"{HERE}::test_a_record_nobody_planned_is_seen"]),
    "I6": (
        [f"{CHECKER}::nothing_is_made_twice"],
        [
            f"{HERE}::test_a_lost_answer_that_is_retried_blindly_is_seen",
            f"{HERE}::test_absence_that_is_believed_at_once_is_seen",
            "tests/campaign/test_processes.py::test_a_record_made_twice_by_real_processes_is_seen",
        ],
    ),
    "I7": (
        [f"{CHECKER}::intent_comes_first"],
        [
            f"{HERE}::test_an_intent_that_is_not_committed_is_seen",
            f"{HERE}::test_what_a_process_of_its_own_sent_is_seen_in_the_log",
        ],
    ),
    "I8": (
        [f"{CHECKER}::one_version_in_flight"],
        [
            f"{HERE}::test_other_content_on_a_second_attempt_is_seen",
            f"{HERE}::test_what_a_process_of_its_own_sent_is_seen_in_the_log",
        ],
    ),
    "I9": (
        [f"{CHECKER}::remote_is_ledger_is_accepted"],
        [
            f"{HERE}::test_a_refusal_that_is_not_read_back_is_seen",
            f"{HERE}::test_a_belief_that_outlives_what_was_removed_is_seen",
            f"{HERE}::test_good_records_that_are_rejected_are_seen",
            f"{HERE}::test_an_acknowledged_record_that_the_ledger_forgets_is_seen",
            f"{HERE}::test_a_belief_in_other_content_than_was_acknowledged_is_seen",
        ],
    ),
    "I10": (
        [f"{CHECKER}::convergence"],
        [
            f"{HERE}::test_the_rest_of_a_split_that_is_forgotten_is_seen",
            f"{HERE}::test_a_change_when_nothing_was_left_to_do_is_seen",
            f"{HERE}::test_a_delivery_that_takes_a_fifth_start_is_seen",
            "tests/campaign/test_whole.py::test_a_command_that_takes_a_fifth_start_is_seen",
        ],
    ),
    "I11": (
        [f"{CHECKER}::parents_come_first"],
        [
            f"{HERE}::test_children_that_are_sent_first_are_seen",
            f"{HERE}::test_a_child_before_its_parent_is_seen",
        ],
    ),
    "I12": (
        [f"{CHECKER}::effort_is_bounded"],
        [
            f"{HERE}::test_a_read_that_is_never_given_up_is_seen",
            "tests/campaign/test_processes.py::test_reads_of_an_earlier_process_that_never_end_are_seen",
        ],
    ),
    "I13": (
        [f"{CHECKER}::the_exit_tells_the_truth"],
        [
            f"{HERE}::test_an_exit_that_flatters_is_seen",
            "tests/campaign/test_processes.py::test_an_exit_that_hides_a_full_disk_is_seen",
        ],
    ),
    "I14": (
        [f"{CHECKER}::it_keeps_silence", "tests/security/test_canaries.py::test_no_canary_is_found"],
        [
            f"{HERE}::test_a_body_in_the_ledger_is_seen",
            f"{HERE}::test_a_meter_point_in_the_ledger_is_seen_however_it_is_spelt",
            f"{HERE}::test_a_meter_point_that_lies_across_two_pages_of_the_file_is_seen",
            "tests/campaign/test_processes.py::test_a_meter_point_in_any_column_of_postgresql_is_seen",
            "tests/security/test_canaries.py::test_a_program_that_leaks_is_caught_at_each_place",
        ],
    ),
    "I15": (
        [f"{CONTAINMENT}::test_a_run_stays_in_its_place_and_talks_to_its_hosts_only"],
        [
            f"{CONTAINMENT}::test_an_escape_to_another_folder_is_seen",
            f"{CONTAINMENT}::test_a_connection_to_another_host_is_seen",
        ],
    ),
    "I16": (
        [f"{CHECKER}::history_is_legal"],
        [
            f"{HERE}::test_what_a_dead_run_had_in_flight_and_nobody_doubts_is_seen",
            f"{HERE}::test_a_ledger_that_says_otherwise_is_seen",
        ],
    ),
    "I17": (
        [f"{CHECKER}::only_what_may_go_is_deleted"],
        [f"{HERE}::test_a_user_deleted_for_a_location_is_seen"],
    ),
    "I18": (
        [
            f"{DETERMINISM}::test_a_run_leaves_the_same_plan_chunks_and_reports_again",
            "tests/campaign/test_slice.py::test_a_seed_tells_the_same_story_again",
        ],
        [
            f"{DETERMINISM}::test_an_order_nobody_chose_is_seen",
            f"{DETERMINISM}::test_a_report_that_tells_the_time_of_day_is_seen",
        ],
    ),
    "I19": (
        [f"{CHECKER}::nothing_is_left_open"],
        [
            f"{HERE}::test_a_descriptor_that_is_not_closed_is_seen",
            f"{HERE}::test_a_process_that_takes_too_much_memory_is_seen",
        ],
    ),
    "I20": ([f"{CHECKER}::it_comes_to_an_end"], [f"{HERE}::test_a_run_that_never_ends_is_seen"]),
}
"""Each invariant: what holds it, and its twins, in which a bug is planted or, where none can get so far, the evidence
is edited; the twin then says why."""

ROOT = Path(__file__).resolve().parents[2]


@cache
def functions_of(module: str) -> frozenset[str]:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_invariant_has_what_holds_it_and_a_twin() -> None:
    assert [f"I{n}" for n in range(1, 21)] == list(INVARIANTS)
    for name, (held_by, twins) in INVARIANTS.items():
        assert held_by, name
        assert twins, name
        for place in held_by + twins:
            module, _, function = place.partition("::")
            assert function in functions_of(module), f"{name}: {place} is gone"
        assert all("::test_" in twin for twin in twins), name


def test_every_check_of_the_checker_is_in_the_table() -> None:
    of_the_checker = {
        name: f"{CHECKER}::{check.__name__}" for name, check in CHECKS.items() if name.startswith("I")
    }
    assert of_the_checker == {
        name: place
        for name, (held_by, _) in INVARIANTS.items()
        for place in held_by
        if place.startswith(CHECKER)
    }


# ------------------------------------------------------------------ where nobody can exclude it
def test_a_duplicate_nobody_can_exclude_is_counted(tmp_path: Path) -> None:
    one = calm(axes={"b": "duplicate", "e": "late"}, faults=LOST)
    one = dataclasses.replace(one, semantics=one.semantics | {"late_seconds": 600.0})
    evidence = simulate(one, tmp_path)
    assert one.may_double
    assert [] == violations(evidence)
    assert doubles(evidence) > 0
