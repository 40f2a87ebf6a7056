"""Requests of each phase, built from records; the only place that knows paths and bodies."""

from __future__ import annotations

from typing import Any

import orjson
import polars as pl

from pipeline.delivery.classifier import CallKind, Expectation
from pipeline.delivery.keys import Pairs
from pipeline.phases import Phase
from schemas.exchange import Call

_SINGLE_PHASES = {
    Phase.CREATE_USERS: CallKind.USER_CREATE,
    Phase.CREATE_LOCATIONS: CallKind.LOCATION_CREATE,
    Phase.CREATE_RESOURCES: CallKind.RESOURCE_CREATE,
    Phase.REPLACE_RESOURCES: CallKind.RESOURCE_CREATE,
    Phase.CREATE_VEHICLES: CallKind.VEHICLE_CREATE,
}

Record = dict[str, Any]
"""One line of a plan as a dict: `id, user_id, location_id, body, …`. Only where each record is a request."""


def batch_call(phase: Phase, records: pl.DataFrame, trace: str) -> tuple[Call, Expectation]:
    """One call that creates all of `records`; their bodies are joined as the bytes they are, and copied once."""
    bodies = records["body"].cast(pl.Binary).to_list()
    if phase is Phase.CREATE_USERS:
        body = _listed(b"users", bodies)
        return (
            Call("POST", ("users", "batch"), body, trace=trace),
            Expectation(CallKind.USERS_BATCH, records["id"].to_list()),
        )
    body = _listed(b"locations", bodies)
    keys = Pairs(records["user_id"].to_list(), records["id"].to_list())
    return (
        Call("POST", ("users", "locations", "batch"), body, trace=trace),
        Expectation(CallKind.LOCATIONS_BATCH, keys),
    )


def create_call(phase: Phase, record: Record, trace: str) -> tuple[Call, Expectation]:
    """The call that creates one record by itself: it says why a batch refused it."""
    user, own = record["user_id"], record["id"]
    kind = _SINGLE_PHASES[phase]
    if kind is CallKind.USER_CREATE:
        return Call("POST", ("users",), record["body"].encode(), trace=trace), Expectation(kind, [own])
    if kind is CallKind.LOCATION_CREATE:
        body = _without(record["body"], "userId")
        return Call("POST", ("users", user, "locations"), body, trace=trace), Expectation(kind, [(user, own)])
    body = record["body"].encode()
    if kind is CallKind.VEHICLE_CREATE:
        return Call("POST", ("users", user, "vehicles"), body, trace=trace), Expectation(kind, [(user, own)])
    place = record["location_id"]
    segments = ("users", user, "locations", place, "resources")
    return Call("POST", segments, body, trace=trace), Expectation(kind, [(user, place, own)])


def update_call(record: Record, trace: str) -> tuple[Call, Expectation]:
    """The call that gives a location its new content.

    PATCH changes what it names and cannot take a coordinate away, so a location that says less than all
    three things is replaced with PUT.
    """
    content = orjson.loads(record["body"])
    content.pop("userId", None)
    segments = ("users", record["user_id"], "locations", record["id"])
    key = [(record["user_id"], record["id"])]
    if {"locationType", "coordinates", "meterPointIds"} <= content.keys():
        content.pop("locationId")
        call = Call("PATCH", segments, orjson.dumps(content), trace=trace)
        return call, Expectation(CallKind.LOCATION_PATCH, key)
    return Call("PUT", segments, orjson.dumps(content), trace=trace), Expectation(CallKind.LOCATION_PUT, key)


def patch_meter_points_call(
    record: Record, remaining: list[str], trace: str, coordinates: Any = None
) -> tuple[Call, Expectation]:
    """The call that leaves a location only `remaining` of its meter points, and tells it where it is if need be."""
    segments = ("users", record["user_id"], "locations", record["id"])
    content = {"meterPointIds": remaining} | ({"coordinates": coordinates} if coordinates else {})
    call = Call("PATCH", segments, orjson.dumps(content), trace=trace)
    return call, Expectation(CallKind.LOCATION_PATCH, [(record["user_id"], record["id"])])


def delete_location_call(record: Record, trace: str) -> tuple[Call, Expectation]:
    """The call that removes one location; never its user."""
    segments = ("users", record["user_id"], "locations", record["id"])
    return Call("DELETE", segments, trace=trace), Expectation(
        CallKind.LOCATION_DELETE, [(record["user_id"], record["id"])]
    )


def delete_user_call(user_id: str, trace: str = "") -> tuple[Call, Expectation]:
    """The call that removes a user and all that hangs on it, the month's compensation included."""
    return Call("DELETE", ("users", user_id), trace=trace), Expectation(CallKind.USER_DELETE, [user_id])


def delete_resource_call(record: Record, trace: str) -> tuple[Call, Expectation]:
    """The call that removes one resource."""
    return Call("DELETE", ("resources", record["id"]), trace=trace), Expectation(
        CallKind.RESOURCE_DELETE, [(record["user_id"], record["location_id"], record["id"])]
    )


# ------------------------------------------------------------------ reading
READ_USER_PAGE_SIZE = 1000


def read_user_call(user_id: str) -> tuple[Call, Expectation]:
    """Is this user there?"""
    return Call("GET", ("users", user_id)), Expectation(CallKind.READ_ONE)


def read_users_page_call(page: int) -> tuple[Call, Expectation]:
    """One page of all users; pages count from 1."""
    query = {"page": str(page), "pageSize": str(READ_USER_PAGE_SIZE)}
    return Call("GET", ("users",), query=query), Expectation(CallKind.READ_LIST)


def read_location_call(user_id: str, location_id: str) -> tuple[Call, Expectation]:
    """What does this location say?"""
    return Call("GET", ("users", user_id, "locations", location_id)), Expectation(CallKind.READ_ONE)


def read_locations_call(user_id: str) -> tuple[Call, Expectation]:
    """All locations of one user."""
    return Call("GET", ("users", user_id, "locations")), Expectation(CallKind.READ_ONE)


def read_resources_call(user_id: str) -> tuple[Call, Expectation]:
    """All resources and vehicles of one user."""
    return Call("GET", ("users", user_id, "resources")), Expectation(CallKind.READ_ONE)


def read_resource_call(resource_id: str) -> tuple[Call, Expectation]:
    """What does this resource or vehicle say?"""
    return Call("GET", ("resources", resource_id)), Expectation(CallKind.READ_ONE)


def _listed(name: bytes, bodies: list[bytes]) -> bytes:
    if not bodies:
        return b'{"%b":[]}' % name
    bodies[0] = b'{"%b":[%b' % (name, bodies[0])
    bodies[-1] += b"]}"
    return b",".join(bodies)


def _without(body: str, name: str) -> bytes:
    content = orjson.loads(body)
    content.pop(name, None)
    return orjson.dumps(content)
