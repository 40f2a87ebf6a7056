"""The values that pass between a run and the workers that share its partitions."""

from __future__ import annotations

import json
from dataclasses import dataclass

from schemas import errors
from schemas.errors import GuardError, MeterfeedError, StorageError


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to send one partition of a run, until it expires and somebody else takes it.

    Attributes:
        run_seq: the run.
        lane: the partition, counted from 1: lane 0 is a whole plan sent by one process.
        step: which phases of the partition are due; see `pipeline/sharing.py`.
        fence: with what the holder signs its writes; good for this lane only, and only while it is held.
        taken_over: whether its last holder was lost while it held it.
    """

    run_seq: int
    lane: int
    step: int
    fence: int
    taken_over: bool = False

    @property
    def partition(self) -> int:
        """The partition of the plan."""
        return self.lane - 1


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the partitions of a shared run are.

    Attributes:
        run_seq: the run.
        lanes: partitions.
        done: partitions that are through.
        held: partitions somebody alive is sending.
        lost: holders that were lost, over all partitions.
        open: partitions that can be claimed at this moment.
        trouble: what a worker met that must end the run; None while all is well.
    """

    run_seq: int
    lanes: int
    done: int
    held: int
    lost: int
    open: tuple[int, ...]
    trouble: MeterfeedError | None

    @property
    def is_done(self) -> bool:
        """Whether every partition is through."""
        return self.done == self.lanes


def trouble_to_text(error: MeterfeedError) -> str:
    """An error as another process can raise it, with what it is a kind of. Errors hold no customer value."""
    guard = error.guard if isinstance(error, GuardError) else None
    kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, MeterfeedError)]
    return json.dumps([kinds, error.message, error.cure, guard])


def trouble_from_text(text: str) -> MeterfeedError:
    """The error `trouble_to_text` wrote, also in another version: then as the nearest kind that is known here.

    Of a kind that nothing here is near to, only that the run cannot go on is known.
    """
    kinds, message, cure, guard = json.loads(text)
    if guard is not None:
        return GuardError(message, cure=cure, guard=guard)
    named = [kinds] if isinstance(kinds, str) else kinds  # earlier versions named the kind alone
    known = (_KINDS[name] for name in named if name in _KINDS)
    return next(known, StorageError)(message, cure=cure)


_KINDS: dict[str, type[MeterfeedError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type)
    and issubclass(kind, MeterfeedError)
    and kind not in (MeterfeedError, GuardError)
}
"""What an error can arrive as; a guard is told by its own name."""
