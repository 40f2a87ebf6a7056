"""New files in a folder or under a bucket prefix, each picked up once.

What was picked up is known by content (SHA-256) and remembered by the ledger alone: a file may be renamed, delivered
twice or left lying, and a lost Prefect server forgets nothing. A file that did not come to its end is new still: the
newest run that began to send it decides, and one that was given up only where a newer full export took its place.
After `adopt` every file is: what it brought may not be there any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connectors.exports import fingerprint
from connectors.exports.places import LocalPlace, Place, find_places
from connectors.ledger.store import Ledger, read_ledger
from flows.settings import Settings
from schemas.errors import ExportError, SettingsError
from schemas.ledger import ADOPTED, RunRow

BEGAN: Final = ("settled", "sending", "superseded")
"""States of a run that began to send what its files say."""

STILL_SECONDS: Final = 30.0
"""A file on a disk that was changed more recently may still be growing; the next run takes it."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in an inbox: URLs of new files by name, how many were loaded before, how many still grow."""

    new: tuple[str, ...]
    known: int
    growing: int


def look_into(inbox: str, settings: Settings, *, still_seconds: float = STILL_SECONDS) -> Waiting:
    """What is new in `inbox`; two files of the same content count once.

    Raises:
        SettingsError: the folder is not there, which is not the same as being empty.
        ExportError: something in it cannot be read.
    """
    places = _places(inbox)
    seen = _picked_up(settings) if places else set()
    loaded, new, growing = set(seen), [], 0
    for place in places:
        if isinstance(place, LocalPlace) and _just_changed(place, still_seconds):
            growing += 1
            continue
        digest, _ = fingerprint(place.url)
        if digest not in loaded:
            loaded.add(digest)
            new.append(place.url)
    return Waiting(tuple(new), len(places) - len(new) - growing, growing)


def _just_changed(place: LocalPlace, seconds: float) -> bool:
    """A time well in the future says nothing: of a file whose writer has another clock it would never be over."""
    return abs(time.time() - place.path.stat().st_mtime) < seconds


def _places(inbox: str) -> list[Place]:
    from pathlib import Path

    local = "://" not in inbox
    if local and not Path(inbox).is_dir():
        raise SettingsError("The inbox is not a folder.", cure="Make it, or mount it on this worker.")
    try:
        return find_places([inbox])
    except ExportError as error:
        if error.message.endswith(("holds no export.", "fits no object in its store.")):
            return []
        raise


def _picked_up(settings: Settings) -> set[str]:
    ledger = read_ledger(settings.ledger.get_secret_value())
    if ledger is None:
        return set()
    adopted = int(ledger.recall(ADOPTED) or 0)
    began = [run for run in ledger.runs(brief=True) if run.state in BEGAN and run.run_seq > adopted]
    newest: dict[str, RunRow] = {}
    for run in began:
        for source in ledger.sources(run.run_seq):
            newest.setdefault(source.sha256, run)
    return {
        content
        for content, run in newest.items()
        if run.state == "settled" or (run.state == "superseded" and _is_overtaken(ledger, run, began))
    }


def _is_overtaken(ledger: Ledger, run: RunRow, began: Sequence[RunRow]) -> bool:
    """Whether a full export that speaks for all profiles of a run began to send after it."""
    return any(
        later.run_seq > run.run_seq
        and set(run.profiles.split("+")) <= set(later.profiles.split("+"))
        and _is_full(ledger, later)
        for later in began
    )


def _is_full(ledger: Ledger, run: RunRow) -> bool:
    [whole] = ledger.runs(run_seq=run.run_seq)
    kept = json.loads(whole.plan or "{}")
    return bool(kept.get("so_far", {}).get("export_kind") == "full")
