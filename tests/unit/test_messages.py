import json
import time

import pytest

from pipeline.delivery.messages import MAX_HINTS, server_hint, server_message

UUID = "b2c3d4e5-f6a7-8901-bcde-f12345678901"
PROBLEM = {
    "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
    "title": "One or more validation errors occurred.",
    "status": 400,
    "errors": {"$.locations[2].locationType": ["The JSON value could not be converted."]},
}


def body(value):
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (body("User already exists"), "User already exists"),
        (body(f"User {UUID} already exists"), "User <id> already exists"),
        (body("Meter point 707057500012345678 is taken"), "Meter point # is taken"),
        (body("Meter point ７０７ is taken"), "Meter point # is taken"),
        (body("kunde-ærlig-x is taken"), "<id> is taken"),
        (body("no user u-kari for kunde-ærlig-x."), "no user <id> for <id>."),
        (body("write to kari@example.no"), "write to <mail>"),
        (body("trace 00-4bf92f3577b34da6a3ce929d0e0e4736-00f0-01"), "trace <code>"),
        (body("line\r\nbreak\ttab"), "line break tab"),
        (body("red \x1b[31m, hidden \u202e, sep \u2028"), "red \\u{1b}[#m, hidden \\u{202e}, sep \\u{2028}"),
        (b"plain words, no JSON", "plain words, no JSON"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (
            b"<html><head><style>p {}</style></head><body><h1>400</h1>Bad <b>Request</b></body>",
            "# Bad Request",
        ),
        (b"", ""),
        (b"null", ""),
    ],
)
def test_words_are_shown_masked_on_one_line(said, shown):
    assert server_message(said, ["kunde-ærlig-x", ("u-kari", "kunde-ærlig-x")]) == shown


def test_a_problem_is_shown_with_its_title_and_errors():
    shown = server_message(body(PROBLEM))
    assert "One or more validation errors occurred." in shown
    assert "$.locations[#].locationType" in shown


def test_alike_causes_are_alike_whatever_record_they_name():
    first, second = (server_message(body(f"locations[{n}]: user {n}{UUID} unknown")) for n in (3, 47))
    assert first == second


def test_long_words_are_cut_to_two_hundred_characters():
    assert len(server_message(body("wörd " * 9999))) == 200
    assert len(server_message(body("\x1b" * 9999))) == 200


def test_short_ids_do_not_tear_words_apart():
    assert server_message(body("a bad value"), ["a", "u"]) == "<id> bad value"


@pytest.mark.parametrize(
    "hostile",
    [b"<script" * 90_000, b"<" * 600_000, b"a1" * 300_000, b"@" * 600_000, b"x@" * 300_000, b"9" * 600_000],
)
def test_a_hostile_body_is_masked_quickly(hostile):
    began = time.process_time()
    server_message(hostile, ["id"])
    server_hint(hostile, [f"customer-{n}" for n in range(1000)])
    assert time.process_time() - began < 5, "some pattern backtracks"


SENT = [f"user-{n:03}" for n in range(100)]


@pytest.mark.parametrize(
    ("said", "positions"),
    [
        (body("users[3].userId is empty"), (3,)),
        (body("Error at $.users[3]"), (3,)),
        (body("Error at $[3].userId"), (3,)),
        (body("#/users/3/userId"), (3,)),
        (body("users.3.userId"), (3,)),
        (body({"errors": {"users[3].userId": ["bad"], "Users[7].UserId": ["bad"]}}), (3, 7)),
        (body("user-042 already exists"), (42,)),
        (body("'user-042','user-007' exist"), (7, 42)),
        (b"user-042 already exists", (42,)),
        (body("users[100] is one too many"), ()),
        (body("users/batch failed"), ()),
        (body("user-0421 is not user-04"), ()),
        (body("must have 18 digits"), ()),
        (body(" ".join(SENT)), ()),
        (body(" ".join(SENT[:MAX_HINTS])), tuple(range(MAX_HINTS))),
        (b"", ()),
    ],
)
def test_the_culprit_is_found_where_the_server_names_it(said, positions):
    assert server_hint(said, SENT) == positions


def test_a_path_with_an_id_is_no_position():
    assert server_hint(body("/users/12-ab/locations"), SENT) == ()


def test_a_named_user_points_at_all_its_locations():
    sent = [("user-01", "place-1"), ("user-02", "place-2"), ("user-01", "place-3")]
    assert server_hint(body("user-01 does not exist"), sent) == (0, 2)
    assert server_hint(body("user-01 has no place-3"), sent) == (2,)


def test_ids_too_short_to_be_sure_of_are_no_hint():
    assert server_hint(body("value 18 is bad"), ["18", "19"]) == ()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (body({"one": ["two", {"three": "four"}]}), "one; two; three; four"),
        (body("X marks the X"), "X marks the X"),
        (body("a-kari, kari"), "<id>, <id>"),
        (body("w" * 200), "w" * 200),
        (body("w" * 201), "w" * 199 + "…"),
        # A thousand characters are looked at, whatever they shrink to.
        (body(" ".join([UUID] * 40)), "<id> " * 27 + "b"),
    ],
)
def test_words_are_shown_to_the_letter(said, shown):
    assert shown == server_message(said, ["kari", "a-kari"])


def test_an_id_of_six_letters_is_a_hint_and_one_of_five_is_none():
    assert server_hint(body("abcdef is bad"), ["abcde", "abcdef"]) == (1,)
    assert server_hint(body("abcde is bad"), ["abcde", "abcdef"]) == ()


def test_a_resource_is_named_by_its_own_id():
    sent = [("user-01", "place-1", "heater-8"), ("user-01", "place-1", "heater-9")]
    assert server_hint(body("heater-9 is bad"), sent) == (1,)
