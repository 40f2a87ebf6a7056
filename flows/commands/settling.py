"""After the main job and around it: `apply`, `resume`, `backfill`, `adopt`, `reconcile`, `move`, `erase`."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Any

import typer

from flows import console
from flows.commands.options import AsJson, Exports, Profiles, Quiet, example
from flows.conduct import Session, conduct
from schemas.outcomes import Exit
from schemas.summary import Summary


class Which(StrEnum):
    """Users that `reconcile` reads back."""

    ALL = "all"
    TOUCHED = "touched"
    SAMPLE = "sample"


Afresh = Annotated[bool, typer.Option(help="Begin anew instead of going on where a killed one was.")]


def register(app: typer.Typer) -> None:
    """Make the commands of this module known."""
    app.command(epilog=example("meterfeed apply 3f1c0a9be2d47788a1b2c3d4e5f60718"))(apply)
    app.command(epilog=example("meterfeed resume", "meterfeed resume 20260101-0003 --profile nordkraft"))(
        resume
    )
    app.command(epilog=example("meterfeed backfill 'exports/kunder-*.csv' --profile nordkraft"))(backfill)
    app.command(
        epilog=example("meterfeed adopt", "meterfeed adopt --profile nordkraft", "meterfeed adopt --afresh")
    )(adopt)
    app.command(
        epilog=example("meterfeed reconcile --users all", "meterfeed reconcile --users sample --rate 20")
    )(reconcile)
    app.command(
        epilog=example(
            "meterfeed move 1365caf1-fa04-80b1-98ff-1618860f77d0 --to-test-area 1",
            "meterfeed move 1365caf1-fa04-80b1-98ff-1618860f77d0 --to 60.1,10.2",
        )
    )(move)
    app.command(epilog=example("meterfeed purge --days 30"))(purge)
    app.command(epilog=example("meterfeed erase 3880a832-f483-8b6a-998d-6109d3a54b06 --yes"))(erase)


def _profile(what_for: str) -> Any:
    """`--profile` of a command that reads no export."""
    return typer.Option("--profile", "-p", metavar="PROFILE", help=what_for)


def apply(
    plan: Annotated[
        str,
        typer.Argument(
            metavar="PLAN",
            help="The digest of a plan, or its first 8 digits or more, which approves it; or its run, which does not.",
        ),
    ],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Do exactly the plan that `plan` showed, or that a guard stopped and a person has looked at."""
    _settle("apply", as_json=as_json, quiet=quiet, run=plan)


def resume(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Only this run; all of them if left out.")
    ] = None,
    profile: Annotated[
        list[str] | None,
        _profile(
            "Go on under the \\[guards] this profile has by now, instead of those the run was planned with."
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Settle everything unfinished: what is in doubt is read back, what was not sent is sent."""
    _settle("resume", as_json=as_json, quiet=quiet, run=run, profiles=profile or [])


def backfill(exports: Exports, profile: Profiles, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Load many exports in order, one at a time, skipping what is done. Run it again to go on."""
    _settle("backfill", as_json=as_json, quiet=quiet, exports=exports, profiles=profile)


def adopt(
    profile: Annotated[
        list[str] | None,
        _profile(
            "The one profile that names all the API holds: its full exports may remove what they do not name. "
            "Without it, nothing of it is removed for not being named."
        ),
    ] = None,
    afresh: Afresh = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build the ledger from what the API holds: for a filled tenant, or a lost ledger. Reads only.

    Run it again after it was killed: it goes on where it was.
    """
    if profile and len(profile) > 1:
        raise typer.BadParameter("the API does not say which profile a record is of: give one, or none")
    _settle("adopt", as_json=as_json, quiet=quiet, profiles=profile or [], afresh=afresh)


def reconcile(
    users: Annotated[
        Which,
        typer.Option(
            help="All, those the newest run touched, or 1,000 drawn at random, with what that proves."
        ),
    ] = Which.TOUCHED,
    rate: Annotated[
        float,
        typer.Option(min=0.1, max=10_000, help="Requests per second at most; METERFEED_RATE holds as well."),
    ] = 50.0,
    afresh: Afresh = False,
    profile: Annotated[
        list[str] | None,
        _profile("Not needed: what the API holds is compared with what the ledger holds, of all profiles."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Read back and compare what the API holds with what the ledger believes. Reads only.

    Run it again after it was killed: it goes on where it was. All that differs is in drift.parquet and drift.csv.
    """
    _settle(
        "reconcile",
        as_json=as_json,
        quiet=quiet,
        run=users.value,
        profiles=profile or [],
        rate=rate,
        afresh=afresh,
    )


def move(
    location: Annotated[str, typer.Argument(metavar="LOCATION", help="The id of a location.")],
    to: Annotated[str | None, typer.Option(metavar="LAT,LON", help="Degrees, with a decimal point.")] = None,
    to_test_area: Annotated[
        int | None, typer.Option(min=1, max=2, help="Into a test area of the vendor's sandbox.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Change the coordinates of one location, for example in or out of a test area."""
    if (to is None) == (to_test_area is None):
        raise typer.BadParameter("give either --to or --to-test-area")
    degrees = None if to is None else _degrees(to)

    async def work(session: Session) -> Summary:
        from flows.wiring import carry_out, place_of_test_area

        place = degrees or place_of_test_area(session.settings, to_test_area or 0)
        return await carry_out(
            "move",
            settings=session.settings,
            run=location,
            place=place,
            notice=session.notice,
            stopping=session.stop.asked,
        )

    conduct("move", work, as_json=as_json, quiet=quiet)


def _degrees(text: str) -> tuple[float, float]:
    try:
        latitude, longitude = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter("--to takes LAT,LON such as 60.1,10.2") from None
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise typer.BadParameter("--to takes degrees: latitude first, -90 to 90, then longitude, -180 to 180")
    return latitude, longitude


def purge(
    days: Annotated[float, typer.Option(min=0, help="Runs that ended longer ago than this.")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Remove customers' values from old runs: quarantines, corrections, spools. Reports and the ledger stay."""
    _settle("purge", as_json=as_json, quiet=True, days=days)


def erase(
    user: Annotated[str, typer.Argument(metavar="USER", help="The id of a user, as it goes on the wire.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget one person: remove the user and all that hangs on it from the API and the ledger.

    The customer loses this month's compensation. It cannot be undone.
    """
    if not yes and not as_json:
        _ask_first("The customer loses this month's compensation. Remove the user?")
    elif not yes:
        raise typer.BadParameter("with --json, say --yes as well: removing a user cannot be undone")
    _settle("erase", as_json=as_json, quiet=True, run=user)


def _ask_first(question: str) -> None:
    """Go on only after a yes. A no, Ctrl-C and an end of the input are one: somebody broke it off."""
    agreed = False
    with suppress(typer.Abort):
        agreed = typer.confirm(question)
    if not agreed:
        console.show_line("Nothing was removed. (exit 130)")
        raise typer.Exit(int(Exit.INTERRUPTED))


def _settle(command: str, *, as_json: bool, quiet: bool, **asked: Any) -> None:
    async def work(session: Session) -> Summary:
        from flows.wiring import carry_out

        return await carry_out(
            command,
            settings=session.settings,
            notice=session.notice,
            stopping=session.stop.asked,
            **asked,
        )

    conduct(command, work, as_json=as_json, quiet=quiet)
