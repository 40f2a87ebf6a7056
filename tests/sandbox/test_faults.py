"""The fault menu: for every fault, what the effect log says against what the answer says."""

from __future__ import annotations

import email.utils
import json
import random

import orjson
import pytest

from sandbox.contract import OPERATIONS
from sandbox.faults import (
    ERROR_BODIES,
    FAULTS,
    NAMED_PLANS,
    RETRY_AFTER_FORMS,
    FaultPlan,
    load_plan,
)
from sandbox.mangle import MANGLERS, mangle

BATCH = ["a", "b", "c", "d"]


def playing(drive, kind, **options):
    """A driver with users `old` there already, whose next request suffers the fault, if it fits."""
    call = drive()
    call.users("old", "older")
    call.core.set_faults({"seed": 5, "fault": [{"kind": kind, "times": 1, **options}]})
    return call


def applied(call):
    return call.ids[2:]


# -- what every fault of the menu does to a batch ------------------------------------------------------

LOST = "lost"
"""No answer arrives."""

WHOLE_BATCH = {
    # kind: (applied of a, b, c, d; status or LOST; ids listed, None where there is no list)
    "applied-then-dropped": (BATCH, LOST, None),
    "applied-then-reset": (BATCH, LOST, None),
    "applied-then-cut": (BATCH, LOST, None),
    "applied-then-silence": (BATCH, LOST, None),
    "applied-late": ([], LOST, None),
    "dropped": ([], LOST, None),
    "reset": ([], LOST, None),
    "silence": ([], LOST, None),
    "applied-then-503": (BATCH, 503, None),
    "accepted-202": ([], 202, None),
    "empty-200": (BATCH, 200, None),
    "multi-status-207": (BATCH, 207, None),
    "unavailable-503": ([], 503, None),
    "rate-limited": ([], 429, None),
    "bad-request": ([], 400, None),
    "refused-with-status": ([], 409, None),
    "too-large-413": ([], 413, None),
    "unauthorized-401": ([], 401, None),
    "forbidden-403": ([], 403, None),
    "redirect": ([], 307, None),
    "prefix-then-400": (["a", "b"], 400, None),
    "subset-then-400": (2, 400, None),
    "subset-then-201": (2, 201, 2),
    "short-list": (BATCH, 201, ["a", "b"]),
    "gappy-list": (BATCH, 201, 3),
    "shuffled-list": (BATCH, 201, 4),
    "doubled-list": (BATCH, 201, [*BATCH, "a"]),
    "foreign-id": (BATCH, 201, [*BATCH, "foreign-userId"]),
    "altered-values": (BATCH, 201, BATCH),
    "login-page": ([], 200, None),
    "garbled": (BATCH, 201, None),
    "wrong-content-type": (BATCH, 201, BATCH),
    "slow-answer": (BATCH, 201, BATCH),
    "slow-drip": (BATCH, 201, BATCH),
}


def test_the_table_names_every_fault_that_fits_a_batch():
    batch = next(each for each in OPERATIONS if each.name == "PostUsers")
    fitting = {name for name, fault in FAULTS.items() if fault.fits & (batch.groups | {"any"})}
    assert fitting == set(WHOLE_BATCH)


@pytest.mark.parametrize("kind", WHOLE_BATCH)
def test_what_is_applied_and_what_is_answered(drive, kind):
    effects, status, listed = WHOLE_BATCH[kind]
    call = playing(drive, kind)
    answer = call.users(*BATCH)
    lost = answer.delivery.how != "whole"
    assert lost is (status == LOST)
    if not lost:
        assert answer.status == status
    if isinstance(effects, int):
        assert len(applied(call)) == effects
        assert set(applied(call)) < set(BATCH)
    else:
        assert applied(call) == effects
    if listed is not None:
        said = [each["userId"] for each in orjson.loads(answer.body)["users"]]
        assert said == listed if isinstance(listed, list) else len(said) <= listed
        assert kind != "shuffled-list" or (said != BATCH and sorted(said) == BATCH)
    line = call.core.requests()[-1]
    assert line["fault"] == kind
    assert line["delivered"] is not lost
    assert line["applied"] == len(applied(call))


