"""The one place where connectors are put into the ports of the pipeline."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from connectors.api import ApiClient
from connectors.api.rate import LeasedTurns
from connectors.exports import OpenedExport, open_exports
from connectors.exports.places import find_places
from connectors.ledger import open_ledger
from connectors.ledger.address import file_of
from connectors.ledger.claims import join_ledger
from connectors.ledger.journal import Journal
from connectors.profiles import load_profiles
from connectors.reference import load_reference
from connectors.room import require_room
from connectors.shared_spool import SharedRoot
from connectors.shelf import FileShelf
from flows.settings import CURE, Settings
from pipeline import adopting, reconciling, sharing, upkeep
from pipeline import run as story
from pipeline.crew import Crew
from pipeline.job import fingerprint
from pipeline.order import Opened, Order, Ports
from pipeline.ports import Api, Durable, LedgerBook, Notice, World
from pipeline.session import InterruptedEarly
from schemas.errors import SettingsError
from schemas.ledger import FormerKey, Identity
from schemas.outcomes import Exit
from schemas.profile import Profile
from schemas.sharing import Standing
from schemas.summary import Summary

NO_KEY: Final = "nothing is sent under this key, which is no secret"
"""What ids are made with where they stay on this machine and no key is set."""

Stopping = Callable[[], Exit | bool | None]
"""Whether somebody asked the run to end; by the exit code that says how, where it is known."""

COMMANDS: Final = {
    "quality": story.quality,
    "plan": story.plan,
    "sync": story.sync,
    "apply": story.apply,
    "resume": story.resume,
    "backfill": story.backfill,
    "adopt": adopting.adopt,
    "reconcile": reconciling.reconcile,
    "relink": upkeep.relink,
    "move": upkeep.move,
    "erase": upkeep.erase,
    "purge": upkeep.purge,
    "work": sharing.work,
}
"""The commands that run through the pipeline."""


async def carry_out(
    command: str,
    *,
    settings: Settings,
    exports: Sequence[str] = (),
    profiles: Sequence[str] = (),
    approve: str | None = None,
    delete_vanished: bool = False,
    run: str | None = None,
    after: Sequence[str] = (),
    place: tuple[float, float] | None = None,
    rate: float | None = None,
    afresh: bool = False,
    days: float = 30.0,
    wait: float = 0.0,
    lane: int | None = None,
    notice: Callable[[Notice], None] = lambda _notice: None,
    stopping: Stopping = lambda: None,
) -> Summary:
    """Carry out one command of the pipeline.

    Args:
        command: a name of `COMMANDS`.
        settings: where and how.
        exports: files, folders, globs or URLs.
        profiles: paths or names; each export is read by the first that fits.
        approve: digest of a plan a person let through.
        delete_vanished: remove what full exports have not named for long enough.
        run: a run, a plan or a record, for the commands that take one.
        after: runs that did the exports before these, for `backfill`.
        place: latitude and longitude, for `move`.
        rate: requests per second at most, for `reconcile`.
        afresh: begin anew, for `reconcile` and `adopt`.
        days: how long values are kept, for `purge`.
        wait: seconds without work after which `work` ends.
        lane: the one partition `work` is to send, counted from 1.
        notice: told of progress.
        stopping: whether somebody asked the run to end, and the exit code of how.

    Raises:
        MeterfeedError: what stopped it before there was an account.
        asyncio.CancelledError: it was asked to end before there was an account.
    """
    order = Order(
        command=command,
        environment=settings.environment.value,
        exports=tuple(exports),
        profiles=load_profiles(profiles) if profiles else (),
        approve=approve,
        delete_vanished=delete_vanished,
        run=run,
        after=tuple(after),
        place=place,
        rate=rate,
        afresh=afresh,
        days=days,
        wait=wait,
        lane=lane,
    )
    try:
        ports = ports_of(settings, notice=notice, stopping=stopping, command=command)
        return await COMMANDS[command](order, ports)
    except InterruptedEarly:
        raise asyncio.CancelledError from None


def ports_of(
    settings: Settings, *, notice: Callable[[Notice], None], stopping: Stopping, command: str = ""
) -> Ports:
    """The world as these settings describe it, for a command; nothing is opened yet."""
    world = World(
        now=time.time,
        monotonic=time.monotonic,
        sleep=asyncio.sleep,
        random=random.SystemRandom().random,
        notice=notice,
    )
    shelf = FileShelf(settings.data_dir, None if settings.shared is None else SharedRoot(settings.shared))
    return Ports(
        world=world,
        open_exports=_opened,
        list_exports=lambda arguments: [found.url for found in find_places(arguments)],
        shelf=shelf,
        reference=load_reference(),
        key=NO_KEY if settings.id_key is None else settings.id_key_text(),
        former_keys=settings.former_key_texts(),
        ledger=lambda: _ledger(settings, world, command, shelf),
        api=lambda: _api(settings, world),
        chunk_records=settings.chunk_size,
        concurrency=settings.concurrency,
        rate=settings.rate,
        settle_seconds=settings.settle,
        room=partial(_require_room, settings),
        stopping=lambda: bool(stopping()),
        interruption=lambda: _exit_of(stopping()),
        crew=None if settings.shared is None else lambda: _crew(settings, world),
        lease_seconds=settings.lease,
    )


def _exit_of(asked: Exit | bool | None) -> Exit:
    return asked if isinstance(asked, Exit) else Exit.INTERRUPTED


def _require_room(settings: Settings, data: int, ledger: int) -> None:
    file = file_of(settings.ledger.get_secret_value())
    require_room({settings.data_dir: data} | ({} if file is None else {file: ledger}))


def _opened(arguments: Sequence[str], profiles: Sequence[Profile]) -> Opened:
    return [(export, _as_read(export)) for export in open_exports(arguments, profiles)]


def _as_read(export: OpenedExport) -> Profile:
    """The profile of an export; a correction speaks only for its own rows, however full the export was."""
    if not export.is_correction:
        return export.profile
    delta = export.profile.export.model_copy(update={"kind": "delta"})
    return export.profile.model_copy(update={"export": delta})


@asynccontextmanager
async def _ledger(
    settings: Settings, world: World, command: str, shelf: FileShelf
) -> AsyncIterator[tuple[LedgerBook, Durable]]:
    """The ledger under its lock, with the journal that commits for many at once."""
    url = settings.ledger.get_secret_value()
    with open_ledger(
        url,
        identity=_identity(settings),
        now=world.now(),
        mark_in=settings.data_dir,
        rebuilding=command == "adopt",
        relinking=command == "relink",
        by=command,
    ) as ledger:
        for run_id in ledger.dropped_plans:  # customers' values stay no longer than they are needed
            with shelf.open(run_id) as run_shelf:
                run_shelf.drop_spool()
        async with Journal(ledger) as journal:
            yield ledger, journal


@asynccontextmanager
async def _crew(settings: Settings, world: World) -> AsyncIterator[Crew]:
    """One of several workers: a ledger beside the run's, and a pace that all workers keep together."""
    url = settings.ledger.get_secret_value()
    with join_ledger(url, identity=_identity(settings)) as ledger:
        async with Journal(ledger) as journal:
            turns = None
            if (rate := settings.rate) is not None:

                async def lease(count: int) -> float:
                    return await journal(ledger.lease_turns, count, rate=rate)

                turns = LeasedTurns(lease, rate, monotonic=world.monotonic, sleep=world.sleep)
            async with _api(settings, world, turns) as api:
                yield Crew(ledger, journal, api, f"{socket.gethostname()}:{os.getpid()}")


