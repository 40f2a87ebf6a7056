"""The pages as text: what they refuse, what they show, that they are the same each time."""

import html.parser
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from connectors.artifacts import RunFolder
from connectors.reports import rebuild_reports, write_index, write_run_reports
from connectors.reports.reconciliation import FILES
from connectors.reports.tables import OUTCOMES, VIOLATIONS, writing_table
from schemas.details import EXAMPLE_LIMIT, GuardCheck, ReasonCount, RecordExample, StageTime
from schemas.errors import AccountError, StorageError
from schemas.outcomes import Exit, Kind, Outcome
from schemas.quality import (
    MapArea,
    MapFigure,
    RuleFigure,
    RulePair,
    Share,
    UnreadableFigure,
    ViolationExample,
)
from schemas.rules import RULES
from schemas.summary import RecordCounts, SourceEntry, Summary
from schemas.unreadable import Unreadable
from tests.golden import runs
from tests.golden.runs import HOSTILE, Example

GOLDEN = Path(__file__).parents[1] / "golden" / "pages"
COMPARED = ("report.html", "quality.html", "report.txt", "junit.xml")


def written(folder: Path, example: Example) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if example.summary.rows and example.summary.rows.quarantined:
        (folder / "correction.csv").write_text("kept by those who read the exports")
    write_run_reports(
        folder,
        example.summary,
        details=example.details,
        quality=example.quality,
        previous=example.previous,
        history=example.history,
    )
    return folder


def refused(folder: Path, example: Example) -> str:
    """The sentence with which a contradiction is refused; no page may be there afterwards."""
    with pytest.raises(AccountError) as caught:
        written(folder, example)
    assert [path.name for path in folder.iterdir() if path.suffix in {".html", ".txt", ".xml", ".json"}] == []
    return str(caught.value)


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


# ------------------------------------------------------------------ golden
@pytest.mark.parametrize("name", ["mixed", "clean", "stopped", "hostile"])
def test_pages_are_the_golden_ones_byte_for_byte(tmp_path, name):
    folder = written(tmp_path / name, getattr(runs, name)())
    found = {path: (folder / path).read_bytes() for path in COMPARED if (folder / path).exists()}
    if os.environ.get("UPDATE_GOLDEN") == "1":
        (GOLDEN / name).mkdir(parents=True, exist_ok=True)
        for path, content in found.items():
            (GOLDEN / name / path).write_bytes(content)
    assert sorted(path.name for path in (GOLDEN / name).iterdir()) == sorted(found)
    for path, content in found.items():
        assert content == (GOLDEN / name / path).read_bytes(), (
            f"{name}/{path} differs; UPDATE_GOLDEN=1 accepts it"
        )


def test_the_index_is_the_golden_one(tmp_path):
    example = runs.mixed()
    written(tmp_path / "now", example)
    for number, document in enumerate(example.history):
        (tmp_path / f"before-{number}").mkdir()
        (tmp_path / f"before-{number}" / "summary.json").write_text(json.dumps(document))
    content = write_index(tmp_path).read_bytes()
    if os.environ.get("UPDATE_GOLDEN") == "1":
        (GOLDEN / "index.html").write_bytes(content)
    assert content == (GOLDEN / "index.html").read_bytes(), "index.html differs; UPDATE_GOLDEN=1 accepts it"