@pytest.mark.parametrize("kind", WHOLE_BATCH)
def test_the_menu_says_truly_whether_a_fault_applies(drive, kind):
    call = playing(drive, kind)
    call.users(*BATCH)
    at_once = len(applied(call))
    call.core.settle()
    finally_there = len(applied(call))
    match FAULTS[kind].applies:
        case "yes" | "either":
            assert at_once == 4
        case "no":
            assert finally_there == 0
        case "part":
            assert 0 < at_once == finally_there < 4
        case "late":
            assert (at_once, finally_there) == (0, 4)


def test_faults_that_lose_the_answer_apply_late_in_a_late_world(drive):
    for kind in ("applied-then-dropped", "applied-then-reset", "applied-then-silence", "applied-then-503"):
        call = drive({"semantics": {"e": "late"}, "fault": [{"kind": kind}]})
        call.users("a")
        assert call.ids == []
        call.clock.now += 60
        assert call.ids == ["a"]


# -- options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 408, 425])
def test_a_gateway_can_fail_in_every_way_after_applying(drive, status):
    call = playing(drive, "applied-then-503", status=status, retry_after=9)
    answer = call.users("a")
    assert (answer.status, dict(answer.headers)["retry-after"]) == (status, "9")
    assert applied(call) == ["a"]


@pytest.mark.parametrize("form", RETRY_AFTER_FORMS)
def test_retry_after_comes_in_every_form(drive, form):
    call = playing(drive, "rate-limited", form=form, seconds=30)
    answer = call.users("a")
    lines = [value for name, value in answer.headers if name == "retry-after"]
    assert len(lines) == {"absent": 0, "two-lines": 2, "two-lines-mixed": 2}.get(form, 1)
    assert all(value.isascii() is (form != "other-digits") and "\n" not in value for value in lines)
    assert applied(call) == []


def test_a_retry_after_can_be_in_the_digits_of_another_script(drive):
    answer = playing(drive, "rate-limited", form="other-digits", seconds=30).users("a")
    # As bytes of UTF-8, one character of a header each; int() reads them, RFC 9110 does not.
    assert dict(answer.headers)["retry-after"].encode("latin-1").decode() == "\u0663\u0660"


@pytest.mark.parametrize(("form", "seconds"), [("date", 30), ("rfc-850-date", 30), ("past-date", -3630)])
def test_a_retry_after_date_goes_by_the_date_of_the_answer(drive, form, seconds):
    answer = playing(drive, "rate-limited", form=form, seconds=30).users("a")
    headers = dict(answer.headers)
    later = email.utils.parsedate_to_datetime(headers["retry-after"])
    assert (later - email.utils.parsedate_to_datetime(headers["date"])).total_seconds() == seconds


@pytest.mark.parametrize("body", ERROR_BODIES)
def test_a_bad_request_can_have_any_body(drive, body):
    call = playing(drive, "bad-request", body=body, status=422)
    answer = call.users("a")
    assert answer.status == 422
    assert applied(call) == []
    assert (len(answer.body) > 1_000_000) is (body == "huge")


def test_413_spares_what_is_small_enough(drive):
    call = drive({"fault": [{"kind": "too-large-413", "items": 2}]})
    assert call.users("a", "b", "c").status == 413
    assert call.users("a", "b").status == 201
    assert call.ids == ["a", "b"]


def test_403_can_look_for_a_pattern(drive):
    call = drive({"fault": [{"kind": "forbidden-403", "pattern": "drop table"}]})
    assert call.users("a").status == 201
    assert call.users("drop table").status == 403


def test_401_ends_the_tokens_until_a_new_one_is_fetched(drive):
    call = playing(drive, "unauthorized-401")
    assert call.users("a").status == 401
    assert call.users("a").status == 401
    call.token = orjson.loads(call.token_request().body)["access_token"]
    assert call.users("a").status == 201


def test_401_without_revoking_spares_the_token(drive):
    call = playing(drive, "unauthorized-401", revoke=False)
    assert call.users("a").status == 401
    assert call.users("a").status == 201


def test_a_login_page_may_hide_an_applied_request(drive):
    call = playing(drive, "login-page", applied=True)
    assert b"Sign in" in call.users("a").body
    assert applied(call) == ["a"]


