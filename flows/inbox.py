"""New files in a folder or under a bucket prefix, each picked up once.

What was picked up is known by content (SHA-256) and remembered by the ledger alone: a file may be renamed, delivered
twice or left lying, and a lost Prefect server forgets nothing. A file that did not come to its end is new still: the
newest run that began to send it decides, and one that was given up only where a newer full export took its place.
After `adopt` every file is: what it brought may not be there any more.

Content may come back (A, B, A), and must then be loaded again, or B stayed for ever. So content that was loaded before
is new where something else was loaded since, and the file is not the one it came with but one delivered after that: it
was written later than all of that was loaded, and its name, as far as the ledger may keep it, comes after theirs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from connectors.exports import fingerprint
from connectors.exports.places import MASK, LocalPlace, Place, display_name, find_places
from connectors.ledger.store import Ledger, read_ledger
from connectors.profiles import CORRECTION, profile_for
from flows.settings import Settings
from schemas.errors import ExportError, ProfileError, SettingsError
from schemas.ledger import ADOPTED, RunRow
from schemas.profile import Profile

BEGAN: Final = ("settled", "sending", "superseded")
"""States of a run that began to send what its files say."""

STILL_SECONDS: Final = 30.0
"""A file on a disk that was changed more recently may still be growing; the next run takes it."""

EMPTY: Final = ("holds no export.", "fits no object in its store.")
"""How a place says that nothing is there."""


class Standing(StrEnum):
    """How a file is before it is loaded."""

    STILL = "still"
    GROWING = "growing"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in an inbox.

    Attributes:
        new: URLs of new files, in order of their names.
        known: how many were loaded before.
        growing: how many wait: the first that may still be growing, and all that are named after it and rest on it.
    """

    new: tuple[str, ...]
    known: int
    growing: int


@dataclass(frozen=True, slots=True)
class _Taken:
    """A file that a run took, or one found new, which is taken before those named after it; `run` is None then."""

    name: str
    content: str
    profiles: frozenset[str]
    since: float
    """When that run began, or that file was written: what was written later is something else."""
    run: RunRow | None = None


def look_into(
    inbox: str,
    settings: Settings,
    profiles: Sequence[Profile] = (),
    *,
    still_seconds: float = STILL_SECONDS,
) -> Waiting:
    """What is new in `inbox`; of files of the same content that follow each other, one is.

    Args:
        inbox: a folder or prefix.
        settings: where the ledger is.
        profiles: what its files are read by: what runs of other profiles took is not known to these. None: any.
        still_seconds: since when a file on a disk must not have changed.

    Raises:
        SettingsError: the folder is not there, which is not the same as being empty.
        ExportError: something in it cannot be read.
    """
    places = _places(inbox)
    books = _Books(settings if places else None)
    new, known = list[str](), 0
    for number, place in enumerate(places):
        standing = _standing(place, still_seconds)
        if standing is Standing.GROWING:
            return Waiting(tuple(new), known, len(places) - number)
        content = None if standing is Standing.GONE else _content(place)
        if content is None:
            continue
        if books.are_done_with(place, content, _read_by(place, profiles)):
            known += 1
        else:
            new.append(place.url)
    return Waiting(tuple(new), known, 0)


def standing_of(url: str, *, still_seconds: float = STILL_SECONDS) -> Standing:
    """How a file is that `look_into` found a while ago; what an object store shows is whole."""
    return Standing.STILL if "://" in url else _standing(LocalPlace(Path(url)), still_seconds)


def _standing(place: Place, still_seconds: float) -> Standing:
    """A time well in the future says nothing: of a file whose writer has another clock it would never be over."""
    if not isinstance(place, LocalPlace):
        return Standing.STILL
    try:
        age = time.time() - place.path.stat().st_mtime
    except FileNotFoundError:
        return Standing.GONE
    return Standing.GROWING if abs(age) < still_seconds else Standing.STILL


