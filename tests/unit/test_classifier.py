import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.delivery.classifier import (
    ROWS,
    CallKind,
    Expectation,
    Reason,
    Ruling,
    Strain,
    classify,
    row_for,
)
from schemas.exchange import Answer, Lost, NoAnswer

JSON = {"content-type": "application/json; charset=utf-8"}
USERS = ["user-1", "user-2", "user-3"]
PLACES = [("user-1", "place-1"), ("user-1", "place-2"), ("user-2", "place-3")]
BATCHES = {CallKind.USERS_BATCH, CallKind.LOCATIONS_BATCH}
DELETES = {CallKind.USER_DELETE, CallKind.LOCATION_DELETE, CallKind.RESOURCE_DELETE}
CHILDREN = {CallKind.LOCATION_CREATE, CallKind.RESOURCE_CREATE, CallKind.VEHICLE_CREATE}
CREATES = BATCHES | CHILDREN | {CallKind.USER_CREATE}
CHANGES = {CallKind.LOCATION_PATCH, CallKind.LOCATION_PUT}
READS = {CallKind.READ_ONE, CallKind.READ_LIST}

SENT = {
    CallKind.USERS_BATCH: USERS,
    CallKind.LOCATIONS_BATCH: PLACES,
    CallKind.USER_CREATE: ["user-1"],
    CallKind.LOCATION_CREATE: [("user-1", "place-1")],
    CallKind.RESOURCE_CREATE: [("user-1", "place-1", "heater-1")],
    CallKind.VEHICLE_CREATE: [("user-1", "car-1")],
    CallKind.LOCATION_PATCH: [("user-1", "place-1")],
    CallKind.LOCATION_PUT: [("user-1", "place-1")],
    CallKind.USER_DELETE: ["user-1"],
    CallKind.LOCATION_DELETE: [("user-1", "place-1")],
    CallKind.RESOURCE_DELETE: [("user-1", "place-1", "heater-1")],
    CallKind.READ_ONE: [],
    CallKind.READ_LIST: [],
}
LOCATION = {"locationId": "place-1", "userId": "user-1", "locationType": "Other", "meterPointIds": []}
PROOF = {
    CallKind.USERS_BATCH: {"users": [{"userId": user} for user in USERS]},
    CallKind.LOCATIONS_BATCH: {"locations": [{"userId": u, "locationId": p} for u, p in PLACES]},
    CallKind.USER_CREATE: {"userId": "user-1"},
    CallKind.LOCATION_CREATE: LOCATION,
    CallKind.LOCATION_PATCH: LOCATION,
    CallKind.LOCATION_PUT: LOCATION,
    CallKind.RESOURCE_CREATE: {
        "resourceId": "heater-1",
        "resourceType": "Charger",
        "locationId": "place-1",
        "userId": "user-1",
    },
    CallKind.VEHICLE_CREATE: {"resourceId": "car-1", "resourceType": "Vehicle", "userId": "user-1"},
}
SUCCESS = dict.fromkeys(CREATES, 201) | dict.fromkeys(CHANGES, 200)


def told(kind, status, body=b"", headers=JSON, sent=None):
    expectation = Expectation(kind, SENT[kind] if sent is None else sent)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify(expectation, Answer(status, headers, content, 0.1), 0.0)


# ------------------------------------------------------------------ applied, by proof only
@pytest.mark.parametrize("kind", PROOF)
def test_an_answer_that_names_what_was_sent_proves_it(kind):
    verdict = told(kind, SUCCESS[kind], PROOF[kind])
    assert (verdict.ruling, verdict.reason, verdict.strain) == (Ruling.APPLIED, Reason.PROVEN, Strain.NONE)
    assert verdict.proven is SENT[kind]
    assert verdict.message == ""


@pytest.mark.parametrize("kind", [CallKind.USERS_BATCH, CallKind.LOCATIONS_BATCH])
def test_the_order_of_the_list_does_not_matter(kind):
    ((name, items),) = PROOF[kind].items()
    verdict = told(kind, 201, {name: items[::-1]})
    assert (verdict.ruling, verdict.proven) == (Ruling.APPLIED, SENT[kind])


