"""The folder of a run: files appear whole or not at all, for our eyes only, and nowhere else.

Everything goes through a descriptor of the folder and names out of an allow-list, so no tenant name, file
name or label can lead out of it (fault catalogue RP1, RP4, PR2).
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Self, cast

from schemas.errors import StorageError

_FILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}", re.ASCII)
_SLUG_LENGTH = 60
_WINDOWS_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789"),
}


def slug(text: str) -> str:
    """A file name part made of any text: a-z, 0-9 and single hyphens, 1 to 60 long, never a reserved word."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{name or 'x'}-file" if not name or name in _WINDOWS_DEVICES else name


class RunFolder:
    """A folder that holds the files of one run (or the index over all runs).

    Args:
        path: must exist and be a folder, not a link to one.

    Raises:
        StorageError: it is not, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise _storage_error(path, error) from None

    @classmethod
    def create(cls, runs: Path, name: str, *, new: bool = False) -> RunFolder:
        """Make `runs/<slug of name>` with mode 0700 and open it; an existing one is opened, unless it must be `new`.

        Raises:
            FileExistsError: it must be new, and is there already.
            StorageError: it cannot be made.
        """
        path = runs / slug(name)
        try:
            runs.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.mkdir(mode=0o700, exist_ok=not new)
        except OSError as error:
            if new and isinstance(error, FileExistsError) and runs.is_dir():
                raise
            raise _storage_error(path, error) from None
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """Open a file that takes its name when the block ends well, and vanishes when it does not.

        Raises:
            ValueError: the name is not in the allow-list (a bug: names come from code).
            StorageError: disk full, permission, or the folder went away.
        """
        temporary = f".{_checked(name)}.{os.getpid()}.part"
        try:
            with self._exclusive(temporary) as stream:
                yield cast("BinaryIO", stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            os.fsync(self._descriptor)
        except BaseException as error:
            self._discard(temporary)
            if isinstance(error, OSError):
                raise _storage_error(self.path / name, error) from None
            raise

    def write(self, name: str, content: bytes) -> Path:
        """Write one whole file, replacing an earlier one, and return its path."""
        with self.writing(name) as stream:
            stream.write(content)
        return self.path / name

    def has(self, name: str) -> bool:
        """Whether the folder holds a regular file of that name; links do not count."""
        try:
            found = os.stat(_checked(name), dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _storage_error(self.path / name, error) from None
        return stat.S_ISREG(found.st_mode)

    def reading(self, name: str) -> BinaryIO:
        """Open a file of the folder for reading, never through a link.

        Raises:
            StorageError: it is missing, a link, or unreadable.
        """
        try:
            descriptor = os.open(
                _checked(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._descriptor
            )
        except OSError as error:
            raise _storage_error(self.path / name, error) from None
        return os.fdopen(descriptor, "rb")

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        self._discard(_checked(name))

    def _exclusive(self, name: str) -> IO[bytes]:
        """A new file, 0600, made by us; what a dead process of the same id left behind goes first."""
        self._discard(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.fdopen(os.open(name, flags, 0o600, dir_fd=self._descriptor), "wb")

    def _discard(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _storage_error(self.path / name, error) from None


def _checked(name: str) -> str:
    if not _FILE_NAME.fullmatch(name):
        raise ValueError("not a file name of a run folder")
    return name


def _storage_error(path: Path, error: OSError) -> StorageError:
    """The error of ours, naming the file by its last part only."""
    return StorageError(
        f"Cannot write or read {path.name} in the run folder: {_cause(error)}.",
        cure="Check free space and permissions of the data directory, then run `meterfeed report` again.",
    )


def _cause(error: OSError) -> str:
    """What the system says; Polars has its number in the message only."""
    number = re.search(r"\(os error (\d+)\)", str(error))
    if error.strerror is None and number is not None:
        return os.strerror(int(number[1]))
    return error.strerror or type(error).__name__
