"""The commands around the main job: follow, move, forget."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import Any

import orjson
import polars as pl
from msgspec import UNSET

from pipeline.adopting import aside
from pipeline.delivery.calls import delete_user_call
from pipeline.delivery.classifier import Reason
from pipeline.delivery.comparing import has_coordinates, held_meter_points
from pipeline.delivery.readback import Found, Reader
from pipeline.ending import IN_TEST_AREA, applied, summary_of
from pipeline.holdings import PROTECTED
from pipeline.job import Job
from pipeline.order import Order, Ports
from pipeline.overtaken import MOVED, moves_of
from pipeline.partition import bucket_of
from pipeline.phases import Phase
from pipeline.plan import PLAN_SCHEMA, KindPlan, Plan, plan_digest
from pipeline.planning import phase_table
from pipeline.ports import Notice
from pipeline.protection import FLAGS_PAGE
from pipeline.reconciling import PAGE as DRIFT_PAGE
from pipeline.reconciling import READ_AT_ONCE
from pipeline.remote import location_digest
from pipeline.session import MOVE, Session, open_session
from pipeline.vanishing import PAGES
from schemas.coordinates import in_test_area
from schemas.errors import ApiUnavailable, GuardError
from schemas.ledger import BUCKETS, MANIFEST_SCHEMA
from schemas.masking import masked_id
from schemas.outcomes import Kind
from schemas.summary import Summary

DAY = 86_400.0
"""Seconds."""
RELINK_SAMPLE = 1000
"""Users that are looked for before a ledger follows its tenant."""
RELINK_SHARE = 0.9
"""Of the users a ledger knows, how many an API must hold to be the same tenant's; some may be gone for good reasons."""


# ------------------------------------------------------------------ relink
def _some_users(session: Session) -> list[str]:
    """A few users of every bucket."""
    users: list[str] = []
    for number in range(BUCKETS):
        page = session.ledger.holdings(Kind.USER.value, range(number, number + 1))
        if page is not None:
            users += page["id"].head(math.ceil(RELINK_SAMPLE / BUCKETS)).to_list()
    return users


async def relink(order: Order, ports: Ports) -> Summary:
    """Let the ledger follow its tenant to other credentials or another address.

    Believed only when the API behind them holds what the ledger knows: of a sample of users nearly all must be there.

    Raises:
        GuardError: it is another tenant's API.
    """
    async with open_session(order, ports) as session:
        await session.sign_in()
        wanted = await session.durable(_some_users, session)
        reader = Reader(session.wire().ask, lambda _points: [])
        there = 0
        for start in range(0, len(wanted), READ_AT_ONCE):
            some = wanted[start : start + READ_AT_ONCE]
            found = await asyncio.gather(*(reader.user_is_there(user) for user in some))
            if Found.UNKNOWN in found:
                raise ApiUnavailable(
                    "The users could not be read back.", cure="Nothing was changed. Start again later."
                )
            there += found.count(Found.AS_SENT)
            ports.world.notice(Notice("relink", start + len(some), len(wanted), "users"))
            session.raise_if_stopping()
        if there < RELINK_SHARE * len(wanted):
            raise GuardError(
                f"Of {len(wanted)} users the ledger knows, this API holds {there}: it is another tenant's.",
                guard="relink",
                cure="Check METERFEED_CLIENT_ID and METERFEED_BASE_URL. Nothing was changed.",
            )
        await session.durable(session.ledger.relink)
        return summary_of("ledger", order.environment, ports.world, users_read=len(wanted), users_there=there)


# ------------------------------------------------------------------ move
async def move(order: Order, ports: Ports) -> Summary:
    """Change the coordinates of one location, under a committed intent like everything that is sent."""
    async with open_session(order, ports) as session:
        await session.sign_in()
        await session.settle_the_past()
        assert order.place is not None
        latitude, longitude = order.place
        place = order.run or ""
        held = await session.durable(_find_held, session, Kind.LOCATION, place)
        reader = Reader(session.wire().ask, lambda _points: [])
        remote = await reader.location(held["user_id"], held["id"])
        if isinstance(remote, Found):
            raise GuardError(
                f"The API has no location {masked_id(place)}.",
                guard="move",
                cure="Run `meterfeed reconcile`.",
            )
        before = pl.DataFrame([held], schema_overrides=dict(MANIFEST_SCHEMA))
        body: dict[str, Any] = {"userId": held["user_id"], "locationId": held["id"]}
        if remote.location_type not in (UNSET, None):
            body["locationType"] = remote.location_type
        body["coordinates"] = {"latitude": latitude, "longitude": longitude}
        if held_meter_points(remote):
            body["meterPointIds"] = held_meter_points(remote)
        digest = location_digest(session.identity(), body)
        if PROTECTED in held["digest"]:
            digest = PROTECTED + digest
        record = pl.DataFrame(
            [{**held, "digest": digest, "body": orjson.dumps(body).decode(), "row": 0}]
        ).select(pl.col(name).cast(dtype) for name, dtype in PLAN_SCHEMA.items())
        session.replaces = await session.durable(moves_of, session, before)
        run, shelf = await session.begin(MOVE, Job("move", "move"), [])
        with shelf:
            spool = shelf.new_spool(1)
            spool.append(MOVED, before)
            spool.append(
                phase_table(Phase.UPDATE_LOCATIONS),
                record.with_columns(pl.col("bucket").alias("ledger_bucket")),
            )
            spool.finish()
            plan = Plan(
                plan_digest([(Phase.UPDATE_LOCATIONS, record)]),
                {Kind.LOCATION: KindPlan(update=1)},
                {Phase.UPDATE_LOCATIONS: 1},
                1,
                1,
            )
            start = replace(
                summary_of(order.command, order.environment, ports.world),
                run_id=run.run_id,
                extra={
                    "was_placed": has_coordinates(remote),
                    "notes": _test_area_notes(order, ports, latitude, longitude),
                },
            )
            await session.keep(run, plan, start)
            trouble = await session.send(run, plan, shelf)
            await session.remember()
            summary = await session.finish(run, await applied(session, run, shelf, plan, [], trouble))
            if trouble is None and not await session.unfinished(run.run_id):
                shelf.drop_spool()
            return summary


