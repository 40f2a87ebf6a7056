"""Without an account: `demo` and `sandbox`, the API on this machine."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from flows import console
from flows.commands.options import AsJson, Quiet, example
from flows.conduct import Session, conduct
from flows.endings import usage_ending
from flows.settings import Environment, Needs, Secret, Settings
from schemas.errors import AccountError
from schemas.masking import printable
from schemas.outcomes import Exit
from schemas.summary import Summary

if TYPE_CHECKING:
    from sandbox.server import Sandbox

DEMO_ROWS: Final = 12_000
DEMO_EXPORT: Final = "kunder-demo.csv"
DEMO_PROFILE: Final = "nordkraft"
DEMO_KEPT: Final = 3
"""Folders of earlier demos that are left lying."""
DEMO_FAULTS: Final[dict[str, Any]] = {
    "seed": 7,
    "rules": {"reject_fraction": 0.0004},
    "fault": [
        {"kind": "applied-then-503", "on": "batch", "at": [3]},
        {"kind": "applied-then-dropped", "on": "batch", "at": [6]},
    ],
}
"""What goes wrong in the demo: a few records are refused, two answers are lost after the work was done."""


def register(app: typer.Typer) -> None:
    """Make the commands of this module known."""
    app.command(epilog=example("meterfeed demo"))(demo)
    app.command(
        epilog=example(
            "meterfeed sandbox --port 8080 --faults storm",
            "meterfeed sandbox --semantics a=prefix,b=skip,d=reads-lag --faults lost-answers",
            "meterfeed sandbox --wire --faults wire-storm",
        )
    )(sandbox)


def demo(
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows of the sample export.")] = DEMO_ROWS,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Start the sandbox, load a sample export, load it again, show what happened. Needs no account."""

    async def work(session: Session) -> Summary:
        return await _demo(session, rows)

    conduct(
        "demo",
        work,
        as_json=as_json,
        needs=Needs.NOTHING,
        quiet=quiet,
        environ=_data_dir_alone(),
        show=_show_demo,
    )


