"""What an operator reads when the ledger refuses: what is wrong, and what to do about it, to the word.

Whoever reads it has a run that stands still, and does what the cure says; so a cure may only change on purpose.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from connectors.ledger import Ledger, moving, open_ledger
from connectors.ledger.address import without_secrets
from connectors.ledger.frames import from_bytes
from connectors.ledger.mark import CURE, Mark, place_of, write_mark
from connectors.ledger.migrations import _copy, migrate
from connectors.ledger.moving import move_ledger
from connectors.ledger.opening import ARRIVING, MOVED, put_meta
from connectors.ledger.store import storage_trouble
from schemas.errors import AccountError, BusyError, MeterfeedError, SettingsError, StorageError
from schemas.ledger import FormerKey, Leaf, State
from tests.ledger.conftest import IDENTITY, begun, draft, manifest

OTHER_TENANT = (
    "Point METERFEED_LEDGER (or METERFEED_DATA_DIR) to the ledger of this tenant, or start an empty one and run "
    "`meterfeed adopt`. If this tenant only got other credentials or another address: `meterfeed ledger relink`."
)
WHERE = (
    "Check METERFEED_LEDGER and METERFEED_DATA_DIR: is there a folder of ours, on a disk that can be written?"
)
NEW_KEY = replace(IDENTITY, key="k2", tenant="t2")
ANNOUNCED = replace(NEW_KEY, former=(FormerKey(IDENTITY.key, IDENTITY.tenant),))


class Here:
    """A folder with a ledger that was opened once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "ledger.sqlite"
        self.url = f"sqlite:///{self.path}"
        with self.opened():
            pass

    def opened(self, identity=IDENTITY, **how):
        return open_ledger(self.url, identity=identity, now=1.0, **how)

    def open(self, identity=IDENTITY, **how) -> None:
        with self.opened(identity, **how):
            pytest.fail("opened")

    @contextmanager
    def written(self) -> Iterator[sa.Connection]:
        """Something else writes into the file."""
        engine = sa.create_engine(self.url)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def mark(self, **changed) -> None:
        """The mark of a ledger that had come further."""
        with self.opened() as ledger, ledger.engine.begin() as connection:
            written = replace(Ledger._how_far(connection), **changed)
        write_mark(place_of(self.folder, IDENTITY), written)


# ------------------------------------------------------------------ scenes
def tables_of_something_else(here: Here) -> None:
    with here.written() as connection:
        connection.exec_driver_sql("DROP TABLE meta")
    here.open()


def no_schema_version(here: Here) -> None:
    with here.written() as connection:
        connection.exec_driver_sql("DELETE FROM meta WHERE key = 'schema_version'")
    here.open()


def newer(here: Here) -> None:
    with here.written() as connection:
        migrate(connection, 99, here.path)


def moved_away(here: Here) -> None:
    with here.written() as connection:
        put_meta(connection, {MOVED: without_secrets("postgresql://u:pw@h:5433/db")})
    here.open()


def half_arrived(here: Here) -> None:
    with here.written() as connection:
        put_meta(connection, {ARRIVING: "x"})
    here.open()


def of_another_address(here: Here) -> None:
    here.open(replace(IDENTITY, base_url="http://elsewhere"))


def of_another_tenant(here: Here) -> None:
    here.open(replace(IDENTITY, tenant="another"))


def key_changed_without_a_word(here: Here) -> None:
    here.open(NEW_KEY)


def key_forgotten(here: Here) -> None:
    with here.opened(ANNOUNCED):
        pass
    here.open()


def keys_forgotten(here: Here) -> None:
    with here.opened(ANNOUNCED):
        pass
    here.open(replace(NEW_KEY, key="k3", former=(FormerKey("k9", "t9"),)))


def key_changed_under_runs(here: Here) -> None:
    with here.opened() as ledger:
        for _ in range(2):
            ledger.change_run(begun(ledger), state="sending")
    here.open(ANNOUNCED)


