"""Many exports in order as a Prefect flow: a task for each, skipping what is done."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from connectors.exports.places import find_places
from flows.conduct_flow import FINE, carried_out, environment_for, run_name, told
from flows.endings import ending
from pipeline.ending import together
from schemas.errors import MeterfeedError
from schemas.outcomes import Exit
from schemas.summary import Summary


@task(name="load", task_run_name="load-{number}", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def load(
    export: str,
    profiles: list[str],
    environment: str,
    account: str | None,
    number: int,
    total: int,
    started: float,
    after: list[str],
) -> Summary:
    """One export; skipped when a run did it before, in the order of the exports: after the runs of those before it."""
    return await carried_out(
        "backfill",
        environment=environment,
        account=account,
        files=(number, total, started),
        exports=[export],
        profiles=profiles,
        after=after,
    )


@flow(name="meterfeed-backfill", flow_run_name=run_name, retries=0, persist_result=False)
async def backfill(
    exports: list[str], profiles: list[str], environment: str | None = None, account: str | None = None
) -> State[Any]:
    """Load many exports in order, one at a time, as `meterfeed backfill` does; run it again to go on.

    Args:
        exports: paths, globs or URLs, reachable from the worker.
        profiles: paths, or names under data/profiles; each export is read by the first that fits.
        environment: sandbox or production; what METERFEED_ENVIRONMENT says, if left out.
        account: name of a `MeterfeedAccount` block that overlays the worker's environment.
    """
    environment = environment_for(environment)
    try:
        places = [place.url for place in find_places(exports)]
    except MeterfeedError as error:
        return await told(ending(error, command="backfill", environment=environment))
    summaries: list[Summary] = []
    started = time.monotonic()
    for number, url in enumerate(places):
        summaries.append(
            await load(url, profiles, environment, account, number, len(places), started, _runs_of(summaries))
        )
        if Exit(summaries[-1].exit_code) not in FINE:
            break
    total = together("backfill", environment, summaries, planned=len(places))
    return await told(replace(total, extra={**total.extra, "runs": _accounts(summaries)}))


def _accounts(summaries: list[Summary]) -> list[dict[str, Any]]:
    """One account per file."""
    return [run for summary in summaries for run in summary.extra.get("runs", ())]


def _runs_of(summaries: list[Summary]) -> list[str]:
    return [run["run_id"] for run in _accounts(summaries)]
