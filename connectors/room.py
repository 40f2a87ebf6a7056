"""Is there room on the disk? Asked before a run writes anything, so that it need not stop half-way."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from schemas.errors import StorageError

MARGIN: Final = 64 * 1024 * 1024
"""Bytes to be left on every disk: for the log, the reports, and what is not worth an estimate."""


def require_room(needs: Mapping[Path, int]) -> None:
    """See that what is about to be written fits; folders on one disk share it.

    Args:
        needs: bytes by folder; one that does not exist yet counts where it will be.

    Raises:
        StorageError: it does not fit, or nobody can say.
    """
    by_disk: dict[int, list[tuple[Path, int]]] = defaultdict(list)
    try:
        for folder, needed in needs.items():
            there = _nearest(folder)
            by_disk[there.stat().st_dev].append((there, needed))
        for folders in by_disk.values():
            needed = sum(bytes_ for _, bytes_ in folders) + MARGIN
            free = shutil.disk_usage(folders[0][0]).free
            if free < needed:
                raise StorageError(
                    f"There is not enough room: {needed:,} bytes are needed in {folders[0][0].name or '/'}, "
                    f"{free:,} are free.",
                    cure="Free space, or point METERFEED_DATA_DIR (and METERFEED_LEDGER) to a larger disk.",
                )
    except OSError as error:
        raise StorageError(
            f"The free space of the data directory is not known: {error.strerror}.",
            cure="Check METERFEED_DATA_DIR.",
        ) from error


def _nearest(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(one for one in (folder, *folder.parents) if one.exists())