def test_whoever_follows_a_redirect_is_remembered(drive):
    from sandbox.exchange import Call

    call = playing(drive, "redirect", status=308)
    answer = call.users("a")
    target = dict(answer.headers)["location"]
    call.core.handle(Call("POST", target, {}, b"personal"))
    assert call.core.sunk == [{"method": "POST", "target": "/_sandbox/sink", "body_bytes": 8}]


def test_altered_values_are_rounded_and_reversed(drive):
    call = playing(drive, "altered-values", digits=2)
    location = {
        "userId": "old",
        "locationId": "l",
        "coordinates": {"latitude": 60.1234567, "longitude": 10.7654321},
        "meterPointIds": ["1", "2"],
    }
    answer = call("POST", "/users/locations/batch", {"locations": [location]})
    said = orjson.loads(answer.body)["locations"][0]
    assert said["coordinates"] == {"latitude": 60.12, "longitude": 10.77}
    assert said["meterPointIds"] == ["2", "1"]
    held = call.core.state()["locations"][0]
    assert held["coordinates"] == location["coordinates"]
    assert held["meterPointIds"] == ["1", "2"]


@pytest.mark.parametrize("how", MANGLERS)
def test_a_body_can_be_damaged_in_every_way_and_the_request_is_still_applied(drive, how):
    honest, garbled = playing(drive, "slow-answer"), playing(drive, "garbled", how=how)
    location = {"userId": "old", "locationId": "a-long-enough-id", "meterPointIds": ["1"]}
    answers = [
        call("POST", "/users/locations/batch", {"locations": [location]}) for call in (honest, garbled)
    ]
    assert answers[1].status == 201
    assert answers[0].body != answers[1].body
    assert honest.core.state() == garbled.core.state()


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'"x"', b"<html>", b'{"users":[]}', b"[[]]"])
def test_any_body_can_be_damaged(body):
    for how in MANGLERS:
        assert isinstance(mangle(how, body, random.Random(1)), bytes), how


# -- reads ---------------------------------------------------------------------------------------------


def pages(call, size=2):
    """Every user a trusting client would collect, page by page, at most ten."""
    found, number = [], 1
    for _ in range(10):
        content = orjson.loads(call("GET", f"/users?page={number}&pageSize={size}").body)
        found += [each["userId"] for each in content["users"]]
        number = content["pagination"]["nextPage"]
        if number is None:
            break
    return found


@pytest.mark.parametrize(
    ("kind", "options", "found"),
    [
        ("page-shift", {"by": 1}, ["a", "b", "d", "e"]),
        ("page-shift", {"by": -1}, ["a", "b", "b", "c", "c", "d"]),
        ("page-loop", {"to": 1}, ["a", "b"] * 10),
        ("page-loop", {"to": None}, ["a", "b"]),
        ("page-total", {"by": -2}, ["a", "b", "c", "d", "e"]),
        ("page-shift", {"by": 1, "size": 1}, ["a", "c", "e"]),
        ("page-clamped", {"size": 1}, ["a", "b", "c", "d", "e"]),
        ("stale-read", {}, []),
        ("short-list", {"on": "paged"}, ["a", "c"]),
    ],
)
def test_pages_mislead(drive, kind, options, found):
    call = drive()
    call.users("a", "b", "c", "d", "e")
    call.core.set_faults({"fault": [{"kind": kind, **options}]})
    assert pages(call) == found


def test_shuffled_pages_repeat_and_miss(drive):
    call = drive()
    call.users(*(f"u{number}" for number in range(20)))
    call.core.set_faults({"seed": 1, "fault": [{"kind": "page-shuffled"}]})
    assert len(set(pages(call, size=5))) < 20


def test_totals_are_wrong_by_what_was_asked(drive):
    call = drive()
    call.users("a")
    call.core.set_faults({"fault": [{"kind": "page-total", "by": 7}]})
    assert orjson.loads(call("GET", "/users").body)["pagination"]["totalRecords"] == 8


