"""What can be held of the container, compose and unit files without an engine to build them."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer
import yaml
from prefect.settings import get_current_settings

from flows.cli import app
from flows.settings import SPEC

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ROOT = DEPLOY.parent
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CONTAINERFILE = (DEPLOY / "Containerfile").read_text()
DROP_INS = sorted((DEPLOY / "systemd").glob("*.conf"))
FILES = [DEPLOY / "Containerfile", DEPLOY / "compose.yaml", *UNITS, *DROP_INS]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_setting_named_exists(file):
    ours = {setting.name for setting in SPEC} | {one.file_name for one in SPEC if one.from_file}
    text = file.read_text().replace("METERFEED_…_FILE", "")
    assert set(re.findall(r"METERFEED_[A-Z_]*[A-Z]", text)) <= ours
    theirs = set(re.findall(r"(PREFECT_[A-Z_]*[A-Z])=", text)) | set(
        re.findall(r"(PREFECT_[A-Z_]*[A-Z]):", text)
    )
    theirs -= {
        "PREFECT_HOME",
        "PREFECT_API_URL",
        "PREFECT_API_DATABASE_CONNECTION_URL",
    }  # names of long standing
    known = set(get_current_settings().to_environment_variables(exclude_unset=False))
    assert theirs <= known, theirs - known


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_exists(unit):
    [line] = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    program, *words = shlex.split(line)
    if "@" in unit.name:
        assert (program, words) == ("/opt/meterfeed/bin/meterfeed", ["$COMMAND"])
        assert 'Environment="COMMAND=%I"' in unit.read_text()
    elif program.endswith("/meterfeed"):
        command = typer.main.get_command(app).commands[words[0]]
        command.make_context(words[0], words[1:]).close()
    else:
        assert words[:2] == ["server", "start"]


def value_of(unit: Path, key: str) -> list[str]:
    """The words of all lines of a unit that set a key."""
    return [
        word for line in re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE) for word in line.split()
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_every_folder_a_unit_writes_in_is_made_for_it(unit):
    named = re.findall(r"=/var/lib/(meterfeed/[a-z-]+)$", unit.read_text(), re.MULTILINE)
    assert sorted(named) == sorted(value_of(unit, "StateDirectory"))


@pytest.mark.parametrize("unit", [*UNITS, *DROP_INS], ids=lambda unit: unit.name)
def test_a_unit_reads_every_secret_it_is_handed(unit):
    handed = [word.split(":")[0] for word in value_of(unit, "LoadCredential")]
    assert sorted(handed) == sorted(re.findall(r"_FILE=%d/([a-z-]+)$", unit.read_text(), re.MULTILINE))


def test_a_command_by_hand_has_the_settings_of_the_schedules():
    serve, by_hand = (DEPLOY / "systemd" / name for name in ("meterfeed-serve.service", "meterfeed@.service"))
    for key in ("User", "EnvironmentFile", "LoadCredential", "WorkingDirectory", "ProtectSystem"):
        assert value_of(serve, key) == value_of(by_hand, key)
    ours = [word for word in value_of(serve, "Environment") if word.startswith("METERFEED_")]
    assert ours == [word for word in value_of(by_hand, "Environment") if word.startswith("METERFEED_")]


@pytest.mark.parametrize("file", [*UNITS, *DROP_INS], ids=lambda file: file.name)
def test_the_runbook_says_what_each_file_of_systemd_is_for(file):
    pages = [(ROOT / "docs" / page).read_text() for page in ("runbook.md", "scaling.md")]
    assert any(file.name.removesuffix(".service") in page for page in pages)


def test_the_container_copies_what_is_there_and_what_the_wheel_needs():
    lines = re.findall(r"^COPY (?!--)(.*) \S+$", CONTAINERFILE, re.MULTILINE)
    copied = [word for line in lines for word in line.split()]
    for name in ("schemas", "pipeline", "connectors", "flows", "sandbox", "data/profiles", "data/reference"):
        assert name in copied
    missing = [name for name in copied if not (ROOT / name).exists() and name != "constraints.txt"]
    assert missing == []
    assert "USER meterfeed" in CONTAINERFILE


def test_every_secret_is_given_to_the_service_that_reads_it_and_none_is_written_down():
    for name, service in COMPOSE["services"].items():
        wanted = set(re.findall(r"/run/secrets/([a-z-]+)", str(service)))
        assert wanted == set(service["secrets"]), name
        assert wanted <= set(COMPOSE["secrets"])
    for setting in SPEC:
        if setting.from_file:
            assert setting.name not in COMPOSE["services"]["meterfeed"]["environment"]


def test_nothing_is_reachable_from_outside():
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_services_wait_for_what_they_need():
    for service in COMPOSE["services"].values():
        for needed in service.get("depends_on", {}):
            assert "healthcheck" in COMPOSE["services"][needed]


def test_a_service_of_the_image_starts_a_command_that_exists():
    for name, service in COMPOSE["services"].items():
        if service["image"] == "meterfeed" and "entrypoint" not in service:
            default = yaml.safe_load(re.findall(r"^CMD (.*)$", CONTAINERFILE, re.MULTILINE)[0])
            words = service.get("command", default)
            command = typer.main.get_command(app).commands[words[0]]
            command.make_context(name, list(words[1:])).close()


def test_what_the_container_copies_is_enough_to_build_a_wheel_that_runs(tmp_path):
    builders = pytest.importorskip("hatchling.builders.wheel", reason="no build back end here")
    source, unpacked = tmp_path / "src", tmp_path / "site"
    for line in re.findall(r"^COPY (?!--)(.*) \S+$", CONTAINERFILE, re.MULTILINE):
        for name in line.split():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            elif (ROOT / name).exists():
                shutil.copy(ROOT / name, target)
    [wheel] = builders.WheelBuilder(str(source)).build(directory=str(tmp_path), versions=["standard"])
    zipfile.ZipFile(wheel).extractall(unpacked)
    run = "import flows.cli, schemas; print(schemas.__file__); flows.cli.main(['profile', '--help'])"
    done = subprocess.run(
        [sys.executable, "-c", run],
        cwd=tmp_path,
        env={"PYTHONPATH": str(unpacked), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, str(unpacked) in done.stdout) == (0, True), done.stderr
    assert (unpacked / "data" / "automations.json").is_file()
