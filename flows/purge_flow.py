"""Retention as a Prefect flow: customers' values leave runs whose time is up."""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.conduct_flow import carried_out, environment_for, run_name, told
from schemas.summary import Summary


@task(name="remove", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def remove(days: float, environment: str, account: str | None) -> Summary:
    """Remove what is older; whatever happens becomes a summary."""
    return await carried_out("purge", environment=environment, account=account, days=days)


@flow(name="meterfeed-purge", flow_run_name=run_name, retries=0, persist_result=False)
async def purge(days: float = 30.0, environment: str | None = None, account: str | None = None) -> State[Any]:
    """Remove customers' values from old runs, as `meterfeed purge` does.

    Args:
        days: runs that ended longer ago than this.
        environment: sandbox or production; what METERFEED_ENVIRONMENT says, if left out.
        account: name of a `MeterfeedAccount` block that overlays the worker's environment.
    """
    return await told(await remove(days, environment_for(environment), account))
