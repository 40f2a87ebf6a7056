import itertools
import json
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.conflicts import METER_POINT_OWNER, USER_SPELLING
from pipeline.quality import AREAS_KEPT, EXAMPLES_PER_RULE, QualityGauge, merged
from schemas.quality import QualityFigures, Share
from schemas.rules import CHECK_DIGIT, FORM, PREFIX

PAIRS = "coordinates_come_in_pairs"


def canonical(count: int = 12, *, first: int = 2, source: int = 0, **columns) -> pl.DataFrame:
    """Good rows, one customer and meter point each, all at one place."""
    numbers = range(first, first + count)
    given = {
        "row": [(source << 40) | line for line in numbers],
        "user": [f"K{line:07}" for line in numbers],
        "location": [f"A{line:07}" for line in numbers],
        "meter_point": [f"70705759{line:010}" for line in numbers],
        "location_type": ["Residential"] * count,
        "location_type_raw": ["Husholdning"] * count,
        "latitude": [60.25] * count,
        "longitude": [10.75] * count,
        "latitude_raw": ["60,250000"] * count,
        "longitude_raw": ["10,750000"] * count,
        **columns,
    }
    return pl.DataFrame(given, schema_overrides={"row": pl.UInt64, "meter_point": pl.String})


def broken(*found: tuple[int, str] | tuple[int, str, str]) -> pl.DataFrame:
    rows = [
        (row, rule, *severity) if severity else (row, rule, "quarantine") for row, rule, *severity in found
    ]
    return pl.DataFrame(
        rows, schema={"row": pl.UInt64, "rule": pl.String, "severity": pl.String}, orient="row"
    )


def measured(
    rows: pl.DataFrame, violations: pl.DataFrame | None = None, files=("kunder.csv",)
) -> QualityFigures:
    gauge = QualityGauge(files)
    gauge.add_rows(rows, broken() if violations is None else violations)
    return gauge.figures()


def column(figures: QualityFigures, name: str):
    return next(profile for profile in figures.columns if profile.column == name)


# ------------------------------------------------------------------ rules
def test_rules_are_counted_once_per_row_with_the_rows_that_break_nothing_else():
    figures = measured(canonical(), broken((2, FORM), (2, FORM), (3, FORM), (3, PAIRS), (5, PAIRS, "warn")))
    assert [(rule.rule, rule.severity, rule.rows, rule.alone) for rule in figures.rules] == [
        (FORM, "quarantine", 2, 1),
        (PAIRS, "quarantine", 1, 0),
        (PAIRS, "warn", 1, 1),
    ]
    assert figures.quarantined == 2
    assert [(pair.first, pair.second, pair.rows) for pair in figures.together] == [(PAIRS, FORM, 1)]
    assert figures.rules_per_row == (Share("one rule", 2), Share("two rules", 1), Share("three or more", 0))


def test_examples_name_file_line_and_shape_but_never_the_value():
    rows = canonical(meter_point=["Hansen 12345678901", *["707057599000000017"] * 11])
    figures = measured(rows, broken((2, FORM)))
    example = figures.rules[0].examples[0]
    assert (example.file, example.line) == ("kunder.csv", 2)
    assert (example.masked_id, example.column, example.shape) == ("…8901", "meter_point", "A a×5 space 9×11")
    assert "Hansen" not in json.dumps(figures.to_json())


def test_the_first_rows_of_the_run_are_the_examples_whatever_the_order_of_batches():
    rows = canonical(40)
    halves = [
        (rows[20:], broken(*((row, FORM) for row in range(30, 42)))),
        (rows[:20], broken((7, FORM), (9, FORM))),
    ]
    gauge = QualityGauge(["kunder.csv"])
    for batch, violations in halves:
        gauge.add_rows(batch, violations)
    lines = [example.line for example in gauge.figures().rules[0].examples]
    assert lines == [7, 9, 30, 31, 32]
    assert len(lines) == EXAMPLES_PER_RULE