def _test_area_notes(order: Order, ports: Ports, latitude: float, longitude: float) -> list[str]:
    """A warning where a customer of production would stand in a test area."""
    point = pl.DataFrame({"latitude": [latitude], "longitude": [longitude]})
    inside = in_test_area(pl.col("latitude"), pl.col("longitude"), ports.reference.test_areas)
    if order.environment != "production" or not point.select(inside).item():
        return []
    return [IN_TEST_AREA.format(count="A location")]


def _find_held(session: Session, kind: Kind, wanted: str) -> dict[str, Any]:
    for number in range(BUCKETS):
        page = session.ledger.holdings(kind.value, range(number, number + 1))
        if page is not None:
            found = page.filter(pl.col("id") == wanted)
            if found.height:
                return found.row(0, named=True)
    raise GuardError(
        f"The ledger knows no {kind} {masked_id(wanted)}.",
        guard="unknown_id",
        cure="Give the id as it goes on the wire; `meterfeed explain FILE:LINE` shows it.",
    )


# ------------------------------------------------------------------ erase
async def erase(order: Order, ports: Ports) -> Summary:
    """Remove one user, with all that hangs on it, from the API, the ledger and the spools.

    The month's compensation of the customer is lost with it; the command line asks before it comes here. Plans that
    were made and not applied are given up, as their spools may name the person; a run that began to send must be
    finished first. Quarantines and corrections hold customers' own numbers, which cannot be told from the id: the
    folders that have any are named.
    """
    user = order.run or ""
    async with open_session(order, ports) as session:
        if unfinished := await session.unfinished():
            raise GuardError(
                f"The run {unfinished[0]} is not finished: what it has yet to send may name this person.",
                guard="erase",
                cure="Run `meterfeed resume`, then erase.",
            )
        await session.sign_in()
        await session.settle_the_past()
        await session.durable(_find_held, session, Kind.USER, user)
        await _remove_user(session, user)
        given_up = await session.durable(session.give_up_plans)
        await session.durable(_forget, session, user)
        return summary_of(
            order.command,
            order.environment,
            ports.world,
            erased=masked_id(user),
            plans_given_up=given_up,
            look_in=ports.shelf.with_values(),
        )


async def _remove_user(session: Session, user: str) -> None:
    """Only a user that is seen to be gone is forgotten: a lost answer proves nothing, nor does a 404 alone.

    Raises:
        GuardError: the API refuses.
        ApiUnavailable: whether it is gone cannot be read.
    """
    wire = session.wire()
    verdict, _ = await wire.send(*delete_user_call(user))
    if verdict.reason is Reason.PROVEN:
        return
    found = await Reader(wire.ask, lambda _points: []).user_is_there(user)
    if found is Found.ABSENT:
        return
    if found is Found.UNKNOWN:
        raise ApiUnavailable(
            "Whether the user is gone could not be read.",
            cure="Run `meterfeed erase` again when the API answers.",
        )
    raise GuardError(
        f"The API did not remove the user ({verdict.reason}).",
        guard="erase",
        cure="Run `meterfeed erase` again; if it is refused again, ask the vendor why.",
    )


def _forget(session: Session, user: str) -> None:
    number = bucket_of(user)
    for name in (*(kind.value for kind in Kind), *map(aside, Kind), *PAGES, FLAGS_PAGE, DRIFT_PAGE):
        page = session.ledger.holdings(name, range(number, number + 1))
        if page is not None:
            session.ledger.store_holdings(name, number, page.filter(pl.col("user_id") != user))
    session.ledger.redact(user)


# ------------------------------------------------------------------ purge
async def purge(order: Order, ports: Ports) -> Summary:
    """Remove what holds customers' values from runs that ended more than `order.days` days ago.

    That is spools, quarantines and corrections; reports, summaries and the ledger stay. A run with anything left
    open keeps its spool.
    """
    async with open_session(order, ports) as session:
        still_open = set(await session.unfinished())
        before = ports.world.now() - order.days * DAY
        runs = await session.durable(lambda: session.ledger.runs(brief=True))
        ended = {run.run_id: run.ended_at for run in runs if run.ended_at is not None}
        removed = ports.shelf.purge(before=before, keep=still_open, ended=ended)
        return summary_of(
            order.command, order.environment, ports.world, purged=removed, kept_open=sorted(still_open)
        )
