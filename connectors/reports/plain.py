"""The account for CI logs: plain text for eyes, JUnit XML for servers that draw test results."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from connectors.reports import words
from connectors.reports.account import EXPLAINED, OPEN, outcome_total, removal_total
from connectors.reports.history import seconds_between
from connectors.reports.verdict import verdict_of
from schemas.details import RunDetails
from schemas.masking import masked_name, printable
from schemas.outcomes import REMOVED, Kind, Outcome
from schemas.summary import RowCounts, Summary

LINES_SHOWN = 40
_LABEL_WIDTH = 58


def text_report(summary: Summary, details: RunDetails) -> bytes:
    """The account as plain text of at most some hundred lines, without colours or escapes."""
    return ("\n".join(_lines(summary, details)) + "\n").encode()


def _lines(summary: Summary, details: RunDetails) -> Iterator[str]:
    verdict = verdict_of(summary, details)
    run = printable(summary.run_id or "none")
    yield f"meterfeed {printable(summary.command)}, {printable(summary.environment)}, run {run}"
    yield ""
    yield f"{verdict.word.upper()} (exit {int(summary.exit_code)}): {verdict.headline}"
    if verdict.why:
        yield verdict.why.replace(words.THIN, " ")
    yield f"Next: {verdict.next}"
    if summary.rows is not None:
        yield ""
        yield _equation("rows read", summary.rows.read, _row_terms(summary.rows))
    if any(counts.planned is not None for counts in summary.records.values()):
        yield _equation("records planned", _planned(summary), _record_terms(summary))
        yield ""
        yield from _kind_table(summary)
    yield from _counts("removals of what had vanished", _removals(summary))
    yield from _counts("rules that hold rows back", summary.violations)
    yield from _counts("rules that warn", summary.warnings)
    yield from _counts("reasons", _reasons(details))
    tripped = [masked_name(guard.name) for guard in details.guards if guard.tripped]
    if tripped:
        yield ""
        yield f"guards that stopped the run: {', '.join(tripped)}"
    requests = summary.requests
    yield ""
    yield f"requests {requests.sent}, of them retries {requests.retried}, chunks split {requests.split}"


def _row_terms(rows: RowCounts) -> dict[str, int]:
    return {label: getattr(rows, row_class.value) for row_class, label in words.ROW_LABELS.items()}


def _planned(summary: Summary) -> int:
    return sum(counts.planned or 0 for counts in summary.records.values())


def _record_terms(summary: Summary) -> dict[str, int]:
    return {label: outcome_total(summary, outcome) for outcome, label in words.OUTCOME_LABELS.items()}


def _equation(name: str, total: int, terms: dict[str, int]) -> str:
    told = " + ".join(f"{count} {label}" for label, count in terms.items())
    return f"{total} {name} = {told}"


def _kind_table(summary: Summary) -> Iterator[str]:
    names = ["planned", *(outcome.value for outcome in Outcome)]
    yield "".join([f"{'':10}", *(f"{name.replace('_', ' '):>10}" for name in names)])
    for kind in Kind:
        counts = summary.records[kind]
        if counts.planned:
            cells = (getattr(counts, name) for name in names)
            yield "".join([f"{kind:10}", *(f"{'-' if cell is None else cell:>10}" for cell in cells)])


def _counts(title: str, counts: dict[str, int]) -> Iterator[str]:
    found = sorted(
        ((name, count) for name, count in counts.items() if count), key=lambda item: (-item[1], item[0])
    )
    if not found:
        return
    yield ""
    yield title
    for name, count in found[:LINES_SHOWN]:
        yield f"  {masked_name(name):{_LABEL_WIDTH}}{count:>10}"
    if len(found) > LINES_SHOWN:
        yield f"  and {len(found) - LINES_SHOWN} more in summary.json"


def _removals(summary: Summary) -> dict[str, int]:
    ends = {REMOVED: REMOVED, **{outcome.value: words.REMOVAL_LABELS[outcome] for outcome in OPEN}}
    return {label: removal_total(summary, end) for end, label in ends.items()}


def _reasons(details: RunDetails) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in details.reasons:
        name = f"{entry.kind} {words.OUTCOME_LABELS[entry.outcome]}: {entry.code}"
        counts[name] = counts.get(name, 0) + entry.count
    return counts


# ------------------------------------------------------------------ JUnit
def junit_report(summary: Summary, details: RunDetails) -> bytes:
    """The account as JUnit XML: one case per class of rows, outcome, rule and guard that may fail."""
    suites = [
        _suite("rows", _row_cases(summary)),
        _suite("records", _record_cases(summary)),
        *([_suite("removals", _removal_cases(summary))] if any(_removals(summary).values()) else []),
        _suite("rules", _rule_cases(summary)),
        _suite("guards", _guard_cases(details)),
    ]
    root = ET.Element("testsuites", {"name": "meterfeed"})
    duration = seconds_between(summary.started_at, summary.ended_at)
    if duration is not None:
        root.set("time", f"{duration:g}")
    for field in ("tests", "failures"):
        root.set(field, str(sum(int(suite.get(field, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


Case = tuple[str, str | None]
"""A name, and the sentence that says how it failed, or None."""


def _row_cases(summary: Summary) -> Iterator[Case]:
    if summary.rows is None:
        return
    for row_class, label in words.ROW_LABELS.items():
        count = getattr(summary.rows, row_class.value)
        fails = row_class in {"quarantined", "unreadable"} and count
        yield label, f"{count} of {summary.rows.read} rows" if fails else None


def _record_cases(summary: Summary) -> Iterator[Case]:
    for outcome, label in words.OUTCOME_LABELS.items():
        count = outcome_total(summary, outcome)
        yield label, f"{count} of {_planned(summary)} records" if count and outcome in EXPLAINED else None


def _removal_cases(summary: Summary) -> Iterator[Case]:
    for label, count in _removals(summary).items():
        yield label, f"{count} removals {label}" if count and label != REMOVED else None


def _rule_cases(summary: Summary) -> Iterator[Case]:
    for name, count in sorted(summary.violations.items()):
        yield name, f"{count} rows" if count else None


def _guard_cases(details: RunDetails) -> Iterator[Case]:
    for guard in details.guards:
        yield guard.name, f"measured {guard.value}, limit {guard.limit}" if guard.tripped else None


def _suite(name: str, cases: Iterator[Case]) -> ET.Element:
    suite = ET.Element("testsuite", {"name": name})
    failures = 0
    for case, failed in cases:
        element = ET.SubElement(
            suite, "testcase", {"classname": f"meterfeed.{name}", "name": masked_name(case)}
        )
        if failed is not None:
            failures += 1
            ET.SubElement(element, "failure", {"message": printable(failed)})
    suite.set("tests", str(len(suite)))
    suite.set("failures", str(failures))
    return suite
