"""Protected addresses through whole runs: what the API is told, and what it is not."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connectors.ledger.store import read_ledger
from pipeline.identity import Identity
from pipeline.protection import FLAGS_PAGE
from sandbox.server import Sandbox
from schemas.ledger import BUCKETS
from tests.faults import held_up
from tests.integration.conftest import ID_KEY, settings_for
from tests.integration.test_cli_explain import mend
from tests.integration.test_cli_load import assert_equations_hold
from tests.integration.test_cli_settle import gsrn, location_of

HEADER = "Kundenr;Anlegg;Kundetype;MålepunktID;Breddegrad;Lengdegrad;Sperre;Enhet;Type\n"
PROFILE = """
name = "p"
country = "NO"
[file]
separator = ";"
[columns]
user = "Kundenr"
location = "Anlegg"
location_type = "Kundetype"
meter_point = "MålepunktID"
latitude = "Breddegrad"
longitude = "Lengdegrad"
protected = "Sperre"
resource = "Enhet"
resource_type = "Type"
[protect]
values = ["Ja"]
action = "{action}"
[values.resource_type]
"Elbil" = "Vehicle"
[guards]
quarantined = 1.0
updates = 1.0
shrank = 1.0
"""
HOME = "59.912345;10.712345"
HOME_ID = pl.select(Identity(ID_KEY).location_id(pl.lit("K0001"), pl.lit("A0001"))).item()
STRICT = PROFILE.replace("quarantined = 1.0", "quarantined = 0.001\nminimum_rows = 1")
"""One row in quarantine stops a run."""


def row(customer: int, place: int, meter: int | None, point: str = HOME, flag: str = "") -> str:
    return f"K{customer:04d};A{place:04d};Residential;{gsrn(meter) if meter else ''};{point};{flag};;\n"


def others(count: int = 5) -> list[str]:
    return [row(n, n, n, f"61.5{n:03d}1;9.6{n:03d}1") for n in range(100, 100 + count)]


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(name: str, rows: list[str], action: str = "no-coordinates") -> list[str]:
        (tmp_path / name).write_text(HEADER + "".join(rows), encoding="utf-8")
        profile = tmp_path / f"{action}.toml"
        profile.write_text(PROFILE.format(action=action), encoding="utf-8")
        return [str(tmp_path / name), "--profile", str(profile)]

    return written


def test_the_second_meter_of_a_protected_home_does_not_say_where_it_is(
    meterfeed: Any, api: Sandbox, write: Any
) -> None:
    rows = [row(1, 1, 1, flag="Ja"), row(1, 1, 2), row(1, 1, None), *others()]
    done = meterfeed("sync", *write("a.csv", rows), "--json", **settings_for(api)).document
    assert (0, {"protected": 3}) == (done["exit_code"], done["normalised"])
    assert (1, 7) == (done["rows"]["filtered"], done["rows"]["mapped"])
    assert_equations_hold(done)
    assert sorted([gsrn(1), gsrn(2)]) == sorted(location_of(api, 1)["meterPointIds"])
    assert not location_of(api, 1).get("coordinates")
    assert location_of(api, 100)["coordinates"]
    assert 0 == meterfeed("sync", *write("b.csv", [*rows, *others(6)[5:]]), "--json").document["exit_code"]
    assert 0 == meterfeed("reconcile", "--users", "all", "--rate", "10000", "--json").code


def test_a_location_that_is_skipped_is_not_there_by_another_row(
    meterfeed: Any, api: Sandbox, write: Any
) -> None:
    rows = [row(1, 1, 1, flag="Ja"), row(1, 1, 2), row(1, 2, 3, "61.1;9.1"), *others()]
    done = meterfeed("sync", *write("a.csv", rows, "skip"), "--json", **settings_for(api)).document
    assert (0, 2, 6) == (done["exit_code"], done["rows"]["filtered"], done["rows"]["mapped"])
    assert_equations_hold(done)
    points = [point for one in api.state()["locations"] for point in one["meterPointIds"]]
    assert {gsrn(3), *(gsrn(n) for n in range(100, 105))} == set(points)


def test_protection_that_comes_later_takes_the_coordinates_back(
    meterfeed: Any, api: Sandbox, write: Any
) -> None:
    open_rows = [row(1, 1, 1), row(1, 1, 2), *others()]
    meterfeed("sync", *write("a.csv", open_rows), "--json", **settings_for(api))
    assert location_of(api, 1)["coordinates"]
    done = meterfeed("sync", *write("b.csv", [row(1, 1, 1, flag="Ja"), *open_rows[1:]]), "--json").document
    assert 1 == done["records"]["location"]["updated"]
    assert not location_of(api, 1).get("coordinates")
    meterfeed("sync", *write("c.csv", open_rows), "--json")
    assert location_of(api, 1)["coordinates"]


def test_a_flag_counts_though_its_row_is_in_quarantine(meterfeed: Any, api: Sandbox, write: Any) -> None:
    flagged = row(1, 1, 1, flag="Ja").replace(gsrn(1), "123")
    rows = [flagged, row(1, 1, 2), *others()]
    done = meterfeed("sync", *write("a.csv", rows), "--json", **settings_for(api)).document
    assert (10, 1) == (done["exit_code"], done["rows"]["quarantined"])
    assert not location_of(api, 2).get("coordinates")


@pytest.mark.parametrize("broken", ["unreadable", "nameless"])
def test_a_flag_that_cannot_be_read_any_more_does_not_tell_the_address(
    meterfeed: Any, api: Sandbox, write: Any, broken: str
) -> None:
    """Any row that names nobody may be the flagged one; the next export that is whole lifts what is not flagged."""
    flagged, sibling = row(1, 1, 1, flag="Ja"), row(1, 1, 2)
    meterfeed("sync", *write("a.csv", [flagged, sibling, *others()]), "--json", **settings_for(api))
    spoilt = flagged.replace("K0001", "") if broken == "nameless" else f"x;{flagged}"
    done = meterfeed("sync", *write("b.csv", [spoilt, sibling, *others()]), "--json").document
    assert 10 == done["exit_code"]
    assert not location_of(api, 2).get("coordinates")
    meterfeed("sync", *write("c.csv", [sibling, *others()]), "--json")
    assert location_of(api, 2)["coordinates"]


@pytest.mark.parametrize("flagged_first", [True, False])
def test_a_correction_does_not_say_where_a_protected_home_is(
    meterfeed: Any, api: Sandbox, write: Any, flagged_first: bool
) -> None:
    """The correction holds one row alone: the one without the flag, or the one that tells of it."""
    good, broken = row(1, 1, 1, flag="Ja"), row(1, 1, 2).replace(gsrn(2), "123")
    if not flagged_first:
        good, broken = row(1, 1, 1), broken.replace(";;;\n", ";Ja;;\n")
    arguments = write("a.csv", [good, broken, *others()])
    first = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    target = Path(arguments[0]).with_name("correction.csv")
    mended = mend(
        first["artifacts"]["correction"],
        target,
        lambda cells: [gsrn(2) if cell.lstrip("'") == "123" else cell for cell in cells],
    )
    done = meterfeed("sync", mended, *arguments[1:], "--json").document
    assert (0, 1) == (done["exit_code"], done["records"]["location"]["updated"])
    held = location_of(api, 2)
    assert sorted([gsrn(1), gsrn(2)]) == sorted(held["meterPointIds"])
    assert not held.get("coordinates")


def mended_without_the_flag(first: dict[str, Any], arguments: list[str]) -> list[str]:
    """The correction of a run, which holds the row without the flag alone, mended; the arguments that load it."""
    target = Path(arguments[0]).with_name("correction.csv")
    mended = mend(
        first["artifacts"]["correction"],
        target,
        lambda cells: [gsrn(2) if cell.lstrip("'") == "123" else cell for cell in cells],
    )
    return [str(mended), *arguments[1:]]


def assert_the_correction_tells_no_place(
    outcome: str, meterfeed: Any, api: Sandbox, first: dict[str, Any], arguments: list[str]
) -> None:
    done = meterfeed("sync", *mended_without_the_flag(first, arguments), "--json").document
    assert (0, 1) == (done["exit_code"], done["records"]["location"][outcome])
    assert not location_of(api, 2).get("coordinates")


FLAGGED_ELSEWHERE = [row(1, 1, 1, flag="Ja"), row(1, 1, 2).replace(gsrn(2), "123"), *others()]


def test_an_adopt_does_not_forget_which_homes_are_protected(meterfeed: Any, api: Sandbox, write: Any) -> None:
    arguments = write("a.csv", FLAGGED_ELSEWHERE)
    first = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    assert 0 == meterfeed("adopt", *arguments[1:], "--json").code
    again = meterfeed("sync", *write("b.csv", FLAGGED_ELSEWHERE[::-1]), "--json").document
    assert (6, 0) == tuple(again["records"]["location"][name] for name in ("unchanged", "updated"))
    done = meterfeed("sync", *mended_without_the_flag(first, arguments), "--json").document
    assert (0, 1) == (done["exit_code"], done["records"]["location"]["updated"])
    held = location_of(api, 2)
    assert (sorted([gsrn(1), gsrn(2)]), None) == (sorted(held["meterPointIds"]), held.get("coordinates"))


def test_a_protected_home_that_was_refused_is_still_one_when_its_correction_comes(
    meterfeed: Any, api: Sandbox, write: Any
) -> None:
    arguments = write("a.csv", FLAGGED_ELSEWHERE)
    api.set_faults({"rules": {"reject_ids": [HOME_ID]}})
    first = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    assert 1 == first["records"]["location"]["rejected"]
    api.set_faults("none")
    assert_the_correction_tells_no_place("created", meterfeed, api, first, arguments)
    assert 0 == meterfeed("sync", *write("b.csv", [row(1, 1, 2), *others()]), "--json").code
    assert location_of(api, 2)["coordinates"], "an export that holds all of it says so"


BLANK = "x;"
"""Before a row: it has too many fields, so it cannot be read."""


def test_a_home_whose_change_was_refused_is_protected_when_the_correction_comes(
    meterfeed: Any, api: Sandbox, write: Any
) -> None:
    meterfeed("sync", *write("a.csv", [row(1, 1, 1), *others()]), "--json", **settings_for(api))
    api.set_faults({"rules": {"reject_ids": [HOME_ID]}})
    arguments = write("b.csv", FLAGGED_ELSEWHERE)
    first = meterfeed("sync", *arguments, "--json").document
    assert (1, True) == (first["records"]["location"]["rejected"], bool(location_of(api, 1)["coordinates"]))
    api.set_faults("none")
    assert_the_correction_tells_no_place("updated", meterfeed, api, first, arguments)


def test_a_home_that_adopt_finds_is_protected_though_it_was_refused(
    meterfeed: Any, api: Sandbox, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "PROFILE", PROFILE + "canary = 1000\nrejected = 1.0\n")
    other = row(1, 1, 1, flag="Ja").replace("Residential", "Commercial")
    settings = settings_for(api)
    meterfeed("sync", *write("z.csv", [other, *others()]), **settings, data_dir=str(tmp_path / "elsewhere"))
    arguments = write("a.csv", FLAGGED_ELSEWHERE)
    first = meterfeed("sync", *arguments, "--json", data_dir=str(tmp_path / "here")).document
    assert 1 == first["records"]["location"]["rejected"]
    assert 0 == meterfeed("adopt", *arguments[1:], "--json").code
    assert_the_correction_tells_no_place("updated", meterfeed, api, first, arguments)


def test_a_home_is_protected_when_the_correction_of_a_stopped_run_comes(
    meterfeed: Any, api: Sandbox, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "PROFILE", STRICT)
    arguments = write("a.csv", FLAGGED_ELSEWHERE)
    first = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    assert (11, []) == (first["exit_code"], api.state()["locations"])
    assert_the_correction_tells_no_place("created", meterfeed, api, first, arguments)


def test_a_home_that_was_never_sent_is_protected_when_its_flag_cannot_be_read_any_more(
    meterfeed: Any, api: Sandbox, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next full export takes the place of the run that was to send it."""
    monkeypatch.setitem(globals(), "PROFILE", PROFILE.replace("[file]", '[export]\nkind = "full"\n[file]'))
    api.set_faults({"fault": [held_up("mutating")]})
    rows = [row(1, 1, 1, flag="Ja"), row(1, 1, 2), *others(8)]
    first = meterfeed("sync", *write("a.csv", rows), "--json", **settings_for(api)).document
    assert (15, []) == (first["exit_code"], api.state()["users"])
    api.set_faults("none")
    done = meterfeed("sync", *write("b.csv", [BLANK + rows[0], *rows[1:]]), "--json").document
    assert 10 == done["exit_code"]
    assert not location_of(api, 2).get("coordinates")