def test_fields_nobody_asked_for_do_not_matter():
    users = [{"userId": user, "createdAt": "2026-01-01"} for user in USERS]
    assert told(CallKind.USERS_BATCH, 201, {"users": users, "took": 3}).ruling is Ruling.APPLIED


@pytest.mark.parametrize("kind", [CallKind.LOCATION_CREATE, CallKind.LOCATION_PATCH, CallKind.LOCATION_PUT])
@pytest.mark.parametrize("user", [None, "left out"])
def test_a_single_location_may_leave_its_user_out(kind, user):
    body = {"locationId": "place-1"} if user else {"locationId": "place-1", "userId": None}
    assert told(kind, SUCCESS[kind], body).ruling is Ruling.APPLIED


def test_locations_listed_without_users_are_proven_when_their_ids_are_unmistakable():
    body = {"locations": [{"locationId": place} for _, place in PLACES]}
    assert told(CallKind.LOCATIONS_BATCH, 201, body).ruling is Ruling.APPLIED


def test_locations_listed_without_users_prove_nothing_when_two_users_have_that_id():
    sent = [("user-1", "home"), ("user-2", "home")]
    body = {"locations": [{"locationId": "home"}, {"locationId": "home"}]}
    verdict = told(CallKind.LOCATIONS_BATCH, 201, body, sent=sent)
    assert (verdict.ruling, verdict.proven) == (Ruling.IN_DOUBT, ())


# ------------------------------------------------------------------ RE2, RE3
@pytest.mark.parametrize("kind", [CallKind.USERS_BATCH, CallKind.LOCATIONS_BATCH])
def test_a_shorter_list_proves_those_it_names(kind):
    ((name, items),) = PROOF[kind].items()
    verdict = told(kind, 201, {name: [items[2], items[0]]})
    assert (verdict.ruling, verdict.reason) == (Ruling.PARTLY, Reason.LISTED_IN_PART)
    assert verdict.proven == (SENT[kind][0], SENT[kind][2])


def test_an_empty_list_proves_nothing():
    verdict = told(CallKind.USERS_BATCH, 201, {"users": []})
    assert (verdict.ruling, verdict.reason, verdict.proven) == (Ruling.IN_DOUBT, Reason.LISTED_IN_PART, ())


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CallKind.USERS_BATCH, {"users": [{"userId": user} for user in [*USERS, "user-9"]]}),
        (CallKind.USERS_BATCH, {"users": [{"userId": user} for user in ["user-1", "user-2", "USER-3"]]}),
        (CallKind.LOCATIONS_BATCH, {"locations": [{"userId": "user-9", "locationId": "place-1"}]}),
        (CallKind.LOCATIONS_BATCH, {"locations": [{"locationId": "place-9"}]}),
        (CallKind.USER_CREATE, {"userId": "user-9"}),
        (CallKind.LOCATION_CREATE, {"locationId": "place-1", "userId": "user-9"}),
        (CallKind.LOCATION_PATCH, {"locationId": "place-9"}),
        (CallKind.RESOURCE_CREATE, {**PROOF[CallKind.RESOURCE_CREATE], "locationId": "place-9"}),
        (CallKind.RESOURCE_CREATE, {**PROOF[CallKind.RESOURCE_CREATE], "userId": "user-9"}),
        (CallKind.VEHICLE_CREATE, {**PROOF[CallKind.VEHICLE_CREATE], "userId": "user-9"}),
        (CallKind.VEHICLE_CREATE, {**PROOF[CallKind.VEHICLE_CREATE], "resourceId": "car-9"}),
    ],
)
def test_an_id_that_was_not_sent_takes_the_proof_away(kind, body):
    verdict = told(kind, SUCCESS[kind], body)
    assert (verdict.ruling, verdict.reason, verdict.proven) == (Ruling.IN_DOUBT, Reason.FOREIGN_IDS, ())


