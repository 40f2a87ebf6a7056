"""The fault menu: a closed list of ways to misbehave, and plans that say when.

A plan is a name of `NAMED_PLANS`, a TOML or JSON file, or a mapping:

    seed = 7

    [semantics]                     # the cell: any of a..f, or cell = 0..1349
    a = "prefix"

    [rules]                         # what is refused about a record: fields of `semantics.Rules`
    reject_fraction = 0.003

    [[fault]]
    kind = "applied-then-503"       # a name of `FAULTS`, or `wire-` and a name of `wire.WIRE_FAULTS`
    on = "batch"                    # a group, an operationId or "METHOD /template"; or a list of them;
                                    # without it, wherever the kind fits, the token endpoint spared
    probability = 0.1               # of the requests that match, drawn from the seed; or
    at = [1, 5]                     # exactly these, counted from 1; or every = 3
    times = 10                      # at most so often
    after = 5.0                     # only in this stretch of seconds since the plan was set
    until = 65.0
    status = 502                    # options of the kind

The first rule that fires is played; a request suffers one fault. Draws depend on the seed, the rule and the
number of the matching request alone, so one client working in order meets the same faults every time.
Groups: api, read, mutating, batch, single, update, delete, by-id, list, paged, token, any.
"""

from __future__ import annotations

import difflib
import json
import random
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson

from sandbox.contract import OPERATIONS, Operation
from sandbox.exchange import Answer, Call, Delivery
from sandbox.mangle import MANGLERS, mangle
from sandbox.operations import page_answer, page_asked, refused
from sandbox.records import User
from sandbox.semantics import MAX_PAGE_SIZE, Page, Refusal, Rules, Semantics
from sandbox.tokens import TOKEN_PATH, unauthorized
from sandbox.wire import WIRE_FAULTS

TOKEN = Operation("Token", "POST", TOKEN_PATH, 200, groups=frozenset({"token"}))
"""The token endpoint, as fault rules see it."""

GROUPS = frozenset({"any", "token"}).union(*(each.groups for each in OPERATIONS))

Applies = Literal["yes", "no", "part", "late", "either"]


class Stage(Protocol):
    """What a fault can do with the request it is played on; implemented by the core."""

    call: Call
    operation: Operation
    chance: random.Random
    options: Mapping[str, Any]

    @property
    def now(self) -> float:
        """When the request arrived, seconds of the sandbox's clock."""

    def run(self) -> Answer:
        """Do the request, now, and make its answer."""

    def run_lost(self) -> None:
        """Do the request although nobody will hear of it: now, or later in a world that is late (axis E)."""

    def run_later(self, seconds: float | None) -> None:
        """Do the request after so many seconds; None draws them from axis E's range."""

    def run_part(self, keep: Callable[[list[Any]], list[Any]]) -> Answer:
        """Do what `keep` leaves of a batch, one record at a time, passing over records that are refused.

        The answer is what a request with those records alone would get.
        """

    def users(self) -> list[User]:
        """The whole list behind a paged operation."""

    def issue_token(self, lifetime: float) -> Answer:
        """Hand out a token that lives so long."""

    def revoke_tokens(self) -> None:
        """End every token handed out."""


Play = Callable[[Stage], Answer]


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the menu.

    Attributes:
        name: what plans call it.
        fits: groups of operations it can be played on.
        applies: whether the request takes effect: `yes`, `no`, `part`, `late`, or `either` (as without it).
        options: what a rule may set, with the defaults.
        about: one sentence.
        play: does it.
    """

    name: str
    fits: frozenset[str]
    applies: Applies
    options: Mapping[str, Any]
    about: str
    play: Play


FAULTS: dict[str, Fault] = {}
"""The closed list."""


def _fault(name: str, fits: str, applies: Applies, **options: Any) -> Callable[[Play], Play]:
    def register(play: Play) -> Play:
        about = " ".join((play.__doc__ or "").split())
        FAULTS[name] = Fault(name, frozenset(fits.split()), applies, options, about, play)
        return play

    return register


# -- answers that are lost -----------------------------------------------------------------------------


@_fault("applied-then-dropped", "mutating", "yes")
def _applied_then_dropped(stage: Stage) -> Answer:
    """The request is applied, then the connection is closed without a byte."""
    stage.run_lost()
    return Answer(0, delivery=Delivery("close"))


@_fault("applied-then-reset", "mutating", "yes")
def _applied_then_reset(stage: Stage) -> Answer:
    """The request is applied, then the connection is reset."""
    stage.run_lost()
    return Answer(0, delivery=Delivery("reset"))


@_fault("applied-then-cut", "api", "yes", share=0.5)
def _applied_then_cut(stage: Stage) -> Answer:
    """The request is applied, then the connection closes within the answer's body."""
    answer = stage.run()
    answer.delivery = Delivery("cut", cut=int(len(answer.body) * stage.options["share"]))
    return answer


