"""Commands against the API on this machine: what they do, what they say, and what they leave alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from connectors.ledger.lock import file_lock
from sandbox.portfolio import write_portfolio
from sandbox.server import Sandbox
from sandbox.tokens import TOKEN_PATH
from tests.integration.conftest import ROOT, settings_for

PROFILE = ROOT / "data/profiles/nordkraft.toml"
HEADER = "Kundenr;Anlegg;Kundetype;MålepunktID;Breddegrad;Lengdegrad;Status;Adressesperre;Adresse\n"


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A small export in which nothing is wrong."""
    path = tmp_path / "kunder-2026-01.csv"
    write_portfolio(path, rows=400, damage={})
    return path


def mutating(api: Sandbox) -> list[dict]:
    return [line for line in api.requests() if line["method"] != "GET" and line["path"] != TOKEN_PATH]


def assert_equations_hold(document: dict) -> None:
    rows = document["rows"]
    assert rows["read"] == sum(count for name, count in rows.items() if name != "read")
    for counts in document["records"].values():
        assert counts["planned"] == sum(count for name, count in counts.items() if name != "planned")


def test_sync_creates_what_the_export_holds_and_a_second_one_sends_nothing(meterfeed, api, export):
    settings = settings_for(api)
    first = meterfeed("sync", export, "--profile", PROFILE, "--json", **settings).document
    assert first["exit_code"] == 0
    assert_equations_hold(first)
    state = api.state()
    assert first["records"]["user"]["created"] == len(state["users"])
    assert first["records"]["location"]["created"] == len(state["locations"])
    assert first["requests"]["sent"] == len(mutating(api))

    before = len(mutating(api)), len(api.effects())
    second = meterfeed("sync", export, "--profile", PROFILE, "--json").document
    assert (second["exit_code"], second["requests"]["sent"]) == (0, 0)
    assert second["records"]["user"]["unchanged"] == first["records"]["user"]["created"]
    assert (len(mutating(api)), len(api.effects())) == before


def test_plan_sends_nothing_and_sync_does_what_it_said(meterfeed, api, export):
    plan = meterfeed("plan", export, "--profile", PROFILE, "--json", **settings_for(api)).document
    assert (plan["exit_code"], mutating(api)) == (0, [])
    done = meterfeed("sync", export, "--profile", PROFILE, "--json").document
    assert done["plan_digest"] == plan["plan_digest"]
    assert done["records"]["user"]["created"] == plan["plan"]["user"]["create"]


def test_quality_needs_no_settings(meterfeed, export):
    document = meterfeed("quality", export, "--profile", "nordkraft", "--json").document
    assert (document["exit_code"], document["rows"]["read"]) == (0, 400)
    assert Path(document["artifacts"]["report"]).is_file()


def test_the_account_is_shown_to_a_person(meterfeed, api, export):
    ended = meterfeed("sync", export, "--profile", PROFILE, **settings_for(api))
    for piece in ("rows read", "= unreadable", "planned", "= created", "report ", "(exit 0)"):
        assert piece in ended.out
    assert "\x1b" not in ended.out + ended.err


def test_quiet_shows_no_progress(meterfeed, api, export):
    assert meterfeed("sync", export, "--profile", PROFILE, "--quiet", **settings_for(api)).err == ""


def test_runs_lists_and_report_builds_again(meterfeed, api, export, tmp_path):
    done = meterfeed("sync", export, "--profile", PROFILE, "--json", **settings_for(api)).document
    (listed,) = meterfeed("runs", "--json").document["runs"]
    assert (listed["run_id"], listed["rows"], listed["exit_code"]) == (done["run_id"], 400, 0)
    assert done["run_id"] in meterfeed("runs").out
    page = Path(done["artifacts"]["report"])
    before = page.read_bytes()
    page.unlink()
    again = meterfeed("report", done["run_id"], "--json").document
    assert (again["exit_code"], again["rows"]) == (0, done["rows"])
    assert page.read_bytes() == before


def test_a_report_that_is_built_again_is_told_with_the_whole_account(meterfeed, api, export):
    with Path(export).open("a", encoding="utf-8") as file:
        file.write("K1;A1\n")
    done = meterfeed("sync", export, "--profile", PROFILE, **settings_for(api))
    again = meterfeed("report")

    def account(text: str) -> list[str]:
        lines = text.splitlines()
        return lines[next(n for n, line in enumerate(lines) if "rows read" in line) : lines.index("")]

    assert account(done.out) == account(again.out)
    assert "too_few_fields" in again.out


def test_a_wrong_secret_is_exit_13_after_one_attempt(meterfeed, api, export, tmp_path):
    settings = {**settings_for(api), "client_secret": "canary-secret"}
    ended = meterfeed("sync", export, "--profile", PROFILE, "--json", **settings)
    assert ended.document["exit_code"] == 13
    assert [line["path"] for line in api.requests()] == [TOKEN_PATH]
    logged = b"".join(path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file())
    assert "canary" not in ended.out + ended.err
    assert b"canary" not in logged


