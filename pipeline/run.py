"""The story of a run, stage after stage.

    exports -> judged rows -> plan and guards -> delivery -> the account -> reports

`quality` stops after judging, `plan` before delivery; `sync` goes all the way; `apply` and `resume` take up a
plan where it was left. Each returns the summary a person or a script is shown; only what stopped a run before it
had an account is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pipeline.account import of_settled
from pipeline.ending import (
    after,
    applied,
    begun,
    finished_first,
    judged_only,
    kind_of,
    planned,
    put_aside,
    skipped,
    stopped,
    summary_of,
    together,
)
from pipeline.flags import note_open, note_protected
from pipeline.guards import History, first_tripped, plan_guards, row_guards, tightest
from pipeline.identity import Identity
from pipeline.job import Job, job_of
from pipeline.order import Opened, Order, Ports
from pipeline.overtaken import outdated_move, refuse_before_its_turn, refuse_what_is_held
from pipeline.plan import Plan
from pipeline.planning import make_plan, nothing_held
from pipeline.ports import Notice, RunShelf
from pipeline.prepare import Judged, identity_of, judge_exports, partitions_for, rulebook_of
from pipeline.removing import (
    absence_of,
    note_absence,
    note_removed,
    refuse_a_used_approval,
    refuse_an_old_removal,
)
from pipeline.session import LEDGER_BYTES, SETTLED, Session, open_session
from pipeline.sharing import send_plan
from schemas.details import GuardCheck
from schemas.errors import ApiUnavailable, GuardError, MeterfeedError, StorageError
from schemas.ledger import RunRow
from schemas.outcomes import Exit, worst
from schemas.summary import Summary

SPOOL_BYTES = 1000
"""Of a row, in the run's folder, at most: measured 740 for a first load, 620 of them in the spool."""
GOOD_ENDS = (Exit.OK, Exit.DONE_WITH_REJECTS)


# ------------------------------------------------------------------ the commands
async def quality(order: Order, ports: Ports) -> Summary:
    """Judge the exports and report; needs no API, no ledger, no secret."""
    opened = ports.open_exports(order.exports, order.profiles)
    with ports.shelf.fresh("quality", now=ports.world.now()) as shelf, _gone_with_an_error(shelf):
        start = begun(order.command, order.environment, shelf.name, opened, ports.world)
        identity = _identity(opened, ports)
        judged = _judge(order, ports, opened, shelf, identity)
        make_plan(judged, identity, nothing_held, world=ports.world, over=ports.stopping)
        checks = _row_checks(judged, opened, History())
        summary = judged_only(start, judged, checks, opened, shelf, ports.world)
        shelf.drop_spool()
        return summary


async def plan(order: Order, ports: Ports) -> Summary:
    """Show what would change; send nothing that changes anything."""
    async with open_session(order, ports) as session:
        opened, job = _open(order, ports)
        await session.settle_the_past(only_if_needed=True)
        session.replaces = await _said_whole_again(session, job, opened)
        run, shelf = await session.begin(order.command, job, opened)
        with shelf, _gone_with_an_error(shelf):
            start = begun(order.command, order.environment, run.run_id, opened, ports.world)
            judged, made, checks = await _plan(order, ports, session, opened, job, shelf)
            return await session.finish(
                run, planned(start, judged, made, checks, opened, shelf, session, run)
            )


async def sync(order: Order, ports: Ports) -> Summary:
    """Plan, and do it."""
    async with open_session(order, ports) as session:
        opened, job = _open(order, ports)
        await session.sign_in()
        if (done := await session.settled_twin(job)) is not None:
            return skipped(order.command, done, ports.world)
        await session.settle_the_past()
        return await _load(order, ports, session, opened, job)


