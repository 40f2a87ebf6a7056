"""One hold of the ledger: what earlier runs left, the run of today, and the sending of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import takewhile
from typing import Any

import polars as pl

from pipeline.account import of_settled
from pipeline.contract import PINNED, compare, shape_of
from pipeline.delivery.answers import MalformedAnswer, parse, users_page
from pipeline.delivery.awaiting import still_waits
from pipeline.delivery.books import Tally
from pipeline.delivery.pace import Learned
from pipeline.delivery.sender import Sender
from pipeline.delivery.traffic import Traffic
from pipeline.delivery.wire import Wire
from pipeline.guards import History, tightest
from pipeline.holdings import DOUBTS, MERGES, UNTOLD
from pipeline.identity import Identity
from pipeline.job import Job, fingerprint, share_a_profile
from pipeline.order import Opened, Order, Ports
from pipeline.partition import user_key
from pipeline.phases import Phase
from pipeline.plan import Plan
from pipeline.planning import read_phase
from pipeline.ports import Api, Durable, LedgerBook, PlanSpool, RowSpool, RunShelf
from pipeline.remote import held_digest
from schemas.details import GuardCheck, RunDetails, StageTime
from schemas.errors import ApiUnavailable, ContractError, GuardError, MeterfeedError, StorageError
from schemas.exchange import Answer, Call
from schemas.ledger import ADOPTED, BUCKETS, ChunkRow, RunRow, SourceRow, State
from schemas.outcomes import Exit, Kind
from schemas.profile import GuardsSection, Profile
from schemas.summary import Summary

ADOPTING = "adopt"
"""The fact under which the ledger keeps whose reading `adopt` has aside."""
LEARNED = "learned"
"""The fact under which the ledger keeps what was learned of the API's limits."""
LEDGER_BYTES = 300
"""Of a record, in the ledger, at most: measured 160, and 230 for a row of a first load."""
UNREACHABLE = "api_unreachable_at_start"
SETTLED = "settled"
SENDING = "sending"
PLANNED = "planned"
SUPERSEDED = "superseded"
MOVE = "move"
"""The command of a run that moves one location. No profile speaks in it: it waits for none and overtakes none."""
HISTORY_RUNS = 20
SHORTEST_NAME = 8
"""Hexadecimal digits of a plan that name it, at least."""


@asynccontextmanager
async def open_session(order: Order, ports: Ports) -> AsyncIterator[Session]:
    """The ledger, held as its one writer, and a connection to the API that asks for nothing yet."""
    assert ports.ledger is not None
    assert ports.api is not None
    async with ports.ledger() as (ledger, durable), ports.api() as api:
        yield Session(order.environment, ports, ledger, durable, api, fingerprint(ports.key))