def test_pages_made_again_are_the_same(tmp_path):
    example = runs.mixed()
    for number, document in enumerate(example.history):
        (tmp_path / f"before-{number}").mkdir()
        (tmp_path / f"before-{number}" / "summary.json").write_text(json.dumps(document))
    folder = written(tmp_path / "now", replace(example, previous=None, history=()))
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    rebuild_reports(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    assert b"Compared with run 20260228" in first["report.html"]


# ------------------------------------------------------------------ refusals
def test_a_page_that_would_break_an_equation_is_refused(tmp_path):
    example = runs.mixed()
    assert example.summary.rows is not None
    rows = replace(example.summary.rows, mapped=11_595)
    assert "rows read" in refused(tmp_path, replace(example, summary=replace(example.summary, rows=rows)))
    records = {**example.summary.records, Kind.USER: RecordCounts(9_120, 9_119)}
    assert "planned" in refused(tmp_path, replace(example, summary=replace(example.summary, records=records)))


def test_reasons_that_do_not_add_up_are_refused(tmp_path):
    example = runs.mixed()
    details = replace(example.details, reasons=(ReasonCount(Outcome.REJECTED, Kind.LOCATION, "exists", 5),))
    assert "reasons for rejected location records 5 is not" in refused(
        tmp_path, replace(example, details=details)
    )


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("rows", 11_814, "rows measured"),
        ("quarantined", 160, "quarantined"),
        ("unreadable", (), "unreadable"),
        ("map", MapFigure((), 0, 11_814), "rows of the map"),
        ("map", MapFigure((), 0, 11_815, quarantined=160), "rows of the map in quarantine"),
        (
            "map",
            MapFigure((MapArea(60, 10, 11_655, 160),), 0, 0, quarantined=161),
            "good rows shown on the map",
        ),
        (
            "map",
            MapFigure((MapArea(60, 10, 11_653, 162),), 0, 0, quarantined=161),
            "quarantined rows shown on the map",
        ),
        ("rules", (RuleFigure("coordinates_come_in_pairs", "quarantine", 31),), "coordinates_come_in_pairs"),
    ],
)
def test_quality_figures_that_contradict_the_account_are_refused(tmp_path, part, value, sentence):
    example = runs.mixed()
    assert example.quality is not None
    assert sentence in refused(tmp_path, replace(example, quality=replace(example.quality, **{part: value})))


def test_exit_code_zero_with_anything_open_is_refused(tmp_path):
    example = runs.mixed()
    summary = replace(example.summary, exit_code=Exit.OK)
    assert "exit code 0, yet 161 quarantined rows" in refused(tmp_path, replace(example, summary=summary))


def test_sources_that_do_not_add_up_are_refused(tmp_path):
    example = runs.mixed()
    summary = replace(example.summary, sources=(SourceEntry("a.csv", "0" * 64, 1, 12_430),))
    assert "sources" in refused(tmp_path, replace(example, summary=summary))


def told_by(summary):
    """Lines of `outcomes.parquet` that agree with a summary."""
    for kind, counts in summary.records.items():
        for outcome in Outcome:
            n = getattr(counts, outcome.value) or 0
            yield pl.DataFrame({"kind": [kind.value] * n, "outcome": [outcome.value] * n})


def test_tables_that_tell_another_story_are_refused(tmp_path):
    with RunFolder(tmp_path) as folder, writing_table(folder, OUTCOMES) as writer:
        writer.append(pl.DataFrame({"kind": ["user"], "outcome": ["created"]}))
    assert "outcomes.parquet has" in refused(tmp_path, runs.mixed())
    with RunFolder(tmp_path) as folder, writing_table(folder, OUTCOMES) as writer:
        for line in told_by(runs.mixed().summary):
            writer.append(line)
        writer.append(pl.DataFrame({"kind": ["user"], "operation": ["delete"], "outcome": ["removed"]}))
    assert "outcomes.parquet has 1 lines of removals user removed, the account 0" in refused(
        tmp_path, runs.mixed()
    )
    (tmp_path / "outcomes.parquet").unlink()
    with RunFolder(tmp_path) as folder, writing_table(folder, VIOLATIONS) as writer:
        writer.append(pl.DataFrame({"rule": ["coordinates_come_in_pairs"], "severity": ["quarantine"]}))
    assert "violations.parquet has 1 lines of coordinates_come_in_pairs quarantine" in refused(
        tmp_path, runs.mixed()
    )


def test_a_damaged_summary_is_a_storage_trouble(tmp_path):
    with pytest.raises(StorageError, match="no readable summary"):
        rebuild_reports(tmp_path)
    (tmp_path / "summary.json").write_text('{"summary_version": 1, "rows": {"read": "x"}}')
    with pytest.raises(StorageError, match="damaged"):
        rebuild_reports(tmp_path)


# ------------------------------------------------------------------ content
def test_every_figure_on_the_pages_is_in_the_summary(tmp_path):
    folder = written(tmp_path, runs.mixed())
    summary = json.loads((folder / "summary.json").read_bytes())
    checked = 0
    for name in ("report.html", "quality.html"):
        for tag, attributes in Page((folder / name).read_text()).tags:
            path = attributes.get("data-figure")
            if tag == "data" and path:
                assert attributes["value"] == str(figure_at(summary, path)), path
                checked += 1
    assert checked > 50


