from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from sandbox.core import Core
from sandbox.exchange import Answer, Call
from sandbox.server import Sandbox

BASE = "/energy-coordination/v1"


class ManualClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_767_225_600.0

    def __call__(self) -> float:
        return self.now


class Driver:
    """A core with a token, called without a network."""

    def __init__(self, plan: Any = None, **settings: Any) -> None:
        self.clock = ManualClock()
        self.core = Core(plan, now=self.clock, **settings)
        self.token = orjson.loads(self.core.tokens.issue().body)["access_token"]

    def __call__(self, method: str, path: str, content: Any = None, **headers: str) -> Answer:
        """One request; `content` is sent as JSON unless it is bytes already."""
        body = content if isinstance(content, bytes) else b"" if content is None else orjson.dumps(content)
        sent = {"content-type": "application/json", "authorization": f"Bearer {self.token}", **headers}
        answer = self.core.handle(Call(method, BASE + path, sent, body))
        self.core.delivered(answer, True)
        return answer

    def token_request(self) -> Answer:
        form = b"grant_type=client_credentials&client_id=sandbox&client_secret=no-secret-at-all"
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = self.core.handle(Call("POST", "/connect/token", headers, form))
        self.core.delivered(answer, True)
        return answer

    def users(self, *users: str) -> Answer:
        return self("POST", "/users/batch", {"users": [{"userId": each} for each in users]})

    def homes(self, *users: str) -> Answer:
        """A location `<user>-home` with the meter point `<user>-meter` for each."""
        return self("POST", "/users/locations/batch", {"locations": [home(each) for each in users]})

    @property
    def ids(self) -> list[str]:
        return [each["id"] for each in self.core.effects()]

    @property
    def changes(self) -> list[tuple[str, str]]:
        return [(each["effect"], each["id"]) for each in self.core.effects()]


def home(user: str, **changes: Any) -> dict[str, Any]:
    return {"userId": user, "locationId": f"{user}-home", "meterPointIds": [f"{user}-meter"], **changes}


@pytest.fixture
def drive() -> type[Driver]:
    return Driver


@pytest.fixture(scope="session")
def _server() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def sandbox(_server: Sandbox) -> Sandbox:
    """A running sandbox, empty and honest."""
    _server.set_faults(None)
    _server.reset()
    return _server


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with authorised(sandbox) as made:
        yield made


def authorised(sandbox: Sandbox, **settings: Any) -> httpx.Client:
    """A client of the sandbox that holds a token."""
    form = {
        "grant_type": "client_credentials",
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
    }
    token = httpx.post(sandbox.token_url, data=form, timeout=60.0).json()["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=sandbox.base_url, headers=headers, **{"timeout": 60.0, **settings})


@pytest.fixture
def connect() -> Callable[..., httpx.Client]:
    return authorised


@pytest.fixture(scope="session")
def vendor_contract() -> dict[str, Any]:
    """The vendor's own document, beside the repository; not part of it."""
    for folder in Path(__file__).resolve().parents:
        found = folder / "shared" / "openapi" / "ec-sandbox-swagger.json"
        if found.exists():
            return json.loads(found.read_text(encoding="utf-8"))
    pytest.skip("NOT CHECKED: the vendor's contract (shared/openapi/ec-sandbox-swagger.json) is not here")