def test_violations_between_batches_count_but_have_no_shape():
    gauge = QualityGauge(["kunder.csv"])
    gauge.add_rows(canonical(), broken())
    gauge.add_violations(broken((4, "meter_point_has_one_owner"), (5, "meter_point_has_one_owner")))
    figures = gauge.figures()
    assert figures.quarantined == figures.rules[0].rows == 2
    assert figures.rules[0].examples[0].line == 4
    assert figures.rules[0].examples[0].shape == ""


def test_unreadable_lines_are_counted_by_reason_with_their_lines():
    gauge = QualityGauge(["a.csv", "b.csv"])
    unreadable = pl.DataFrame(
        {"source_line": [9, 4, 7], "lines": [2, 1, 1], "reason": ["stray_quote", "stray_quote", "nul_byte"]},
        schema_overrides={"source_line": pl.UInt32, "lines": pl.UInt32},
    )
    gauge.add_unreadable(1, unreadable)
    first, second = gauge.figures().unreadable
    assert (first.reason, first.rows, [(e.file, e.line) for e in first.examples]) == (
        "stray_quote", 3, [("b.csv", 4), ("b.csv", 9)],
    )  # fmt: skip
    assert (second.reason, second.rows) == ("nul_byte", 1)


# ------------------------------------------------------------------ columns
def test_columns_are_profiled_by_fill_different_values_and_lengths():
    rows = canonical(4, meter_point=["707057599000000017", "707057599000000017", None, "7070575990000000"])
    profile = column(measured(rows), "meter_point")
    assert (profile.rows, profile.filled, profile.distinct, profile.distinct_exact) == (4, 3, 2, True)
    assert (profile.shortest, profile.longest) == (16, 18)
    assert profile.lengths == (Share("18", 2), Share("16", 1))
    assert profile.ends_in_zeros == 1


def test_check_digits_are_rated_among_ids_of_the_right_form():
    figures = measured(canonical(10), broken((2, FORM), (3, CHECK_DIGIT), (4, CHECK_DIGIT, "warn")))
    profile = column(figures, "meter_point")
    assert (profile.check_digit_checked, profile.check_digit_passed) == (9, 7)


@pytest.mark.parametrize(
    "rule", [PREFIX, "meter_point_id_is_not_a_gas_point", "meter_point_id_is_not_a_sub_meter"]
)
def test_ids_of_the_right_form_have_their_check_digit_rated_whatever_else_is_wrong(rule):
    both = [(row, wrong) for row in range(2, 12) for wrong in (rule, CHECK_DIGIT)]
    profile = column(measured(canonical(20), broken(*both)), "meter_point")
    assert (20, 10) == (profile.check_digit_checked, profile.check_digit_passed)


def test_a_malformed_id_that_breaks_two_rules_is_left_out_once():
    both = [(2, FORM), (2, "meter_point_id_is_not_in_exponent_form"), (3, CHECK_DIGIT)]
    profile = column(measured(canonical(10), broken(*both)), "meter_point")
    assert (9, 8) == (profile.check_digit_checked, profile.check_digit_passed)


def test_ids_without_check_digit_are_no_passes_beside_those_that_have_one():
    gauge = QualityGauge(["no.csv", "fr.csv"], check_digits_in=[0])
    gauge.add_rows(canonical(10), broken((2, FORM), (3, CHECK_DIGIT)))
    gauge.add_rows(canonical(30, source=1), broken(((1 << 40) + 2, FORM)))
    profile = column(gauge.figures(), "meter_point")
    assert (40, 9, 8) == (profile.filled, profile.check_digit_checked, profile.check_digit_passed)


def test_a_scheme_without_check_digit_has_no_pass_rate():
    gauge = QualityGauge(["a.csv"], check_digits_in=())
    gauge.add_rows(canonical(), broken())
    assert column(gauge.figures(), "meter_point").check_digit_checked is None


def test_prefixes_that_few_rows_share_are_folded_away():
    rows = canonical(
        8, meter_point=[*["707057599000000017"] * 6, "Olsen, Kari Testsen", "735999109151401011"]
    )
    assert column(measured(rows), "meter_point").prefixes == (Share("7070575", 6), Share("other", 2))


def test_values_are_only_listed_for_columns_out_of_a_closed_list():
    figures = measured(canonical(3, location_type=["Residential", "Commercial", None]))
    assert column(figures, "location_type").values == (Share("Commercial", 1), Share("Residential", 1))
    assert column(figures, "user").values == ()


