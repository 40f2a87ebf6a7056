"""The main job with its partitions as tasks on a Ray cluster; needs meterfeed[ray].

The flow's own machine judges, plans and keeps the account, and takes a hand in the sending as well. Each partition that
is free becomes a task: `meterfeed work` for that one partition. Ray starts a task again whose worker died. Whether
anything of it is left to do, the ledger knows.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any, Final

import ray
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect_ray import RayTaskRunner
from prefect_ray.task_runners import PrefectRayFuture

from flows.blocks import environment_of
from flows.conduct_flow import carried_out, environment_for, name_after, run_name, told
from flows.settings import Settings, load_settings
from flows.sync_flow import load
from schemas.errors import MeterfeedError
from schemas.sharing import Standing

LOOK_SECONDS: Final = 1.0
"""How often the flow looks for partitions that nobody sends."""

Futures = dict[int, PrefectRayFuture[Any]]


@task(
    name="send a partition",
    task_run_name="send-partition-{partition}",
    retries=0,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def send_partition(partition: int, environment: str, account: str | None) -> dict[str, int]:
    """Send one partition of the shared run, unless somebody else does by now."""
    summary = asyncio.run(carried_out("work", environment=environment, account=account, lane=partition + 1))
    return {
        "partition": partition,
        "steps": int(summary.extra.get("partitions", 0)),
        "exit_code": int(summary.exit_code),
    }


@flow(
    name="meterfeed-sync-on-ray",
    flow_run_name=run_name,
    retries=0,
    persist_result=False,
    task_runner=RayTaskRunner(),
)
async def sync(
    profiles: list[str],
    exports: list[str],
    environment: str | None = None,
    approve: str | None = None,
    account: str | None = None,
) -> State[Any]:
    """Plan and apply, as `meterfeed sync` does, with the sending spread over a Ray cluster.

    The cluster is the one RAY_ADDRESS names; without one, a cluster on this machine lives as long as the run. Its
    workers need the settings and the package this machine has.

    Args:
        profiles: paths, or names under data/profiles.
        exports: paths, globs or URLs; all of them are one run.
        environment: sandbox or production; what METERFEED_ENVIRONMENT says, if left out.
        approve: digest of a plan a person let through its guards.
        account: name of a `MeterfeedAccount` block that overlays the workers' environment.
    """
    environment = environment_for(environment)
    loading = asyncio.create_task(load(exports, profiles, environment, approve, account))
    try:
        await _spread(loading, environment, account)
    finally:
        summary = await loading
    await name_after(summary, profiles)
    return await told(summary)


async def _spread(loading: asyncio.Task[Any], environment: str, account: str | None) -> None:
    """Make tasks of free partitions until the run is over. A partition that is free again gets another."""
    settings = await _settings(environment, account)
    waiting: Futures = {}
    while not loading.done():
        standing = await asyncio.to_thread(_standing, settings)
        for lane in () if standing is None else standing.open:
            if lane not in waiting:
                waiting[lane] = send_partition.submit(lane - 1, environment, account)
        await asyncio.wait([loading], timeout=LOOK_SECONDS)
        waiting = await asyncio.to_thread(_unfinished, waiting)
    for future in waiting.values():
        await asyncio.to_thread(future.wait)


async def _settings(environment: str, account: str | None) -> Settings | None:
    """The settings of the run; what is wrong with them, loading it says."""
    with suppress(MeterfeedError):
        return load_settings(
            await environment_of(account, {**os.environ, "METERFEED_ENVIRONMENT": environment})
        )
    return None


def _standing(settings: Settings | None) -> Standing | None:
    from flows.wiring import standing

    if settings is None or settings.shared is None:
        return None
    with suppress(MeterfeedError):
        return standing(settings)
    return None


def _unfinished(waiting: Futures) -> Futures:
    """The tasks that are not done; those that are have said what became of them."""
    by_ref = {future.wrapped_future: lane for lane, future in waiting.items()}
    done, _ = ray.wait(list(by_ref), num_returns=len(by_ref), timeout=0) if by_ref else ([], [])
    for ref in done:
        waiting[by_ref[ref]].wait()
    gone = {by_ref[ref] for ref in done}
    return {lane: future for lane, future in waiting.items() if lane not in gone}


__all__ = ["send_partition", "sync"]