def test_a_stale_read_misses_what_is_there(drive):
    call = drive()
    call.users("a")
    call.homes("a")
    call.core.set_faults({"fault": [{"kind": "stale-read"}]})
    assert call("GET", "/users/a").status == 404
    assert orjson.loads(call("GET", "/users/a/locations").body) == []
    assert call.core.state()["counts"]["location"] == 1


def test_a_fault_never_turns_an_error_into_a_success(drive):
    for kind in ("short-list", "empty-200", "multi-status-207", "shuffled-list", "foreign-id"):
        call = playing(drive, kind)
        assert call.users("old").status == 400, kind


# -- tokens --------------------------------------------------------------------------------------------

TOKENS = {
    "token-error": ({"status": 429, "retry_after": 3}, 429),
    "token-refused": ({"status": 401}, 401),
    "token-dropped": ({}, 0),
    "token-silence": ({}, 0),
    "token-body": ({"fields": {"expires_in": "soon"}, "drop": ["token_type"]}, 200),
    "token-short-lived": ({"seconds": 2}, 200),
    "token-stillborn": ({}, 200),
}


def test_every_token_fault_is_in_the_table():
    assert {name for name, fault in FAULTS.items() if fault.fits == {"token"}} == set(TOKENS)


@pytest.mark.parametrize("kind", TOKENS)
def test_token_faults_touch_nothing_but_tokens(drive, kind):
    options, status = TOKENS[kind]
    call = playing(drive, kind, **options)
    assert call.users("a").status == 201
    answer = call.token_request()
    assert answer.status == status
    assert call.core.requests()[-1]["fault"] == kind


def test_a_token_answer_can_say_anything(drive):
    options, _ = TOKENS["token-body"]
    answer = playing(drive, "token-body", **options).token_request()
    said = orjson.loads(answer.body)
    assert said["expires_in"] == "soon"
    assert "token_type" not in said


def test_short_lived_and_stillborn_tokens_are_refused_in_time(drive):
    short = playing(drive, "token-short-lived", seconds=2)
    short.token = orjson.loads(short.token_request().body)["access_token"]
    assert short.users("a").status == 201
    short.clock.now += 2
    assert short.users("b").status == 401
    dead = playing(drive, "token-stillborn")
    content = orjson.loads(dead.token_request().body)
    dead.token = content["access_token"]
    assert content["expires_in"] == 3600
    assert dead.users("a").status == 401


def test_what_fits_anywhere_spares_the_token_endpoint_unless_it_is_named(drive):
    spared = drive({"fault": [{"kind": "login-page"}]})
    assert spared.token_request().status == 200
    assert spared.core.requests()[-1]["fault"] is None
    named = drive({"fault": [{"kind": "login-page", "on": "token"}]})
    assert b"Sign in" in named.token_request().body
    assert named.users("a").status == 201


# -- when ----------------------------------------------------------------------------------------------


def played(call, requests=20):
    call.core.reset()
    call.token = orjson.loads(call.core.tokens.issue().body)["access_token"]
    for number in range(requests):
        call.users(f"u{number}")
    return [index for index, each in enumerate(call.core.requests(), 1) if each["fault"]]


@pytest.mark.parametrize(
    ("when", "numbers"),
    [
        ({"at": [2, 5]}, [2, 5]),
        ({"every": 7}, [7, 14]),
        ({"times": 3}, [1, 2, 3]),
        ({"every": 2, "times": 2}, [2, 4]),
        ({"probability": 0.0}, []),
        ({"on": "single"}, []),
        ({"on": ["PostUsers"], "times": 1}, [1]),
        ({"on": "POST /users/batch", "times": 1}, [1]),
    ],
)
def test_a_rule_fires_when_it_says(drive, when, numbers):
    call = drive({"fault": [{"kind": "unavailable-503", **when}]})
    assert played(call) == numbers


def test_draws_are_the_same_for_the_same_seed_and_differ_for_another(drive):
    def drawn(seed):
        return played(drive({"seed": seed, "fault": [{"kind": "unavailable-503", "probability": 0.3}]}), 60)

    assert drawn(1) == drawn(1) != drawn(2)
    assert 5 < len(drawn(1)) < 35


