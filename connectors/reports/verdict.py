"""The verdict in one sentence, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.reports import words
from connectors.reports.account import needing_somebody, outcome_total, removal_total
from schemas.details import RunDetails
from schemas.masking import masked_text, printable
from schemas.outcomes import Exit, Outcome
from schemas.summary import Summary

SENTENCE_LIMIT = 400
"""Longest sentence of a verdict, in characters."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the operator sees first: class (good, attention, doubt, stop), sentence, cause, next step.

    `headline`, `why` and `next` may hold `code` between backticks.
    """

    status: str
    sign: str
    word: str
    headline: str
    why: str
    next: str


def verdict_of(summary: Summary, details: RunDetails) -> Verdict:
    """The verdict on a run."""
    status = words.status(summary.exit_code)
    error = summary.error
    return Verdict(
        status=status,
        sign=words.STATUS_MARK[status],
        word=words.status_word(summary.exit_code),
        headline=printable(summary.verdict)[:SENTENCE_LIMIT],
        why=printable(error.message)[:SENTENCE_LIMIT] if error else _why(summary),
        next=capitalised(_next_step(summary, details)),
    )


def capitalised(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def _why(summary: Summary) -> str:
    """The counts behind the verdict, worst first."""
    counts = [
        told
        for outcome in needing_somebody(summary)
        for told in (
            (outcome_total(summary, outcome), f"records {words.OUTCOME_LABELS[outcome]}"),
            (removal_total(summary, outcome), f"removals {words.REMOVAL_LABELS[outcome]}"),
        )
    ]
    counts += [
        (summary.rows.quarantined if summary.rows else 0, "rows in quarantine"),
        (summary.rows.unreadable if summary.rows else 0, "rows unreadable"),
    ]
    found = [f"{words.number(count)} {what}" for count, what in counts if count]
    if found:
        return f"{', '.join(found)}."
    if summary.rows is None:
        return ""
    return f"{words.number(summary.rows.read)} rows read, none held back."


def _next_step(summary: Summary, details: RunDetails) -> str:
    """The one thing to do now; the cure of what stopped the run wins."""
    if summary.error and summary.error.cure:
        return printable(summary.error.cure)[:SENTENCE_LIMIT]
    match summary.exit_code:
        case Exit.OK:
            return _after_success(summary, details)
        case Exit.DONE_WITH_REJECTS:
            return _after_rejects(summary)
        case Exit.GUARD:
            return _after_guard(details)
        case Exit.IN_DOUBT | Exit.UNAVAILABLE | Exit.INTERRUPTED | Exit.TERMINATED:
            return (
                "run `meterfeed resume`. It reads back what became of everything open before it sends "
                "anything, and nothing is created twice."
            )
        case Exit.SETTINGS:
            return "correct the settings or credentials named above and run the same command again."
        case Exit.BUSY:
            return "wait until the other run has ended, then run the same command again."
        case Exit.STORAGE:
            return "make room or mend the data directory, then run `meterfeed resume`."
        case Exit.USAGE:
            return "correct the command or the profile; `meterfeed --help` shows an example of each."
        case _:
            return "do not trust this run. Keep its folder and report the bug."


def _after_success(summary: Summary, details: RunDetails) -> str:
    if summary.command == "plan" and details.plan_digest:
        return f"look at the plan, then run `meterfeed apply {details.plan_digest}`."
    return "nothing to do."


def _after_rejects(summary: Summary) -> str:
    steps = []
    if summary.rows and (summary.rows.quarantined or summary.rows.unreadable):
        kept = summary.artifacts.correction is not None
        steps.append(words.CORRECT_ROWS if kept else f"the rows held back {words.ROWS_GONE}")
    if outcome_total(summary, Outcome.REJECTED):
        steps.append("look at the records the API refused, below")
    if removal_total(summary, Outcome.REJECTED) + removal_total(summary, Outcome.BLOCKED):
        steps.append("look at the removals that were refused or blocked, below")
    if outcome_total(summary, Outcome.BLOCKED) and not steps:
        steps.append("settle what the blocked records hang on, then run `meterfeed resume`")
    return f"{'; '.join(steps) or 'look at the counts below'}."


def _after_guard(details: RunDetails) -> str:
    tripped = [guard.name for guard in details.guards if guard.tripped]
    named = (
        f" ({', '.join(words.sentence(masked_text(name)).lower() for name in tripped)})" if tripped else ""
    )
    if details.plan_digest:
        return (
            f"look at the guard{named} and what it measured, below. If the change is meant, run "
            f"`meterfeed apply {details.plan_digest}`."
        )
    return f"look at the guard{named} and what it measured, below, before anything is sent."
