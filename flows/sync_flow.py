"""The main job as a Prefect flow: exports or an inbox, planned and applied, with a person's approval if need be.

Parameters are names, paths and switches, never values: Prefect stores them in clear text.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import apause_flow_run
from prefect.input import RunInput

from connectors.profiles import load_profiles
from flows.artifact import summary_markdown
from flows.conduct_flow import (
    FINE,
    Stopping,
    carried_out,
    conducted,
    environment_for,
    name_after,
    report,
    run_name,
    state_of,
    told,
)
from flows.endings import usage_ending
from flows.inbox import Standing, Waiting, look_into, standing_of
from flows.progress import Progress
from flows.settings import Settings
from pipeline.ending import together
from schemas.outcomes import VERDICTS, Exit
from schemas.summary import Summary

POLL_SECONDS = 5
__all__ = ["Approval", "state_of", "sync"]


class Approval(RunInput):
    """What a person types to let a plan through its guards: the digest that was shown."""

    digest: str


@task(name="load", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def load(
    exports: list[str], profiles: list[str], environment: str, approve: str | None, account: str | None
) -> Summary:
    """Plan and apply the exports as one run; whatever happens becomes a summary."""
    return await carried_out(
        "sync", environment=environment, account=account, exports=exports, profiles=profiles, approve=approve
    )


@task(name="look into the inbox", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def look(inbox: str, profiles: list[str], environment: str, account: str | None) -> Waiting | Summary:
    """What is new in the inbox; a summary when it cannot be told."""
    found: list[Waiting] = []

    async def work(settings: Settings, _progress: Progress, _stopping: Stopping) -> Summary:
        found.append(look_into(inbox, settings, load_profiles(profiles)))
        return Summary(None, "sync", environment, Exit.OK, VERDICTS[Exit.OK])

    summary = await conducted("sync", work, environment=environment, account=account)
    return found[0] if found else summary


@task(name="apply", retries=0, cache_policy=NO_CACHE, persist_result=False)
async def apply(digest: str, environment: str, account: str | None) -> Summary:
    """Do exactly the plan a person approved."""
    return replace(
        await carried_out("apply", environment=environment, account=account, run=digest), command="sync"
    )


@flow(name="meterfeed-sync", flow_run_name=run_name, retries=0, persist_result=False)
async def sync(
    profiles: list[str],
    exports: list[str] | None = None,
    environment: str | None = None,
    approve: str | None = None,
    inbox: str | None = None,
    approval_hours: float = 0.0,
    account: str | None = None,
) -> State[Any]:
    """Plan and apply, as `meterfeed sync` does.

    Args:
        profiles: paths, or names under data/profiles.
        exports: paths, globs or URLs, reachable from the worker; all of them are one run.
        environment: sandbox or production; what METERFEED_ENVIRONMENT says, if left out.
        approve: digest of a plan a person let through its guards.
        inbox: instead of exports, a folder or prefix: each new file is a run of its own, in order of the names, up to
            one that may still be growing. An `approve` given beside it is refused.
        approval_hours: how long a plan stopped by a guard waits for a person; 0: it fails at once.
        account: name of a `MeterfeedAccount` block that overlays the worker's environment.

    Returns:
        Completed for exit codes 0 and 10, else Failed; the verdict is its message.
    """
    environment = environment_for(environment)
    if bool(exports) == bool(inbox):
        return await told(usage_ending("Give either exports or an inbox.", command="sync"))
    if inbox and approve:
        message = (
            "`approve` lets one plan through: give it with exports. Beside an inbox it would be ignored."
        )
        return await told(usage_ending(message, command="sync"))
    if inbox:
        summary = await _from_inbox(inbox, profiles, environment, approval_hours, account)
    else:
        summary = await load(exports or [], profiles, environment, approve, account)
        summary = await _with_approval(summary, environment, approval_hours, account)
    await name_after(summary, profiles)
    return await told(summary)


async def _from_inbox(
    inbox: str, profiles: list[str], environment: str, hours: float, account: str | None
) -> Summary:
    """Every new file, one run after the other; ends at the first that does not end well: the later rest on it.

    An earlier load, or a person who is waited for, takes hours. So each file is looked at again when its turn comes.
    """
    found = await look(inbox, profiles, environment, account)
    if isinstance(found, Summary):
        return found
    summaries: list[Summary] = []
    left = list(found.new)
    while left and (standing := standing_of(left[0])) is not Standing.GROWING:
        url = left.pop(0)
        if standing is Standing.GONE:
            continue
        summary = await load([url], profiles, environment, None, account)
        summaries.append(await _with_approval(summary, environment, hours, account))
        if Exit(summaries[-1].exit_code) not in FINE:
            return _told_of(found, environment, summaries, left)
    return _told_of(replace(found, growing=found.growing + len(left)), environment, summaries, [])


def _told_of(found: Waiting, environment: str, summaries: list[Summary], left: list[str]) -> Summary:
    """One account of what was loaded out of an inbox, of what waits, and of what was `left` for a failure."""
    new = len(summaries) + len(left)
    counts = {"new": new, "known": found.known, "growing": found.growing}
    if not summaries:
        total = Summary(None, "sync", environment, Exit.OK, "")
        verdict = (
            "" if found.growing else f"Nothing in the inbox is new; {found.known} file(s) were loaded before."
        )
    else:
        total = summaries[0] if new == 1 else together("sync", environment, summaries, planned=new)
        verdict = total.verdict
    if found.growing:
        waiting = f"{found.growing} file(s) in the inbox wait: the first may still be growing; the next run takes them."
        verdict = f"{verdict} {waiting}".strip()
    return replace(total, verdict=verdict, extra={**total.extra, "inbox": counts})


async def _with_approval(summary: Summary, environment: str, hours: float, account: str | None) -> Summary:
    """Let a person look at a plan that a guard stopped; the lock is not held meanwhile.

    Only where a yes helps, and the cure names the plan to apply: an empty export, or one that was stopped while it was
    sent, is told of at once.
    """
    digest = summary.extra.get("plan_digest")
    cure = summary.error.cure if summary.exit_code == Exit.GUARD and summary.error is not None else ""
    if not (hours and digest and digest in cure):
        return summary
    await report(summary)
    shown = Approval.with_initial_data(description=_question(summary, digest))
    try:
        answer = await apause_flow_run(
            wait_for_input=shown, timeout=max(1, round(hours * 3600)), poll_interval=POLL_SECONDS
        )
    except FlowPauseTimeout:
        get_run_logger().warning("nobody approved the plan in time")
        return summary
    if answer.digest.strip() != digest:
        get_run_logger().warning("the digest that was typed is not that of this plan")
        return summary
    started = time.monotonic()
    applied = await apply(digest, environment, account)
    get_run_logger().info("the approved plan was applied in %.0f s", time.monotonic() - started)
    return applied


def _question(summary: Summary, digest: str) -> str:
    return f"{summary_markdown(summary)}\nTo let this plan through, and no other, type its digest:\n\n`{digest}`\n"
