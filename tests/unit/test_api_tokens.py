import asyncio
import json

import pytest

from connectors.api.tokens import (
    ATTEMPTS,
    Failure,
    Token,
    Tokens,
    lifetime,
    read_token,
    refresh_after,
    token_in,
    told_wait,
)
from schemas.errors import ApiUnavailable, AuthenticationError
from schemas.exchange import Answer, Lost, NoAnswer


def given(status=200, body=None, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content, 0.1)


def fresh(name="t", **more):
    return given(200, {"access_token": name, "token_type": "Bearer", "expires_in": 3600, **more})


NO_ANSWER = NoAnswer(Lost.NOT_SENT, "connect", 0.1)
DOWN = given(503, b"")


class Endpoint:
    """A token endpoint that says what it was told to say, and the world around it."""

    def __init__(self, *says):
        self.says = list(says)
        self.asked = 0
        self.now = 1000.0
        self.slept = []
        self.tokens = Tokens(self.ask, monotonic=lambda: self.now, sleep=self.sleep, random=lambda: 0.5)

    async def ask(self):
        self.asked += 1
        await asyncio.sleep(0)
        return self.says.pop(0)

    async def sleep(self, seconds):
        self.slept.append(seconds)


def current(endpoint, times=1):
    async def run():
        try:
            return await asyncio.gather(*(endpoint.tokens.current() for _ in range(times)))
        finally:
            await endpoint.tokens.aclose()

    return asyncio.run(run())


# ------------------------------------------------------------------ how long a token lives (AU3)
@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (None, 300.0),
        (0, 300.0),
        (-5, 300.0),
        (3600, 3600.0),
        (3599.5, 3599.5),
        ("3600", 3600.0),
        ("1e3", 300.0),
        ("soon", 300.0),
        ("", 300.0),
        ("9" * 99, 300.0),
        (1e12, 86_400.0),
        (10**400, 86_400.0),
        (float("inf"), 300.0),
        (float("nan"), 300.0),
        (True, 300.0),
        ([3600], 300.0),
    ],
)
def test_a_lifetime_is_believed_within_reason(told, seconds):
    assert lifetime(told) == seconds


@pytest.mark.parametrize(("seconds", "refresh"), [(3600, 2880), (300, 240), (100, 50), (200, 140), (10, 5)])
def test_the_next_token_is_fetched_at_four_fifths_or_a_minute_before_the_end(seconds, refresh):
    assert refresh_after(float(seconds)) == refresh


# ------------------------------------------------------------------ what is a token
@pytest.mark.parametrize("kind", ["Bearer", "bearer", "BEARER"])
def test_a_bearer_token_is_taken_in_any_case(kind):
    found = token_in(fresh("abc.DEF-123", token_type=kind), asked_at=50.0)
    assert isinstance(found, Token)
    assert (found.value, found.refresh_at, found.expires_at) == ("abc.DEF-123", 50 + 2880, 50 + 3600)


NO_TOKEN = [
    b"",
    b"<html>",
    b"\xff",
    b"[" * 100_000,
    [],
    "token",
    {},
    {"token_type": "Bearer"},
    {"access_token": "t"},
    {"access_token": "", "token_type": "Bearer"},
    {"access_token": 7, "token_type": "Bearer"},
    {"access_token": "a b", "token_type": "Bearer"},
    {"access_token": "a\r\nX: y", "token_type": "Bearer"},
    {"access_token": "ø", "token_type": "Bearer"},
    {"access_token": "t", "token_type": "mac"},
    {"access_token": "t", "token_type": None},
]


@pytest.mark.parametrize("body", NO_TOKEN)
def test_anything_else_is_no_token(body):
    assert read_token(given(200, body).body, 0.0) is None


@pytest.mark.parametrize("body", NO_TOKEN)
def test_an_endpoint_that_gives_no_token_is_asked_a_few_times_and_ends_the_run(body):
    endpoint = Endpoint(*[given(200, body)] * ATTEMPTS)
    with pytest.raises(AuthenticationError):
        current(endpoint)
    assert endpoint.asked == ATTEMPTS


