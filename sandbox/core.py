"""The sandbox without a network: a request in, an answer out, logs in between.

Everything that carries requests (the server, the in-process transport) calls `Core.handle` and then
`Core.delivered`; so both meet the same API, the same faults and the same oracle.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec

from sandbox.contract import BASE_PATH, DOCUMENT_PATH, Operation, document, match, methods_of
from sandbox.effects import Cause, EffectLog, LineFile
from sandbox.exchange import Answer, Call, RequestLine, digest_of_body
from sandbox.faults import FAULTS, TOKEN, FaultRule, PlanSource, load_plan, menu, named_plan
from sandbox.operations import Operations, Task, decode, refused
from sandbox.records import LocationsBody, User, UsersBody
from sandbox.semantics import Atomicity, Refusal, World
from sandbox.tokens import TOKEN_PATH, Tokens, unauthorized

CONTROL_PATH = "/_sandbox"
"""Where tests and people look behind the curtain; outside the API, without a token."""

CLIENT_ID = "sandbox"
CLIENT_SECRET = "no-secret-at-all"  # noqa: S105  (opens nothing but this sandbox)

Clock = Callable[[], float]


class Core:
    """One sandbox.

    Args:
        plan: cell, rules and faults, as for `load_plan`.
        client_id: the one client that gets tokens.
        client_secret: its secret.
        token_lifetime: seconds a token lives.
        now: the clock, seconds since 1970; lags, late requests and tokens go by it.
        state_dir: keep the logs there and take up what they say; None keeps nothing.
    """

    def __init__(
        self,
        plan: PlanSource = None,
        *,
        client_id: str = CLIENT_ID,
        client_secret: str = CLIENT_SECRET,
        token_lifetime: float = 3600.0,
        now: Clock = time.time,
        state_dir: Path | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.now = now
        self.wire_ready = False
        """Whether whatever carries the requests can play faults of the wire."""
        self.plan = load_plan(plan)
        self.plan.started = now()
        self._files = [LineFile(state_dir / name) for name in LOG_FILES] if state_dir else []
        effects, requests = self._files or (None, None)
        self._requests_file = requests
        self.world = World(
            log=EffectLog(effects),
            now=now,
            semantics=self.plan.semantics,
            rules=self.plan.rules,
            seed=self.plan.seed,
        )
        self.operations = Operations(self.world)
        self.lines: list[RequestLine] = []
        if requests is not None:
            self.lines.extend(msgspec.json.decode(line, type=RequestLine) for line in requests.lines())
        last = self.lines[-1].request if self.lines else 0
        self._requests = max(last, self.world.log.last_request)
        self.sunk: list[dict[str, Any]] = []
        self.tokens = Tokens(
            client_id=client_id,
            client_secret=client_secret,
            lifetime=token_lifetime,
            now=now,
            chance=random.Random(f"tokens/{self.plan.seed}"),  # noqa: S311  (guards synthetic data)
        )

    # -- requests --------------------------------------------------------------------------------------

    def handle(self, call: Call) -> Answer:
        """Answer a request; the carrier then reports with `delivered`."""
        with self.lock:
            self.world.advance()
            segments = call.segments
            if segments[:1] == (CONTROL_PATH[1:],):
                return self._control(call, segments[1:])
            self._requests += 1
            line = self._line(call)
            before = len(self.world.log)
            answer = self._answer(call, segments, line)
            line.status = answer.status
            line.count = line.count or answer.count
            line.applied = len(self.world.log) - before
            answer.line = line
            if answer.delivery.how != "whole":
                line.delivered = False
            answer.headers.append(("date", formatdate(line.time, usegmt=True)))
            self.lines.append(line)
            return answer

    def delivered(self, answer: Answer, whole: bool) -> None:
        """Note whether an answer was handed to the network whole, as it was made."""
        if answer.line is None:
            return
        with self.lock:
            answer.line.delivered = whole and answer.delivery.how == "whole"
            answer.line.ended = self.now()
            if self._requests_file is not None:
                self._requests_file.append([answer.line])

    def draw_wire(self, operation: Operation) -> tuple[FaultRule, random.Random] | None:
        """The fault of the wire to play on this request, with its chance; None for an honest wire."""
        with self.lock:
            return self.plan.draw(operation, self.now(), wire=True) if self.plan.has_wire_faults else None

    def note(self, call: Call, fault: str) -> None:
        """Log a request that was cut off before the API saw it."""
        with self.lock:
            self._requests += 1
            line = self._line(call)
            segments = call.segments
            base = tuple(BASE_PATH.strip("/").split("/"))
            found = match(call.method, segments[len(base) :]) if segments[: len(base)] == base else None
            line.path = found[0].template if found else TOKEN_PATH
            line.fault = fault
            line.delivered = False
            line.ended = line.time
            self.lines.append(line)
            if self._requests_file is not None:
                self._requests_file.append([line])

    def _line(self, call: Call) -> RequestLine:
        return RequestLine(
            request=self._requests,
            time=self.now(),
            trace=call.trace,
            method=call.method,
            path="unknown",
            body_bytes=len(call.body),
            body_digest=digest_of_body(call.body),
        )

    def _answer(self, call: Call, segments: tuple[str, ...], line: RequestLine) -> Answer:
        if segments == tuple(TOKEN_PATH.strip("/").split("/")):
            line.path = TOKEN_PATH
            if call.method != "POST":
                return Answer(405, headers=[("allow", "POST")])
            return self._play(_Stage(self, call, TOKEN, {}, line))
        base = tuple(BASE_PATH.strip("/").split("/"))
        if segments[: len(base)] != base:
            return Answer(404)
        segments = segments[len(base) :]
        if segments == tuple(DOCUMENT_PATH.strip("/").split("/")) and call.method == "GET":
            line.path = DOCUMENT_PATH
            return Answer.json(200, document())
        found = match(call.method, segments)
        if found is None:
            allowed = methods_of(segments)
            return Answer(405, headers=[("allow", ", ".join(allowed))]) if allowed else Answer(404)
        operation, parameters = found
        line.path = operation.template
        if not self.tokens.accepts(call.headers.get("authorization", "")):
            return unauthorized()
        return self._play(_Stage(self, call, operation, parameters, line))

    def _play(self, stage: _Stage) -> Answer:
        drawn = self.plan.draw(stage.operation, stage.now) if self.plan.faults else None
        if drawn is None:
            return stage.run()
        rule, stage.chance = drawn
        stage.options = rule.options
        stage.line.fault = rule.kind
        return FAULTS[rule.kind].play(stage)

    # -- behind the curtain ----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything held, in canonical form, with counts, copies and what is still under way."""
        with self.lock:
            self.world.advance()
            return {**self.world.truth.dump(), "under_way": self.world.under_way}

    def effects(self, since: int = 0, *, content: bool = False) -> list[dict[str, Any]]:
        """The effect log from number `since` on; with `content`, each with its record."""
        with self.lock:
            self.world.advance()
            found = list(self.world.log.effects(since, with_content=content))
            return msgspec.json.decode(msgspec.json.encode(found), type=list[dict[str, Any]])

    def requests(self) -> list[dict[str, Any]]:
        """The request log."""
        with self.lock:
            return [msgspec.to_builtins(line) for line in self.lines]

    def settle(self) -> None:
        """Apply what is still under way and let lagging readers catch up, whatever the clock says."""
        with self.lock:
            self.world.settle()

    def reset(self) -> None:
        """Forget records, logs and tokens; cell, rules and faults stay, counting from the start."""
        with self.lock:
            self.world.reset()
            self.world.reseed(self.plan.seed)
            self.tokens.revoke()
            self.lines.clear()
            self.sunk.clear()
            self._requests = 0
            if self._requests_file is not None:
                self._requests_file.clear()
            self._restart_plan()

    def set_faults(self, source: PlanSource) -> None:
        """Take another plan: cell, rules and faults. Records and logs stay."""
        plan = load_plan(source)
        if plan.has_wire_faults and not self.wire_ready:
            raise ValueError("faults of the wire need a sandbox that was started with wire=True (--wire)")
        with self.lock:
            self.world.advance()
            self.plan = plan
            self._restart_plan()
            self.world.reseed(plan.seed)
            self.world.configure(plan.semantics, plan.rules)

    def _restart_plan(self) -> None:
        self.plan.started = self.now()
        for rule in self.plan.faults:
            rule.seen = rule.played = 0

    def close(self) -> None:
        """Close the log files."""
        for file in self._files:
            file.close()

    def _control(self, call: Call, segments: tuple[str, ...]) -> Answer:
        query = parse_qs(call.query)
        match (call.method, *segments):
            case ("GET", "state"):
                return Answer.json(200, self.state())
            case ("GET", "effects"):
                since = int(query.get("since", ["0"])[-1])
                return Answer.json(200, self.effects(since, content="content" in query))
            case ("GET", "requests"):
                return Answer.json(200, self.requests())
            case ("GET", "faults"):
                return Answer.json(200, self._menu())
            case ("POST", "faults"):
                return self._take_faults(call)
            case ("POST", "settle"):
                self.settle()
            case ("POST", "reset"):
                self.reset()
            case ("GET", "sink", "seen"):
                return Answer.json(200, self.sunk)
            case (method, "sink", *_):
                self.sunk.append({"method": method, "target": call.target, "body_bytes": len(call.body)})
            case _:
                return Answer(404)
        return Answer(204)

    def _take_faults(self, call: Call) -> Answer:
        try:
            plan = msgspec.json.decode(call.body, type=str | dict[str, Any]) if call.body else None
            # A file is taken from the command line only: nobody may make us read one over HTTP.
            self.set_faults(named_plan(plan) if isinstance(plan, str) else plan)
        except (ValueError, TypeError, OSError) as error:
            return Answer.json(400, str(error))
        return Answer(204)

    def _menu(self) -> dict[str, Any]:
        return {
            "semantics": str(self.plan.semantics),
            "cell": self.plan.semantics.cell,
            "seed": self.plan.seed,
            "playing": [
                {"kind": rule.kind, "on": rule.on, "played": rule.played} for rule in self.plan.faults
            ],
            "menu": menu(),
        }


