"""The command line: `meterfeed COMMAND`. Parses, hands over to `flows/commands`, never prints a traceback.

With `--json` there is exactly one JSON object on stdout whatever happens, a wrong command line included.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from flows import streams
from flows.commands import keeping, loading, looking, proposing, serving, settling, trying

app = typer.Typer(
    name="meterfeed",
    help="Register an energy company's customers with the Energy Coordination API, every row accounted for.",
    epilog="No account needed: meterfeed demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables
    rich_markup_mode="rich",
)
for family in (trying, proposing, loading, settling, looking, keeping, serving):
    family.register(app)


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"meterfeed {version('meterfeed')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Register an energy company's customers with the Energy Coordination API, every row accounted for."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    streams.bear()
    if "--json" not in given:
        sys.exit(app(given, prog_name="meterfeed"))
    try:
        code = app(given, prog_name="meterfeed", standalone_mode=False)
    except typer.TyperException as problem:
        code = _refuse(problem.format_message(), given)
    except typer.Abort:
        code = _refuse("Aborted.", given)
    sys.exit(code)


def _refuse(message: str, given: Sequence[str]) -> int:
    from flows.conduct import print_document
    from flows.endings import usage_ending
    from schemas.masking import printable

    command = next((word for word in given if not word.startswith("-")), "")
    known = {getattr(info.callback, "__name__", "") for info in app.registered_commands}
    told = usage_ending(printable(message), command=command if command in known else "")
    print_document(told.to_json())
    return int(told.exit_code)