def figure_at(summary: dict, path: str):
    """The figure a page says it shows."""
    head, _, rest = path.partition(".")
    if path.startswith("quality.rules."):
        return next(
            r["rows"] for r in summary["quality"]["rules"] if r["rule"] == path.removeprefix("quality.rules.")
        )
    if path.startswith("quality.columns."):
        name = path.removeprefix("quality.columns.")
        return next(c["filled"] for c in summary["quality"]["columns"] if c["column"] == name)
    if head in {"violations", "warnings", "normalised"}:
        return summary[head][rest]
    value = summary
    for key in path.split("."):
        value = value[key]
    return value


def test_the_summary_document_holds_what_the_pages_need(tmp_path):
    folder = written(tmp_path, runs.mixed())
    summary = json.loads((folder / "summary.json").read_bytes())
    assert summary["details"]["profiles"] == ["nordkraft"]
    assert summary["quality"]["quality_version"] == 1
    assert summary["compared_with"]["previous"] == "20260228t040500-001c"
    assert summary["artifacts"]["report"] == str(folder / "report.html")
    assert summary["artifacts"]["quarantine"] is None


def test_tables_in_the_folder_are_copied_named_and_linked(tmp_path):
    example = runs.clean()
    with RunFolder(tmp_path) as folder:
        with writing_table(folder, OUTCOMES) as writer:
            for kind, count in (("user", 240), ("location", 268)):
                writer.append(pl.DataFrame({"kind": [kind] * count, "outcome": ["unchanged"] * count}))
        with writing_table(folder, VIOLATIONS):
            pass
    written(tmp_path, example)
    assert (tmp_path / "outcomes.csv").read_bytes().count(b"\r\n") == 509
    page = Page((tmp_path / "report.html").read_text())
    linked = {attributes.get("href") for tag, attributes in page.tags if tag == "a"}
    assert {"outcomes.parquet", "outcomes.csv", "violations.csv", "quality.html", "summary.json"} <= linked
    assert linked <= {*FILES, *(f"#{part}" for part in ("main", "flow", "kinds", "open", "effort", "changes",
                                                        "guards", "sources", "about"))}  # fmt: skip


def test_what_the_api_refused_has_a_sheet_of_its_own_as_long_as_there_is_any(tmp_path):
    mixed, clean = runs.mixed(), runs.clean()
    for example, refused_lines in ((mixed, 7), (clean, None)):
        with RunFolder(tmp_path) as folder, writing_table(folder, OUTCOMES) as writer:
            for lines in told_by(example.summary):
                writer.append(lines)
        written(tmp_path, example)
        sheet = tmp_path / "rejected.csv"
        told = json.loads((tmp_path / "summary.json").read_text())["artifacts"]["rejected"]
        assert refused_lines == (sheet.read_bytes().count(b"\r\n") - 1 if sheet.exists() else None)
        assert told == (str(sheet) if sheet.exists() else None)


@pytest.mark.parametrize(
    ("exit_code", "says"),
    [
        (Exit.DONE_WITH_REJECTS, "mend the rows in correction.csv"),
        (Exit.GUARD, "meterfeed apply 5d41402abc4b2a76b9719d911017c592ae1e2f7c"),
        (Exit.IN_DOUBT, "run meterfeed resume"),
        (Exit.UNAVAILABLE, "run meterfeed resume"),
        (Exit.INTERRUPTED, "run meterfeed resume"),
        (Exit.BUSY, "wait until the other run has ended"),
        (Exit.STORAGE, "make room"),
        (Exit.SETTINGS, "correct the settings"),
        (Exit.BUG, "do not trust this run"),
        (Exit.USAGE, "correct the command"),
    ],
)
def test_every_verdict_says_what_to_do_next(tmp_path, exit_code, says):
    example = runs.mixed()
    summary = replace(example.summary, exit_code=exit_code)
    folder = written(tmp_path, replace(example, summary=summary, quality=None))
    assert says in Page((folder / "report.html").read_text()).text.replace(" .", ".").lower()
    assert says.split("-")[0].strip() in (folder / "report.txt").read_text().replace("`", "").lower()