def test_an_id_listed_twice_takes_the_proof_away():
    users = [{"userId": user} for user in ["user-1", "user-1", "user-2", "user-3"]]
    verdict = told(CallKind.USERS_BATCH, 201, {"users": users})
    assert (verdict.ruling, verdict.reason, verdict.proven) == (Ruling.IN_DOUBT, Reason.REPEATED_IDS, ())


# ------------------------------------------------------------------ RE4, RE5, RE6
@pytest.mark.parametrize("kind", PROOF)
@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"", JSON, Reason.EMPTY_BODY),
        (b" \n", {}, Reason.EMPTY_BODY),
        (b"<!doctype html><title>Log in</title>", {"content-type": "text/html"}, Reason.HTML_PAGE),
        (b"\n <html>", JSON, Reason.HTML_PAGE),
        (b'{"users":[{"userId":"us', JSON, Reason.MALFORMED_BODY),
        (b"\xff\xfe", JSON, Reason.MALFORMED_BODY),
        (b"NaN", JSON, Reason.MALFORMED_BODY),
        (b'{"users":[],"users":[]}', JSON, Reason.MALFORMED_BODY),
        (b"[" * 200_000, JSON, Reason.MALFORMED_BODY),
        (b"9" * 5000, JSON, Reason.MALFORMED_BODY),
        (b'"created"', JSON, Reason.MALFORMED_BODY),
        (b"null", JSON, Reason.MALFORMED_BODY),
    ],
)
def test_a_success_without_a_whole_body_is_in_doubt(kind, body, headers, reason):
    verdict = told(kind, SUCCESS[kind], body, headers)
    assert (verdict.ruling, verdict.reason, verdict.proven) == (Ruling.IN_DOUBT, reason, ())


@pytest.mark.parametrize("kind", PROOF)
@pytest.mark.parametrize("media_type", ["", "text/plain", "application/xml", "application/jsonp"])
def test_a_success_of_the_wrong_content_type_is_in_doubt(kind, media_type):
    verdict = told(kind, SUCCESS[kind], PROOF[kind], {"content-type": media_type})
    assert (verdict.ruling, verdict.reason) == (Ruling.IN_DOUBT, Reason.NOT_DECLARED_JSON)


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON;charset=UTF-8", "text/json", "a/b+json"]
)
def test_every_way_to_declare_json_is_taken(media_type):
    verdict = told(CallKind.USERS_BATCH, 201, PROOF[CallKind.USERS_BATCH], {"content-type": media_type})
    assert verdict.ruling is Ruling.APPLIED


@pytest.mark.parametrize("kind", sorted(CREATES))
@pytest.mark.parametrize("status", [200, 203, 204, 206, 207, 226, 299])
def test_another_success_than_the_one_agreed_is_in_doubt_whatever_it_says(kind, status):
    verdict = told(kind, status, PROOF[kind])
    assert (verdict.ruling, verdict.reason) == (Ruling.IN_DOUBT, Reason.SUCCESS_WITHOUT_PROOF)
    assert verdict.strain is Strain.NONE


@pytest.mark.parametrize("kind", sorted(CREATES | CHANGES | DELETES))
def test_accepted_for_later_is_in_doubt(kind):
    assert told(kind, 202).reason is Reason.ACCEPTED_FOR_LATER


@pytest.mark.parametrize("kind", sorted(set(CallKind)))
def test_a_login_page_is_told_apart(kind):
    page = told(kind, 200, b"<html>Sign in</html>", {"content-type": "text/html"})
    assert (page.ruling, page.reason, page.strain) == (Ruling.IN_DOUBT, Reason.HTML_PAGE, Strain.FAILED)


