import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
DECLARED = {
    requirement.name: requirement.specifier
    for requirement in map(
        Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    )
}


@pytest.mark.parametrize(("name", "breaks"), [("fastapi", "0.151.0"), ("sqlalchemy", "2.1.0")])
def test_versions_prefect_breaks_on_are_kept_out(name, breaks):
    assert Version(breaks) not in DECLARED[name]


@pytest.mark.parametrize("name", ["prefect", "fastapi", "sqlalchemy"])
def test_what_is_installed_is_what_is_declared(name):
    assert Version(version(name)) in DECLARED[name]


def test_prefect_is_pinned_to_one_version():
    assert str(DECLARED["prefect"]).startswith("==")
