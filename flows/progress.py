"""How far a run is, in one number and one line, for the progress artifact. No Prefect in here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipeline.ports import Notice

STAGES: Final = {"judge": (0.0, 30.0), "plan": (30.0, 45.0), "send": (45.0, 99.0), "reconcile": (0.0, 99.0)}
"""Between which percentages a stage moves. Rows to judge and records to send are not known beforehand: such a stage
stands at its beginning and its words count."""


@dataclass(frozen=True, slots=True)
class Now:
    """A moment: per cent done and a line about it."""

    percent: float
    words: str


class Progress:
    """Takes notices from the working thread; asked from Prefect's. One reference is swapped, so no lock is needed."""

    def __init__(self, command: str) -> None:
        self.command = command
        self._last: Notice | None = None
        self._stage: tuple[str, float, int] | None = None
        self._files: tuple[int, int, float] | None = None

    def notice(self, notice: Notice) -> None:
        """What the pipeline says."""
        self._last = notice

    def files(self, done: int, total: int, started: float) -> None:
        """That `done` of `total` files are through, since `started` on the monotonic clock."""
        self._files = (done, total, started)

    def now(self, clock: float) -> Now:
        """As things stand at `clock`, in seconds of the monotonic clock."""
        words = "starting"
        percent = 0.0
        if (last := self._last) is not None:
            low, high = STAGES.get(last.stage, (0.0, 99.0))
            share = min(1.0, last.done / last.total) if last.total else 0.0
            percent = low + (high - low) * share
            words = f"{last.stage}: {last.done:,} {last.unit}{self._stage_left(last, clock)}"
        if self._files is None:
            return Now(round(percent, 1), words)
        done, total, started = self._files
        return Now(
            round(100 * done / total, 1) if total else 0.0, f"{_left(done, total, clock - started)}; {words}"
        )

    def _stage_left(self, last: Notice, clock: float) -> str:
        """How long a stage of a known size will go on, from how it went since it was first looked at."""
        if self._stage is None or self._stage[0] != last.stage:
            self._stage = (last.stage, clock, last.done)
        _, since, first = self._stage
        if last.total is None or not first < last.done < last.total:
            return ""
        return f" of {last.total:,}" + _minutes(
            (clock - since) / (last.done - first) * (last.total - last.done)
        )


def _minutes(seconds: float) -> str:
    return f", about {max(1, round(seconds / 60))} min left"


def _left(done: int, total: int, seconds: float) -> str:
    told = f"{done} of {total} exports"
    if not 0 < done < total:
        return told
    return told + _minutes(seconds / done * (total - done))
