import asyncio
import errno
from signal import Signals

import pytest

import schemas.errors
from flows.endings import (
    INTERNAL_VERDICT,
    Interrupted,
    ending,
    entry_of,
    exit_of,
    interrupted_by,
    usage_ending,
)
from schemas.errors import AccountError, ApiUnavailable, GuardError, MeterfeedError
from schemas.outcomes import VERDICTS, Exit
from schemas.summary import RowCounts, Summary


def every_error(base=MeterfeedError):
    for child in base.__subclasses__():
        yield child
        yield from every_error(child)


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_of_ours_ends_in_its_exit_code_and_a_verdict(kind):
    error = kind("What.", guard="shrank") if kind is GuardError else kind("What.", cure="Do.")
    told = ending(error, command="sync", environment="sandbox")
    assert told.exit_code == kind.exit_code
    assert told.verdict
    assert (told.error.kind, told.error.message) == (kind.__name__, "What.")


def test_the_drawn_tree_names_every_error():
    for kind in every_error():
        assert f"{kind.__name__} " in schemas.errors.__doc__, kind


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Interrupted(Signals.SIGINT), Exit.INTERRUPTED),
        (Interrupted(Signals.SIGTERM), Exit.TERMINATED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (asyncio.CancelledError(), Exit.INTERRUPTED),
        (OSError(errno.ENOSPC, "canary"), Exit.STORAGE),
        (PermissionError(errno.EACCES, "canary"), Exit.STORAGE),
        (ValueError("canary"), Exit.BUG),
        (MemoryError(), Exit.BUG),
        (AccountError("x"), Exit.BUG),
    ],
)
def test_whatever_else_happens_has_an_exit_code_too(error, code):
    assert exit_of(error) == code


@pytest.mark.parametrize(
    "error", [ValueError("canary"), OSError(errno.ENOSPC, "canary", "canary"), KeyError("canary")]
)
def test_the_text_of_an_error_that_is_not_ours_is_not_repeated(error):
    assert "canary" not in str(ending(error, command="sync").to_json())


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.ENOSPC, "x"), "METERFEED_DATA_DIR"),
        (ValueError("x"), "`meterfeed.jsonl` in METERFEED_DATA_DIR"),
    ],
)
def test_an_error_that_is_not_ours_says_where_to_look(error, named):
    assert named in entry_of(error).cure


def test_an_interruption_is_no_error():
    assert entry_of(Interrupted(Signals.SIGTERM)) is None


def test_an_interrupted_run_ends_with_the_code_of_its_signal():
    run = Summary("run", "sync", "sandbox", Exit.INTERRUPTED, VERDICTS[Exit.INTERRUPTED])
    assert interrupted_by(Signals.SIGTERM, run).exit_code == Exit.TERMINATED
    assert interrupted_by(Signals.SIGINT, run) == run
    done = Summary("run", "sync", "sandbox", Exit.OK, VERDICTS[Exit.OK])
    assert interrupted_by(Signals.SIGTERM, done) == done


def test_a_failed_equation_and_any_other_bug_are_told_apart():
    assert ending(AccountError("x"), command="sync").verdict == VERDICTS[Exit.BUG]
    assert ending(ValueError("x"), command="sync").verdict == INTERNAL_VERDICT


def test_a_guard_is_named():
    assert (
        ending(GuardError("x", guard="shrank"), command="sync").verdict == "A guard stopped the run: shrank."
    )


def test_what_was_counted_before_the_error_stays():
    so_far = Summary("run", "sync", "sandbox", Exit.OK, "fine", rows=RowCounts(read=1, mapped=1))
    told = ending(ApiUnavailable("down"), command="sync", so_far=so_far)
    assert (told.run_id, told.rows, told.exit_code) == ("run", so_far.rows, Exit.UNAVAILABLE)


def test_a_usage_error_has_the_shape_of_every_other_ending():
    document = usage_ending("No such option", command="sync").to_json()
    assert (document["exit_code"], document["error"]["message"]) == (2, "No such option")
