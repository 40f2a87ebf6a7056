"""The order of sending. A phase is one kind of change to one kind of record, sent in one way.

Parents come before children; who gives up a meter point comes before who gets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from schemas.outcomes import Kind, Outcome


class Phase(StrEnum):
    """Phases in the order they are sent."""

    CREATE_USERS = "create_users"
    RELEASE_LOCATIONS = "release_locations"
    UPDATE_LOCATIONS = "update_locations"
    CREATE_LOCATIONS = "create_locations"
    REPLACE_RESOURCES = "replace_resources"
    CREATE_RESOURCES = "create_resources"
    CREATE_VEHICLES = "create_vehicles"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a phase is sent.

    Attributes:
        kind: what its records are.
        batch: many records in one call; otherwise one call (or a short, repeatable sequence) each.
        done: the outcome of a record that was acknowledged.
        parent: the kind that must be in place first; None for users.
    """

    kind: Kind
    batch: bool
    done: Outcome
    parent: Kind | None


MANNERS: dict[Phase, Manner] = {
    Phase.CREATE_USERS: Manner(Kind.USER, True, Outcome.CREATED, None),
    Phase.RELEASE_LOCATIONS: Manner(Kind.LOCATION, False, Outcome.UPDATED, None),
    Phase.UPDATE_LOCATIONS: Manner(Kind.LOCATION, False, Outcome.UPDATED, Kind.USER),
    Phase.CREATE_LOCATIONS: Manner(Kind.LOCATION, True, Outcome.CREATED, Kind.USER),
    Phase.REPLACE_RESOURCES: Manner(Kind.RESOURCE, False, Outcome.UPDATED, Kind.LOCATION),
    Phase.CREATE_RESOURCES: Manner(Kind.RESOURCE, False, Outcome.CREATED, Kind.LOCATION),
    Phase.CREATE_VEHICLES: Manner(Kind.VEHICLE, False, Outcome.CREATED, Kind.USER),
}
