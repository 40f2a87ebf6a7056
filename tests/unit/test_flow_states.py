import asyncio
import json
from dataclasses import replace

import pytest
from polars.exceptions import PanicException

from flows import conduct_flow, sync_flow
from flows.conduct_flow import environment_for, state_of
from flows.endings import ending
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
    return Summary(None, "sync", "sandbox", code, VERDICTS[code], **more)


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
