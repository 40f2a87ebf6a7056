"""The main job: `quality`, `plan`, `sync`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import AsJson, Exports, Profiles, Quiet, example
from flows.conduct import Session, conduct
from flows.settings import Needs
from schemas.summary import Summary

Approve = Annotated[
    str | None,
    typer.Option(
        metavar="DIGEST", help="Let exactly this plan through its guards; `plan` prints the digest."
    ),
]

DeleteVanished = Annotated[
    bool,
    typer.Option(
        "--delete-vanished",
        help="Also remove what full exports have not named for long enough. Needs --approve; a removed user "
        "loses this month's compensation.",
    ),
]


def register(app: typer.Typer) -> None:
    """Make the commands of this module known."""
    sample = "data/samples/kunder-300.csv --profile nordkraft"
    app.command(epilog=example(f"meterfeed quality {sample}"))(quality)
    app.command(epilog=example(f"meterfeed plan {sample}", f"meterfeed plan {sample} --delete-vanished"))(
        plan
    )
    digest = "3f1c0a9be2d47788a1b2c3d4e5f60718"
    app.command(
        epilog=example(
            f"meterfeed sync {sample}",
            f"meterfeed sync {sample} --approve {digest}",
            f"meterfeed sync {sample} --delete-vanished --approve {digest}",
        )
    )(sync)


def quality(exports: Exports, profile: Profiles, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Judge exports and report; send nothing. Needs no account."""
    _load("quality", exports, profile, as_json=as_json, quiet=quiet, needs=Needs.NOTHING)


def plan(
    exports: Exports,
    profile: Profiles,
    delete_vanished: DeleteVanished = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show what would be created, updated, left alone or vanish, and how long it would take; send nothing."""
    _load("plan", exports, profile, as_json=as_json, quiet=quiet, delete_vanished=delete_vanished)


def sync(
    exports: Exports,
    profile: Profiles,
    approve: Approve = None,
    delete_vanished: DeleteVanished = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Plan and apply: the main job. Running it again sends nothing that has arrived already."""
    _load(
        "sync",
        exports,
        profile,
        as_json=as_json,
        quiet=quiet,
        approve=approve,
        delete_vanished=delete_vanished,
    )


def _load(
    command: str,
    exports: list[str],
    profiles: list[str],
    *,
    as_json: bool,
    quiet: bool,
    needs: Needs = Needs.API,
    approve: str | None = None,
    delete_vanished: bool = False,
) -> None:
    async def work(session: Session) -> Summary:
        from flows.wiring import carry_out

        return await carry_out(
            command,
            exports=exports,
            profiles=profiles,
            approve=approve,
            delete_vanished=delete_vanished,
            settings=session.settings,
            notice=session.notice,
            stopping=session.stop.asked,
        )

    conduct(command, work, as_json=as_json, needs=needs, quiet=quiet)
