"""What was asked for, and the world it is asked in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from pipeline.crew import Crew
from pipeline.ports import Api, Durable, Export, LedgerBook, Shelf, World
from schemas.outcomes import Exit
from schemas.profile import Profile
from schemas.reference import Reference

Opened = Sequence[tuple[Export, Profile]]


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for.

    Attributes:
        command: the name a person typed; kept with the run.
        environment: sandbox or production.
        exports: paths, globs, folders or URLs.
        profiles: each export is read by the first one that fits it.
        approve: digest of a plan that a person looked at and lets through its guards.
        delete_vanished: remove what full exports have not named for long enough.
        run: a run id, a plan digest or a record's id, for the commands that take one.
        after: runs that did the exports before these, for a `backfill` that is begun anew for each of its exports.
        place: latitude and longitude in degrees, for `move`.
        rate: requests per second at most, for `reconcile`; its own default when None.
        afresh: begin anew instead of going on where an interrupted one was, for `reconcile` and `adopt`.
        days: how long customers' values are kept, for `purge`.
        wait: seconds without work after which `work` ends.
        lane: the one partition `work` is to send, counted from 1; any when None.
    """

    command: str
    environment: str
    exports: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    approve: str | None = None
    delete_vanished: bool = False
    run: str | None = None
    after: tuple[str, ...] = ()
    place: tuple[float, float] | None = None
    rate: float | None = None
    afresh: bool = False
    days: float = 30.0
    wait: float = 0.0
    lane: int | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """The world of a run; wired in `flows/wiring.py`.

    Attributes:
        open_exports: opens the exports an order names, each with the profile that reads it.
        list_exports: the single exports the arguments stand for, in order.
        shelf: where runs keep their files.
        reference: country outlines and test areas.
        key: the tenant's secret for ids; any text where nothing is sent.
        former_keys: those it had before, oldest first.
        ledger: opens the ledger as its one writer, with the way to run operations on it.
        api: opens a connection to the API.
        stopping: whether somebody asked the run to end.
        room: raises `StorageError` unless so many bytes fit into the data directory, and so many into the ledger.
        interruption: the exit code of how.
        crew: makes this process one of several workers; None where runs are not shared.
        lease_seconds: after how long without a sign of life a worker has lost its partition.
    """

    world: World
    open_exports: Callable[[Sequence[str], Sequence[Profile]], Opened]
    list_exports: Callable[[Sequence[str]], list[str]]
    shelf: Shelf
    reference: Reference
    key: str = field(repr=False)
    former_keys: tuple[str, ...] = field(default=(), repr=False, kw_only=True)
    ledger: Callable[[], AbstractAsyncContextManager[tuple[LedgerBook, Durable]]] | None = None
    api: Callable[[], AbstractAsyncContextManager[Api]] | None = None
    chunk_records: int = 1000
    concurrency: int = 8
    rate: float | None = None
    settle_seconds: float = 30.0
    stopping: Callable[[], bool] = lambda: False
    room: Callable[[int, int], None] = lambda _data, _ledger: None
    interruption: Callable[[], Exit] = lambda: Exit.INTERRUPTED
    crew: Callable[[], AbstractAsyncContextManager[Crew]] | None = None
    lease_seconds: float = 60.0