async def backfill(order: Order, ports: Ports) -> Summary:
    """Many exports in order, one after the other, each a run of its own; what is done is skipped.

    Comes to an end at the first export that does not end well: the later ones rest on it.
    """
    async with open_session(order, ports) as session:
        names = ports.list_exports(order.exports)
        summaries: list[Summary] = []
        done_by = set(order.after)
        await session.sign_in()
        await session.settle_the_past()
        for number, name in enumerate(names):
            one = replace(order, exports=(name,))
            opened, job = _open(one, ports)
            done = await session.settled_twin(job, after=done_by)
            summary = (
                await _load(one, ports, session, opened, job)
                if done is None
                else skipped(order.command, done, ports.world)
            )
            summaries.append(summary)
            done_by.add(summary.run_id or "")
            ports.world.notice(Notice("backfill", number + 1, len(names), "exports"))
            if summary.exit_code not in GOOD_ENDS or ports.stopping():
                break
        cut_short = ports.stopping() and len(summaries) < len(names)
        interruption = ports.interruption() if cut_short else None
        return together(
            order.command, order.environment, summaries, planned=len(names), interruption=interruption
        )


async def _load(order: Order, ports: Ports, session: Session, opened: Opened, job: Job) -> Summary:
    """One run, and how those ended that had to be finished first."""
    earlier = await _clear_the_way(session, job, opened)
    with _telling_of(earlier):
        return after(earlier, await _one_run(order, ports, session, opened, job))


async def _one_run(order: Order, ports: Ports, session: Session, opened: Opened, job: Job) -> Summary:
    """One run, from judging to its account."""
    run, shelf = await session.begin(order.command, job, opened)
    with shelf:
        start = begun(order.command, order.environment, run.run_id, opened, ports.world)
        try:
            with _gone_with_an_error(shelf):
                judged, made, checks = await _plan(order, ports, session, opened, job, shelf)
        except MeterfeedError as error:
            return await session.finish(run, stopped(start, error, shelf, ports.world))
        with _gone_with_an_error(
            shelf
        ):  # and no account either: some of its tables may be there, and some not
            await session.note_strangers(made)
            put_aside(start, judged, made, checks, opened, shelf, session, run)
        approved = order.approve == made.digest
        if approved:
            await refuse_a_used_approval(session, made)
        return await _deliver(session, run, shelf, made, checks, approved=approved)


async def apply(order: Order, ports: Ports) -> Summary:
    """Do exactly the plan that was shown. Naming it by its digest approves it; by its run id does not."""
    async with open_session(order, ports) as session:
        run, shelf, made, checks = await session.take_up(order.run or "")
        with shelf:
            if run.state == SETTLED:
                return skipped(order.command, run, ports.world)
            refuse_an_old_removal(run, made, ports.world.now())
            await session.sign_in()
            await session.settle_the_past()
            await refuse_before_its_turn(session, run)
            await refuse_what_is_held(session, run, made, shelf)
            approved = order.run != run.run_id or order.approve == made.digest
            return await _deliver(session, run, shelf, made, checks, approved=approved)


async def resume(order: Order, ports: Ports) -> Summary:
    """Settle everything unfinished, of all runs or of one, oldest first; with profiles, under their guards of today.

    Of several runs, the account is that of the one that ended worst.
    """
    async with open_session(order, ports) as session:
        await session.sign_in()
        await session.settle_the_past()
        summaries: list[Summary] = []
        for run_id in await session.unfinished(order.run):
            run, shelf, made, checks = await session.take_up(run_id)
            with shelf:
                if (outdated := await outdated_move(session, run, shelf)) is not None:
                    summaries.append(await _given_up(session, run, shelf, made, outdated))
                    continue
                await session.renew_limits(run, order.profiles)
                await refuse_what_is_held(session, run, made, shelf)
                summaries.append(await _deliver(session, run, shelf, made, checks, approved=False))
        if summaries:
            code = worst([Exit(summary.exit_code) for summary in summaries])
            return next(summary for summary in summaries if summary.exit_code == code)
        if (summary := await session.last_summary(order.run)) is None:
            nothing = summary_of(order.command, order.environment, ports.world)
            return replace(nothing, verdict="Nothing is unfinished.")
        return summary


