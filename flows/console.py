"""What a person sees: progress while a command works, a short account at the end.

Progress goes to stderr, bars on a terminal and plain lines elsewhere, so that stdout holds the result alone.
Text that came from outside is made printable and never read as markup.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from schemas.masking import printable
from schemas.outcomes import Exit
from schemas.summary import RecordCounts, Summary

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from pipeline.ports import Notice

PLAIN_EVERY: Final = 10.0
"""Seconds between two plain lines of one stage."""
PIPE_WIDTH: Final = 400
TOP_RULES: Final = 8
"""Most broken rules named in the account on a terminal; the report has all."""
_RECORD_PARTS: Final = ("created", "updated", "unchanged", "rejected", "blocked", "in_doubt", "not_sent")
_ROW_PARTS: Final = ("unreadable", "filtered", "quarantined", "duplicate", "mapped")
_PLURALS: Final = {"user": "users", "location": "locations", "resource": "resources", "vehicle": "vehicles"}


# --------------------------------------------------------------------------- progress
class _Progress(Protocol):
    def notice(self, notice: Notice) -> None: ...
    def close(self) -> None: ...


class Quiet:
    """Shows nothing."""

    def notice(self, notice: Notice) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class PlainLines:
    """A line when a stage ends, and every ten seconds of a long one: fit for a log of a scheduler.

    Args:
        stream: where to.
        clock: monotonic seconds.
    """

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._last: Notice | None = None
        self._began = self._said = self._heard = clock()

    def notice(self, notice: Notice) -> None:
        """Take note of progress; says so when the stage changed or ten seconds went by."""
        now = self._clock()
        if self._last is None or self._last.stage != notice.stage:
            self._end_stage()
            # What happened since the last word of the stage before belongs to this one.
            self._began, self._said = self._heard, now
        elif now - self._said >= PLAIN_EVERY:
            self._said = now
            self._say(f"{_amount(notice)}{_pace(notice, now - self._began)}", notice.stage)
        self._last, self._heard = notice, now

    def close(self) -> None:
        """End the stage under way."""
        self._end_stage()
        self._last = None

    def _end_stage(self) -> None:
        if self._last is not None:
            self._say(f"{_amount(self._last)} in {self._heard - self._began:.1f} s", self._last.stage)

    def _say(self, text: str, stage: str) -> None:
        print(printable(f"{stage}: {text}"), file=self._stream, flush=True)


def _amount(notice: Notice) -> str:
    of = f" of {notice.total:,}" if notice.total is not None and notice.total != notice.done else ""
    unit = notice.unit.removesuffix("s") if notice.done == 1 and not of else notice.unit
    return f"{notice.done:,}{of} {unit}"


def _pace(notice: Notice, seconds: float) -> str:
    """Rate so far and what is left at that rate; nothing where either is not known."""
    if seconds <= 0 or notice.done <= 0:
        return ""
    rate = notice.done / seconds
    left = "" if notice.total is None else f", about {_duration((notice.total - notice.done) / rate)} left"
    return f", {rate:,.0f}/s{left}"


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return (
        f"{hours} h {minutes:02} min"
        if hours
        else f"{minutes} min {whole % 60:02} s"
        if minutes
        else f"{whole} s"
    )


class Bars:
    """A bar for each stage, with rate and time left; the time left follows the last half minute."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}", markup=False),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self._tasks: dict[str, Any] = {}
        self._latest: Notice | None = None
        self._progress.start()

    def notice(self, notice: Notice) -> None:
        """Move the bar of the stage; a stage that follows another means the other is done."""
        if self._latest is not None and self._latest.stage != notice.stage:
            self._finish(self._latest)
        if notice.stage not in self._tasks:
            self._tasks[notice.stage] = self._progress.add_task(
                printable(notice.stage), total=notice.total, amount="", rate=""
            )
        task = self._progress.tasks[self._tasks[notice.stage]]
        self._progress.update(
            task.id,
            completed=notice.done,
            total=notice.total,
            amount=printable(_amount(notice)),
            rate=f"{task.speed:,.0f}/s" if task.speed else "",
        )
        self._latest = notice

    def close(self) -> None:
        """Leave the bars as they stand."""
        if self._latest is not None:
            self._finish(self._latest)
        self._progress.stop()

    def _finish(self, notice: Notice) -> None:
        """A stage whose total was not known is complete at what it reached; its rate is that of all of it."""
        task = self._progress.tasks[self._tasks[notice.stage]]
        rate = f"{notice.done / task.elapsed:,.0f}/s" if task.elapsed else ""
        total = max(1, notice.done) if notice.total is None else notice.total
        self._progress.update(task.id, total=total, rate=rate)


