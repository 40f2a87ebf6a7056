import re
from xml.etree import ElementTree as ET

import pytest
import shapely

from connectors.reports.charts import Bar, bars, columns, sparkline
from connectors.reports.drawing import Caption
from connectors.reports.flow import Node, flow
from connectors.reports.maps import coarse_map
from schemas.quality import MapArea, MapFigure
from tests.golden.runs import HOSTILE

CAPTION = Caption("chart", "A title", "What it says.")
NORWAY = shapely.box(5, 58, 12, 64)


def shapes(svg: str) -> list[ET.Element]:
    return [element for element in ET.fromstring(svg).iter() if element.tag.endswith("}path")]


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter() if element.tag.endswith("}text")]


def bar_heights(svg: str) -> dict[str, float]:
    """Heights of the upright bars of the flow picture, by colour."""
    found = {}
    for shape in shapes(svg):
        if shape.get("fill-opacity") is None:
            ys = [float(y) for y in re.findall(r"-?[0-9.]+", shape.get("d", ""))[1::2]]
            found[shape.get("fill")] = max(ys) - min(ys)
    return found


def row_flow(mapped: int, quarantined: int) -> str:
    right = [
        Node("mapped", mapped, "var(--mapped)"),
        Node("in quarantine", quarantined, "var(--quarantined)"),
    ]
    links = {(0, 0): mapped, (0, 1): quarantined}
    return flow([Node("rows read", mapped + quarantined, "var(--rows)")], right, links, CAPTION)


def test_the_flow_is_drawn_to_scale_on_both_sides():
    heights = bar_heights(row_flow(7_500, 2_500))
    assert heights["var(--mapped)"] == pytest.approx(3 * heights["var(--quarantined)"], abs=0.4)
    assert heights["var(--rows)"] == pytest.approx(
        heights["var(--mapped)"] + heights["var(--quarantined)"], abs=0.4
    )


def test_three_rows_of_ten_million_are_seen():
    assert bar_heights(row_flow(10_000_000, 3))["var(--quarantined)"] >= 2


def test_the_flow_writes_every_count():
    assert {"7\u202f500", "2\u202f500", "10\u202f000", "in quarantine"} <= set(words(row_flow(7_500, 2_500)))


@pytest.mark.parametrize("count", [1, 8, 24])
def test_every_column_is_drawn_and_the_ends_are_labelled(count):
    svg = columns([Bar(f"day {day}", day, f"{day}", "var(--accent)") for day in range(count)], CAPTION)
    assert len(shapes(svg)) == count
    assert {"day 0", f"day {count - 1}"} <= set(words(svg))


def test_a_sparkline_keeps_its_gaps_and_rings_the_odd_ones():
    svg = sparkline([1, 2, None, 5, 3], [False, False, False, True, False], CAPTION)
    colours = [shape.get("stroke") for shape in shapes(svg)]
    assert colours.count("var(--accent)") == 2, "one line before the gap, one after it"
    assert colours.count("var(--stop)") == 1


@pytest.mark.parametrize("values", [[], [None, None], [4.0], [4.0, 4.0]])
def test_a_sparkline_of_little_or_nothing_is_a_picture(values):
    assert sparkline(values, [False] * len(values), CAPTION).startswith("<svg")


@pytest.mark.parametrize("text", [*HOSTILE, "", "\ud800", "\ufffe\uffff", "&amp;<b>"])
def test_no_text_ends_the_drawing_or_leaves_its_place(text):
    svg = bars([Bar(text, 3, text, "var(--accent)")], Caption("chart", text, text))
    tags = {element.tag.rpartition("}")[2] for element in ET.fromstring(svg).iter()}
    assert tags <= {"svg", "title", "desc", "g", "path", "text"}


def test_pictures_are_named_for_screen_readers_and_hold_no_style():
    root = ET.fromstring(row_flow(10, 2))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "chart-title"
    assert [element.text for element in list(root)[:2]] == ["A title", "What it says."]
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not attributes & {"style", "class", "onload", "href", "aria-label"}


def test_the_same_figures_give_the_same_drawing():
    assert row_flow(10, 2) == row_flow(10, 2)


# ------------------------------------------------------------------ map
def drawn(*areas: MapArea):
    return coarse_map(MapFigure(areas=areas, hidden=0, without=0), [NORWAY], CAPTION)


def test_the_map_shows_good_areas_by_class_and_quarantine_as_rings():
    picture = drawn(MapArea(59.5, 10, 9, 0), MapArea(60, 10, 5_000, 12), MapArea(60.5, 10, 0, 7))
    assert picture is not None
    fills = [shape.get("fill") for shape in shapes(picture.svg)]
    assert fills.count("var(--map-1)") == fills.count("var(--map-4)") == 1
    assert [shape.get("stroke") for shape in shapes(picture.svg)].count("var(--quarantined)") == 2
    assert (picture.outside, picture.undrawn) == (0, 0)


def test_swapped_coordinates_far_away_do_not_stretch_the_map():
    near = drawn(MapArea(60, 10, 50, 0))
    both = drawn(MapArea(60, 10, 50, 0), MapArea(10, 60, 0, 11))
    assert near is not None
    assert both is not None
    assert both.outside == 11
    assert both.svg == near.svg


def test_no_area_no_map():
    assert drawn() is None


@pytest.mark.parametrize("place", [(-89.5, -180), (89.5, 179), (0, 0), (-0.5, 0), (85, 10)])
def test_areas_anywhere_on_earth_can_be_drawn(place):
    picture = drawn(MapArea(*place, 10, 10))
    assert picture is not None
    assert "NaN" not in picture.svg
