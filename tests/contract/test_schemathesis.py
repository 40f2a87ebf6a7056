"""The sandbox against its contract, asked by somebody who has read nothing but the contract.

schemathesis makes requests out of an OpenAPI document, right ones and wrong ones, in sequences too, and compares
every answer with it. It is run on the sandbox's own document always, on the vendor's where that file is at hand.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.contract import OPERATIONS, document
from sandbox.server import Sandbox

# What a server may answer before the API is reached; the contract is silent about HTTP itself.
OF_HTTP = {"401": "no token", "405": "no such method", "415": "not JSON"}

NOT_ASKED = {
    "positive_data_acceptance": "ids, meter points and parents have rules that the document's types do not tell",
    "allow_header_conformance": "GET /users/batch is GET /users/{userId} of a user named batch, to every router",
    "ensure_resource_availability": "schemathesis takes an encoded path segment for the id and misses its own user",
}
"""Checks that are left out, and why; all others are on."""

USER, LOCATION = {"userId": "$response.body#/userId"}, {"locationId": "$response.body#/locationId"}
PATH_USER, PATH_LOCATION = {"userId": "$request.path.userId"}, {"locationId": "$request.path.locationId"}
LEADS_TO: dict[str, tuple[dict[str, str], list[str]]] = {
    "PostUser": (
        USER,
        [
            "GetUserById",
            "GetUserEligibilityByUserId",
            "PostUserEnrollment",
            "FetchUserCompensation",
            "GetResourcesForUser",
            "PostVehicle",
            "GetLocationsByUserId",
            "PostLocation",
            "DeleteUserById",
        ],
    ),
    "PostUserEnrollment": (PATH_USER, ["DeleteUserEnrollment"]),
    "PostLocation": (
        PATH_USER | LOCATION,
        [
            "GetLocationByLocationId",
            "UpdateLocation",
            "PatchLocation",
            "GetLocationBoundResources",
            "PostLocationBoundResource",
            "DeleteLocation",
        ],
    ),
    "PostVehicle": ({"resourceId": "$response.body#/resourceId"}, ["GetResourceById", "DeleteResourceById"]),
    "PostLocationBoundResource": (
        {"resourceId": "$response.body#/resourceId"},
        ["GetResourceById", "DeleteResourceById"],
    ),
}
"""What can be done with what a call made: neither document says so. An enrolment that has ended is still told."""


PLACE = {"latitude": 60.0, "longitude": 10.0}
HELD: list[tuple[str, Any]] = [
    ("/users/batch", {"users": [{"userId": user} for user in ("kept", "gone", "enrolled")]}),
    ("/users/enrolled/enrollment", None),
    (
        "/users/locations/batch",
        {
            "locations": [
                {"userId": "kept", "locationId": name, "coordinates": PLACE} for name in ("l", "gone-l")
            ]
        },
    ),
    ("/users/kept/vehicles", {"resourceId": "car", "resourceType": "Vehicle"}),
    ("/users/kept/vehicles", {"resourceId": "gone-car", "resourceType": "Vehicle"}),
]
"""What the sandbox holds at the start, so that calls about something find it."""

NAMED = {"userId": "kept", "locationId": "l", "resourceId": "car", "mpid": "707057599900000017"}
NAMED_BY = {
    "DeleteUserById": {"userId": "gone"},
    "DeleteUserEnrollment": {"userId": "enrolled"},
    "DeleteLocation": {"locationId": "gone-l"},
    "DeleteResourceById": {"resourceId": "gone-car"},
}
"""Whom a call is about in the first example; removals have somebody of their own."""

SENT: dict[str, Any] = {
    "PostUser": {"userId": "new"},
    "PostUsers": {"users": [{"userId": "new-1"}, {"userId": "new-2"}]},
    "PostVehicle": {"resourceId": "new-car", "resourceType": "Vehicle"},
    "PostLocation": {"locationId": "new-l", "meterPointIds": ["707057599900000024"]},
    "PostLocations": {"locations": [{"userId": "kept", "locationId": "new-m", "coordinates": PLACE}]},
    "UpdateLocation": {"locationId": "l", "coordinates": PLACE},
    "PatchLocation": {"locationType": "Other"},
    "PostLocationBoundResource": {"resourceId": "new-r", "resourceType": "Charger"},
}
"""A body of each call that the rules behind the contract let through."""


def with_hints(contract: dict[str, Any]) -> dict[str, Any]:
    """A copy that also says what leads to what, one good example of each call, and what HTTP may answer."""
    made = copy.deepcopy(contract)
    operations = {
        operation["operationId"]: operation
        for path in made["paths"].values()
        for operation in path.values()
        if isinstance(operation, dict) and operation.get("operationId") in SERVED
    }
    for name, operation in operations.items():
        for parameter in operation.get("parameters", []):
            for told in ("example", "examples"):
                parameter.pop(told, None)
            if parameter["in"] == "path":
                parameter["example"] = (NAMED | NAMED_BY.get(name, {}))[parameter["name"]]
        for content in operation.get("requestBody", {}).get("content", {}).values():
            content.pop("examples", None)
            content.pop("example", None)
            if name in SENT:
                content["example"] = SENT[name]
        for status, words in OF_HTTP.items():
            operation["responses"].setdefault(status, {"description": words})
    for source, (parameters, targets) in LEADS_TO.items():
        success = next(each.success for each in OPERATIONS if each.name == source)
        links = operations[source]["responses"][str(success)].setdefault("links", {})
        for target in targets:
            links[target] = {"operationId": target, "parameters": parameters}
        if source == "PostLocation":
            # The body must name the location of the path.
            links["UpdateLocation"]["requestBody"] = dict(LOCATION)
            links["UpdateLocation"]["x-schemathesis"] = {"merge_body": True}
    return made


EVERY_PHASE = "examples,coverage,fuzzing,stateful"
SERVED = {each.name for each in OPERATIONS}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What schemathesis found, and what it reached."""

    passed: bool
    said: str
    answered: set[tuple[str, str, int]]


