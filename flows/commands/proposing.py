"""`profile`: look at an export and propose a profile. It reads the start of one file and loads nothing."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated

import typer

from flows.commands.options import AsJson, example
from flows.conduct import Session, conduct
from flows.settings import Needs
from schemas.outcomes import Exit
from schemas.summary import Summary


def register(app: typer.Typer) -> None:
    """Make the command of this module known."""
    app.command(
        epilog=example(
            "meterfeed profile data/samples/kunder-300.csv",
            "meterfeed profile data/samples/premises-60.csv --name acme",
        )
    )(profile)


def profile(
    export: Annotated[
        str,
        typer.Argument(
            metavar="EXPORT", help="One file or object, as a customer delivers it.", show_default=False
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="The profile's name; from the file's if left out."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at an export and propose a profile, every line saying how sure it is. Nothing is loaded."""

    async def work(session: Session) -> Summary:
        from connectors.exports.sniff import look_at
        from connectors.reference import load_reference
        from pipeline.propose import propose

        proposal = propose(look_at(export), name=name or _name_after(export), reference=load_reference())
        asked = len(proposal.questions)
        return Summary(
            None,
            "profile",
            session.settings.environment.value,
            Exit.OK,
            f"A proposal, {proposal.sureness} at its weakest"
            + (f", with {asked} questions." if asked else "."),
            extra={
                "profile": proposal.toml,
                "sureness": proposal.sureness.value,
                "questions": proposal.questions,
            },
        )

    conduct("profile", work, as_json=as_json, needs=Needs.NOTHING, quiet=True, show=_show, only_tells=True)


def _name_after(export: str) -> str:
    """The letters of the file's name: a profile is for many files, and a digit may be a customer's."""
    stem = re.sub(r"[^a-z]+", "-", PurePath(export).name.split(".")[0].lower()).strip("-")
    return stem[:40] or "export"


def _show(summary: Summary) -> None:
    """The profile itself, so that it can be sent into a file; what stopped the look goes where errors go."""
    if summary.error is None:
        typer.echo(summary.extra["profile"], nl=False)
        typer.echo(summary.verdict, err=True)
        return
    from flows import console

    console.show_summary(summary)