def test_a_load_is_compared_with_the_last_load_not_with_a_look_at_the_rows(tmp_path):
    example = runs.mixed()
    for number, (command, document) in enumerate(
        zip(["sync", "sync", "quality"], example.history, strict=False)
    ):
        (tmp_path / f"before-{number}").mkdir()
        earlier = {**document, "command": command, "run_id": f"{command}-{number}"}
        (tmp_path / f"before-{number}" / "summary.json").write_text(json.dumps(earlier))
    folder = written(tmp_path / "now", replace(example, previous=None, history=()))
    assert "Compared with run sync-1" in Page((folder / "report.html").read_text()).text


def test_of_two_runs_in_one_second_the_later_is_compared_with_the_earlier(tmp_path):
    example = runs.mixed()
    at = {**example.history[-1], "started_at": example.summary.started_at}
    for number, run in enumerate(("20260301t040502-7f39", "20260301t040502-7f3b")):
        (tmp_path / f"before-{number}").mkdir()
        (tmp_path / f"before-{number}" / "summary.json").write_text(json.dumps({**at, "run_id": run}))
    folder = written(tmp_path / "now", replace(example, previous=None, history=()))
    assert "Compared with run 20260301t040502-7f39" in Page((folder / "report.html").read_text()).text


def test_records_are_not_compared_with_a_run_that_planned_none(tmp_path):
    example = runs.mixed()
    assert example.previous is not None
    nothing = {kind.value: {"planned": 0, "created": 0} for kind in Kind}
    folder = written(tmp_path, replace(example, previous={**example.previous, "records": nothing}))
    text = Page((folder / "report.html").read_text()).text
    assert "rows read 12 328 12 431" in text
    assert "records created" not in text


def test_a_plan_says_how_to_apply_it(tmp_path):
    example = runs.clean()
    folder = written(tmp_path, replace(example, summary=replace(example.summary, command="plan")))
    assert "meterfeed apply 0000000000000000" in Page((folder / "report.html").read_text()).text


def test_what_a_plan_has_not_sent_needs_nobody(tmp_path):
    """Its page says that nothing was sent; counted as open, every good plan looked like trouble."""
    example = runs.clean()
    records = {**example.summary.records, Kind.USER: RecordCounts(planned=240, not_sent=240)}
    for command, open_records in (("plan", 0), ("sync", 240)):
        code = Exit.OK if command == "plan" else Exit.UNAVAILABLE
        summary = replace(example.summary, command=command, exit_code=code, records=records)
        folder = written(tmp_path / command, replace(example, summary=summary))
        page = Page((folder / "report.html").read_text()).text
        assert f"{open_records} rows and records that need somebody" in page
        assert ("240 records not sent." in (folder / "report.txt").read_text()) == bool(open_records)


@pytest.mark.parametrize(
    ("ended", "exit_code", "told", "next_step"),
    [
        ("rejected", Exit.DONE_WITH_REJECTS, "removals refused", "Look at the removals that were refused"),
        ("blocked", Exit.DONE_WITH_REJECTS, "removals blocked", "Look at the removals that were refused"),
        ("in_doubt", Exit.IN_DOUBT, "removals in doubt", "Run `meterfeed resume`"),
        ("not_sent", Exit.UNAVAILABLE, "removals not sent", "Run `meterfeed resume`"),
    ],
)
def test_removals_that_came_to_nothing_need_somebody(tmp_path, ended, exit_code, told, next_step):
    """No record of an export is open, and yet the run did not end with 0."""
    example = runs.clean()
    removals = {
        "user": {"planned": 3, "removed": 2, ended: 1},
        "location": {"planned": 2, "removed": 0, ended: 2},
    }
    removed = replace(example.summary, exit_code=exit_code, extra={"vanished": {"removals": removals}})
    folder = written(tmp_path, replace(example, summary=removed))
    page = Page((folder / "report.html").read_text()).text
    assert "3 rows and records that need somebody" in page
    assert page.count(f"3 {told}") == 2  # why, and a card of its own
    assert "Nothing: no row is in quarantine" not in page
    text = (folder / "report.txt").read_text()
    assert f"3 {told}.\nNext: {next_step}" in text
    junit = ET.fromstring((folder / "junit.xml").read_bytes())
    assert [f"3 {told}"] == [failure.get("message") for failure in junit.iter("failure")]
    assert "exit code 0, yet 3" in refused(
        tmp_path / "zero", replace(example, summary=replace(removed, exit_code=Exit.OK))
    )