def ask(
    contract: dict[str, Any],
    folder: Path,
    sandbox: Sandbox,
    *,
    examples: int,
    seed: int = 5,
    phases: str = EVERY_PHASE,
) -> Verdict:
    """Run schemathesis on all operations served, with every check but those of `NOT_ASKED`."""
    (folder / "contract.json").write_text(json.dumps(with_hints(contract)))
    (folder / "schemathesis.toml").write_text(
        "[generation]\nwith-security-parameters = false\ndatabase = 'none'\n"
        "[phases.examples.extra-data-sources]\nresponses = false\n"
    )
    form = {"grant_type": "client_credentials", "client_id": sandbox.client_id}
    token = httpx.post(
        sandbox.token_url, data=form | {"client_secret": sandbox.client_secret}, timeout=60.0
    ).json()
    bearer = f"Bearer {token['access_token']}"
    for path, body in HELD:
        headers = {"authorization": bearer}
        httpx.post(sandbox.base_url + path, json=body, headers=headers, timeout=60.0).raise_for_status()
    command = [str(Path(sys.executable).with_name("st")), "run", "contract.json", "--url", sandbox.base_url]
    command += ["-H", f"Authorization: {bearer}", "--no-color", "--warnings", "off"]
    command += [
        "--max-examples",
        str(examples),
        "--seed",
        str(seed),
        "--phases",
        phases,
        "--suppress-health-check",
        "all",
    ]
    command += ["--request-timeout", "120", "--continue-on-failure", "--exclude-checks", ",".join(NOT_ASKED)]
    for operation in OPERATIONS:
        command += ["--include-operation-id", operation.name]
    environ = os.environ | {"PYTHONHASHSEED": "0"}  # the same requests every time, as far as they go by a set
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    answered = {(line["method"], line["path"], line["status"]) for line in sandbox.requests()}
    return Verdict(done.returncode == 0, done.stdout + done.stderr, answered)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


def vendor_document() -> dict[str, Any]:
    for folder in Path(__file__).resolve().parents:
        found = folder / "shared" / "openapi" / "ec-sandbox-swagger.json"
        if found.exists():
            return json.loads(found.read_text(encoding="utf-8"))
    pytest.skip("NOT CHECKED: the vendor's contract (shared/openapi/ec-sandbox-swagger.json) is not here")


CONTRACTS = [
    pytest.param(document, id="own"),
    pytest.param(vendor_document, id="vendor", marks=pytest.mark.needs_shared),
]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("contract", CONTRACTS)
def test_no_request_gets_an_answer_outside_the_contract(contract, tmp_path, sandbox):
    verdict = ask(contract(), tmp_path, sandbox, examples=12)
    assert verdict.passed, verdict.said
    never = [
        each.name for each in OPERATIONS if (each.method, each.template, each.success) not in verdict.answered
    ]
    assert [] == never, "nobody got so far as to succeed there"


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_no_request_of_very_many_gets_an_answer_outside_the_contract(contract, seed, tmp_path, sandbox):
    verdict = ask(contract(), tmp_path, sandbox, examples=300, seed=seed)
    assert verdict.passed, verdict.said


@pytest.mark.parametrize("kind", ["wrong-content-type", "accepted-202", "garbled"])
def test_an_answer_outside_the_contract_is_found(kind, tmp_path):
    with Sandbox(faults={"fault": [{"kind": kind, "on": "update"}]}) as sandbox:
        assert not ask(document(), tmp_path, sandbox, examples=1, phases="examples").passed
