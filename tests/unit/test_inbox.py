import hashlib
import importlib
import json
import os
import time
from dataclasses import replace

import pytest

from connectors.ledger import open_ledger
from connectors.profiles import load_profile
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


def remember(settings, content, state, *, kind="full", profiles="nordkraft", name="x.csv", at=0.0):
    with open_ledger(
        settings.ledger.get_secret_value(), identity=Identity("tenant", "https://api", "key"), now=0.0
    ) as ledger:
        run = ledger.begin_run(
            command="sync",
            environment="sandbox",
            profiles=profiles,
            job_digest="0" * 32,
            stamp="20260101",
            now=at,
        )
        digest = hashlib.sha256(content).hexdigest()
        ledger.note_sources(run.run_seq, [SourceRow(0, name, digest, len(content), 1)])
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


def test_what_is_named_after_a_file_that_still_grows_waits_with_it(inbox, settings):
    """Loaded in the next night, the older file would go over the newer one."""
    for name, age in (("a.csv", 86_400.0), ("b.csv", 0.0), ("c.csv", 86_400.0)):
        deliver(inbox, name, name.encode(), age=age)
    found = look_into(str(inbox), settings, still_seconds=3600.0)
    assert (["a.csv"], 2) == (names(found), found.growing)


@pytest.mark.parametrize(
    "then", ["connectors.exports.places._local_file", "flows.inbox._standing", "flows.inbox.fingerprint"]
)
def test_a_file_that_is_taken_out_meanwhile_is_not_there(inbox, settings, monkeypatch, then):
    deliver(inbox, "a.csv", b"1")
    deliver(inbox, "b.csv", b"2")
    module, _, function = then.rpartition(".")
    honest = getattr(importlib.import_module(module), function)

    def too_late(*asked, **how):
        (inbox / "a.csv").unlink(missing_ok=True)
        return honest(*asked, **how)

    monkeypatch.setattr(then, too_late)
    found = look_into(str(inbox), settings)
    assert (["b.csv"], 0, 0) == (names(found), found.known, found.growing)


# ------------------------------------------------------------------ content that comes back
def night(inbox, settings, *, at, profile="nordkraft"):
    """What a schedule loads at an hour of the clock, all of it well."""
    new = names(look_into(str(inbox), settings, [profile_named(profile)]))
    for name in new:
        remember(settings, (inbox / name).read_bytes(), "settled", name=name, at=at, profiles=profile)
    return new


def profile_named(name):
    profile = load_profile("nordkraft")
    every_file = profile.file.model_copy(update={"match": None})
    return profile.model_copy(update={"name": name, "file": every_file})


def test_content_that_comes_back_under_a_new_name_is_new_and_loaded_once(inbox, settings):
    hour = time.time() - 100_000.0
    for at, (name, content) in enumerate(
        [("a.csv", b"A"), ("b.csv", b"B"), ("c.csv", b"A"), ("d.csv", b"B")]
    ):
        deliver(inbox, name, content)
        assert [name] == night(inbox, settings, at=hour + at)
        assert [] == night(inbox, settings, at=hour + at + 0.5)


def test_names_with_dates_are_taken_in_the_order_they_were_written(inbox, settings):
    """The ledger keeps the end of a long number alone: by that, the last day of a year comes after the next year."""
    hour = time.time() - 1000_000.0
    days = [
        ("kunder-20261230.csv", b"A", 1),
        ("kunder-20261231.csv", b"A", 0),
        ("kunder-20270101.csv", b"B", 1),
    ]
    days += [("kunder-20270102.csv", b"B", 0), ("kunder-20270103.csv", b"A", 1)]
    for at, (name, content, new) in enumerate(days):
        deliver(inbox, name, content, age=1000_000.0 - 3600.0 * at)
        assert [name][:new] == night(inbox, settings, at=hour + 3600.0 * at + 600.0)
        assert [] == night(inbox, settings, at=hour + 3600.0 * at + 1200.0)


def test_content_that_comes_back_within_one_night_is_new(inbox, settings):
    for name, content in (("a.csv", b"A"), ("b.csv", b"B"), ("c.csv", b"A"), ("d.csv", b"A")):
        deliver(inbox, name, content)
    assert ["a.csv", "b.csv", "c.csv"] == night(inbox, settings, at=0.0)
    assert [] == night(inbox, settings, at=1.0)


def test_one_name_that_is_overwritten_every_night_is_new_whenever_it_changes(inbox, settings):
    hour = time.time()
    for content, age, new in ((b"A", 9, 1), (b"B", 7, 1), (b"A", 5, 1), (b"A", 3, 0), (b"B", 1, 1)):
        deliver(inbox, "export.csv", content, age=age * 3600.0)
        assert ["export.csv"][:new] == night(inbox, settings, at=hour - age * 3600.0 + 1200.0)
        assert [] == night(inbox, settings, at=hour - age * 3600.0 + 2400.0)


@pytest.mark.parametrize("name", ["a-again.csv", "a.csv.done", "aa.csv"])
def test_a_file_that_is_renamed_or_delivered_twice_is_not_loaded_over_a_newer_one(inbox, settings, name):
    for one, content in (("a.csv", b"A"), ("b.csv", b"B")):
        deliver(inbox, one, content)
        night(inbox, settings, at=0.0)
    deliver(inbox, name, b"A", age=60.0)
    assert [] == night(inbox, settings, at=1.0)


def test_a_file_that_comes_late_takes_none_of_the_later_ones_with_it(inbox, settings):
    for one, content in (("a.csv", b"A"), ("c.csv", b"C"), ("b.csv", b"B")):
        deliver(inbox, one, content)
        assert [one] == night(inbox, settings, at=0.0)


def test_another_file_of_that_name_loaded_by_hand_makes_an_old_one_not_new(inbox, settings):
    """Its name stands for two files: what is here was not written since."""
    deliver(inbox, "export.csv", b"A")
    night(inbox, settings, at=time.time() - 1800.0)
    remember(settings, b"mended", "settled", name="export.csv", at=time.time())
    assert [] == night(inbox, settings, at=time.time())


def test_a_correction_between_two_exports_holds_up_neither(inbox, settings):
    exports = [
        ("Enheter-1.csv", b"A"),
        ("Enheter-2.csv", b"B"),
        ("correction-1.csv", b"K"),
        ("Enheter-3.csv", b"A"),
    ]
    for name, content in exports:
        deliver(inbox, name, content)
        assert [name] == night(inbox, settings, at=0.0)


def test_what_one_profile_loaded_is_new_for_another(inbox, settings):
    deliver(inbox, "a.csv", b"A")
    for profile in ("customers", "resources"):
        assert ["a.csv"] == night(inbox, settings, at=0.0, profile=profile)
        assert [] == night(inbox, settings, at=0.0, profile=profile)


def test_what_another_profile_loaded_since_brings_nothing_back(inbox, settings):
    deliver(inbox, "a.csv", b"A")
    night(inbox, settings, at=0.0)
    remember(settings, b"B", "settled", name="b.csv", profiles="resources")
    deliver(inbox, "c.csv", b"A")
    assert [] == night(inbox, settings, at=1.0)


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