# ------------------------------------------------------------------ the stages
@contextmanager
def _telling_of(earlier: Sequence[Summary]) -> Iterator[None]:
    """An error is the last that is heard of a command: how the runs ended that it finished first is told with it."""
    try:
        yield
    except MeterfeedError as error:
        error.message = " ".join([error.message, *map(finished_first, earlier)])
        error.has_sent = error.has_sent or any(one.requests.sent for one in earlier)
        raise


@contextmanager
def _gone_with_an_error(shelf: RunShelf) -> Iterator[None]:
    """Half a spool, or one of a plan that was not put aside, serves nobody, and a full disk wants the room."""
    try:
        yield
    except BaseException:
        shelf.drop_spool()
        raise


def _open(order: Order, ports: Ports) -> tuple[Opened, Job]:
    opened = ports.open_exports(order.exports, order.profiles)
    rules = [
        rulebook_of(export, profile, order.environment, ports.reference).digest for export, profile in opened
    ]
    job = job_of(
        opened,
        environment=order.environment,
        key=ports.key,
        rules=rules,
        delete_vanished=order.delete_vanished,
    )
    return opened, job


def _identity(opened: Opened, ports: Ports) -> Identity:
    return identity_of([profile for _, profile in opened], ports.key)


def _judge(order: Order, ports: Ports, opened: Opened, shelf: RunShelf, identity: Identity) -> Judged:
    """Every row of every export, read once and judged; the good ones spooled by customer."""
    rows = sum(export.row_estimate() for export, _ in opened)
    ports.room(rows * SPOOL_BYTES, rows * LEDGER_BYTES)
    return judge_exports(
        [export for export, _ in opened],
        [profile for _, profile in opened],
        environment=order.environment,
        reference=ports.reference,
        identity=identity,
        spool=shelf.new_spool(
            partitions_for([export for export, _ in opened], shared=ports.crew is not None)
        ),
        world=ports.world,
        over=ports.stopping,
    )


async def _plan(
    order: Order, ports: Ports, session: Session, opened: Opened, job: Job, shelf: RunShelf
) -> tuple[Judged, Plan, list[GuardCheck]]:
    """Rows become records, records become changes; the whole of it lies in the spool before a byte is sent."""
    identity = await session.durable(session.identity, _identity(opened, ports), with_users=True)
    with session.stage("judge"):
        judged = _judge(order, ports, opened, shelf, identity)
    with session.stage("plan"):
        made = make_plan(
            judged,
            identity,
            session.ledger.holdings,
            world=ports.world,
            over=ports.stopping,
            absence=await absence_of(session, opened, asked=order.delete_vanished),
        )
        session.raise_if_stopping()
        judged.spool.finish({"plan": made.digest})
        await note_protected(session, made, judged.spool)
    history = await session.history(job, kind_of(opened))
    checks = _row_checks(judged, opened, history)
    limits = tightest([profile.guards for _, profile in opened])
    checks += plan_guards(made, limits, history=history, rows=checks)
    return judged, made, checks


def _row_checks(judged: Judged, opened: Opened, history: History) -> list[GuardCheck]:
    limits = tightest([profile.guards for _, profile in opened])
    return row_guards(judged.tally.counts(), limits, history=history, full=kind_of(opened) == "full")


async def _said_whole_again(session: Session, job: Job, opened: Opened) -> list[str]:
    """Unfinished runs that full exports take the place of: those that speak for none but their profiles."""
    if not all(profile.export.kind == "full" for _, profile in opened):
        return []
    runs = [await session.run_of(name) for name in await session.unfinished(profiles=job.profiles)]
    return [run.run_id for run in runs if set(run.profiles.split("+")) <= set(job.profiles.split("+"))]