LOG_FILES = ("effects.jsonl", "requests.jsonl")
"""What a state directory holds. The first alone restores every record."""


@dataclass(slots=True)
class _Stage:
    """One request on its way through the core; see `faults.Stage`."""

    core: Core
    call: Call
    operation: Operation
    parameters: dict[str, str]
    line: RequestLine
    chance: random.Random = None  # type: ignore[assignment]  # set before a fault is played, used by faults only
    options: Mapping[str, Any] = None  # type: ignore[assignment]

    @property
    def now(self) -> float:
        return self.line.time

    def run(self) -> Answer:
        if self.operation is TOKEN:
            return self.core.tokens.answer(self.call)
        try:
            task = self._task()
        except Refusal as refusal:
            return refused(self.operation, refusal)
        self.line.count = task.items
        return self.core.operations.perform(task)

    def run_lost(self) -> None:
        if self.core.world.semantics.e == "late":
            self.run_later(None)
        else:
            self.run()

    def run_later(self, seconds: float | None) -> None:
        if seconds is None:
            seconds = self.chance.uniform(0.0, self.core.world.semantics.late_seconds)
        self.core.world.postpone(seconds, self._apply_at)

    def _apply_at(self, due: float) -> None:
        try:
            task = self._task(due=due)
        except Refusal:
            return
        self.core.operations.perform(task)

    def run_part(self, keep: Callable[[list[Any]], list[Any]]) -> Answer:
        try:
            task = self._task(atomicity=Atomicity.SUBSET)
        except Refusal as refusal:
            return refused(self.operation, refusal)
        self.line.count = task.items
        payload = task.payload
        if isinstance(payload, UsersBody):
            payload = UsersBody(users=keep(payload.users))
        elif isinstance(payload, LocationsBody):
            payload = LocationsBody(locations=keep(payload.locations))
        return self.core.operations.perform(
            Task(task.operation, task.call, task.parameters, payload, task.cause, task.atomicity)
        )

    def users(self) -> list[User]:
        return self.core.operations.users_for(self._task())

    def issue_token(self, lifetime: float) -> Answer:
        return self.core.tokens.issue(lifetime)

    def revoke_tokens(self) -> None:
        self.core.tokens.revoke()

    def _task(self, *, due: float | None = None, atomicity: Atomicity | None = None) -> Task:
        cause = Cause(
            time=self.now if due is None else due,
            request=self.line.request,
            trace=self.line.trace,
            method=self.operation.method,
            path=self.operation.template,
            late=due is not None,
        )
        payload = decode(self.operation, self.call)
        return Task(self.operation, self.call, self.parameters, payload, cause, atomicity)