def test_a_server_that_is_down_is_exit_15_and_the_next_run_finishes(meterfeed, export, kept_port):
    with Sandbox(kept_port) as api:
        settings = settings_for(api)
    down = meterfeed("sync", export, "--profile", PROFILE, "--json", **settings).document
    assert (down["exit_code"], down["requests"]["sent"]) == (15, 0)
    with Sandbox(kept_port) as api:
        done = meterfeed("sync", export, "--profile", PROFILE, "--json").document
        assert done["exit_code"] == 0
        assert len(api.state()["users"]) == done["records"]["user"]["planned"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "kunder-2026-02.csv"),
        ("", "empty"),
        (HEADER, "row"),
        (HEADER.replace("MålepunktID", "Maaler"), "MålepunktID"),
        ("not a csv at all\n", "Kundenr"),
        ("\x00\x01\x02\n" * 50, "kunder-2026-02.csv"),
    ],
    ids=["missing", "empty", "header-only", "column-missing", "prose", "binary"],
)
def test_a_file_that_is_not_what_the_profile_says_is_exit_11_and_nothing_is_sent(
    meterfeed, api, tmp_path, content, word
):
    file = tmp_path / "kunder-2026-02.csv"
    if content is not None:
        file.write_text(content)
    document = meterfeed("sync", file, "--profile", PROFILE, "--json", **settings_for(api)).document
    assert document["exit_code"] == 11
    assert word in document["error"]["message"]
    assert document["error"]["cure"]
    assert mutating(api) == []


def test_a_wrong_profile_is_exit_2_and_names_the_nearest_key(meterfeed, api, export, tmp_path):
    profile = tmp_path / "wrong.toml"
    profile.write_text(PROFILE.read_text().replace("separator", "seperator"))
    document = meterfeed("sync", export, "--profile", profile, "--json", **settings_for(api)).document
    assert document["exit_code"] == 2
    assert "separator" in document["error"]["message"]
    assert api.requests() == []


def test_a_busy_lock_is_exit_14_at_once(meterfeed, api, export, tmp_path):
    meterfeed("sync", export, "--profile", PROFILE, **settings_for(api))
    before = len(api.requests())
    with file_lock(tmp_path / "runs" / "ledger.sqlite.lock"):
        document = meterfeed("sync", export, "--profile", PROFILE, "--json").document
    assert document["exit_code"] == 14
    assert len(api.requests()) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_and_the_next_one_finishes_it(meterfeed, tmp_path, number, code):
    export = tmp_path / "kunder-2026-03.csv"
    write_portfolio(export, rows=6_000, damage={})
    slow = {"fault": [{"kind": "slow-answer", "on": "batch", "at": list(range(3, 1000)), "seconds": 2.0}]}
    with Sandbox(0, slow) as api:
        settings = {**settings_for(api), "chunk_size": "200", "concurrency": "1"}
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from flows.cli import main; main()",
                "sync",
                export,
                "-p",
                PROFILE,
                "--json",
            ],
            cwd=ROOT,
            env={**os.environ, **{f"METERFEED_{name.upper()}": value for name, value in settings.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with process:
            _wait_until(lambda: len(mutating(api)) >= 3 or process.poll() is not None)
            process.send_signal(number)
            document = json.load(process.stdout)
        assert (process.returncode, document["exit_code"]) == (code, code)
        [kept] = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("2*/summary.json")]
        [run] = meterfeed("runs", "--json").document["runs"]
        assert (code, document["verdict"]) == (kept["exit_code"], kept["verdict"])
        assert code == run["exit_code"]
        assert_equations_hold(document)
        assert document["records"]["location"]["not_sent"]
        api.set_faults("none")
        done = meterfeed("sync", export, "--profile", PROFILE, "--json", **settings).document
        assert done["exit_code"] == 0
        created = [effect for effect in api.effects() if effect["effect"] == "create"]
        assert len(created) == len(api.state()["users"]) + len(api.state()["locations"])
        assert len(api.state()["users"]) == done["records"]["user"]["planned"]


def _wait_until(condition) -> None:
    for _ in range(4800):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def test_demo_loads_a_sample_twice_and_the_second_time_sends_nothing(meterfeed, tmp_path):
    document = meterfeed("demo", "--rows", "3000", "--json").document
    assert document["exit_code"] in (0, 10)
    assert (document["command"], document["rows"]["read"]) == ("demo", 3_000)
    assert_equations_hold(document)
    assert document["second_sync"]["requests"] == document["second_sync"]["effects"] == 0
    assert Path(document["artifacts"]["report"]).is_relative_to(tmp_path / "runs" / "demo")


def lasting(lines: list[str]) -> list[str]:
    """Lines that are the same every time: without paths, seconds, and how many requests it took."""
    return [
        line for line in lines if not any(word in line for word in ("runs/demo", "requests", " s", "run "))
    ]


def test_demo_prints_what_the_readme_shows(meterfeed):
    shown = (ROOT / "README.md").read_text().split("$ make demo\n")[1].split("```")[0].splitlines()
    printed = [line.rstrip() for line in meterfeed("demo", "--quiet").out.splitlines()]
    assert lasting(shown) == lasting(printed)
    assert len(lasting(shown)) > 20


def test_demo_pays_no_heed_to_the_settings_of_a_real_tenant(meterfeed):
    document = meterfeed("demo", "--rows", "300", "--json", base_url="nonsense", rate="nonsense").document
    assert document["exit_code"] in (0, 10)


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_tr4_four_times_the_rows_take_no_more_memory(tmp_path):
    """Every stage of a quality run, in a process of its own; partitions are full at both sizes."""
    from tests.corpus.case import gsrn
    from tests.integration.test_cli_settle import HEADER, PROFILE

    profile = tmp_path / "p.toml"
    profile.write_text(PROFILE.format(name="p", kind="full"), encoding="utf-8")
    peaks = []
    for count in (600_000, 2_400_000):
        export = tmp_path / f"kunder-{count}.csv"
        with export.open("w", encoding="utf-8") as file:
            file.write(HEADER)
            file.writelines(
                f"K{n:07};A{n:07};Husholdning;{gsrn(n)};{60 + n / 1e6:.6f}".replace(".", ",")
                + ";9,61234;Aktiv\n"
                for n in range(count)
            )
        script = "import sys; from flows.cli import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", script, "quality", export, "--profile", profile, "--json"]
        environ = os.environ | {"METERFEED_DATA_DIR": str(tmp_path / "runs")}
        with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert 0 == process.returncode
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] < 1.25 * peaks[0], peaks


