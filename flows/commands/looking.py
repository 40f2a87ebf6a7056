"""What has happened: `runs`, `report`, `explain`. They read; nothing is sent and nothing locked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from flows import console
from flows.commands.options import AsJson, example
from flows.conduct import Session, conduct
from flows.endings import usage_ending
from flows.settings import Needs, Settings
from schemas.errors import GuardError
from schemas.masking import masked_name
from schemas.outcomes import Exit
from schemas.summary import Artifacts, Summary

SUMMARY_FILE: Final = "summary.json"
RUNS_TOLD: Final = 40
"""Values of a figure that a trend shows, the newest."""
PLAN_DIGITS: Final = 8
"""Of a plan's digest, in the table: enough for `apply`."""
PROFILES_TOLD: Final = 12
"""Profiles whose trends are told, the most recently used."""


def register(app: typer.Typer) -> None:
    """Make the commands of this module known."""
    app.command(epilog=example("meterfeed runs", "meterfeed runs --limit 5 --json"))(runs)
    app.command(
        epilog=example(
            "meterfeed report", "meterfeed report 20260101-0003", "meterfeed report quality-20260101t020000-1"
        )
    )(report)
    app.command(
        epilog=example(
            "meterfeed explain 3880a832-f483-8b6a-998d-6109d3a54b06",
            "meterfeed explain kunder-2026-11.csv:4711",
        )
    )(explain)


