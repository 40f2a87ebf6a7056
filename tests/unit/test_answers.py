import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.delivery import answers
from pipeline.delivery.answers import (
    MAX_BYTES,
    MAX_DEPTH,
    MalformedAnswer,
    held_location,
    held_locations,
    held_resource,
    held_resources,
    held_user,
    listed_locations,
    listed_users,
    parse,
    users_page,
)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty"),
        (b" \r\n", "empty"),
        (b'"' + b"x" * MAX_BYTES + b'"', "too large"),
        (b'{"users":[', "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1} x', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'"\xff"', "not UTF-8"),
        ('"ø"'.encode("utf-16"), "not UTF-8"),
        (b'"\\ud800"', "not UTF-8"),
        (b'{"\\uDC00":1}', "not UTF-8"),
        (b"NaN", "not a number"),
        (b"[Infinity]", "not a number"),
        (b"[-Infinity]", "not a number"),
        (b"[1e999]", "not a number"),
        (b"[" + b"9" * 5000 + b"]", "not JSON"),
        (b'{"a":1,"a":2}', "key twice"),
        (b'{"b":{"a":1,"\\u0061":2}}', "key twice"),
        (b"[" * 200_000, "too deep"),
        (b"[" * 200_000 + b"]" * 200_000, "too deep"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "too deep"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "too deep"),
    ],
)
def test_a_body_that_is_not_strict_json_is_malformed(body, why):
    with pytest.raises(MalformedAnswer) as malformed:
        parse(body)
    assert (malformed.value.why, str(malformed.value)) == (why, why)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":[1,2.5,-0,true,null,"\\ud83d\\ude00"]}',
        b"[" * MAX_DEPTH + b"]" * MAX_DEPTH,
        '"blåbær"'.encode(),
    ],
)
def test_strict_json_is_read_as_the_standard_library_does(body):
    assert parse(body) == json.loads(body)


def test_nothing_of_the_body_is_in_the_exception():
    with pytest.raises(MalformedAnswer) as malformed:
        parse(b'{"userId":"kari",')
    assert "kari" not in repr(malformed.value)
    assert malformed.value.__cause__ is None


USERS = b'{"users":[{"userId":"a"},{"userId":"b"}]}'


@pytest.mark.parametrize(
    "body",
    [
        USERS,
        USERS.replace(b":", b" : "),
        USERS.replace(b'"a"', b'"\\u0061"'),
        USERS.replace(b'{"userId":"a"}', b'{"userId":"a","new":[1]}'),
        USERS.replace(b'{"users"', b'{"took":3,"users"'),
    ],
)
def test_users_are_listed_however_the_answer_is_written(body):
    assert listed_users(body) == ["a", "b"]


def test_ids_with_colons_and_repeats_of_key_names_are_read():
    body = b'{"users":[{"userId":"userId"},{"userId":"urn:x:\xc3\xb8"}]}'
    assert listed_users(body) == ["userId", "urn:x:ø"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"users":[{"userId":"a","userId":"b"}]}',
        b'{"users":[{"userId":"a","user\\u0049d":"b"}]}',
        b'{"users":[],"users":[{"userId":"a"}]}',
        b'{"users":[{"userId":7}]}',
        b'{"users":[{"userId":null}]}',
        b'{"users":[{}]}',
        b'{"users":{"userId":"a"}}',
        b'[{"userId":"a"}]',
        b'{"locations":[]}',
        b"null",
    ],
)
def test_users_that_are_not_listed_as_agreed_are_malformed(body):
    with pytest.raises(MalformedAnswer):
        listed_users(body)


def test_a_location_may_leave_its_user_out():
    body = (
        b'{"locations":[{"locationId":"l","userId":"u"},{"locationId":"m"},{"locationId":"n","userId":null}]}'
    )
    assert listed_locations(body) == [("u", "l"), (None, "m"), (None, "n")]


@pytest.mark.parametrize("twice", [b'"locationId":"l"', b'"userId":"u"', b'"userId":null'])
def test_an_id_told_twice_is_malformed(twice):
    body = b'{"locations":[{"locationId":"l","userId":"u",' + twice + b"}]}"
    with pytest.raises(MalformedAnswer):
        listed_locations(body)


def test_a_user_told_twice_by_one_record_does_not_stand_for_another():
    body = b'{"locations":[{"locationId":"l","userId":"u","userId":"v"},{"locationId":"m"}]}'
    with pytest.raises(MalformedAnswer):
        listed_locations(body)


TOO_DEEP = b"[" * 200_000 + b"]" * 200_000
"""Deeper than any version of Python follows."""


@pytest.mark.parametrize("bad", [b"NaN", b"01", b"[1,]", b'"\xff"', b'"\x01"', TOO_DEEP])
def test_what_stands_beside_the_ids_is_json_too(bad):
    with pytest.raises(MalformedAnswer):
        listed_users(b'{"users":[{"userId":"a","new":' + bad + b"}]}")


class _Pairs:
    """A JSON object that may name a key twice."""

    def __init__(self, pairs):
        self.pairs = pairs


