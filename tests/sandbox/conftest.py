from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.core import Core
from sandbox.exchange import Answer, Call
from sandbox.server import Sandbox

JSON = {"content-type": "application/json"}


class ManualClock:
    """Time that passes when a test says so."""

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Driver:
    """A core with a token, called without a network."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.core = Core(settings.pop("plan", None), now=self.clock, **settings)
        self.token = self.core.tokens.issue().body.decode().split('"')[3]

    def __call__(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        sent = {**JSON, "authorization": f"Bearer {self.token}", **headers}
        answer = self.core.handle(Call(method, f"/energy-coordination/v1{path}", sent, body))
        self.core.delivered(answer, True)
        return answer

    def load(self, *users: str) -> None:
        """Users, each with a location `<user>-home` and the meter point `<user>-meter`."""
        import orjson

        assert (
            self("POST", "/users/batch", orjson.dumps({"users": [{"userId": u} for u in users]})).status
            == 201
        )
        locations = [{"userId": u, "locationId": f"{u}-home", "meterPointIds": [f"{u}-meter"]} for u in users]
        assert self("POST", "/users/locations/batch", orjson.dumps({"locations": locations})).status == 201


@pytest.fixture
def driver() -> Callable[..., Driver]:
    return Driver


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with authorised(sandbox) as made:
        yield made


def authorised(sandbox: Sandbox, **settings: Any) -> httpx.Client:
    """A client of the sandbox that holds a token."""
    token = httpx.post(sandbox.token_url, data=credentials(sandbox)).json()["access_token"]
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=sandbox.base_url, headers=headers, **{"timeout": 5.0, **settings})


def credentials(sandbox: Sandbox) -> Mapping[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_id": sandbox.client_id,
        "client_secret": sandbox.client_secret,
    }


@pytest.fixture
def connect() -> Callable[..., httpx.Client]:
    return authorised


@pytest.fixture(scope="session")
def vendor_contract() -> dict[str, Any]:
    """The vendor's own document, beside the repository; not part of it."""
    import json

    for folder in Path(__file__).resolve().parents:
        found = folder / "shared" / "openapi" / "ec-sandbox-swagger.json"
        if found.exists():
            return json.loads(found.read_text(encoding="utf-8"))
    pytest.skip("the vendor's contract (shared/openapi/ec-sandbox-swagger.json) is not on this machine")
