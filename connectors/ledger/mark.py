"""How far a ledger had come, written down outside of it, so that one put back from a backup is noticed.

A ledger that forgot its last runs looks whole, and would create again what they created. So the data directory
holds a few numbers that only grow: how often the ledger was opened to write, and how many moves its chunks had made.
A ledger with smaller ones, or another one, is not the ledger that was here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from schemas.errors import StorageError
from schemas.ledger import Identity

CURE = (
    "Put the newest copy of the ledger back. If there is none, run `meterfeed adopt`: it reads back what the API "
    "holds, and only what is absent there will be created."
)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a ledger had come.

    Attributes:
        ledger: its own name, made when it was.
        fence: how often it was opened to write.
        moves: moves of its chunks.
        runs: runs it had begun.
    """

    ledger: str
    fence: int
    moves: int
    runs: int

    def doubt(self, found: Mark | None) -> str | None:
        """Why `found` is not the ledger this mark was written for, in a sentence; None when it is."""
        if found is None:
            return "The ledger that was here is gone; an empty one would create everything again."
        if found.ledger != self.ledger:
            return "This is another ledger than the one that was here."
        if found.fence < self.fence or found.moves < self.moves:
            return (
                f"The ledger is older than it was: opened {found.fence} times where it had been {self.fence}, "
                f"{found.moves} moves of chunks where there were {self.moves}."
            )
        return None


def place_of(folder: Path, identity: Identity) -> Path:
    """Where the mark of a tenant's ledger lies; the same after its id key was changed."""
    tenant = identity.tenant_under(identity.keys[0])
    name = hashlib.sha256(f"{tenant}\x1f{identity.base_url}".encode()).hexdigest()[:16]
    return folder / f"mark-{name}.json"


def read_mark(place: Path) -> Mark | None:
    """The mark, or None where none was ever written.

    Raises:
        StorageError: it is there and cannot be read.
    """
    try:
        return Mark(**json.loads(place.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{place.name} beside the ledger cannot be read.",
            cure="Put it back from a backup, or remove it if the ledger is surely the newest.",
        ) from error


def write_mark(place: Path, mark: Mark) -> None:
    """Write the mark; it is on the disk under its name when this returns.

    Raises:
        StorageError: it could not be written.
    """
    growing = place.with_name(place.name + ".part")
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(growing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(asdict(mark)).encode())
            file.flush()
            os.fsync(file.fileno())
        growing.replace(place)
        _flush_folder(place.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            growing.unlink(missing_ok=True)
        raise StorageError(
            f"{place.name} could not be written: {error.strerror}.",
            cure="Free space or rights in the data directory.",
        ) from error


def _flush_folder(folder: Path) -> None:
    """Flush which names are in a folder: flushing a file says nothing of what it is called."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
