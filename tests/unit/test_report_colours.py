"""The colours of a picture differ for everyone, and stand out from the page, by day and by night."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import connectors.reports

STYLE = (Path(connectors.reports.__file__).parent / "templates" / "style.css").read_text()
PICTURES = {
    "rows": ("mapped", "duplicate", "filtered", "quarantined", "unreadable"),
    "records": ("created", "updated", "unchanged", "rejected", "blocked", "in-doubt", "not-sent"),
    "rules": ("quarantined", "warned"),
}
MAP = ("map-1", "map-2", "map-3", "map-4", "map-5")
VISIONS = {  # Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB
    "full": np.eye(3),
    "no red": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "no blue": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def colours(mode: str) -> dict[str, str]:
    by_day, by_night, _ = re.split(
        r"@media \(prefers-color-scheme: dark\)|@media \(max-width", STYLE, maxsplit=2
    )
    pattern = re.compile(r"--([a-z0-9-]+): (#[0-9a-f]{6});")
    day = dict(pattern.findall(by_day))
    return day if mode == "light" else {**day, **dict(pattern.findall(by_night))}


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted(float(_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    scaled = _XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.089])
    x, y, z = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_colours_of_one_picture_differ_for_everyone(mode, picture, vision):
    known = colours(mode)
    for one, other in itertools.combinations(PICTURES[picture], 2):
        first, second = (lab(VISIONS[vision] @ linear(known[name])) for name in (one, other))
        assert np.linalg.norm(first - second) > 18, (one, other)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_classes_of_the_map_rise_in_one_direction(mode, vision):
    known = colours(mode)
    lightness = [lab(VISIONS[vision] @ linear(known[name]))[0] for name in MAP]
    steps = np.diff(lightness)
    assert (np.abs(steps) > 8).all()
    assert (steps < 0).all() if mode == "light" else (steps > 0).all()


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_shapes_and_words_stand_out_from_the_page(mode):
    known = colours(mode)
    for name in {*itertools.chain(*PICTURES.values())}:
        assert contrast(known[name], known["panel"]) >= 3, name
    for name in ("ink", "quiet", "accent", "stop", "attention", "doubt"):
        assert min(contrast(known[name], known[ground]) for ground in ("panel", "paper")) >= 4.5, name