def test_an_export_of_which_no_row_is_good_is_accounted_for(meterfeed, tmp_path):
    export = tmp_path / "kunder.csv"
    export.write_text("Kundenr;MålepunktID\nK1;123\nK2;456\n", encoding="utf-8")
    profile = tmp_path / "p.toml"
    profile.write_text(
        'name = "p"\ncountry = "NO"\n[file]\nseparator = ";"\n[columns]\nuser = "Kundenr"\n'
        'meter_point = "MålepunktID"\n',
        encoding="utf-8",
    )
    done = meterfeed("quality", export, "--profile", profile, "--json").document
    assert (10, 2, 0) == (done["exit_code"], done["rows"]["quarantined"], done["rows"]["mapped"])


def test_what_a_quality_run_finds_names_no_value_and_every_row(meterfeed, tmp_path):
    """Masked ids in the table, masked examples also of rules between rows; records nobody planned are null."""
    from tests.integration.test_cli_settle import HEADER, PROFILE, gsrn, portfolio

    export, profile = tmp_path / "kunder.csv", tmp_path / "p.toml"
    twice = [f"K09{n};A09{n};Husholdning;{gsrn(900)};61,5;9,6;Aktiv\n" for n in (1, 2)]
    short = "K0903;A0903;Husholdning;70705750;61,5;9,6;Aktiv\n"
    export.write_text(HEADER + "".join([*portfolio(9), *twice, short]), encoding="utf-8")
    profile.write_text(PROFILE.format(name="p", kind="full"), encoding="utf-8")
    done = meterfeed("quality", export, "--profile", profile, "--json").document
    assert 3 == done["rows"]["quarantined"]
    table = pl.read_parquet(done["artifacts"]["violations"]).filter(severity="quarantine")
    assert {(11, f"…{gsrn(900)[-4:]}"), (12, f"…{gsrn(900)[-4:]}"), (13, "…50")} == set(
        table.select("source_line", "masked_id").iter_rows()
    )
    summary = json.loads((Path(done["artifacts"]["report"]).parent / "summary.json").read_text())
    [between] = [
        rule for rule in summary["quality"]["rules"] if rule["rule"] == "meter_point_belongs_to_one_customer"
    ]
    assert [("…" + gsrn(900)[-4:], "meter_point", "9×18")] * 2 == [
        (one["masked_id"], one["column"], one["shape"]) for one in between["examples"]
    ]
    assert (None, None, 0) == tuple(
        done["records"][kind]["planned"] for kind in ("user", "location", "vehicle")
    )


def test_the_account_says_why_rows_could_not_be_read(meterfeed, tmp_path):
    from tests.integration.test_cli_settle import HEADER, PROFILE, portfolio

    export, profile = tmp_path / "kunder.csv", tmp_path / "p.toml"
    export.write_text(
        HEADER + "".join([*portfolio(9), "K1;A1\n", "K2;A2\n", "K3;x\x00;;;;;\n"]), encoding="utf-8"
    )
    profile.write_text(PROFILE.format(name="p", kind="full"), encoding="utf-8")
    done = meterfeed("quality", export, "--profile", profile, "--json").document
    assert {"too_few_fields": 2, "nul_byte": 1} == done["unreadable_reasons"]
    told = meterfeed("quality", export, "--profile", profile).out
    assert told.index("unreadable rows by reason") < told.index("too_few_fields")
