"""Where exports lie: files, folders and globs, on this machine or at `s3://`, `gs://`, `az://`."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any, Final, Protocol

from schemas.errors import ExportError

SCHEMES: Final = ("s3", "gs", "az")
REMOTE_BLOCK: Final = 8 << 20
"""Bytes fetched at a time from a remote place."""

SIDECAR: Final = ".sha256"
"""Ending of a manifest beside an export, as `sha256sum` writes it."""

_NOT_EXPORTS: Final = (".*", "_*", "*~", "*.tmp", "*.temp", "*.part", "*.partial", "*.crc", f"*{SIDECAR}")
"""Names in a folder that are no exports: hidden, markers such as `_SUCCESS`, unfinished, checksums."""

Signature = tuple[object, ...]
"""What changes when a file is written to or replaced."""


class Place(Protocol):
    """One file to read."""

    @property
    def basename(self) -> str:
        """As stored; may hold a customer's id, so it is never shown."""
        ...

    @property
    def url(self) -> str:
        """How another process can open it."""
        ...

    def open(self) -> AbstractContextManager[IO[bytes]]:
        """The file, open for reading from its start, seekable."""
        ...

    def signature(self) -> Signature:
        """What the place says about the file now."""
        ...

    def written(self) -> float:
        """When it was written last, UTC seconds, by the clock of the place."""
        ...

    def manifest(self) -> str | None:
        """The text of the manifest beside the file, if there is one."""
        ...


MASK = "…"
"""Stands in a shown name for the digits that are not shown."""


def display_name(basename: str) -> str:
    """A name that may be shown: long digit runs, which may be meter points, keep their last four digits."""
    masked = re.sub(r"[0-9]{8,}", lambda run: MASK + run.group()[-4:], basename)
    return "".join(sign if sign.isprintable() else "?" for sign in masked)


def find_places(arguments: Sequence[str]) -> list[Place]:
    """Every file the arguments stand for, in their order; within a folder or a glob by name; none twice.

    Raises:
        ExportError: an argument stands for nothing, or for something that is no ordinary file.
    """
    found: dict[str, Place] = {}
    for argument in arguments:
        scheme, mark, _ = argument.partition("://")
        places = _remote_places(argument, scheme) if mark else _local_places(argument)
        for place in places:
            found.setdefault(place.url, place)
    if not found:
        raise ExportError("No export is given.", cure="Name at least one file, folder, glob or URL.")
    return list(found.values())


