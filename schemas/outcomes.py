"""The closed lists a run is counted in, and the truth table from counts to exit code."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum


class RowClass(StrEnum):
    """Where a row of an export ended; each row has the first class that fits, in this order."""

    UNREADABLE = "unreadable"
    FILTERED = "filtered"
    QUARANTINED = "quarantined"
    DUPLICATE = "duplicate"
    MAPPED = "mapped"


class Kind(StrEnum):
    """What a record is; the order is the order of sending."""

    USER = "user"
    LOCATION = "location"
    RESOURCE = "resource"
    VEHICLE = "vehicle"


class Outcome(StrEnum):
    """Where a planned record ended; every planned record has exactly one."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    BLOCKED = "blocked"
    IN_DOUBT = "in_doubt"
    NOT_SENT = "not_sent"


REMOVED = "removed"
"""The good end of what was to be removed, which is no planned record of an export."""


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    BUG = 1
    USAGE = 2
    DONE_WITH_REJECTS = 10
    GUARD = 11
    IN_DOUBT = 12
    SETTINGS = 13
    BUSY = 14
    UNAVAILABLE = 15
    STORAGE = 16
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_PRECEDENCE = (
    Exit.BUG,
    Exit.STORAGE,
    Exit.BUSY,
    Exit.SETTINGS,
    Exit.GUARD,
    Exit.UNAVAILABLE,
    Exit.IN_DOUBT,
    Exit.DONE_WITH_REJECTS,
    Exit.OK,
)

VERDICTS = {
    Exit.OK: "Everything is accounted for.",
    Exit.BUG: "An equation of the account does not hold. This is a bug; do not trust the run.",
    Exit.USAGE: "The command or the profile is wrong; nothing was read.",
    Exit.DONE_WITH_REJECTS: "Done; some rows were quarantined or records rejected.",
    Exit.GUARD: "A guard stopped the run.",
    Exit.IN_DOUBT: "Done; some records are in doubt. Run `meterfeed resume`.",
    Exit.SETTINGS: "Settings or credentials are wrong; nothing was sent.",
    Exit.BUSY: "Another run holds the lock; nothing was done.",
    Exit.UNAVAILABLE: "The API is unavailable or the retry budget is spent. Run `meterfeed resume`.",
    Exit.STORAGE: "Local storage is in trouble.",
    Exit.INTERRUPTED: "Interrupted. Run `meterfeed resume`.",
    Exit.TERMINATED: "Terminated. Run `meterfeed resume`.",
}

NOTHING_MORE = {Exit.SETTINGS: "Settings or credentials are wrong; nothing more was sent."}
"""What is said instead once something was sent."""


def verdict_on(code: Exit, *, has_sent: bool) -> str:
    """The verdict that goes with an exit code.

    Args:
        code: how it ended.
        has_sent: whether anything was sent before.
    """
    return NOTHING_MORE.get(code, VERDICTS[code]) if has_sent else VERDICTS[code]


def worst(exits: Iterable[Exit]) -> Exit:
    """The one exit code to return when several are true; an interruption outranks all but a bug."""
    found = set(exits) or {Exit.OK}
    for interruption in (Exit.INTERRUPTED, Exit.TERMINATED):
        if interruption in found and Exit.BUG not in found:
            return interruption
    return next((code for code in EXIT_PRECEDENCE if code in found), Exit.USAGE)