@dataclass(slots=True)
class Session:
    """The ledger and the API, for as long as the lock is held."""

    environment: str
    ports: Ports
    ledger: LedgerBook
    durable: Durable
    api: Api
    key_fingerprint: str
    stages: list[StageTime] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What was found at the sign-in, which holds for every run of the session."""
    notes: list[str] = field(default_factory=list)
    """What was found for the run of the moment; like its stages, no business of the next one."""
    replaces: list[str] = field(default_factory=list)
    """Unfinished runs whose place the run of today takes, from the moment it begins to send; kept with its plan."""

    # ------------------------------------------------------------ keys
    def identity(self, like: Identity | None = None, *, with_users: bool = False) -> Identity:
        """How ids and digests are made so that they fit what the ledger holds.

        Args:
            like: with what a profile says of ids.
            with_users: know who is held, which decides under which key a customer's ids are made.
        """
        keys = {fingerprint(key): key for key in (*self.ports.former_keys, self.ports.key)}
        names = self.ledger.key_names()
        first = keys[names[0]] if names else self.ports.key
        made = replace(like or Identity(self.ports.key), ledger_key=first)
        if not (with_users and self.ports.former_keys):
            return made
        pages = (
            self.ledger.holdings(Kind.USER.value, range(number, number + 1)) for number in range(BUCKETS)
        )
        held = [page.select(user_key(pl.col("id"))).to_series() for page in pages if page is not None]
        if not held:
            return made
        return replace(made, former=self.ports.former_keys, held_users=pl.concat(held).sort())

    # ------------------------------------------------------------ the past
    async def sign_in(self) -> None:
        """Fetch a token before anything else: wrong credentials end the run here.

        An endpoint that cannot be reached does not: the plan is made all the same, and can be resumed.

        Raises:
            AuthenticationError: the credentials are refused.
            ContractError: the API is not the one we know.
        """
        try:
            await self.api.sign_in()
            await self._check_contract()
        except ApiUnavailable:
            self.warnings.append(UNREACHABLE)

    async def _check_contract(self) -> None:
        answer = await self.api.call(Call("GET", ("swagger", "Partner", "swagger.json")))
        if not isinstance(answer, Answer) or answer.status != 200:
            self.warnings.append("contract_not_published")
            return
        try:
            found = compare(PINNED, shape_of(parse(answer.body)))
        except MalformedAnswer:
            self.warnings.append("contract_not_readable")
            return
        if found.breaking:
            first = found.breaking[0]
            raise ContractError(
                f"The API's contract changed in {len(found.breaking)} place(s) we rely on, first: {first}.",
                cure="Nothing was sent. Update meterfeed, or ask the vendor.",
            )

    def newest_sent(self) -> int:
        """The number of the newest run that sent anything, or 0."""
        sent = (run.run_seq for run in self.ledger.runs(brief=True) if run.state in (SETTLED, SENDING))
        return max(sent, default=0)

    async def settle_the_past(self, *, only_if_needed: bool = False) -> None:
        """Read back what earlier runs left in doubt; nothing new is sent before that is known.

        Raises:
            ApiUnavailable: something stays in doubt because the API cannot be read.
        """
        await self.remember()  # a run that was killed may have been told of more than it lived to remember
        waiting = await self.durable(lambda: next(self.ledger.chunks(states=[State.IN_DOUBT]), None))
        if waiting is None:
            return
        if only_if_needed:
            await self.sign_in()
        with closing(_Spools(self.ports, self.ledger)) as spools:
            left = await self.sender(spools, GuardsSection()).recover()
        await self.remember()
        if left:
            self.raise_if_stopping()
            raise ApiUnavailable(
                f"{left} records of earlier runs are in doubt and could not be read back.",
                cure="Run `meterfeed resume` when the API answers.",
            )

    async def settled_twin(self, job: Job, *, after: Collection[str] | None = None) -> RunRow | None:
        """The newest run of any of these profiles, if it did this very job and nothing of it is open.

        What was done before the ledger was built anew from the API does not count: not all of it may be there. Nor
        does a run that found records it cannot tell the content of, until something newer was sent; nor one since
        which a run of other profiles changed what is there, or what is known to be missing.

        Args:
            after: for a backfill, which goes through the same exports in the same order: the runs that did the
                exports before this one. The oldest run of the job will do that did it after those of its profiles.
        """
        return await self.durable(self._settled_twin, job, after)

    def _settled_twin(self, job: Job, after: Collection[str] | None) -> RunRow | None:
        began = [run for run in self.ledger.runs(brief=True) if run.state in (SETTLED, SENDING, SUPERSEDED)]
        mine = [run for run in began if share_a_profile(run.profiles, job.profiles)]
        newest = list(takewhile(lambda run: run.job_digest == job.digest, mine))
        adopted = int(self.ledger.recall(ADOPTED) or 0)
        twin = next(iter(newest), None)
        if after is not None:
            since = max((run.run_seq for run in mine if run.run_id in after), default=0)
            done = [run for run in mine if run.job_digest == job.digest and run.state == SETTLED]
            fits = (run for run in reversed(done) if run.run_seq >= since and run.run_seq > adopted)
            oldest = next(fits, None)
            twin = twin if oldest in newest else oldest
        if twin is None or twin.state != SETTLED or twin.run_seq <= adopted:
            return None
        if twin in newest and (self._left_untold(twin) or self._others_spoke(twin, began)):
            return None
        return self.ledger.runs(run_seq=twin.run_seq)[0]

    def _others_spoke(self, twin: RunRow, began: Sequence[RunRow]) -> bool:
        """Whether a load of other profiles has changed something since a run, or missed what that run may name.

        What another export misses may be removed unless one names it in between, so this one has to say it again. A
        load that neither changed nor missed anything is no reason: two profiles would never let each other rest.
        """
        return any(
            (run.run_seq > twin.run_seq or run.fence > twin.fence)
            and run.command != MOVE
            and not share_a_profile(run.profiles, twin.profiles)
            and (run.state != SETTLED or self.ledger.request_counts(run.run_seq)[0] or self._misses(run))
            for run in began
        )

    def _misses(self, run: RunRow) -> bool:
        [whole] = self.ledger.runs(run_seq=run.run_seq)
        kinds = json.loads(whole.summary or "{}").get("vanished", {}).get("kinds", {})
        return any(counts["missing"] for counts in kinds.values())

    def _left_untold(self, run: RunRow) -> bool:
        """Whether a record of a run may say something else than was sent: what the same job says again is news."""
        return any(reason == UNTOLD for _, _, reason, _ in self.ledger.account(run.run_seq))

    async def unfinished(self, run_id: str | None = None, *, profiles: str | None = None) -> list[str]:
        """Runs that began to send and are not settled, oldest first; of all profiles, or of any of these."""
        runs = await self.durable(lambda: self.ledger.runs(state=SENDING, run_id=run_id, brief=True))
        return [
            run.run_id
            for run in reversed(runs)
            if profiles is None or (run.command != MOVE and share_a_profile(run.profiles, profiles))
        ]

    async def run_of(self, run_id: str) -> RunRow:
        """A run by its id."""
        [run] = await self.durable(lambda: self.ledger.runs(run_id=run_id, brief=True))
        return run

    async def has_sent(self, run_id: str) -> bool:
        """Whether a run has sent anything, in any of its starts."""
        run = await self.run_of(run_id)
        sent, *_ = await self.durable(lambda: self.ledger.request_counts(run.run_seq))
        return sent > 0

    async def give_up(self, run_id: str) -> None:
        """Something newer says all that an older run has not sent, and takes its place; its spool goes too."""
        await self.durable(self._supersede, run_id)
        self._drop_spool(run_id)

    def _supersede(self, run_id: str) -> None:
        [run] = self.ledger.runs(run_id=run_id, brief=True)
        if run.state == SENDING:
            self.ledger.supersede(run.run_seq)
            self.ledger.change_run(run.run_seq, state=SUPERSEDED)

    def _drop_spool(self, run_id: str) -> None:
        with self.ports.shelf.open(run_id) as shelf:
            shelf.drop_spool()

    def give_up_plans(self) -> list[str]:
        """Plans nobody applied: they rest on what is not believed any more. Their spools, which hold rows, go too."""
        planned = self.ledger.runs(state=PLANNED, brief=True)
        for run in planned:
            self.ledger.change_run(run.run_seq, state=SUPERSEDED)
            with self.ports.shelf.open(run.run_id) as shelf:
                shelf.drop_spool()
        return [run.run_id for run in planned]

    async def history(self, job: Job, export_kind: str) -> History:
        """What completed runs of these profiles looked like; a full export is not measured by a correction."""
        runs = await self.durable(self.ledger.runs, profiles=job.profiles, state=SETTLED, limit=HISTORY_RUNS)
        summaries = [json.loads(run.summary) for run in runs if run.summary]
        return History.of([one for one in summaries if one.get("export_kind") == export_kind])

    async def last_summary(self, run_id: str | None) -> Summary | None:
        """The summary of the newest run (or of this one) as it stands; None when there was none yet.

        Raises:
            GuardError: there is no such run.
        """
        runs = await self.durable(lambda: self.ledger.runs(run_id=run_id, brief=True))
        ended = (run for run in runs if run.exit_code is not None)
        done = next((run for run in ended if run.state in (SETTLED, SENDING, PLANNED)), None)
        if done is None and run_id is None:
            return None
        if done is None:
            raise GuardError(
                "There is no run to resume.", guard="resume", cure="`meterfeed runs` lists them."
            )
        seq = done.run_seq
        [whole] = await self.durable(lambda: self.ledger.runs(run_seq=seq))
        summary = Summary.from_json(json.loads(whole.summary or "{}"))
        return of_settled(summary) if whole.state == SETTLED else summary

    # ------------------------------------------------------------ the run
    def _turn_to_another(self) -> None:
        self.stages.clear()
        self.notes.clear()

    async def begin(self, command: str, job: Job, opened: Opened) -> tuple[RunRow, RunShelf]:
        """Write the run and its sources down, and make its folder."""
        self._turn_to_another()
        now = self.ports.world.now()

        def write() -> RunRow:
            run = self.ledger.begin_run(
                command=command,
                environment=self.environment,
                profiles=job.profiles,
                job_digest=job.digest,
                stamp=datetime.fromtimestamp(now, UTC).strftime("%Y%m%d"),
                now=now,
            )
            self.ledger.note_sources(
                run.run_seq,
                [
                    SourceRow(export.index, export.name, export.sha256, export.byte_count, None)
                    for export, _ in opened
                ],
            )
            return run

        run = await self.durable(write)
        return run, self.ports.shelf.open(run.run_id, fresh=True)

    async def take_up(self, name: str) -> tuple[RunRow, RunShelf, Plan, list[GuardCheck]]:
        """A planned run, by its id, the digest of its plan, or the beginning of a digest.

        Raises:
            GuardError: there is no such plan, there are several, it was given up, or another run of one of its profiles
                changed what it rests on: a newer one, or an older one that went on after the plan was made.
            StorageError: its spool is gone.
        """
        self._turn_to_another()
        runs = await self.durable(lambda: self.ledger.runs(brief=True))
        found = _named(name, [run for run in runs if run.plan_digest])
        if not found:
            raise GuardError(
                f"There is no plan {name[:40]!r}.", guard="apply", cure="`meterfeed runs` lists them."
            )
        if len({run.plan_digest for run in found}) > 1:
            raise GuardError(
                f"{len(found)} plans begin with {name[:40]!r}, the newest is {found[0].plan_digest}.",
                guard="apply",
                cure="Nothing was sent. Give the whole digest.",
            )
        newest = found[0].run_seq
        [run] = await self.durable(lambda: self.ledger.runs(run_seq=newest))
        if (why := _overtaken(run, runs)) is not None:
            raise GuardError(
                f"The plan of {run.run_id} is stale: {why}.", guard="stale", cure=load_again(run)
            )
        kept = json.loads(run.plan or "{}")
        checks = [GuardCheck(**check) for check in kept["guards"]]
        return run, self.ports.shelf.open(run.run_id), Plan.from_json(kept["plan"]), checks

    def was_approved(self, run: RunRow) -> bool:
        """Whether the run got past its guards before: it began to send."""
        return run.state == SENDING or (run.approved is not None and run.approved == run.plan_digest)

    def guard_that_stopped(self, run: RunRow) -> GuardError | None:
        """The guard that stopped a run while it was sent, when that is how its last start ended."""
        summary = Summary.from_json(json.loads(run.summary)) if run.summary else None
        if run.state != SENDING or summary is None or summary.error is None:
            return None
        error = summary.error
        if (summary.exit_code, error.kind) != (Exit.GUARD, GuardError.__name__):
            return None
        guard = summary.verdict.rstrip(".").rpartition(": ")[2]
        return GuardError(error.message, guard=guard, cure=error.cure)

    async def renew_limits(self, run: RunRow, profiles: Sequence[Profile]) -> None:
        """Let the guards that watch the sending of a run be what its profiles say by now; others change nothing."""
        now = [profile.guards for profile in profiles if profile.name in run.profiles.split("+")]
        if now:
            kept = {**json.loads(run.plan or "{}"), "limits": tightest(now).model_dump()}
            await self.durable(self.ledger.change_run, run.run_seq, plan=json.dumps(kept))

    async def approve(self, run: RunRow, digest: str) -> None:
        """Write down that a person let this very plan through."""
        await self.durable(lambda: self.ledger.change_run(run.run_seq, approved=digest))

    async def note_strangers(self, plan: Plan) -> None:
        """Say so when the API holds users that the ledger does not know: it is not the newest, or not alone.

        Asked once, and only before users are created. It stops nothing: others may load the same tenant.
        """
        if not plan.phase_sizes.get(Phase.CREATE_USERS) or UNREACHABLE in self.warnings:
            return
        known = (await self.durable(self.ledger.holding_counts)).get(Kind.USER.value, 0)
        try:
            answer = await self.api.call(Call("GET", ("users",), query={"page": "1", "pageSize": "1"}))
            if not isinstance(answer, Answer) or answer.status != 200:
                return
            held = users_page(answer.body).pagination.total_records
        except (ApiUnavailable, MalformedAnswer):
            return  # whoever sends next will hear of it
        if held > known:
            self.notes.append(
                f"The API holds {held - known} users that the ledger does not know. If nobody else loads this tenant, "
                "the ledger is not the newest: stop, and run `meterfeed adopt`."
            )

    # ------------------------------------------------------------ sending
    async def begin_sending(self, run: RunRow) -> None:
        """From here on the run must be finished, not planned again; the runs it replaces need not be any more.

        Both in one commit: at no moment does nobody have to say what they have not sent. What an interrupted `adopt`
        has read may not hold after it, whichever run it is: that one begins anew.
        """

        def begin() -> list[str]:
            replaced = self.replaced_by(run)
            for older in replaced:
                self._supersede(older)
            self.ledger.change_run(run.run_seq, state=SENDING)
            if self.ledger.recall(ADOPTING):
                self.ledger.remember({ADOPTING: ""})
            return replaced

        for older in await self.durable(begin):
            self._drop_spool(older)

    def replaced_by(self, run: RunRow) -> list[str]:
        """Runs whose place this one takes when it begins to send: it says all that they have not sent."""
        [now] = self.ledger.runs(run_seq=run.run_seq)
        names: list[str] = json.loads(now.plan or "{}").get("replaces", [])
        return names

    async def send(self, run: RunRow, plan: Plan, shelf: RunShelf, *, lane: int = 0) -> MeterfeedError | None:
        """Deliver a plan, or one lane of it, from wherever it stands; what stopped it is returned, not raised."""
        try:
            await self.durable(self._require_room, run, plan)
            spool = spool_to_send(run, shelf)
        except StorageError as error:
            return error
        await self.begin_sending(run)
        limits = await self.durable(self._limits, run)
        sender = self.sender(one_plan(run.run_seq, spool), limits, lane=lane)
        try:
            await sender.deliver(run.run_seq, plan.phase_sizes, plan.partitions)
        except MeterfeedError as error:
            return error
        finally:
            learned = json.dumps(sender.traffic.size.learned(sender.traffic.pace.limit).to_json())
            await self.durable(lambda: self.ledger.remember({LEARNED: learned}))
        return None

    def _require_room(self, run: RunRow, plan: Plan) -> None:
        """What is not in the ledger yet must fit into it: better not to begin than to stop half-way."""
        written = sum(count for *_, count in self.ledger.account(run.run_seq))
        left = max(0, sum(plan.phase_sizes.values()) - written)
        self.ports.room(0, left * LEDGER_BYTES)

    def _limits(self, run: RunRow) -> GuardsSection:
        """The limits of the profiles the run was planned with, or was resumed with since."""
        [now] = self.ledger.runs(run_id=run.run_id)
        return GuardsSection(**json.loads(now.plan or "{}").get("limits", {}))

    async def remember(self) -> None:
        """Fold what was acknowledged into what the API is believed to hold, and what is not to be believed any more.

        A change that was begun may be half done: a resource is changed by removing it and making it anew. An export
        that says again what was there before must not be told that it is.
        """
        await self.durable(self.ledger.absorb, MERGES)
        await self.durable(self.ledger.absorb_undone, DOUBTS)

    def wire(self) -> Wire:
        """A way to the API for reading, and for the few changes that are no part of a plan."""
        world = self.ports.world
        return Wire(self.api, self.traffic(), world, self.ports.stopping)

    def traffic(self) -> Traffic:
        """Pace and patience, beginning with what earlier runs learned of the API."""
        learned = self.ledger.recall(LEARNED)
        return Traffic(
            self.ports.world,
            chunk_records=self.ports.chunk_records,
            concurrency=self.ports.concurrency,
            learned=Learned.from_json(json.loads(learned) if learned else None),
        )

    async def keep(self, run: RunRow, plan: Plan, so_far: Summary) -> None:
        """Write down what a later start needs to finish a run that read no export."""
        kept = {
            "plan": plan.to_json(),
            "so_far": so_far.to_json(),
            "details": RunDetails().to_json(),
            "guards": [],
            "replaces": self.replaces,
        }
        await self.durable(
            self.ledger.change_run, run.run_seq, plan=json.dumps(kept), plan_digest=plan.digest, state=PLANNED
        )

    def sender(
        self,
        plans: _Plans,
        guards: GuardsSection,
        *,
        lane: int = 0,
        traffic: Traffic | None = None,
        tally: Tally | None = None,
        stopping: Callable[[], bool] | None = None,
        identity: Identity | None = None,
    ) -> Sender:
        """What sends plans over this session's API.

        Args:
            lane: 0 for whole plans, or one partition, counted from 1.
            traffic: to go on at the pace of an earlier sender.
            tally: to go on with its sums.
            stopping: instead of the session's own.
            identity: how keys are made, where it must not be asked of the ledger at this moment.
        """
        keys = identity or self.identity()
        sender = Sender(
            api=self.api,
            ledger=self.ledger,
            world=self.ports.world,
            durable=self.durable,
            read_plan=plans.read,
            traffic=traffic or self.traffic(),
            guards=guards,
            settle_seconds=self.ports.settle_seconds,
            meter_point_keys=lambda points: _meter_point_keys(keys, points),
            digest_of=partial(held_digest, keys),
            stopping=stopping or self.ports.stopping,
            lane=lane,
        )
        if tally is not None:
            sender.books.tally = tally
        return sender

    # ------------------------------------------------------------ the end
    async def finish(self, run: RunRow, summary: Summary) -> Summary:
        """Write the summary into the ledger; the run is settled when nothing of it is left open."""
        state = self._state_after(run, summary)
        await self.durable(
            lambda: self.ledger.finish_run(
                run.run_seq,
                exit_code=int(summary.exit_code),
                state=state,
                summary=summary.to_json(),
                now=self.ports.world.now(),
            )
        )
        return summary

    def _state_after(self, run: RunRow, summary: Summary) -> str:
        [now] = self.ledger.runs(run_id=run.run_id)
        if now.state == SENDING:
            return SENDING if self.leaves_open(run, summary) else SETTLED
        return PLANNED if now.plan else "stopped"

    def leaves_open(self, run: RunRow, summary: Summary) -> bool:
        """Whether another start of a run has something to do: records not sent, in doubt, or waiting for others."""
        removals = summary.extra.get("vanished", {}).get("removals", {}).values()
        return (
            any(counts.in_doubt or counts.not_sent for counts in summary.records.values())
            or any(counts["in_doubt"] or counts["not_sent"] for counts in removals)
            or self.holds_back(run)
        )

    def holds_back(self, run: RunRow) -> bool:
        """Whether the turn of a blocked record may come yet.

        What a lane held back may have been settled by another one since: it has to be gone through again.
        """
        lines = self.ledger.account(run.run_seq)
        return any(state == State.BLOCKED and still_waits(why) for _, state, why, _ in lines)

    def open_chunks(self, run: RunRow) -> Iterator[ChunkRow]:
        """Leaf chunks of the run whose records are not in place."""
        states = [State.REJECTED, State.IN_DOUBT, State.IN_FLIGHT, State.BLOCKED, State.PLANNED]
        return self.ledger.chunks(states=states, run_seq=run.run_seq)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage for the report."""
        start = self.ports.world.monotonic()
        try:
            yield
        finally:
            self.stages.append(StageTime(name, round(self.ports.world.monotonic() - start, 3)))

    def raise_if_stopping(self) -> None:
        """Nothing was sent yet: somebody who asks the run to end now is obeyed at once."""
        if self.ports.stopping():
            raise InterruptedEarly


