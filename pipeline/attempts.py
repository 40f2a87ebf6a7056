"""The story of a record or a row, told from what runs left behind: `meterfeed explain`.

A row that was held back comes again in a correction, perhaps more than once. Each of these rows is an *attempt*;
the row tokens of corrections tie them together, by the content of the file and the line in it, so that neither
a new name nor another folder breaks the chain. Nothing is locked and nothing is written: it may be asked while a
run is under way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from pipeline.partition import buckets_of
from pipeline.phases import MANNERS, Phase
from pipeline.ports import KeptRun, LedgerBook
from pipeline.row_token import SOURCE_SIZE
from schemas.errors import GuardError
from schemas.ledger import ChunkRow, RunRow, State
from schemas.masking import masked_id
from schemas.outcomes import Kind

TOKEN_LENGTH: Final = 32
"""Hex characters of a file's SHA-256 in a row token."""
MOST_ATTEMPTS: Final = 100
"""Attempts of one row that are told; nobody mends a row more often."""
NOT_A_RULE: Final = "unreadable"

_ROW = re.compile(r"(?P<file>.+):(?P<line>[0-9]{1,10})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, by the file's content: the first 32 hex characters of its SHA-256."""

    content: str
    line: int


@dataclass(frozen=True, slots=True)
class _Tie:
    """A row of a correction and the row it stands for."""

    later: Place
    earlier: Place


def tell(
    wanted: str,
    *,
    ledger: LedgerBook | None,
    kept: Sequence[KeptRun],
    shown_name: Callable[[str], str] = lambda name: name,
) -> dict[str, Any]:
    """The story of a record, or of a row given as `FILE:LINE`.

    Args:
        wanted: an id as it goes on the wire; or a file's name or path (or the beginning of its SHA-256), a colon,
            and a line.
        ledger: opened for reading; None when there is none.
        kept: runs by what lies in their folders, oldest first.
        shown_name: how the name of a file is written down.

    Returns:
        For a record `id` (masked), `held`, `events` (every chunk it was in) and `attempts` of the row it came from
        last; for a row `row` and `attempts`, oldest first.

    Raises:
        GuardError: nothing is known of it.
    """
    memory = _Memory(ledger, kept)
    held, events, place = memory.record(wanted)
    if held or events:
        attempts = memory.attempts(place, ids=False) if place is not None else []
        return {"id": masked_id(wanted), "held": held, "events": events, "attempts": attempts}
    row = _ROW.fullmatch(wanted)
    place = memory.place(row["file"], shown_name, int(row["line"])) if row else None
    if row is None or place is None:
        raise _unknown(wanted, row)
    return {"row": {"file": memory.name_of(place), "line": place.line}, "attempts": memory.attempts(place)}


def _unknown(wanted: str, row: re.Match[str] | None) -> GuardError:
    if row is None:
        return GuardError(
            f"The ledger knows nothing of {masked_id(wanted)}.",
            guard="unknown_id",
            cure="Give the id as it goes on the wire, or FILE:LINE for a row of an export.",
        )
    return GuardError(
        "No run here has read a file of that name.",
        guard="unknown_file",
        cure="Give the name as the reports show it, or the first characters of its SHA-256; "
        "`meterfeed runs` lists the runs.",
    )


class _Memory:
    """What the ledger and the run folders know."""

    def __init__(self, ledger: LedgerBook | None, kept: Sequence[KeptRun]) -> None:
        self._ledger, self._kept = ledger, kept
        self._ties = list(_ties(kept))

    # ------------------------------------------------------------------ records
    def record(self, wanted: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Place | None]:
        """What is held of a record, every chunk it was in, and the row it came from last."""
        if self._ledger is None:
            return [], [], None
        held = [
            {"kind": kind.value, "user": masked_id(row["user_id"]), "row": row["row"] % SOURCE_SIZE}
            for kind in Kind
            for number in buckets_of(0, 1)
            if (page := self._ledger.holdings(kind.value, range(number, number + 1))) is not None
            for row in page.filter(pl.col("id") == wanted).iter_rows(named=True)
        ]
        events, place = [], None
        for run, chunk, token in self._chunks_with(pl.col("id") == wanted):
            sources = self._ledger.sources(run.run_seq)
            source, line = divmod(token, SOURCE_SIZE)
            known = sources[source] if source < len(sources) else None
            place = Place(known.sha256[:TOKEN_LENGTH], line) if known is not None else place
            events.append(
                {
                    "run": run.run_id,
                    "phase": chunk.phase,
                    "state": str(chunk.state),
                    "reason": chunk.reason,
                    "message": chunk.message,
                    "attempts": chunk.attempt,
                    "file": known.name if known is not None else "",
                    "line": line,
                    "moves": self._ledger.moves(chunk.chunk_seq),
                }
            )
        return held, events, place

    def _chunks_with(self, wanted: pl.Expr) -> Iterator[tuple[RunRow, ChunkRow, int]]:
        """Leaf chunks with a record that fits, oldest first, and the token of its first row."""
        if self._ledger is None:
            return
        runs = {run.run_seq: run for run in self._ledger.runs(brief=True)}
        for chunk in self._ledger.chunks(states=[state for state in State if state is not State.SPLIT]):
            for token in chunk.manifest.filter(wanted)["row"]:
                yield runs[chunk.run_seq], chunk, token

    # ------------------------------------------------------------------ rows
    def place(self, file: str, shown_name: Callable[[str], str], line: int) -> Place | None:
        """A line of the newest file of that name or content."""
        name = file.rsplit("/", 1)[-1]
        for known, sha256 in reversed(list(self._files())):
            if known in (name, shown_name(name)) or (len(file) >= 8 and sha256.startswith(file.lower())):
                return Place(sha256[:TOKEN_LENGTH], line)
        return None

    def name_of(self, place: Place) -> str:
        """The newest name of a file."""
        names = [name for name, sha256 in self._files() if sha256.startswith(place.content)]
        return names[-1] if names else f"{place.content[:12]}…"

    def _files(self) -> Iterator[tuple[str, str]]:
        if self._ledger is not None:
            for run in reversed(self._ledger.runs(brief=True)):
                yield from ((one.name, one.sha256) for one in self._ledger.sources(run.run_seq))
        for kept in self._kept:
            yield from kept.sources

    def attempts(self, place: Place, *, ids: bool = True) -> list[dict[str, Any]]:
        """Every row that stood for the same thing: the first one, its corrections, and theirs, in order.

        Args:
            ids: whether the records are named by their whole ids: who asks by a row has no other way to them.
        """
        return [self._attempt(one, ids=ids) for one in self._chain(place)]

    def _chain(self, place: Place) -> list[Place]:
        first = place
        seen = {place}
        while (tie := next((tie for tie in self._ties if tie.later == first), None)) is not None:
            first = tie.earlier
            if first in seen:
                break
            seen.add(first)
        chain, at = [first], 0
        while at < len(chain) and len(chain) < MOST_ATTEMPTS:
            chain += [tie.later for tie in self._ties if tie.earlier == chain[at] and tie.later not in chain]
            at += 1
        return chain

    def _attempt(self, place: Place, *, ids: bool) -> dict[str, Any]:
        return {
            "file": self.name_of(place),
            "sha256": place.content,
            "line": place.line,
            "runs": [
                self._in_run(kept, name, place, ids=ids)
                for kept in self._kept
                for name, sha256 in dict.fromkeys(kept.sources)
                if sha256.startswith(place.content)
            ],
        }

    def _in_run(self, kept: KeptRun, name: str, place: Place, *, ids: bool) -> dict[str, Any]:
        broken = kept.broken(name, place.line)
        records = kept.records(name, place.line)
        whole = self._ids(kept.run_id, place) if records and ids else {}
        told = [
            {**record, "id": whole.get((record["kind"], record["masked_id"]))} for record in records or ()
        ]
        return {
            "run": kept.run_id,
            "command": kept.command,
            "at": kept.started_at,
            "ended": _ending(broken, records),
            "rules": [rule for rule, severity in broken if severity != "warn"],
            "warnings": [rule for rule, severity in broken if severity == "warn"],
            "records": told,
        }

    def _ids(self, run_id: str, place: Place) -> dict[tuple[str, str], str]:
        """Ids of the records that a run made of a row, by kind and masked id."""
        if self._ledger is None:
            return {}
        runs = self._ledger.runs(run_id=run_id, brief=True)
        found = {}
        for run in runs:
            tokens = [
                source.index * SOURCE_SIZE + place.line
                for source in self._ledger.sources(run.run_seq)
                if source.sha256.startswith(place.content)
            ]
            for chunk in self._ledger.chunks(
                states=[state for state in State if state is not State.SPLIT], run_seq=run.run_seq
            ):
                kind = MANNERS[Phase(chunk.phase)].kind.value
                for identifier in chunk.manifest.filter(pl.col("row").is_in(tokens))["id"]:
                    found[kind, masked_id(identifier)] = identifier
        return found


def _ending(broken: Sequence[tuple[str, str]], records: Sequence[dict[str, Any]] | None) -> str:
    """How a row ended in a run: a good one is `judged_only` where nothing was sent.

    `nothing_recorded` says that it broke no rule and began no record.
    """
    severities = {severity for _, severity in broken}
    if NOT_A_RULE in severities:
        return NOT_A_RULE
    if "quarantine" in severities:
        return "quarantined"
    if records is None:
        return "judged_only"
    return "mapped" if records else "nothing_recorded"


def _ties(kept: Iterable[KeptRun]) -> Iterator[_Tie]:
    for run in kept:
        for correction, line, content, corrected in run.corrects():
            yield _Tie(Place(correction[:TOKEN_LENGTH], line), Place(content, corrected))
