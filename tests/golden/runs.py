"""Example runs: a mixed one, a clean one, a stopped one, and one in which every word is hostile."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

from schemas.details import (
    GuardCheck,
    Handovers,
    ReasonCount,
    RecordExample,
    RuleNote,
    RunDetails,
    StageTime,
)
from schemas.outcomes import Exit, Kind, Outcome
from schemas.quality import (
    ColumnProfile,
    CustomerFigures,
    MapArea,
    MapFigure,
    QualityFigures,
    RuleFigure,
    RulePair,
    Share,
    UnreadableFigure,
    ViolationExample,
)
from schemas.summary import (
    Customers,
    ErrorEntry,
    RecordCounts,
    RequestCounts,
    RowCounts,
    SourceEntry,
    Summary,
)

FILE = "kunder-2026-03-01.csv"
NOTES = (
    RuleNote(
        "meter_point_id_has_18_digits",
        "quarantine",
        "A Norwegian meter point id is 18 digits and nothing else.",
        "export the column as text; spreadsheets cut long numbers",
    ),
    RuleNote(
        "meter_point_id_has_valid_check_digit",
        "quarantine",
        "The last digit is the GS1 check digit of the 17 before it.",
        "look the id up at the grid company; a digit is never guessed",
    ),
    RuleNote(
        "coordinates_come_in_pairs",
        "quarantine",
        "A latitude has a longitude beside it.",
        "export both columns, or leave both empty",
    ),
    RuleNote(
        "coordinates_lie_in_the_country",
        "quarantine",
        "The place is on land of the declared country, or within 30 km of it.",
        "look for swapped axes or another coordinate system in `[coordinates]`",
    ),
    RuleNote(
        "coordinates_have_four_decimals",
        "warn",
        "Fewer than four decimals place a home up to a kilometre off.",
        "export full precision",
    ),
)
_CITIES = (
    (59.9, 10.7, 2600), (60.4, 5.3, 1400), (63.4, 10.4, 900), (58.9, 5.7, 800), (58.1, 8.0, 500),
    (59.2, 10.2, 700), (60.8, 11.1, 420), (61.1, 10.5, 240), (62.5, 6.2, 380), (69.6, 18.9, 300),
    (67.3, 14.4, 210), (68.4, 17.4, 120), (69.9, 23.3, 70), (70.6, 29.7, 35), (78.2, 15.6, 40), (79.5, 15.9, 9),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Example:
    """Everything `write_run_reports` takes."""

    summary: Summary
    details: RunDetails
    quality: QualityFigures | None = None
    previous: dict[str, Any] | None = None
    history: tuple[dict[str, Any], ...] = ()


def mixed() -> Example:
    """The commonest night: most arrives, some rows are bad, a few records are refused, blocked or in doubt."""
    summary = Summary(
        run_id="20260301t040502-7f3a",
        command="sync",
        environment="production",
        exit_code=Exit.IN_DOUBT,
        verdict="Done; some records are in doubt. Run `meterfeed resume`.",
        started_at="2026-03-01T04:05:02+00:00",
        ended_at="2026-03-01T04:07:31+00:00",
        sources=(
            SourceEntry(
                FILE, "3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8551", 1_412_960, 12_000
            ),
            SourceEntry(
                "hytter-2026-03-01.csv",
                "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                51_204,
                431,
            ),
        ),
        rows=RowCounts(read=12_431, unreadable=4, filtered=612, quarantined=161, duplicate=58, mapped=11_596),
        violations={
            "meter_point_id_has_18_digits": 83,
            "meter_point_id_has_valid_check_digit": 41,
            "coordinates_come_in_pairs": 32,
            "coordinates_lie_in_the_country": 19,
        },
        warnings={"coordinates_have_four_decimals": 274},
        normalised={"blanks": 312, "excel-text": 44},
        records={
            Kind.USER: RecordCounts(9_120, 214, 0, 8_902, 1, 0, 3, 0),
            Kind.LOCATION: RecordCounts(10_377, 251, 412, 9_686, 6, 2, 20, 0),
            Kind.RESOURCE: RecordCounts(1_204, 96, 0, 1_099, 0, 9, 0, 0),
            Kind.VEHICLE: RecordCounts(0, 0, 0, 0, 0, 0, 0, 0),
        },
        customers=Customers(complete=9_086, incomplete=34),
        requests=RequestCounts(sent=143, retried=4, split=9),
    )
    return Example(summary, _mixed_details(), _mixed_quality(), *_earlier(summary))


def _mixed_details() -> RunDetails:
    message = "Location …4417 rejected: meterPointIds[0] is already registered"
    return RunDetails(
        profiles=("nordkraft",),
        stages=(
            StageTime("read and judge", 1.84),
            StageTime("fold into records", 0.92),
            StageTime("plan and guards", 0.41),
            StageTime("send users", 31.2),
            StageTime("send locations", 94.7),
            StageTime("send resources", 18.3),
            StageTime("reports", 0.74),
        ),
        reasons=(
            ReasonCount(Outcome.REJECTED, Kind.USER, "bad_request", 1),
            ReasonCount(Outcome.REJECTED, Kind.LOCATION, "exists", 4),
            ReasonCount(Outcome.REJECTED, Kind.LOCATION, "bad_request", 2),
            ReasonCount(Outcome.BLOCKED, Kind.LOCATION, "parent_rejected", 2),
            ReasonCount(Outcome.BLOCKED, Kind.RESOURCE, "parent_in_doubt", 9),
            ReasonCount(Outcome.IN_DOUBT, Kind.USER, "connection_lost", 3),
            ReasonCount(Outcome.IN_DOUBT, Kind.LOCATION, "timed_out", 20),
        ),
        examples=(
            RecordExample(Outcome.IN_DOUBT, Kind.USER, "…a31f", "connection_lost", "", FILE, 8_114),
            RecordExample(Outcome.IN_DOUBT, Kind.LOCATION, "…02be", "timed_out", "", FILE, 8_115),
            RecordExample(Outcome.REJECTED, Kind.LOCATION, "…4417", "exists", message, FILE, 3_207),
            RecordExample(
                Outcome.REJECTED, Kind.USER, "…90c2", "bad_request", "The request is invalid.", FILE, 5_530
            ),
            RecordExample(Outcome.BLOCKED, Kind.LOCATION, "…771d", "parent_rejected", "", FILE, 5_530),
        ),
        handovers=Handovers(moved=17, reported=0),
        plan_digest="5d41402abc4b2a76b9719d911017c592ae1e2f7c",
        guards=(
            GuardCheck("quarantined", 165 / 12_431, 0.02),
            GuardCheck("check_digit", 41 / 11_700, 0.01),
            GuardCheck("shrank", 0.004, 0.10),
            GuardCheck("creates", 1.3, 3.0, unit="times"),
            GuardCheck("rejected", 7 / 979, 0.01),
            GuardCheck("deletes", None, 0.01),
        ),
        rules=NOTES,
    )


def _mixed_quality() -> QualityFigures:
    def lines(rule: str, *found: tuple[int, str, str, str]) -> tuple[ViolationExample, ...]:
        return tuple(ViolationExample(FILE, *example) for example in found)

    return QualityFigures(
        rows=11_815,
        quarantined=161,
        rules=(
            RuleFigure(
                "meter_point_id_has_18_digits", "quarantine", 83, 71, ((FILE, 80), ("hytter-2026-03-01.csv", 3)),
                lines("", (214, "…2001", "meter_point", "9×17"), (377, "…0000", "meter_point", "9 , 9×5 E + 9×2"),
                      (901, "…55KV", "meter_point", "9×16 A×2")),
            ),
            RuleFigure(
                "meter_point_id_has_valid_check_digit", "quarantine", 41, 41, ((FILE, 41),),
                lines("", (1_022, "…4471", "meter_point", "9×18"), (1_190, "…8012", "meter_point", "9×18")),
            ),
            RuleFigure(
                "coordinates_come_in_pairs", "quarantine", 32, 20, ((FILE, 32),),
                lines("", (318, "…9934", "latitude, longitude", "9×2 , 9×5 | empty")),
            ),
            RuleFigure(
                "coordinates_lie_in_the_country", "quarantine", 19, 15, ((FILE, 19),),
                lines("", (2_406, "…1180", "latitude, longitude", "9×2 , 9×5 | 9×2 , 9×5")),
            ),
            RuleFigure(
                "coordinates_have_four_decimals", "warn", 274, 262, ((FILE, 274),),
                lines("", (29, "…6110", "latitude, longitude", "9×2 , 9×2 | 9×2 , 9×2")),
            ),
        ),
        unreadable=(
            UnreadableFigure("example_of_a_reason", 3, (ViolationExample(FILE, 4_410), ViolationExample(FILE, 9_001))),
            UnreadableFigure("another_reason", 1, (ViolationExample(FILE, 6_203),)),
        ),
        columns=(
            ColumnProfile("user", 11_815, 11_815, 9_260, True, 8, 9, (Share("8", 11_415), Share("9", 400))),
            ColumnProfile("location", 11_815, 11_815, 10_512, True, 8, 8, (Share("8", 11_815),)),
            ColumnProfile(
                "meter_point", 11_815, 11_771, 11_702, True, 9, 18,
                (Share("18", 11_688), Share("17", 60), Share("other", 23)),
                (Share("7070575", 11_742), Share("7359991", 21), Share("other", 8)), (), 11_688, 11_647, 14,
            ),
            ColumnProfile(
                "location_type", 11_815, 11_815, 3, True, 5, 11, (Share("11", 9_902),), (),
                (Share("Residential", 9_902), Share("Commercial", 1_711), Share("Other", 202)),
            ),
            ColumnProfile(
                "latitude", 11_815, 11_604, 10_240, True, 5, 9,
                (Share("8", 10_950), Share("5", 274), Share("other", 380)),
            ),
            ColumnProfile(
                "longitude", 11_815, 11_590, 10_236, True, 5, 9,
                (Share("8", 10_940), Share("5", 274), Share("other", 376)),
            ),
        ),
        together=(
            RulePair("coordinates_come_in_pairs", "meter_point_id_has_18_digits", 12),
            RulePair("coordinates_have_four_decimals", "coordinates_lie_in_the_country", 4),
        ),
        rules_per_row=(Share("one rule", 409), Share("two rules", 20), Share("three or more", 0)),
        map=_norway(),
        customers=CustomerFigures(9_120, 9_004, 87, (Share("1", 9), Share("2", 78))),
    )  # fmt: skip


def _norway() -> MapFigure:
    """A made-up portfolio around the larger towns."""
    chance = random.Random(7)
    rows: dict[tuple[float, float], list[int]] = {}
    for latitude, longitude, weight in _CITIES:
        for _ in range(max(weight // 60, 2)):
            spread = 0.2 if latitude > 75 else 0.9
            lat, lon = latitude + chance.gauss(0, spread / 2), longitude + chance.gauss(0, spread)
            area = rows.setdefault((lat // 0.5 * 0.5, lon // 1.0), [0, 0])
            area[0] += max(weight // 24 + chance.randint(-5, 30), 5)
    for area in sorted(rows)[::9]:
        rows[area][1] = chance.randint(5, 14)
    rows[10.5, 59.0] = [0, 11]
    areas = tuple(MapArea(lat, lon, good, bad) for (lat, lon), (good, bad) in sorted(rows.items()))
    placed = sum(area.good + area.quarantined for area in areas)
    return MapFigure(areas=areas, hidden=61, without=11_815 - 61 - placed)


def _earlier(summary: Summary) -> tuple[dict[str, Any], tuple[dict[str, Any], ...]]:
    """Seven nights before, the newest of them as the previous run."""
    runs = []
    for night in range(22, 29):
        rows = RowCounts(
            12_300 + night, 1, 600, 100 + night * 2, 50, 12_300 + night - 1 - 600 - 100 - night * 2 - 50
        )
        earlier = replace(
            summary,
            run_id=f"202602{night}t040500-{night:04x}",
            exit_code=Exit.DONE_WITH_REJECTS,
            verdict="Done; some rows were quarantined or records rejected.",
            started_at=f"2026-02-{night}T04:05:00+00:00",
            ended_at=f"2026-02-{night}T04:06:{night}+00:00",
            rows=rows,
            sources=(SourceEntry(f"kunder-2026-02-{night}.csv", "0" * 64, 1_400_000 + night, rows.read),),
            violations={"meter_point_id_has_18_digits": 70 + night, "coordinates_come_in_pairs": 30 + night},
            warnings={"coordinates_have_four_decimals": 270},
            records={
                Kind.USER: RecordCounts(9_040 + night, 60, 0, 8_980 + night, 0, 0, 0, 0),
                Kind.LOCATION: RecordCounts(10_300 + night, 80, 120, 10_098 + night, 2, 0, 0, 0),
                Kind.RESOURCE: RecordCounts(1_100, 0, 0, 1_100, 0, 0, 0, 0),
                Kind.VEHICLE: RecordCounts(0, 0, 0, 0, 0, 0, 0, 0),
            },
            requests=RequestCounts(sent=31, retried=0, split=2),
        )
        runs.append({**earlier.to_json(), "details": RunDetails(profiles=("nordkraft",)).to_json()})
    return runs[-1], tuple(runs)


def clean() -> Example:
    """A second load of the same export: nothing to do."""
    summary = Summary(
        run_id="20260302t040500-00aa",
        command="sync",
        environment="sandbox",
        exit_code=Exit.OK,
        verdict="Everything is accounted for.",
        started_at="2026-03-02T04:05:00+00:00",
        ended_at="2026-03-02T04:05:03+00:00",
        sources=(SourceEntry("kunder-300.csv", "ab" * 32, 40_000, 300),),
        rows=RowCounts(read=300, mapped=300),
        records={
            **{kind: RecordCounts() for kind in Kind},
            Kind.USER: RecordCounts(planned=240, unchanged=240),
            Kind.LOCATION: RecordCounts(planned=268, unchanged=268),
        },
        customers=Customers(complete=240, incomplete=0),
    )
    details = RunDetails(
        profiles=("nordkraft",),
        stages=(StageTime("read and judge", 0.11), StageTime("fold into records", 0.03)),
        handovers=Handovers(),
        plan_digest="00" * 20,
        guards=(GuardCheck("quarantined", 0.0, 0.02),),
    )
    quality = QualityFigures(
        rows=300,
        quarantined=0,
        rules=(),
        unreadable=(),
        columns=(ColumnProfile("user", 300, 300, 240, True, 8, 8, (Share("8", 300),)),),
        together=(),
        rules_per_row=(Share("one rule", 0), Share("two rules", 0), Share("three or more", 0)),
        map=MapFigure(areas=(), hidden=4, without=296),
        customers=CustomerFigures(240, 240, 0),
    )
    return Example(summary, details, quality)


def stopped() -> Example:
    """Settings were missing: nothing was read, nothing is known."""
    summary = Summary(
        run_id=None,
        command="sync",
        environment="sandbox",
        exit_code=Exit.SETTINGS,
        verdict="Settings or credentials are wrong; nothing was sent.",
        started_at="2026-03-02T04:05:00+00:00",
        ended_at="2026-03-02T04:05:00+00:00",
        error=ErrorEntry(
            "SettingsError",
            "METERFEED_CLIENT_ID and METERFEED_ID_KEY are not set.",
            "Set them, or name files with METERFEED_CLIENT_ID_FILE and METERFEED_ID_KEY_FILE.",
        ),
    )
    return Example(summary, RunDetails())


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><svg/onload=alert(1)>",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "＝1+1",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\u202egnp.exe",
    "line\r\nbreak\u2028here",
    "javascript:alert(1)",
    "{{ 7*7 }}{% raw %}",
    "../../etc/passwd\x00",
    "𝕏" * 500,
    "-->]]></style></title>",
)
"""Texts that are harmless only when they are escaped, cleaned and cut."""


def hostile() -> Example:
    """The mixed run with a hostile text in every field a foreign text can reach."""
    example = mixed()
    texts = [f"{text} {index}" for index, text in enumerate(HOSTILE)]
    assert example.quality is not None
    rules = {f"rule {text}": 10 for text in texts}
    summary = replace(
        example.summary,
        run_id=texts[0],
        environment=texts[1],
        command=texts[2],
        verdict=texts[0],
        started_at=texts[6],
        sources=tuple(
            SourceEntry(text, text, 1, 12_431 if index == 0 else 0) for index, text in enumerate(texts)
        ),
        violations=rules,
        warnings={},
        normalised=dict.fromkeys(texts, 1),
        error=ErrorEntry(texts[0], texts[1], f"`{texts[2]}`"),
    )
    examples = tuple(
        RecordExample(Outcome.REJECTED, Kind.LOCATION, text, text, text, text, 7) for text in texts
    )
    details = RunDetails(
        profiles=tuple(texts),
        stages=tuple(StageTime(text, 1.0) for text in texts),
        reasons=(ReasonCount(Outcome.REJECTED, Kind.USER, texts[0], 1),),
        examples=examples,
        handovers=Handovers(1, 1),
        plan_digest=texts[3],
        guards=tuple(GuardCheck(text, 1.0, 2.0, tripped=True, unit=text) for text in texts),
        rules=tuple(RuleNote(f"rule {text}", "quarantine", text, text) for text in texts),
    )
    figures = tuple(
        RuleFigure(f"rule {text}", "quarantine", 10, 1, ((text, 5), (texts[0], 5)),
                   (ViolationExample(text, 3, text, text, text),))
        for text in texts
    )  # fmt: skip
    quality = replace(
        example.quality,
        rules=figures,
        unreadable=(UnreadableFigure(texts[0], 4, (ViolationExample(texts[1], 1),)),),
        columns=tuple(
            ColumnProfile(
                f"key:{text}", 9, 9, 9, True, 1, 2, (Share(text, 9),), (Share(text, 9),), (Share(text, 9),)
            )
            for text in texts
        ),
        together=(RulePair(texts[0], texts[1], 3),),
        customers=CustomerFigures(9_120, 9_004, 87, tuple(Share(text, 1) for text in texts)),
    )
    return Example(summary, details, quality, example.previous, example.history)
