"""Reading back as a Prefect flow: what the API holds against what the ledger believes. Changes nothing."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.conduct_flow import carried_out, environment_for, run_name, told
from schemas.summary import Summary

Users = Literal["all", "touched", "sample"]


@task(name="compare", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def compare(users: str, profiles: list[str], environment: str, account: str | None) -> Summary:
    """Read users back; whatever happens becomes a summary."""
    return await carried_out(
        "reconcile", environment=environment, account=account, run=users, profiles=profiles
    )


@flow(name="meterfeed-reconcile", flow_run_name=run_name, retries=0, persist_result=False)
async def reconcile(
    users: Users = "touched",
    profiles: list[str] | None = None,
    environment: str | None = None,
    account: str | None = None,
) -> State[Any]:
    """Read back and compare, as `meterfeed reconcile` does.

    Args:
        users: which to read back.
        profiles: not needed, for all that the ledger holds is compared; they name the run in Prefect.
        environment: sandbox or production; what METERFEED_ENVIRONMENT says, if left out.
        account: name of a `MeterfeedAccount` block that overlays the worker's environment.
    """
    return await told(await compare(users, profiles or [], environment_for(environment), account))