def sandbox(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where to listen on loopback; 0: a free port.")
    ] = 8080,
    faults: Annotated[
        str | None, typer.Option(metavar="PLAN", help="How to misbehave: a plan's name or file.")
    ] = None,
    semantics: Annotated[
        str | None,
        typer.Option(
            metavar="CELL", help="What the vendor leaves open: axes as a=prefix,b=skip, or cell=0 to 1349."
        ),
    ] = None,
    wire: Annotated[
        bool,
        typer.Option("--wire", help="Speak HTTP byte by byte, so that faults of the wire can be played."),
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Of every draw in the plan.")] = None,
    state_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep what the API holds there, and take it up again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Be the API on this machine until Ctrl-C; prints the settings to copy into another terminal."""

    async def work(session: Session) -> Summary:
        return await _serve(
            session,
            state_dir=state_dir,
            make=lambda: _sandbox(
                port, faults, semantics=semantics, wire=wire, seed=seed, state_dir=state_dir
            ),
            port=port,
        )

    conduct(
        "sandbox",
        work,
        as_json=as_json,
        needs=Needs.NOTHING,
        quiet=True,
        environ=_data_dir_alone(),
        show=_show_sandbox,
    )


def _data_dir_alone() -> dict[str, str]:
    """The environment without an API: what is set for a real tenant is no business of a try-out."""
    name = "METERFEED_DATA_DIR"
    return {name: os.environ[name]} if name in os.environ else {}


# --------------------------------------------------------------------------- demo
async def _demo(session: Session, rows: int) -> Summary:
    from flows.wiring import carry_out
    from sandbox.server import Sandbox

    folder = _fresh_folder(session.settings.data_dir / "demo")
    export = folder / DEMO_EXPORT
    await _write_export(session, export, rows)
    with Sandbox(0, DEMO_FAULTS) as api:
        settings = _sandbox_settings(session.settings, api, folder)

        async def sync() -> Summary:
            return await carry_out(
                "sync",
                exports=[str(export)],
                profiles=[DEMO_PROFILE],
                settings=settings,
                notice=session.notice,
                stopping=session.stop.asked,
            )

        first = await sync()
        if first.exit_code not in (Exit.OK, Exit.DONE_WITH_REJECTS):
            return replace(first, command="demo")
        effects_before, requests_before = len(api.effects()), _mutating(api)
        second = await sync()
        again = {
            "requests": _mutating(api) - requests_before,
            "effects": len(api.effects()) - effects_before,
            "exit_code": int(second.exit_code),
        }
    if not session.stop.requested and (again["requests"] or again["effects"]):
        raise AccountError("The second load of the same export changed something in the sandbox.")
    return replace(first, command="demo", extra={**first.extra, "second_sync": again})


def _show_demo(summary: Summary) -> None:
    console.show_summary(summary)
    again = summary.extra.get("second_sync")
    if again is not None:
        console.show_line(f"Loading the same export again sent {again['requests']} changing requests.")


async def _write_export(session: Session, path: Path, rows: int) -> None:
    from pipeline.ports import Notice
    from sandbox.portfolio import write_portfolio

    write_portfolio(
        path, rows=rows, progress=lambda done: session.notice(Notice("generate", done, rows, "rows"))
    )


def _mutating(api: Sandbox) -> int:
    """Requests that could change something, as the sandbox counted them."""
    from sandbox.tokens import TOKEN_PATH

    return sum(
        line["method"] not in ("GET", "HEAD") and line["path"] != TOKEN_PATH for line in api.requests()
    )


def _fresh_folder(parent: Path) -> Path:
    """A new folder for one demo; those of the last few stay to be looked at."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    folder = parent / f"{stamp}-{secrets.token_hex(2)}"
    folder.mkdir(mode=0o700)
    earlier = sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    for old in earlier[: -1 - DEMO_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def _sandbox_settings(settings: Settings, api: Sandbox, folder: Path) -> Settings:
    """Settings for a sandbox nobody else knows: a throw-away key, a ledger of its own, no long waits."""
    return replace(
        settings,
        environment=Environment.SANDBOX,
        data_dir=folder,
        ledger=Secret(f"sqlite:///{folder}/ledger.sqlite"),
        base_url=api.base_url,
        token_url=api.token_url,
        client_id=api.client_id,
        client_secret=Secret(api.client_secret),
        id_key=Secret(secrets.token_hex(32)),
        settle=1.0,
    )


# --------------------------------------------------------------------------- sandbox
def _sandbox(port: int, faults: str | None, **how: Any) -> Sandbox:
    from sandbox.server import Sandbox

    return Sandbox(port, faults, **how)


async def _serve(
    session: Session, *, make: Callable[[], Sandbox], port: int, state_dir: Path | None
) -> Summary:
    try:
        api = make()
    except ValueError as problem:  # the sentence is about the plan, which the caller wrote
        return usage_ending(printable(str(problem)), command="sandbox")
    except OSError as problem:
        return usage_ending(f"Port {port} or the plan cannot be used: {problem.strerror}.", command="sandbox")
    with api:
        session.announce(
            Summary(
                run_id=None,
                command="sandbox",
                environment=Environment.SANDBOX.value,
                exit_code=Exit.OK,
                verdict=f"The sandbox listens on {api.origin} until Ctrl-C.",
                extra={"settings": _exports(api, session.settings.data_dir, state_dir), "port": api.port},
            )
        )
        await session.stop.event.wait()
    return Summary(None, "sandbox", Environment.SANDBOX.value, Exit.OK, "The sandbox has stopped.")


def _show_sandbox(summary: Summary) -> None:
    exports = summary.extra.get("settings")
    if exports is None:
        console.show_summary(summary)
        return
    for name, value in exports.items():
        console.show_line(f"export {name}={shlex.quote(value)}")
    console.show_line(f"# {summary.verdict} Copy these lines into another terminal.")


def _exports(api: Sandbox, data_dir: Path, state_dir: Path | None) -> dict[str, str]:
    """What a loader in another terminal must be told; its ledger lives and dies with this sandbox."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    home = state_dir.absolute() / "meterfeed" if state_dir else data_dir / "sandbox" / f"{stamp}-{api.port}"
    return {
        "METERFEED_ENVIRONMENT": Environment.SANDBOX.value,
        "METERFEED_BASE_URL": api.base_url,
        "METERFEED_TOKEN_URL": api.token_url,
        "METERFEED_CLIENT_ID": api.client_id,
        "METERFEED_CLIENT_SECRET": api.client_secret,
        "METERFEED_ID_KEY_FILE": str(_key_file(home)),
        "METERFEED_DATA_DIR": str(home),
    }


def _key_file(home: Path) -> Path:
    """The id key that goes with the ledger in `home`, made when there is none."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = home / "id-key"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file