def _content(place: Place) -> str | None:
    """SHA-256 of a file; None when it was taken away meanwhile."""
    try:
        return fingerprint(place.url)[0]
    except ExportError:
        if _is_gone(place):
            return None
        raise


def _is_gone(place: Place) -> bool:
    if isinstance(place, LocalPlace):
        return not os.path.lexists(place.path)
    try:
        find_places([place.url])
    except ExportError as error:
        return error.message.endswith(EMPTY)
    return False


def _read_by(place: Place, profiles: Sequence[Profile]) -> str | None:
    """The profile a file is read by; None, which is any, when it fits none: whoever loads it says so."""
    with suppress(ProfileError):
        return profile_for(place.basename, profiles).name if profiles else None
    return None


def _places(inbox: str) -> list[Place]:
    local = "://" not in inbox
    if local and not Path(inbox).is_dir():
        raise SettingsError("The inbox is not a folder.", cure="Make it, or mount it on this worker.")
    try:
        return find_places([inbox])
    except ExportError as error:
        if error.message.endswith(EMPTY):
            return []
        raise


class _Books:
    """What the ledger says was taken, newest first, and what is about to be."""

    def __init__(self, settings: Settings | None) -> None:
        self._ledger = read_ledger(settings.ledger.get_secret_value()) if settings else None
        self._began: list[RunRow] = []
        self._taken: list[_Taken] = []
        if self._ledger is not None:
            adopted = int(self._ledger.recall(ADOPTED) or 0)
            runs = self._ledger.runs(brief=True)
            self._began = [run for run in runs if run.state in BEGAN and run.run_seq > adopted]
            self._taken = [*_files_of(self._ledger, self._began)]

    def are_done_with(self, place: Place, content: str, profile: str | None) -> bool:
        """Whether there is nothing to do about a file; where there is, those named after it come after it."""
        mine = [one for one in self._taken if profile is None or not one.profiles or profile in one.profiles]
        name = display_name(place.basename)
        before = next((at for at, one in enumerate(mine) if one.content == content), None)
        if before is None or not self._is_done(mine[before]) or self._is_back(place, name, mine, before):
            scope = frozenset() if profile is None else frozenset({profile})
            self._taken.insert(0, _Taken(name, content, scope, _written(place)))
            return False
        return True

    def _is_done(self, taken: _Taken) -> bool:
        run = taken.run
        if run is None or run.state == "settled":
            return True
        return (
            self._ledger is not None
            and run.state == "superseded"
            and _is_overtaken(self._ledger, run, self._began)
        )

    def _is_back(self, place: Place, name: str, taken: Sequence[_Taken], before: int) -> bool:
        """Whether a file brings back content that something else was loaded after."""
        since = [one for one in taken[:before] if one.run is None or one.run is not taken[before].run]
        written = _written(place)
        if any(one.name == name and one.run is not None and written > one.since for one in since):
            return True  # it was overwritten, and overwritten again
        content = taken[before].content
        if any((one.name, one.content) == (name, content) for one in taken[before:]):
            return False  # it is the very file, which was loaded and still lies there
        names = [one.name for one in since if _is_correction(one.name) == _is_correction(name)]
        return bool(names) and written >= max(one.since for one in since) and _comes_after(name, names)


def _files_of(ledger: Ledger, runs: Iterable[RunRow]) -> Iterator[_Taken]:
    for run in runs:
        for source in ledger.sources(run.run_seq):
            yield _Taken(source.name, source.sha256, frozenset(run.profiles.split("+")), run.started_at, run)


def _is_correction(name: str) -> bool:
    """Whether a file has the name of a correction: those are named in an order of their own."""
    return name.startswith(CORRECTION)


def _comes_after(name: str, names: Sequence[str]) -> bool:
    """Whether a name comes after others, or may: of a long number, such as a date, the ledger keeps the end alone."""
    is_whole = MASK not in "".join((name, *names))
    return name > max(names) if is_whole else True


def _written(place: Place) -> float:
    """When a file was written last, UTC seconds; of one that is gone, 0."""
    with suppress(ExportError):
        return place.written()
    return 0.0


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
