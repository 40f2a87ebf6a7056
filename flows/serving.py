"""Schedules given to a Prefect server, and the process that runs what falls due.

Deployments, automations and the webhook are registered anew at every start, by name, so what is in the files is what
holds. Schedules are not paused when the process ends: under a supervisor it comes back, and runs that fell due
meanwhile are late, not lost.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError
from prefect.flows import Flow
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType
from pydantic import SecretStr

from flows.schedules import ENTRYPOINTS, Schedule
from flows.settings import Settings
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.deployments.runner import RunnerDeployment

AUTOMATIONS: Final = Path(__file__).resolve().parent.parent / "data" / "automations.json"
WEBHOOK: Final = "meterfeed-webhook"
HEARTBEAT_SECONDS: Final = 30
"""The automation that finds dead runs counts on it."""


def require_server() -> None:
    """Raise unless a Prefect server is named: a server that lives and dies with this process keeps no schedule.

    Raises:
        SettingsError: PREFECT_API_URL is not set.
    """
    if not PREFECT_API_URL.value():
        raise SettingsError(
            "PREFECT_API_URL is not set: schedules need a Prefect server of their own.",
            cure="Run `prefect server start`, and export PREFECT_API_URL=http://127.0.0.1:4200/api.",
        )


@asynccontextmanager
async def reaching_server() -> AsyncIterator[None]:
    """Ask after the server when something fails: Prefect says only what its client, or one of its own, ran into.

    Raises:
        SettingsError: PREFECT_API_URL names no server that answers us.
    """
    try:
        yield
    except Exception as error:
        async with get_client() as client:
            trouble = await client.api_healthcheck()
        if trouble is not None and not isinstance(trouble, PrefectHTTPStatusError):
            raise SettingsError(
                "The Prefect server cannot be reached.", cure="Is it running? PREFECT_API_URL says where."
            ) from error
        if trouble is not None or _is_shut_out(error):
            raise SettingsError(
                "What PREFECT_API_URL names does not answer as a Prefect server does.",
                cure="Does it end with /api? A server with a password needs PREFECT_API_AUTH_STRING or "
                "PREFECT_API_KEY.",
            ) from error
        raise


def _is_shut_out(error: Exception) -> bool:
    """Whether the server wants a password; or it is another program, which has a page for everybody."""
    if isinstance(error, PrefectHTTPStatusError):
        return error.response.status_code in (401, 403)
    return isinstance(error, json.JSONDecodeError)


def flow_of(name: str) -> Flow[..., Any]:
    """The flow behind a name of `ENTRYPOINTS`."""
    module, _, function = ENTRYPOINTS[name].rpartition(".")
    flow: Flow[..., Any] = getattr(importlib.import_module(module), function)
    return flow


def check_parameters(schedule: Schedule) -> None:
    """Raise unless the parameters fit the flow's signature, as the server will check it.

    Raises:
        SettingsError: naming the schedule.
    """
    try:
        flow_of(schedule.flow).validate_parameters(dict(schedule.parameters))
        Cron(schedule.cron, timezone=schedule.timezone)
    except (ParameterTypeError, TypeError, ValueError):
        raise SettingsError(
            f"[schedule.{schedule.name}] does not fit the {schedule.flow} flow.",
            cure="data/schedules.example.toml shows how a schedule is written.",
        ) from None


async def deployment_of(schedule: Schedule) -> RunnerDeployment:
    """The deployment of a schedule. It runs once at a time; a run that falls due meanwhile is cancelled."""
    check_parameters(schedule)
    return await flow_of(schedule.flow).ato_deployment(
        schedule.name,
        schedules=[
            Cron(schedule.cron, timezone=schedule.timezone, active=not schedule.paused, slug=schedule.name)
        ],
        parameters=dict(schedule.parameters),
        tags=list(schedule.tags),
        concurrency_limit=ConcurrencyLimitConfig(
            limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW
        ),
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


async def register_automations(settings: Settings) -> list[str]:
    """Make what is in data/automations.json hold on the server; the names of what does.

    The webhook's automation needs an address; without one it is left out.

    Raises:
        SettingsError: the server does not answer.
    """
    documents = json.loads(AUTOMATIONS.read_text(encoding="utf-8"))
    async with reaching_server():
        webhook = await _webhook(settings)
        wanted = [core for each in documents if (core := automation_of(each, webhook)) is not None]
        async with get_client() as client:
            for core in wanted:
                await _put(client, core)
    return [core.name for core in wanted]


def automation_of(document: dict[str, Any], webhook: str | None) -> AutomationCore | None:
    """An automation as data, with the webhook's block put in; None where it needs one and there is none."""
    actions = [dict(action) for action in document["actions"]]
    for action in actions:
        if action.get("block_document_id") == "webhook":
            if webhook is None:
                return None
            action["block_document_id"] = webhook
    return AutomationCore.model_validate({**document, "actions": actions})


async def _webhook(settings: Settings) -> str | None:
    """The id of the block that holds the address; it is a secret, for whoever knows it can write there."""
    if settings.webhook_url is None:
        return None
    url = SecretStr(settings.webhook_url.get_secret_value())
    block = Webhook(method="POST", url=url, headers={"content-type": "application/json"})  # type: ignore[arg-type]
    return str(await block.asave(WEBHOOK, overwrite=True))


async def _put(client: PrefectClient, core: AutomationCore) -> None:
    """Create the automation, or bring the one of its name up to date."""
    there = await client.read_automations_by_name(core.name)
    if there:
        await client.update_automation(there[0].id, core)
    else:
        await client.create_automation(core)


async def serve(schedules: Sequence[Schedule], stop: asyncio.Event, *, limit: int) -> None:
    """Run what falls due until `stop` is set; runs that are under way are asked to end.

    Args:
        schedules: the timetable.
        stop: set by the first Ctrl-C or SIGTERM.
        limit: runs at the same time, over all schedules.

    Raises:
        SettingsError: the server does not answer.
    """
    async with reaching_server():
        await _serve(schedules, stop, limit)


async def _serve(schedules: Sequence[Schedule], stop: asyncio.Event, limit: int) -> None:
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(HEARTBEAT_SECONDS))
    runner = Runner(name="meterfeed", pause_on_shutdown=False, limit=limit)
    for schedule in schedules:
        await runner.aadd_deployment(await deployment_of(schedule))
    # The runner puts its handler in as it starts; its own would leave from wherever it is.
    runner.handle_sigterm = signal.getsignal(signal.SIGTERM)  # type: ignore[method-assign, assignment]
    serving = asyncio.create_task(runner.start())
    while not runner.started and not serving.done():  # noqa: ASYNC110  # the runner has no event to wait for
        await asyncio.sleep(0.05)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not serving.done():
        await runner.astop()
    await serving
