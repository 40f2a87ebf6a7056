"""What every command has in common: settings, log, progress, signals, one ending.

A command is a coroutine from a `Session` to a `Summary`. Here it is run, and however it ends, exactly one
account of it is printed: a JSON object with `--json`, a short table without.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import typer

from flows import console, logs, signals, streams
from flows.endings import ending, interrupted_by
from flows.settings import Needs, Settings, load_settings
from flows.signals import Stop
from schemas.outcomes import VERDICTS, Exit
from schemas.summary import Summary

if TYPE_CHECKING:
    from pipeline.ports import Notice

SHOW_CURSOR = b"\x1b[?25h"
"""Progress bars hide it."""

Work = Callable[["Session"], Awaitable[Summary]]


@dataclass(frozen=True, slots=True)
class Session:
    """What a command is given: the settings, where to tell progress, whether to stop, how to speak early."""

    settings: Settings
    notice: Callable[[Notice], None]
    stop: Stop
    announce: Callable[[Summary], None]
    """Prints the account now, for a command that goes on working; it is not printed again at the end."""


def conduct(
    command: str,
    work: Work,
    *,
    as_json: bool,
    needs: Needs = Needs.API,
    quiet: bool = False,
    environ: Mapping[str, str] | None = None,
    show: Callable[[Summary], None] = console.show_summary,
    only_tells: bool = False,
) -> None:
    """Run a command, print its account, leave with its exit code.

    Args:
        command: its name, as in the summary.
        work: does it.
        as_json: print the summary as one JSON object, and nothing else on stdout.
        needs: which settings must be there.
        quiet: show no progress.
        environ: instead of the process's environment.
        show: prints the account for people.
        only_tells: what it prints is all it is run for, so it has failed where that cannot be written. Any other
            command ends as its work did.

    Raises:
        typer.Exit: always.
    """
    stdout = sys.stdout
    announced: list[Summary] = []

    def announce(summary: Summary) -> None:
        if not announced:
            announced.append(summary)
            _print(summary, stdout, as_json=as_json, show=show)

    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        summary = _carried_out(
            command, work, announce, as_json=as_json, needs=needs, quiet=quiet, environ=environ
        )
    announce(summary)
    code = int(summary.exit_code)
    if (refusal := streams.refusal_of(stdout)) is not None:
        code = int(Exit.STORAGE) if only_tells and code == Exit.OK else code
        why = os.strerror(refusal.errno or 0)
        typer.echo(f"The output of {command} could not be written: {why}. (exit {code})", err=True)
    raise typer.Exit(code)


def _print(summary: Summary, stdout: TextIO, *, as_json: bool, show: Callable[[Summary], None]) -> None:
    if as_json:
        print_document(summary.to_json(), stdout)
        return
    show(summary)
    stdout.flush()


def _carried_out(
    command: str,
    work: Work,
    announce: Callable[[Summary], None],
    *,
    as_json: bool,
    needs: Needs,
    quiet: bool,
    environ: Mapping[str, str] | None,
) -> Summary:
    """The summary of the command, whatever happens."""
    import structlog

    log = structlog.get_logger("flows")
    environment = ""

    def at_once(code: int) -> None:
        """The second signal: no time for more than the bare ending, written past every buffer."""
        if sys.stderr.isatty():
            os.write(2, SHOW_CURSOR)
        if as_json:
            gone = ending(KeyboardInterrupt(), command=command, environment=environment).to_json()
            gone |= {"exit_code": code, "verdict": VERDICTS[Exit(code)]}
            os.write(1, (json.dumps(gone) + "\n").encode())

    logs.configure(None)
    try:
        settings = load_settings(environ, needs=needs)
        environment = settings.environment.value
        logs.configure(settings.data_dir)
        log.info("command started", command=command, environment=environment)
        with console.progress(quiet=quiet) as notice:

            async def watched(stop: Stop) -> Summary:
                summary = await work(Session(settings, notice, stop, announce))
                return interrupted_by(stop.signal, summary)

            summary = signals.run(watched, at_once=at_once)
    except SystemExit:
        raise
    except BaseException as error:  # the one place; a panic of Polars is no Exception
        summary = ending(error, command=command, environment=environment)
        log.exception("command stopped", command=command, exit_code=summary.exit_code)
    log.info("command ended", command=command, exit_code=summary.exit_code, run_id=summary.run_id)
    return summary


def print_document(document: Mapping[str, Any], stdout: TextIO | None = None) -> None:
    """Print one JSON object on one line of ASCII, which every terminal and every encoding can carry."""
    stdout = stdout or sys.stdout
    stdout.write(json.dumps(document, ensure_ascii=True, allow_nan=False, default=str) + "\n")
    stdout.flush()
