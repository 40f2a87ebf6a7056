from pathlib import Path

import pytest
import yaml

from flows.schedules import ENTRYPOINTS, TAKES, load_schedules
from flows.serving import AUTOMATIONS, automation_of, check_parameters, flow_of
from schemas.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "data" / "schedules.example.toml"
SCHEDULES = {schedule.name: schedule for schedule in load_schedules(EXAMPLE)}
DEPLOYMENTS = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=lambda schedule: schedule.name)
def test_the_parameters_of_every_schedule_fit_its_flow(schedule):
    check_parameters(schedule)


@pytest.mark.parametrize("name", sorted(DEPLOYMENTS))
def test_the_parameters_of_every_deployment_fit_its_flow(name):
    deployment = DEPLOYMENTS[name]
    [flow] = [key for key, path in ENTRYPOINTS.items() if path == deployment["entrypoint"]]
    flow_of(flow).validate_parameters(deployment["parameters"])


@pytest.mark.parametrize("name", sorted({*SCHEDULES, *DEPLOYMENTS}))
def test_workers_and_serve_have_one_timetable(name):
    schedule, deployment = SCHEDULES[name], DEPLOYMENTS[name]
    assert deployment["entrypoint"] == ENTRYPOINTS[schedule.flow]
    assert deployment["parameters"] == dict(schedule.parameters)
    assert deployment["tags"] == list(schedule.tags)
    assert deployment["schedules"] == [
        {"cron": schedule.cron, "timezone": schedule.timezone, "slug": schedule.name}
    ]


@pytest.mark.parametrize("flow", sorted(ENTRYPOINTS))
def test_a_schedule_may_set_what_the_flow_takes(flow):
    assert TAKES[flow] <= set(flow_of(flow).parameters.properties)


@pytest.mark.parametrize("flow", sorted(ENTRYPOINTS))
def test_no_flow_and_no_timetable_of_ours_decides_the_environment_for_the_worker(flow):
    assert flow_of(flow).parameters.properties["environment"]["default"] is None
    assert not any("environment" in one.parameters for one in SCHEDULES.values())


def test_times_are_those_of_oslo_unless_said_otherwise(tmp_path):
    assert written(tmp_path, 'flow = "purge"\ncron = "0 5 * * *"').timezone == "Europe/Oslo"
    abroad = 'flow = "purge"\ncron = "0 5 * * *"\ntimezone = "Europe/Helsinki"'
    assert written(tmp_path, abroad).timezone == "Europe/Helsinki"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("", "`flow` is one of"),
        ('flow = "sync"\ncron = "0 3 * * *"\nprofile = ["a"]', "Was `profiles` meant?"),
        ('flow = "sync"\ncron = "0 3 * * *"\nprofiles = ["a"]', "either `exports` or `inbox`"),
        ('flow = "sync"\ncron = "0 3 * * *"\nprofiles = "a"\ninbox = "b"', "list of texts"),
        ('flow = "purge"\ncron = "0 3 * *"', "five fields"),
        ('flow = "purge"\ncron = "0 3 * * *"\ntimezone = "Oslo"', "IANA"),
        ('flow = "purge"\ncron = "0 3 * * *"\ndays = -1', "`days`"),
        ('flow = "purge"\ncron = "0 3 * * *"\nclient_secret = "x"', "is not known"),
        ('flow = "quality"\ncron = "0 3 * * *"\nprofiles = ["a"]', "`exports` is missing"),
        ('flow = "purge"\ncron = "0 3 * * *"\nenvironment = "test"', "sandbox or production"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, entry, words):
    with pytest.raises(SettingsError) as caught:
        written(tmp_path, entry)
    assert words in caught.value.message
    assert "schedule.one" in caught.value.message


def test_a_cron_that_is_none_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="does not fit"):
        check_parameters(written(tmp_path, 'flow = "purge"\ncron = "0 25 * * *"'))


def written(tmp_path, entry):
    file = tmp_path / "schedules.toml"
    file.write_text(f"[schedule.one]\n{entry}\n")
    [schedule] = load_schedules(file)
    return schedule


def test_automations_as_data_are_ones_prefect_takes():
    import json

    documents = json.loads(AUTOMATIONS.read_text())
    names = [automation_of(document, "6f1c0a9b-e2d4-4778-8a1b-2c3d4e5f6071").name for document in documents]
    assert len(set(names)) == len(documents) == 3
    without = [automation_of(document, None) for document in documents]
    assert [core is None for core in without] == [False, True, True]
