"""Drawing with Altair and vl-convert, stripped to inert shapes that follow the page.

Colours are CSS variables of the page (`var(--good)`), so one drawing serves light, dark and print. Nothing
depends on fonts of the machine: sizes are fixed, no text is measured for the layout. What a chart says is
also in its description and in a table beside it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args
from xml.etree import ElementTree as ET

import altair as alt
import vl_convert
from altair.utils.schemapi import disable_debug_mode
from markupsafe import Markup

from schemas.masking import printable

disable_debug_mode()
# Altair would check every piece of a drawing against its schema as it is made: a third of what a page costs. Ours are
# always made the same way, and pages are held byte for byte.

Align = Literal["left", "center", "right"]
WIDTH = 360
"""Width of a picture in points; the page scales it down on small screens."""
TEXT_SIZE = 12
_SVG = "http://www.w3.org/2000/svg"
_DRAWN = {"svg", "g", "path", "line", "text", "rect", "circle"}
_KEPT = {
    "d", "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray",
    "stroke-linecap", "stroke-linejoin", "opacity", "transform", "text-anchor", "font-size", "font-weight",
    "x", "y", "x2", "y2", "width", "height", "viewBox", "r", "cx", "cy",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Caption:
    """What a picture says, for those who do not see it: an id unique in its page, a title, a description."""

    name: str
    title: str
    desc: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A word in a picture; figures are strong, labels quiet. `align` is left, right or center."""

    x: float
    y: float
    text: str
    align: Align = "left"
    strong: bool = False


def layer_of(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """A chart without marks over some rows."""
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def x_at(field: str) -> alt.X:
    """A column as points from the left."""
    return alt.X(f"{field}:Q", axis=None)


def y_at(field: str) -> alt.Y:
    """A column as points from the top."""
    return alt.Y(f"{field}:Q", axis=None)


def filled_by(field: str) -> alt.Fill:
    """A column that holds the colour itself."""
    return alt.Fill(f"{field}:N", scale=None, legend=None)


def stroked_by(field: str) -> alt.Stroke:
    """A column that holds the colour of the line itself."""
    return alt.Stroke(f"{field}:N", scale=None, legend=None)


def boxes(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    """Rectangles from (x, y) to (x2, y2), filled with their colour."""
    chart: alt.Chart = (
        layer_of(rows)
        .mark_rect(cornerRadius=1.5)
        .encode(x_at("x"), y_at("y"), alt.X2("x2:Q"), alt.Y2("y2:Q"), filled_by("colour"))
    )
    return chart


def text_layers(words: Sequence[Text]) -> list[alt.Chart]:
    """One layer per alignment and weight."""
    layers = []
    for align in get_args(Align):
        for strong in (True, False):
            chosen = [word for word in words if word.align == align and word.strong == strong]
            if chosen:
                layers.append(_text_layer(chosen, align, strong=strong))
    return layers


def _text_layer(words: Sequence[Text], align: Align, *, strong: bool) -> alt.Chart:
    chart: alt.Chart = (
        layer_of([{"x": word.x, "y": word.y, "text": drawable(word.text)} for word in words])
        .mark_text(
            align=align,
            baseline="alphabetic",
            fontSize=TEXT_SIZE,
            fontWeight=600 if strong else 400,
            fill="var(--ink)" if strong else "var(--quiet)",
        )
        .encode(x_at("x"), y_at("y"), alt.Text("text:N"))
    )
    return chart


def drawable(text: str) -> str:
    """The text without what no XML may hold: a single escape character ends the drawing library's process."""
    return printable(text) or " "


def drawn(layers: Sequence[alt.Chart], *, width: int, height: int, caption: Caption) -> Markup:
    """The layers on top of each other at a fixed size, x and y in points, as inert SVG."""
    spec = _specification(layers, width, height)
    for layer in spec["layer"]:
        for axis, domain in (("x", [0, width]), ("y", [height, 0])):
            if axis in layer.get("encoding", {}):
                layer["encoding"][axis]["scale"] = {"domain": domain, "nice": False, "zero": False}
    return inert_svg(vl_convert.vegalite_to_svg(spec), caption)


def drawn_map(
    layers: Sequence[alt.Chart], *, width: int, height: int, projection: Mapping[str, Any], caption: Caption
) -> Markup:
    """The layers on top of each other in one projection, as inert SVG."""
    spec = _specification(layers, width, height)
    spec["projection"] = dict(projection)
    return inert_svg(vl_convert.vegalite_to_svg(spec), caption)


def _specification(layers: Sequence[alt.Chart], width: int, height: int) -> dict[str, Any]:
    """One drawing of all layers. Altair's own `layer` would copy the data of each of them several times."""
    specs: list[dict[str, Any]] = [layer.to_dict(validate=False) for layer in layers]
    return {
        "$schema": specs[0]["$schema"],
        "layer": [
            {name: spec[name] for name in ("data", "mark", "encoding") if name in spec} for spec in specs
        ],
        "datasets": {name: rows for spec in specs for name, rows in spec["datasets"].items()},
        "width": width,
        "height": height,
        "autosize": "none",
        "padding": 0,
        "background": "transparent",
        "config": {"view": {"stroke": None}},
    }


def inert_svg(svg: str, caption: Caption) -> Markup:
    """Only shapes and text of an allow-list, named for screen readers; no style, script, link or handler."""
    root = _stripped(ET.fromstring(svg))  # noqa: S314  our own drawing, made one line above
    name, title = html.escape(caption.name), html.escape(drawable(caption.title))
    described = f' aria-describedby="{name}-desc"' if caption.desc else ""
    desc = f'<desc id="{name}-desc">{html.escape(drawable(caption.desc))}</desc>' if caption.desc else ""
    body = "".join(_markup(child) for child in root)
    inert = (
        f'<svg xmlns="{_SVG}" viewBox="{root.get("viewBox", "0 0 1 1")}" role="img" '
        f'aria-labelledby="{name}-title"{described}>'
        f'<title id="{name}-title">{title}</title>{desc}{body}</svg>'
    )
    return Markup(inert)  # noqa: S704  every text and attribute in it was escaped above


def _stripped(element: ET.Element) -> ET.Element:
    """The element without anything that is not drawn."""
    kept = ET.Element(_tag(element), {k: _short(v) for k, v in element.attrib.items() if k in _KEPT})
    kept.text = element.text
    if kept.get("transform") == "translate(0,0)":
        del kept.attrib["transform"]
    for child in element:
        if _tag(child) not in _DRAWN or child.get("class") in {"background", "foreground"}:
            continue
        stripped = _stripped(child)
        if _tag(child) == "g" and not len(stripped):
            continue
        kept.append(stripped)
    return kept


def _tag(element: ET.Element) -> str:
    return str(element.tag).rsplit("}", 1)[-1]


def _short(value: str) -> str:
    """Coordinates to a tenth of a point: as sharp as any screen, half the bytes."""
    return re.sub(r"-?[0-9]+\.[0-9]+(?:e-?[0-9]+)?", lambda found: f"{round(float(found[0]), 1):g}", value)


def _markup(element: ET.Element) -> str:
    attributes = "".join(f' {name}="{html.escape(value)}"' for name, value in element.attrib.items())
    inner = html.escape(element.text or "") + "".join(_markup(child) for child in element)
    tag = _tag(element)
    if tag == "g" and not attributes:
        return inner
    return f"<{tag}{attributes}>{inner}</{tag}>" if inner else f"<{tag}{attributes}/>"
