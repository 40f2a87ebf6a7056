"""The main job as a Prefect flow. Prefect starts it, shows it and keeps its verdict; the ledger is the truth.

Parameters are names and paths, never rows: Prefect stores them. Secrets come from the environment of the
worker. Nothing is retried here, because there is one retry layer and it is in the sender.
"""

from __future__ import annotations

import os
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows import logs
from flows.artifact import summary_markdown
from flows.endings import ending
from flows.settings import load_settings
from schemas.outcomes import Exit
from schemas.summary import Summary

ARTIFACT_KEY = "meterfeed-sync"
_FINE = (Exit.OK, Exit.DONE_WITH_REJECTS)


@task(name="load", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def load(exports: list[str], profiles: list[str], environment: str, approve: str | None) -> Summary:
    """Plan and apply; whatever happens becomes a summary."""
    try:
        from flows.wiring import carry_out

        settings = load_settings({**os.environ, "METERFEED_ENVIRONMENT": environment})
        logs.configure(settings.data_dir)
        return await carry_out("sync", exports=exports, profiles=profiles, approve=approve, settings=settings)
    except Exception as error:  # noqa: BLE001  # as in flows/conduct.py: every ending becomes a summary
        return ending(error, command="sync", environment=environment)


@task(name="report", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def report(summary: Summary) -> None:
    """Leave the account as an artifact."""
    await acreate_markdown_artifact(summary_markdown(summary), key=ARTIFACT_KEY, description=summary.verdict)


@flow(name="meterfeed-sync", flow_run_name="sync-{environment}", retries=0, persist_result=False)
async def sync(
    exports: list[str], profiles: list[str], environment: str = "sandbox", approve: str | None = None
) -> State[Any]:
    """Plan and apply exports, as `meterfeed sync` does.

    Args:
        exports: paths, globs or URLs, reachable from the worker.
        profiles: paths, or names under data/profiles.
        environment: sandbox or production.
        approve: digest of a plan a person let through its guards.

    Returns:
        Completed for exit codes 0 and 10, else Failed; the verdict is its message.
    """
    summary = await load(exports, profiles, environment, approve)
    await report(summary)
    get_run_logger().info("%s (exit %d)", summary.verdict, summary.exit_code)
    return state_of(summary)


def state_of(summary: Summary) -> State[Any]:
    """The state of the flow run, from the same truth table as the exit code of the command."""
    code = Exit(summary.exit_code)
    told = {"run_id": summary.run_id, "exit_code": int(code), "verdict": summary.verdict}
    make, name = (Completed, "Completed") if code in _FINE else (Failed, "Failed")
    if code != Exit.OK:
        name = code.name.replace("_", " ").capitalize()
    return make(name=name, message=f"{summary.verdict} (exit {int(code)})", data=told)
