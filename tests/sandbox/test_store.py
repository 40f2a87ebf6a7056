"""The effect log is the whole truth: whatever is done, replaying the log gives the state."""

from __future__ import annotations

import hashlib
import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.core import Core
from sandbox.effects import EffectLog, LineFile
from sandbox.exchange import Call
from sandbox.records import digest_of
from sandbox.semantics import Semantics, World
from sandbox.store import Tables

USERS = st.sampled_from(["a", "b", "c"])
PLACES = st.sampled_from(["l1", "l2"])
POINTS = st.lists(st.sampled_from(["1", "2", "3", "4"]), max_size=3)
LOCATION = st.builds(
    lambda place, points: {
        "locationId": place,
        "meterPointIds": points,
        "coordinates": {"latitude": 60, "longitude": 10},
    },
    PLACES,
    POINTS,
)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("POST"), st.just("/users/batch"), st.lists(USERS, max_size=3)),
        st.tuples(st.just("POST"), USERS.map("/users/{}/locations".format), LOCATION),
        st.tuples(st.just("PATCH"), st.builds("/users/{}/locations/{}".format, USERS, PLACES), POINTS),
        st.tuples(
            st.just("POST"),
            st.builds("/users/{}/locations/{}/resources".format, USERS, PLACES),
            st.sampled_from(["r1", "r2"]),
        ),
        st.tuples(st.just("POST"), USERS.map("/users/{}/vehicles".format), st.sampled_from(["r1", "r2"])),
        st.tuples(st.just("POST"), USERS.map("/users/{}/enrollment".format), st.none()),
        st.tuples(st.just("DELETE"), USERS.map("/users/{}".format), st.none()),
        st.tuples(st.just("DELETE"), st.builds("/users/{}/locations/{}".format, USERS, PLACES), st.none()),
        st.tuples(st.just("DELETE"), st.sampled_from(["/resources/r1", "/resources/r2"]), st.none()),
    ),
    max_size=25,
)


def body_of(path, value):
    if path == "/users/batch":
        return {"users": [{"userId": each} for each in value]}
    if path.endswith("/locations"):
        return value
    if path.endswith("/resources"):
        return {"resourceId": value, "resourceType": "HVAC"}
    if path.endswith("/vehicles"):
        return {"resourceId": value, "resourceType": "Vehicle"}
    return {"meterPointIds": value} if isinstance(value, list) else None


def without_order(state):
    """A dump in which the order of records does not matter."""
    return {
        name: sorted(value, key=json.dumps) if isinstance(value, list) else value
        for name, value in state.items()
    }


@settings(max_examples=150, deadline=None)
@given(ACTIONS, st.integers(0, 1349), st.sampled_from(["tenant", "user", "off"]))
def test_replaying_the_log_gives_the_state_in_every_cell(tmp_path_factory, actions, cell, unique):
    folder = tmp_path_factory.mktemp("state")
    moment = [1_000_000.0]
    plan = {"semantics": {"cell": cell}, "rules": {"meter_point_unique": unique}}
    core = Core(plan, now=lambda: moment[0], state_dir=folder)
    token = orjson.loads(core.tokens.issue().body)["access_token"]
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    for method, path, value in actions:
        body = body_of(path, value)
        sent = b"" if body is None else orjson.dumps(body)
        assert core.handle(Call(method, f"/energy-coordination/v1{path}", headers, sent)).status < 500
        moment[0] += 1.0
    core.close()
    replayed = Tables()
    for line in (folder / "effects.jsonl").read_bytes().splitlines():
        effect = orjson.loads(line)
        assert effect["digest"] == digest_of(effect["kind"], effect["content"])
    log = EffectLog(LineFile(folder / "effects.jsonl"))
    for entry in log.restore():
        replayed.apply(entry)
    assert replayed.dump() == core.world.truth.dump()
    moment[0] += 1_000.0
    core.world.advance()
    assert without_order(core.world.lists.dump())["counts"] | {"enrollment": 0} == (
        replayed.counts() | {"enrollment": 0}
    )
    log._file.close()
    holders = {point: set(replayed.holders_of(point)) for point in "1234" if replayed.holders_of(point)}
    expected = {}
    for key, location in replayed.locations.items():
        for point in location.meter_point_ids:
            expected.setdefault(point, set()).add(key)
    assert holders == expected


def test_a_digest_is_of_sorted_keys_without_anything_absent():
    content = {
        "userId": "a",
        "locationId": "l",
        "locationType": "Unknown",
        "coordinates": None,
        "meterPointIds": ["1"],
    }
    canonical = b'{"locationId":"l","meterPointIds":["1"],"userId":"a"}'
    assert digest_of("location", content) == hashlib.sha256(canonical).hexdigest()
    assert digest_of("location", {**content, "meterPointIds": ["2"]}) != digest_of("location", content)


def test_whole_degrees_have_the_digest_of_the_same_numbers_with_a_point():
    def at(latitude):
        return {"userId": "a", "locationId": "l", "coordinates": {"latitude": latitude, "longitude": 10}}

    assert digest_of("location", at(60)) == digest_of("location", at(60.0)) != digest_of("location", at(60.1))


def test_batch_single_and_put_of_one_content_have_one_digest(drive):
    digests = []
    for way in ("batch", "single", "put"):
        call = drive()
        call.users("a")
        bare = {"locationId": "a-home", "meterPointIds": ["a-meter"]}
        if way == "batch":
            call.homes("a")
        elif way == "single":
            call("POST", "/users/a/locations", bare)
        else:
            call("POST", "/users/a/locations", {**bare, "locationType": "Other"})
            call("PUT", "/users/a/locations/a-home", bare)
        digests.append(call.core.effects()[-1]["digest"])
    assert len(set(digests)) == 1


def test_effects_can_be_read_from_a_number_on_and_with_their_content(drive):
    call = drive()
    call.users("a", "b")
    call.homes("a")
    assert [each["seq"] for each in call.core.effects(2)] == [2, 3]
    assert call.core.effects(3, content=True)[0]["content"]["meterPointIds"] == ["a-meter"]


def test_a_log_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "effects.jsonl").write_text('{"something": "else"}\n')
    with pytest.raises(ValueError, match="missing required field"):
        Core(state_dir=tmp_path)


def test_a_reset_forgets_files_as_well(tmp_path, drive):
    call = drive(state_dir=tmp_path)
    call.users("a")
    call.core.reset()
    call.core.close()
    assert (tmp_path / "effects.jsonl").read_bytes() == b""
    assert (tmp_path / "requests.jsonl").read_bytes() == b""


def test_a_world_needs_neither_http_nor_a_real_clock():
    world = World(log=EffectLog(), now=lambda: 5.0, semantics=Semantics(), seed=1)
    from sandbox.effects import Cause
    from sandbox.records import User

    cause = Cause(time=5.0, request=1, trace=None, method="POST", path="/users/batch")
    assert world.create_users(cause, [User(user_id="a")]) == [User(user_id="a")]
    assert world.user("a") == User(user_id="a")


def test_the_sandbox_imports_nothing_of_the_loader():
    import ast
    from pathlib import Path

    for path in (Path(__file__).resolve().parents[2] / "sandbox").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in {"schemas", "pipeline", "connectors", "flows"}, path.name
