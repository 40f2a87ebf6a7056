"""What every flow has in common: settings, a thread for the work, progress, the artifact, one ending.

Prefect starts a run, shows it and keeps its verdict; the ledger is the truth. Nothing is retried here, because there
is one retry layer and it is in the sender. The work has a thread and an event loop of its own, so Prefect's
heartbeats go on while millions of rows are judged, and a run that is told to end leaves nothing half written.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

from prefect import get_run_logger, runtime, task
from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    aupdate_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import logs
from flows.artifact import summary_markdown
from flows.blocks import environment_of
from flows.endings import ending
from flows.progress import Progress
from flows.settings import DEFAULTS, PREFIX, Needs, Settings, load_settings
from schemas.masking import printable
from schemas.outcomes import Exit
from schemas.summary import Summary

FINE: Final = (Exit.OK, Exit.DONE_WITH_REJECTS)
ENVIRONMENT: Final = f"{PREFIX}ENVIRONMENT"
PROGRESS_SECONDS: Final = 2.0
Stopping = Callable[[], Exit | None]
Work = Callable[[Settings, Progress, Stopping], Coroutine[Any, Any, Summary]]


async def carried_out(
    command: str,
    *,
    environment: str,
    account: str | None = None,
    needs: Needs = Needs.API,
    files: tuple[int, int, float] | None = None,
    **asked: Any,
) -> Summary:
    """Carry out a command of the pipeline; `asked` is what `flows.wiring.carry_out` takes.

    Args:
        command: its name.
        environment: sandbox or production, as `environment_for` gives it.
        account: name of a block that overlays the worker's environment.
        needs: which settings must be there.
        files: which of how many files this is, and since when, for the progress.
    """

    async def work(settings: Settings, progress: Progress, stopping: Stopping) -> Summary:
        from flows.wiring import carry_out

        if files is not None:
            progress.files(*files)
        return await carry_out(command, settings=settings, notice=progress.notice, stopping=stopping, **asked)

    return await conducted(command, work, environment=environment, account=account, needs=needs)


async def conducted(
    command: str, work: Work, *, environment: str, account: str | None = None, needs: Needs = Needs.API
) -> Summary:
    """Run `work` in a thread; whatever happens becomes a summary, as on the command line."""
    try:
        environ = await environment_of(account, {**os.environ, ENVIRONMENT: environment})
        settings = load_settings(environ, needs=needs)
    except Exception as error:  # noqa: BLE001  # as in flows/conduct.py: every ending becomes a summary
        return ending(error, command=command, environment=environment)
    logs.configure(settings.data_dir, alone=True)
    progress = Progress(command)

    async def watched(stopping: Stopping) -> Summary:
        try:
            return await work(settings, progress, stopping)
        except BaseException as error:  # the same; and a panic of Polars is no Exception
            logging.getLogger(__name__).exception("command stopped")
            return ending(error, command=command, environment=environment)

    showing = asyncio.create_task(_show(progress))
    try:
        return await _in_a_thread(watched)
    finally:
        showing.cancel()


async def _in_a_thread(work: Callable[[Stopping], Coroutine[Any, Any, Summary]]) -> Summary:
    """The result of `work`; when the flow is told to end, so is the thread, and it is waited for."""
    loop, asked = asyncio.get_running_loop(), list[Exit]()
    done: asyncio.Future[Summary] = loop.create_future()

    def tell(end: Callable[[], None]) -> None:
        if not done.done():
            end()

    def body() -> None:
        try:
            summary = asyncio.run(work(lambda: asked[0] if asked else None))
            end = partial(done.set_result, summary)
        except BaseException as error:  # noqa: BLE001  # untold, it would let the flow wait for ever
            end = partial(done.set_exception, error)
        with suppress(RuntimeError):  # the loop of the flow is gone: nobody waits for an answer
            loop.call_soon_threadsafe(tell, end)

    thread = threading.Thread(target=body, name="meterfeed")
    thread.start()
    try:
        return await done
    except BaseException as error:
        # A cancellation in the UI, a worker that goes down: all but Ctrl-C come as a request to terminate.
        asked.append(Exit.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Exit.TERMINATED)
        raise
    finally:
        thread.join()


async def _show(progress: Progress) -> None:
    """Keep a progress artifact up to date; Prefect being away is no reason to stop working."""
    artifact, shown = None, None
    while True:
        now = progress.now(time.monotonic())
        if now != shown:
            with suppress(Exception):
                if artifact is None:
                    key = f"meterfeed-{progress.command}-progress"
                    artifact = await acreate_progress_artifact(now.percent, key=key, description=now.words)
                else:
                    await aupdate_progress_artifact(artifact, now.percent, now.words)
                shown = now
        await asyncio.sleep(PROGRESS_SECONDS)


@task(name="report", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def report(summary: Summary) -> None:
    """Leave the account as an artifact."""
    key = f"meterfeed-{summary.command}"
    await acreate_markdown_artifact(summary_markdown(summary), key=key, description=summary.verdict)


async def told(summary: Summary) -> State[Any]:
    """Leave the account behind and say how the run ended."""
    await report(summary)
    state = state_of(summary)
    get_run_logger().info("%s", state.message)
    return state


def state_of(summary: Summary) -> State[Any]:
    """The state of the flow run, from the same truth table as the exit code of the command.

    Completed for exit codes 0 and 10, else Failed; named for what happened, so that a filter or an automation can
    tell an in-doubt night from a guard. The message is the verdict with the sentence and the cure of what stopped it.
    """
    code = Exit(summary.exit_code)
    make, name = (Completed, "Completed") if code in FINE else (Failed, "Failed")
    sentences = [summary.verdict]
    if code != Exit.OK:
        name = code.name.replace("_", " ").capitalize()
    if code == Exit.DONE_WITH_REJECTS and summary.command == "reconcile":
        name = (
            "Drift"  # no row and no record was rejected: there is nothing to correct, and somebody must look
        )
    if code in FINE and nothing_new(summary):
        name = "No new file"
        sentences.insert(0, "No new file.")
    if summary.error is not None:
        sentences += [printable(summary.error.message), printable(summary.error.cure)]
    message = " ".join(sentence for sentence in sentences if sentence)
    kept = {"run_id": summary.run_id, "exit_code": int(code), "verdict": summary.verdict}
    return make(name=name, message=f"{message} (exit {int(code)})", data=kept)


def nothing_new(summary: Summary) -> bool:
    """Whether every export given had been loaded before, or there was none."""
    runs = summary.extra.get("runs")
    if runs:
        return all(run["skipped"] for run in runs)
    return "already_done" in summary.extra or summary.extra.get("inbox", {}).get("new") == 0


async def name_after(summary: Summary, profiles: list[str]) -> None:
    """Name the run for its profile and the first file's content, now that it is known."""
    if summary.sources and runtime.flow_run.id:
        name = f"{summary.command}-{short(profiles)}-{summary.sources[0].sha256[:8]}"
        with suppress(Exception):  # a name is worth no failed run
            async with get_client() as client:
                await client.update_flow_run(runtime.flow_run.id, name=name)


def environment_for(asked: str | None) -> str:
    """The environment a flow was asked for, else the one METERFEED_ENVIRONMENT names here; sandbox without both."""
    return asked or os.environ.get(ENVIRONMENT, "").strip() or str(DEFAULTS["environment"])


def run_name() -> str:
    """The name of a run while it goes on: the flow and its profile."""
    parameters = runtime.flow_run.parameters
    flow = str(runtime.flow_run.flow_name or "").removeprefix("meterfeed-")
    return f"{flow}-{short(parameters.get('profiles') or [environment_for(parameters.get('environment'))])}"


def short(profiles: list[str]) -> str:
    """Profiles as names, without folders and endings."""
    return "+".join(name.rsplit("/", 1)[-1].removesuffix(".toml") for name in profiles)
