"""Guards: what must hold of a plan before its first byte is sent. Each is a value; none raises by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.plan import Plan
from schemas.details import GuardCheck
from schemas.errors import GuardError
from schemas.outcomes import Kind
from schemas.profile import GuardsSection
from schemas.summary import RowCounts


@dataclass(frozen=True, slots=True)
class History:
    """What earlier completed runs of the same profiles looked like; None on the first.

    Attributes:
        rows: rows read by the last one.
        most_creates: most records created by any of them.
    """

    rows: int | None = None
    most_creates: int | None = None

    @classmethod
    def of(cls, summaries: Sequence[Mapping[str, Any]]) -> History:
        """From the summaries of completed runs, newest first."""
        if not summaries:
            return cls()
        creates = [
            sum(counts.get("created") or 0 for counts in (summary.get("records") or {}).values())
            for summary in summaries
        ]
        return cls(rows=(summaries[0].get("rows") or {}).get("read"), most_creates=max(creates))


def row_guards(rows: RowCounts, limits: GuardsSection, *, history: History, full: bool) -> list[GuardCheck]:
    """Guards on what was read.

    A delta may be of any size, so only full exports are compared with the one before.
    """
    bad = rows.quarantined + rows.unreadable
    share = bad / rows.read if rows.read else 0.0
    kept = rows.read - rows.filtered
    checks = [
        GuardCheck("empty", kept, 1, tripped=kept == 0, unit="count"),
        GuardCheck(
            "quarantined",
            share,
            limits.quarantined,
            tripped=rows.read >= limits.minimum_rows and share > limits.quarantined,
        ),
    ]
    before = history.rows
    if full and before and before >= limits.minimum_rows:
        shrunk, grown = 1 - rows.read / before, rows.read / before - 1
        checks.append(GuardCheck("shrank", max(shrunk, 0.0), limits.shrank, tripped=shrunk > limits.shrank))
        checks.append(GuardCheck("grew", max(grown, 0.0), limits.grew, tripped=grown > limits.grew))
    return checks


def plan_guards(plan: Plan, limits: GuardsSection, *, history: History) -> list[GuardCheck]:
    """Guards on what is about to change."""
    checks = []
    known = sum(counts.update + counts.release + counts.unchanged for counts in plan.counts.values())
    updates = sum(counts.update + counts.release for counts in plan.counts.values())
    if known >= limits.minimum_rows:
        share = updates / known
        checks.append(GuardCheck("updates", share, limits.updates, tripped=share > limits.updates))
    creates = sum(counts.create for counts in plan.counts.values())
    most = history.most_creates
    if most and creates >= limits.minimum_rows:
        times = creates / most
        checks.append(
            GuardCheck("creates", times, limits.creates, tripped=times > limits.creates, unit="times")
        )
    return checks


_SENTENCES = {
    "empty": "The exports hold no row to load ({value:.0f}).",
    "quarantined": "{value:.1%} of the rows are quarantined or unreadable; the limit is {limit:.1%}.",
    "shrank": "The export is {value:.1%} smaller than the last one; the limit is {limit:.1%}.",
    "grew": "The export is {value:.0%} larger than the last one; the limit is {limit:.0%}.",
    "updates": "{value:.1%} of the known records would change at once; the limit is {limit:.1%}.",
    "creates": "{value:.1f} times as many records as ever before would be created; the limit is {limit:.1f}.",
}


def first_tripped(checks: Sequence[GuardCheck], *, plan_digest: str | None) -> GuardError | None:
    """The error of the first guard that tripped, naming how a person lets the plan through; or None."""
    tripped = next((check for check in checks if check.tripped), None)
    if tripped is None:
        return None
    sentence = _SENTENCES[tripped.name].format(value=tripped.value or 0.0, limit=tripped.limit or 0.0)
    cure = "Nothing was sent. Look at the report"
    if plan_digest and tripped.name != "empty":
        cure += f"; if it is right, run again with --approve {plan_digest}"
    return GuardError(sentence, guard=tripped.name, cure=cure + ".")


def tightest(sections: Sequence[GuardsSection]) -> GuardsSection:
    """The strictest of each limit, for a run of several profiles."""
    merged = {
        name: min(getattr(section, name) for section in sections) for name in GuardsSection.model_fields
    }
    return GuardsSection(**merged)


def kinds_planned(plan: Plan) -> tuple[Kind, ...]:
    """Kinds the plan says anything of."""
    return tuple(kind for kind, counts in plan.counts.items() if counts.planned)
