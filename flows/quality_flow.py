"""A data-quality report as a Prefect flow: judges, sends nothing, needs no credentials."""

from __future__ import annotations

from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from flows.conduct_flow import carried_out, environment_for, name_after, run_name, told
from flows.settings import Needs
from schemas.summary import Summary


@task(name="judge", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def judge(exports: list[str], profiles: list[str], environment: str) -> Summary:
    """Judge the exports; whatever happens becomes a summary."""
    return await carried_out(
        "quality", environment=environment, needs=Needs.NOTHING, exports=exports, profiles=profiles
    )


@flow(name="meterfeed-quality", flow_run_name=run_name, retries=0, persist_result=False)
async def quality(exports: list[str], profiles: list[str], environment: str | None = None) -> State[Any]:
    """Judge exports and report, as `meterfeed quality` does.

    Args:
        exports: paths, globs or URLs, reachable from the worker.
        profiles: paths, or names under data/profiles.
        environment: sandbox or production, which decides how strict some rules are; what METERFEED_ENVIRONMENT
            says, if left out.
    """
    summary = await judge(exports, profiles, environment_for(environment))
    await name_after(summary, profiles)
    return await told(summary)
