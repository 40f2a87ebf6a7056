"""The order of sending. A phase is one kind of change to one kind of record, sent in one way.

Parents come before children; who gives up a meter point comes before who gets it; what vanished goes last, and
what hangs on something before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.outcomes import Kind, Outcome


class Phase(StrEnum):
    """Phases in the order they are sent."""

    CREATE_USERS = "create_users"
    RELEASE_LOCATIONS = "release_locations"
    FREE_LOCATIONS = "free_locations"
    UPDATE_LOCATIONS = "update_locations"
    CREATE_LOCATIONS = "create_locations"
    REPLACE_RESOURCES = "replace_resources"
    CREATE_RESOURCES = "create_resources"
    CREATE_VEHICLES = "create_vehicles"
    DELETE_RESOURCES = "delete_resources"
    DELETE_VEHICLES = "delete_vehicles"
    DELETE_LOCATIONS = "delete_locations"
    DELETE_USERS = "delete_users"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a phase is sent.

    Attributes:
        kind: what its records are.
        batch: many records in one call; otherwise one call (or a short, repeatable sequence) each.
        done: the outcome of a record that was acknowledged. None for what is no record of the exports: half a
            step of an update, which is counted with the update, and removals, which have a count of their own.
        parent: the kind that must be in place first; None for users.
        removes: it takes records away; done is done when they are gone.
        bodiless: it can be sent without what the spool holds.
    """

    kind: Kind
    batch: bool
    done: Outcome | None
    parent: Kind | None
    removes: bool = False
    bodiless: bool = False


MANNERS: dict[Phase, Manner] = {
    Phase.CREATE_USERS: Manner(Kind.USER, True, Outcome.CREATED, None),
    Phase.RELEASE_LOCATIONS: Manner(Kind.LOCATION, False, Outcome.UPDATED, None, bodiless=True),
    Phase.FREE_LOCATIONS: Manner(Kind.LOCATION, False, None, None, bodiless=True),
    Phase.UPDATE_LOCATIONS: Manner(Kind.LOCATION, False, Outcome.UPDATED, Kind.USER),
    Phase.CREATE_LOCATIONS: Manner(Kind.LOCATION, True, Outcome.CREATED, Kind.USER),
    Phase.REPLACE_RESOURCES: Manner(Kind.RESOURCE, False, Outcome.UPDATED, Kind.LOCATION),
    Phase.CREATE_RESOURCES: Manner(Kind.RESOURCE, False, Outcome.CREATED, Kind.LOCATION),
    Phase.CREATE_VEHICLES: Manner(Kind.VEHICLE, False, Outcome.CREATED, Kind.USER),
    Phase.DELETE_RESOURCES: Manner(Kind.RESOURCE, False, None, None, removes=True, bodiless=True),
    Phase.DELETE_VEHICLES: Manner(Kind.VEHICLE, False, None, None, removes=True, bodiless=True),
    Phase.DELETE_LOCATIONS: Manner(Kind.LOCATION, False, None, None, removes=True, bodiless=True),
    Phase.DELETE_USERS: Manner(Kind.USER, False, None, None, removes=True, bodiless=True),
}

COUNTED = frozenset(phase for phase, manner in MANNERS.items() if manner.done is not None)
"""Phases whose records are the records of the exports."""

TOLD = COUNTED | {phase for phase, manner in MANNERS.items() if manner.removes}
"""Phases each of whose records is told of: those of the exports, and what is removed because no export names it."""

CHANGING = frozenset(
    {Phase.RELEASE_LOCATIONS, Phase.FREE_LOCATIONS, Phase.UPDATE_LOCATIONS, Phase.REPLACE_RESOURCES}
)
"""Phases that change what is there: begun and not acknowledged, they may have left it as it was, changed, or gone."""

NAMED_BY_NO_ROW = frozenset(phase for phase, manner in MANNERS.items() if manner.bodiless)
"""Phases whose records are those of earlier exports: no row of this one speaks of them."""

WAITS_FOR: dict[Phase, tuple[Phase, ...]] = {
    Phase.UPDATE_LOCATIONS: (Phase.FREE_LOCATIONS,),
    Phase.DELETE_LOCATIONS: (Phase.DELETE_RESOURCES,),
    Phase.DELETE_USERS: (Phase.DELETE_RESOURCES, Phase.DELETE_VEHICLES, Phase.DELETE_LOCATIONS),
}
"""Phases whose records wait until earlier ones of the same location or customer are done."""

TAKES_FROM: dict[Phase, tuple[Phase, ...]] = {
    Phase.UPDATE_LOCATIONS: (Phase.RELEASE_LOCATIONS, Phase.FREE_LOCATIONS),
    Phase.CREATE_LOCATIONS: (Phase.RELEASE_LOCATIONS, Phase.UPDATE_LOCATIONS),
}
"""Phases whose records may want a meter point that a record of an earlier one gives up.

What frees a meter point and is not done holds its own update back, and that holds it against what is created.
"""
