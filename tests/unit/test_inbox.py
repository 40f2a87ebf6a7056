import hashlib
import json
import os
import time
from dataclasses import replace

import pytest

from connectors.ledger import open_ledger
from flows.blocks import MeterfeedAccount, account_of, overlaid
from flows.inbox import look_into
from flows.settings import Needs, Secret, load_settings
from schemas.errors import SettingsError
from schemas.ledger import ADOPTED, Identity, SourceRow


@pytest.fixture
def settings(tmp_path):
    found = load_settings({"METERFEED_DATA_DIR": str(tmp_path / "runs")}, needs=Needs.NOTHING)
    return replace(found, ledger=Secret(f"sqlite:///{tmp_path}/ledger.sqlite"))


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def deliver(folder, name, content, *, age=3600.0):
    file = folder / name
    file.write_bytes(content)
    then = time.time() - age
    os.utime(file, (then, then))


def names(waiting):
    return [url.rsplit("/", 1)[-1] for url in waiting.new]


def remember(settings, content, state, *, kind="full", profiles="nordkraft"):
    with open_ledger(
        settings.ledger.get_secret_value(), identity=Identity("tenant", "https://api", "key"), now=0.0
    ) as ledger:
        run = ledger.begin_run(
            command="sync",
            environment="sandbox",
            profiles=profiles,
            job_digest="0" * 32,
            stamp="20260101",
            now=0.0,
        )
        digest = hashlib.sha256(content).hexdigest()
        ledger.note_sources(run.run_seq, [SourceRow(0, "x.csv", digest, len(content), 1)])
        kept = json.dumps({"so_far": {"export_kind": kind}})
        ledger.change_run(run.run_seq, state=state, plan=kept)


def test_a_file_dated_in_the_future_is_not_taken_for_one_that_grows(inbox, settings):
    deliver(inbox, "tomorrow.csv", b"x", age=-86_400.0)
    assert names(look_into(str(inbox), settings)) == ["tomorrow.csv"]


def test_files_come_in_the_order_of_their_names(inbox, settings):
    for name in ("b.csv", "a.csv", "c.csv"):
        deliver(inbox, name, name.encode())
    assert names(look_into(str(inbox), settings)) == ["a.csv", "b.csv", "c.csv"]


def test_the_same_content_twice_is_one_file(inbox, settings):
    for name in ("a.csv", "b.csv"):
        deliver(inbox, name, b"same")
    found = look_into(str(inbox), settings)
    assert (names(found), found.known) == (["a.csv"], 1)


def test_a_file_that_still_grows_waits(inbox, settings):
    deliver(inbox, "a.csv", b"1", age=0.0)
    found = look_into(str(inbox), settings, still_seconds=3600.0)  # however long this test takes
    assert (found.new, found.growing) == ((), 1)


def test_markers_and_unfinished_names_are_no_files(inbox, settings):
    for name in ("_SUCCESS", ".hidden", "a.csv.part", "a.csv.sha256"):
        deliver(inbox, name, b"1")
    assert look_into(str(inbox), settings).new == ()


@pytest.mark.parametrize(
    ("state", "new"),
    [
        ("settled", []),
        ("superseded", ["a.csv"]),  # nobody else says what it has not sent
        ("sending", ["a.csv"]),
        ("planned", ["a.csv"]),
        ("stopped", ["a.csv"]),
    ],
)
def test_a_file_is_new_until_its_run_is_done_with_it(inbox, settings, state, new):
    deliver(inbox, "a.csv", b"content")
    remember(settings, b"content", state)
    assert names(look_into(str(inbox), settings)) == new


@pytest.mark.parametrize(
    ("later", "new"),
    [
        ({"state": "settled"}, []),
        ({"state": "sending"}, []),
        ({"state": "superseded"}, []),
        ({"state": "sending", "profiles": "nordkraft+sorkraft"}, []),
        ({"state": "planned"}, ["a.csv"]),
        ({"state": "stopped"}, ["a.csv"]),
        ({"state": "settled", "kind": "delta"}, ["a.csv"]),
        ({"state": "settled", "profiles": "sorkraft"}, ["a.csv"]),
    ],
)
def test_a_file_that_was_given_up_is_done_when_a_full_export_sends_in_its_place(inbox, settings, later, new):
    deliver(inbox, "a.csv", b"content")
    remember(settings, b"content", "superseded")
    remember(settings, b"newer", **later)
    assert new == names(look_into(str(inbox), settings))


@pytest.mark.parametrize("earlier", ["superseded", "settled"])
@pytest.mark.parametrize(("state", "new"), [("sending", ["a.csv"]), ("settled", [])])
def test_of_several_runs_of_a_file_the_newest_that_sends_decides(inbox, settings, earlier, state, new):
    deliver(inbox, "a.csv", b"content")
    remember(settings, b"content", earlier)
    remember(settings, b"content", state)
    assert new == names(look_into(str(inbox), settings))


def test_after_adopt_a_file_is_new_again_until_it_is_loaded_once_more(inbox, settings):
    deliver(inbox, "a.csv", b"content")
    remember(settings, b"content", "settled")
    url = settings.ledger.get_secret_value()
    with open_ledger(url, identity=Identity("tenant", "https://api", "key"), now=0.0) as ledger:
        ledger.remember({ADOPTED: str(ledger.runs()[0].run_seq)})
    assert ["a.csv"] == names(look_into(str(inbox), settings))
    remember(settings, b"content", "settled")
    assert [] == names(look_into(str(inbox), settings))


def test_a_folder_that_is_not_there_is_not_an_empty_one(inbox, settings):
    with pytest.raises(SettingsError, match="not a folder"):
        look_into(str(inbox / "nowhere"), settings)


def test_a_block_overlays_the_environment_and_takes_out_the_file_beside_it():
    account = MeterfeedAccount(client_secret="from the block")
    environ = {"METERFEED_CLIENT_SECRET_FILE": "/run/x", "METERFEED_CLIENT_ID": "from the environment"}
    assert overlaid(environ, account) == {
        "METERFEED_CLIENT_SECRET": "from the block",
        "METERFEED_CLIENT_ID": "from the environment",
    }


def test_a_block_shows_no_secret():
    account = MeterfeedAccount(client_secret="canary", id_key="canary", client_id="canary", ledger="canary")
    assert "canary" not in repr(account) + str(account)


def test_an_account_names_a_ledger_only_where_one_is_named(tmp_path):
    """The file in the data directory is this machine's own, and would win over what the worker says."""
    bare = {"METERFEED_DATA_DIR": str(tmp_path), "METERFEED_BASE_URL": "https://api.example.org"}
    ours = account_of(load_settings(bare, needs=Needs.NOTHING))
    assert ("https://api.example.org", None) == (ours.base_url, ours.ledger)
    url = "postgresql://meterfeed@db.example.org/nordkraft"
    (tmp_path / "url").write_text(url + "\n")
    for named in ({"METERFEED_LEDGER": url}, {"METERFEED_LEDGER_FILE": str(tmp_path / "url")}):
        ledger = account_of(load_settings({**bare, **named}, needs=Needs.NOTHING)).ledger
        assert url == ledger.get_secret_value()