def _overtaken(run: RunRow, runs: Sequence[RunRow]) -> str | None:
    """Why what a run has planned does not hold any more; None: it does, or all of it was sent.

    An older run that goes on, or is applied, takes the fence of that moment. A plan took its own when it was made, and
    takes another only where it is found to hold. Clocks may be set back; fences only grow.
    """
    if run.state == SUPERSEDED:
        return "it was given up"
    for other in runs:
        if run.state == SETTLED or other.state not in (SENDING, SETTLED):
            continue
        if MOVE in (run.command, other.command):
            continue
        if not share_a_profile(other.profiles, run.profiles):
            continue
        if other.run_seq > run.run_seq:
            return f"{other.run_id} has sent since"
        if other.run_seq < run.run_seq and run.state == PLANNED and other.fence > run.fence:
            return f"the older run {other.run_id} has gone on since"
    return None


def spool_to_send(run: RunRow, shelf: RunShelf) -> PlanSpool:
    """What a run is about to send; opened before it begins, as one that began holds up whoever comes after it.

    Raises:
        StorageError: it is lost or cannot be read.
    """
    try:
        return shelf.spool()
    except StorageError as lost:
        if run.state == PLANNED:
            lost.cure = f"{lost.cure} Nothing of this plan was sent, and no run waits for it.".strip()
        raise


