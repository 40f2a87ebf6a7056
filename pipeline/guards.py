"""Guards: what must hold of a plan before its first byte is sent. Each is a value; none raises by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.plan import LOST, Plan
from pipeline.vanishing import COST
from schemas.details import GuardCheck
from schemas.errors import GuardError
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

    A delta may be of any size, so only full exports are compared with the one before. Rows that nobody wanted make no
    bad row rarer.
    """
    kept = rows.read - rows.filtered
    share = (rows.quarantined + rows.unreadable) / kept if kept else 0.0
    checks = [
        GuardCheck(EMPTY, kept, 1, tripped=kept == 0, unit="count"),
        GuardCheck(
            "quarantined",
            share,
            limits.quarantined,
            tripped=kept >= limits.minimum_rows and share > limits.quarantined,
        ),
    ]
    before = history.rows
    if full and before and before >= limits.minimum_rows:
        shrunk, grown = 1 - rows.read / before, rows.read / before - 1
        checks.append(GuardCheck("shrank", max(shrunk, 0.0), limits.shrank, tripped=shrunk > limits.shrank))
        checks.append(GuardCheck("grew", max(grown, 0.0), limits.grew, tripped=grown > limits.grew))
    return checks


def plan_guards(
    plan: Plan, limits: GuardsSection, *, history: History, rows: Sequence[GuardCheck] = ()
) -> list[GuardCheck]:
    """Guards on what is about to change.

    Args:
        rows: the guards on what was read: nothing is removed on the word of an export that shrank too much.
    """
    checks = _removal_guards(plan, limits, rows)
    known = sum(counts.update + counts.release + counts.unchanged for counts in plan.counts.values())
    updates = sum(counts.update + counts.release for counts in plan.counts.values())
    if known >= limits.minimum_rows:
        share = updates / known
        checks.append(GuardCheck("updates", share, limits.updates, tripped=share > limits.updates))
    lost = plan.facts.get(LOST, 0)
    if lost:
        limit = limits.meter_points_lost
        checks.append(GuardCheck(LOST, lost, limit, tripped=lost > limit, unit="count"))
    creates = sum(counts.create for counts in plan.counts.values())
    most = history.most_creates
    if most and creates >= limits.minimum_rows:
        times = creates / most
        checks.append(
            GuardCheck("creates", times, limits.creates, tripped=times > limits.creates, unit="times")
        )
    return checks


def _removal_guards(plan: Plan, limits: GuardsSection, rows: Sequence[GuardCheck]) -> list[GuardCheck]:
    """Two guards on removals: a limit that no approval lifts, and the approval itself.

    Records are counted, not calls: what hangs on a removed user counts as well.
    """
    removed = plan.removals
    if not removed:
        return []
    held = plan.facts.get("vanished", {}).get("held", 0)
    limit = max(limits.deletes_always, int(limits.deletes * held))
    if any(check.name == "shrank" and check.tripped for check in rows):
        limit = 0
    return [
        GuardCheck(DELETES, removed, limit, tripped=removed > limit, unit="count"),
        GuardCheck(APPROVAL, removed, 0, tripped=True, unit="count"),
    ]


DELETES = "deletes"
APPROVAL = "removal"
"""Removing anything needs a person who has looked at this very plan."""
EMPTY = "empty"
NOT_APPROVABLE = frozenset({DELETES, EMPTY})
"""Guards that a broken export must not pass, not even with a person's yes."""

_SENTENCES = {
    DELETES: "{value:.0f} records would be removed at once; the limit is {limit:.0f}, or none when the export shrank.",
    APPROVAL: "{value:.0f} records vanished from the exports and would be removed. " + COST,
    LOST: "{value:.0f} meter points would leave their location and go to no other; the limit is {limit:.0f}. "
    "A row of a delta says all of its location: name each of its meter points.",
    EMPTY: "The exports hold no row to load ({value:.0f}).",
    "quarantined": "{value:.1%} of the rows to load are quarantined or unreadable; the limit is {limit:.1%}.",
    "shrank": "The export is {value:.1%} smaller than the last one; the limit is {limit:.1%}.",
    "grew": "The export is {value:.0%} larger than the last one; the limit is {limit:.0%}.",
    "updates": "{value:.1%} of the known records would change at once; the limit is {limit:.1%}.",
    "creates": "{value:.1f} times as many records as ever before would be created; the limit is {limit:.1f}.",
}


def first_tripped(
    checks: Sequence[GuardCheck], *, plan_digest: str | None, approved: bool = False
) -> GuardError | None:
    """The error of the first guard that tripped, naming how a person lets the plan through; or None.

    Args:
        approved: a person let this plan through: only what cannot be approved still stops it.
    """
    firm = [check for check in checks if check.tripped and check.name in NOT_APPROVABLE]
    others = [check for check in checks if check.tripped and check.name not in NOT_APPROVABLE]
    tripped = next(iter(firm if approved else [*firm, *others]), None)
    if tripped is None:
        return None
    sentence = _SENTENCES[tripped.name].format(value=tripped.value or 0.0, limit=tripped.limit or 0.0)
    cure = "Nothing was sent. Look at the report"
    if tripped.name == DELETES:
        cure += "; leave --delete-vanished out to send the rest, or raise [guards] deletes in the profile"
    elif plan_digest and tripped.name not in NOT_APPROVABLE:
        cure += f"; if it is right, run `meterfeed apply {plan_digest}`"
    return GuardError(sentence, guard=tripped.name, cure=cure + ".")


def tightest(sections: Sequence[GuardsSection]) -> GuardsSection:
    """The strictest of each limit, for a run of several profiles."""
    merged = {
        name: min(getattr(section, name) for section in sections) for name in GuardsSection.model_fields
    }
    return GuardsSection(**merged)