@contextmanager
def progress(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Callable[[Notice], None]]:
    """What to tell progress to: bars when `stream` (stderr) is a terminal, plain lines else; or nothing."""
    stream = stream or sys.stderr
    shown: _Progress
    if quiet:
        shown = Quiet()
    elif stream.isatty():
        from rich.console import Console

        shown = Bars(Console(file=stream))
    else:
        shown = PlainLines(stream)
    try:
        yield _unbroken(shown.notice)
    finally:
        with suppress(OSError):
            shown.close()


def _unbroken(tell: Callable[[Notice], None]) -> Callable[[Notice], None]:
    """Progress until its stream takes no more, a full disk behind `2>log` for instance: no reason to stop the work."""
    broken = False

    def told(notice: Notice) -> None:
        nonlocal broken
        if not broken:
            try:
                tell(notice)
            except OSError:
                broken = True

    return told


# --------------------------------------------------------------------------- the account at the end
def show_summary(summary: Summary, *, stream: TextIO | None = None) -> None:
    """Print the short account: verdict, both equations, what was broken, where the files are."""
    console = _console(stream)
    for part in _parts(summary):
        console.print(part, soft_wrap=True)


def _console(stream: TextIO | None) -> Console:
    from rich.console import Console

    stream = stream or sys.stdout
    width = None if stream.isatty() else PIPE_WIDTH  # a pipe has no edge to break at
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def _parts(summary: Summary) -> Iterator[RenderableType]:
    from rich.columns import Columns

    changes = _plan_table(summary) if summary.command == "plan" else _records_table(summary)
    tables = [table for table in (_rows_table(summary), changes) if table is not None]
    if tables:
        yield Columns(tables, padding=(0, 6))
        yield ""
    if summary.violations or summary.warnings or summary.extra.get("unreadable_reasons"):
        yield _rules_table(summary)
        yield ""
    yield from _lines(summary)
    yield _verdict(summary)


def _verdict(summary: Summary) -> RenderableType:
    from rich.text import Text

    colour = {Exit.OK: "green", Exit.DONE_WITH_REJECTS: "yellow"}.get(Exit(summary.exit_code), "red")
    verdict = Text(printable(summary.verdict), style=f"bold {colour}")
    verdict.append(f" (exit {int(summary.exit_code)})", style="dim")
    if summary.error is not None:
        verdict.append("\n" + printable(summary.error.message), style="default")
        if summary.error.cure:
            verdict.append("\n" + printable(summary.error.cure), style="default")
    return verdict


def _lines(summary: Summary) -> Iterator[str]:
    if summary.customers.complete is not None:
        incomplete = _figure(summary.customers.incomplete)
        yield f"customers   {_figure(summary.customers.complete)} complete, {incomplete} incomplete"
    requests = summary.requests
    planned = any(counts.planned for counts in summary.records.values())
    if requests.sent or (planned and summary.command != "plan"):
        yield f"requests    {requests.sent:,} sent, {requests.retried:,} retried, {requests.split:,} split"
    yield from _vanished_lines(summary.extra.get("vanished"))
    yield from _drift_lines(summary)
    for note in (one for one in summary.extra.get("notes", ()) if " " in one):
        yield f"note        {printable(note)}"
    if "requests_expected" in summary.extra:
        seconds = _duration(summary.extra.get("seconds_expected") or 0)
        yield f"to expect   {summary.extra['requests_expected']:,} requests, about {seconds}"
    if summary.command == "plan" and summary.extra.get("plan_digest"):
        yield f"digest      {printable(str(summary.extra['plan_digest']))}"
    for name, path in asdict(summary.artifacts).items():
        if path:
            yield f"{name:<11} {printable(_near(path))}"
    if summary.run_id:
        yield f"run         {printable(summary.run_id)}"


_WAITS: Final = {
    "seen_once": "missing once so far, or in two exports too close together",
    "has_other_records": "something hangs on them that stays",
    "hands_over": "hand over a meter point in this run first",
    "unreadable_rows": "the export has rows that may name them",
}
"""Why a vanished record is not removed yet, in words."""


def _drift_lines(summary: Summary) -> Iterator[str]:
    """What reading back showed: how much was read, what differs, where all of it is listed."""
    told = summary.extra
    if told.get("users_without_address"):
        yield f"left alone  {told['users_without_address']:,} users whose ids do not fit into an address"
    if "users_read" not in told or "drift" not in told:
        return
    yield f"read back   {told['users_read']:,} users, {told['users_differing']:,} of them differ"
    for kind, counts in told["drift"].items():
        differing = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        if differing:
            yield f"drift       {_PLURALS[kind]}: {differing}"
    if "sample" in told:
        yield f"sample      {printable(told['sample']['statement'])}"
    for name, path in told["files"].items():
        yield f"{name:<11} {printable(_near(path))}"