@pytest.mark.parametrize(
    ("body", "headers", "reason", "strain", "message"),
    [
        (b"", JSON, Reason.EMPTY_BODY, Strain.NONE, ""),
        (b"{}", {}, Reason.NOT_DECLARED_JSON, Strain.NONE, ""),
        (b"{}", {"content-type": "Text/HTML"}, Reason.HTML_PAGE, Strain.FAILED, ""),
        (b" " * 199 + b"<", JSON, Reason.HTML_PAGE, Strain.FAILED, ""),
        (b" " * 200 + b"<", JSON, Reason.MALFORMED_BODY, Strain.FAILED, "not JSON"),
        (b"{}", JSON, Reason.MALFORMED_BODY, Strain.FAILED, "unexpected shape"),
        (b'{"users":[]}', JSON, Reason.LISTED_IN_PART, Strain.NONE, ""),
    ],
)
def test_a_damaged_success_is_a_strain_a_poor_one_is_not(body, headers, reason, strain, message):
    verdict = told(CallKind.USERS_BATCH, 201, body, headers)
    assert (reason, strain, message) == (verdict.reason, verdict.strain, verdict.message)


def test_a_resource_that_names_nothing_but_itself_is_proven():
    body = {"resourceId": "heater-1", "resourceType": "Charger"}
    assert told(CallKind.RESOURCE_CREATE, 201, body).ruling is Ruling.APPLIED


@pytest.mark.parametrize("kind", [CallKind.USERS_BATCH, CallKind.LOCATIONS_BATCH])
def test_whatever_sequence_was_sent_is_proven(kind):
    sent = tuple(SENT[kind])
    assert told(kind, 201, PROOF[kind], sent=sent).proven is sent


# ------------------------------------------------------------------ deletes and reads
@pytest.mark.parametrize("kind", sorted(DELETES))
@pytest.mark.parametrize(
    ("status", "reason"), [(204, Reason.PROVEN), (404, Reason.ALREADY_GONE), (410, Reason.ALREADY_GONE)]
)
def test_deleted_and_already_gone_are_both_done(kind, status, reason):
    verdict = told(kind, status)
    assert (verdict.ruling, verdict.reason, verdict.proven) == (Ruling.APPLIED, reason, SENT[kind])


@pytest.mark.parametrize("kind", sorted(DELETES))
@pytest.mark.parametrize("status", [200, 202, 409, 500])
def test_any_other_end_of_a_delete_is_in_doubt(kind, status):
    assert told(kind, status).ruling is Ruling.IN_DOUBT


@pytest.mark.parametrize("kind", sorted(READS))
def test_a_read_is_answered_by_whole_json_only(kind):
    assert told(kind, 200, b"[]").ruling is Ruling.ANSWERED
    assert told(kind, 200, b"[").ruling is Ruling.IN_DOUBT
    assert told(kind, 200, b"").ruling is Ruling.IN_DOUBT


def test_a_thing_not_found_is_absent_but_a_list_not_found_is_a_wrong_address():
    assert told(CallKind.READ_ONE, 404).ruling is Ruling.GONE
    assert told(CallKind.READ_LIST, 404).ruling is Ruling.CONTRACT


# ------------------------------------------------------------------ every other status, every kind of call
OTHERS = [
    *[
        (status, set(CallKind), Ruling.CONTRACT, Reason.MOVED)
        for status in (300, 301, 302, 303, 304, 307, 308)
    ],
    (401, set(CallKind), Ruling.NOT_APPLIED, Reason.TOKEN_REFUSED),
    (403, set(CallKind), Ruling.FORBIDDEN, Reason.FORBIDDEN),
    (400, set(CallKind), Ruling.REFUSED, Reason.BAD_REQUEST),
    (422, set(CallKind), Ruling.REFUSED, Reason.BAD_REQUEST),
    (404, BATCHES | {CallKind.USER_CREATE}, Ruling.CONTRACT, Reason.NOT_THIS_ENDPOINT),
    (404, CHILDREN, Ruling.PARENT_MISSING, Reason.PARENT_ABSENT),
    (404, CHANGES, Ruling.GONE, Reason.ABSENT),
    *[
        (status, set(CallKind), Ruling.CONTRACT, Reason.NOT_THIS_ENDPOINT)
        for status in (405, 406, 407, 411, 415, 417, 421, 426)
    ],
    (409, BATCHES, Ruling.REFUSED, Reason.EXISTS),
    (409, CREATES - BATCHES | CHANGES, Ruling.CONFLICT, Reason.EXISTS),
    (409, READS, Ruling.IN_DOUBT, Reason.STATUS_UNKNOWN),
    (408, set(CallKind), Ruling.IN_DOUBT, Reason.SERVER_TIMED_OUT),
    (425, set(CallKind), Ruling.IN_DOUBT, Reason.SERVER_TIMED_OUT),
    (413, BATCHES, Ruling.TOO_LARGE, Reason.TOO_LARGE),
    (413, set(CallKind) - BATCHES, Ruling.REFUSED, Reason.TOO_LARGE),
    (414, set(CallKind) - BATCHES, Ruling.REFUSED, Reason.TOO_LARGE),
    (431, set(CallKind) - BATCHES, Ruling.REFUSED, Reason.TOO_LARGE),
    (429, set(CallKind), Ruling.THROTTLED, Reason.THROTTLED),
    *[
        (status, set(CallKind), Ruling.IN_DOUBT, Reason.SERVER_FAILED)
        for status in (500, 501, 502, 503, 504, 505, 511, 520, 522, 524, 599)
    ],
    *[
        (status, set(CallKind), Ruling.IN_DOUBT, Reason.STATUS_UNKNOWN)
        for status in (100, 101, 402, 418, 451, 499, 600, 999)
    ],
]


