"""How a command ends: the one place where an error, a signal or a summary becomes verdict and exit code.

The command line and the Prefect flows both come here, so a script and the orchestrator are told the same.
"""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from signal import Signals
from typing import Final

from schemas.errors import AccountError, GuardError, MeterfeedError
from schemas.outcomes import VERDICTS, Exit, verdict_on
from schemas.summary import ErrorEntry, Summary

INTERNAL_VERDICT: Final = "Something failed inside meterfeed. This is a bug of ours, not of the data."
_STORAGE_ERRNOS: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EMFILE}
)
_BY_SIGNAL: Final = {Signals.SIGINT: Exit.INTERRUPTED, Signals.SIGTERM: Exit.TERMINATED}


class Interrupted(BaseException):
    """A signal asked the work to end, and it did. Like `KeyboardInterrupt`, not to be caught as an error."""

    def __init__(self, signal: Signals = Signals.SIGINT) -> None:
        super().__init__(signal.name)
        self.signal = signal


def exit_of_signal(signal: Signals) -> Exit:
    """130 for Ctrl-C, 143 for a request to terminate."""
    return _BY_SIGNAL.get(signal, Exit.TERMINATED)


def exit_of(error: BaseException) -> Exit:
    """The exit code of whatever stopped a command."""
    if isinstance(error, MeterfeedError):
        return Exit(error.exit_code)
    if isinstance(error, Interrupted):
        return exit_of_signal(error.signal)
    if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
        return Exit.INTERRUPTED
    if isinstance(error, OSError) and error.errno in _STORAGE_ERRNOS:
        return Exit.STORAGE
    return Exit.BUG


def entry_of(error: BaseException) -> ErrorEntry | None:
    """What to say of an error. The text of one that is not ours may hold a row or a URL: it is not said."""
    if isinstance(error, MeterfeedError):
        return ErrorEntry(type(error).__name__, error.message, error.cure)
    exit_code = exit_of(error)
    if exit_code in (Exit.INTERRUPTED, Exit.TERMINATED):
        return None
    if isinstance(error, OSError) and exit_code == Exit.STORAGE:
        reason = os.strerror(error.errno or 0)
        return ErrorEntry(
            "StorageError",
            f"A file could not be read or written: {reason}.",
            "Make room, or let the user of this process write in METERFEED_DATA_DIR; then run `meterfeed resume`.",
        )
    return ErrorEntry(
        type(error).__name__,
        "Unexpected error.",
        "`meterfeed.jsonl` in METERFEED_DATA_DIR names the place in the code; keep it, and the run folder.",
    )


def verdict_of(error: BaseException) -> str:
    """The verdict in one sentence."""
    exit_code = exit_of(error)
    if exit_code == Exit.BUG and not isinstance(error, AccountError):
        return INTERNAL_VERDICT
    if isinstance(error, GuardError):
        return f"{VERDICTS[Exit.GUARD][:-1]}: {error.guard}."
    return verdict_on(exit_code, has_sent=isinstance(error, MeterfeedError) and error.has_sent)


def ending(
    error: BaseException, *, command: str, environment: str = "", so_far: Summary | None = None
) -> Summary:
    """The summary of a command that was stopped.

    Args:
        error: what stopped it.
        command: its name.
        environment: as far as it was known.
        so_far: what the run had already counted, if it had.
    """
    told = so_far or Summary(
        run_id=None, command=command, environment=environment, exit_code=Exit.OK, verdict=""
    )
    return replace(told, exit_code=exit_of(error), verdict=verdict_of(error), error=entry_of(error))


def interrupted_by(signal: Signals | None, summary: Summary) -> Summary:
    """The summary of an interrupted run, with the exit code of the signal; the pipeline knows only that it was."""
    if signal is None or summary.exit_code != Exit.INTERRUPTED:
        return summary
    code = exit_of_signal(signal)
    return replace(summary, exit_code=code, verdict=VERDICTS[code])


def usage_ending(message: str, *, command: str) -> Summary:
    """The summary of a command line that could not be understood."""
    return Summary(
        run_id=None,
        command=command,
        environment="",
        exit_code=Exit.USAGE,
        verdict=VERDICTS[Exit.USAGE],
        error=ErrorEntry("UsageError", message, "`--help` shows how a command is written."),
    )