def gone(here: Here) -> None:
    here.mark()
    here.path.unlink()
    here.open(mark_in=here.folder)


def another_ledger(here: Here) -> None:
    here.mark(ledger="another")
    here.open(mark_in=here.folder)


def older(here: Here) -> None:
    here.mark(fence=9, moves=7)
    here.open(mark_in=here.folder)


def mark_is_damaged(here: Here) -> None:
    place_of(here.folder, IDENTITY).write_text("{}")
    here.open(mark_in=here.folder)


def mark_cannot_be_written(here: Here) -> None:
    (here.folder / "file").touch()
    write_mark(here.folder / "file" / "mark.json", Mark("x", 1, 1, 1))


def copy_cannot_be_made(here: Here) -> None:
    here.path.write_bytes(bytes(12_345))
    _copy(here.path, here.folder / "nowhere" / "copy")


def damaged(here: Here) -> None:
    with here.opened() as ledger:
        run = begun(ledger)
        ledger.hold([draft(run, f"{n}") for n in range(40)], state=State.PLANNED, reason="test")
    with here.path.open("r+b") as file:
        file.seek(here.path.stat().st_size - 8192)
        file.write(b"\xff" * 8192)
    here.open()


def busy(here: Here) -> None:
    with here.opened():
        here.open()


def lock_in_the_way(here: Here) -> None:
    (here.folder / "ledger.sqlite.lock").unlink()
    (here.folder / "ledger.sqlite.lock").mkdir()
    here.open()


def lock_is_a_link(here: Here) -> None:
    (here.folder / "ledger.sqlite.lock").unlink()
    (here.folder / "ledger.sqlite.lock").symlink_to(here.folder / "theirs")
    here.open()


def no_folder(here: Here) -> None:
    (here.folder / "file").touch()
    with open_ledger(f"sqlite:///{here.folder}/file/ledger.sqlite", identity=IDENTITY, now=1.0):
        pytest.fail("opened")


def a_folder_in_its_place(here: Here) -> None:
    (here.folder / "folder").mkdir()
    with open_ledger(f"sqlite:///{here.folder}/folder", identity=IDENTITY, now=1.0):
        pytest.fail("opened")


def stale_when_a_chunk_is_written(here: Here) -> None:
    with here.opened() as ledger:
        run = begun(ledger)
        Ledger(ledger.engine, ledger.path, fence=ledger.fence - 1).intend([draft(run, "a")], now=3.0)


def stale_when_anything_else_is_written(here: Here) -> None:
    with here.opened() as ledger:
        Ledger(ledger.engine, ledger.path, fence=ledger.fence - 1).remember({"a": "b"})


def split_that_loses(here: Here) -> None:
    with here.opened() as ledger:
        [chunk] = ledger.intend([draft(begun(ledger), "a", "b")], now=3.0)
        ledger.split(chunk.chunk_seq, [Leaf(manifest("a"), State.REJECTED)], now=4.0)


def page_is_damaged(here: Here) -> None:
    from_bytes(b"no page")


def move_to_itself(here: Here) -> None:
    move_ledger(here.url, here.url)


def nothing_to_move(here: Here) -> None:
    move_ledger(f"sqlite:///{here.folder}/nothing", here.url)


def move_onto_a_ledger(here: Here) -> None:
    other = f"sqlite:///{here.folder}/other"
    with open_ledger(other, identity=IDENTITY, now=1.0):
        pass
    move_ledger(here.url, other)


def copies_differ(here: Here) -> None:
    other = f"sqlite:///{here.folder}/other"
    with here.opened() as ledger, open_ledger(other, identity=IDENTITY, now=1.0) as there:
        begun(there)
        moving._compared(ledger, there)


