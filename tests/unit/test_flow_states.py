import asyncio
import json
import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from polars.exceptions import PanicException

from flows import backfill_flow, conduct_flow, sync_flow
from flows.conduct_flow import environment_for, state_of
from flows.endings import ending
from flows.inbox import Waiting, standing_of
from flows.progress import Progress
from flows.serving import AUTOMATIONS
from flows.settings import Needs
from pipeline.ports import Notice
from pipeline.reconciling import DIFFERS
from schemas.errors import GuardError
from schemas.outcomes import VERDICTS, Exit
from schemas.summary import Summary

PANIC = PanicException("canary")


async def panics(*_asked) -> Summary:
    raise PANIC


def test_a_panic_in_the_thread_of_a_flow_is_a_bug_and_lets_nobody_wait(monkeypatch, tmp_path):
    monkeypatch.setattr(conduct_flow, "_show", lambda _progress: asyncio.sleep(3600))
    monkeypatch.setenv("METERFEED_DATA_DIR", str(tmp_path))
    told = asyncio.run(conduct_flow.conducted("quality", panics, environment="sandbox", needs=Needs.NOTHING))
    assert (told.exit_code, told.error.kind) == (Exit.BUG, "PanicException")
    assert "canary" not in json.dumps(told.to_json())


@pytest.mark.parametrize(
    "cure", ["Nothing was sent. Look at the report.", "Mended at the API: `meterfeed resume`."]
)
def test_nobody_is_waited_for_at_a_guard_that_no_yes_lifts(cure):
    error = GuardError("The exports hold no row to load (0).", guard="empty", cure=cure)
    stopped = ending(error, command="sync", so_far=summary(Exit.OK, extra={"plan_digest": "12ab" * 8}))
    assert asyncio.run(sync_flow._with_approval(stopped, "sandbox", 12.0, None)) is stopped


def test_whatever_ends_the_thread_of_a_flow_ends_the_flow():
    async def waited():
        return await asyncio.wait_for(conduct_flow._in_a_thread(panics), 60)

    with pytest.raises(PanicException):
        asyncio.run(waited())


NAMES = {
    Exit.OK: ("COMPLETED", "Completed"),
    Exit.DONE_WITH_REJECTS: ("COMPLETED", "Done with rejects"),
    Exit.BUG: ("FAILED", "Bug"),
    Exit.USAGE: ("FAILED", "Usage"),
    Exit.GUARD: ("FAILED", "Guard"),
    Exit.IN_DOUBT: ("FAILED", "In doubt"),
    Exit.SETTINGS: ("FAILED", "Settings"),
    Exit.BUSY: ("FAILED", "Busy"),
    Exit.UNAVAILABLE: ("FAILED", "Unavailable"),
    Exit.STORAGE: ("FAILED", "Storage"),
    Exit.INTERRUPTED: ("FAILED", "Interrupted"),
    Exit.TERMINATED: ("FAILED", "Terminated"),
}


def summary(code: Exit, **more) -> Summary:
    return Summary(more.pop("run_id", None), "sync", "sandbox", code, VERDICTS[code], **more)


@pytest.mark.parametrize("code", Exit)
def test_every_exit_code_has_a_state_of_its_own_name(code):
    state = state_of(summary(code))
    assert (state.type.value, state.name) == NAMES[code]
    assert state.message == f"{VERDICTS[code]} (exit {int(code)})"


def test_a_guard_gives_its_sentence_and_the_whole_digest():
    error = GuardError(
        "9 % are bad.", guard="quarantined", cure="Use --approve 123456789012345678901234567890ab."
    )
    message = state_of(ending(error, command="sync")).message
    assert "quarantined. 9 % are bad. Use --approve 123456789012345678901234567890ab." in message


@pytest.mark.parametrize(
    "extra", [{"already_done": "20260101-0001"}, {"inbox": {"new": 0}}, {"runs": [{"skipped": True}]}]
)
def test_a_night_without_a_new_file_says_so(extra):
    assert state_of(summary(Exit.OK, extra=extra)).name == "No new file"


def test_a_reconcile_that_found_a_difference_is_not_called_rejects():
    """There is no row to correct; the automation that tells a person knows the state by this name."""
    found = replace(summary(Exit.DONE_WITH_REJECTS), command="reconcile", verdict=DIFFERS)
    assert ("COMPLETED", "Drift") == (state_of(found).type.value, state_of(found).name)
    [drift] = [one for one in json.loads(AUTOMATIONS.read_text()) if "drift" in one["name"]]
    assert ["prefect.flow-run.Drift"] == drift["trigger"]["expect"]


def out_of_an_inbox(monkeypatch, found, *, after=lambda _url: None, code=Exit.OK):
    """What the flow does with what was found, and how it tells of it; `after` happens with each load."""
    loaded = []

    async def look(*_asked):
        return found

    async def load(exports, *_asked):
        loaded.append(exports[0].rsplit("/", 1)[-1])
        after(exports[0])
        return summary(code, run_id=f"run {len(loaded)}")

    monkeypatch.setattr(sync_flow, "look", look)
    monkeypatch.setattr(sync_flow, "load", load)
    return loaded, asyncio.run(sync_flow._from_inbox("inbox", ["p"], "sandbox", 0.0, None))