@pytest.mark.parametrize(
    ("status", "kind", "ruling", "reason"),
    [(status, kind, ruling, reason) for status, kinds, ruling, reason in OTHERS for kind in sorted(kinds)],
)
def test_every_status_has_its_verdict(status, kind, ruling, reason):
    verdict = told(kind, status, b'"No."')
    assert (verdict.ruling, verdict.reason, verdict.status) == (ruling, reason, status)
    assert verdict.proven == ()
    assert verdict.message == "No."


@pytest.mark.parametrize("kind", sorted(set(CallKind)))
def test_nothing_but_the_agreed_statuses_ever_says_applied(kind):
    claims = {
        status
        for status in range(100, 1000)
        if row_for(kind, status).ruling in (Ruling.APPLIED, Ruling.ANSWERED)
    }
    agreed = {201} if kind in CREATES else {200} if kind in CHANGES | READS else {204, 404, 410}
    assert claims == agreed


def test_every_row_of_the_table_decides_something():
    decided = {id(row_for(kind, status)) for kind in CallKind for status in range(100, 600)}
    assert {row.row for row in ROWS if id(row) not in decided} == set()


@pytest.mark.parametrize(
    ("status", "strain", "shrink"),
    [
        (400, Strain.NONE, False),
        (408, Strain.FAILED, True),
        (413, Strain.NONE, True),
        (429, Strain.THROTTLED, False),
        (500, Strain.FAILED, False),
        (503, Strain.FAILED, False),
        (504, Strain.FAILED, True),
    ],
)
def test_strain_and_size_are_told_to_the_pace(status, strain, shrink):
    verdict = told(CallKind.USERS_BATCH, status)
    assert (verdict.strain, verdict.shrink) == (strain, shrink)


def test_a_single_record_that_is_too_large_is_refused_not_cut():
    verdict = told(CallKind.USERS_BATCH, 413, sent=["user-1"])
    assert (verdict.ruling, verdict.reason, verdict.shrink) == (Ruling.REFUSED, Reason.TOO_LARGE, False)


# ------------------------------------------------------------------ what comes along
@pytest.mark.parametrize(("status", "waits"), [(429, 7.0), (503, 7.0), (400, 7.0), (201, None), (301, None)])
def test_the_wait_asked_for_is_told(status, waits):
    assert told(CallKind.USERS_BATCH, status, headers={"retry-after": "7"}).retry_after == waits


@pytest.mark.parametrize(("told_wait", "too_long"), [("900", False), ("901", True), ("soon", False)])
def test_a_wait_longer_than_a_quarter_of_an_hour_is_too_long(told_wait, too_long):
    assert told(CallKind.USERS_BATCH, 429, headers={"retry-after": told_wait}).asks_too_long is too_long


