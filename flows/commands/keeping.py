"""The ledger itself: look at it, move it to another database, tell it of the tenant's new name or address: `ledger`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import console
from flows.commands.options import AsJson, Quiet, example
from flows.conduct import Session, conduct
from flows.settings import Needs
from schemas.outcomes import Exit
from schemas.summary import Summary

if TYPE_CHECKING:
    from connectors.ledger.moving import TableSum


class Action(StrEnum):
    """What to do with the ledger."""

    SHOW = "show"
    MOVE = "move"
    RELINK = "relink"


def register(app: typer.Typer) -> None:
    """Make the command of this module known."""
    app.command(
        epilog=example(
            "meterfeed ledger",
            "meterfeed ledger move --to postgresql+psycopg://meterfeed@db.example.org/nordkraft",
            "meterfeed ledger relink",
        )
    )(ledger)


def ledger(
    action: Annotated[
        Action,
        typer.Argument(
            help="show: version, keys, runs, what is open and held. move: into an empty database; the ledger it "
            "comes from can only be read after. relink: the tenant has other credentials or another address now; "
            "believed when the API holds what the ledger knows."
        ),
    ] = Action.SHOW,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where to move: sqlite:///PATH or postgresql+psycopg://USER@HOST/DATABASE, without a password.",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Look at the ledger, move it to another database, or link it to its tenant's new name or address."""
    if (to is None) == (action is Action.MOVE):
        raise typer.BadParameter(
            "--to names where to move; `ledger move` needs it, and nothing else takes it"
        )
    if action is Action.RELINK:
        conduct("ledger", _relink, as_json=as_json, quiet=quiet)
    target = "" if to is None else _checked(to)

    async def work(session: Session) -> Summary:
        return _move(session, target) if target else _show(session)

    show = _show_tables if target else _show_facts
    conduct(
        "ledger",
        work,
        as_json=as_json,
        needs=Needs.NOTHING,
        quiet=quiet,
        show=show,
        only_tells=not target,
    )


def _checked(to: str) -> str:
    from connectors.ledger.moving import target_problem

    if (problem := target_problem(to)) is not None:
        raise typer.BadParameter(f"--to {problem}")
    return to


def _move(session: Session, target: str) -> Summary:
    from connectors.ledger.moving import move_ledger
    from pipeline.ports import Notice

    def told(table: str, done: int, total: int) -> None:
        session.notice(Notice(f"move {table}", done, total, "rows"))

    source = session.settings.ledger.get_secret_value()
    tables = move_ledger(source, target, told=told)
    rows = sum(one.rows for one in tables)
    return _told(
        session,
        f"Moved: {len(tables)} tables with {rows} rows are the same on both sides. Set METERFEED_LEDGER to the "
        "new place; the old one can only be read.",
        moved=[_line(one) for one in tables],
    )


def _line(one: TableSum) -> dict[str, Any]:
    return {"table": one.table, "rows": one.rows, "sha256": one.sha256}


def _show(session: Session) -> Summary:
    from connectors.ledger.store import read_ledger

    found = read_ledger(session.settings.ledger.get_secret_value())
    facts = None
    if found is not None:
        try:
            facts = found.describe()
        finally:
            found.close()
    if facts is None:
        return _told(session, "There is no ledger yet.", ledger=None)
    if facts["moved_to"]:
        return _told(session, f"This ledger was moved to {facts['moved_to']}.", ledger=facts)
    open_records = sum(facts["open_records"].values())
    return _told(session, f"The ledger is in force; {open_records} records are open.", ledger=facts)


async def _relink(session: Session) -> Summary:
    from flows.wiring import carry_out

    return await carry_out(
        "relink",
        settings=session.settings,
        notice=session.notice,
        stopping=lambda: session.stop.requested,
    )


def _told(session: Session, verdict: str, **extra: Any) -> Summary:
    return Summary(None, "ledger", session.settings.environment.value, Exit.OK, verdict, extra=extra)


# ------------------------------------------------------------------ for people
def _show_tables(summary: Summary) -> None:
    lines = [[one["table"], one["rows"], one["sha256"][:16]] for one in summary.extra.get("moved", [])]
    if lines:
        console.show_table(("table", "rows", "sha256"), lines)
    console.show_summary(summary)


def _show_facts(summary: Summary) -> None:
    facts = summary.extra.get("ledger") or {}
    lines = [
        [name.replace("_", " "), _in_words(value)]
        for name, value in facts.items()
        if value not in (None, False)
    ]
    if lines:
        console.show_table(("ledger", ""), lines)
    console.show_summary(summary)


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "none"
    return str(value)
