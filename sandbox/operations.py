"""Each operation of the contract, done in a `World` and answered in the vendor's shapes."""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import msgspec

from sandbox.areas import any_in_area
from sandbox.contract import Operation
from sandbox.effects import Cause
from sandbox.exchange import Answer, Call
from sandbox.records import (
    Coordinates,
    Enrollment,
    Location,
    LocationBody,
    LocationsBody,
    LocationWithUserBody,
    PatchBody,
    Resource,
    ResourceBody,
    User,
    UsersBody,
    VehicleBody,
)
from sandbox.semantics import DEFAULT_PAGE_SIZE, Atomicity, Listing, Page, Refusal, World

_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "PostUserRequest": msgspec.json.Decoder(User),
    "PostUsersBatchRequest": msgspec.json.Decoder(UsersBody),
    "PostLocationRequest": msgspec.json.Decoder(LocationBody),
    "PutLocationRequest": msgspec.json.Decoder(LocationBody),
    "PostLocationsBatchRequest": msgspec.json.Decoder(LocationsBody),
    "PatchLocationRequest": msgspec.json.Decoder(PatchBody),
    "PostLocationBoundResourceRequest": msgspec.json.Decoder(ResourceBody),
    "PostVehicleResourceRequest": msgspec.json.Decoder(VehicleBody),
}

_MOST_INT32 = 2**31 - 1
_WHOLE = re.compile(r"-?[0-9]{1,20}")


class _LocationAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    location_id: str
    location_type: str
    coordinates: Coordinates | msgspec.UnsetType
    meter_point_ids: tuple[str, ...]
    user_id: str


class _ResourceAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    resource_id: str
    resource_type: str
    user_id: str
    location_id: str | None
    meter_point_id: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """One operation to be done.

    Attributes:
        operation: which.
        call: the request.
        parameters: what its path names.
        payload: the decoded body, None without one.
        cause: what the effects will be booked on.
        atomicity: overrides axis A for this request.
    """

    operation: Operation
    call: Call
    parameters: dict[str, str]
    payload: Any
    cause: Cause
    atomicity: Atomicity | None = None

    @property
    def items(self) -> int:
        """How many records the body holds."""
        if isinstance(self.payload, UsersBody):
            return len(self.payload.users)
        if isinstance(self.payload, LocationsBody):
            return len(self.payload.locations)
        return 0 if self.operation.method == "GET" else 1