REFUSALS: dict[Callable[[Here], None], tuple[type[MeterfeedError], str, str]] = {
    tables_of_something_else: (
        StorageError,
        "The database is no ledger: it holds tables of something else.",
        "Give the ledger a database of its own.",
    ),
    no_schema_version: (
        StorageError,
        "The database is no ledger: it has no schema version.",
        "Check METERFEED_LEDGER.",
    ),
    newer: (
        StorageError,
        "The ledger has schema version 99, this program knows 5 at most.",
        "Use the version of meterfeed that wrote it, or a newer one. Nothing was changed.",
    ),
    moved_away: (
        SettingsError,
        "This ledger was moved to postgresql+psycopg://u@h:5433/db.",
        "Point METERFEED_LEDGER there. Nothing was changed.",
    ),
    half_arrived: (
        SettingsError,
        "This ledger is the target of a move that did not come to its end.",
        "Run the same `meterfeed ledger move` again, or use the ledger it came from.",
    ),
    of_another_address: (
        SettingsError,
        "This ledger belongs to another base url than the settings name.",
        OTHER_TENANT,
    ),
    of_another_tenant: (
        SettingsError,
        "This ledger belongs to another tenant than the settings name.",
        OTHER_TENANT,
    ),
    key_changed_without_a_word: (
        SettingsError,
        "This ledger knows another id key than METERFEED_ID_KEY: every customer would be created again.",
        "Put the key back that was used so far. If it was changed on purpose, set METERFEED_ID_KEY_PREVIOUS to the "
        "former one. If the ledger is another tenant's: " + OTHER_TENANT,
    ),
    key_forgotten: (
        SettingsError,
        (
            "This ledger knows another 1 id key(s) that the settings do not name: customers created with them would be "
            "created again."
        ),
        "METERFEED_ID_KEY_PREVIOUS names every former key, one to a line.",
    ),
    keys_forgotten: (
        SettingsError,
        (
            "This ledger knows another 2 id key(s) that the settings do not name: customers created with them would be "
            "created again."
        ),
        "METERFEED_ID_KEY_PREVIOUS names every former key, one to a line.",
    ),
    key_changed_under_runs: (
        SettingsError,
        "The id key was changed while 2 run(s) are unfinished, first 20261122-0001.",
        "Put the former key back as METERFEED_ID_KEY, run `meterfeed resume`, then change it.",
    ),
    gone: (
        StorageError,
        "The ledger that was here is gone; an empty one would create everything again.",
        CURE,
    ),
    another_ledger: (StorageError, "This is another ledger than the one that was here.", CURE),
    older: (
        StorageError,
        "The ledger is older than it was: opened 2 times where it had been 9, 0 moves of chunks where there were 7.",
        CURE,
    ),
    mark_is_damaged: (
        StorageError,
        "mark-163196f12a4898dc.json beside the ledger cannot be read.",
        "Put it back from a backup, or remove it if the ledger is surely the newest.",
    ),
    mark_cannot_be_written: (
        StorageError,
        "mark.json could not be written: File exists.",
        "Free space or rights in the data directory.",
    ),
    copy_cannot_be_made: (
        StorageError,
        (
            "The ledger is of an earlier version and could not be copied before bringing it up: [Errno 2] No such file "
            "or directory: '<folder>/nowhere/copy.part'."
        ),
        "12,345 bytes are needed beside ledger.sqlite. Nothing was changed.",
    ),
    damaged: (
        StorageError,
        "The ledger file is damaged.",
        "Restore it from a backup, or move it away and rebuild it with `meterfeed adopt`.",
    ),
    busy: (
        BusyError,
        f"Another run holds the lock of this ledger: meterfeed, process {os.getpid()} on {socket.gethostname()}.",
        (
            "Wait for it to end: `reconcile` and `adopt` hold the lock too, and take hours over many users. "
            "A killed process releases it by itself."
        ),
    ),
    lock_in_the_way: (
        StorageError,
        "The lock file ledger.sqlite.lock cannot be opened: Is a directory.",
        "Check METERFEED_LEDGER and METERFEED_DATA_DIR: can we write there?",
    ),
    lock_is_a_link: (
        StorageError,
        "The lock file ledger.sqlite.lock cannot be opened: Too many levels of symbolic links.",
        "Check METERFEED_LEDGER and METERFEED_DATA_DIR: can we write there?",
    ),
    no_folder: (StorageError, "The folder of ledger.sqlite cannot be made: File exists.", WHERE),
    a_folder_in_its_place: (StorageError, "The ledger folder cannot be opened: Is a directory.", WHERE),
    stale_when_a_chunk_is_written: (
        StorageError,
        "Another run has taken over the ledger while this one had lost its lock (stale fence).",
        "Run `meterfeed resume`.",
    ),
    stale_when_anything_else_is_written: (
        StorageError,
        "Another run has taken over the ledger while this one had lost its lock (stale fence).",
        "Run `meterfeed resume`.",
    ),
    split_that_loses: (AccountError, "A split would lose or invent records; refused.", ""),
    page_is_damaged: (
        StorageError,
        "The ledger holds a page that cannot be read.",
        "Restore the ledger from its backup, or rebuild it with `meterfeed adopt`.",
    ),
    move_to_itself: (SettingsError, "The ledger is there already.", "Name another place with --to."),
    nothing_to_move: (SettingsError, "There is no ledger to move.", "Check METERFEED_LEDGER."),
    move_onto_a_ledger: (
        StorageError,
        "The target holds a ledger already.",
        "Name an empty database. Nothing was changed.",
    ),
    copies_differ: (
        StorageError,
        "The copy differs from the ledger in: meta, run.",
        "The ledger is where it was. Look after the storage of the target, and run the move again.",
    ),
}


