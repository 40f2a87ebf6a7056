import asyncio
import json
import logging

import httpx
import pytest
from pydantic import SecretStr

from connectors.api import ApiClient
from connectors.api.urls import UnsafeSegmentError
from schemas.errors import ApiUnavailable, AuthenticationError, SettingsError
from schemas.exchange import Answer, Call, Lost, NoAnswer

BASE = "https://api.example.no/energy-coordination/v1"
TOKEN_URL = "https://auth.example.no/connect/token"
SECRET = "canary-secret-4711"
CREATE = Call("POST", ("users", "batch"), b'{"users":[]}', trace="chunk-1")


class Service:
    """An API and its token endpoint in process. `answers` are used up one by one, then 200 for ever."""

    def __init__(self, *answers, token=None):
        self.answers = list(answers)
        self.token = token
        self.tokens = 0
        self.requests = []

    async def __call__(self, request):
        await asyncio.sleep(0)
        if str(request.url) == TOKEN_URL:
            self.tokens += 1
            self.form = request.content
            return self.token or httpx.Response(
                200, json={"access_token": f"t-{self.tokens}", "token_type": "Bearer", "expires_in": 3600}
            )
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else httpx.Response(answer, json={})

    @property
    def bearers(self):
        return [request.headers["authorization"].removeprefix("Bearer ") for request in self.requests]


async def _at_once(_):
    await asyncio.sleep(0)


def client(service, **options):
    options = {"transport": httpx.MockTransport(service), "sleep": _at_once, "random": lambda: 0.5, **options}
    return ApiClient(BASE, TOKEN_URL, "partner-1", SecretStr(SECRET), **options)


def call(service, *calls, **options):
    async def run():
        async with client(service, **options) as api:
            return [await api.call(each) for each in calls or [CREATE]]

    return asyncio.run(run())


# ------------------------------------------------------------------ what goes out, what comes back
def test_the_token_comes_before_any_other_request():
    service = Service(201)
    (answer,) = call(service)
    assert (answer.status, json.loads(answer.body), service.tokens) == (201, {}, 1)
    assert (
        service.form == b"grant_type=client_credentials&client_id=partner-1&client_secret=canary-secret-4711"
    )


def test_secrets_with_special_characters_survive_the_form():
    service = Service()

    async def run():
        secret = SecretStr("a&b=c+d %ø")
        async with ApiClient(BASE, TOKEN_URL, "x", secret, transport=httpx.MockTransport(service)) as api:
            await api.sign_in()

    asyncio.run(run())
    assert service.form.endswith(b"client_secret=a%26b%3Dc%2Bd+%25%C3%B8")


def test_a_call_goes_to_its_url_with_its_body_and_nothing_shared_with_the_next():
    service = Service()
    call(service, CREATE, Call("GET", ("users", "a b"), query={"page": "1"}), trace_header="X-Request-Id")
    post, get = service.requests
    assert (post.method, str(post.url), post.content) == ("POST", f"{BASE}/users/batch", b'{"users":[]}')
    assert (post.headers["content-type"], post.headers["x-request-id"]) == ("application/json", "chunk-1")
    assert (get.method, str(get.url), get.content) == ("GET", f"{BASE}/users/a%20b?page=1", b"")
    assert "content-type" not in get.headers
    assert "x-request-id" not in get.headers


def test_no_trace_header_goes_out_unless_asked_for():
    service = Service()
    call(service)
    assert "chunk-1" not in str(service.requests[0].headers)


def test_headers_of_an_answer_have_lower_case_names():
    service = Service(
        lambda _: httpx.Response(429, headers=[("Retry-After", "5"), ("retry-after", "9"), ("Date", "x")])
    )
    (answer,) = call(service)
    assert (answer.headers["retry-after"], answer.headers["date"]) == ("5, 9", "x")


def test_seconds_are_measured_on_the_clock_given():
    times = iter(range(0, 1000, 7))
    (answer,) = call(Service(), monotonic=lambda: float(next(times)))
    assert answer.seconds == 7.0


def test_sign_in_asks_for_a_token_only():
    service = Service()

    async def run():
        async with client(service) as api:
            await api.sign_in()

    asyncio.run(run())
    assert (service.tokens, service.requests) == (1, [])


def test_an_unsafe_id_never_reaches_a_url():
    service = Service()
    with pytest.raises(UnsafeSegmentError):
        call(service, Call("DELETE", ("users", "u1", "locations", "..")))
    assert (service.tokens, service.requests) == (0, [])


# ------------------------------------------------------------------ losses
@pytest.mark.parametrize(
    ("error", "lost", "cause"),
    [
        (httpx.ConnectError("x"), Lost.NOT_SENT, "connect"),
        (httpx.ConnectTimeout("x"), Lost.NOT_SENT, "connect timeout"),
        (httpx.PoolTimeout("x"), Lost.NOT_SENT, "pool timeout"),
        (httpx.ReadTimeout("x"), Lost.IN_DOUBT, "read timeout"),
        (httpx.WriteError("x"), Lost.IN_DOUBT, "write failed"),
        (httpx.RemoteProtocolError("x"), Lost.IN_DOUBT, "protocol"),
        (ConnectionResetError("x"), Lost.IN_DOUBT, "connection lost"),
    ],
)
def test_a_lost_answer_is_a_value(error, lost, cause):
    (came,) = call(Service(error))
    assert isinstance(came, NoAnswer)
    assert (came.lost, came.cause) == (lost, cause)