# ------------------------------------------------------------------ refusals and outages (AU1, AU2, AU9)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 415, 302, 307, 201, 204])
def test_a_refusal_is_not_repeated(status):
    endpoint = Endpoint(given(status, {"error": "invalid_client"}))
    with pytest.raises(AuthenticationError):
        current(endpoint)
    assert (endpoint.asked, endpoint.slept) == (1, [])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": "invalid_client"}, "(400 invalid_client)"),
        ({"error": "kari@example.no", "error_description": "the secret hunter2"}, "(400)"),
        (b"hunter2", "(400)"),
        ([], "(400)"),
        ({"error": ["invalid_client"]}, "(400)"),
    ],
)
def test_a_refusal_repeats_nothing_of_the_body_but_the_standard_words(body, told):
    found = token_in(given(400, body), 0.0)
    assert isinstance(found, Failure)
    assert told in str(found.error)
    assert not {"hunter2", "kari"} & set(str(found.error).replace("@", " ").split())


@pytest.mark.parametrize("answer", [NO_ANSWER, DOWN, given(500, b""), given(429, b""), given(408, b"")])
def test_an_outage_is_asked_a_few_times_and_is_unavailable(answer):
    endpoint = Endpoint(*[answer] * ATTEMPTS)
    with pytest.raises(ApiUnavailable):
        current(endpoint)
    assert endpoint.asked == ATTEMPTS
    assert endpoint.slept == [1.0, 2.0, 4.0]


def test_an_endpoint_that_comes_back_gives_the_token():
    endpoint = Endpoint(DOWN, NO_ANSWER, fresh("late"))
    assert current(endpoint)[0].value == "late"


def test_the_wait_asked_for_is_kept():
    endpoint = Endpoint(given(429, b"", retry_after="17"), fresh())
    current(endpoint)
    assert endpoint.slept == [17.0]


def test_a_wait_of_more_than_a_minute_is_unavailable_at_once():
    endpoint = Endpoint(given(429, b"", retry_after="61"))
    with pytest.raises(ApiUnavailable):
        current(endpoint)
    assert endpoint.slept == []


@pytest.mark.parametrize(
    ("said", "seconds"), [("5", 5.0), ("soon", 0.0), ("-5", 0.0), ("", 0.0), ("1" * 5000, 1.11111111111e11)]
)
def test_a_wait_is_read_in_seconds(said, seconds):
    assert told_wait(given(429, b"", retry_after=said)) == seconds
    assert told_wait(NO_ANSWER) == 0.0


# ------------------------------------------------------------------ one for everyone, in time
def test_everyone_who_waits_is_served_by_one_request():
    endpoint = Endpoint(fresh())
    assert {token.value for token in current(endpoint, times=50)} == {"t"}
    assert endpoint.asked == 1