# ------------------------------------------------------------------ this machine
@dataclass(frozen=True)
class LocalPlace:
    """A file on this machine. It is opened without following a link at its end and without waiting."""

    path: Path

    @property
    def basename(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def url(self) -> str:
        """Its absolute path."""
        return str(self.path)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it; a FIFO put in its place meanwhile does not make us wait."""
        shown = display_name(self.basename)
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise ExportError(
                f"{shown} cannot be opened: {error.strerror}.", cure="Check its rights."
            ) from None
        with os.fdopen(handle, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _not_a_file(shown)
            yield file

    def signature(self) -> Signature:
        """Device, inode, size, and the times of the last change of content and of anything."""
        now = self._now()
        return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)

    def written(self) -> float:
        """The time of the last change of content."""
        return self._now().st_mtime

    def _now(self) -> os.stat_result:
        try:
            return self.path.lstat()
        except OSError as error:
            shown = display_name(self.basename)
            raise ExportError(f"{shown} is gone: {error.strerror}.", cure="Deliver it again.") from None

    def manifest(self) -> str | None:
        """The text of `<name>.sha256` beside it."""
        beside = self.path.with_name(self.basename + SIDECAR)
        with suppress(OSError, UnicodeDecodeError):
            if beside.is_file():
                return beside.read_text(encoding="utf-8")[:1000]
        return None


def _local_places(argument: str) -> list[Place]:
    path = Path(argument)
    if os.path.lexists(path):
        return [*_in_folder(path)] if path.is_dir() else [_local_file(path)]
    matches = sorted(glob.glob(argument)) if glob.has_magic(argument) else []  # noqa: PTH207 - absolute globs too
    places = [
        _local_file(Path(match), within=Path(match).parent) for match in matches if Path(match).is_file()
    ]
    if not places:
        shown = display_name(path.name or argument)
        what = "fits no file" if glob.has_magic(argument) else "does not exist"
        raise ExportError(f"{shown} {what}.", cure="Check the path.")
    return [*places]


def _in_folder(folder: Path) -> list[Place]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if _is_export(entry.name) and not entry.is_dir())
    except OSError as error:
        raise ExportError(
            f"The folder {display_name(folder.name)} cannot be listed: {error.strerror}.",
            cure="Check its rights.",
        ) from None
    places = [place for entry in entries if (place := _if_still_there(entry, folder)) is not None]
    if not places:
        raise ExportError(f"The folder {display_name(folder.name)} holds no export.", cure="Check the path.")
    return [*places]


def _if_still_there(entry: Path, folder: Path) -> LocalPlace | None:
    """An entry of a folder; None when it was taken out since the folder was listed."""
    try:
        return _local_file(entry, within=folder)
    except ExportError:
        if os.path.lexists(entry):
            raise
        return None


def _is_export(name: str) -> bool:
    return not any(fnmatchcase(name, pattern) for pattern in _NOT_EXPORTS)


def _local_file(path: Path, *, within: Path | None = None) -> LocalPlace:
    """The file behind `path`; a link found in a folder may not lead out of it."""
    shown = display_name(path.name)
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a link that leads to itself
        raise ExportError(f"{shown} is a link to nothing.", cure="Deliver the file itself.") from None
    if within is not None and not real.is_relative_to(within.resolve()):
        raise ExportError(f"{shown} is a link that leads out of its folder.", cure="Name the file itself.")
    if not real.is_file():
        raise _not_a_file(shown)
    return LocalPlace(real)


def _not_a_file(shown: str) -> ExportError:
    return ExportError(
        f"{shown} is no ordinary file.", cure="Name a file; pipes and devices cannot be read twice."
    )


# ------------------------------------------------------------------ object stores
@dataclass(frozen=True)
class RemotePlace:
    """An object in a store that fsspec knows."""

    system: Any
    path: str
    scheme: str

    @property
    def basename(self) -> str:
        """The last part of its key."""
        return self.path.rstrip("/").rsplit("/", 1)[-1]

    @property
    def url(self) -> str:
        """Scheme, bucket and key."""
        return f"{self.scheme}://{self.path}"

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it; it is fetched piece by piece."""
        with _told_as_export_error(display_name(self.basename)):
            file = self.system.open(self.path, "rb", block_size=REMOTE_BLOCK, cache_type="readahead")
        with file:
            yield _RemoteFile(file, display_name(self.basename))  # type: ignore[misc]

    def signature(self) -> Signature:
        """Size and whatever version mark the store keeps."""
        with _told_as_export_error(display_name(self.basename)):
            self.system.invalidate_cache()
            now = self.system.info(self.path)
        marks = (
            "ETag",
            "etag",
            "generation",
            "md5Hash",
            "VersionId",
            "LastModified",
            "last_modified",
            "updated",
        )
        return (now["size"], *(str(now.get(mark)) for mark in marks))

    def written(self) -> float:
        """When the store says it was stored."""
        with _told_as_export_error(display_name(self.basename)):
            return float(self.system.modified(self.path).timestamp())

    def manifest(self) -> str | None:
        """The text of `<name>.sha256` beside it."""
        beside = self.path + SIDECAR
        with _told_as_export_error(display_name(self.basename)):
            if self.system.exists(beside):
                text: bytes = self.system.cat_file(beside, start=0, end=1000)
                return text.decode("utf-8", "replace")
        return None


class _RemoteFile:
    """A remote file whose failures name the file and the byte, not the bucket or a credential."""

    def __init__(self, file: Any, shown: str) -> None:
        self._file, self._shown = file, shown

    def read(self, size: int = -1, /) -> bytes:
        with _told_as_export_error(self._shown):
            stored: bytes = self._file.read(size)
        return stored

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _told_as_export_error(shown: str) -> Iterator[None]:
    try:
        yield
    except ExportError:
        raise
    except Exception as error:  # noqa: BLE001 - each store has its own exceptions, and their text may hold secrets
        raise ExportError(
            f"{shown} cannot be read from its store ({type(error).__name__}).",
            cure="Check the URL, the credentials and the network.",
        ) from None


def _remote_places(argument: str, scheme: str) -> list[Place]:
    if scheme not in SCHEMES:
        raise ExportError(
            f"Exports cannot be read from {display_name(scheme)}://.",
            cure="Use a local path, " + ", ".join(f"{name}://" for name in SCHEMES) + ".",
        )
    shown = display_name(argument.rstrip("/").rsplit("/", 1)[-1])
    system, path = _system(argument, shown)
    with _told_as_export_error(shown):
        keys = _keys(system, path)
    if not keys:
        raise ExportError(f"{shown} fits no object in its store.", cure="Check the URL.")
    return [RemotePlace(system, key, scheme) for key in keys]


def _keys(system: Any, path: str) -> list[str]:
    system.invalidate_cache()
    if glob.has_magic(path) and not system.exists(path):
        return sorted(key for key in system.glob(path) if system.isfile(key))
    if system.isfile(path):
        return [path]
    entries = system.ls(path, detail=True) if system.isdir(path) else []
    files = [str(entry["name"]) for entry in entries if entry["type"] == "file" and entry["size"]]
    return sorted(key for key in files if _is_export(key.rsplit("/", 1)[-1]))


def _system(argument: str, shown: str) -> tuple[Any, str]:
    import fsspec

    with _told_as_export_error(shown):  # Azure's reader wants its credentials at once
        try:
            system, path = fsspec.core.url_to_fs(argument)
        except ImportError:
            raise ExportError(
                f"{shown} lies in an object store, and what reads those is not installed.",
                cure="Install meterfeed[cloud].",
            ) from None
    return system, path
