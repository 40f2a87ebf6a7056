"""`python -m sandbox`: the API on this machine."""

from __future__ import annotations

import argparse
import sys

from sandbox.faults import NAMED_PLANS, menu
from sandbox.semantics import Semantics
from sandbox.server import Sandbox, serve


def announcement(sandbox: Sandbox) -> str:
    """What a person needs to point a client at the sandbox, as shell settings."""
    return (
        "".join(f"export {name}={value}\n" for name, value in sandbox.settings.items())
        + f"# semantics: {sandbox.core.plan.semantics}; what it holds: {sandbox.origin}/_sandbox/state\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description="The Energy Coordination API on this machine, with a fault menu and an effect log.",
        epilog="example: python -m sandbox --port 8080 --faults lost-answers --state-dir /tmp/sandbox",
    )
    parser.add_argument(
        "--port", type=int, default=8080, help="where to listen on loopback; 0 takes a free port"
    )
    parser.add_argument("--faults", help=f"a .toml or .json file, or one of: {', '.join(NAMED_PLANS)}")
    parser.add_argument("--semantics", help="the cell: a=prefix,b=skip,… or cell=17")
    parser.add_argument("--seed", type=int, help="of every draw")
    parser.add_argument("--wire", action="store_true", help="be ready to play faults of the wire")
    parser.add_argument("--state-dir", help="keep the logs there, and take up what they say")
    parser.add_argument("--token-lifetime", type=float, default=3600.0, help="seconds a token lives")
    parser.add_argument("--menu", action="store_true", help="list every fault, and stop")
    given = parser.parse_args(arguments)
    if given.menu:
        for name, fault in menu().items():
            sys.stdout.write(f"{name:30} applied: {fault['applies']:7} {fault['about']}\n")
        return 0

    def announce(sandbox: Sandbox) -> None:
        sys.stdout.write(announcement(sandbox))
        sys.stdout.flush()

    try:
        serve(
            given.port,
            given.faults,
            semantics=Semantics.parse(given.semantics) if given.semantics else None,
            seed=given.seed,
            state_dir=given.state_dir,
            token_lifetime=given.token_lifetime,
            wire=given.wire,
            announce=announce,
        )
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
