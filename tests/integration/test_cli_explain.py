"""`explain`: a record or a row, with every attempt to correct it."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import settings_for
from tests.integration.test_cli_settle import gsrn, location_of, mutating, portfolio, row, write

__all__ = ["write"]

GOOD = 310
LINE = GOOD + 2
BROKEN = f"K0900;A0900;Husholdning;{gsrn(900)};961,5;9,6;Aktiv\n"
RANGE = "coordinates_are_within_range"


def mend(correction: str, target: Path, change: Callable[[list[str]], list[str]]) -> Path:
    """Open a correction as a spreadsheet does, change its rows, and save it the way a spreadsheet saves."""
    text = Path(correction).read_bytes().decode("utf-8-sig")
    header, *rows = csv.reader(io.StringIO(text), delimiter=";")
    saved = io.StringIO()
    sheet = csv.writer(saved, delimiter=";", lineterminator="\r\n")
    sheet.writerow(header)
    sheet.writerows(change(row) for row in rows)
    target.write_bytes(saved.getvalue().encode("utf-8-sig"))
    return target


def latitude(value: str) -> Callable[[list[str]], list[str]]:
    return lambda row: [*row[:4], value, *row[5:]]


@pytest.fixture
def corrected_twice(meterfeed, api, write, tmp_path):
    """A row that was wrong, wrong again, and right: the runs, and the three files."""
    arguments = write("kunder.csv", [*portfolio(GOOD), BROKEN])
    runs = [meterfeed("sync", *arguments, "--json", **settings_for(api)).document]
    for name, value in (("correction-1.csv", "-961,5"), ("correction-2.csv", "61,5")):
        mended = mend(runs[-1]["artifacts"]["correction"], tmp_path / name, latitude(value))
        runs.append(meterfeed("sync", mended, *arguments[1:], "--json").document)
    return runs


def test_explain_shows_the_broken_row_and_its_correction(meterfeed, api, write, tmp_path):
    arguments = write("kunder.csv", [*portfolio(GOOD), BROKEN])
    first = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    mended = mend(first["artifacts"]["correction"], tmp_path / "correction.csv", latitude("61,5"))
    assert 0 == meterfeed("sync", mended, *arguments[1:], "--json").code
    broken, corrected = meterfeed("explain", f"kunder.csv:{LINE}", "--json").document["story"]["attempts"]
    assert ("kunder.csv", LINE, "quarantined", [RANGE], []) == (
        broken["file"],
        broken["line"],
        broken["runs"][0]["ended"],
        broken["runs"][0]["rules"],
        broken["runs"][0]["records"],
    )
    assert ("correction.csv", 2, "mapped") == (
        corrected["file"],
        corrected["line"],
        corrected["runs"][0]["ended"],
    )
    assert {("user", "created"), ("location", "created")} == {
        (record["kind"], record["outcome"]) for record in corrected["runs"][0]["records"]
    }


def test_two_corrections_make_a_chain_of_three(meterfeed, corrected_twice):
    assert [10, 10, 0] == [run["exit_code"] for run in corrected_twice]
    for asked in (f"kunder.csv:{LINE}", "correction-1.csv:2", "correction-2.csv:2"):
        attempts = meterfeed("explain", asked, "--json").document["story"]["attempts"]
        assert ["kunder.csv", "correction-1.csv", "correction-2.csv"] == [one["file"] for one in attempts]
        assert ["quarantined", "quarantined", "mapped"] == [one["runs"][-1]["ended"] for one in attempts]


def test_the_record_of_a_corrected_row_knows_its_attempts(meterfeed, api, corrected_twice):
    place = location_of(api, 900)["locationId"]
    story = meterfeed("explain", place, "--json").document["story"]
    assert [LINE, 2, 2] == [attempt["line"] for attempt in story["attempts"]]
    assert ["correction-2.csv"] == [event["file"] for event in story["events"]]


def test_the_story_of_a_row_leads_to_the_id_of_its_record(meterfeed, api, corrected_twice):
    [*_, last] = meterfeed("explain", f"kunder.csv:{LINE}", "--json").document["story"]["attempts"]
    ids = {record["kind"]: record["id"] for record in last["runs"][0]["records"]}
    place = location_of(api, 900)
    assert {"user": place["userId"], "location": place["locationId"]} == ids


def test_the_story_reads_as_text(meterfeed, corrected_twice):
    told = meterfeed("explain", f"kunder.csv:{LINE}")
    assert 0 == told.code
    expected = [
        "First attempt: kunder.csv",
        "quarantined",
        RANGE,
        "Second attempt",
        "Third attempt",
        "created",
    ]
    places = [told.out.index(part) for part in expected]
    assert sorted(places) == places
    assert "3 attempts; the last one: created." in told.out
    assert "961" not in told.out  # the story names rules, never the value


def test_a_row_is_found_by_path_and_by_content(meterfeed, corrected_twice, tmp_path):
    sha256 = corrected_twice[0]["sources"][0]["sha256"]
    for name in (str(tmp_path / "kunder.csv"), sha256[:12]):
        assert 3 == len(meterfeed("explain", f"{name}:{LINE}", "--json").document["story"]["attempts"])


def test_the_chain_outlives_the_values(meterfeed, corrected_twice):
    assert 0 == meterfeed("purge", "--days", "0", "--json").code
    assert 3 == len(meterfeed("explain", f"kunder.csv:{LINE}", "--json").document["story"]["attempts"])


def test_a_good_row_of_a_quality_run_was_only_judged(meterfeed, write):
    meterfeed("quality", *write("kunder.csv", portfolio(GOOD)), "--json")
    told = meterfeed("explain", "kunder.csv:5")
    assert "  quality-" in told.out  # indented below its attempt
    assert "good; this run sent nothing" in told.out


def test_an_unreadable_row_is_explained(meterfeed, api, write):
    meterfeed("sync", *write("kunder.csv", [*portfolio(GOOD), "K1;A1\n"]), "--json", **settings_for(api))
    [attempt] = meterfeed("explain", f"kunder.csv:{LINE}", "--json").document["story"]["attempts"]
    assert ("unreadable", ["too_few_fields"]) == (
        attempt["runs"][0]["ended"],
        attempt["runs"][0]["rules"],
    )


def test_a_row_of_a_quality_run_is_explained_without_ledger_or_settings(meterfeed, write):
    done = meterfeed("quality", *write("kunder.csv", [*portfolio(GOOD), BROKEN]), "--json")
    assert 10 == done.code
    [attempt] = meterfeed("explain", f"kunder.csv:{LINE}", "--json").document["story"]["attempts"]
    assert ["quality", [RANGE]] == [attempt["runs"][0]["command"], attempt["runs"][0]["rules"]]


def test_a_good_further_row_has_nothing_recorded(meterfeed, api, write):
    twin = portfolio(1)
    meterfeed("sync", *write("kunder.csv", [*twin, *twin]), "--json", **settings_for(api))
    [attempt] = meterfeed("explain", "kunder.csv:3", "--json").document["story"]["attempts"]
    assert "nothing_recorded" == attempt["runs"][0]["ended"]


@pytest.mark.parametrize("unknown", ["no-such-id", "other.csv:4", "kunder.csv:x", ":3", "\x1b[31m:7"])
def test_what_is_not_known_is_said_so(meterfeed, unknown):
    told = meterfeed("explain", unknown, "--json")
    assert 2 == told.code
    assert told.document["error"]["message"]
    assert "\x1b" not in told.out


def test_a_corrected_meter_joins_the_good_ones_of_its_location(meterfeed, api, write, tmp_path):
    """The location was sent with its good rows; the correction holds the other one alone."""
    second = f"K0003;A0003;Husholdning;{gsrn(900)};961,51234;9,61234;Aktiv\n"
    arguments = write("kunder.csv", [*portfolio(GOOD), second])
    first = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    assert [gsrn(3)] == location_of(api, 3)["meterPointIds"]
    mended = mend(first["artifacts"]["correction"], tmp_path / "correction.csv", latitude("61,51234"))
    done = meterfeed("sync", mended, *arguments[1:], "--json").document
    assert (0, 1) == (done["exit_code"], done["records"]["location"]["updated"])
    assert sorted([gsrn(3), gsrn(900)]) == sorted(location_of(api, 3)["meterPointIds"])
    assert 61.51234 == location_of(api, 3)["coordinates"]["latitude"]


def test_a_row_in_quarantine_takes_no_meter_point_away(meterfeed, api, write):
    """Its location is what it was, however often the row is broken; what its good row says anew joins it."""
    second = f"K0003;A0003;Husholdning;{gsrn(900)};61,51234;9,61234;Aktiv\n"
    broken, moved = second.replace("61,5", "961,5"), [*portfolio(3), row(3, 3, 3, "61,60000")]
    both = sorted([gsrn(3), gsrn(900)])
    rest = portfolio(GOOD)[4:]
    meterfeed("sync", *write("a.csv", [*portfolio(GOOD), second]), "--json", **settings_for(api))
    before = mutating(api)
    done = meterfeed("sync", *write("b.csv", [*portfolio(GOOD), broken]), "--json").document
    assert (10, GOOD, before) == (
        done["exit_code"],
        done["records"]["location"]["unchanged"],
        mutating(api),
    )
    assert [note for note in done["notes"] if note.startswith("1 meter point would leave a location and may")]
    done = meterfeed("sync", *write("c.csv", [*moved, *rest, broken]), "--json").document
    assert (1, both) == (
        done["records"]["location"]["updated"],
        sorted(location_of(api, 3)["meterPointIds"]),
    )
    assert 61.6 == location_of(api, 3)["coordinates"]["latitude"]
    done = meterfeed("sync", *write("d.csv", [*moved, *rest]), "--json").document
    assert (0, [gsrn(3)]) == (done["exit_code"], location_of(api, 3)["meterPointIds"])


def test_everything_a_run_writes_is_ours_alone_whatever_the_umask(meterfeed, api, write, tmp_path):
    before = os.umask(0)
    try:
        arguments = write("kunder.csv", [*portfolio(GOOD), BROKEN])
        first = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
        mended = mend(first["artifacts"]["correction"], tmp_path / "correction.csv", latitude("61,5"))
        meterfeed("sync", mended, *arguments[1:], "--json")
        meterfeed("report", "--json")
    finally:
        os.umask(before)
    written = list((tmp_path / "runs").rglob("*"))
    assert {"quarantine.parquet", "corrects.parquet", "index.html"} <= {path.name for path in written}
    assert [] == [path.name for path in written if path.lstat().st_mode & 0o077 and not path.is_symlink()]