def test_draws_do_not_depend_on_other_rules(drive):
    rule = {"kind": "unavailable-503", "on": "batch", "probability": 0.3}
    other = {"kind": "stale-read", "probability": 0.5}
    first = drive({"seed": 4, "fault": [rule]})
    second = drive({"seed": 4, "fault": [rule, other]})
    assert played(first) == played(second)


def test_a_rule_keeps_to_its_stretch_of_time(drive):
    call = drive({"fault": [{"kind": "unavailable-503", "after": 5.0, "until": 10.0}]})
    statuses = []
    for number in range(4):
        statuses.append(call.users(f"u{number}").status)
        call.clock.now += 4
    assert statuses == [201, 201, 503, 201]


def test_the_first_rule_that_fires_is_played_and_the_others_keep_counting(drive):
    call = drive(
        {
            "fault": [
                {"kind": "unavailable-503", "at": [1]},
                {"kind": "rate-limited", "at": [2], "on": "batch"},
            ]
        }
    )
    assert [call.users(name).status for name in "abc"] == [503, 429, 201]


# -- plans ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMED_PLANS, *FAULTS])
def test_every_name_is_a_plan(name):
    assert isinstance(load_plan(name), FaultPlan)


@pytest.mark.parametrize("name", NAMED_PLANS)
def test_a_patient_client_gets_through_every_named_plan(drive, name):
    """Up to 60 tries per user, the token renewed on 401, time passing: everybody is there in the end."""
    call = drive(name)
    names = [f"u{number}" for number in range(40)]
    for user in names:
        for _ in range(60):
            answer = call.users(user)
            call.clock.now += 1
            if answer.status == 401 and (token := call.token_request()).status == 200:
                call.token = orjson.loads(token.body)["access_token"]
            if user in {each["userId"] for each in call.core.state()["users"]}:
                break
    assert {each["userId"] for each in call.core.state()["users"]} == set(names)


def test_a_plan_is_read_from_toml_and_from_json(tmp_path):
    content = {
        "seed": 9,
        "semantics": {"a": "prefix", "limit_items": 7},
        "rules": {"reject_ids": ["x"]},
        "fault": [{"kind": "rate-limited", "form": "date", "every": 3, "seconds": 4}],
    }
    (tmp_path / "plan.json").write_text(json.dumps(content))
    (tmp_path / "plan.toml").write_text(
        'seed = 9\n[semantics]\na = "prefix"\nlimit_items = 7\n[rules]\nreject_ids = ["x"]\n'
        '[[fault]]\nkind = "rate-limited"\nform = "date"\nevery = 3\nseconds = 4\n'
    )
    plans = [load_plan(tmp_path / name) for name in ("plan.json", "plan.toml")]
    assert plans[0] == plans[1] == load_plan(content)
    assert plans[0].semantics.limit_items == 7
    assert plans[0].faults[0].options == {"form": "date", "seconds": 4}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"faults": []}, "unknown key 'faults', did you mean 'fault'"),
        ({"fault": [{"kind": "aplied-then-503"}]}, "did you mean 'applied-then-503'"),
        ({"fault": [{"kind": "wire-gzip-bom"}]}, "did you mean 'gzip-bomb'"),
        ({"fault": [{"kind": "rate-limited", "second": 4}]}, "did you mean 'seconds'"),
        ({"fault": [{"kind": "rate-limited", "form": "dates"}]}, "did you mean 'date'"),
        ({"fault": [{"kind": "garbled", "how": "nann"}]}, "did you mean 'nan'"),
        ({"fault": [{"kind": "dropped", "on": "POST /user/batch"}]}, "did you mean 'POST /users/batch'"),
        ({"semantics": {"a": "prefixes"}}, "axis a is one of"),
        ({"semantics": {"z": "prefix"}}, "unknown semantics 'z'"),
        ({"rules": {"reject": 1}}, "unknown rule 'reject'"),
        ("lost-answer", "did you mean 'lost-answers'"),
    ],
)
def test_a_wrong_plan_is_refused_with_the_nearest_name(content, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_plan(content)


def test_every_fault_says_what_it_does():
    assert all(len(fault.about) > 20 and fault.about.endswith(".") for fault in FAULTS.values())
