"""The client and the classifier against the sandbox: what they conclude is compared with what happened.

One law: what is called applied is there, what is called not applied is not; the rest is in doubt or refused.
"""

import asyncio
import json
from dataclasses import replace

from connectors.api import ApiClient
from pipeline.contract import PINNED, Comparison, compare, shape_of
from pipeline.delivery.answers import held_location, held_resources, users_page
from pipeline.delivery.classifier import CallKind, Expectation, Reason, Ruling, classify
from sandbox.faults import FAULTS
from sandbox.server import Sandbox
from sandbox.wire import WIRE_FAULTS, Pause
from schemas.exchange import Call

SHARDS = 8
DEADLINE = 0.4


class Secret:
    def __init__(self, text):
        self.text = text

    def get_secret_value(self):
        return self.text


async def _at_once(_):
    await asyncio.sleep(0)


class Hurried(ApiClient):
    """Waits for batches only so long; a token may take its time."""

    async def _exchange(self, request, deadline, max_bytes):
        is_batch = request.url.path.endswith("/batch")
        return await super()._exchange(request, min(deadline, DEADLINE) if is_batch else deadline, max_bytes)


def client(sandbox, kind=ApiClient, **options):
    return kind(
        sandbox.base_url, sandbox.token_url, sandbox.client_id, Secret(sandbox.client_secret), **options
    )


async def judged(api, call, kind, sent=()):
    return classify(Expectation(kind, list(sent)), await api.call(call), 0.0)


def batch(name, users):
    body = json.dumps({"users": [{"userId": user} for user in users]}).encode()
    return Call("POST", ("users", "batch"), body), CallKind.USERS_BATCH, users


# ------------------------------------------------------------------ every call, as it should be
def test_every_call_is_made_and_understood():
    place = {"locationId": "l", "locationType": "Residential", "meterPointIds": ["707057500012345678"]}
    other = {"locationId": "m", "locationType": "Other", "meterPointIds": ["707057500012345679"]}
    heater = {"resourceId": "h", "resourceType": "HotWaterTank"}
    car = {"resourceId": "c", "resourceType": "Vehicle"}

    def post(*segments, **content):
        return Call("POST", segments, json.dumps(content).encode())

    home = ("users", "u", "locations", "l")
    patch = Call("PATCH", home, json.dumps({"coordinates": {"latitude": 60.0, "longitude": 10.0}}).encode())
    steps = [
        (post("users", "batch", users=[{"userId": "u"}, {"userId": "v"}]), CallKind.USERS_BATCH, ["u", "v"]),
        (post("users", userId="w"), CallKind.USER_CREATE, ["w"]),
        (
            post("users", "locations", "batch", locations=[{"userId": "u", **place}]),
            CallKind.LOCATIONS_BATCH,
            [("u", "l")],
        ),
        (post("users", "v", "locations", **other), CallKind.LOCATION_CREATE, [("v", "m")]),
        (post(*home, "resources", **heater), CallKind.RESOURCE_CREATE, [("u", "l", "h")]),
        (post("users", "u", "vehicles", **car), CallKind.VEHICLE_CREATE, [("u", "c")]),
        (patch, CallKind.LOCATION_PATCH, [("u", "l")]),
        (Call("PUT", home, json.dumps(place).encode()), CallKind.LOCATION_PUT, [("u", "l")]),
        (Call("DELETE", ("resources", "h")), CallKind.RESOURCE_DELETE, [("u", "l", "h")]),
        (Call("DELETE", ("users", "v", "locations", "m")), CallKind.LOCATION_DELETE, [("v", "m")]),
        (Call("DELETE", ("users", "w")), CallKind.USER_DELETE, ["w"]),
        (Call("DELETE", ("users", "w")), CallKind.USER_DELETE, ["w"]),
    ]

    async def run():
        with Sandbox() as sandbox:
            async with client(sandbox) as api:
                rulings = [(call, await judged(api, call, kind, sent)) for call, kind, sent in steps]
                users = await api.call(Call("GET", ("users",), query={"page": "1", "pageSize": "1000"}))
                held = await api.call(Call("GET", home))
                resources = await api.call(Call("GET", ("users", "u", "resources")))
                absent = await judged(api, Call("GET", ("users", "nobody")), CallKind.READ_ONE)
                contract = await api.call(Call("GET", ("swagger", "Partner", "swagger.json")))
        return rulings, users, held, resources, absent, contract

    rulings, users, held, resources, absent, contract = asyncio.run(run())
    assert [(call, verdict) for call, verdict in rulings if verdict.ruling is not Ruling.APPLIED] == []
    assert rulings[-1][1].reason is Reason.ALREADY_GONE
    assert sorted(user.user_id for user in users_page(users.body).users) == ["u", "v"]
    assert held_location(held.body).meter_point_ids == ["707057500012345678"]
    assert [resource.resource_id for resource in held_resources(resources.body)] == ["c"]
    assert absent.ruling is Ruling.GONE
    assert compare(PINNED, shape_of(json.loads(contract.body))) == Comparison((), ())