def decode(operation: Operation, call: Call) -> Any:
    """Read the body of a request.

    Raises:
        Refusal: 400 when it is not what the contract says, 415 when it does not claim to be JSON.
    """
    if operation.body is None:
        return None
    if "json" not in call.headers.get("content-type", "").lower():
        raise Refusal(415, "Unsupported Media Type")
    try:
        return _DECODERS[operation.body].decode(call.body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        # The parser's own sentence may quote a value, and says which record is bad: neither is promised.
        raise Refusal(400, "The request body does not follow the contract.") from None


def refused(operation: Operation, refusal: Refusal) -> Answer:
    """A refusal in the shape the contract gives this operation."""
    match operation.errors.get(refusal.status):
        case "string":
            return Answer.json(refusal.status, refusal.reason)
        case "problem":
            title = "One or more validation errors occurred."
            return Answer.problem(refusal.status, title, {"": [refusal.reason]})
        case _:
            return Answer(refusal.status)


def location_answer(location: Location) -> _LocationAnswer:
    """A location as the API shows it: no coordinates member when there are none."""
    return _LocationAnswer(
        location_id=location.location_id,
        location_type=location.location_type,
        coordinates=msgspec.UNSET if location.coordinates is None else location.coordinates,
        meter_point_ids=location.meter_point_ids,
        user_id=location.user_id,
    )


def _resource_answer(resource: Resource) -> _ResourceAnswer:
    return _ResourceAnswer(
        resource_id=resource.resource_id,
        resource_type=resource.resource_type,
        user_id=resource.user_id,
        location_id=resource.location_id,
        meter_point_id=resource.meter_point_id,
    )


def page_answer(page: Page) -> Answer:
    """A page of users with its pagination."""
    content = {
        "users": page.users,
        "pagination": {
            "totalRecords": page.total,
            "pageSize": page.size,
            "currentPage": page.number,
            "totalPages": page.pages,
            "nextPage": page.number + 1 if page.number < page.pages else None,
            "previousPage": page.number - 1 if page.number > 1 else None,
        },
    }
    return Answer.json(200, content, count=len(page.users))


def page_asked(call: Call) -> tuple[int, int]:
    """The page and page size of a query, with the defaults.

    Raises:
        Refusal: 400 when one is not a number of 32 bits, as the contract has it.
    """
    query = parse_qs(call.query, keep_blank_values=True)
    told = [query.get("page", ["1"])[-1], query.get("pageSize", [str(DEFAULT_PAGE_SIZE)])[-1]]
    # int() would also take `1_0`, blanks around a number and the digits of every script.
    if not all(_WHOLE.fullmatch(one) for one in told):
        raise Refusal(400, "Page and pageSize must be whole numbers.")
    number, size = map(int, told)
    if max(number, size) > _MOST_INT32:
        raise Refusal(400, "Page and pageSize must fit in 32 bits.")
    return number, size


class Operations:
    """Does tasks in a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._eligible: tuple[object, list[User]] | None = None

    def perform(self, task: Task) -> Answer:
        """Do the task and make its answer; a refusal becomes the documented error."""
        try:
            return self._HANDLERS[task.operation.name](self, task)
        except Refusal as refusal:
            return refused(task.operation, refusal)

    def _post_user(self, task: Task) -> Answer:
        return Answer.json(201, self.world.create_user(task.cause, task.payload), count=1)

    def _post_users(self, task: Task) -> Answer:
        users = task.payload.users
        self.world.check_limit(len(users), len(task.call.body))
        listed = self.world.create_users(task.cause, users, task.atomicity)
        return self._batch_answer("users", listed, len(users))

    def _post_locations(self, task: Task) -> Answer:
        bodies: list[LocationWithUserBody] = task.payload.locations
        self.world.check_limit(len(bodies), len(task.call.body))
        locations = [each.of(each.user_id) for each in bodies]
        listed = self.world.create_locations(task.cause, locations, task.atomicity)
        return self._batch_answer("locations", [location_answer(each) for each in listed], len(bodies))

    def _batch_answer(self, name: str, listed: Sequence[Any], count: int) -> Answer:
        if self.world.semantics.c is Listing.EMPTY:
            return Answer(200, count=count)
        return Answer.json(201, {name: listed}, count=count)

    def _get_users(self, task: Task) -> Answer:
        return page_answer(self.world.page(self.users_for(task), *page_asked(task.call)))

    def users_for(self, task: Task) -> list[User]:
        """The whole list behind a paged operation, in order."""
        if task.operation.name == "GetEligibleUsers":
            return self._eligible_users()
        return self.world.lists.user_list()

    def _eligible_users(self) -> list[User]:
        mark = self.world.version
        if self._eligible is None or self._eligible[0] != mark:
            found = [user for user in self.world.lists.user_list() if self._is_eligible(user.user_id)]
            self._eligible = (mark, found)
        return self._eligible[1]

    def _is_eligible(self, user: str) -> bool:
        points = self.world.rules.eligible_meter_points
        return any_in_area(self.world.points(user)) or (
            bool(points)
            and any(
                not points.isdisjoint(each.meter_point_ids) for each in self.world.lists.locations_of(user)
            )
        )

    def _get_user(self, task: Task) -> Answer:
        return Answer.json(200, self.world.user(task.parameters["userId"]), count=1)

    def _delete_user(self, task: Task) -> Answer:
        self.world.delete_user(task.cause, task.parameters["userId"])
        return Answer(204, count=1)

    def _get_eligibility(self, task: Task) -> Answer:
        user = self.world.user(task.parameters["userId"]).user_id
        return Answer.json(200, {"userId": user, "isEligible": self._is_eligible(user)}, count=1)

    def _get_meter(self, task: Task) -> Answer:
        point = task.parameters["mpid"]
        eligible = point in self.world.rules.eligible_meter_points
        for holder in self.world.truth.holders_of(point):
            coordinates = self.world.truth.locations[holder].coordinates
            eligible = eligible or (coordinates is not None and any_in_area([coordinates]))
        return Answer.json(200, {"meterPointId": point, "isEligible": eligible}, count=1)

    def _get_enrollment(self, task: Task) -> Answer:
        user = self.world.user(task.parameters["userId"]).user_id
        return _enrollment_answer(user, self.world.truth.enrollments.get(user))

    def _post_enrollment(self, task: Task) -> Answer:
        user = task.parameters["userId"]
        return _enrollment_answer(user, self.world.enroll(task.cause, user))

    def _delete_enrollment(self, task: Task) -> Answer:
        self.world.leave(task.cause, task.parameters["userId"])
        return Answer(204, count=1)

    def _get_compensation(self, task: Task) -> Answer:
        user = self.world.user(task.parameters["userId"]).user_id
        today = datetime.fromtimestamp(task.cause.time, UTC).date()
        last_day = calendar.monthrange(today.year, today.month)[1]
        compensations = [
            {
                "locationId": each.location_id,
                "meterPointIds": each.meter_point_ids,
                "activeAmount": 0.0,
                "blockedAmount": 0.0,
                "currency": "NOK",
                "problems": []
                if each.meter_point_ids
                else [
                    {
                        "problemType": "MissingMpidOnLocation",
                        "message": "The location has no meter point id, so nothing can be paid for it.",
                    }
                ],
            }
            for each in self.world.lists.locations_of(user)
        ]
        content = {
            "userId": user,
            "period": {"from": today.replace(day=1), "to": today.replace(day=last_day)},
            "locationCompensations": compensations,
        }
        return Answer.json(200, content, count=len(compensations))

    def _get_user_resources(self, task: Task) -> Answer:
        found = self.world.resources(task.parameters["userId"])
        return Answer.json(200, {"resources": [_resource_answer(each) for each in found]}, count=len(found))

    def _get_location_resources(self, task: Task) -> Answer:
        found = self.world.resources(task.parameters["userId"], task.parameters["locationId"])
        return Answer.json(200, [_resource_answer(each) for each in found], count=len(found))

    def _post_vehicle(self, task: Task) -> Answer:
        body: VehicleBody = task.payload
        vehicle = Resource(
            resource_id=body.resource_id, resource_type=body.resource_type, user_id=task.parameters["userId"]
        )
        return Answer.json(201, _resource_answer(self.world.create_resource(task.cause, vehicle)), count=1)

    def _post_resource(self, task: Task) -> Answer:
        body: ResourceBody = task.payload
        resource = Resource(
            location_id=task.parameters["locationId"],
            meter_point_id=body.meter_point_id,
            resource_id=body.resource_id,
            resource_type=body.resource_type,
            user_id=task.parameters["userId"],
        )
        return Answer.json(201, _resource_answer(self.world.create_resource(task.cause, resource)), count=1)

    def _get_resource(self, task: Task) -> Answer:
        found = self.world.resource(task.parameters["resourceId"])
        return Answer.json(200, _resource_answer(found), count=1)

    def _delete_resource(self, task: Task) -> Answer:
        self.world.delete_resource(task.cause, task.parameters["resourceId"])
        return Answer(204, count=1)

    def _get_locations(self, task: Task) -> Answer:
        # The contract documents no 404 here: a user nobody knows has no locations.
        found = self.world.lists.locations_of(task.parameters["userId"])
        return Answer.json(200, [location_answer(each) for each in found], count=len(found))

    def _post_location(self, task: Task) -> Answer:
        location = task.payload.of(task.parameters["userId"])
        return Answer.json(201, location_answer(self.world.create_location(task.cause, location)), count=1)

    def _get_location(self, task: Task) -> Answer:
        found = self.world.location(task.parameters["userId"], task.parameters["locationId"])
        return Answer.json(200, location_answer(found), count=1)

    def _put_location(self, task: Task) -> Answer:
        body: LocationBody = task.payload
        if body.location_id != task.parameters["locationId"]:
            raise Refusal(400, "The locationId of the body is not the one of the path.")
        location = body.of(task.parameters["userId"])
        return Answer.json(200, location_answer(self.world.put_location(task.cause, location)), count=1)

    def _patch_location(self, task: Task) -> Answer:
        user, location = task.parameters["userId"], task.parameters["locationId"]
        changed = self.world.patch_location(task.cause, user, location, task.payload)
        return Answer.json(200, location_answer(changed), count=1)

    def _delete_location(self, task: Task) -> Answer:
        self.world.delete_location(task.cause, task.parameters["userId"], task.parameters["locationId"])
        return Answer(204, count=1)

    _HANDLERS: dict[str, Callable[[Operations, Task], Answer]] = {  # noqa: RUF012
        "GetUsers": _get_users,
        "PostUser": _post_user,
        "PostUsers": _post_users,
        "GetEligibleUsers": _get_users,
        "GetUserById": _get_user,
        "DeleteUserById": _delete_user,
        "GetUserEligibilityByUserId": _get_eligibility,
        "GetUserEnrollmentByUserId": _get_enrollment,
        "PostUserEnrollment": _post_enrollment,
        "DeleteUserEnrollment": _delete_enrollment,
        "FetchUserCompensation": _get_compensation,
        "GetResourcesForUser": _get_user_resources,
        "PostVehicle": _post_vehicle,
        "GetLocationsByUserId": _get_locations,
        "PostLocation": _post_location,
        "PostLocations": _post_locations,
        "GetLocationByLocationId": _get_location,
        "UpdateLocation": _put_location,
        "PatchLocation": _patch_location,
        "DeleteLocation": _delete_location,
        "GetLocationBoundResources": _get_location_resources,
        "PostLocationBoundResource": _post_resource,
        "GetResourceById": _get_resource,
        "DeleteResourceById": _delete_resource,
        "GetMpidEligibility": _get_meter,
    }


def _enrollment_answer(user: str, enrollment: Enrollment | None) -> Answer:
    content = {
        "isEnrolled": enrollment is not None,
        "userId": user,
        "enrollmentId": enrollment.enrollment_id if enrollment else None,
        "enrollmentDate": enrollment.enrollment_date if enrollment else None,
    }
    return Answer.json(200, content, count=1)