def test_a_refused_batch_points_at_the_culprit():
    assert told(CallKind.USERS_BATCH, 400, b'"users[1] is bad"').hints == (1,)
    assert told(CallKind.LOCATIONS_BATCH, 400, b'"place-3 is bad"').hints == (2,)
    assert told(CallKind.USERS_BATCH, 500, b'"users[1] is bad"').hints == ()
    assert told(CallKind.LOCATION_CREATE, 400, b'"place-1 is bad"').hints == ()


def test_of_two_records_one_can_be_the_culprit():
    assert told(CallKind.USERS_BATCH, 400, b'"users[1] is bad"', sent=USERS[:2]).hints == (1,)


def test_a_wait_until_a_date_is_measured_by_our_clock_when_the_answer_has_none():
    headers = {"retry-after": "Thu, 01 Jan 1970 00:00:30 GMT"}
    assert told(CallKind.USERS_BATCH, 429, headers=headers).retry_after == 30.0


def test_ids_are_masked_in_what_the_server_says():
    assert told(CallKind.LOCATIONS_BATCH, 400, b'"place-3 of user-2 is bad"').message == "<id> of <id> is bad"


# ------------------------------------------------------------------ no answer
@pytest.mark.parametrize("kind", sorted(set(CallKind)))
def test_what_was_not_sent_may_be_sent_again(kind):
    verdict = classify(Expectation(kind, SENT[kind]), NoAnswer(Lost.NOT_SENT, "connect", 0.1), 0.0)
    assert (verdict.ruling, verdict.reason, verdict.status) == (Ruling.NOT_APPLIED, Reason.NOT_SENT, None)
    assert (verdict.message, verdict.strain) == ("connect", Strain.FAILED)


@pytest.mark.parametrize("kind", sorted(set(CallKind)))
@pytest.mark.parametrize(
    ("cause", "reason", "shrink"),
    [
        ("deadline", Reason.TIMED_OUT, True),
        ("read timeout", Reason.TIMED_OUT, True),
        ("write failed", Reason.CONNECTION_LOST, True),
        ("connection lost", Reason.CONNECTION_LOST, False),
        ("answer too large", Reason.ANSWER_UNUSABLE, True),
        ("content encoding", Reason.ANSWER_UNUSABLE, False),
        ("protocol", Reason.ANSWER_UNUSABLE, False),
        ("a cause of tomorrow", Reason.CONNECTION_LOST, False),
    ],
)
def test_a_lost_answer_is_in_doubt(kind, cause, reason, shrink):
    verdict = classify(Expectation(kind, SENT[kind]), NoAnswer(Lost.IN_DOUBT, cause, 0.1), 0.0)
    assert (verdict.ruling, verdict.reason, verdict.shrink) == (Ruling.IN_DOUBT, reason, shrink)
    assert (verdict.strain, verdict.proven, verdict.message) == (Strain.FAILED, (), cause)


# ------------------------------------------------------------------ anything at all
PIECES = st.sampled_from(
    [b"users", b"userId", b"user-1", b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\", b"null", b"<a>"]
)


@settings(max_examples=1500, deadline=None)
@given(
    st.sampled_from(sorted(CallKind)),
    st.sampled_from([200, 201, 204, 400, 404, 409, 429, 503]) | st.integers(0, 999),
    st.binary(max_size=60)
    | st.lists(PIECES, max_size=15).map(b"".join)
    | st.sampled_from([*map(json.dumps, PROOF.values())]),
    st.dictionaries(st.sampled_from(["content-type", "retry-after", "date"]), st.text(max_size=30)),
)
def test_no_answer_whatsoever_raises_or_proves_what_it_does_not_name(kind, status, body, headers):
    content = body.encode() if isinstance(body, str) else body
    verdict = told(kind, status, content, {**JSON, **headers})
    assert set(verdict.proven) <= set(SENT[kind])
    assert len(verdict.message) <= 200
    assert verdict.message.isprintable()
    if verdict.ruling is Ruling.APPLIED and kind not in DELETES:
        leaves = [key if isinstance(key, str) else key[-1] for key in SENT[kind]]
        assert all(leaf.encode() in content for leaf in leaves)