def test_columns_that_make_up_a_location_are_profiled_too():
    rows = canonical(3).with_columns(pl.Series("key:Adresse", ["Påfunnveien 1", "Påfunnveien 1", None]))
    profile = column(measured(rows), "key:Adresse")
    assert (profile.filled, profile.distinct) == (2, 1)


# ------------------------------------------------------------------ map
def test_areas_with_fewer_than_five_rows_are_never_shown():
    rows = canonical(
        14, latitude=[60.25] * 5 + [60.26] * 4 + [69.7] * 4 + [None], longitude=[10.7] * 13 + [None]
    )
    figures = measured(rows, broken((2, PAIRS), (3, PAIRS), (4, PAIRS), (5, PAIRS)))
    assert [(area.latitude, area.longitude, area.good, area.quarantined) for area in figures.map.areas] == [
        (60.0, 10.0, 5, 0)
    ]
    assert (figures.map.hidden, figures.map.without) == (8, 1)


def test_every_row_is_on_the_map_hidden_or_without_place():
    chance = random.Random(3)
    count = 4_000
    latitudes = [chance.uniform(-95, 95) for _ in range(count)]
    latitudes[:3] = [float("nan"), float("inf"), None]
    rows = canonical(count, latitude=latitudes, longitude=[chance.uniform(-190, 190) for _ in range(count)])
    figure = measured(rows, broken(*((row, PAIRS) for row in range(2, 400, 3)))).map
    assert (
        sum(area.good + area.quarantined for area in figure.areas) + figure.hidden + figure.without == count
    )
    assert figure.without >= 3


def test_the_map_keeps_the_fullest_areas_only():
    places = [(south, west) for south in range(-85, 85, 2) for west in range(-170, 170, 5)]
    assert len(places) > AREAS_KEPT
    rows = canonical(
        5 * len(places),
        latitude=[float(south) for south, _ in places for _ in range(5)],
        longitude=[float(west) for _, west in places for _ in range(5)],
    )
    figure = measured(rows).map
    assert len(figure.areas) == AREAS_KEPT
    assert figure.hidden == 5 * (len(places) - AREAS_KEPT)


def test_an_export_without_coordinates_has_an_empty_map():
    rows = canonical(3).drop("latitude", "longitude", "latitude_raw", "longitude_raw")
    figure = measured(rows).map
    assert (figure.areas, figure.without) == ((), 3)


def test_rows_whose_coordinates_are_dropped_are_nowhere_good_or_not():
    gauge = QualityGauge(["kunder.csv"])
    dropped = pl.Series([2, 3, 4], dtype=pl.UInt64)
    gauge.add_rows(canonical(12), broken((2, PAIRS, "warn"), (3, FORM)), dropped=dropped)
    gauge.add_violations(broken((4, METER_POINT_OWNER)), canonical(12, latitude=[None] * 12))
    figure = gauge.figures().map
    assert [(9, 0)] == [(area.good, area.quarantined) for area in figure.areas]
    assert (0, 3, 2) == (figure.hidden, figure.without, figure.quarantined)


# ------------------------------------------------------------------ customers
AREAS = {
    "1": "POLYGON((15.9 79.5, 16 79.5, 16 79.6, 15.9 79.6, 15.9 79.5))",
    "2": "POLYGON((15.6 78.2, 15.7 78.2, 15.7 78.3, 15.6 78.3, 15.6 78.2))",
}


def test_customers_with_a_meter_point_are_compensable_and_those_in_an_area_are_counted():
    rows = pl.DataFrame(
        {
            "user": ["a", "a", "b", "c", "d"],
            "meter_point": [None, "707057599000000017", None, "707057599000000024", None],
            "latitude": [79.55, 60.0, 78.25, None, 79.55],
            "longitude": [15.95, 10.0, 15.65, None, 15.95],
        }
    )
    gauge = QualityGauge(["a.csv"], test_areas=AREAS)
    gauge.add_customers(rows)
    gauge.add_customers(rows.with_columns(pl.col("user") + "2"))
    customers = gauge.figures().customers
    assert customers is not None
    assert (customers.total, customers.compensable, customers.in_test_area) == (8, 4, 6)
    assert customers.by_test_area == (Share("1", 4), Share("2", 2))


