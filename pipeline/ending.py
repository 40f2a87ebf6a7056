"""What a run comes to: its summary, from counts that were taken independently, and the files beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import polars as pl

from pipeline import account
from pipeline.guards import first_tripped, tightest
from pipeline.keeping import KEPT
from pipeline.order import Opened
from pipeline.phases import COUNTED, MANNERS, NAMED_BY_NO_ROW, TOLD, Phase
from pipeline.plan import LOST, Plan
from pipeline.planning import UNCHANGED, phase_table
from pipeline.ports import PlanSpool, RunShelf, World
from pipeline.prepare import Judged
from pipeline.row_token import source_columns
from pipeline.session import SENDING, Session
from schemas.details import GuardCheck, Handovers, RunDetails
from schemas.errors import GuardError, MeterfeedError, StorageError
from schemas.ledger import RunRow, State
from schemas.masking import masked_ids
from schemas.outcomes import VERDICTS, Exit, Kind, Outcome, verdict_on, worst
from schemas.quality import QualityFigures
from schemas.summary import (
    UNKNOWN_RECORDS,
    Customers,
    ErrorEntry,
    RecordCounts,
    RequestCounts,
    RowCounts,
    SourceEntry,
    Summary,
)

Counts = TypeVar("Counts", RowCounts, RecordCounts, RequestCounts)

IN_TEST_AREA = (
    "{count} of production would stand in a test area of the vendor, and get its price curves every day. "
    "Test areas are for the sandbox: check the coordinates."
)
"""A note, and no reason to stop."""

METER_POINTS_LOST = (
    "{count} would leave a location and go to no other: rows of a delta no longer name what it held. If only a part of "
    "a location was exported, export all of it."
)

MAY_GO = "Some records were held back and may go now. Run `meterfeed resume`."
"""The verdict on a run in which nothing is in doubt or unsent but for records whose turn has come since."""

METER_POINTS_KEPT = (
    "{count} would leave a location and may be named by rows that are in quarantine or cannot be read: what was there "
    "stays there. Mend the rows, or have the export delivered again."
)

SECONDS_PER_REQUEST = 0.05
"""For the forecast of a plan, before anything was measured."""
PACE = "pace"
"""The fact under which the ledger keeps seconds per request of the last run that sent some."""
PACE_REQUESTS = 20
"""Fewer say nothing of the pace."""


# ------------------------------------------------------------------ summaries
def summary_of(
    command: str,
    environment: str,
    world: World,
    *,
    exits: Collection[Exit] = (),
    **extra: Any,
) -> Summary:
    """The summary of a command that reads no export."""
    now = _instant(world)
    code = worst(exits)
    return Summary(
        run_id=None,
        command=command,
        environment=environment,
        exit_code=code,
        verdict=VERDICTS[code],
        started_at=now,
        ended_at=now,
        extra=extra,
    )


def begun(command: str, environment: str, run_id: str, opened: Opened, world: World) -> Summary:
    """The summary of a run that has only opened its exports."""
    return Summary(
        run_id=run_id,
        command=command,
        environment=environment,
        exit_code=Exit.OK,
        verdict="",
        started_at=_instant(world),
        sources=tuple(
            SourceEntry(export.name, export.sha256, export.byte_count, None) for export, _ in opened
        ),
    )


def stopped(start: Summary, error: MeterfeedError, shelf: RunShelf, world: World) -> Summary:
    """The summary of a run that ended before it had a plan."""
    summary = _ended(
        replace(start, records=dict.fromkeys(Kind, UNKNOWN_RECORDS)), {Exit(error.exit_code)}, error, world
    )
    try:
        return _written(summary, shelf, RunDetails())
    except StorageError:
        return summary  # on a full disk the error itself is all there is to say


def judged_only(
    start: Summary,
    judged: Judged,
    checks: Sequence[GuardCheck],
    opened: Opened,
    shelf: RunShelf,
    world: World,
) -> Summary:
    """The summary of a quality run, with its files written."""
    _keep_files(judged, opened, shelf)
    summary = replace(_with_rows(start, judged), records=_not_planned(opened))
    trouble = first_tripped(checks, plan_digest=None)
    found = account.exits(summary.rows, ())
    summary = _ended(summary, found | _of(trouble), trouble, world)
    details = RunDetails(profiles=_names(opened), guards=tuple(checks), rules=judged.rule_notes)
    return _written(summary, shelf, details, quality=judged.gauge.figures())


def _not_planned(opened: Opened) -> dict[Kind, RecordCounts]:
    """Records of a run that plans none: not known, but for the kinds the exports cannot hold."""
    has_resources = any("resource" in export.columns_present() for export, _ in opened)
    possible = set(Kind) if has_resources else {Kind.USER, Kind.LOCATION}
    return {kind: UNKNOWN_RECORDS if kind in possible else RecordCounts() for kind in Kind}


def planned(
    start: Summary,
    judged: Judged,
    plan: Plan,
    checks: Sequence[GuardCheck],
    opened: Opened,
    shelf: RunShelf,
    session: Session,
    run: RunRow,
) -> Summary:
    """The summary of a plan: what would change, how many requests, about how long."""
    summary, details, quality = put_aside(start, judged, plan, checks, opened, shelf, session, run)
    trouble = first_tripped(checks, plan_digest=plan.digest)
    requests = expected_requests(session, plan, opened)
    seconds, told_by = expected_seconds(session, requests)
    summary = replace(
        summary,
        records=account.nothing_sent(plan),
        extra={
            **summary.extra,
            "requests_expected": requests,
            "seconds_expected": round(seconds, 1),
            "seconds_expected_by": told_by,
        },
    )
    found = account.exits(summary.rows, ()) | _of(trouble)
    return _written(_ended(summary, found, trouble, session.ports.world), shelf, details, quality=quality)


def expected_requests(session: Session, plan: Plan, opened: Opened) -> int:
    """Requests that change something, when nothing goes wrong: in chunks as large as the API was found to take."""
    size = session.traffic().size
    limits = tightest([profile.guards for _, profile in opened])
    shared = session.ports.crew is not None
    return plan.requests(size.max_records, chunk_bytes=size.max_bytes, canary=limits.canary, shared=shared)


def expected_seconds(session: Session, requests: int) -> tuple[float, str]:
    """How long so many requests take, and what says so: the last run that sent any, or a rule of thumb; or the rate."""
    pace = session.ledger.recall(PACE)
    each = float(pace) if pace else SECONDS_PER_REQUEST / max(1, session.ports.concurrency)
    seconds, told_by = requests * each, "the last run" if pace else "a rule of thumb"
    rate = session.ports.rate
    if rate and requests / rate > seconds:
        return requests / rate, "METERFEED_RATE"
    return seconds, told_by


def _remember_pace(session: Session, run: RunRow, sent: int) -> None:
    """What a request took in a run that was sent in one go, waiting and side by side as it was."""
    seconds = sum(stage.seconds for stage in session.stages if stage.name == "send")
    if run.state != SENDING and sent >= PACE_REQUESTS and seconds > 0:
        session.ledger.remember({PACE: f"{seconds / sent:.6f}"})


async def applied(
    session: Session,
    run: RunRow,
    shelf: RunShelf,
    plan: Plan,
    checks: Sequence[GuardCheck],
    trouble: MeterfeedError | None,
) -> Summary:
    """The account of a run that was sent, as far as it got, from the ledger alone."""
    ledger = session.ledger
    lines = await session.durable(lambda: ledger.account(run.run_seq))
    kept = await session.durable(lambda: json.loads(ledger.runs(run_id=run.run_id)[0].plan or "{}"))
    so_far, details = Summary.from_json(kept["so_far"]), RunDetails.from_json(kept["details"])
    files = [source.name for source in so_far.sources]
    sent, retried, split = await session.durable(lambda: ledger.request_counts(run.run_seq))
    await session.durable(_remember_pace, session, run, sent)
    records = account.record_counts(plan, lines)
    removals = account.removal_counts(plan, lines)
    if removals:
        told = {kind.value: counts for kind, counts in removals.items()}
        absent = {**so_far.extra.get("vanished", {}), "removals": told}
        so_far = replace(so_far, extra={**so_far.extra, "vanished": absent})
    spool = _spool_or_none(shelf)
    summary = replace(
        so_far,
        records=records,
        requests=RequestCounts(sent, retried, split),
        customers=account.customers(plan, open_users(session, run, plan, spool)),
    )
    details = replace(
        details,
        stages=tuple(session.stages),
        guards=tuple(checks),
        reasons=account.reason_counts(lines, plan),
        examples=account.examples(session.open_chunks(run), files),
    )
    if spool is not None:
        shelf.write_table("outcomes", outcome_frames(session, run, plan, spool, files))
    else:
        shelf.drop_table("outcomes")  # what an earlier start wrote is not true any more
    found = account.exits(summary.rows, records.values()) | account.removal_exits(removals) | _of(trouble)
    is_open = await session.durable(session.leaves_open, run, summary)
    only_waits = is_open and not found & {Exit.IN_DOUBT, Exit.UNAVAILABLE}
    if only_waits:
        found.add(Exit.UNAVAILABLE)  # a run that has to be resumed is not done
    if is_open and session.ports.stopping() and not isinstance(trouble, GuardError):
        found.add(session.ports.interruption())  # what came to its end, or to a guard, was not interrupted
    summary = _ended(summary, found, trouble, session.ports.world)
    if only_waits and summary.exit_code == Exit.UNAVAILABLE:
        summary = replace(summary, verdict=MAY_GO)
    quality = QualityFigures.from_json(kept["quality"]) if kept.get("quality") else None
    return _written(summary, shelf, details, quality=quality)


def skipped(command: str, done: RunRow, world: World) -> Summary:
    """The summary of a job that was done before: its rows, and its records as unchanged."""
    before = account.of_settled(Summary.from_json(json.loads(done.summary or "{}")))
    records = {
        kind: replace(
            counts,
            created=0,
            updated=0,
            unchanged=(counts.unchanged or 0) + (counts.created or 0) + (counts.updated or 0),
        )
        for kind, counts in before.records.items()
    }
    now = _instant(world)
    return replace(
        before,
        command=command,
        records=records,
        requests=RequestCounts(),
        started_at=now,
        ended_at=now,
        extra={**before.extra, "already_done": done.run_id},
    )


def after(earlier: Sequence[Summary], summary: Summary) -> Summary:
    """The account of a command that had to finish earlier runs first: that of its own run, and the worst ending.

    Its own run stays as it is in the ledger and in its folder: what comes later goes by that.
    """
    if not earlier:
        return summary
    code = worst([Exit(one.exit_code) for one in (*earlier, summary)])
    has_sent = any(one.requests.sent for one in (*earlier, summary))
    is_own = code == summary.exit_code and code != Exit.SETTINGS
    return replace(
        summary,
        exit_code=code,
        verdict=summary.verdict if is_own else verdict_on(code, has_sent=has_sent),
        extra={
            **summary.extra,
            "notes": [*summary.extra.get("notes", ()), *map(finished_first, earlier)],
            "runs": [_line_of(one) for one in (*earlier, summary)],
        },
    )


def finished_first(summary: Summary) -> str:
    """What to say of an earlier run that a command had to finish before its own."""
    told = f"The earlier run {summary.run_id} was finished first"
    if summary.exit_code == Exit.OK:
        return f"{told}; everything of it is accounted for."
    removals = summary.extra.get("vanished", {}).get("removals", {}).values()
    counts = [
        *({"rejected": one.rejected, "blocked": one.blocked} for one in summary.records.values()),
        *removals,
    ]
    bad = [(f"records {word}", sum(one[word] or 0 for one in counts)) for word in ("rejected", "blocked")]
    if summary.rows is not None:
        bad.append(("rows quarantined or unreadable", summary.rows.quarantined + summary.rows.unreadable))
    listed = ", ".join(f"{count:,} {what}" for what, count in bad if count)
    return f"{told} (exit {int(summary.exit_code)}): {listed}. See `meterfeed report {summary.run_id}`."


def _line_of(run: Summary) -> dict[str, Any]:
    """One run in an account of several."""
    return {
        "run_id": run.run_id,
        "export": run.sources[0].name if run.sources else None,
        "exit_code": int(run.exit_code),
        "skipped": "already_done" in run.extra,
        "report": run.artifacts.report,
    }


def together(
    command: str,
    environment: str,
    runs: Sequence[Summary],
    *,
    planned: int,
    interruption: Exit | None = None,
) -> Summary:
    """One account over several runs: sums of what each accounts for, and the worst ending.

    Args:
        command: of the account.
        environment: of all of them.
        runs: their summaries, in order.
        planned: how many were to be done.
        interruption: the exit code of who asked it to end before all were done.
    """
    last = runs[-1]
    ends = [Exit(run.exit_code) for run in runs]
    rows = [run.rows for run in runs if run.rows is not None]
    notes = list(dict.fromkeys(note for run in runs for note in run.extra.get("notes", ())))
    return replace(
        last,
        run_id=None,
        command=command,
        environment=environment,
        exit_code=(code := worst(ends if interruption is None else [*ends, interruption])),
        verdict=last.verdict if code == last.exit_code else VERDICTS[code],
        started_at=runs[0].started_at,
        sources=tuple(source for run in runs for source in run.sources),
        rows=_added(rows) if rows else None,
        violations=_counted(run.violations for run in runs),
        warnings=_counted(run.warnings for run in runs),
        normalised=_counted(run.normalised for run in runs),
        records={kind: _added([run.records[kind] for run in runs]) for kind in Kind},
        customers=Customers(),
        requests=_added([run.requests for run in runs]),
        artifacts=last.artifacts,
        extra={
            "exports": {"given": planned, "done": len(runs)},
            "runs": [line for run in runs for line in run.extra.get("runs") or [_line_of(run)]],
            **({"notes": notes} if notes else {}),
        },
    )


def _added(counts: Sequence[Counts]) -> Counts:
    """The sum of counts of one type, name by name; what any of them does not know is not known."""
    names = [one.name for one in fields(counts[0])]
    sums: dict[str, Any] = {}
    for name in names:
        values = [getattr(one, name) for one in counts]
        sums[name] = None if None in values else sum(values)
    return replace(counts[0], **sums)


def _counted(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))


def put_aside(
    start: Summary,
    judged: Judged,
    plan: Plan,
    checks: Sequence[GuardCheck],
    opened: Opened,
    shelf: RunShelf,
    session: Session,
    run: RunRow,
) -> tuple[Summary, RunDetails, QualityFigures]:
    """Write down, before anything is sent, all that a later start needs to finish this run and report on it."""
    _keep_files(judged, opened, shelf)
    quality = judged.gauge.figures()
    summary = replace(
        _with_rows(start, judged),
        extra={
            "unreadable_reasons": _reasons(judged),
            "plan_digest": plan.digest,
            "plan": {kind.value: _changes(plan, kind) for kind in Kind},
            "handovers": {"moved": plan.handovers_moved, "reported": plan.handovers_reported},
            **_absent(plan),
            "notes": [
                *session.warnings,
                *session.notes,
                *judged.notes,
                *_test_area_notes(start.environment, quality),
                *_lost_notes(plan),
            ],
            "export_kind": kind_of(opened),
            "corrects": _corrected(opened),
        },
    )
    details = RunDetails(
        profiles=_names(opened),
        stages=tuple(session.stages),
        guards=tuple(checks),
        plan_digest=plan.digest,
        handovers=Handovers(plan.handovers_moved, plan.handovers_reported),
        rules=judged.rule_notes,
    )
    limits = tightest([profile.guards for _, profile in opened]).model_dump()
    kept = {
        "plan": plan.to_json(),
        "so_far": summary.to_json(),
        "details": details.to_json(),
        "quality": quality.to_json(),
        "limits": limits,
        "guards": [_plain(check) for check in checks],
        "replaces": session.replaces,
    }
    session.ledger.change_run(run.run_seq, plan=json.dumps(kept), plan_digest=plan.digest, state="planned")
    return summary, details, quality


def kind_of(opened: Opened) -> str:
    """Whether the exports, together, say everything; runs are only compared with runs of the same kind."""
    return "full" if any(profile.export.kind == "full" for _, profile in opened) else "delta"


def _corrects(opened: Opened) -> pl.DataFrame:
    """Rows of corrections, and which rows of earlier exports they stand for (columns of `corrects.parquet`)."""
    return pl.concat(
        export.corrects().with_columns(pl.lit(export.sha256).alias("source_sha256")) for export, _ in opened
    )


def _corrected(opened: Opened) -> list[dict[str, Any]]:
    """Which earlier exports the rows of corrections stand for: the first 32 hex characters of their SHA-256."""
    names = {export.sha256: export.name for export, _ in opened}
    files = _corrects(opened).group_by("source_sha256", "corrects_sha256").len()
    return [
        {"correction": names[correction], "sha256": sha, "rows": rows}
        for correction, sha, rows in files.sort("source_sha256", "corrects_sha256").iter_rows()
    ]


def _plain(check: GuardCheck) -> dict[str, Any]:
    return {
        "name": check.name,
        "value": check.value,
        "limit": check.limit,
        "tripped": check.tripped,
        "unit": check.unit,
    }


def _changes(plan: Plan, kind: Kind) -> dict[str, int]:
    counts = plan.counts.get(kind)
    if counts is None:
        return dict.fromkeys(("create", "update", "release", "unchanged", "vanished", "delete"), 0)
    return {
        "create": counts.create,
        "update": counts.update,
        "release": counts.release,
        "unchanged": counts.unchanged,
        "vanished": counts.vanished,
        "delete": counts.delete,
    }


def _absent(plan: Plan) -> dict[str, Any]:
    """What the exports do not name any more, what of it would go and what is not due yet; and who is back."""
    facts = plan.facts.get("vanished")
    told: dict[str, Any] = {}
    if facts is not None:
        names = ("asked", "held", "spared", "blind_rows", "kinds", "listed")
        told["vanished"] = {name: facts[name] for name in names}
        told["vanished"]["listed"] = [
            {**one, "missing_since": _iso(one["missing_since"])} for one in facts["listed"]
        ]
        if plan.removals:
            told["vanished"]["cost"] = facts["cost"]
    if "former_key_customers" in plan.facts:
        told["former_key_customers"] = plan.facts["former_key_customers"]
    if plan.facts.get("returning"):
        told["returning"] = plan.facts["returning"]
    return told


def _with_rows(start: Summary, judged: Judged) -> Summary:
    tally = judged.tally
    sources = tuple(replace(entry, rows=tally.by_source[index]) for index, entry in enumerate(start.sources))
    return replace(
        start,
        sources=sources,
        rows=tally.counts(),
        violations=dict(sorted(tally.violations.items())),
        warnings=dict(sorted(tally.warnings.items())),
        extra={**start.extra, "unreadable_reasons": _reasons(judged)},
        normalised=dict(sorted(tally.normalised.items())),
        records={kind: RecordCounts() for kind in Kind},
    )


def _test_area_notes(environment: str, quality: QualityFigures) -> list[str]:
    """What to say when customers of production stand in a test area."""
    inside = quality.customers.in_test_area if quality.customers is not None else 0
    if environment != "production" or not inside:
        return []
    return [IN_TEST_AREA.format(count=f"{inside:,} customer{'s' if inside > 1 else ''}")]


def _lost_notes(plan: Plan) -> list[str]:
    """What to say when meter points leave their location and nobody gets them, or stay and nobody names them."""
    told = ((plan.facts.get(LOST, 0), METER_POINTS_LOST), (plan.facts.get(KEPT, 0), METER_POINTS_KEPT))
    return [
        text.format(count=f"{count:,} meter point{'s' if count > 1 else ''}") for count, text in told if count
    ]


def _reasons(judged: Judged) -> dict[str, int]:
    """Why rows could not be read, with the rows."""
    found: Counter[str] = Counter()
    for frame in judged.unreadable:
        found.update(dict(frame.group_by("reason").agg(pl.col("lines").sum()).iter_rows()))
    return {str(reason): int(rows) for reason, rows in sorted(found.items())}


def _ended(summary: Summary, found: set[Exit], trouble: MeterfeedError | None, world: World) -> Summary:
    code = worst(found)
    verdict = verdict_on(code, has_sent=summary.requests.sent > 0)
    if isinstance(trouble, GuardError) and code == Exit.GUARD:
        verdict = f"{verdict[:-1]}: {trouble.guard}."
    error = None if trouble is None else ErrorEntry(type(trouble).__name__, trouble.message, trouble.cure)
    return replace(summary, exit_code=code, verdict=verdict, ended_at=_instant(world), error=error)


def _of(trouble: MeterfeedError | None) -> set[Exit]:
    return set() if trouble is None else {Exit(trouble.exit_code)}


def _names(opened: Opened) -> tuple[str, ...]:
    return tuple(dict.fromkeys(profile.name for _, profile in opened))


def _instant(world: World) -> str:
    return _iso(world.now())


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


# ------------------------------------------------------------------ files
def _keep_files(judged: Judged, opened: Opened, shelf: RunShelf) -> None:
    """Rows that were not good, copied from their exports; violations as data."""
    files = [export.name for export, _ in opened]
    shelf.write_table("violations", judged.violation_frames(files))
    corrects = _corrects(opened)
    if corrects.height:
        shelf.write_table("corrects", iter([corrects]))
    shelf.keep_aside([export for export, _ in opened], judged.marks(len(files)))


def _written(
    summary: Summary, shelf: RunShelf, details: RunDetails, *, quality: QualityFigures | None = None
) -> Summary:
    summary.check()
    artifacts = shelf.write_reports(summary, details=details, quality=quality, previous=None)
    return replace(summary, artifacts=artifacts)


def _spool_or_none(shelf: RunShelf) -> PlanSpool | None:
    try:
        return shelf.spool()
    except StorageError:
        return None


def open_users(session: Session, run: RunRow, plan: Plan, spool: PlanSpool | None) -> pl.Series:
    """Users of the exports with a record that is not in place, each once."""
    phases = COUNTED - NAMED_BY_NO_ROW  # a former holder is no customer of these exports
    found = [
        chunk.manifest["user_id"].unique() for chunk in session.open_chunks(run) if chunk.phase in phases
    ]
    if spool is not None:
        found += [records["user_id"].unique() for _, records in _never_cut(session, run, plan, spool, phases)]
    return pl.concat(found).unique() if found else pl.Series("user_id", [], pl.String)


def _never_cut(
    session: Session, run: RunRow, plan: Plan, spool: PlanSpool, phases: Collection[Phase]
) -> Iterator[tuple[Phase, pl.DataFrame]]:
    """Planned records of some phases that no chunk holds: the run ended before it came to them."""
    ledger = session.ledger
    laned = bool(ledger.highest_lane(run.run_seq))
    for phase, size in ((one, size) for one, size in plan.phase_sizes.items() if one in phases):
        whole, position = ledger.cursor(run.run_seq, phase, 0), 0
        if whole >= size:
            continue
        for partition in range(plan.partitions):
            planned = spool.row_count(phase_table(phase), partition)
            own = ledger.cursor(run.run_seq, phase, partition + 1) if laned else 0
            cut = own or max(0, whole - position)
            position += planned
            if planned > cut:
                yield phase, spool.read(phase_table(phase), partition).slice(cut)


def outcome_frames(
    session: Session, run: RunRow, plan: Plan, spool: PlanSpool, files: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """One line per planned record and removal: kind, masked id, operation, outcome, reason, where it comes from."""
    states = [
        State.ACKNOWLEDGED,
        State.REJECTED,
        State.IN_DOUBT,
        State.IN_FLIGHT,  # its end could not be written down
        State.BLOCKED,
        State.PLANNED,
        State.SUPERSEDED,
    ]
    for chunk in session.ledger.chunks(states=states, run_seq=run.run_seq):
        phase = Phase(chunk.phase)
        if phase not in TOLD:
            continue
        outcome = account.outcome_of(phase, chunk.state, chunk.reason).value
        yield _outcomes(
            chunk.manifest,
            files,
            kind=MANNERS[phase].kind,
            phase=phase,
            outcome=account.REMOVALS[chunk.state] if MANNERS[phase].removes else outcome,
            reason=chunk.reason,
            message=chunk.message,
            attempts=chunk.attempt,
        )
    for phase, records in _never_cut(session, run, plan, spool, TOLD):
        yield _outcomes(
            records,
            files,
            kind=MANNERS[phase].kind,
            phase=phase,
            outcome=Outcome.NOT_SENT.value,
            reason="not_reached",
            message=None,
            attempts=0,
        )
    for partition in range(plan.partitions):
        same = spool.read(UNCHANGED, partition)
        if same.height:
            for (kind,), part in same.partition_by("kind", as_dict=True).items():
                yield _outcomes(
                    part,
                    files,
                    kind=Kind(str(kind)),
                    phase=None,
                    outcome=Outcome.UNCHANGED.value,
                    reason=None,
                    message=None,
                    attempts=0,
                )


def _outcomes(
    records: pl.DataFrame,
    files: Sequence[str],
    *,
    kind: Kind,
    phase: Phase | None,
    outcome: str,
    reason: str | None,
    message: str | None,
    attempts: int,
) -> pl.DataFrame:
    operation = "unchanged" if phase is None else phase.value.split("_")[0].replace("replace", "update")
    return records.select(
        pl.lit(kind.value).alias("kind"),
        masked_ids("id").alias("masked_id"),
        pl.lit(operation).alias("operation"),
        pl.lit(outcome).alias("outcome"),
        pl.lit(reason, pl.String).alias("reason"),
        pl.lit(message, pl.String).alias("message"),
        pl.lit(attempts).alias("attempt_count"),
        *(_NO_SOURCE if phase in NAMED_BY_NO_ROW else source_columns(files)),
    )


_NO_SOURCE = (
    pl.lit(None, pl.String).alias("source_file"),
    pl.lit(None, pl.UInt32).alias("source_line"),
)
