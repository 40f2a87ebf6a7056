"""The append-only log of what really happened, in memory and, if asked, in a JSON lines file.

The log is written before the answer is made, so it says what was applied even when nobody was told.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from sandbox.records import RECORD_TYPES, Kind, Record, canonical, id_of

Change = Literal["create", "overwrite", "patch", "delete"]
Entry = tuple[Kind, Change, Record]
"""One effect: what kind of record, what was done to it, and its content afterwards (before, for a delete)."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The request behind an effect.

    Attributes:
        time: seconds of the sandbox's clock when it was applied.
        request: the number of the request, as in the request log.
        trace: the client's own mark (`traceparent`, `x-request-id`, …), or None.
        method: HTTP method.
        path: path template below the base path.
        late: it was applied after its answer had been lost.
    """

    time: float
    request: int
    trace: str | None
    method: str
    path: str
    late: bool = False


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the log."""

    seq: int
    time: float
    request: int
    trace: str | None
    method: str
    path: str
    late: bool
    kind: Kind
    id: str
    user: str
    effect: Change
    digest: str
    content: msgspec.Raw = msgspec.Raw(b"null")
    """The record as canonical JSON, unparsed."""


@dataclass(frozen=True, slots=True)
class _Group:
    """All effects of one request; lines are made when somebody asks, because a load never does."""

    first: int
    cause: Cause
    entries: tuple[Entry, ...]

    def lines(self, since: int, *, with_content: bool) -> Iterator[Effect]:
        for seq, (kind, change, record) in enumerate(self.entries, self.first):
            if seq < since:
                continue
            body = canonical(record)
            yield Effect(
                seq=seq,
                time=self.cause.time,
                request=self.cause.request,
                trace=self.cause.trace,
                method=self.cause.method,
                path=self.cause.path,
                late=self.cause.late,
                kind=kind,
                id=id_of(record),
                user=record.user_id,
                effect=change,
                digest=hashlib.sha256(body).hexdigest(),
                content=msgspec.Raw(body if with_content else b"null"),
            )


class LineFile:
    """A file of JSON lines, mode 0600, appended to with one write per call. A torn last line is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            os.ftruncate(self._descriptor, whole)
        self._encoder = msgspec.json.Encoder()

    def lines(self) -> Iterator[bytes]:
        """The lines written so far."""
        with self.path.open("rb") as file:
            yield from file

    def append(self, records: list[Any]) -> None:
        """Write the records, a line each."""
        data = memoryview(self._encoder.encode_lines(records))
        while data:
            data = data[os.write(self._descriptor, data) :]

    def clear(self) -> None:
        """Forget everything."""
        os.ftruncate(self._descriptor, 0)

    def close(self) -> None:
        """Close the file; further calls are errors."""
        os.close(self._descriptor)


class EffectLog:
    """The log of one sandbox.

    Args:
        file: where to keep it as well; what is already there is read back first.
    """

    def __init__(self, file: LineFile | None = None) -> None:
        self._groups: list[_Group] = []
        self._next = 1
        self._file = file

    def __len__(self) -> int:
        return self._next - 1

    def restore(self) -> Iterator[Entry]:
        """Read the file back, line by line, and yield every entry in order."""
        if self._file is None:
            return
        decoder = msgspec.json.Decoder(Effect)
        for line in self._file.lines():
            effect = decoder.decode(line)
            record = msgspec.json.decode(effect.content, type=RECORD_TYPES[effect.kind])
            cause = Cause(effect.time, effect.request, effect.trace, effect.method, effect.path, effect.late)
            entry: Entry = (effect.kind, effect.effect, record)
            self._groups.append(_Group(effect.seq, cause, (entry,)))
            self._next = effect.seq + 1
            yield entry

    @property
    def last_request(self) -> int:
        """The highest request number in the log, 0 for an empty one."""
        return max((group.cause.request for group in self._groups), default=0)

    def append(self, cause: Cause, entries: list[Entry]) -> None:
        """Add the effects of one request, in order."""
        if not entries:
            return
        group = _Group(self._next, cause, tuple(entries))
        if self._file is not None:
            self._file.append(list(group.lines(0, with_content=True)))
        self._groups.append(group)
        self._next += len(entries)

    def effects(self, since: int = 0, *, with_content: bool = False) -> Iterator[Effect]:
        """The effects numbered `since` and up, in order."""
        for group in self._groups:
            if group.first + len(group.entries) > since:
                yield from group.lines(since, with_content=with_content)

    def clear(self) -> None:
        """Forget everything, in the file too; numbers start again at 1."""
        self._groups.clear()
        self._next = 1
        if self._file is not None:
            self._file.clear()
