"""What an answer, or none, means for the records of one attempt. One pure function over one table.

Three outcomes, never two: applied, not applied, in doubt. Whatever the table does not know is in doubt, so
that a new status code can neither lose a record nor create one twice. Only a complete answer that names
exactly what was sent proves that it was applied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pipeline.delivery.answers import (
    MalformedAnswer,
    held_location,
    held_resource,
    held_user,
    listed_locations,
    listed_users,
    parse,
)
from pipeline.delivery.keys import Key, Pairs
from pipeline.delivery.messages import server_hint, server_message
from pipeline.delivery.retry_after import CEILING_SECONDS, wait_told
from schemas.exchange import Answer, Lost, NoAnswer


class CallKind(StrEnum):
    """The calls we make, by what their answers mean."""

    USERS_BATCH = "users_batch"
    LOCATIONS_BATCH = "locations_batch"
    USER_CREATE = "user_create"
    LOCATION_CREATE = "location_create"
    RESOURCE_CREATE = "resource_create"
    VEHICLE_CREATE = "vehicle_create"
    LOCATION_PATCH = "location_patch"
    LOCATION_PUT = "location_put"
    USER_DELETE = "user_delete"
    LOCATION_DELETE = "location_delete"
    RESOURCE_DELETE = "resource_delete"
    READ_ONE = "read_one"
    """A GET under an id: 404 says that the thing, or its user, is absent."""
    READ_LIST = "read_list"
    """A GET of a fixed path: 404 says that the path is wrong."""


class Ruling(StrEnum):
    """What is to be done with the records of an attempt."""

    APPLIED = "applied"
    """Proven: `proven` holds all of them."""
    PARTLY = "partly"
    """Proven for those in `proven`; the rest is in doubt."""
    ANSWERED = "answered"
    """A read brought well-formed JSON."""
    REFUSED = "refused"
    """Refused, perhaps partly applied: split; at a single record read back, then it is rejected."""
    NOT_APPLIED = "not_applied"
    """Certainly nothing happened: may be sent again."""
    THROTTLED = "throttled"
    """Not applied, and everyone is to wait."""
    IN_DOUBT = "in_doubt"
    """Read back."""
    TOO_LARGE = "too_large"
    """The chunk is too large: cut it, remember the limit; no record is at fault."""
    PARENT_MISSING = "parent_missing"
    """The user or location it hangs on is not there: read the parent back."""
    CONFLICT = "conflict"
    """Something of that id is there: read and compare."""
    GONE = "gone"
    """The thing to change or read is not there."""
    FORBIDDEN = "forbidden"
    """A missing right, or a firewall that dislikes the content: a safe read tells which."""
    CONTRACT = "contract"
    """The endpoint moved or is not what we know: stop, send nothing again."""


class Reason(StrEnum):
    """Why, out of a closed list; names the row of the table."""

    PROVEN = "proven"
    ALREADY_GONE = "already_gone"
    READ = "read"
    LISTED_IN_PART = "listed_in_part"
    FOREIGN_IDS = "foreign_ids"
    REPEATED_IDS = "repeated_ids"
    EMPTY_BODY = "empty_body"
    HTML_PAGE = "html_page"
    NOT_DECLARED_JSON = "not_declared_json"
    MALFORMED_BODY = "malformed_body"
    SUCCESS_WITHOUT_PROOF = "success_without_proof"
    ACCEPTED_FOR_LATER = "accepted_for_later"
    MOVED = "moved"
    NOT_THIS_ENDPOINT = "not_this_endpoint"
    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    TOKEN_REFUSED = "token_refused"  # noqa: S105  a reason, not a secret
    FORBIDDEN = "forbidden"
    PARENT_ABSENT = "parent_absent"
    ABSENT = "absent"
    EXISTS = "exists"
    THROTTLED = "throttled"
    SERVER_TIMED_OUT = "server_timed_out"
    SERVER_FAILED = "server_failed"
    STATUS_UNKNOWN = "status_unknown"
    NOT_SENT = "not_sent"
    TIMED_OUT = "timed_out"
    CONNECTION_LOST = "connection_lost"
    ANSWER_UNUSABLE = "answer_unusable"


class Strain(StrEnum):
    """What an attempt says about the server's state, for breaker, budget and pace."""

    NONE = "none"
    THROTTLED = "throttled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What was asked, and for which records.

    Attributes:
        sent: for a batch the keys in body order: user ids, or (user id, location id). For a single record its
            one key: the user id, or the path (user, location), (user, location, resource), (user, vehicle).
            Empty for reads.
    """

    kind: CallKind
    sent: Sequence[Key] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt came to.

    Attributes:
        proven: keys the answer proves applied, in the order sent; the very sequence sent when it is all.
        message: the server's words, masked, at most 200 characters; for a lost answer the cause.
        status: HTTP status; None without an answer.
        retry_after: seconds the server asked for, not capped; None when it did not.
        strain: for breaker, budget and concurrency.
        shrink: smaller chunks would help.
        hints: positions in `sent` that a refusal points at.
    """

    ruling: Ruling
    reason: Reason
    proven: Sequence[Key] = ()
    message: str = ""
    status: int | None = None
    retry_after: float | None = None
    strain: Strain = Strain.NONE
    shrink: bool = False
    hints: tuple[int, ...] = ()

    @property
    def asks_too_long(self) -> bool:
        """The server asks for a longer wait than a run makes: stop, resumably."""
        return self.retry_after is not None and self.retry_after > CEILING_SECONDS


