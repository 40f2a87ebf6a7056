"""The account: where every planned record ended, from the ledger alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import polars as pl

from pipeline.phases import COUNTED, MANNERS, Phase
from pipeline.plan import Plan
from pipeline.row_token import SOURCE_SIZE
from schemas.details import EXAMPLE_LIMIT, ReasonCount, RecordExample
from schemas.errors import AccountError
from schemas.ledger import ChunkRow, State
from schemas.masking import masked_id, masked_text
from schemas.outcomes import REMOVED, VERDICTS, Exit, Kind, Outcome, worst
from schemas.summary import Customers, RecordCounts, RowCounts, Summary

OUTCOMES = {
    State.REJECTED: Outcome.REJECTED,
    State.IN_DOUBT: Outcome.IN_DOUBT,
    State.IN_FLIGHT: Outcome.IN_DOUBT,  # its end could not be written down, or it is looked at from outside
    State.BLOCKED: Outcome.BLOCKED,
    State.PLANNED: Outcome.NOT_SENT,
    State.SUPERSEDED: Outcome.NOT_SENT,
}
"""Outcome of a record by the state of the leaf chunk that holds it; acknowledged depends on the phase."""

OPEN = (State.REJECTED, State.IN_DOUBT, State.IN_FLIGHT, State.BLOCKED, State.PLANNED, State.SUPERSEDED)

Line = tuple[str, str, str | None, int]
"""`(phase, state, reason, records)` as the ledger adds them up."""


HALF_DONE = {
    f"earlier_{state}": OUTCOMES[state] for state in (State.IN_DOUBT, State.IN_FLIGHT, State.PLANNED)
}
"""Outcome of an update by the reason it waits for its own first step: it is where that step is (decision 41)."""


def outcome_of(phase: Phase, state: State, reason: str | None) -> Outcome:
    """The outcome of a record of the exports in a leaf chunk of this phase, state and reason.

    Whatever tells of a record asks here, so that no two of them contradict each other.
    """
    if phase is Phase.UPDATE_LOCATIONS and state is State.BLOCKED:
        return HALF_DONE.get(reason or "", Outcome.BLOCKED)
    return MANNERS[phase].done or Outcome.UPDATED if state is State.ACKNOWLEDGED else OUTCOMES[state]


def record_counts(plan: Plan, lines: Iterable[Line]) -> dict[Kind, RecordCounts]:
    """Counts of every kind; what was planned and is in no chunk was not sent.

    Raises:
        AccountError: the ledger holds more records of a kind than were planned.
    """
    found: Counter[tuple[Kind, Outcome]] = Counter()
    for phase, state, reason, count in lines:
        if phase in COUNTED:
            outcome = outcome_of(Phase(phase), State(state), reason)
            found[MANNERS[Phase(phase)].kind, outcome] += count
    counts = {}
    for kind in Kind:
        planned = plan.counts[kind].planned if kind in plan.counts else 0
        unchanged = plan.counts[kind].unchanged if kind in plan.counts else 0
        seen = {outcome: found[kind, outcome] for outcome in Outcome}
        unseen = planned - unchanged - sum(seen.values())
        if unseen < 0:
            raise AccountError(f"the ledger holds {-unseen} more {kind} records than were planned")
        counts[kind] = RecordCounts(
            planned=planned,
            created=seen[Outcome.CREATED],
            updated=seen[Outcome.UPDATED],
            unchanged=unchanged,
            rejected=seen[Outcome.REJECTED],
            blocked=seen[Outcome.BLOCKED],
            in_doubt=seen[Outcome.IN_DOUBT],
            not_sent=seen[Outcome.NOT_SENT] + unseen,
        )
        counts[kind].check(kind)
    return counts


REMOVALS = {State.ACKNOWLEDGED: REMOVED, **{state: outcome.value for state, outcome in OUTCOMES.items()}}
"""What is said of a record that was to be removed, by the state of the leaf chunk that holds it."""


def removal_counts(plan: Plan, lines: Iterable[Line]) -> dict[Kind, dict[str, int]]:
    """Where every record ended that was to be removed because it had vanished.

    `planned = removed + rejected + blocked + in_doubt + not_sent`, for the kinds with anything planned.

    Raises:
        AccountError: the ledger holds more of them than were planned.
    """
    counts: dict[Kind, dict[str, int]] = {}
    for kind, changes in plan.counts.items():
        if changes.delete:
            counts[kind] = {"planned": changes.delete, **dict.fromkeys(REMOVALS.values(), 0)}
    for phase, state, _, count in lines:
        manner = MANNERS[Phase(phase)]
        if manner.removes:
            if manner.kind not in counts:
                raise AccountError(f"the ledger holds {manner.kind} removals and none were planned")
            counts[manner.kind][REMOVALS[State(state)]] += count
    for kind, one in counts.items():
        unseen = 2 * one["planned"] - sum(one.values())
        if unseen < 0:
            raise AccountError(f"the ledger holds {-unseen} more {kind} removals than were planned")
        one[Outcome.NOT_SENT.value] += unseen
    return counts


def removal_exits(counts: Mapping[Kind, Mapping[str, int]]) -> set[Exit]:
    """Every exit code the removals speak for."""
    total = Counter[str]()
    for one in counts.values():
        total.update(one)
    speaks = {
        Exit.DONE_WITH_REJECTS: total["rejected"] + total["blocked"],
        Exit.IN_DOUBT: total["in_doubt"],
        Exit.UNAVAILABLE: total["not_sent"],
    }
    return {code for code, count in speaks.items() if count}


def of_settled(summary: Summary) -> Summary:
    """The summary of a settled run as it is told again: by its counts alone.

    What interrupted it, or stopped it with its last record in place, is over: nobody could ever get past it.
    """
    told = summary.extra.get("vanished", {}).get("removals", {})
    removals = {Kind(kind): counts for kind, counts in told.items()}
    code = worst(exits(summary.rows, summary.records.values()) | removal_exits(removals))
    return replace(summary, exit_code=code, verdict=VERDICTS[code], error=None)


def nothing_sent(plan: Plan) -> dict[Kind, RecordCounts]:
    """The account of a plan of which nothing was sent."""
    return record_counts(plan, ())


def reason_counts(lines: Iterable[Line], plan: Plan) -> tuple[ReasonCount, ...]:
    """Why records are not in place, added up."""
    found: Counter[tuple[Outcome, Kind, str]] = Counter()
    for phase, state, reason, count in lines:
        if State(state) in OPEN and phase in COUNTED:
            outcome = outcome_of(Phase(phase), State(state), reason)
            found[outcome, MANNERS[Phase(phase)].kind, reason or "not_sent"] += count
    for kind, counts in record_counts(plan, lines).items():
        unseen = (counts.not_sent or 0) - sum(
            n for (o, k, _), n in found.items() if (o, k) == (Outcome.NOT_SENT, kind)
        )
        if unseen:
            found[Outcome.NOT_SENT, kind, "not_reached"] += unseen
    return tuple(ReasonCount(*key, count) for key, count in sorted(found.items()))


def examples(chunks: Iterable[ChunkRow], files: Sequence[str]) -> tuple[RecordExample, ...]:
    """Some records of each outcome that did not arrive, masked, with the line they come from."""
    shown: Counter[Outcome] = Counter()
    found = []
    for chunk in chunks:
        phase = Phase(chunk.phase)
        if phase not in COUNTED:
            continue
        outcome = outcome_of(phase, chunk.state, chunk.reason)
        for identifier, row in (
            chunk.manifest.select("id", "row").head(EXAMPLE_LIMIT - shown[outcome]).iter_rows()
        ):
            shown[outcome] += 1
            source = row // SOURCE_SIZE
            found.append(
                RecordExample(
                    outcome,
                    MANNERS[phase].kind,
                    masked_id(identifier),
                    chunk.reason or "not_sent",
                    masked_text(chunk.message or ""),
                    files[source] if source < len(files) else "",
                    row % SOURCE_SIZE,
                )
            )
    return tuple(found)


def customers(plan: Plan, open_users: pl.Series) -> Customers:
    """Users whose every planned record is in place, and the others."""
    incomplete = open_users.n_unique()
    return Customers(complete=plan.users - incomplete, incomplete=incomplete)


def exits(rows: RowCounts | None, records: Iterable[RecordCounts]) -> set[Exit]:
    """Every exit code the counts speak for; the caller adds what stopped the run."""
    found = {Exit.OK}
    if rows is not None and rows.quarantined + rows.unreadable:
        found.add(Exit.DONE_WITH_REJECTS)
    for counts in records:
        if (counts.rejected or 0) + (counts.blocked or 0):
            found.add(Exit.DONE_WITH_REJECTS)
        if counts.in_doubt:
            found.add(Exit.IN_DOUBT)
        if counts.not_sent:
            found.add(Exit.UNAVAILABLE)
    return found