async def _clear_the_way(session: Session, job: Job, opened: Opened) -> list[Summary]:
    """Finish what an older run of these profiles has not sent; a full export takes its place instead.

    What a delta said is said nowhere else, so it may not be given up; and it must not be sent after a newer one. One
    that a guard stopped while it was sent waits for a person: a schedule that comes by is none. Nothing is given up
    here: whoever takes the place of another does so when it begins to send, and until then may be stopped or killed.

    Returns:
        How those ended that were finished, which nobody else will say.
    """
    session.replaces = await _said_whole_again(session, job, opened)
    finished: list[Summary] = []
    for run_id in await session.unfinished(profiles=job.profiles):
        if run_id in session.replaces:
            continue
        said_again = (await session.run_of(run_id)).job_digest == job.digest
        if said_again and await _cannot_go_on(session, run_id):
            session.replaces.append(run_id)
            continue
        with _telling_of(finished):
            finished.append(await _finished(session, run_id))
    return finished


async def _finished(session: Session, run_id: str) -> Summary:
    """The account of an older run that is at its end now.

    Raises:
        MeterfeedError: it is not.
    """
    summary, trouble = await _go_on_with(session, run_id)
    if summary is not None and not await session.unfinished(run_id):
        return of_settled(summary)
    session.raise_if_stopping()
    trouble = trouble or ApiUnavailable("Some of its records are still open.", cure="Run `meterfeed resume`.")
    # It ends as what stopped the earlier run ends: waiting mends no guard.
    trouble.message = f"The earlier run {run_id} could not be finished: {trouble.message}"
    trouble.cure = f"{trouble.cure} A newer delta is sent only after the older one.".strip()
    trouble.has_sent = await session.has_sent(run_id)
    raise trouble


async def _cannot_go_on(session: Session, run_id: str) -> bool:
    """Whether the spool of a run is lost, or its plan is stale."""
    try:
        run, shelf, made, _ = await session.take_up(run_id)
        with shelf:
            shelf.spool()
            await refuse_what_is_held(session, run, made, shelf)
    except GuardError as error:
        return error.guard == "stale"
    except StorageError:
        return True
    return False


async def _go_on_with(session: Session, run_id: str) -> tuple[Summary | None, MeterfeedError | None]:
    """Send what a run has not sent: its account, where anything could be done, and what stopped it, now or before.

    Raises:
        GuardError: its plan is stale.
    """
    run, shelf, made, checks = await session.take_up(run_id)
    with shelf:
        try:
            shelf.spool()
        except StorageError as lost:
            return None, lost
        await refuse_what_is_held(session, run, made, shelf)
        if (guarded := session.guard_that_stopped(run)) is not None:
            return None, guarded
        return await _delivered(session, run, shelf, made, checks, approved=False)


async def _given_up(
    session: Session, run: RunRow, shelf: RunShelf, made: Plan, why: MeterfeedError
) -> Summary:
    """The account of a run that nobody is to go on with; it holds nobody up any more."""
    summary = await session.finish(run, await applied(session, run, shelf, made, (), why))
    await session.give_up(run.run_id)
    return summary


async def _deliver(
    session: Session,
    run: RunRow,
    shelf: RunShelf,
    made: Plan,
    checks: Sequence[GuardCheck],
    *,
    approved: bool,
) -> Summary:
    """Send what is planned, unless a guard says no; then add up where every record ended."""
    summary, _ = await _delivered(session, run, shelf, made, checks, approved=approved)
    return summary


async def _delivered(
    session: Session,
    run: RunRow,
    shelf: RunShelf,
    made: Plan,
    checks: Sequence[GuardCheck],
    *,
    approved: bool,
) -> tuple[Summary, MeterfeedError | None]:
    """The same, with what stopped it."""
    trouble: MeterfeedError | None = (
        None
        if session.was_approved(run)
        else first_tripped(checks, plan_digest=made.digest, approved=approved)
    )
    if trouble is None:
        if approved:
            await session.approve(run, made.digest)
        await note_absence(session, run, made, shelf)
        await note_open(session, run, made, shelf)
        with session.stage("send"):
            trouble = await send_plan(session, run, made, shelf)
        with session.stage("remember"):
            await session.remember()
            await note_removed(session, run, made, shelf)
    summary = await session.finish(run, await applied(session, run, shelf, made, checks, trouble))
    if (await session.run_of(run.run_id)).state == SETTLED:
        shelf.drop_spool()  # customers' values stay no longer than they are needed
    return summary, trouble