def test_corrections_of_several_profiles_are_named(tmp_path):
    folder = written(tmp_path, runs.mixed())
    (folder / "correction.csv").unlink(missing_ok=True)
    for name in ("correction-a-2.csv", "correction-b-1.csv", "correction, mended.csv"):
        (folder / name).write_text("a\n")
    assert str(folder / "correction-b-1.csv") == rebuild_reports(folder).correction
    page = (folder / "report.html").read_text()
    assert [True, True] == [f">{name}<" in page for name in ("correction-a-2.csv", "correction-b-1.csv")]


def test_rows_that_were_purged_are_not_named_any_more(tmp_path):
    example = runs.mixed()
    done = replace(example.summary, exit_code=Exit.DONE_WITH_REJECTS)
    folder = written(tmp_path, replace(example, summary=done))
    pages = ("report.txt", "report.html", "quality.html")
    for kept in (True, False):
        artifacts = rebuild_reports(folder)
        assert artifacts.correction == (str(folder / "correction.csv") if kept else None)
        assert artifacts == Summary.from_json(json.loads((folder / "summary.json").read_text())).artifacts
        for page in pages:
            told = (folder / page).read_text()
            assert kept == ("correction.csv" in told), page
            assert kept != ("load the export again" in told), page
        (folder / "correction.csv").unlink(missing_ok=True)


def test_unknown_figures_are_dashes_and_never_zero(tmp_path):
    text = Page((written(tmp_path, runs.stopped()) / "report.html").read_text()).text
    assert "– rows read" in text
    assert "– customers complete" in text
    assert "No row was read." in text


# ------------------------------------------------------------------ bounds and hostility
def test_pages_stay_small_whatever_the_input(tmp_path):
    example = crowded()
    folder = written(tmp_path, example)
    for name in ("report.html", "quality.html"):
        assert (folder / name).stat().st_size < 2_000_000
    text = Page((folder / "report.html").read_text()).text
    assert f"and {4_000_000 - EXAMPLE_LIMIT:,} more in".replace(",", " ") in text


