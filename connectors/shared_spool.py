"""A spool where several machines can read it: in an object store, or in a folder that all of them reach.

The run that planned it copies the tables of its plan there, the manifest last. Workers read one partition at a time:
of each file only the batch of that partition travels. It lies there as long as the spool of the run does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa

from connectors.spool import FORMAT, MANIFEST, Spool, SpoolFile, together
from schemas.errors import AccountError, SettingsError, StorageError

CURE: Final = "Check METERFEED_SHARED, its credentials and the network, then run `meterfeed resume`."


@dataclass(frozen=True, slots=True)
class SharedRoot:
    """The place below which every shared run has a folder.

    Attributes:
        url: `s3://`, `gs://`, `az://`, or a folder.
    """

    url: str

    def folder(self, run_id: str) -> SharedFolder:
        """Where the spool of a run is, or will be."""
        system, root = self._system()
        return SharedFolder(system, f"{root.rstrip('/')}/{run_id}", run_id)

    def purge(self, *, before: float, keep: Collection[str]) -> int:
        """Remove spools last written before an instant, but for runs that still need theirs; how many."""
        system, root = self._system()
        removed = 0
        with _told(root.rsplit("/", 1)[-1]):
            system.invalidate_cache()
            names = [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in _listed(system, root)]
            for name in names:
                folder = self.folder(name)
                if name not in keep and folder.exists() and folder.written_at() < before:
                    folder.delete()
                    removed += 1
        return removed

    def _system(self) -> tuple[Any, str]:
        import fsspec

        try:
            system, path = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError:
            raise SettingsError(
                "METERFEED_SHARED names an object store, and what reads those is not installed.",
                cure="Install meterfeed[cloud].",
            ) from None
        except Exception as error:  # noqa: BLE001 - each store has its own exceptions; nothing was asked of it yet
            raise SettingsError(
                f"METERFEED_SHARED names a place that cannot be reached ({type(error).__name__}).", cure=CURE
            ) from None
        return system, str(path)


def _listed(system: Any, root: str) -> list[str]:
    return [str(name) for name in system.ls(root, detail=False)] if system.isdir(root) else []


@dataclass(slots=True)
class SharedFolder:
    """The folder of one shared spool."""

    system: Any
    path: str
    name: str

    def exists(self) -> bool:
        """Whether a whole spool is there."""
        with _told(self.name):
            return bool(self.system.exists(f"{self.path}/{MANIFEST}"))

    def written_at(self) -> float:
        """When it was written, UTC seconds."""
        with _told(self.name):
            return float(self.system.modified(f"{self.path}/{MANIFEST}").timestamp())

    def publish(self, spool: Spool, *, without: Collection[str]) -> None:
        """Copy a finished spool here, but for some tables, unless it is here already.

        Raises:
            StorageError: they cannot be written.
        """
        with _told(self.name):
            if self.exists() and SharedSpool.open(self).facts == spool.facts:
                return
            self.delete()
            self.system.makedirs(self.path, exist_ok=True)
            if "file" in self.system.protocol:
                Path(self.path).chmod(0o700)
            published = {name: files for name, files in spool.files().items() if name not in without}
            for file in (file for files in published.values() for file in files):
                self.system.put_file(str(spool.folder / file.name), f"{self.path}/{file.name}")
            manifest = {
                "format": FORMAT,
                "partitions": spool.partitions,
                "facts": spool.facts,
                "tables": {name: [file.as_json() for file in files] for name, files in published.items()},
            }
            self.system.pipe_file(f"{self.path}/{MANIFEST}", json.dumps(manifest).encode())

    def delete(self) -> None:
        """Remove what is here, the manifest first."""
        with _told(self.name):
            if self.exists():
                self.system.rm_file(f"{self.path}/{MANIFEST}")
            if self.system.exists(self.path):
                self.system.rm(self.path, recursive=True)


@dataclass(slots=True)
class SharedSpool:
    """A spool to read from afar; what a worker needs of `connectors.spool.Spool`."""

    folder: SharedFolder
    partitions: int
    facts: Mapping[str, Any]
    _tables: Mapping[str, list[SpoolFile]]
    _schemas: dict[str, pa.Schema] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: SharedFolder) -> SharedSpool:
        """The spool in a folder.

        Raises:
            StorageError: there is none, or another version wrote it.
        """
        if not folder.exists():
            raise StorageError(f"The shared spool of {folder.name} is not there.", cure=CURE)
        with _told(folder.name):
            manifest = json.loads(folder.system.cat_file(f"{folder.path}/{MANIFEST}"))
        if manifest["format"] != FORMAT:
            raise StorageError(
                f"The shared spool of {folder.name} was written by another version.",
                cure="Install the same version of meterfeed on every machine, then run `meterfeed resume`.",
            )
        tables = {name: [SpoolFile(**file) for file in files] for name, files in manifest["tables"].items()}
        return cls(folder, manifest["partitions"], manifest["facts"], tables)

    def read(self, table: str, partition: int) -> pl.DataFrame:
        """One partition of a table; no columns when it has no row."""
        with _told(self.folder.name):
            return together(
                [
                    self._batch(file, partition)
                    for file in self._tables.get(table, ())
                    if file.counts[partition]
                ]
            )

    def row_count(self, table: str, partition: int | None = None) -> int:
        """Rows in a table, or in one partition of it."""
        counts = [file.counts for file in self._tables.get(table, ())]
        return sum(sum(each) if partition is None else each[partition] for each in counts)

    def append(self, table: str, rows: pl.DataFrame) -> None:
        """Refused: a shared spool is only read."""
        raise AccountError(f"Nothing is added to a shared spool ({table}, {rows.height} rows).")

    def finish(self, facts: Mapping[str, Any] | None = None) -> None:
        """Refused: a shared spool is only read."""
        raise AccountError(f"A shared spool is finished already ({len(facts or {})} facts).")

    def drop(self, table: str) -> None:
        """Refused: a shared spool is only read."""
        raise AccountError(f"Nothing is taken out of a shared spool ({table}).")

    def close(self) -> None:
        """Nothing is held open; the spool stays."""

    def delete(self) -> None:
        """Remove the spool."""
        self.close()
        self.folder.delete()

    def _batch(self, file: SpoolFile, partition: int) -> pa.RecordBatch:
        if file.name not in self._schemas:
            self._schemas[file.name] = file.schema(self._bytes_at(file, 0, file.starts[0]))
        stored = self._bytes_at(file, *file.starts[partition : partition + 2])
        return file.batch(self._schemas[file.name], partition, stored)

    def _bytes_at(self, file: SpoolFile, start: int, stop: int) -> bytes:
        stored: bytes = self.folder.system.cat_file(f"{self.folder.path}/{file.name}", start=start, end=stop)
        return stored


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Say trouble of any store as what it is; its own text may hold a credential or an address."""
    try:
        yield
    except (StorageError, SettingsError):
        raise
    except (pa.ArrowException, KeyError, ValueError, TypeError):
        raise _damaged(name) from None
    except Exception as error:  # noqa: BLE001 - each store has its own exceptions
        if type(error) is OSError and error.errno is None:  # PyArrow's own: a checksum is not right
            raise _damaged(name) from None
        raise StorageError(
            f"The shared spool of {name} cannot be used ({type(error).__name__}).", cure=CURE
        ) from None


def _damaged(name: str) -> StorageError:
    return StorageError(f"The shared spool of {name} is damaged.", cure="Run the export again.")
