"""Bars, columns and sparklines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
from markupsafe import Markup

from connectors.reports.drawing import (
    WIDTH,
    Caption,
    Text,
    boxes,
    drawn,
    filled_by,
    layer_of,
    stroked_by,
    text_layers,
    x_at,
    y_at,
)

_LABEL_LENGTH = 52
_BAR_STEP = 38
_BAR_END = 100
"""Room for the figure behind the longest bar."""
_ALL_LABELLED = 8
"""Up to this many columns each has its label."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its label and the figure as people read it."""

    label: str
    value: float
    text: str
    colour: str


def bars(rows: Sequence[Bar], caption: Caption) -> Markup:
    """Horizontal bars, each under its label, with its figure at the end."""
    longest = max((row.value for row in rows), default=0) or 1
    shapes, words = [], []
    for index, row in enumerate(rows):
        top = index * _BAR_STEP
        end = max(row.value / longest * (WIDTH - _BAR_END), 1.5 if row.value else 0)
        shapes.append({"x": 0, "x2": end, "y": top + 19, "y2": top + 31, "colour": row.colour})
        words.append(Text(0, top + 13, _short(row.label)))
        words.append(Text(end + 7, top + 29.5, row.text, strong=True))
    height = _BAR_STEP * max(len(rows), 1)
    return drawn([boxes(shapes), *text_layers(words)], width=WIDTH, height=height, caption=caption)


def columns(values: Sequence[Bar], caption: Caption) -> Markup:
    """Upright bars side by side; of many only the first and the last are labelled."""
    height, base = 130, 100
    top = max((value.value for value in values), default=0) or 1
    step = WIDTH / max(len(values), 6)
    shapes, words = [], []
    for index, value in enumerate(values):
        left, high = index * step, base - max(value.value / top * (base - 22), 1.5)
        shapes.append({"x": left + 3, "x2": left + step - 3, "y": high, "y2": base, "colour": value.colour})
        if len(values) <= _ALL_LABELLED or index in {0, len(values) - 1}:
            words.append(Text(left + step / 2, high - 5, value.text, "center", strong=True))
            words.append(Text(left + step / 2, base + 16, _short(value.label), "center"))
    return drawn([boxes(shapes), *text_layers(words)], width=WIDTH, height=height, caption=caption)


def sparkline(values: Sequence[float | None], odd: Sequence[bool], caption: Caption) -> Markup:
    """The course of one figure over runs: the last is a dot, unusual ones wear a ring. Gaps stay gaps."""
    width, height, margin = 150, 34, 6
    known = [value for value in values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    step = (width - 2 * margin) / max(len(values) - 1, 1)
    points = []
    part = 0
    for index, value in enumerate(values):
        if value is None:
            part += 1
            continue
        y = (
            height / 2
            if high == low
            else height - margin - (value - low) / (high - low) * (height - 2 * margin)
        )
        points.append({"x": margin + index * step, "y": y, "part": part, "odd": odd[index]})
    line = layer_of([{**point, "colour": "var(--accent)"} for point in points])
    rings = layer_of([{**point, "colour": "var(--stop)"} for point in points if point["odd"]])
    last = layer_of([{**point, "colour": "var(--accent)"} for point in points[-1:]])
    layers = [
        line.mark_line(strokeWidth=1.6, strokeCap="round").encode(
            x_at("x"), y_at("y"), alt.Detail("part:N"), stroked_by("colour")
        ),
        last.mark_circle(size=24, opacity=1).encode(x_at("x"), y_at("y"), filled_by("colour")),
        rings.mark_point(size=64, strokeWidth=1.8, filled=False, opacity=1).encode(
            x_at("x"), y_at("y"), stroked_by("colour")
        ),
    ]
    return drawn(layers, width=width, height=height, caption=caption)


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else label[: _LABEL_LENGTH - 1].rstrip() + "…"