def crowded() -> Example:
    """A run over ten million rows in which every list is as long as it can get, in words as long as allowed."""
    example = runs.mixed()
    assert example.quality is not None
    assert example.summary.rows is not None
    long = "ordinary words of some length " * 20
    names = [f"rule number {number} {long}" for number in range(2_000)]
    rejected = RecordCounts(planned=4_000_000, rejected=4_000_000)
    sources = tuple(SourceEntry(f"{long}{number}", "a" * 64, 10**12, 5_000) for number in range(2_000))
    rows = replace(
        example.summary.rows, read=10_000_000, filtered=0, quarantined=2_000_000, duplicate=0,
        mapped=10_000_000 - 2_000_004,
    )  # fmt: skip
    summary = replace(
        example.summary,
        rows=rows,
        sources=sources,
        violations=dict.fromkeys(names, 1_000),
        warnings={},
        normalised=dict.fromkeys(names, 1),
        records={**{kind: RecordCounts() for kind in Kind}, Kind.LOCATION: rejected},
    )
    details = replace(
        example.details,
        reasons=tuple(
            ReasonCount(Outcome.REJECTED, Kind.LOCATION, f"{n} {long}", 2_000) for n in range(2_000)
        ),
        examples=tuple(
            RecordExample(Outcome.REJECTED, Kind.LOCATION, long, long, long, long, n) for n in range(5_000)
        ),
        stages=tuple(StageTime(f"{long}{n}", 1.0) for n in range(500)),
        guards=tuple(GuardCheck(f"{long}{n}", 1.0, 1.0) for n in range(500)),
    )
    shares = tuple(Share(f"{long}{n}", 1) for n in range(9))
    areas = tuple(MapArea(35 + n % 90 * 0.5, -20.0 + n // 90, 1_000, 6) for n in range(5_000))
    column = replace(example.quality.columns[0], lengths=shares, prefixes=shares, values=shares)
    spots = tuple(ViolationExample(long, n, long, long, long) for n in range(5))
    quality = replace(
        example.quality,
        rows=9_999_996,
        quarantined=2_000_000,
        rules=tuple(
            RuleFigure(name, "quarantine", 1_000, 1, tuple((f"{long}{n}", 1) for n in range(50)), spots)
            for name in names
        ),
        columns=tuple(replace(column, column=f"key:{long}{n}") for n in range(300)),
        together=tuple(RulePair(f"{long}{n}", long, 1) for n in range(5_000)),
        map=MapFigure(areas, 0, 9_999_996 - 5_000 * 1_006),
    )
    return replace(example, summary=summary, details=details, quality=quality)


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("hostile"), runs.hostile())


@pytest.mark.parametrize("name", ["report.html", "quality.html"])
def test_no_foreign_text_becomes_markup(hostile_folder, name):
    page = Page((hostile_folder / name).read_text())
    known = {
        "html", "head", "meta", "title", "style", "body", "a", "header", "p", "b", "span", "code", "div", "h1", "h2",
        "h3", "ul", "li", "data", "nav", "main", "section", "article", "table", "caption", "thead", "tbody", "tfoot",
        "tr", "th", "td", "details", "summary", "dl", "dt", "dd", "footer", "small",
        "svg", "desc", "g", "path", "text",
    }  # fmt: skip
    assert {tag for tag, _ in page.tags} <= known
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key == "style"], tag
        assert not [key for key in attributes if key in {"src", "srcset", "action"}], tag
        if "href" in attributes:
            assert re.fullmatch(r"#?[a-z][a-z0-9._#-]*", attributes["href"] or "")
    assert "alert(1)" in page.text, "the canaries must be on the page, as text"


@pytest.mark.parametrize("name", ["report.html", "quality.html", "report.txt", "junit.xml"])
def test_nothing_invisible_reaches_a_file(hostile_folder, name):
    text = (hostile_folder / name).read_text()
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]", text
    )


@pytest.mark.parametrize("name", ["report.html", "quality.html"])
def test_the_policy_allows_one_style_sheet_and_nothing_else(hostile_folder, name):
    page = Page((hostile_folder / name).read_text())
    policies = [
        a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]{44}'; base-uri 'none'; form-action 'none'",
        policies[0],
    )


def test_a_name_that_carries_a_meter_point_is_masked(tmp_path):
    example = runs.clean()
    meter_point = "707057599000000017"
    source = replace(example.summary.sources[0], name=f"meteringvalues-mp-{meter_point}.csv")
    folder = written(tmp_path, replace(example, summary=replace(example.summary, sources=(source,))))
    page = (folder / "report.html").read_text()
    assert meter_point not in page
    assert "meteringvalues-mp-…0017.csv" in page


def test_reasons_and_rules_speak_for_themselves(tmp_path):
    example = runs.mixed()
    assert example.quality is not None
    reason = UnreadableFigure("nul_byte", 4, (ViolationExample("a.csv", 7),))
    details = replace(example.details, rules=())
    folder = written(
        tmp_path, replace(example, details=details, quality=replace(example.quality, unreadable=(reason,)))
    )
    text = Page((folder / "quality.html").read_text()).text
    assert Unreadable.NUL_BYTE.sentence in text
    assert Unreadable.NUL_BYTE.cure in text
    known = next(rule for rule in RULES if rule.name == "coordinates_come_in_pairs")
    assert known.cure.replace("`", "") in text


def test_server_messages_are_masked_again(tmp_path):
    example = runs.mixed()
    said = RecordExample(
        Outcome.REJECTED, Kind.USER, "…1", "exists", "707057599000000017 of kari@example.invalid", "f", 1
    )
    folder = written(tmp_path, replace(example, details=replace(example.details, examples=(said,))))
    page = (folder / "report.html").read_text()
    assert "…0017 of …@…" in page


def test_hostile_texts_are_a_fair_sample():
    assert {"<script>alert(1)</script>", "=cmd|' /C calc'!A0"} <= set(HOSTILE)
    assert any("\x1b" in text for text in HOSTILE)