# ------------------------------------------------------------------ the table
_BATCHES = frozenset({CallKind.USERS_BATCH, CallKind.LOCATIONS_BATCH})
_CHILDREN = frozenset({CallKind.LOCATION_CREATE, CallKind.RESOURCE_CREATE, CallKind.VEHICLE_CREATE})
_CREATES = _BATCHES | _CHILDREN | {CallKind.USER_CREATE}
_CHANGES = frozenset({CallKind.LOCATION_PATCH, CallKind.LOCATION_PUT})
_DELETES = frozenset({CallKind.USER_DELETE, CallKind.LOCATION_DELETE, CallKind.RESOURCE_DELETE})
_READS = frozenset({CallKind.READ_ONE, CallKind.READ_LIST})
_ANY = frozenset(CallKind)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; the first that fits decides. `row` is its name in the fault catalogue."""

    row: str
    statuses: Container[int]
    kinds: frozenset[CallKind]
    ruling: Ruling
    reason: Reason
    strain: Strain = Strain.NONE
    shrink: bool = False


ROWS: tuple[Row, ...] = (
    # Success needs proof: these rulings hold only if the body bears them out (`_proven`).
    Row("RE1", (201,), _CREATES, Ruling.APPLIED, Reason.PROVEN),
    Row("RE1", (200,), _CHANGES, Ruling.APPLIED, Reason.PROVEN),
    Row("RE1", (200,), _READS, Ruling.ANSWERED, Reason.READ),
    Row("DE7", (204,), _DELETES, Ruling.APPLIED, Reason.PROVEN),
    Row("DE7", (404, 410), _DELETES, Ruling.APPLIED, Reason.ALREADY_GONE),
    Row("RE5", (202,), _ANY, Ruling.IN_DOUBT, Reason.ACCEPTED_FOR_LATER),
    Row("RE5", range(200, 300), _ANY, Ruling.IN_DOUBT, Reason.SUCCESS_WITHOUT_PROOF),
    Row("RE7", range(300, 400), _ANY, Ruling.CONTRACT, Reason.MOVED),
    Row("AU4", (401,), _ANY, Ruling.NOT_APPLIED, Reason.TOKEN_REFUSED),
    Row("AU6", (403,), _ANY, Ruling.FORBIDDEN, Reason.FORBIDDEN),
    Row("RE8", (400, 422), _ANY, Ruling.REFUSED, Reason.BAD_REQUEST),
    Row("RE10", (404, 410), _CHILDREN, Ruling.PARENT_MISSING, Reason.PARENT_ABSENT),
    Row("RE10", (404, 410), _CHANGES | {CallKind.READ_ONE}, Ruling.GONE, Reason.ABSENT),
    # A batch that holds known ids: a refusal to be split, compared at the single record (PO5).
    Row("RE11", (409,), _BATCHES, Ruling.REFUSED, Reason.EXISTS),
    Row("RE11", (409,), _ANY - _READS - _DELETES, Ruling.CONFLICT, Reason.EXISTS),
    Row(
        "RE9",
        (404, 405, 406, 407, 410, 411, 415, 417, 421, 426),
        _ANY,
        Ruling.CONTRACT,
        Reason.NOT_THIS_ENDPOINT,
    ),
    Row("RE12", (408, 425), _ANY, Ruling.IN_DOUBT, Reason.SERVER_TIMED_OUT, Strain.FAILED, shrink=True),
    Row("RE13", (413,), _ANY, Ruling.TOO_LARGE, Reason.TOO_LARGE, shrink=True),
    Row("RE13", (414, 431), _ANY - _BATCHES, Ruling.REFUSED, Reason.TOO_LARGE),
    Row("RE14", (429,), _ANY, Ruling.THROTTLED, Reason.THROTTLED, Strain.THROTTLED),
    Row("RE15", (504, 524), _ANY, Ruling.IN_DOUBT, Reason.SERVER_FAILED, Strain.FAILED, shrink=True),
    Row("RE15", range(500, 600), _ANY, Ruling.IN_DOUBT, Reason.SERVER_FAILED, Strain.FAILED),
)
_UNKNOWN = Row("-", (), _ANY, Ruling.IN_DOUBT, Reason.STATUS_UNKNOWN)

_CAUSES: dict[str, tuple[Reason, bool]] = {
    "deadline": (Reason.TIMED_OUT, True),
    "read timeout": (Reason.TIMED_OUT, True),
    "write timeout": (Reason.TIMED_OUT, True),
    "write failed": (Reason.CONNECTION_LOST, True),
    "answer too large": (Reason.ANSWER_UNUSABLE, True),
    "content encoding": (Reason.ANSWER_UNUSABLE, False),
    "early answer": (Reason.ANSWER_UNUSABLE, False),
    "leftover bytes": (Reason.ANSWER_UNUSABLE, False),
    "protocol": (Reason.ANSWER_UNUSABLE, False),
}
"""Causes of `NoAnswer` that say more than a lost connection, and whether a smaller chunk would help."""


# ------------------------------------------------------------------ the function
def classify(expectation: Expectation, outcome: Answer | NoAnswer, now_utc: float) -> Verdict:
    """What `outcome` means for the records of `expectation`. Total: every status has a verdict.

    Args:
        expectation: what was asked, for which records.
        outcome: what came back from one attempt.
        now_utc: our clock in seconds since the epoch; only for a `Retry-After` date without a `Date`.
    """
    if isinstance(outcome, NoAnswer):
        return _without_answer(outcome)
    row = row_for(expectation.kind, outcome.status)
    told = row.ruling in (Ruling.APPLIED, Ruling.ANSWERED)
    verdict = Verdict(
        row.ruling,
        row.reason,
        status=outcome.status,
        message="" if told else server_message(outcome.body, expectation.sent),
        retry_after=None if outcome.status < 400 else wait_told(outcome.headers, now_utc),
        strain=row.strain,
        shrink=row.shrink,
    )
    if told:
        return _proven(expectation, outcome, verdict)
    if row.ruling is Ruling.IN_DOUBT and _is_html(outcome) and outcome.status < 300:
        return replace(verdict, reason=Reason.HTML_PAGE, strain=Strain.FAILED)
    if expectation.kind in _BATCHES and len(expectation.sent) > 1:
        hints = server_hint(outcome.body, expectation.sent) if row.ruling is Ruling.REFUSED else ()
        return replace(verdict, hints=hints)
    if row.ruling is Ruling.TOO_LARGE:  # one record cannot be cut
        return replace(verdict, ruling=Ruling.REFUSED, shrink=False)
    return verdict


def row_for(kind: CallKind, status: int) -> Row:
    """The row of the table that decides."""
    return next((row for row in ROWS if status in row.statuses and kind in row.kinds), _UNKNOWN)


def _without_answer(lost: NoAnswer) -> Verdict:
    if lost.lost is Lost.NOT_SENT:
        return Verdict(Ruling.NOT_APPLIED, Reason.NOT_SENT, message=lost.cause, strain=Strain.FAILED)
    reason, shrink = _CAUSES.get(lost.cause, (Reason.CONNECTION_LOST, False))
    return Verdict(Ruling.IN_DOUBT, reason, message=lost.cause, strain=Strain.FAILED, shrink=shrink)


# ------------------------------------------------------------------ proof
def _proven(expectation: Expectation, answer: Answer, claimed: Verdict) -> Verdict:
    """`claimed` if the body bears it out, else in doubt with the reason."""
    if expectation.kind in _DELETES:
        return replace(claimed, proven=expectation.sent)
    doubt = _unusable(answer)
    if doubt is not None:
        strain = Strain.FAILED if doubt is Reason.HTML_PAGE else Strain.NONE
        return replace(claimed, ruling=Ruling.IN_DOUBT, reason=doubt, strain=strain)
    try:
        if expectation.kind in _READS:
            parse(answer.body)
            return claimed
        listed = _listed(expectation.kind, answer.body)
    except MalformedAnswer as malformed:
        return replace(
            claimed,
            ruling=Ruling.IN_DOUBT,
            reason=Reason.MALFORMED_BODY,
            message=malformed.why,
            strain=Strain.FAILED,
        )
    return _compared(expectation.sent, listed, claimed)


def _unusable(answer: Answer) -> Reason | None:
    """Why the body cannot be read as JSON, before reading it."""
    if not answer.body.strip():
        return Reason.EMPTY_BODY
    if _is_html(answer):
        return Reason.HTML_PAGE
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in ("application/json", "text/json") or media_type.endswith("+json"):
        return None
    return Reason.NOT_DECLARED_JSON


def _is_html(answer: Answer) -> bool:
    declared = answer.headers.get("content-type", "").lower()
    return "html" in declared or answer.body[:200].lstrip()[:1] == b"<"


Told = str | tuple[str | None, ...]
"""A key as the answer tells it: a part it leaves out is None."""


def _listed(kind: CallKind, body: bytes) -> Sequence[Told]:
    """The keys an answer names."""
    if kind is CallKind.USERS_BATCH:
        return listed_users(body)
    if kind is CallKind.LOCATIONS_BATCH:
        return listed_locations(body)
    if kind is CallKind.USER_CREATE:
        return [held_user(body).user_id]
    if kind is CallKind.RESOURCE_CREATE:
        resource = held_resource(body)
        return [(resource.user_id or None, resource.location_id or None, resource.resource_id)]
    if kind is CallKind.VEHICLE_CREATE:
        vehicle = held_resource(body)
        return [(vehicle.user_id or None, vehicle.resource_id)]
    location = held_location(body)
    return [(location.user_id or None, location.location_id)]


def _compared(sent: Sequence[Key], listed: Sequence[Told], claimed: Verdict) -> Verdict:
    """All sent and nothing else: proven. Some: those. Anything not sent, or twice: nothing is proven."""
    if listed == (sent if isinstance(sent, list | Pairs) else list(sent)):
        return replace(claimed, proven=sent)  # the usual answer: complete and in order
    named = Counter(_completed(listed, sent))
    foreign = named.keys() - set(sent)
    if foreign:
        return replace(claimed, ruling=Ruling.IN_DOUBT, reason=Reason.FOREIGN_IDS)
    if any(count > 1 for count in named.values()):
        return replace(claimed, ruling=Ruling.IN_DOUBT, reason=Reason.REPEATED_IDS)
    if len(named) == len(sent):
        return replace(claimed, proven=sent)
    proven = tuple(key for key in sent if key in named)
    ruling = Ruling.PARTLY if proven else Ruling.IN_DOUBT
    return replace(claimed, ruling=ruling, reason=Reason.LISTED_IN_PART, proven=proven)


def _completed(listed: Iterable[Told], sent: Sequence[Key]) -> list[Told]:
    """Keys with the parts the answer left out filled in, where only one record sent fits."""
    by_leaf: dict[str, list[Key]] = {}
    for key in sent:
        by_leaf.setdefault(key if isinstance(key, str) else key[-1], []).append(key)
    return [_filled(told, by_leaf) for told in listed]


def _filled(told: Told, by_leaf: dict[str, list[Key]]) -> Told:
    if isinstance(told, str) or None not in told:
        return told
    fits = [
        key
        for key in by_leaf.get(str(told[-1]), ())
        if all(part is None or part == own for part, own in zip(told, key, strict=True))
    ]
    return fits[0] if len(fits) == 1 else told
