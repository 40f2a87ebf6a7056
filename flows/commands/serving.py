"""Processes that run beside others: `serve` the schedules, `work` in a run that is shared."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from flows.commands.options import AsJson, Quiet, example
from flows.conduct import Session, conduct
from flows.settings import Needs
from schemas.outcomes import Exit
from schemas.summary import Summary

DEFAULT: Final = Path("data/schedules.toml")
BLOCK_NAME: Final = re.compile("[a-z0-9-]+")
"""Names that Prefect gives to blocks; it would refuse another one only after it was asked."""


def register(app: typer.Typer) -> None:
    """Make the command of this module known."""
    app.command(
        epilog=example(
            "meterfeed serve --schedules data/schedules.example.toml --check",
            "meterfeed serve --schedules data/schedules.example.toml",
            "meterfeed serve --save-account nordkraft",
        )
    )(serve)
    app.command(
        epilog=example("meterfeed work", "meterfeed work --wait 3600", "meterfeed work --partition 17")
    )(work)


def serve(
    schedules: Annotated[
        Path, typer.Option(metavar="FILE", help="Which flow runs when; see data/schedules.example.toml.")
    ] = DEFAULT,
    check: Annotated[bool, typer.Option("--check", help="Only check the file; ask no server.")] = False,
    save_account: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Store the credentials of this environment in Prefect as a block, and stop. Lowercase letters, "
            "digits and dashes.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=64, help="Runs at the same time.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Run the flows on their schedules until Ctrl-C; needs a Prefect server (PREFECT_API_URL)."""
    if save_account is not None and not BLOCK_NAME.fullmatch(save_account):
        raise typer.BadParameter(
            "--save-account takes lowercase letters, digits and dashes, such as nordkraft"
        )

    async def work(session: Session) -> Summary:
        if save_account is not None:
            return await _save(session, save_account)
        return await _serve(session, schedules, check=check, limit=limit)

    needs = Needs.API if save_account is not None else Needs.NOTHING
    conduct("serve", work, as_json=as_json, needs=needs, quiet=True)


async def _serve(session: Session, file: Path, *, check: bool, limit: int) -> Summary:
    from flows.schedules import load_schedules

    schedules = load_schedules(file)
    from flows import logs, serving

    logs.configure(session.settings.data_dir, alone=True)  # Prefect's import put its own in place of ours
    for schedule in schedules:
        serving.check_parameters(schedule)
    listed = [
        {"name": one.name, "flow": one.flow, "cron": one.cron, "timezone": one.timezone} for one in schedules
    ]
    if check:
        return _told(session, f"{len(schedules)} schedules are right.", schedules=listed)
    serving.require_server()
    automations = await serving.register_automations(session.settings)
    verdict = f"Serving {len(schedules)} schedules until Ctrl-C."
    session.announce(_told(session, verdict, schedules=listed, automations=automations))
    await serving.serve(schedules, session.stop.event, limit=limit)
    return _told(session, "No longer serving.")


async def _save(session: Session, name: str) -> Summary:
    from flows import blocks, logs, serving

    logs.configure(session.settings.data_dir, alone=True)  # as in `_serve`
    serving.require_server()
    async with serving.reaching_server():
        await blocks.save_account(name, session.settings)
    return _told(session, "The account is stored as a block.", account=name)


def _told(session: Session, verdict: str, **extra: object) -> Summary:
    return Summary(None, "serve", session.settings.environment.value, Exit.OK, verdict, extra=dict(extra))


def work(
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="End after so long without anything to do.")
    ] = 0.0,
    partition: Annotated[
        int | None, typer.Option(min=0, help="Send this partition, if nobody does, and end.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Take a hand in a run that another machine shares (METERFEED_SHARED): claim partitions and send them."""

    async def work(session: Session) -> Summary:
        from flows.wiring import carry_out

        return await carry_out(
            "work",
            settings=session.settings,
            wait=wait,
            lane=None if partition is None else partition + 1,
            notice=session.notice,
            stopping=session.stop.asked,
        )

    conduct("work", work, as_json=as_json, quiet=quiet)
