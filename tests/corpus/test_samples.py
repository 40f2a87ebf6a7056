"""The generator and the loader, which know nothing of each other, agree on every row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.profiles import PROFILES, load_profiles, profile_for
from sandbox.dialects import DIALECTS
from sandbox.portfolio import DAMAGE, Kind, write_portfolio
from tests.corpus.reading import Seen, all_classes, compare_rows, look

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
TRUTHS = sorted(path for path in SAMPLES.glob("*.truth.json") if path.name != "messy.truth.json")
OURS = load_profiles(sorted(path.stem for path in PROFILES.glob("*.toml")))
NAMES = {
    ("norwegian", "customers"): "kunder-1.csv",
    ("norwegian", "resources"): "enheter-1.csv",
    ("norwegian", "both"): "portefolje-1.csv",
    ("danish", "customers"): "kunder-dk-1.csv",
    ("swedish", "customers"): "anlaggningar-1.csv",
    ("finnish", "customers"): "kayttopaikat-1.csv",
    ("british", "customers"): "premises-1.csv",
    ("german", "customers"): "marktlokationen-1.csv",
}


def _seen(path: Path, environment: str) -> Seen:
    profile = profile_for(path.name, OURS)
    seen = look(path, profile, environment)
    compare_rows(seen, profile)
    return seen


def _export_of(truth: Path) -> Path:
    name = truth.name.removesuffix(".truth.json")
    return SAMPLES / (name if name.endswith(".parquet") else f"{name}.csv")


@pytest.mark.parametrize("environment", ["sandbox", "production"])
@pytest.mark.parametrize("truth", TRUTHS, ids=lambda path: path.name.removesuffix(".truth.json"))
def test_sample_holds_what_its_truth_says(truth: Path, environment: str) -> None:
    told = json.loads(truth.read_text(encoding="utf-8"))
    seen = _seen(_export_of(truth), environment)
    assert seen.read == told["rows"]
    assert all_classes(seen) == told["classes"][environment]
    assert seen.records == told["records"][environment]


@pytest.mark.parametrize("mixed", [False, True], ids=["by-customer", "mixed"])
@pytest.mark.parametrize(("dialect", "kind"), NAMES)
def test_every_damage_of_every_dialect_is_found_where_it_was_done(
    dialect: str, kind: Kind, mixed: bool, tmp_path: Path
) -> None:
    path = tmp_path / NAMES[dialect, kind]
    truth = write_portfolio(
        path,
        rows=3_000,
        dialect=DIALECTS[dialect],
        kind=kind,
        damage=dict.fromkeys(DAMAGE, 0.002),
        mixed=mixed,
    )
    seen = _seen(path, "production")
    assert all_classes(seen) == truth.classes["production"]
    assert seen.records == truth.records["production"]
    by_class = {
        "unreadable": set(seen.unreadable),
        "quarantined": set(seen.quarantined),
        "duplicate": seen.duplicates,
    }
    for name, found in truth.damage.items():
        assert set(found.line_numbers()) <= by_class[DAMAGE[name]], name