@_fault("applied-then-silence", "mutating", "yes")
def _applied_then_silence(stage: Stage) -> Answer:
    """The request is applied and never answered; the connection stays open."""
    stage.run_lost()
    return Answer(0, delivery=Delivery("hang"))


@_fault("applied-late", "mutating", "late", seconds=None)
def _applied_late(stage: Stage) -> Answer:
    """The connection is closed without a byte; the request is applied `seconds` later (drawn if None)."""
    stage.run_later(stage.options["seconds"])
    return Answer(0, delivery=Delivery("close"))


@_fault("dropped", "api", "no")
def _dropped(_: Stage) -> Answer:
    """The connection is closed without a byte; nothing is applied."""
    return Answer(0, delivery=Delivery("close"))


@_fault("reset", "api", "no")
def _reset(_: Stage) -> Answer:
    """The connection is reset; nothing is applied."""
    return Answer(0, delivery=Delivery("reset"))


@_fault("silence", "api", "no")
def _silence(_: Stage) -> Answer:
    """No answer ever comes; nothing is applied."""
    return Answer(0, delivery=Delivery("hang"))


# -- statuses after applying ---------------------------------------------------------------------------


@_fault("applied-then-503", "mutating", "yes", status=503, retry_after=None)
def _applied_then_503(stage: Stage) -> Answer:
    """The request is applied, then answered with `status` (503, 500, 502, 504, 520, 408, 425, …)."""
    stage.run_lost()
    return _gateway_error(stage)


@_fault("accepted-202", "mutating", "late", seconds=None)
def _accepted(stage: Stage) -> Answer:
    """202 with an empty body; the request is applied `seconds` later (drawn if None)."""
    stage.run_later(stage.options["seconds"])
    return Answer(202)


@_fault("empty-200", "mutating", "yes", status=200)
def _empty_200(stage: Stage) -> Answer:
    """The request is applied and answered with `status` 200 (or 201, 204) and an empty body."""
    answer = stage.run()
    return Answer(stage.options["status"], count=answer.count) if answer.status < 300 else answer


@_fault("multi-status-207", "batch", "yes")
def _multi_status(stage: Stage) -> Answer:
    """The request is applied and answered with 207 and a status per record, unknown to the contract."""
    answer = stage.run()
    if answer.status >= 300:
        return answer
    return Answer.json(207, {"results": [{"index": index, "status": 201} for index in range(answer.count)]})


# -- refusals ------------------------------------------------------------------------------------------


@_fault("unavailable-503", "api", "no", status=503, retry_after=None)
def _unavailable(stage: Stage) -> Answer:
    """Answered with `status` (503, 500, 502, 504, 520, 408, 425, …); nothing is applied."""
    return _gateway_error(stage)


@_fault("rate-limited", "api", "no", form="seconds", seconds=1)
def _rate_limited(stage: Stage) -> Answer:
    """429; `form` says how Retry-After is written: see `RETRY_AFTER_FORMS`, or `any`."""
    form = stage.options["form"]
    if form == "any":
        form = stage.chance.choice(list(RETRY_AFTER_FORMS))
    values = RETRY_AFTER_FORMS[form](stage.options["seconds"], stage.now)
    answer = Answer.json(429, "Too many requests.")
    answer.headers += [("retry-after", value) for value in values]
    return answer


@_fault("bad-request", "api", "no", status=400, body="string")
def _bad_request(stage: Stage) -> Answer:
    """A 400 (or `status`) for no reason; `body` is string, text, problem, html, empty, object or huge."""
    return ERROR_BODIES[stage.options["body"]](stage.options["status"])


@_fault("refused-with-status", "api", "no", status=409)
def _refused_with_status(stage: Stage) -> Answer:
    """Answered with `status` (404, 405, 406, 409, 415, 422, 426, …) and no body; nothing is applied."""
    return Answer(stage.options["status"])


@_fault("too-large-413", "batch", "no", items=0)
def _too_large(stage: Stage) -> Answer:
    """413 for every batch of more than `items` records."""
    if _items(stage.call.body) <= stage.options["items"]:
        return stage.run()
    return Answer.text(413, "<html><h1>413 Request Entity Too Large</h1></html>", "text/html")


@_fault("unauthorized-401", "api", "no", revoke=True)
def _unauthorized(stage: Stage) -> Answer:
    """401 in mid-run; with `revoke`, every token handed out so far ends."""
    if stage.options["revoke"]:
        stage.revoke_tokens()
    return unauthorized()