@pytest.fixture
def files(tmp_path):
    """Three files that have lain still for an hour."""
    paths = [tmp_path / name for name in ("a.csv", "b.csv", "c.csv")]
    for path in paths:
        path.touch()
        os.utime(path, (time.time() - 3600.0,) * 2)
    return tuple(map(str, paths))


def test_a_file_that_grew_while_an_earlier_one_was_loaded_waits_with_what_comes_after_it(monkeypatch, files):
    monkeypatch.setattr(sync_flow, "standing_of", partial(standing_of, still_seconds=1800.0))
    loaded, told = out_of_an_inbox(monkeypatch, Waiting(files, 0, 1), after=lambda _url: os.utime(files[1]))
    assert ["a.csv"] == loaded
    assert {"new": 1, "known": 0, "growing": 3} == told.extra["inbox"]


def test_a_file_that_is_gone_when_its_turn_comes_is_left_out(monkeypatch, files):
    def take_out(_url):
        Path(files[1]).unlink(missing_ok=True)

    loaded, told = out_of_an_inbox(monkeypatch, Waiting(files, 4, 0), after=take_out)
    assert (["a.csv", "c.csv"], {"given": 2, "done": 2}) == (loaded, told.extra["exports"])
    for file in (files[0], files[2]):
        Path(file).unlink()
    loaded, told = out_of_an_inbox(monkeypatch, Waiting(files, 4, 0))
    assert ([], "No new file") == (loaded, state_of(told).name)


def test_what_waits_is_told_also_where_something_was_loaded(monkeypatch, files):
    _, told = out_of_an_inbox(monkeypatch, Waiting(files[:1], 0, 2))
    state = state_of(told)
    assert ("Completed", "run 1") == (state.name, told.run_id)
    assert (
        "2 file(s) in the inbox wait: the first may still be growing; the next run takes them."
        in state.message
    )


def test_an_inbox_goes_no_further_than_the_first_file_that_does_not_end_well(monkeypatch, files):
    loaded, told = out_of_an_inbox(monkeypatch, Waiting(files, 0, 0), code=Exit.GUARD)
    assert (["a.csv"], Exit.GUARD, {"given": 3, "done": 1}) == (loaded, told.exit_code, told.extra["exports"])


def test_each_export_of_a_backfill_is_told_which_runs_did_those_before_it(monkeypatch, files):
    told_of = []

    async def load(_url, *asked):
        told_of.append(asked[-1])
        run = f"run {len(told_of)}"
        return summary(Exit.OK, extra={"runs": [{"run_id": run, "skipped": False}]})

    async def told(ended):
        return ended

    monkeypatch.setattr(backfill_flow, "load", load)
    monkeypatch.setattr(backfill_flow, "told", told)
    ended = asyncio.run(backfill_flow.backfill.fn(list(files), ["p"]))
    assert [[], ["run 1"], ["run 1", "run 2"]] == told_of
    assert ["run 1", "run 2", "run 3"] == [run["run_id"] for run in ended.extra["runs"]]


def test_an_approval_beside_an_inbox_is_refused(monkeypatch):
    async def told(ended):
        return ended

    monkeypatch.setattr(sync_flow, "told", told)
    ended = asyncio.run(sync_flow.sync.fn(["p"], inbox="inbox", approve="ab" * 16))
    assert (Exit.USAGE, "`approve` lets one plan through") == (ended.exit_code, ended.error.message[:31])


def test_one_new_file_among_old_ones_is_new():
    runs = [{"skipped": True}, {"skipped": False}]
    assert state_of(summary(Exit.OK, extra={"runs": runs})).name == "Completed"


def test_trouble_is_never_called_a_quiet_night():
    assert state_of(summary(Exit.IN_DOUBT, extra={"already_done": "x"})).name == "In doubt"


@pytest.mark.parametrize(
    ("worker", "asked", "expected"),
    [
        (None, None, "sandbox"),
        ("", None, "sandbox"),
        (" production ", None, "production"),
        ("production", "sandbox", "sandbox"),
        ("sandbox", "production", "production"),
    ],
)
def test_a_flow_is_for_the_environment_of_its_worker_unless_asked_otherwise(
    monkeypatch, worker, asked, expected
):
    monkeypatch.delenv("METERFEED_ENVIRONMENT", raising=False)
    if worker is not None:
        monkeypatch.setenv("METERFEED_ENVIRONMENT", worker)
    assert expected == environment_for(asked)


def test_progress_says_what_is_known():
    progress = Progress("sync")
    assert (progress.now(0.0).percent, progress.now(0.0).words) == (0.0, "starting")
    progress.notice(Notice("plan", 5, 10, "partitions"))
    assert (progress.now(0.0).percent, progress.now(0.0).words) == (37.5, "plan: 5 partitions")


def test_progress_over_files_gives_the_time_left():
    progress = Progress("backfill")
    progress.files(10, 40, 0.0)
    now = progress.now(1200.0)
    assert (now.percent, now.words) == (25.0, "10 of 40 exports, about 60 min left; starting")


def test_a_stage_of_known_size_says_how_long_it_will_go_on():
    progress = Progress("sync")
    progress.notice(Notice("send", 0, 40, "partitions"))
    assert progress.now(100.0).words == "send: 0 partitions"
    progress.notice(Notice("send", 10, 40, "partitions"))
    assert progress.now(160.0).words == "send: 10 partitions of 40, about 3 min left"
