"""Every invariant can fail: a bug is planted for each, and the checker must name it."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

import pipeline.delivery.classifier as classifier
import pipeline.delivery.sender as sender
import pipeline.delivery.singles as singles
from connectors.ledger import store
from connectors.ledger.store import Ledger
from pipeline import account
from pipeline.delivery.books import Books, Shipment
from pipeline.delivery.calls import delete_user_call
from pipeline.delivery.classifier import Ruling
from pipeline.delivery.doubts import Doubts
from pipeline.delivery.readback import Found, Reader
from pipeline.delivery.sender import Sender
from pipeline.delivery.singles import Ended, Singles
from sandbox.exchange import Answer
from sandbox.faults import FAULTS, Fault, Stage
from schemas.errors import AccountError
from schemas.ledger import State
from schemas.outcomes import Exit
from tests.campaign import quick, simulator
from tests.campaign.checker import CHECKS, Evidence, doubles, spellings, violations
from tests.campaign.schedules import Schedule, axes_of
from tests.campaign.simulator import simulate

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
    class Undo(Exception):
        pass

    async def intend(self: Books, draft: Any, records: Any, held: Any = ()) -> Shipment:
        try:
            with self.ledger.together():
                [chunk] = self.ledger.intend([draft], now=self.world.now())
                raise Undo  # noqa: TRY301
        except Undo:
            return Shipment(chunk, records)

    monkeypatch.setattr(Books, "intend", intend)
    assert "I7" in broken(simulate(calm(), tmp_path))


def test_a_lost_answer_that_is_retried_blindly_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = Sender._after_batch

    async def blindly(self: Sender, shipment: Any, verdict: Any) -> None:
        if verdict.ruling is Ruling.IN_DOUBT:
            verdict = dataclasses.replace(verdict, ruling=Ruling.NOT_APPLIED)
        await after(self, shipment, verdict)

    monkeypatch.setattr(Sender, "_after_batch", blindly)
    assert "I6" in broken(simulate(calm(axes={"b": "duplicate"}, faults=LOST), tmp_path))


def part_then_201(stage: Stage) -> Answer:
    """Half of a batch is applied, and the answer says so."""
    kept: list[Any] = []

    def half(records: list[Any]) -> list[Any]:
        kept.extend(records[: len(records) // 2])
        return kept

    stage.run_part(half)
    name = "locations" if hasattr(kept[0], "location_id") else "users"
    return Answer.json(
        201,
        {
            name: [
                {"userId": one.user_id} | ({"locationId": one.location_id} if name == "locations" else {})
                for one in kept
            ]
        },
    )


def test_a_short_list_that_is_acknowledged_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        FAULTS, "part-then-201", Fault("part-then-201", frozenset({"batch"}), "part", {}, "", part_then_201)
    )
    one = calm(faults=[{"kind": "part-then-201", "on": "batch", "at": [2, 4]}])
    assert [] == violations(simulate(one, tmp_path / "well"))
    monkeypatch.setattr(
        classifier, "_compared", lambda sent, listed, claimed: dataclasses.replace(claimed, proven=sent)
    )
    assert "I4" in broken(simulate(one, tmp_path / "ill"))


def test_the_rest_of_a_split_that_is_forgotten_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = Sender._go_on

    async def forget(self: Sender, children: Any) -> None:
        await on(self, children[:1])

    async def nothing(self: Sender, *_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(Sender, "_go_on", forget)
    monkeypatch.setattr(Sender, "_not_sent", nothing)
    assert {"I9", "I10"} <= broken(simulate(calm(axes={"f": "items"}), tmp_path))


def test_absence_that_is_believed_at_once_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Doubts._settle_one

    async def hasty(self: Doubts, shipment: Any, *, resend: bool) -> bool:
        self.settle_seconds = 0.0
        return await settle(self, shipment, resend=resend)

    monkeypatch.setattr(Doubts, "_settle_one", hasty)
    one = calm(axes={"b": "duplicate", "d": "reads-lag"}, faults=LOST)
    assert "I6" in broken(simulate(one, tmp_path))


def test_a_refusal_that_is_not_read_back_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Reader, phase: Any, records: Any) -> list[Found]:
        return [Found.ABSENT for _ in records]

    monkeypatch.setattr(Reader, "find_after_refusal", nothing)
    one = calm(faults=[{"kind": "prefix-then-400", "on": "batch", "at": [2, 4]}])
    assert "I9" in broken(simulate(one, tmp_path))


def test_other_content_on_a_second_attempt_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = sender.batch_call

    def changed(phase: Any, records: Any, trace: str) -> Any:
        call, expected = honest(phase, records, trace)
        if not trace.endswith("-1"):
            call = dataclasses.replace(call, body=(call.body or b"").replace(b"Residential", b"Commercial"))
        return call, expected

    monkeypatch.setattr(sender, "batch_call", changed)
    one = calm(faults=[{"kind": "dropped", "on": "batch", "at": [4, 5]}])
    assert "I8" in broken(simulate(one, tmp_path))


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
    assert name in broken(meddled(done, tmp_path, statement))


@pytest.mark.parametrize("form", range(len(spellings("707057599990000003"))))
def test_a_meter_point_in_the_ledger_is_seen_however_it_is_spelt(
    done: Evidence, tmp_path: Path, form: int
) -> None:
    spelt = spellings("707057599990000003")[form]
    found = broken(meddled(done, tmp_path, f"UPDATE meta SET value = x'{spelt.hex()}' WHERE key = 'tenant'"))
    assert {"I14"} == found


def test_a_change_when_nothing_was_left_to_do_is_seen(done: Evidence) -> None:
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
    last = dataclasses.replace(done.lives[-1], peak_megabytes=2000.0)
    assert {"I19"} == broken(dataclasses.replace(done, lives=[*done.lives[:-1], last]))


def test_a_child_before_its_parent_is_seen(done: Evidence) -> None:
    before = [effect for effect in done.effects if effect["request"] == 0]
    backwards = [effect for effect in reversed(done.effects) if effect["request"]]
    assert "I11" in broken(dataclasses.replace(done, effects=before + backwards))


def test_every_invariant_of_the_checker_has_a_twin_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in text for name in CHECKS)


# ------------------------------------------------------------------ where nobody can exclude it
def test_a_duplicate_nobody_can_exclude_is_counted(tmp_path: Path) -> None:
    one = calm(axes={"b": "duplicate", "e": "late"}, faults=LOST)
    one = dataclasses.replace(one, semantics=one.semantics | {"late_seconds": 600.0})
    evidence = simulate(one, tmp_path)
    assert one.may_double
    assert [] == violations(evidence)
    assert doubles(evidence) > 0