@_fault("forbidden-403", "api", "no", pattern="")
def _forbidden(stage: Stage) -> Answer:
    """403 from a web firewall; with `pattern`, only for bodies that contain it."""
    if stage.options["pattern"].encode() not in stage.call.body:
        return stage.run()
    return Answer.text(403, "<html><h1>Request blocked</h1></html>", "text/html")


@_fault("redirect", "any", "no", status=307, location="/_sandbox/sink")
def _redirect(stage: Stage) -> Answer:
    """A redirect (`status` 301, 302, 303, 307, 308) to `location`; the sink remembers who followed."""
    return Answer(stage.options["status"], headers=[("location", stage.options["location"])])


# -- half-done batches ---------------------------------------------------------------------------------


@_fault("prefix-then-400", "batch", "part", share=0.5)
def _prefix_then_400(stage: Stage) -> Answer:
    """The first `share` of the batch is applied, as far as it is valid; the answer is 400."""
    stage.run_part(lambda records: records[: int(len(records) * stage.options["share"])])
    return refused(stage.operation, Refusal(400, "The batch could not be processed."))


@_fault("subset-then-400", "batch", "part", share=0.5)
def _subset_then_400(stage: Stage) -> Answer:
    """A drawn `share` of the batch is applied, as far as it is valid; the answer is 400."""
    stage.run_part(lambda records: _drawn(stage, records))
    return refused(stage.operation, Refusal(400, "The batch could not be processed."))


@_fault("subset-then-201", "batch", "part", share=0.5)
def _subset_then_201(stage: Stage) -> Answer:
    """A drawn `share` of the batch is applied and answered as if it had been all: what is not listed was not made."""
    return stage.run_part(lambda records: _drawn(stage, records))


def _drawn(stage: Stage, records: list[Any]) -> list[Any]:
    chosen = stage.chance.sample(range(len(records)), int(len(records) * stage.options["share"]))
    return [records[index] for index in sorted(chosen)]


# -- lists that are not what was asked -----------------------------------------------------------------


@_fault("short-list", "batch list", "either", share=0.5)
def _short_list(stage: Stage) -> Answer:
    """Everything is applied, but the list ends after `share` of its records (at least one is missing)."""
    share = stage.options["share"]
    return _with_list(
        stage.run(), lambda records: records[: min(int(len(records) * share), len(records) - 1)]
    )


@_fault("gappy-list", "batch list", "either", share=0.5)
def _gappy_list(stage: Stage) -> Answer:
    """Everything is applied, but drawn records are missing from the list; about `share` of them stay."""
    return _with_list(
        stage.run(),
        lambda records: [each for each in records[1:] if stage.chance.random() < stage.options["share"]],
    )


@_fault("shuffled-list", "batch list", "either")
def _shuffled_list(stage: Stage) -> Answer:
    """Everything is applied; the list comes in another order."""
    return _with_list(stage.run(), lambda records: stage.chance.sample(records, len(records)))


@_fault("doubled-list", "batch list", "either")
def _doubled_list(stage: Stage) -> Answer:
    """Everything is applied; one record stands in the list twice."""
    return _with_list(stage.run(), lambda records: [*records, *records[:1]])


@_fault("foreign-id", "batch list", "either", instead=False)
def _foreign_id(stage: Stage) -> Answer:
    """Everything is applied; the list also holds (with `instead`: holds instead) an id nobody sent."""

    def change(records: list[Any]) -> list[Any]:
        names = ("userId", "locationId", "resourceId")
        foreign = {name: f"foreign-{name}" if name in names else value for name, value in records[0].items()}
        return [foreign, *records[1:]] if stage.options["instead"] else [*records, foreign]

    return _with_list(stage.run(), change)


@_fault("altered-values", "batch single by-id update list", "either", digits=3)
def _altered_values(stage: Stage) -> Answer:
    """Everything is applied; coordinates come back rounded to `digits`, meter points in reverse order."""

    def alter(record: Any) -> Any:
        if isinstance(record, dict):
            point = record.get("coordinates")
            if isinstance(point, dict):
                digits = stage.options["digits"]
                record["coordinates"] = {name: round(value, digits) for name, value in point.items()}
            if isinstance(record.get("meterPointIds"), list):
                record["meterPointIds"] = record["meterPointIds"][::-1]
        return record

    answer = stage.run()
    if _is_list(answer):
        return _with_list(answer, lambda records: [alter(each) for each in records])
    return _with_body(answer, alter)


