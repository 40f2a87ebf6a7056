"""A worker of a shared run as a Prefect flow: a work pool starts as many as there are machines for."""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.conduct_flow import carried_out, environment_for, run_name, told
from schemas.summary import Summary


@task(name="take a hand", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def take_a_hand(wait: float, environment: str, account: str | None) -> Summary:
    """Send partitions until there are none; whatever happens becomes a summary."""
    return await carried_out("work", environment=environment, account=account, wait=wait)


@flow(name="meterfeed-work", flow_run_name=run_name, retries=0, persist_result=False)
async def work(wait: float = 600.0, environment: str | None = None, account: str | None = None) -> State[Any]:
    """Take a hand in a run that another machine shares, as `meterfeed work` does.

    Args:
        wait: seconds without anything to do after which it ends.
        environment: sandbox or production; what METERFEED_ENVIRONMENT says, if left out.
        account: name of a `MeterfeedAccount` block that overlays the worker's environment.
    """
    return await told(await take_a_hand(wait, environment_for(environment), account))