def standing(settings: Settings) -> Standing | None:
    """How far the run is that is shared at this moment; None when there is none."""
    with join_ledger(settings.ledger.get_secret_value(), identity=_identity(settings)) as ledger:
        return ledger.standing()


@asynccontextmanager
async def _api(settings: Settings, world: World, turns: LeasedTurns | None = None) -> AsyncIterator[Api]:
    if settings.client_secret is None:
        raise SettingsError("METERFEED_CLIENT_SECRET is not set.", cure=CURE)
    client = ApiClient(
        settings.base_url or "",
        settings.token_url or "",
        settings.client_id or "",
        settings.client_secret,
        monotonic=world.monotonic,
        sleep=world.sleep,
        random=world.random,
        rate=settings.rate,
        turns=turns,
        max_connections=settings.concurrency,
    )
    async with client:
        yield client


def _identity(settings: Settings) -> Identity:
    """Whose ledger this is. The client id is named by a keyed hash, so the ledger does not give it away."""

    def tenant_under(key: str) -> str:
        return hmac.new(key.encode(), (settings.client_id or "").encode(), hashlib.sha256).hexdigest()[:16]

    key = settings.id_key_text()
    former = tuple(FormerKey(fingerprint(one), tenant_under(one)) for one in settings.former_key_texts())
    return Identity(tenant_under(key), settings.base_url or "", fingerprint(key), former)


def place_of_test_area(settings: Settings, number: int) -> tuple[float, float]:
    """The centre of a test area, in degrees.

    Raises:
        SettingsError: the environment is production, which has no test areas.
    """
    if settings.environment.value != "sandbox":
        raise SettingsError(
            "Test areas belong to the sandbox; METERFEED_ENVIRONMENT says production.",
            cure="Use --to LAT,LON.",
        )
    [area] = [area for area in load_reference().test_areas if area.number == number]
    return area.latitude, area.longitude