def test_customers_never_counted_are_not_known():
    assert measured(canonical()).customers is None


def test_exports_without_coordinates_have_nobody_in_a_test_area():
    gauge = QualityGauge(["a.csv"], test_areas=AREAS)
    gauge.add_customers(pl.DataFrame({"user_key": [1, 2, 2]}))
    customers = gauge.figures().customers
    assert customers is not None
    assert (customers.total, customers.compensable, customers.in_test_area) == (2, 0, 0)


# ------------------------------------------------------------------ laws
@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=4), order=st.randoms(use_true_random=False))
def test_batches_and_their_order_do_not_matter(cuts, order):
    chance = random.Random(5)
    rows = canonical(
        60,
        meter_point=[chance.choice(["707057599000000017", "70705759900", None]) for _ in range(60)],
        latitude=[chance.choice([58.2, 63.4, None]) for _ in range(60)],
    )
    violations = broken(
        *((row, rule) for row in range(2, 62, 7) for rule in (FORM, PAIRS) if row % 3 or rule is FORM)
    )
    edges = sorted({0, 60, *cuts})
    gauges = []
    for start, end in itertools.pairwise(edges):
        batch = rows[start:end]
        gauge = QualityGauge(["kunder.csv"])
        gauge.add_rows(batch, violations.filter(pl.col("row").is_in(batch["row"].implode())))
        gauges.append(gauge)
    order.shuffle(gauges)
    assert merged(gauges).figures() == measured(rows, violations)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_rules_that_are_broken_later_count_as_if_all_had_been_known_at_once(seed):
    """Single rows, then rows of one customer, then rows of all: each time of rows that broke other rules before."""
    chance = random.Random(seed)
    rows = canonical(30, latitude=[chance.choice([60.2, 60.2, 63.4, 95.0, None]) for _ in range(30)])
    warned, between, late = (
        [(row, rule, "warn") for row in range(2, 32) for rule in names if chance.random() < 0.3]
        for names in ((PAIRS, CHECK_DIGIT, "b"), (METER_POINT_OWNER, "a", "z"), (USER_SPELLING,))
    )
    between = [(row, rule, chance.choice(["warn", "quarantine"])) for row, rule, _ in between]

    def before(*parts):
        named = {row for row, *_ in parts[-1]}
        return broken(*(line for part in parts[:-1] for line in part if line[0] in named))

    gauge = QualityGauge(["kunder.csv"])
    gauge.add_rows(rows, broken(*warned))
    gauge.add_violations(broken(*between), rows, before=before(warned, between))
    gauge.add_violations(broken(*late), rows, before=before(warned, between, late))
    at_once, bit_by_bit = measured(rows, broken(*warned, *between, *late)), gauge.figures()
    for figure in ("rows", "quarantined", "rules", "together", "rules_per_row", "map"):
        assert getattr(at_once, figure) == getattr(bit_by_bit, figure), figure


def test_figures_survive_json():
    gauge = QualityGauge(["a.csv"], test_areas=AREAS)
    gauge.add_rows(canonical(30), broken((2, FORM), (2, PAIRS)))
    gauge.add_customers(canonical(30))
    figures = gauge.figures()
    assert QualityFigures.from_json(json.loads(json.dumps(figures.to_json()))) == figures


def test_several_files_are_told_apart():
    gauge = QualityGauge(["a.csv", "b.csv"])
    gauge.add_rows(canonical(3), broken((2, FORM)))
    gauge.add_rows(canonical(3, source=1), broken(((1 << 40) | 3, FORM), ((1 << 40) | 4, FORM)))
    rule = gauge.figures().rules[0]
    assert rule.by_file == (("b.csv", 2), ("a.csv", 1))
    assert [(example.file, example.line) for example in rule.examples] == [
        ("a.csv", 2),
        ("b.csv", 3),
        ("b.csv", 4),
    ]


def test_merging_nothing_is_an_error():
    with pytest.raises(ValueError, match="unpack"):
        merged([])