KEYS = ["users", "locations", "userId", "locationId", "locationType", "coordinates", "latitude", "x"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(-90, 90)
    | st.text('ab:\\"ø\u2028\x00', max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.tuples(st.sampled_from(KEYS), inner), max_size=4).map(_Pairs)
    ),
    max_leaves=12,
)
LOCATION = st.lists(
    st.tuples(
        st.sampled_from(["locationId", "userId", "locationType", "coordinates", "meterPointIds"]), JSON
    ),
    max_size=5,
).map(lambda pairs: _Pairs([("locationId", "l"), *pairs]))


def _written(value, gap):
    if isinstance(value, _Pairs):
        inside = ",".join(f"{json.dumps(k)}{gap}:{gap}{_written(v, gap)}" for k, v in value.pairs)
        return "{" + inside + "}"
    if isinstance(value, list):
        return "[" + ",".join(_written(v, gap) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(["users", "locations"]),
    st.lists(LOCATION | JSON, max_size=3),
    st.sampled_from(["", " "]),
    st.booleans(),
)
def test_the_quick_way_tells_the_ids_that_the_strict_way_tells_and_each_only_once(name, items, gap, twice):
    pairs = [(name, items)] * (2 if twice else 1)
    body = _written(_Pairs(pairs), gap).encode("utf-8", "surrogatepass")
    for read, shape, own in (
        (listed_users, answers._UserList, "userId"),
        (listed_locations, answers._LocationList, "locationId"),
    ):
        try:
            told = read(body)
        except MalformedAnswer:
            told = None
        try:
            strict = answers._shaped(body, shape)
        except MalformedAnswer:
            # What the strict way minds beside the ids proves nothing about them.
            assert told is None or told == _each_told_once(body, name, own)
            continue
        if shape is answers._UserList:
            assert told == [user.user_id for user in strict.users]
        else:
            assert told == [(one.user_id or None, one.location_id) for one in strict.locations]


def _each_told_once(body, name, own):
    """The ids by a reader that keeps every pair, so that nothing told twice can hide."""
    [(key, records)] = json.loads(body, object_pairs_hook=lambda pairs: _Pairs(pairs)).pairs
    assert name == key
    for record in records:
        assert 1 == [key for key, _ in record.pairs].count(own)
        assert [key for key, _ in record.pairs].count("userId") <= 1
    ids = [dict(record.pairs) for record in records]
    return [one[own] if own == "userId" else (one.get("userId"), one[own]) for one in ids]


def test_reads_are_typed_values():
    assert held_user(b'{"userId":"u","more":1}').user_id == "u"
    page = users_page(
        b'{"pagination":{"totalRecords":1,"pageSize":9,"currentPage":1},"users":[{"userId":"u"}]}'
    )
    assert (page.pagination.total_records, page.pagination.page_size, page.users[0].user_id) == (1, 9, "u")
    held = held_location(
        b'{"locationId":"l","coordinates":{"latitude":59,"longitude":10.5},"meterPointIds":["7"]}'
    )
    assert (held.coordinates.latitude, held.meter_point_ids) == (59.0, ["7"])
    assert [one.location_id for one in held_locations(b'[{"locationId":"l"}]')] == ["l"]
    vehicle = b'{"resourceId":"r","resourceType":"Vehicle","userId":"u"}'
    assert held_resource(vehicle).resource_type == "Vehicle"
    assert held_resources(b"[" + vehicle + b"]")[0].resource_id == "r"
    assert held_resources(b'{"resources":[' + vehicle + b"]}")[0].resource_id == "r"


def test_a_page_without_users_is_an_empty_page():
    assert users_page(b'{"pagination":{"totalRecords":0,"pageSize":9,"currentPage":1}}').users == []


def test_a_body_of_just_sixteen_megabytes_is_read():
    assert len(parse(b'"' + b"x" * (MAX_BYTES - 2) + b'"')) == MAX_BYTES - 2


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (listed_users, USERS),
        (listed_users, b'{"users":[]}'),
        (
            listed_locations,
            b'{"locations":[{"userId":"u","locationId":"l"},{"locationId":"m","userId":"u"}]}',
        ),
        (listed_locations, b'{"locations":[]}'),
    ],
)
def test_the_usual_answer_goes_the_quick_way(read, body, monkeypatch):
    strictly = list(read(body.replace(b":", b": ").replace(b'"users"', b'"\\u0075sers"')))
    monkeypatch.delattr(answers, "_shaped")
    assert strictly == list(read(body))


def test_texts_are_not_taken_for_numbers():
    page = b'{"pagination":{"totalRecords":"1","pageSize":9,"currentPage":1},"users":[]}'
    with pytest.raises(MalformedAnswer) as malformed:
        users_page(page)
    assert malformed.value.why == "unexpected shape"


def test_blanks_before_a_list_do_not_matter():
    assert held_resources(b' [{"resourceId":"r","resourceType":"Vehicle"}]')[0].resource_id == "r"