@pytest.mark.parametrize("scene", REFUSALS, ids=lambda scene: scene.__name__)
def test_what_is_wrong_and_what_to_do_is_said(scene: Callable[[Here], None], tmp_path: Path) -> None:
    with pytest.raises(MeterfeedError) as refused:
        scene(Here(tmp_path))
    said = refused.value.message.replace(str(tmp_path), "<folder>")
    assert REFUSALS[scene] == (type(refused.value), said, refused.value.cure)


@pytest.mark.parametrize(
    ("sentence", "lost", "expected"),
    [
        (
            "database is locked",
            False,
            "BusyError: The ledger is locked by another program. Close it and start again.",
        ),
        (
            "server closed the connection\nunexpectedly",
            True,
            (
                "ConnectionLost: The connection to the ledger's database was lost: server closed the connection. "
                "Run `meterfeed resume` when the database is there again."
            ),
        ),
        (
            "disk I/O error " + "x" * 200 + "\nDETAIL: a row",
            False,
            (
                f"StorageError: The ledger could not be used: disk I/O error {'x' * 145}. "
                "Free space or repair the storage, then run `meterfeed resume`."
            ),
        ),
        (
            None,
            False,
            (
                "StorageError: The ledger could not be used: DBAPIError. "
                "Free space or repair the storage, then run `meterfeed resume`."
            ),
        ),
    ],
)
def test_trouble_of_the_database_is_told_by_its_first_sentence_alone(sentence, lost, expected) -> None:
    cause = None if sentence is None else sqlite3.OperationalError(sentence)
    with pytest.raises(MeterfeedError) as refused, storage_trouble():
        raise sa.exc.DBAPIError("INSERT", {"id": "kanari"}, cause, connection_invalidated=lost)
    assert expected == f"{type(refused.value).__name__}: {refused.value}"


def test_a_database_that_cannot_be_opened_is_not_held_open(tmp_path: Path) -> None:
    """Not until somebody collects garbage either: a service tries again and again."""
    place, (soft, hard) = tmp_path / "ledger.sqlite", resource.getrlimit(resource.RLIMIT_FSIZE)
    gc.disable()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as on a full disk: the first page is not written
    try:
        with (
            pytest.raises(StorageError) as told,
            open_ledger(f"sqlite:///{place}", identity=IDENTITY, now=1.0),
        ):
            pytest.fail("it was opened")
        assert told.traceback, "it keeps what the frames hold"
        held = [os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        gc.enable()
    assert str(place) not in held