def test_everyone_who_waits_is_told_of_one_failure():
    endpoint = Endpoint(*[DOWN] * ATTEMPTS)

    async def run():
        waiting = [endpoint.tokens.current() for _ in range(9)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert {type(each) for each in asyncio.run(run())} == {ApiUnavailable}
    assert endpoint.asked == ATTEMPTS


def test_a_token_is_used_until_shortly_before_its_end():
    endpoint = Endpoint(fresh("first"), fresh("second"))

    async def run():
        values = []
        for now in (1000.0, 1000.0 + 2879.9, 1000.0 + 2880.0):
            endpoint.now = now
            values.append((await endpoint.tokens.current()).value)
        return values

    assert asyncio.run(run()) == ["first", "first", "second"]


def test_an_old_token_that_is_still_good_bridges_an_outage():
    endpoint = Endpoint(fresh("old"), *[DOWN] * ATTEMPTS, fresh("new"))

    async def run():
        values = [(await endpoint.tokens.current()).value]
        for later in (2900.0, 2929.0, 2931.0):
            endpoint.now = 1000.0 + later
            values.append((await endpoint.tokens.current()).value)
        return values

    assert asyncio.run(run()) == ["old", "old", "old", "new"]


def test_an_expired_token_bridges_nothing():
    endpoint = Endpoint(fresh("old"), *[DOWN] * ATTEMPTS)

    async def run():
        await endpoint.tokens.current()
        endpoint.now += 3600.0
        await endpoint.tokens.current()

    with pytest.raises(ApiUnavailable):
        asyncio.run(run())


def test_one_who_gives_up_waiting_does_not_take_the_token_from_the_others():
    endpoint = Endpoint(fresh())

    async def run():
        first = asyncio.create_task(endpoint.tokens.current())
        second = asyncio.create_task(endpoint.tokens.current())
        await asyncio.sleep(0)
        first.cancel()
        return (await second).value

    assert asyncio.run(run()) == "t"


def test_closing_ends_a_request_nobody_waits_for():
    endpoint = Endpoint()

    async def never():
        await asyncio.Event().wait()

    async def run():
        endpoint.tokens._ask = never
        waiting = asyncio.create_task(endpoint.tokens.current())
        await asyncio.sleep(0)
        waiting.cancel()
        await endpoint.tokens.aclose()
        return endpoint.tokens._flight.cancelled()

    assert asyncio.run(run())


# ------------------------------------------------------------------ refused by the API (AU4, AU5)
def test_a_refused_token_is_replaced():
    endpoint = Endpoint(fresh("first"), fresh("second"))

    async def run():
        endpoint.tokens.refused(await endpoint.tokens.current())
        return (await endpoint.tokens.current()).value

    assert asyncio.run(run()) == "second"


def test_many_refusals_of_one_token_are_one():
    endpoint = Endpoint(fresh("first"), fresh("second"))

    async def run():
        first = await endpoint.tokens.current()
        for _ in range(20):
            endpoint.tokens.refused(first)
        second = await endpoint.tokens.current()
        endpoint.tokens.refused(first)
        return (await endpoint.tokens.current()) is second

    assert asyncio.run(run())


def test_the_third_fresh_token_that_is_refused_ends_the_run():
    endpoint = Endpoint(*[fresh()] * 3)

    async def run():
        for _ in range(3):
            endpoint.tokens.refused(await endpoint.tokens.current())

    with pytest.raises(AuthenticationError, match="3 fresh tokens"):
        asyncio.run(run())


def test_single_refusals_days_apart_do_not_end_a_run_that_goes_well():
    endpoint = Endpoint(*[fresh()] * 6)

    async def run():
        for _ in range(3):
            endpoint.tokens.refused(await endpoint.tokens.current())
            endpoint.tokens.accepted(await endpoint.tokens.current())
            endpoint.now += 24 * 3600.0

    asyncio.run(run())
    assert endpoint.asked == 6


def test_calls_that_are_accepted_in_between_do_not_make_up_for_fresh_tokens_that_are_refused():
    """Every other call refused: without an end to it, such an API would be asked for tokens for ever."""
    endpoint = Endpoint(*[fresh()] * 6)

    async def run():
        for _ in range(3):
            endpoint.tokens.refused(await endpoint.tokens.current())
            endpoint.tokens.accepted(await endpoint.tokens.current())
            endpoint.tokens.refused(await endpoint.tokens.current())
            endpoint.now += 1000.0

    with pytest.raises(AuthenticationError, match="3 fresh tokens"):
        asyncio.run(run())


def test_tokens_that_worked_before_they_were_refused_do_not_count():
    endpoint = Endpoint(*[fresh()] * 30)

    async def run():
        for _ in range(30):
            token = await endpoint.tokens.current()
            endpoint.tokens.accepted(token)
            endpoint.tokens.refused(token)

    asyncio.run(run())
    assert endpoint.asked == 30


def test_a_token_does_not_show_itself():
    assert "hunter2" not in repr(read_token(fresh("hunter2").body, 0.0))