def runs(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The newest so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the runs of this data directory, newest first, and how the figures of each profile went.

    A figure far from what that profile's runs usually show is marked as unusual.
    """

    async def work(session: Session) -> Summary:
        listed = _listed(session.settings)[:limit]
        verdict = f"{len(listed)} runs." if listed else "No run yet."
        return Summary(
            None,
            "runs",
            session.settings.environment.value,
            Exit.OK,
            verdict,
            extra={"runs": listed, "trends": _trends(session.settings.data_dir)},
        )

    conduct("runs", work, as_json=as_json, needs=Needs.NOTHING, quiet=True, show=_show_runs, only_tells=True)


def report(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="A run as `runs` lists it; the newest if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the pages of a run again and say where they are."""

    async def work(session: Session) -> Summary:
        from connectors.reports.write import rebuild_reports

        found = [
            document
            for document in _summaries(session.settings.data_dir)
            if run in (None, document["run_id"])
        ]
        if not found:
            return usage_ending("There is no such run here; `meterfeed runs` lists them.", command="report")
        newest = max(found, key=_began)
        artifacts = rebuild_reports(session.settings.data_dir / newest["folder"])
        return _told_again(newest, artifacts)

    conduct("report", work, as_json=as_json, needs=Needs.NOTHING, quiet=True)


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="ID|FILE:LINE",
            help="A user, location, resource or vehicle by its id; or a row of an export that was read.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Tell the story of one record or row: rules broken, attempts to correct it, what was sent, what is held."""

    async def work(session: Session) -> Summary:
        return _explained(what, session.settings)

    conduct(
        "explain", work, as_json=as_json, needs=Needs.NOTHING, quiet=True, show=_show_story, only_tells=True
    )


def _explained(what: str, settings: Settings) -> Summary:
    from connectors.exports.places import display_name
    from connectors.kept import kept_runs
    from connectors.ledger.store import read_ledger
    from pipeline.attempts import tell

    ledger = read_ledger(settings.ledger.get_secret_value())
    try:
        story = tell(what, ledger=ledger, kept=kept_runs(settings.data_dir), shown_name=display_name)
    except GuardError as unknown:
        return usage_ending(f"{unknown.message} {unknown.cure}", command="explain")
    finally:
        if ledger is not None:
            ledger.close()
    return Summary(
        None, "explain", settings.environment.value, Exit.OK, sentence_of(story), extra={"story": story}
    )


def _told_again(document: Mapping[str, Any], artifacts: Artifacts) -> Summary:
    """The figures of a run under the ending of this command: the pages were built."""
    told = Summary.from_json({name: value for name, value in document.items() if name != "folder"})
    ended = {name: document[name] for name in ("command", "exit_code", "verdict")}
    return replace(
        told,
        command="report",
        exit_code=Exit.OK,
        verdict=f"Of that run: {told.verdict}",
        artifacts=artifacts,
        error=None,
        extra={**told.extra, "run": ended},
    )


# ------------------------------------------------------------------ what is on disk and in the ledger
def _listed(settings: Settings) -> list[dict[str, Any]]:
    """Every run known by its folder or by the ledger, newest first.

    The figures are those of the folder. Where it stands by now is the ledger's to say: a plan waits, is given up,
    or is another run's, and its folder does not change.
    """
    lines = {line["run_id"]: line for line in _from_ledger(settings)}
    for document in _summaries(settings.data_dir):
        line = _line(document)
        known = lines.get(document["run_id"], line)
        lines[document["run_id"]] = {**known, **line, "state": known["state"]}
    return sorted(lines.values(), key=_began, reverse=True)


def _began(run: Mapping[str, Any]) -> tuple[str, str]:
    """The order of runs: two may begin in one second, and the later one has the higher number."""
    return run.get("started_at") or "", run["run_id"]


def _trends(data_dir: Path) -> list[dict[str, Any]]:
    """What is followed over the runs of each profile, the most recently used profile first; oldest run first."""
    from connectors.reports.trends import load_runs, trends

    return [
        {
            "profile": trend.profile,
            "environment": trend.environment,
            "runs": len(trend.runs),
            "measures": [
                {
                    "key": measure.key,
                    "label": masked_name(measure.label),
                    "unit": measure.unit,
                    "latest": measure.latest,
                    "usual": measure.usual,
                    "unusual": bool(measure.odd and measure.odd[-1]),
                    "earlier_unusual": sum(measure.odd[:-1]),
                    "values": list(measure.values[-RUNS_TOLD:]),
                }
                for measure in trend.measures
            ],
        }
        for trend in trends(load_runs(data_dir))[:PROFILES_TOLD]
        if len(trend.runs) > 1
    ]


def _summaries(data_dir: Path) -> Iterator[dict[str, Any]]:
    """The summary of every run folder, with the folder's name; what is no summary is passed over."""
    for path in sorted(data_dir.glob(f"*/{SUMMARY_FILE}")):
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(document, dict) and isinstance(document.get("run_id"), str):
            yield {**document, "folder": path.parent.name}


def _from_ledger(settings: Settings) -> Iterator[dict[str, Any]]:
    """Runs as the ledger remembers them, also those that never came to write a summary."""
    from connectors.ledger.store import read_ledger

    ledger = read_ledger(settings.ledger.get_secret_value())
    if ledger is None:
        return
    try:
        rows = ledger.runs(brief=True)
    finally:
        ledger.close()
    for row in rows:
        yield {
            **_line({}),
            "run_id": row.run_id,
            "command": row.command,
            "state": row.state,
            "started_at": _utc(row.started_at),
            "ended_at": _utc(row.ended_at),
            "exit_code": row.exit_code,
            "plan": row.plan_digest,
        }


def _line(document: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a run that a list shows; None: not known."""
    rows = document.get("rows") or {}
    read, set_aside = rows.get("read"), (rows.get("quarantined") or 0) + (rows.get("unreadable") or 0)
    records = [
        counts for counts in (document.get("records") or {}).values() if counts.get("planned") is not None
    ]
    figures = {
        name: sum(counts.get(name) or 0 for counts in records) if records else None
        for name in (
            "planned",
            "created",
            "updated",
            "unchanged",
            "rejected",
            "blocked",
            "in_doubt",
            "not_sent",
        )
    }
    return {
        "run_id": document.get("run_id"),
        "command": document.get("command"),
        "state": "settled" if document.get("exit_code") in (Exit.OK, Exit.DONE_WITH_REJECTS) else "stopped",
        "started_at": document.get("started_at"),
        "ended_at": document.get("ended_at"),
        "exit_code": document.get("exit_code"),
        "plan": document.get("plan_digest"),
        "rows": read,
        "quarantined_share": set_aside / read if read else None,
        **figures,
    }


def _utc(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _show_runs(summary: Summary) -> None:
    columns = ("run_id", "command", "exit_code", "plan", "rows", "quarantined_share")
    records = ("created", "updated", "unchanged", "rejected", "in_doubt")
    lines = [
        [_shown(name, line[name]) for name in (*columns, *records)] for line in summary.extra.get("runs", [])
    ]
    if lines:
        headings = (
            "run",
            "command",
            "exit",
            "plan",
            "rows",
            "quarantined",
            *(n.replace("_", " ") for n in records),
        )
        console.show_table(headings, lines)
        for trend in summary.extra.get("trends", []):
            _show_trend(trend)
    if not lines or summary.error:
        console.show_summary(summary)


def _show_trend(trend: Mapping[str, Any]) -> None:
    from connectors.reports.index_page import figure_text
    from connectors.reports.trends import terminal_sparkline

    profile = trend["profile"] or "no profile"
    console.show_line("")
    console.show_line(f"{profile} ({trend['environment']}), {trend['runs']} runs, the latest on the right")
    lines = [
        [
            measure["label"].replace("_", " "),
            terminal_sparkline(measure["values"]),
            figure_text(measure["latest"], measure["unit"]),
            "" if measure["usual"] is None else f"usually {figure_text(measure['usual'], measure['unit'])}",
            _unusual(measure),
        ]
        for measure in trend["measures"]
    ]
    console.show_table(("figure", "course", "latest", "", ""), lines)


def _unusual(measure: Mapping[str, Any]) -> str:
    earlier = measure["earlier_unusual"]
    before = f"{earlier} earlier unusual" if earlier else ""
    return "UNUSUAL" + (f", {before}" if before else "") if measure["unusual"] else before


def _shown(name: str, value: Any) -> Any:
    if name == "quarantined_share":
        return "" if value is None else f"{value:.2%}"
    if name == "plan":
        return (value or "")[:PLAN_DIGITS]
    return value


# ------------------------------------------------------------------ a story for people
_ENDINGS: Final = {
    "quarantined": "quarantined",
    "unreadable": "unreadable",
    "mapped": "mapped",
    "judged_only": "good; this run sent nothing",
    "nothing_recorded": "broke no rule and began no record: a further row, a duplicate, protected, or outside [keep]",
}
_ORDINALS: Final = ("First", "Second", "Third", "Fourth", "Fifth")


def sentence_of(story: Mapping[str, Any]) -> str:
    """The story in one sentence."""
    attempts = story["attempts"]
    ended = next((run for attempt in reversed(attempts) for run in reversed(attempt["runs"])), None)
    times = f"{len(attempts)} attempts" if len(attempts) > 1 else "One attempt"
    outcomes = [] if ended is None else sorted({record["outcome"] for record in ended["records"]})
    if outcomes:
        return f"{times}; the last one: {', '.join(outcomes).replace('_', ' ')}."
    if ended is not None:
        return f"{times}; the last one: {_ENDINGS[ended['ended']]}."
    return "Held since an earlier run." if story.get("held") else "Told by the ledger alone."


def _show_story(summary: Summary) -> None:
    story = summary.extra.get("story")
    for line in [] if story is None else story_lines(story):
        console.show_line(line)
    console.show_summary(summary)


def story_lines(story: Mapping[str, Any]) -> Iterator[str]:
    """The story as lines of text."""
    row = story.get("row")
    yield f"{row['file']}, line {row['line']}" if row else f"record {story['id']}"
    for held in story.get("held", ()):
        yield f"  held: a {held['kind']} of user {held['user']}"
    for number, attempt in enumerate(story["attempts"]):
        name = _ORDINALS[number] if number < len(_ORDINALS) else f"{number + 1}th"
        yield f"{name} attempt: {attempt['file']}, line {attempt['line']}"
        for run in attempt["runs"]:
            yield from _told_run(run)
    for event in story.get("events", ()):
        yield f"{event['run']}: {event['phase'].replace('_', ' ')}, {' > '.join(event['moves'])}"
        yield from _reasons(event)


def _told_run(run: Mapping[str, Any]) -> Iterator[str]:
    yield f"  {run['run']} ({run['command']}, {run['at']}): {_ENDINGS[run['ended']]}"
    for rule in run["rules"]:
        yield f"    {rule}"
    for rule in run["warnings"]:
        yield f"    {rule} (a warning)"
    for record in run["records"]:
        outcome = record["outcome"].replace("_", " ")
        yield f"    {record['kind']} {record['id'] or record['masked_id']}: {outcome}"
        yield from _reasons(record)


def _reasons(told: Mapping[str, Any]) -> Iterator[str]:
    said = " ".join(str(told[name]) for name in ("reason", "message") if told[name])
    if said:
        yield f"      {said}"
