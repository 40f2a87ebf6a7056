"""The flow picture: counts that part into classes, drawn so that equal thickness is equal count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
from markupsafe import Markup

from connectors.reports.drawing import (
    WIDTH,
    Align,
    Caption,
    Text,
    boxes,
    drawn,
    filled_by,
    layer_of,
    text_layers,
    x_at,
    y_at,
)
from connectors.reports.words import number

_SLOT = 34
"""Least height of a node, in points: its two lines of text."""
_GAP = 8
_LEAST = 2.5
"""A count above zero is never thinner than this, so that three rows of ten million are seen."""
_STEPS = 12
_BAR = 12
_LEFT, _RIGHT = 78, 238
"""Where the bars of the two columns stand."""


@dataclass(frozen=True, slots=True)
class Node:
    """An end of the flow: label, count and the colour of its class."""

    label: str
    count: int
    colour: str


Links = Mapping[tuple[int, int], int]
"""(index on the left, index on the right) to count; sums over either end are the nodes' counts."""


def flow(left: Sequence[Node], right: Sequence[Node], links: Links, caption: Caption) -> Markup:
    """How the counts on the left part into the classes on the right, as inert SVG."""
    scale, height = _scale(left, right, links)
    starts, left_bars, left_texts = _column(left, _heights(len(left), links, 0, scale), 0, height)
    ends, right_bars, right_texts = _column(right, _heights(len(right), links, 1, scale), 1, height)
    ribbons = []
    for (source, target), count in sorted(links.items()):
        thickness = max(count * scale, _LEAST)
        name = f"{source:02}-{target:02}"
        ribbons += _ribbon(name, starts[source], ends[target], thickness, right[target].colour)
        starts[source] += thickness
        ends[target] += thickness
    bands = (
        layer_of(ribbons)
        .mark_area(fillOpacity=0.38, strokeWidth=0, interpolate="monotone")
        .encode(x_at("x"), y_at("y"), alt.Y2("y2:Q"), alt.Detail("id:N"), filled_by("colour"))
    )
    layers = [bands, boxes([*left_bars, *right_bars]), *text_layers([*left_texts, *right_texts])]
    return drawn(layers, width=WIDTH, height=height, caption=caption)


def _heights(count: int, links: Links, side: int, scale: float) -> list[float]:
    """Height of each node of one column: its ribbons on top of each other."""
    heights = [0.0] * count
    for ends, rows in links.items():
        heights[ends[side]] += max(rows * scale, _LEAST)
    return heights


def _scale(left: Sequence[Node], right: Sequence[Node], links: Links) -> tuple[float, int]:
    """Points per count so that both columns fit, and the height of the picture."""
    height = max(230, (_SLOT + _GAP) * max(len(left), len(right)) + 90)
    low, high = 0.0, height / max(sum(links.values()), 1)
    for _ in range(50):
        middle = (low + high) / 2
        taken = max(
            sum(max(tall, _SLOT) + _GAP for tall in _heights(len(nodes), links, side, middle))
            for side, nodes in ((0, left), (1, right))
        )
        low, high = (middle, high) if taken <= height else (low, middle)
    return low, height


def _column(
    nodes: Sequence[Node], heights: Sequence[float], side: int, height: int
) -> tuple[list[float], list[dict[str, Any]], list[Text]]:
    """Where the ribbons of each node begin, its bar and its two lines of text."""
    bar, word = (_LEFT, _LEFT - 6) if side == 0 else (_RIGHT, _RIGHT + _BAR + 6)
    align: Align = "right" if side == 0 else "left"
    top = (height - sum(max(tall, _SLOT) + _GAP for tall in heights) + _GAP) / 2
    starts, bars, texts = [], [], []
    for node, tall in zip(nodes, heights, strict=True):
        slot = max(tall, _SLOT)
        y = top + (slot - tall) / 2
        starts.append(y)
        bars.append({"x": bar, "x2": bar + _BAR, "y": y, "y2": y + tall, "colour": node.colour})
        texts.append(Text(word, top + slot / 2 - 2, number(node.count), align, strong=True))
        texts.append(Text(word, top + slot / 2 + 12, node.label, align))
        top += slot + _GAP
    return starts, bars, texts


def _ribbon(name: str, start: float, end: float, thickness: float, colour: str) -> list[dict[str, Any]]:
    """A band from one bar to the other that leaves and arrives level."""
    points = []
    for step in range(_STEPS + 1):
        t = step / _STEPS
        y = start + (end - start) * t * t * (3 - 2 * t)
        x = _LEFT + _BAR + (_RIGHT - _LEFT - _BAR) * t
        points.append({"id": name, "x": x, "y": y, "y2": y + thickness, "colour": colour})
    return points