# ------------------------------------------------------------------ every fault there is
def swept(names, kind=Hurried):
    """What is concluded of a batch under each fault, beside which of its users are there in the end.

    Each fault has users of its own: what a client gave up may come to the server when the next fault is on.
    """

    async def shard(mine):
        found = {}
        with Sandbox(wire=True) as sandbox:
            for number, name in enumerate(mine):
                sandbox.reset()
                sandbox.set_faults(None)
                async with client(sandbox, kind, sleep=_at_once) as api:
                    await api.sign_in()
                    sandbox.set_faults({"fault": [{"kind": name, "on": "batch"}]})
                    users = [f"customer-{number:02}-{n}" for n in range(5)]
                    verdict = await judged(api, *batch(name, users))
                    sandbox.settle()
                    there = {effect["id"] for effect in sandbox.effects()}
                    found[name] = verdict, users, there & set(users)
        return found

    async def run():
        names_of = [names[n::SHARDS] for n in range(SHARDS)]
        return {k: v for found in await asyncio.gather(*map(shard, names_of)) for k, v in found.items()}

    return asyncio.run(run())


def lies(found):
    """Faults whose verdict says what did not happen."""
    return {
        name: (verdict.ruling, verdict.reason)
        for name, (verdict, _, there) in found.items()
        if not set(verdict.proven) <= there
        or (verdict.ruling in (Ruling.NOT_APPLIED, Ruling.THROTTLED) and there)
        or (verdict.ruling is Ruling.APPLIED and len(verdict.proven) < 5)
    }


TAKEN_THOUGH_UNSOUND = {
    "body-huge-number",
    "body-new-enum-value",
    "body-new-fields",
    "body-padded-with-blanks",
    "cookie-flood",
    "header-bare-lf",
    "header-controls",
    "length-list",
    "length-twice",
    "reset-after-answer",
    "trailer-flood",
    "version-9.9",
}
"""Damage to what nothing depends on: the length is still one length, the ids are still all there."""


def test_two_hundred_faults_of_the_wire_never_make_a_false_verdict():
    found = swept([f"wire-{name}" for name in WIRE_FAULTS])
    assert len(found) >= 200
    assert lies(found) == {}
    taken = {
        name.removeprefix("wire-")
        for name, (verdict, _, _) in found.items()
        if verdict.ruling is Ruling.APPLIED
    }
    assert {name for name in taken if not WIRE_FAULTS[name].sound} <= TAKEN_THOUGH_UNSOUND


def test_sound_answers_are_taken_however_unusual(monkeypatch):
    # What comes "a moment later" must not come in one piece with the answer, however long we take to read that.
    later = WIRE_FAULTS["answer-then-408"]
    monkeypatch.setitem(
        WIRE_FAULTS, later.name, replace(later, play=lambda *how: much_later(later.play(*how)))
    )
    names = [f"wire-{name}" for name, fault in WIRE_FAULTS.items() if fault.sound]
    refused = {
        name: (verdict.ruling, verdict.reason, verdict.message)
        for name, (verdict, _, _) in swept(names, ApiClient).items()
        if verdict.ruling is not Ruling.APPLIED
    }
    assert refused == {}


def much_later(steps):
    """The same with an hour for every pause; a client that has its answer goes before."""
    return (Pause(3600.0) if isinstance(step, Pause) else step for step in steps)


def test_faults_above_the_wire_never_make_a_false_verdict():
    names = [name for name, fault in FAULTS.items() if fault.fits & {"batch", "mutating", "api"}]
    found = swept(names)
    assert len(found) >= 25
    assert lies(found) == {}