# -- bodies that are not what they should be -----------------------------------------------------------


@_fault("login-page", "any", "no", applied=False, status=200)
def _login_page(stage: Stage) -> Answer:
    """200 with a sign-in page, as a captive portal gives; with `applied`, after applying."""
    if stage.options["applied"]:
        stage.run_lost()
    page = "<!doctype html><html><title>Sign in</title><form method=post><input name=user></form></html>"
    return Answer.text(stage.options["status"], page, "text/html")


@_fault("garbled", "any", "either", how="any")
def _garbled(stage: Stage) -> Answer:
    """The body is damaged, the HTTP around it is sound; `how` is a name of `mangle.MANGLERS`, or `any`."""
    how = stage.options["how"]
    answer = stage.run()
    name = stage.chance.choice(list(MANGLERS)) if how == "any" else how
    answer.body = mangle(name, answer.body, stage.chance)
    return answer


@_fault("wrong-content-type", "api", "either", media="text/plain")
def _wrong_content_type(stage: Stage) -> Answer:
    """The body is right, its Content-Type is `media`."""
    answer = stage.run()
    answer.headers = [("content-type", stage.options["media"])]
    return answer


# -- slowness ------------------------------------------------------------------------------------------


@_fault("slow-answer", "any", "either", seconds=2.0)
def _slow_answer(stage: Stage) -> Answer:
    """The request is applied at once, the answer comes after `seconds`."""
    answer = stage.run()
    answer.delivery = Delivery(after=stage.options["seconds"])
    return answer


@_fault("slow-drip", "any", "either", piece=1, tick=0.3)
def _slow_drip(stage: Stage) -> Answer:
    """The request is applied; the answer's body comes `piece` bytes every `tick` seconds."""
    answer = stage.run()
    answer.delivery = Delivery(piece=stage.options["piece"], tick=stage.options["tick"])
    return answer


# -- reads that mislead --------------------------------------------------------------------------------


@_fault("stale-read", "by-id list", "no")
def _stale_read(stage: Stage) -> Answer:
    """A read by id finds nothing, a list is empty, as if nothing had been written yet."""
    if "by-id" in stage.operation.groups:
        return refused(stage.operation, Refusal(404, "Not found."))
    if stage.operation.paged:
        return _shown(stage, lambda _, number, size: Page([], number, size, 0))
    return _with_list(stage.run(), lambda _: [])


@_fault("page-shift", "paged", "no", by=1, size=MAX_PAGE_SIZE)
def _page_shift(stage: Stage) -> Answer:
    """Pages of at most `size` begin `by` records later each, as if some were deleted; negative repeats some."""

    def shift(users: list[User], number: int, size: int) -> Page:
        size = min(size, stage.options["size"])
        start = max(0, (number - 1) * (size + stage.options["by"]))
        return Page(users[start : start + size], number, size, len(users))

    return _shown(stage, shift)


@_fault("page-shuffled", "paged", "no", size=MAX_PAGE_SIZE)
def _page_shuffled(stage: Stage) -> Answer:
    """Every page, of at most `size`, is cut from another order of the list."""

    def shuffle(users: list[User], number: int, size: int) -> Page:
        size = min(size, stage.options["size"])
        start = (number - 1) * size
        order = stage.chance.sample(users, len(users))
        return Page(order[start : start + size], number, size, len(users))

    return _shown(stage, shuffle)


@_fault("page-loop", "paged", "no", to=1)
def _page_loop(stage: Stage) -> Answer:
    """Every page says that nextPage is `to`."""
    return _with_pagination(stage.run(), lambda pagination: pagination | {"nextPage": stage.options["to"]})


