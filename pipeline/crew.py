"""What a worker is given: a ledger it may write one partition of, and a connection that keeps the common pace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.ports import Api, Durable, LedgerBook
from schemas.errors import MeterfeedError
from schemas.sharing import Claim, Standing


class SharedBook(LedgerBook, Protocol):
    """The ledger beside the run that holds its lock. Without a claim, nothing of a run can be written."""

    def post(self, run_seq: int, *, lanes: int, steps: int, fence: int) -> None:
        """Offer the partitions of a run; `fence` is that of the run."""
        ...

    def stop(self, trouble: MeterfeedError) -> None:
        """Let nobody claim any more, and those who hold a partition come to an end."""
        ...

    def retract(self, run_seq: int, *, fence: int) -> None:
        """Take the offer back; what lost workers had under way is in doubt."""
        ...

    def standing(self) -> Standing | None:
        """How far the shared run is; None when none is shared at this moment."""
        ...

    def take(self, owner: str, *, seconds: float, lane: int | None = None) -> Claim | None:
        """Claim a partition that is due and that nobody alive holds: this one, or any."""
        ...

    def renew(self, claim: Claim, *, seconds: float) -> bool:
        """Keep a claim; False when the run is coming to an end; raises `ClaimLost`."""
        ...

    def leave(self, claim: Claim, *, done: bool, trouble: MeterfeedError | None = None) -> None:
        """Let go of a claim: its step is through, or somebody else may go on; or the whole run must end."""
        ...

    def forget(self) -> None:
        """Hold nothing any more, without a word to the ledger."""
        ...


@dataclass(frozen=True, slots=True)
class Crew:
    """One of several workers.

    Attributes:
        ledger: of this worker alone.
        durable: runs operations on it.
        api: keeps one rate with all other workers.
        owner: shown to people who ask who holds a partition.
    """

    ledger: SharedBook
    durable: Durable
    api: Api
    owner: str
