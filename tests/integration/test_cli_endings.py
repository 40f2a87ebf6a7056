"""However a command ends, its exit code and its one account say so; nothing here needs a working API."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest

from flows.cli import app
from flows.settings import SPEC
from tests.integration.conftest import ROOT, settings_for

COMMANDS = [info.callback.__name__ for info in app.registered_commands]
SAMPLE = ROOT / "data/samples/kunder-300.csv"
PROFILE = ROOT / "data/profiles/nordkraft.toml"


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], ""),
        (["no-such-command"], ""),
        (["sync"], "sync"),
        (["sync", SAMPLE], "sync"),
        (["sync", SAMPLE, "--profile", PROFILE, "--no-such-option"], "sync"),
        (["runs", "--limit", "many"], "runs"),
        (["sandbox", "--port", "70000"], "sandbox"),
        (["report", "no-such-run"], "report"),
        (["serve", "--save-account", "Nordkraft"], "serve"),
        (["serve", "--save-account", "a_b"], "serve"),
        (["serve", "--save-account", ""], "serve"),
        (["move", "a-location"], "move"),
        (["move", "a-location", "--to", "abc"], "move"),
        (["move", "a-location", "--to", "95,10"], "move"),
        (["move", "a-location", "--to", "60.1,nan"], "move"),
        (["quality", SAMPLE, "--profile", "no-such-profile"], "quality"),
    ],
)
def test_a_wrong_command_line_is_exit_2_and_one_object(meterfeed, arguments, command):
    document = meterfeed(*arguments, "--json").document
    assert (document["exit_code"], document["command"]) == (2, command)
    assert document["error"]["message"]


def test_a_wrong_command_line_prints_usage_on_stderr(meterfeed):
    ended = meterfeed("sync")
    assert (ended.code, ended.out) == (2, "")
    assert "Usage" in ended.err


@pytest.mark.parametrize("command", ["plan", "sync"])
def test_missing_settings_are_all_named_and_end_with_13(meterfeed, command):
    document = meterfeed(command, SAMPLE, "--profile", PROFILE, "--json").document
    assert (document["exit_code"], document["error"]["kind"]) == (13, "SettingsError")
    for setting in SPEC:
        assert (setting.name in document["error"]["message"]) == (setting.required_from is not None)


def test_missing_settings_are_told_to_a_person_too(meterfeed):
    ended = meterfeed("sync", SAMPLE, "--profile", PROFILE)
    assert ended.code == 13
    assert "(exit 13)" in ended.out
    assert "METERFEED_CLIENT_SECRET" in ended.out
    assert "Traceback" not in ended.err


def test_a_wrong_setting_is_named_without_its_value(meterfeed):
    ended = meterfeed("sync", SAMPLE, "--profile", PROFILE, "--json", id_key="canary-key", rate="canary-rate")
    assert ended.document["exit_code"] == 13
    assert "METERFEED_RATE" in ended.document["error"]["message"]
    assert "canary-" not in ended.out + ended.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(meterfeed, command):
    ended = meterfeed(command, "--help")
    assert ended.code == 0
    assert f"meterfeed {command}" in ended.out


def test_version(meterfeed):
    assert meterfeed("--version").out.startswith("meterfeed ")


def test_no_run_yet_is_no_error(meterfeed):
    assert meterfeed("runs", "--json").document["runs"] == []
    assert "No run yet" in meterfeed("runs").out


def test_a_reader_that_goes_away_changes_nothing():
    command = f"'{sys.executable}' -c 'from flows.cli import main; main()' runs --json"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


COMMAND = [sys.executable, "-c", "from flows.cli import main; main()"]


@pytest.mark.parametrize(
    ("arguments", "redirected", "code"),
    [
        (["runs", "--json"], ">/dev/full", 16),  # telling is all it does
        (["runs"], ">&-", 0),  # who closes it wants none
        (["sync", SAMPLE], ">/dev/full 2>/dev/full", 2),
        (["quality", SAMPLE, "--profile", PROFILE, "--json"], ">/dev/full", 10),
        (["quality", SAMPLE, "--profile", PROFILE], "<&- >&- 2>&-", 10),
    ],
)
def test_output_that_cannot_be_written_does_not_change_how_the_work_ended(
    tmp_path, arguments, redirected, code
):
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", *COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "METERFEED_DATA_DIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        check=False,
    )
    told = f"The output of {arguments[0]} could not be written: No space left on device. (exit {code})"
    assert (code, redirected == ">/dev/full") == (ended.returncode, told in ended.stderr.decode())
    assert b"Traceback" not in ended.stderr


def test_an_ascii_terminal_is_no_reason_to_die(tmp_path):
    script = "from flows.cli import main; main(['quality', 'x.csv', '--profile', 'å→😀'])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "METERFEED_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_serves_until_a_signal_and_prints_its_settings_once(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", "sandbox", "--port", "0", "--json"],
        cwd=ROOT,
        env={**os.environ, "METERFEED_DATA_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        settings = json.loads(process.stdout.readline())["settings"]
        process.send_signal(number)
        rest = process.stdout.read()
    assert (process.returncode, rest) == (0, "")
    assert set(settings) <= {setting.name for setting in SPEC} | {setting.file_name for setting in SPEC}
    assert settings["METERFEED_BASE_URL"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(("second", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_signal_ends_at_once_and_still_prints_one_object(tmp_path, second, code):
    script = f"""
import signal
from flows.conduct import conduct
from flows.settings import Needs

async def work(session):
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.{second})

conduct("sync", work, as_json=True, needs=Needs.NOTHING)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "METERFEED_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    document = json.loads(done.stdout)
    assert (done.returncode, document["exit_code"], document["command"]) == (code, code, "sync")


def test_a_port_that_is_taken_is_said(meterfeed, api):
    document = meterfeed("sandbox", "--port", api.port, "--json").document
    assert document["exit_code"] == 2
    assert str(api.port) in document["error"]["message"]


def test_a_log_is_kept_beside_the_runs(meterfeed, tmp_path):
    meterfeed("runs")
    lines = [json.loads(line) for line in (tmp_path / "runs" / "meterfeed.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["command started", "command ended"]
    assert lines[-1]["exit_code"] == 0


class CtrlC(io.StringIO):
    """A terminal at which somebody breaks off."""

    def readline(self, *_: object) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize("answer", [io.StringIO("n\n"), io.StringIO(), CtrlC()], ids=["no", "end", "Ctrl-C"])
def test_who_does_not_say_yes_removes_nothing(meterfeed, api, monkeypatch, answer):
    monkeypatch.setattr(sys, "stdin", answer)
    ended = meterfeed("erase", "3880a832-f483-8b6a-998d-6109d3a54b06", **settings_for(api))
    assert (130, "Nothing was removed. (exit 130)") == (
        ended.code,
        ended.out.splitlines()[-1].split("]: ")[-1],
    )
    assert [] == api.requests()


def test_who_says_yes_is_obeyed(meterfeed, api, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    ended = meterfeed("erase", "3880a832-f483-8b6a-998d-6109d3a54b06", **settings_for(api))
    assert (11, True) == (ended.code, "The ledger knows no user" in ended.out)
