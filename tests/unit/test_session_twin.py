"""Which runs let the same job be skipped."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from connectors.ledger import open_ledger
from connectors.ledger.store import Ledger
from pipeline.delivery.books import MANIFEST
from pipeline.job import Job
from pipeline.session import SENDING, SETTLED, SUPERSEDED, Session
from schemas.ledger import ADOPTED, Draft, Identity, State
from tests.delivery.harness import locations


class Past:
    """A ledger with runs, and what a new start makes of them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def run(
        self,
        job: str,
        profiles: str = "p",
        state: str = SETTLED,
        *,
        command: str = "sync",
        sends: bool = False,
        misses: int = 0,
    ) -> str:
        """A run that came to its end; its id."""
        run = self.ledger.begin_run(
            command=command,
            environment="sandbox",
            profiles=profiles,
            job_digest=job,
            stamp="20260101",
            now=1.0,
        )
        self.ledger.change_run(run.run_seq, state=SENDING)
        if sends:
            manifest = (
                locations(2).with_columns(partition=0, position=0).select(MANIFEST).cast({"partition": int})
            )
            [chunk] = self.ledger.intend([Draft(run.run_seq, "create_locations", 0, 0, 2, manifest)], now=1.0)
            self.ledger.settle(chunk.chunk_seq, state=State.ACKNOWLEDGED, now=1.0, requests=1)
        told = {"vanished": {"kinds": {"user": {"missing": misses}}}}
        self.ledger.finish_run(run.run_seq, exit_code=0, state=state, summary=told, now=2.0)
        return run.run_id

    def twin(self, job: str, profiles: str = "p", *, after: Collection[str] | None = None) -> str | None:
        """The run that did a job, if there is nothing to do."""

        async def durable(operation: Any, *arguments: Any) -> Any:
            return operation(*arguments)

        nothing: Any = None
        session = Session("sandbox", nothing, self.ledger, durable, nothing, "k")
        found = asyncio.run(session.settled_twin(Job(job, profiles), after=after))
        return None if found is None else found.run_id

    def backfill(self, jobs: str) -> str:
        """What a backfill does about some exports: `.` for one it skips, its letter for one it loads."""
        done, told = set[str](), ""
        for job in jobs:
            twin = self.twin(job, after=done)
            done.add(twin or self.run(job))
            told += "." if twin else job
        return told


def opened(folder: Path) -> AbstractContextManager[Ledger]:
    return open_ledger(f"sqlite:///{folder}/l.sqlite", identity=Identity("t", "b", "k"), now=1.0)


@pytest.fixture
def past(tmp_path: Path) -> Iterator[Past]:
    with opened(tmp_path) as ledger:
        yield Past(ledger)


# ------------------------------------------------------------------ a backfill
@pytest.mark.parametrize(
    ("exports", "loaded"), [("ABA", "ABA"), ("ABAB", "ABAB"), ("AAB", "A.B"), ("ABBA", "AB.A")]
)
def test_content_that_comes_back_is_loaded_again_and_skipped_by_the_same_backfill(
    past: Past, exports: str, loaded: str
):
    assert loaded == past.backfill(exports)
    assert "." * len(exports) == past.backfill(exports)


def test_what_comes_after_a_corrected_export_is_loaded_again(past: Past):
    assert "ABCDE" == past.backfill("ABCDE")
    assert "..cDE" == past.backfill("ABcDE")
    assert "....." == past.backfill("ABcDE")


def test_a_backfill_goes_on_where_it_was(past: Past):
    assert "AB" == past.backfill("AB")
    assert "..C" == past.backfill("ABC")
    assert "." == past.backfill("B")


def test_exports_of_other_profiles_are_no_order_for_these(past: Past):
    mine = past.run("A")
    theirs = past.run("Z", "q")
    assert mine == past.twin("A", after={theirs})


def test_a_backfill_skips_nothing_that_is_not_settled_or_was_done_before_adopt(past: Past):
    past.run("A")
    past.ledger.remember({ADOPTED: "1"})
    assert past.twin("A", after=()) is None
    past.run("A", state=SENDING)
    assert past.twin("A", after=()) is None


def test_after_adopt_a_backfill_loads_all_of_it_once_more(past: Past):
    past.backfill("AB")
    past.ledger.remember({ADOPTED: "2"})
    assert ["AB", ".."] == [past.backfill("AB") for _ in range(2)]


# ------------------------------------------------------------------ other profiles
def test_the_newest_run_of_a_profile_is_the_twin_of_its_job(past: Past):
    done = past.run("A")
    assert (done, None) == (past.twin("A"), past.twin("B"))
    past.run("B")
    assert past.twin("A") is None


@pytest.mark.parametrize(
    ("other", "holds"),
    [
        ({}, True),
        ({"sends": True}, False),
        ({"misses": 1}, False),
        ({"state": SENDING}, False),
        ({"state": SUPERSEDED}, False),
        ({"state": "stopped", "misses": 1}, True),
        ({"sends": True, "command": "move", "profiles": "move"}, True),
    ],
)
@pytest.mark.parametrize("after", [None, ()])
def test_a_job_is_done_again_when_another_profile_changed_or_missed_something_since(
    past: Past, other: dict[str, Any], holds: bool, after: Collection[str] | None
):
    past.run("Z", "q", sends=True, misses=1)  # before it
    done = past.run("A")
    past.run("Z", **{"profiles": "q", **other})
    assert (done if holds else None) == past.twin("A", after=after)


def test_two_profiles_that_miss_nothing_let_each_other_rest(past: Past):
    past.run("A", sends=True)
    past.run("Z", "q", sends=True)
    again = past.run("A")
    assert past.twin("Z", "q") is not None
    assert [again, again] == [past.twin("A"), past.twin("A", after=())]


def test_an_older_run_of_another_profile_that_went_on_since_spoke_since(tmp_path: Path):
    for hold in range(2):
        with opened(tmp_path) as ledger:
            past = Past(ledger)
            if hold == 0:
                past.run("Z", "q", sends=True)
                past.run("A")
                assert past.twin("A") is not None
            else:
                ledger.change_run(1, state=SETTLED)
                assert past.twin("A") is None