def test_a_bug_is_not_taken_for_a_lost_answer():
    with pytest.raises(ZeroDivisionError):
        call(Service(ZeroDivisionError()))


@pytest.mark.parametrize("size", [1000, 1001])
def test_an_answer_over_the_cap_is_in_doubt(size):
    (came,) = call(Service(lambda _: httpx.Response(200, content=b"x" * size)), max_answer_bytes=1000)
    assert isinstance(came, Answer if size == 1000 else NoAnswer)


def test_the_deadline_ends_a_call_that_hangs():
    async def hangs():
        await asyncio.Event().wait()

    service = Service()

    async def run():
        async with client(service) as api:
            await api.sign_in()
            api._deadline = 0.02  # from here on: nothing else has to be quick
            api._transport = httpx.MockTransport(lambda _: hangs())
            return await api.call(CREATE)

    came = asyncio.run(run())
    assert (came.lost, came.cause) == (Lost.IN_DOUBT, "deadline")


# ------------------------------------------------------------------ 401
def test_a_401_is_answered_with_one_new_token_and_one_repeat():
    service = Service(200, 401, 201)
    answers = call(service, CREATE, CREATE)
    assert [answer.status for answer in answers] == [200, 201]
    assert service.bearers == ["t-1", "t-1", "t-2"]
    assert service.requests[1].content == service.requests[2].content


def test_a_second_401_in_a_row_is_the_answer():
    service = Service(401, 401)
    (answer,) = call(service)
    assert answer.status == 401
    assert service.bearers == ["t-1", "t-2"]


def test_the_third_token_refused_at_its_first_use_ends_the_run():
    service = Service(401, 401, 401)
    with pytest.raises(AuthenticationError):
        call(service, CREATE, CREATE)
    assert service.bearers == ["t-1", "t-2", "t-3"]


def test_tokens_that_work_may_expire_as_often_as_they_like():
    service = Service(*[200, 401] * 20)
    assert {answer.status for answer in call(service, *[CREATE] * 20)} == {200}
    assert service.tokens == 20


def test_a_failing_gateway_does_not_vouch_for_a_token():
    service = Service(503, 401, 503, 401, 503, 401)
    with pytest.raises(AuthenticationError):
        call(service, *[CREATE] * 6)


def test_workers_that_are_refused_together_share_one_new_token():
    expired = {"t-1"}
    service = Service()
    service.answers = [
        lambda request: httpx.Response(401 if request.headers["authorization"][7:] in expired else 201)
    ] * 99

    async def run():
        async with client(service) as api:
            return await asyncio.gather(*(api.call(CREATE) for _ in range(16)))

    assert {answer.status for answer in asyncio.run(run())} == {201}
    assert service.tokens == 2


# ------------------------------------------------------------------ tokens not to be had
def test_refused_credentials_end_the_run_after_one_attempt_and_stay_secret():
    service = Service(
        token=httpx.Response(400, json={"error": "invalid_client", "error_description": SECRET})
    )
    with pytest.raises(AuthenticationError) as refused:
        call(service)
    assert (service.tokens, service.requests) == (1, [])
    assert SECRET not in str(refused.value)


def test_a_token_endpoint_that_is_down_is_unavailable():
    service = Service(token=httpx.Response(503))
    with pytest.raises(ApiUnavailable):
        call(service)
    assert service.requests == []


# ------------------------------------------------------------------ settings
@pytest.mark.parametrize(
    ("base", "token"),
    [("http://api.example.no", TOKEN_URL), (BASE, "http://auth.example.no/token"), ("", TOKEN_URL)],
)
def test_only_https_addresses_are_taken(base, token):
    with pytest.raises(SettingsError):
        ApiClient(base, token, "x", SecretStr("y"))


@pytest.mark.parametrize("rate", [0, -1.0, float("nan")])
def test_a_rate_is_positive(rate):
    with pytest.raises(SettingsError):
        client(Service(), rate=rate)


def test_calls_keep_to_the_rate():
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    call(Service(), *[CREATE] * 5, rate=10, monotonic=lambda: 0.0, sleep=sleep)
    assert slept == pytest.approx([0.1, 0.2, 0.3])


def test_no_other_host_is_ever_asked():
    async def run():
        async with client(Service()) as api:
            request = httpx.Request("GET", "https://evil.example/")
            await api._exchange(request, 1.0, 1)

    with pytest.raises(AssertionError):
        asyncio.run(run())


# ------------------------------------------------------------------ silence
@pytest.mark.parametrize("answer", [201, 400, 503, httpx.ReadError("x")])
def test_neither_ids_nor_secrets_are_logged_or_shown(caplog, answer):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    canary = Call("PUT", ("users", "canary-user"), b'{"userId":"canary-body"}', {"q": "canary-query"})
    service = Service(answer)

    async def run():
        async with client(service) as api:
            return [repr(api), repr(canary), repr(await api.call(canary))]

    shown = asyncio.run(run())
    assert "canary" not in caplog.text + "".join(shown)
    assert "t-1" not in caplog.text + "".join(shown)
    assert len(service.requests) == 1


def test_warnings_of_httpx_are_still_heard(caplog):
    call(Service())
    logging.getLogger("httpx").warning("careful")
    logging.getLogger("httpx").info("https://api.example.no/users/canary")
    heard = [record.message for record in caplog.records if record.name == "httpx"]
    assert heard == ["careful"]