def load_again(run: RunRow) -> str:
    """What to do about a run whose plan is stale."""
    if run.command == MOVE:
        return "Run `meterfeed move` again."
    if run.state == SENDING:
        return "Load its export again: `meterfeed sync EXPORT --profile PROFILE` takes the place of what is left."
    return "Plan again: `meterfeed plan EXPORT --profile PROFILE`."


def _named(name: str, runs: Sequence[RunRow]) -> list[RunRow]:
    """Runs with this id or plan; else those whose plan begins so, which takes `SHORTEST_NAME` digits at least."""
    exact = [run for run in runs if name in (run.run_id, run.plan_digest)]
    if exact or len(name) < SHORTEST_NAME:
        return exact
    return [run for run in runs if (run.plan_digest or "").startswith(name)]


def _meter_point_keys(identity: Identity, points: Sequence[str]) -> list[int]:
    named = pl.DataFrame({"point": list(points)}, schema={"point": pl.String})
    return named.select(identity.meter_point_key(pl.col("point"))).to_series().to_list()


class InterruptedEarly(BaseException):
    """Somebody asked the run to end before it had anything to report."""


def one_plan(run_seq: int, spool: RowSpool) -> _One:
    """The plan of a run, as a sender reads it."""
    return _One(run_seq, spool)


@dataclass(slots=True)
class _One:
    """The plan of one run."""

    run_seq: int
    spool: RowSpool

    def read(self, run_seq: int, phase: Phase, partition: int) -> Any:
        assert run_seq == self.run_seq
        return read_phase(self.spool, phase, partition)


@dataclass(slots=True)
class _Spools:
    """The plans of whatever runs left something in doubt."""

    ports: Ports
    ledger: LedgerBook
    _found: dict[int, RowSpool | None] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Give back the folders that were opened."""
        self._open.close()

    def read(self, run_seq: int, phase: Phase, partition: int) -> Any:
        if run_seq not in self._found:
            self._found[run_seq] = None
            for run in self.ledger.runs(run_seq=run_seq, brief=True):
                with suppress(StorageError):  # the spool is lost: a digest is all that can be told
                    shelf = self._open.enter_context(self.ports.shelf.open(run.run_id))
                    self._found[run_seq] = shelf.spool()
        spool = self._found[run_seq]
        return None if spool is None else read_phase(spool, phase, partition)


_Plans = _One | _Spools

__all__ = ["Exit", "InterruptedEarly", "Session"]
