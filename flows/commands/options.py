"""Arguments and options that several commands share, so that they are called and explained alike."""

from __future__ import annotations

from typing import Annotated

import typer

Exports = Annotated[
    list[str],
    typer.Argument(
        metavar="EXPORT...", help="Files, globs, or s3://, gs://, az:// URLs.", show_default=False
    ),
]
Profiles = Annotated[
    list[str],
    typer.Option(
        "--profile",
        "-p",
        metavar="PROFILE",
        help="Path of a profile, or its name under data/profiles. May be repeated: each export is read by "
        "the first profile whose \\[file] match fits its name.",
        show_default=False,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the summary as one JSON object, and nothing else on stdout.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


def example(*lines: str) -> str:
    """The last paragraph of a command's help: command lines that work as they stand."""
    return "Example:\n\n" + "\n\n".join(f"  {line}" for line in lines)
