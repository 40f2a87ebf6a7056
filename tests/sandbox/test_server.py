"""The sandbox over real sockets: tokens, answers, the first faults, the logs."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from sandbox.server import Sandbox


def token_request(sandbox, **changes):
    form = {
        "grant_type": "client_credentials",
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
    }
    return httpx.post(sandbox.token_url, data=form | changes, timeout=60.0)


def users(*ids):
    return {"users": [{"userId": each} for each in ids]}


def test_the_token_endpoint_hands_out_a_bearer_token_that_works(sandbox, client):
    answer = token_request(sandbox)
    assert answer.status_code == 200
    assert answer.json()["token_type"] == "Bearer"
    assert answer.json()["expires_in"] == 3600
    assert client.get("/users").status_code == 200


def test_a_wrong_secret_is_an_invalid_client_and_is_not_repeated(sandbox):
    answer = token_request(sandbox, client_secret="not-this-one")
    assert answer.status_code == 400
    assert answer.json() == {"error": "invalid_client"}
    assert "not-this-one" not in answer.text


def test_a_wrong_grant_is_refused(sandbox):
    assert token_request(sandbox, grant_type="password").json() == {"error": "unsupported_grant_type"}


def test_basic_credentials_are_taken_and_refused_with_401(sandbox):
    form = {"grant_type": "client_credentials"}
    good = httpx.post(
        sandbox.token_url, data=form, auth=(sandbox.client_id, sandbox.client_secret), timeout=60.0
    )
    bad = httpx.post(sandbox.token_url, data=form, auth=(sandbox.client_id, "wrong"), timeout=60.0)
    assert (good.status_code, bad.status_code) == (200, 401)


def test_without_a_token_everything_is_401_and_nothing_happens(sandbox):
    answer = httpx.post(f"{sandbox.base_url}/users/batch", json=users("a"), timeout=60.0)
    assert answer.status_code == 401
    assert sandbox.effects() == []


def test_a_token_expires_by_the_sandbox_clock():
    moment = [1_000_000.0]
    with Sandbox(token_lifetime=60.0, now=lambda: moment[0]) as sandbox:
        token = token_request(sandbox).json()["access_token"]
        with httpx.Client(headers={"authorization": f"Bearer {token}"}) as client:
            assert client.get(f"{sandbox.base_url}/users").status_code == 200
            moment[0] += 61.0
            assert client.get(f"{sandbox.base_url}/users").status_code == 401


def test_an_effect_names_its_request_its_trace_and_the_digest_of_its_content(sandbox, client):
    client.post("/users/batch", json=users("a", "b"), headers={"x-request-id": "trace-7"})
    first, second = sandbox.effects()
    assert (first["seq"], second["seq"]) == (1, 2)
    assert first["kind"] == "user"
    assert first["effect"] == "create"
    assert (first["id"], second["id"]) == ("a", "b")
    assert first["trace"] == "trace-7"
    assert first["path"] == "/users/batch"
    assert first["digest"] == hashlib.sha256(b'{"userId":"a"}').hexdigest()
    request = sandbox.requests()[-1]
    assert request["request"] == first["request"]
    assert (request["status"], request["count"], request["applied"]) == (201, 2, 2)
    assert request["delivered"] is True


def test_applied_then_dropped_changes_the_store_and_sends_no_byte(sandbox, client):
    sandbox.set_faults({"fault": [{"kind": "applied-then-dropped", "on": "batch"}]})
    with pytest.raises(httpx.RemoteProtocolError):
        client.post("/users/batch", json=users("a"))
    assert [each["id"] for each in sandbox.effects()] == ["a"]
    assert sandbox.requests()[-1]["delivered"] is False


def test_applied_then_reset_changes_the_store_and_resets(sandbox, client):
    sandbox.set_faults({"fault": [{"kind": "applied-then-reset"}]})
    with pytest.raises(httpx.ReadError):
        client.post("/users/batch", json=users("a"))
    assert len(sandbox.effects()) == 1


def test_applied_then_503_changes_the_store_and_says_503(sandbox, client):
    sandbox.set_faults({"fault": [{"kind": "applied-then-503"}]})
    assert client.post("/users/batch", json=users("a")).status_code == 503
    assert len(sandbox.effects()) == 1


def test_rate_limited_says_when_to_come_back_and_changes_nothing(sandbox, client):
    sandbox.set_faults({"fault": [{"kind": "rate-limited", "seconds": 7, "on": "batch"}]})
    answer = client.post("/users/batch", json=users("a"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert sandbox.effects() == []


def test_a_valid_prefix_is_applied_before_the_400(sandbox, client):
    sandbox.set_faults({"fault": [{"kind": "prefix-then-400", "share": 0.5}]})
    answer = client.post("/users/batch", json=users("a", "b", "c", "d"))
    assert answer.status_code == 400
    assert isinstance(answer.json(), str)
    assert [each["id"] for each in sandbox.effects()] == ["a", "b"]


def test_a_short_list_hides_what_was_applied(sandbox, client):
    sandbox.set_faults({"fault": [{"kind": "short-list", "on": "batch"}]})
    answer = client.post("/users/batch", json=users("a", "b", "c", "d"))
    assert answer.status_code == 201
    assert len(answer.json()["users"]) == 2
    assert len(sandbox.effects()) == 4


def test_a_cut_answer_ends_before_its_content_length(sandbox, client):
    sandbox.set_faults({"fault": [{"kind": "applied-then-cut"}]})
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        client.post("/users/batch", json=users("a"))
    assert len(sandbox.effects()) == 1


def test_a_silent_request_is_applied_and_never_answered(sandbox, connect):
    sandbox.set_faults({"fault": [{"kind": "applied-then-silence", "on": "batch"}]})
    with (
        connect(sandbox, timeout=httpx.Timeout(60, read=0.2)) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.post("/users/batch", json=users("a"))
    while not sandbox.effects():  # it was sent; a busy server may come to it after the client gave up
        time.sleep(0.01)
    assert len(sandbox.effects()) == 1


def test_a_dripped_answer_outlasts_a_read_timeout(sandbox, connect):
    sandbox.set_faults({"fault": [{"kind": "slow-drip", "piece": 1, "tick": 0.05, "on": "batch"}]})
    with connect(sandbox, timeout=httpx.Timeout(60, read=2.5)) as client:  # for fifty-six pieces
        answer = client.post("/users/batch", json=users("a", "b", "c"))
    assert len(answer.json()["users"]) == 3


def test_the_curtain_can_be_lifted_over_http(sandbox, client):
    client.post("/users/batch", json=users("a"))
    look = f"{sandbox.origin}/_sandbox"
    assert httpx.get(f"{look}/state", timeout=60.0).json()["counts"]["user"] == 1
    assert httpx.get(f"{look}/effects", timeout=60.0).json()[0]["id"] == "a"
    assert httpx.get(f"{look}/requests", timeout=60.0).json()[-1]["path"] == "/users/batch"
    assert httpx.post(f"{look}/faults", json="lost-answers", timeout=60.0).status_code == 204
    assert httpx.get(f"{look}/faults", timeout=60.0).json()["playing"][0]["kind"] == "applied-then-dropped"
    assert httpx.post(f"{look}/reset", timeout=60.0).status_code == 204
    assert sandbox.state()["counts"]["user"] == 0


def test_wrong_faults_are_refused_with_a_sentence(sandbox):
    answer = httpx.post(
        f"{sandbox.origin}/_sandbox/faults", json={"fault": [{"kind": "short-lists"}]}, timeout=60.0
    )
    assert answer.status_code == 400
    assert "did you mean 'short-list'?" in answer.json()


def test_a_page_in_a_browser_cannot_reach_the_sandbox_by_another_name(sandbox):
    answer = httpx.get(f"{sandbox.origin}/_sandbox/state", headers={"host": "evil.example:80"}, timeout=60.0)
    assert answer.status_code == 421


def test_only_loopback_is_bound(sandbox):
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", sandbox.port))


def test_a_sandbox_with_a_state_folder_takes_up_where_it_stopped(tmp_path, connect):
    with Sandbox(state_dir=tmp_path) as sandbox, connect(sandbox) as client:
        client.post("/users/batch", json=users("a", "b"))
        client.delete("/users/b")
        client.post("/users/a/locations", json={"locationId": "l", "meterPointIds": ["1"]})
        before, effects, requests = sandbox.state(), sandbox.effects(), sandbox.requests()
    with (tmp_path / "effects.jsonl").open("ab") as log:
        log.write(b'{"seq": 99, "torn')
    with Sandbox(state_dir=tmp_path) as sandbox, connect(sandbox) as client:
        assert sandbox.state() == before
        assert sandbox.effects() == effects
        assert sandbox.requests()[: len(requests)] == requests
        client.post("/users", json={"userId": "c"})
        assert [each["seq"] for each in sandbox.effects()] == list(range(1, len(effects) + 2))
        numbers = [each["request"] for each in sandbox.requests()]
        assert numbers == sorted(set(numbers))
    assert (tmp_path / "effects.jsonl").stat().st_mode & 0o077 == 0


def test_the_module_serves_and_says_where(tmp_path):
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--faults", "lost-answers"]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            url = process.stdout.readline().strip().partition("=")[2]
            status = httpx.get(f"{url}/users", timeout=240).status_code
        finally:
            process.terminate()
    assert status == 401
    assert url.startswith("http://127.0.0.1:")


def test_the_module_lists_its_menu(capsys):
    from sandbox.__main__ import main

    assert main(["--menu"]) == 0
    listed = capsys.readouterr().out
    assert "applied-then-503" in listed
    assert "wire-gzip-bomb" in listed


def test_the_settings_are_what_a_client_needs(sandbox):
    assert sandbox.settings["METERFEED_BASE_URL"] == sandbox.base_url
    assert sandbox.settings["METERFEED_CLIENT_SECRET"] == sandbox.client_secret


def test_the_module_refuses_wrong_faults(capsys):
    from sandbox.__main__ import main

    assert main(["--port", "0", "--faults", "lost-answer"]) == 2
    assert "did you mean 'lost-answers'?" in capsys.readouterr().err
