"""The summary of a run: what `summary.json` and `--json` hold. Names here are a contract; scripts depend on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from schemas.errors import AccountError
from schemas.outcomes import Kind

SUMMARY_VERSION = 1


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One export: its display name (long digit runs masked), SHA-256 of its bytes, size in bytes, rows read."""

    name: str
    sha256: str
    bytes: int
    rows: int | None


@dataclass(frozen=True, slots=True)
class RowCounts:
    """`read = unreadable + filtered + quarantined + duplicate + mapped`."""

    read: int = 0
    unreadable: int = 0
    filtered: int = 0
    quarantined: int = 0
    duplicate: int = 0
    mapped: int = 0

    def check(self) -> None:
        """Raise `AccountError` unless the first equation holds."""
        total = self.unreadable + self.filtered + self.quarantined + self.duplicate + self.mapped
        if self.read != total:
            raise AccountError(f"rows read {self.read} is not the {total} rows accounted for")


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """`planned = created + updated + unchanged + rejected + blocked + in_doubt + not_sent`; None: not known."""

    planned: int | None = 0
    created: int | None = 0
    updated: int | None = 0
    unchanged: int | None = 0
    rejected: int | None = 0
    blocked: int | None = 0
    in_doubt: int | None = 0
    not_sent: int | None = 0

    def check(self, kind: Kind) -> None:
        """Raise `AccountError` unless the second equation holds; a command that does not plan leaves it out."""
        if self.planned is None:
            return
        parts = [getattr(self, part.name) or 0 for part in fields(self) if part.name != "planned"]
        if self.planned != sum(parts):
            raise AccountError(f"{kind} records planned {self.planned} is not the {sum(parts)} accounted for")


UNKNOWN_RECORDS = RecordCounts(None, None, None, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Customers:
    """Users whose every planned record is in place, and those with anything left open."""

    complete: int | None = None
    incomplete: int | None = None


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """HTTP requests that change something, those among them that were retries, and chunks that were split."""

    sent: int = 0
    retried: int = 0
    split: int = 0


@dataclass(frozen=True, slots=True)
class Artifacts:
    """Paths of the files of the run, as text; None where the run made none."""

    report: str | None = None
    quality: str | None = None
    quarantine: str | None = None
    correction: str | None = None
    rejected: str | None = None
    outcomes: str | None = None
    violations: str | None = None


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """What stopped the run, when something did: the class of `schemas.errors`, its sentence and its cure."""

    kind: str
    message: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything a machine needs to know about a run. Times are UTC, ISO 8601, or None."""

    run_id: str | None
    command: str
    environment: str
    exit_code: int
    verdict: str
    started_at: str | None = None
    ended_at: str | None = None
    sources: tuple[SourceEntry, ...] = ()
    rows: RowCounts | None = None
    violations: dict[str, int] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)
    normalised: dict[str, int] = field(default_factory=dict)
    records: dict[Kind, RecordCounts] = field(default_factory=lambda: dict.fromkeys(Kind, UNKNOWN_RECORDS))
    customers: Customers = Customers()
    requests: RequestCounts = RequestCounts()
    artifacts: Artifacts = Artifacts()
    error: ErrorEntry | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Figures only some commands have (plan digest, requests to expect, handovers, stages in seconds …)."""

    def check(self) -> None:
        """Raise `AccountError` unless both equations hold."""
        if self.rows is not None:
            self.rows.check()
        for kind, counts in self.records.items():
            counts.check(kind)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Summary:
        """Read back what `to_json` wrote."""
        own = {one.name for one in fields(cls)} - {"extra"}
        known = {name: value for name, value in document.items() if name in own}
        extra = {name: value for name, value in document.items() if name not in own | {"summary_version"}}
        rows, error = document.get("rows"), document.get("error")
        return cls(
            **{
                **known,
                "sources": tuple(SourceEntry(**one) for one in document.get("sources", ())),
                "rows": None if rows is None else RowCounts(**rows),
                "records": {Kind(k): RecordCounts(**v) for k, v in document.get("records", {}).items()},
                "customers": Customers(**document.get("customers", {})),
                "requests": RequestCounts(**document.get("requests", {})),
                "artifacts": Artifacts(**document.get("artifacts", {})),
                "error": None if error is None else ErrorEntry(**error),
                "extra": extra,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, in a fixed order of keys, with `summary_version`."""
        document = asdict(self)
        document["records"] = {kind.value: asdict(counts) for kind, counts in self.records.items()}
        document["exit_code"] = int(self.exit_code)
        extra = document.pop("extra")
        return {"summary_version": SUMMARY_VERSION, **document, **extra}