@_fault("page-total", "paged", "no", by=1000)
def _page_total(stage: Stage) -> Answer:
    """The totals of a page are wrong by `by` records."""

    def change(pagination: dict[str, Any]) -> dict[str, Any]:
        total = max(0, pagination["totalRecords"] + stage.options["by"])
        return pagination | {"totalRecords": total, "totalPages": -(-total // pagination["pageSize"])}

    return _with_pagination(stage.run(), change)


@_fault("page-clamped", "paged", "no", size=50)
def _page_clamped(stage: Stage) -> Answer:
    """A page holds at most `size` records, and only its pagination says so."""

    def clamp(users: list[User], number: int, size: int) -> Page:
        size = min(size, stage.options["size"])
        return Page(users[(number - 1) * size : number * size], number, size, len(users))

    return _shown(stage, clamp)


# -- tokens --------------------------------------------------------------------------------------------


@_fault("token-error", "token", "no", status=503, retry_after=None)
def _token_error(stage: Stage) -> Answer:
    """The token endpoint answers `status` (500, 502, 503, 429, …)."""
    return _gateway_error(stage)


@_fault("token-refused", "token", "no", status=400, error="invalid_client")
def _token_refused(stage: Stage) -> Answer:
    """The token endpoint refuses the right credentials."""
    return Answer.json(stage.options["status"], {"error": stage.options["error"]})


@_fault("token-dropped", "token", "no")
def _token_dropped(_: Stage) -> Answer:
    """The token endpoint closes the connection."""
    return Answer(0, delivery=Delivery("close"))


@_fault("token-silence", "token", "no")
def _token_silence(_: Stage) -> Answer:
    """The token endpoint never answers."""
    return Answer(0, delivery=Delivery("hang"))


@_fault("token-body", "token", "either", fields={}, drop=())
def _token_body(stage: Stage) -> Answer:
    """The token answer with `fields` set (expires_in "soon", token_type "mac", …) and `drop` left out."""

    def change(content: Any) -> Any:
        kept = {name: value for name, value in content.items() if name not in stage.options["drop"]}
        return kept | stage.options["fields"]

    return _with_body(stage.run(), change)


@_fault("token-short-lived", "token", "either", seconds=1)
def _token_short_lived(stage: Stage) -> Answer:
    """The token lives `seconds`, and says so."""
    return stage.issue_token(stage.options["seconds"])


@_fault("token-stillborn", "token", "either")
def _token_stillborn(stage: Stage) -> Answer:
    """The token says it lives an hour and is refused at its first use."""
    answer = stage.issue_token(0.0)
    return _with_body(answer, lambda content: content | {"expires_in": 3600})


# -- parts ---------------------------------------------------------------------------------------------


_ARABIC_INDIC = {ord("0") + digit: 0x660 + digit for digit in range(10)}


def _as_header(text: str) -> str:
    """A text whose bytes in a header, one for each character, are its UTF-8."""
    return text.encode().decode("latin-1")


def _date(now: float, seconds: float) -> datetime:
    return datetime.fromtimestamp(now, UTC) + timedelta(seconds=seconds)


RETRY_AFTER_FORMS: dict[str, Callable[[float, float], list[str]]] = {
    "seconds": lambda seconds, _: [str(int(seconds))],
    "zero": lambda _, __: ["0"],
    "negative": lambda seconds, _: [str(-int(seconds))],
    "fraction": lambda seconds, _: [f"{seconds + 0.5:.1f}"],
    "exponent": lambda _, __: ["1e3"],
    "huge": lambda _, __: ["1000000000"],
    "endless-digits": lambda _, __: ["9" * 400],
    "leading-zeros": lambda seconds, _: [f"{int(seconds):010d}"],
    "with-unit": lambda seconds, _: [f"{int(seconds)}s"],
    "blanks": lambda seconds, _: [f"  {int(seconds)}  "],
    "other-digits": lambda seconds, _: [_as_header(f"{int(seconds)}".translate(_ARABIC_INDIC))],
    "date": lambda seconds, now: [format_datetime(_date(now, seconds), usegmt=True)],
    "past-date": lambda seconds, now: [format_datetime(_date(now, -3600 - seconds), usegmt=True)],
    "far-date": lambda _, now: [format_datetime(_date(now, 86_400 * 365), usegmt=True)],
    "zone-date": lambda seconds, now: [f"{_date(now, seconds):%a, %d %b %Y %H:%M:%S} +0000"],
    "rfc-850-date": lambda seconds, now: [f"{_date(now, seconds):%A, %d-%b-%y %H:%M:%S} GMT"],
    "asctime-date": lambda seconds, now: [f"{_date(now, seconds):%a %b %e %H:%M:%S %Y}"],
    "iso-date": lambda seconds, now: [_date(now, seconds).isoformat()],
    "impossible-date": lambda _, __: ["Sun, 31 Feb 2026 25:61:61 GMT"],
    "garbage": lambda _, __: ["soon, very soon"],
    "empty": lambda _, __: [""],
    "absent": lambda _, __: [],
    "two-lines": lambda seconds, _: [str(int(seconds)), str(int(seconds) + 5)],
    "two-lines-mixed": lambda seconds, now: ["nonsense", format_datetime(_date(now, seconds), usegmt=True)],
    "list": lambda seconds, _: [f"{int(seconds)}, {int(seconds) + 5}"],
}
"""How Retry-After can be written: name -> the header's lines, from seconds and the sandbox's time."""

ERROR_BODIES: dict[str, Callable[[int], Answer]] = {
    "string": lambda status: Answer.json(status, "The request could not be processed."),
    "text": lambda status: Answer.text(status, "Bad request", "text/plain"),
    "problem": lambda status: Answer.problem(
        status, "One or more validation errors occurred.", {"users[0].userId": ["The value is not valid."]}
    ),
    "html": lambda status: Answer.text(status, "<html><h1>Bad Request</h1></html>", "text/html"),
    "empty": Answer,
    "object": lambda status: Answer.json(status, {"code": 17, "message": {"en": "no", "no": "nei"}}),
    "huge": lambda status: Answer.json(status, "x" * 10_000_000),
}
"""The bodies an error can have."""


def _gateway_error(stage: Stage) -> Answer:
    status = stage.options["status"]
    answer = Answer.text(status, f"<html><h1>{status}</h1></html>", "text/html")
    if stage.options["retry_after"] is not None:
        answer.headers.append(("retry-after", str(stage.options["retry_after"])))
    return answer


def _items(body: bytes) -> int:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 0
    return sum(len(each) for each in _lists(content)) if isinstance(content, dict) else 0


def _is_list(answer: Answer) -> bool:
    if not answer.body or answer.status >= 300:
        return False
    content = orjson.loads(answer.body)
    return isinstance(content, list) or any(isinstance(each, list) for each in _lists(content))


def _lists(content: dict[str, Any]) -> list[Any]:
    return [content[name] for name in ("users", "locations", "resources") if name in content]


def _with_body(answer: Answer, change: Callable[[Any], Any]) -> Answer:
    if answer.body and answer.status < 300:
        answer.body = orjson.dumps(change(orjson.loads(answer.body)))
    return answer


def _with_list(answer: Answer, change: Callable[[list[Any]], list[Any]]) -> Answer:
    """Change the list of an answer; one that is empty stays as it is."""

    def inside(content: Any) -> Any:
        if isinstance(content, list):
            return change(content) if content else content
        for name in ("users", "locations", "resources"):
            if content.get(name):
                content[name] = change(content[name])
        return content

    return _with_body(answer, inside)


def _with_pagination(answer: Answer, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Answer:
    return _with_body(answer, lambda content: content | {"pagination": change(content["pagination"])})


def _shown(stage: Stage, show: Callable[[list[User], int, int], Page]) -> Answer:
    honest = stage.run()
    if honest.status != 200:
        return honest
    return page_answer(show(stage.users(), *page_asked(stage.call)))


# -- plans ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class FaultRule:
    """When a fault is played.

    Attributes:
        kind: name of the fault.
        on: groups, operationIds or "METHOD /template"; empty means where the fault fits, tokens spared.
        probability: share of the matching requests, drawn.
        at: numbers of matching requests, from 1; wins over `probability`.
        every: every so many matching requests; wins over `probability`.
        times: at most so often, None for no bound.
        after: not before so many seconds since the plan was set.
        until: not later than so many seconds since then, None for ever.
        options: of the fault.
    """

    kind: str
    on: tuple[str, ...] = ()
    probability: float = 1.0
    at: tuple[int, ...] = ()
    every: int = 0
    times: int | None = None
    after: float = 0.0
    until: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seen: int = 0
    played: int = 0

    @property
    def is_wire(self) -> bool:
        """Whether it is played by the proxy in front, not by the API."""
        return self.kind.startswith(WIRE_PREFIX)

    def fires(self, seed: int, place: int, age: float) -> random.Random | None:
        """Count one matching request; the chance to play with if it is hit.

        Args:
            seed: of the plan.
            place: of this rule in the plan.
            age: seconds since the plan was set.
        """
        self.seen += 1
        exhausted = self.times is not None and self.played >= self.times
        if exhausted or age < self.after or (self.until is not None and age > self.until):
            return None
        chance = random.Random(f"fault/{seed}/{place}/{self.seen}")  # noqa: S311  (reproducible on purpose)
        if self.at:
            hit = self.seen in self.at
        elif self.every:
            hit = self.seen % self.every == 0
        else:
            hit = chance.random() < self.probability
        if not hit:
            return None
        self.played += 1
        return chance


WIRE_PREFIX = "wire-"
"""Kinds that begin like this are faults of the wire, see `sandbox.wire`."""


@dataclass(slots=True)
class FaultPlan:
    """Which world this is and what goes wrong in it.

    Attributes:
        seed: of every draw.
        semantics: the cell.
        rules: what is refused about a record.
        faults: the rules, in order; the first that fires is played.
        started: the sandbox's time when the plan was set.
    """

    seed: int = 0
    semantics: Semantics = field(default_factory=Semantics)
    rules: Rules = field(default_factory=Rules)
    faults: list[FaultRule] = field(default_factory=list)
    started: float = 0.0

    def draw(
        self, operation: Operation, now: float, *, wire: bool = False
    ) -> tuple[FaultRule, random.Random] | None:
        """The rule to play on this request, with its chance; None for an honest answer.

        Every rule that matches counts the request, whether or not an earlier one was hit.
        """
        hit: tuple[FaultRule, random.Random] | None = None
        for place, rule in enumerate(self.faults):
            if rule.is_wire is not wire or not _matches(rule, operation):
                continue
            chance = rule.fires(self.seed, place, now - self.started) if hit is None else None
            if hit is not None:
                rule.seen += 1
            elif chance is not None:
                hit = (rule, chance)
        return hit

    @property
    def has_wire_faults(self) -> bool:
        """Whether a proxy has to stand in front."""
        return any(rule.is_wire for rule in self.faults)


def _matches(rule: FaultRule, operation: Operation) -> bool:
    names = operation.groups | {"any", operation.name, f"{operation.method} {operation.template}"}
    fits = FAULTS[rule.kind].fits if rule.kind in FAULTS else frozenset({"any"})
    # What fits anywhere spares the token endpoint unless a rule names it.
    targets = rule.on or (("api",) if "any" in fits else ("any",))
    return not names.isdisjoint(fits) and not names.isdisjoint(targets)


PlanSource = FaultPlan | Mapping[str, Any] | str | Path | None


def load_plan(source: PlanSource) -> FaultPlan:
    """Make a plan of its name, its file, its mapping, or nothing at all.

    Raises:
        ValueError: unknown name, key, kind, group or option; the sentence names the nearest known one.
        OSError: the file cannot be read.
    """
    if isinstance(source, FaultPlan):
        return source
    if source is None:
        return FaultPlan()
    if isinstance(source, Mapping):
        return _plan_of(source)
    path = Path(source)
    if path.suffix not in (".toml", ".json"):
        return named_plan(str(source))
    text = path.read_text(encoding="utf-8")
    return _plan_of(tomllib.loads(text) if path.suffix == ".toml" else json.loads(text))


def named_plan(name: str) -> FaultPlan:
    """The plan with this name; the name of a fault is a plan that plays it on every request it fits.

    Raises:
        ValueError: unknown name; the sentence names the nearest known one.
    """
    if name in NAMED_PLANS:
        return _plan_of(NAMED_PLANS[name])
    known = [*FAULTS, *(WIRE_PREFIX + wire for wire in WIRE_FAULTS)]
    if name in known:
        return _plan_of({"fault": [{"kind": name}]})
    raise ValueError(
        f"unknown faults {name!r}{_nearest(name, [*NAMED_PLANS, *known])}: "
        f"give a .toml or .json file, one of {', '.join(NAMED_PLANS)}, or one fault of the menu"
    )


_RULE_KEYS = tuple(each.name for each in fields(FaultRule) if each.name not in ("options", "seen", "played"))


def _plan_of(content: Mapping[str, Any]) -> FaultPlan:
    for name in content:
        _known(name, ("seed", "semantics", "rules", "fault"), "key")
    return FaultPlan(
        seed=int(content.get("seed", 0)),
        semantics=Semantics.from_mapping(content.get("semantics", {})),
        rules=Rules.from_mapping(content.get("rules", {})),
        faults=[_rule_of(each) for each in content.get("fault", ())],
    )


def _rule_of(content: Mapping[str, Any]) -> FaultRule:
    kind = content.get("kind", "")
    options: Mapping[str, Any] = {}
    if kind.startswith(WIRE_PREFIX):
        _known(kind.removeprefix(WIRE_PREFIX), WIRE_FAULTS, "wire fault")
    else:
        _known(kind, FAULTS, "fault")
        options = FAULTS[kind].options
    for name in content:
        _known(name, (*_RULE_KEYS, *options), f"key of fault {kind!r}:")
    on = content.get("on", ())
    on = (on,) if isinstance(on, str) else tuple(on)
    for selector in on:
        _known(selector, _selectors(), "target")
    _check_choices(kind, content)
    return FaultRule(
        kind=kind,
        on=on,
        probability=float(content.get("probability", 1.0)),
        at=tuple(content.get("at", ())),
        every=int(content.get("every", 0)),
        times=content.get("times"),
        after=float(content.get("after", 0.0)),
        until=content.get("until"),
        options={name: content.get(name, default) for name, default in options.items()},
    )


def _check_choices(kind: str, content: Mapping[str, Any]) -> None:
    choices: dict[tuple[str, str], Iterable[str]] = {
        ("garbled", "how"): ("any", *MANGLERS),
        ("rate-limited", "form"): ("any", *RETRY_AFTER_FORMS),
        ("bad-request", "body"): ERROR_BODIES,
    }
    for (fault, name), known in choices.items():
        if kind == fault and name in content:
            _known(content[name], known, f"{name} of fault {kind!r}:")


def _selectors() -> list[str]:
    calls = [f"{each.method} {each.template}" for each in (*OPERATIONS, TOKEN)]
    return [*GROUPS, *(each.name for each in (*OPERATIONS, TOKEN)), *calls]


def _known(name: str, known: Iterable[str], what: str) -> None:
    known = list(known)
    if name not in known:
        raise ValueError(f"unknown {what} {name!r}{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""


def menu() -> dict[str, dict[str, Any]]:
    """Everything that can be named as `kind`: what it does, whether the request applies, its options."""
    listed: dict[str, dict[str, Any]] = {
        name: {"about": each.about, "applies": each.applies, "options": dict(each.options)}
        for name, each in FAULTS.items()
    }
    for name, wire in WIRE_FAULTS.items():
        applies = "yes" if wire.stage == "answer" else "no"
        listed[WIRE_PREFIX + name] = {"about": wire.about, "applies": applies, "options": {}}
    return listed


NAMED_PLANS: dict[str, dict[str, Any]] = {
    "none": {},
    "rejections": {
        "rules": {"reject_fraction": 0.002, "reject_seed": 1},
    },
    "lost-answers": {
        "seed": 1,
        "fault": [{"kind": "applied-then-dropped", "probability": 0.1}],
    },
    "unavailable": {
        "seed": 2,
        "fault": [
            {"kind": "applied-then-503", "probability": 0.05},
            {"kind": "unavailable-503", "on": "mutating", "probability": 0.05},
        ],
    },
    "rate-limited": {
        "seed": 3,
        "fault": [{"kind": "rate-limited", "on": "mutating", "every": 4}],
    },
    "half-batches": {
        "seed": 4,
        "fault": [{"kind": "prefix-then-400", "probability": 0.2}],
    },
    "short-answers": {
        "seed": 5,
        "fault": [{"kind": "short-list", "on": "batch", "probability": 0.3}],
    },
    "outage": {
        "seed": 6,
        "fault": [{"kind": "unavailable-503", "on": "any", "after": 5.0, "until": 35.0}],
    },
    "token-trouble": {
        "seed": 7,
        "fault": [
            {"kind": "unauthorized-401", "on": "mutating", "every": 5},
            {"kind": "token-error", "at": [2]},
        ],
    },
    "late": {
        "seed": 8,
        "semantics": {"e": "late", "late_seconds": 20.0},
        "fault": [{"kind": "applied-then-dropped", "probability": 0.1}],
    },
    "lagging": {
        "seed": 9,
        "semantics": {"d": "reads-lag", "lag_seconds": 10.0},
        "fault": [{"kind": "applied-then-dropped", "probability": 0.1}],
    },
    "shifting-pages": {
        "seed": 10,
        "fault": [{"kind": "page-shift", "probability": 0.5}],
    },
    "captive-portal": {
        "seed": 11,
        "fault": [{"kind": "login-page", "on": "api", "probability": 0.05}],
    },
    "wire-storm": {
        "fault": [
            {"kind": WIRE_PREFIX + name, "on": "mutating", "probability": 0.02}
            for name in (
                "close-without-answer",
                "reset-without-answer",
                "cut-in-headers",
                "cut-in-body",
                "reset-in-body",
                "silence-in-body",
                "early-503-reset",
                "unframed-cut",
                "length-too-long",
                "answer-then-400",
                "gzip-bomb",
                "informational-flood",
            )
        ],
    },
    "storm": {
        "seed": 12,
        "fault": [
            {"kind": "applied-then-dropped", "probability": 0.04},
            {"kind": "applied-then-reset", "probability": 0.02},
            {"kind": "applied-then-503", "probability": 0.04},
            {"kind": "dropped", "probability": 0.02},
            {"kind": "rate-limited", "form": "any", "on": "mutating", "probability": 0.03},
            {"kind": "prefix-then-400", "probability": 0.04},
            {"kind": "short-list", "on": "batch", "probability": 0.04},
            {"kind": "empty-200", "probability": 0.03},
            {"kind": "garbled", "on": "mutating", "probability": 0.03},
            {"kind": "unauthorized-401", "on": "mutating", "probability": 0.01},
            {"kind": "stale-read", "probability": 0.03},
        ],
    },
}
"""Plans with a name. None of them runs a client into the ground: all leave a way to finish."""
