"""The reference data of the package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import shapely

from connectors.reference import REFERENCE, load_reference, outlines_of
from schemas.errors import StorageError
from schemas.meter_points import SCHEMES
from schemas.profile import PARTS_OF


def test_it_is_found_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load_reference.cache_clear()

    assert load_reference().countries
    assert REFERENCE.is_absolute()


def test_every_country_a_profile_gets_by_default_has_land_and_an_outline() -> None:
    reference = load_reference()
    wanted = {name[:2] for name in SCHEMES} | {part for parts in PARTS_OF.values() for part in parts}

    assert wanted <= reference.countries
    assert wanted <= set(reference.outlines)


def test_the_two_test_areas_hold_the_points_the_vendor_gives() -> None:
    areas = load_reference().test_areas

    assert [area.number for area in areas] == [1, 2]
    for area in areas:
        assert area.south < area.latitude < area.north
        assert area.west < area.longitude < area.east
        assert shapely.contains_xy(shapely.from_wkt(area.outline), area.longitude, area.latitude)


def test_outlines_are_given_for_known_countries_only() -> None:
    assert [outline.is_valid for outline in outlines_of(["NO", "XX", "SJ"], load_reference())] == [True, True]


def test_it_is_small_enough_for_a_repository() -> None:
    assert sum(os.stat(REFERENCE / name).st_size for name in os.listdir(REFERENCE)) < 2_000_000


def test_missing_reference_data_is_said_and_not_guessed_away(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="reference data"):
        load_reference(tmp_path)


def test_damaged_reference_data_is_said(tmp_path: Path) -> None:
    for name in ("off_land.parquet", "outlines.parquet", "test_areas.json"):
        (tmp_path / name).write_bytes(b"PAR1 cut")
    with pytest.raises(StorageError, match="reference data"):
        load_reference(tmp_path)
