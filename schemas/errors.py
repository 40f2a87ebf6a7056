"""Every way meterfeed can stop, sorted by what happens next.

    MeterfeedError                 has an `exit_code`, a sentence, and a `cure`
    ├── ProfileError           2   the profile is wrong: fix it; nothing was read
    ├── SettingsError         13   settings are missing or wrong, all named at once; nothing was sent
    ├── AuthenticationError   13   the API refused our credentials or a fresh token
    ├── ExportError           11   this file is not what the profile says: nothing was sent
    │   └── ColumnAlarm       11   a whole column is damaged: no row of it can be believed
    ├── GuardError            11   a guard stopped the run: a person must look
    ├── ContractError         11   the API is not the API we know: nothing more is sent
    ├── ApiUnavailable        15   the API cannot be reached or the retry budget is spent: resumable
    ├── BusyError             14   another run holds the lock
    ├── StorageError          16   disk or ledger trouble: we stop before we cannot prove what was sent
    │   ├── ConnectionLost    16   the database went away in the middle: what was being stored may be stored or not
    │   └── ClaimLost         16   another worker holds the partition now: nothing more is written for it
    └── AccountError           1   an equation failed: a bug of ours, never of the data

A bad row is never an exception, nor is a record the API refused: those are values. A request whose
answer was lost is not failed either: it is in doubt, and is settled by reading back.
"""

from __future__ import annotations

from typing import ClassVar


class MeterfeedError(Exception):
    """Root of the tree. The sentence and the cure are shown to people: they hold no customer value.

    Args:
        message: what is wrong, naming file, line and column where there is one.
        cure: what to do about it, as an instruction; may be empty.
    """

    exit_code: ClassVar[int] = 1
    has_sent = False
    """Whether something was sent before, by the command or by the run that it could not finish."""

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message} {self.cure}".strip()


class ProfileError(MeterfeedError):
    """The profile is wrong; nothing was read."""

    exit_code = 2


class SettingsError(MeterfeedError):
    """Settings are missing or wrong; nothing was sent."""

    exit_code = 13


class AuthenticationError(MeterfeedError):
    """The token endpoint refused the credentials, or the API refused a fresh token."""

    exit_code = 13


class ExportError(MeterfeedError):
    """An export is not what its profile says; nothing was sent."""

    exit_code = 11


class ColumnAlarm(ExportError):
    """A whole column is damaged, so no verdict on its rows can be believed."""


class GuardError(MeterfeedError):
    """A guard stopped the run before (more of) it was sent.

    Args:
        guard: the guard's name as in the profile's `[guards]`.
    """

    exit_code = 11

    def __init__(self, message: str, *, guard: str, cure: str = "") -> None:
        super().__init__(message, cure=cure)
        self.guard = guard


class ContractError(MeterfeedError):
    """The API answers in a shape that is not the contract we know."""

    exit_code = 11


class ApiUnavailable(MeterfeedError):
    """The API cannot be reached, or the run's retry budget is spent. The run can be resumed."""

    exit_code = 15


class BusyError(MeterfeedError):
    """Another run holds the lock of this ledger."""

    exit_code = 14


class StorageError(MeterfeedError):
    """The disk, the spool or the ledger cannot be trusted at this moment."""

    exit_code = 16


class ConnectionLost(StorageError):
    """What was being stored may be stored or not. Only the ledger itself can tell, to the next run that opens it."""


class ClaimLost(StorageError):
    """Somebody else holds the partition now, or the run is over. Nothing more can be written for it."""

    def __init__(
        self,
        message: str = "The claim on the partition was lost.",
        *,
        cure: str = "Another worker goes on with it.",
    ) -> None:
        super().__init__(message, cure=cure)


class AccountError(MeterfeedError):
    """An equation of the account does not hold. Always a bug of ours."""

    exit_code = 1