def _vanished_lines(told: Mapping[str, Any] | None) -> Iterator[str]:
    """What the exports do not name any more: how many may go, why the others may not, what was done."""
    if not told or not told["kinds"]:
        return
    for kind, counts in told["kinds"].items():
        due = f"{counts['due']:,} due for removal" if told["asked"] else f"{counts['due']:,} could be removed"
        yield f"vanished    {counts['missing']:,} {_PLURALS[kind]}, {due}"
        for word, count in counts["waiting"].items():
            yield f"            {count:,} not yet: {_WAITS.get(word, word)}"
    for kind, counts in told.get("removals", {}).items():
        ended = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        yield f"removals    {_PLURALS[kind]}: {ended}"
    if told.get("cost"):
        yield f"cost        {printable(told['cost'])}"


def _near(path: str) -> str:
    """A path as one would type it from here."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _rows_table(summary: Summary) -> Table | None:
    if summary.rows is None:
        return None
    counts = asdict(summary.rows)
    return equation(("rows read",), [(counts["read"],)], {part: (counts[part],) for part in _ROW_PARTS})


def _records_table(summary: Summary) -> Table | None:
    kinds = {kind: counts for kind, counts in summary.records.items() if counts.planned}
    if not kinds:
        return None
    whole = tuple(counts.planned for counts in kinds.values())
    parts = {part: tuple(_part(counts, part) for counts in kinds.values()) for part in _RECORD_PARTS}
    return equation(("planned", *(_PLURALS[kind.value] for kind in kinds)), [whole], parts)


def _plan_table(summary: Summary) -> Table | None:
    """What a plan would do, by kind of record; nothing of it has been sent."""
    from rich.table import Table

    kinds = {
        kind: changes for kind, changes in summary.extra.get("plan", {}).items() if any(changes.values())
    }
    if not kinds:
        return None
    table = Table.grid(padding=(0, 2))
    table.add_column()
    for _ in kinds:
        table.add_column(justify="right")
    table.add_row("planned", *(_PLURALS[kind] for kind in kinds), style="bold")
    for name in next(iter(kinds.values())):
        table.add_row(printable(name), *(_figure(changes[name]) for changes in kinds.values()))
    return table


def _part(counts: RecordCounts, part: str) -> int | None:
    figure: int | None = getattr(counts, part)
    return figure


def equation(
    names: Sequence[str], whole: Sequence[Sequence[int | None]], parts: Mapping[str, Sequence[int | None]]
) -> Table:
    """A sum written as one reads it: the whole on top, `=` and `+` before its parts, a column for each sum.

    Args:
        names: what the whole is called, then a heading for each column when there is more than one.
        whole: one row, a figure for each column.
        parts: by name, a figure for each column.
    """
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column()
    for _ in whole[0]:
        table.add_column(justify="right")
    if names[1:]:
        table.add_row("", *names[1:], style="bold")
    table.add_row(f"  {names[0]}", *map(_figure, whole[0]), style="bold")
    for position, (name, figures) in enumerate(parts.items()):
        sign = "+" if position else "="
        style = "yellow" if any(figures) and name in _ATTENTION else None
        table.add_row(f"{sign} {name.replace('_', ' ')}", *map(_figure, figures), style=style)
    return table


_ATTENTION: Final = frozenset({"unreadable", "quarantined", "rejected", "blocked", "in_doubt", "not_sent"})


def _figure(number: int | None) -> str:
    return "not known" if number is None else f"{number:,}"


def _rules_table(summary: Summary) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column()
    for title, counted in (
        ("unreadable rows by reason", summary.extra.get("unreadable_reasons") or {}),
        ("quarantined rows by broken rule", summary.violations),
        ("warnings", summary.warnings),
    ):
        if not counted:
            continue
        table.add_row("", title, style="bold")
        ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
        for rule, count in ranked[:TOP_RULES]:
            table.add_row(_figure(count), printable(rule))
        if len(ranked) > TOP_RULES:
            table.add_row("…", f"{len(ranked) - TOP_RULES} more in the report")
    return table


def show_line(text: str, *, stream: TextIO | None = None) -> None:
    """Print one line of text as it is, indented or not, but for what steers a terminal."""
    indent = " " * (len(text) - len(text.lstrip(" ")))
    _console(stream).print(indent + printable(text), soft_wrap=True)


def show_table(
    headings: Sequence[str], lines: Sequence[Sequence[object]], *, stream: TextIO | None = None
) -> None:
    """Print a plain table; numbers to the right, foreign text made printable."""
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    for position in range(len(headings)):
        numbers = bool(lines) and all(isinstance(line[position], (int, float)) for line in lines)
        table.add_column(justify="right" if numbers else "left", no_wrap=True)
    table.add_row(*headings, style="bold")
    for line in lines:
        table.add_row(*(_cell(value) for value in line))
    _console(stream).print(table, soft_wrap=True)


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.2f}" if isinstance(value, float) else printable(str(value))
