"""What a report shows beside the summary: reasons, examples, stages, guards. Plain values, no I/O.

Everything here is already fit to be shown: ids masked (`schemas.masking.masked_id`), foreign sentences masked
and on one line (`masked_text`), files by their display name. The report escapes it again all the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from schemas.outcomes import Kind, Outcome

EXAMPLE_LIMIT = 50
"""Most examples kept per outcome; the rest is in outcomes.parquet."""
DETAILS_VERSION = 1


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one stage of `pipeline/run.py` took, in seconds of the monotonic clock."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many records of a kind ended in an outcome for a reason (a code out of a closed list)."""

    outcome: Outcome
    kind: Kind
    code: str
    count: int


@dataclass(frozen=True, slots=True)
class RecordExample:
    """One record that did not arrive, and where to look: masked id, masked server message, file and line."""

    outcome: Outcome
    kind: Kind
    masked_id: str
    code: str
    message: str = ""
    file: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Handovers:
    """Meter points passing from one customer to another: released and given on, or only reported."""

    moved: int = 0
    reported: int = 0


@dataclass(frozen=True, slots=True)
class GuardCheck:
    """One guard as evaluated. `value` is None when there was nothing to compare with.

    Attributes:
        name: as in the profile's `[guards]`.
        unit: "share" (shown in per cent) | "count" | "times" | "km".
    """

    name: str
    value: float | None
    limit: float | None
    tripped: bool = False
    unit: str = "share"


@dataclass(frozen=True, slots=True)
class RuleNote:
    """A rule as people read it: severity ("quarantine" | "warn" | "stop"), what it means, the cure."""

    name: str
    severity: str
    meaning: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True)
class RunDetails:
    """What the report shows beside the summary.

    Attributes:
        profiles: names of the profiles in use; runs are compared with earlier ones of the same profiles.
        stages: in the order they ran.
        reasons: sums per outcome and kind; for rejected, blocked and in doubt they equal the summary.
        examples: at most `EXAMPLE_LIMIT` per outcome are shown.
        handovers: None when the run did not plan.
        plan_digest: hex; None when the run did not plan.
        guards: every guard evaluated, tripped or not.
        rules: notes for the rules that may occur; a rule without a note is shown by its name.
    """

    profiles: tuple[str, ...] = ()
    stages: tuple[StageTime, ...] = ()
    reasons: tuple[ReasonCount, ...] = ()
    examples: tuple[RecordExample, ...] = ()
    handovers: Handovers | None = None
    plan_digest: str | None = None
    guards: tuple[GuardCheck, ...] = ()
    rules: tuple[RuleNote, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, with `details_version`."""
        document: dict[str, Any] = msgspec.to_builtins(asdict(self))
        return {"details_version": DETAILS_VERSION, **document}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> RunDetails:
        """The inverse of `to_json`; unknown keys are ignored.

        Raises:
            msgspec.ValidationError: a value is not of its type.
        """
        return msgspec.convert(document, cls)