def test_a_flag_that_an_export_lifts_is_forgotten_though_nothing_was_created_yet(
    meterfeed: Any, api: Sandbox, write: Any
) -> None:
    api.set_faults({"rules": {"reject_ids": [HOME_ID]}})
    meterfeed("sync", *write("a.csv", [row(1, 1, 1, flag="Ja"), *others()]), **settings_for(api))
    arguments = write("b.csv", [row(1, 1, 1), row(1, 1, 2).replace(gsrn(2), "123"), *others()])
    first = meterfeed("sync", *arguments, "--json").document
    assert 1 == first["records"]["location"]["rejected"]
    api.set_faults("none")
    done = meterfeed("sync", *mended_without_the_flag(first, arguments), "--json").document
    assert (0, 1) == (done["exit_code"], done["records"]["location"]["created"])
    assert location_of(api, 2)["coordinates"]


def test_an_export_that_a_guard_stops_lifts_no_flag(
    meterfeed: Any, api: Sandbox, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.set_faults({"rules": {"reject_ids": [HOME_ID]}})
    meterfeed("sync", *write("a.csv", [row(1, 1, 1, flag="Ja"), *others()]), **settings_for(api))
    api.set_faults("none")
    with monkeypatch.context() as stricter:
        stricter.setitem(globals(), "PROFILE", STRICT)
        arguments = write("b.csv", [row(1, 1, 1), row(1, 1, 2).replace(gsrn(2), "123"), *others()])
        first = meterfeed("sync", *arguments, "--json").document
        assert 11 == first["exit_code"]
        assert 0 == meterfeed("sync", *mended_without_the_flag(first, arguments), "--json").code
    assert not location_of(api, 2).get("coordinates")


def flagged(run: dict[str, Any]) -> list[str]:
    """The users of whom the ledger of a run remembers a protected address."""
    ledger = read_ledger(f"sqlite:///{Path(run['artifacts']['report']).parents[1] / 'ledger.sqlite'}")
    page = None if ledger is None else ledger.holdings(FLAGS_PAGE, range(BUCKETS))
    return [] if page is None else page["user_id"].to_list()


def test_who_is_erased_leaves_no_flag(meterfeed: Any, api: Sandbox, write: Any) -> None:
    arguments = write("a.csv", [row(1, 1, 1, flag="Ja"), *others()])
    first = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    user = location_of(api, 1)["userId"]
    assert user in flagged(first)
    assert 0 == meterfeed("erase", user, "--yes", "--json").code
    assert user not in flagged(first)


def test_an_older_plan_lifts_no_flag_of_a_newer_export(
    meterfeed: Any, api: Sandbox, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = meterfeed(
        "sync", *write("a.csv", [row(1, 1, 1, flag="Ja")]), "--json", **settings_for(api)
    ).document
    older = meterfeed("plan", *write("b.csv", [row(1, 1, 1), *others()]), "--json").document
    monkeypatch.setitem(globals(), "PROFILE", PROFILE.replace('"p"', '"q"'))
    assert 0 == meterfeed("sync", *write("c.csv", [row(7, 7, 7)], "skip"), "--json").code
    before = flagged(first)
    assert (0, 1) == (meterfeed("apply", older["plan_digest"], "--json").code, len(before))
    assert before == flagged(first)


def test_a_flag_that_comes_with_a_correction_takes_the_coordinates_back(
    meterfeed: Any, api: Sandbox, write: Any
) -> None:
    """The row is flagged where it is mended; what the location holds beside it stays, but for where it is."""
    broken = row(1, 1, 2).replace(gsrn(2), "123")
    arguments = write("a.csv", [row(1, 1, 1), broken, *others()])
    first = meterfeed("sync", *arguments, "--json", **settings_for(api)).document
    assert location_of(api, 1)["coordinates"]
    target = Path(arguments[0]).with_name("correction.csv")
    flag = HEADER.split(";").index("Sperre")
    mended = mend(
        first["artifacts"]["correction"],
        target,
        lambda cells: [
            "Ja" if place == flag else gsrn(2) if cell.lstrip("'") == "123" else cell
            for place, cell in enumerate(cells)
        ],
    )
    assert 0 == meterfeed("sync", mended, *arguments[1:], "--json").code
    held = location_of(api, 2)
    assert sorted([gsrn(1), gsrn(2)]) == sorted(held["meterPointIds"])
    assert not held.get("coordinates")


def test_a_plan_that_waits_does_not_keep_where_protected_homes_are(
    meterfeed: Any, api: Sandbox, write: Any, tmp_path: Path
) -> None:
    home = "59.98765432;10.98765432"
    rows = [row(1, 1, 1, home, "Ja"), *others()]
    done = meterfeed("plan", *write("a.csv", rows), "--json", **settings_for(api)).document
    files = [path for path in (tmp_path / "runs").rglob("spool/*") if path.is_file()]
    assert (0, True) == (done["exit_code"], any(path.name.startswith("plan_") for path in files))
    degrees = [struct.pack("<d", float(text)) for text in home.split(";")]
    assert not [path.name for path in files if any(each in path.read_bytes() for each in degrees)]
    assert not [path.name for path in files if path.name.startswith("marks")]
