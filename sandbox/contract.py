"""The part of the API the sandbox serves: one table behind routes, errors and OpenAPI document.

Names, shapes and status codes are the vendor's; the sentences are ours. Events, reports, webhooks and the
vendor's own simulation are not served: a loader has no business there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

BASE_PATH = "/energy-coordination/v1"
DOCUMENT_PATH = "/swagger/Partner/swagger.json"
JSON_TYPE = "application/json"
PROBLEM_TYPE = "application/problem+json"

ErrorBody = Literal["string", "problem", "none"]
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of the API.

    Attributes:
        name: the contract's `operationId`.
        method: HTTP method.
        template: path below the base path, with `{names}`.
        success: the status of a success.
        answer: schema of the success body, None for no body.
        body: name of the request schema, None for no body.
        errors: status -> how the contract writes the error body.
        groups: what fault rules may call it: see `sandbox.faults`.
    """

    name: str
    method: str
    template: str
    success: int
    answer: Schema | None = None
    body: str | None = None
    errors: dict[int, ErrorBody] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()

    @property
    def segments(self) -> tuple[str, ...]:
        """The template, cut at its slashes."""
        return tuple(self.template.strip("/").split("/"))

    @property
    def paged(self) -> bool:
        """Whether the call takes `page` and `pageSize`."""
        return "paged" in self.groups


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


_USER = "/users/{userId}"
_LOCATIONS = f"{_USER}/locations"
_LOCATION = f"{_LOCATIONS}/{{locationId}}"
_BAD: dict[int, ErrorBody] = {400: "string"}
_BAD_MISSING: dict[int, ErrorBody] = {400: "string", 404: "none"}
_BAD_MISSING_CONFLICT: dict[int, ErrorBody] = {400: "string", 404: "none", 409: "none"}
_BAD_MISSING_SAID: dict[int, ErrorBody] = {400: "string", 404: "string"}
_PROBLEM: dict[int, ErrorBody] = {400: "problem"}
_MISSING: dict[int, ErrorBody] = {404: "none"}


def _operation(
    name: str,
    call: str,
    success: int,
    answer: Schema | None,
    errors: dict[int, ErrorBody],
    *,
    body: str | None = None,
    groups: Iterable[str] = (),
) -> Operation:
    method, template = call.split(" ")
    kind = "read" if method == "GET" else "mutating"
    return Operation(name, method, template, success, answer, body, errors, frozenset({"api", kind, *groups}))


OPERATIONS: tuple[Operation, ...] = (
    _operation("GetUsers", "GET /users", 200, _ref("GetUsersResponse"), _BAD, groups=("paged", "list")),
    _operation(
        "PostUser",
        "POST /users",
        201,
        _ref("GetUserResponse"),
        _BAD,
        body="PostUserRequest",
        groups=("single",),
    ),
    _operation(
        "PostUsers",
        "POST /users/batch",
        201,
        _ref("PostUsersBatchResponse"),
        _BAD,
        body="PostUsersBatchRequest",
        groups=("batch",),
    ),
    _operation(
        "GetEligibleUsers",
        "GET /users/eligible",
        200,
        _ref("GetEligibleUsersResponse"),
        _PROBLEM,
        groups=("paged", "list"),
    ),
    _operation("GetUserById", f"GET {_USER}", 200, _ref("GetUserResponse"), _BAD_MISSING, groups=("by-id",)),
    _operation("DeleteUserById", f"DELETE {_USER}", 204, None, _BAD_MISSING, groups=("delete",)),
    _operation(
        "GetUserEligibilityByUserId",
        f"GET {_USER}/eligibility",
        200,
        _ref("GetUserEligibilityResponse"),
        _BAD_MISSING,
    ),
    _operation(
        "GetUserEnrollmentByUserId",
        f"GET {_USER}/enrollment",
        200,
        _ref("GetUserEnrollmentResponse"),
        _BAD_MISSING,
    ),
    _operation(
        "PostUserEnrollment",
        f"POST {_USER}/enrollment",
        200,
        _ref("GetUserEnrollmentResponse"),
        _BAD_MISSING,
    ),
    _operation("DeleteUserEnrollment", f"DELETE {_USER}/enrollment", 204, None, _BAD_MISSING),
    _operation(
        "FetchUserCompensation",
        f"GET {_USER}/compensation",
        200,
        _ref("GetUserCompensationForCurrentMonthResponse"),
        _BAD_MISSING,
    ),
    _operation(
        "GetResourcesForUser",
        f"GET {_USER}/resources",
        200,
        _ref("GetUserResourcesResponse"),
        _MISSING,
        groups=("list",),
    ),
    _operation(
        "PostVehicle",
        f"POST {_USER}/vehicles",
        201,
        _ref("GetResourceResponse"),
        _PROBLEM,
        body="PostVehicleResourceRequest",
        groups=("single",),
    ),
    _operation(
        "GetLocationsByUserId", f"GET {_LOCATIONS}", 200, _list("GetLocationResponse"), _BAD, groups=("list",)
    ),
    _operation(
        "PostLocation",
        f"POST {_LOCATIONS}",
        201,
        _ref("GetLocationResponse"),
        _BAD_MISSING_CONFLICT,
        body="PostLocationRequest",
        groups=("single",),
    ),
    _operation(
        "PostLocations",
        "POST /users/locations/batch",
        201,
        _ref("PostLocationsBatchResponse"),
        _BAD,
        body="PostLocationsBatchRequest",
        groups=("batch",),
    ),
    _operation(
        "GetLocationByLocationId",
        f"GET {_LOCATION}",
        200,
        _ref("GetLocationResponse"),
        _BAD_MISSING,
        groups=("by-id",),
    ),
    _operation(
        "UpdateLocation",
        f"PUT {_LOCATION}",
        200,
        _ref("GetLocationResponse"),
        _BAD_MISSING,
        body="PutLocationRequest",
        groups=("update",),
    ),
    _operation(
        "PatchLocation",
        f"PATCH {_LOCATION}",
        200,
        _ref("GetLocationResponse"),
        _BAD_MISSING_CONFLICT,
        body="PatchLocationRequest",
        groups=("update",),
    ),
    _operation("DeleteLocation", f"DELETE {_LOCATION}", 204, None, _BAD_MISSING, groups=("delete",)),
    _operation(
        "GetLocationBoundResources",
        f"GET {_LOCATION}/resources",
        200,
        _list("GetLocationBoundResourceResponse"),
        _MISSING,
        groups=("list",),
    ),
    _operation(
        "PostLocationBoundResource",
        f"POST {_LOCATION}/resources",
        201,
        _ref("GetLocationBoundResourceResponse"),
        _BAD_MISSING_SAID,
        body="PostLocationBoundResourceRequest",
        groups=("single",),
    ),
    _operation(
        "GetResourceById",
        "GET /resources/{resourceId}",
        200,
        _ref("GetResourceResponse"),
        _BAD_MISSING_SAID,
        groups=("by-id",),
    ),
    _operation(
        "DeleteResourceById", "DELETE /resources/{resourceId}", 204, None, _BAD_MISSING, groups=("delete",)
    ),
    _operation(
        "GetMpidEligibility", "GET /meters/{mpid}/eligible", 200, _ref("GetMpidEligibilityResponse"), {}
    ),
)


@cache
def _by_shape() -> dict[tuple[str, int], list[Operation]]:
    """Operations by method and number of segments; fewer parameters first, so that literals win."""
    found: dict[tuple[str, int], list[Operation]] = {}
    for each in sorted(OPERATIONS, key=lambda operation: operation.template.count("{")):
        found.setdefault((each.method, len(each.segments)), []).append(each)
    return found


def match(method: str, segments: tuple[str, ...]) -> tuple[Operation, dict[str, str]] | None:
    """The operation a path means, with its parameters; None if there is none."""
    for operation in _by_shape().get((method, len(segments)), ()):
        parameters: dict[str, str] = {}
        for pattern, segment in zip(operation.segments, segments, strict=True):
            if pattern.startswith("{"):
                parameters[pattern[1:-1]] = segment
            elif pattern != segment:
                break
        else:
            return operation, parameters
    return None


def methods_of(segments: tuple[str, ...]) -> list[str]:
    """The methods a path knows, for a 405."""
    return [method for method in ("GET", "POST", "PUT", "PATCH", "DELETE") if match(method, segments)]


_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": "string", "nullable": True}
_INTEGER: Schema = {"type": "integer", "format": "int32"}
_NUMBER: Schema = {"type": "number", "format": "double"}
_FLAG: Schema = {"type": "boolean"}
_DATE: Schema = {"type": "string", "format": "date"}
_TEXTS_OR_NULL: Schema = {"type": "array", "items": _TEXT, "nullable": True}
_LEAVES: Schema = {"readOnly": True}


def _object(*required: str, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"required": sorted(required), **schema} if required else schema


_LOCATION_FIELDS: dict[str, Schema] = {
    "locationId": _TEXT,
    "locationType": _ref("LocationType"),
    "coordinates": _ref("Coordinate"),
    "meterPointId": {**_TEXT_OR_NULL, "deprecated": True},
    "meterPointIds": _TEXTS_OR_NULL,
}
_RESOURCE_FIELDS: dict[str, Schema] = {
    "resourceId": _TEXT,
    "resourceType": _ref("ResourceType"),
    "userId": _TEXT,
    "meterPointId": _TEXT_OR_NULL,
}

SCHEMAS: dict[str, Schema] = {
    "ApiPagination": _object(
        "currentPage",
        "pageSize",
        "totalRecords",
        totalRecords=_INTEGER,
        pageSize=_INTEGER,
        currentPage=_INTEGER,
        totalPages=_INTEGER | _LEAVES,
        nextPage=_INTEGER | {"nullable": True} | _LEAVES,
        previousPage=_INTEGER | {"nullable": True} | _LEAVES,
    ),
    "Coordinate": _object(latitude=_NUMBER, longitude=_NUMBER),
    "Currency": {"type": "string", "enum": ["NOK", "EUR", "SEK", "DKK"]},
    "GetEligibleUsersResponse": _object(
        "pagination", pagination=_ref("ApiPagination"), users=_list("GetUserResponse")
    ),
    "GetLocationBoundResourceResponse": _object(
        "locationId", "resourceId", "resourceType", "userId", locationId=_TEXT, **_RESOURCE_FIELDS
    ),
    "GetLocationResponse": _object(
        "locationId",
        **_LOCATION_FIELDS
        | {
            "meterPointId": _TEXT_OR_NULL | _LEAVES | {"deprecated": True},
            "meterPointIds": {"type": "array", "items": _TEXT},
            "userId": _TEXT_OR_NULL,
        },
    ),
    "GetMpidEligibilityResponse": _object("isEligible", "meterPointId", meterPointId=_TEXT, isEligible=_FLAG),
    "GetResourceResponse": _object(
        "resourceId", "resourceType", "userId", locationId=_TEXT_OR_NULL, **_RESOURCE_FIELDS
    ),
    "GetUserCompensationForCurrentMonthResponse": _object(
        "period",
        userId=_ref("UserId"),
        period=_ref("Period"),
        locationCompensations=_list("LocationCompensation"),
    ),
    "GetUserEligibilityResponse": _object("isEligible", "userId", userId=_TEXT, isEligible=_FLAG),
    "GetUserEnrollmentResponse": _object(
        "userId",
        isEnrolled=_FLAG | _LEAVES,
        userId=_TEXT,
        enrollmentId={"type": "string", "format": "uuid", "nullable": True},
        enrollmentDate={"type": "string", "format": "date-time", "nullable": True},
    ),
    "GetUserResourcesResponse": _object("resources", resources=_list("GetResourceResponse")),
    "GetUserResponse": _object("userId", userId=_TEXT),
    "GetUsersResponse": _object(
        "pagination", pagination=_ref("ApiPagination"), users=_list("GetUserResponse")
    ),
    "HttpValidationProblemDetails": _object(
        type=_TEXT_OR_NULL,
        title=_TEXT_OR_NULL,
        status=_INTEGER | {"nullable": True},
        detail=_TEXT_OR_NULL,
        instance=_TEXT_OR_NULL,
        errors={"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}},
    )
    | {"additionalProperties": {}},
    "LocationCompensation": _object(
        locationId=_ref("LocationId"),
        meterPointIds=_list("MeterPointId"),
        activeAmount=_NUMBER,
        blockedAmount=_NUMBER,
        currency=_ref("Currency"),
        problems=_list("Problem"),
    ),
    "LocationId": _TEXT,
    "LocationType": {"type": "string", "enum": ["Unknown", "Residential", "Commercial", "Other"]},
    "MeterPointId": _TEXT,
    "PatchLocationRequest": _object(
        locationType=_ref("LocationType"), coordinates=_ref("Coordinate"), meterPointIds=_TEXTS_OR_NULL
    ),
    "Period": _object(**{"from": _DATE, "to": _DATE}),
    "PostLocationBoundResourceRequest": _object(
        "resourceId",
        "resourceType",
        resourceId=_TEXT,
        resourceType=_ref("ResourceType"),
        meterPointId=_TEXT_OR_NULL,
    ),
    "PostLocationRequest": _object("locationId", **_LOCATION_FIELDS),
    "PostLocationWithUserRequest": _object("locationId", "userId", **_LOCATION_FIELDS, userId=_TEXT),
    "PostLocationsBatchRequest": _object("locations", locations=_list("PostLocationWithUserRequest")),
    "PostLocationsBatchResponse": _object("locations", locations=_list("GetLocationResponse")),
    "PostUserRequest": _object("userId", userId=_TEXT),
    "PostUsersBatchRequest": _object("users", users=_list("PostUserRequest")),
    "PostUsersBatchResponse": _object("users", users=_list("GetUserResponse")),
    "PostVehicleResourceRequest": _object(
        "resourceId", "resourceType", resourceId=_TEXT, resourceType=_ref("ResourceType")
    ),
    "Problem": _object("message", problemType=_ref("ProblemType"), message=_TEXT),
    "ProblemType": {
        "type": "string",
        "enum": ["MissingMpidOnLocation", "CompensationMpidDoesNotMatchLocation"],
    },
    "PutLocationRequest": _object("locationId", **_LOCATION_FIELDS),
    "ResourceType": {
        "type": "string",
        "enum": ["Generic", "Vehicle", "Charger", "HotWaterTank", "HVAC", "SolarInverter"],
    },
    "UserId": _TEXT,
}

_REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    404: "Not Found",
    409: "Conflict",
}


@cache
def document() -> Schema:
    """The OpenAPI document of what is served. Not to be changed by the caller."""
    paths: dict[str, Schema] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.template, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.0.1",
        "info": {"title": "Energy Coordination API (sandbox on this machine)", "version": "v1"},
        "servers": [{"url": BASE_PATH}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"Bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"Bearer": []}],
    }


def _describe(operation: Operation) -> Schema:
    parameters: list[Schema] = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": _TEXT}
        for part in operation.segments
        if part.startswith("{")
    ]
    if operation.paged:
        parameters += [{"name": name, "in": "query", "schema": _INTEGER} for name in ("page", "pageSize")]
    described: Schema = {"operationId": operation.name, "parameters": parameters}
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {JSON_TYPE: {"schema": _ref(operation.body)}},
        }
    described["responses"] = {
        str(status): response for status, response in sorted(_responses(operation).items())
    }
    return described


def _responses(operation: Operation) -> dict[int, Schema]:
    responses: dict[int, Schema] = {}
    if operation.success != 200:
        # The contract promises an empty 200 beside every 201 and 204, without saying when.
        responses[200] = {"description": _REASONS[200], "content": {JSON_TYPE: {}}}
    responses[operation.success] = {"description": _REASONS[operation.success]}
    if operation.answer is not None:
        responses[operation.success]["content"] = {JSON_TYPE: {"schema": operation.answer}}
    for status, how in operation.errors.items():
        responses[status] = {"description": _REASONS[status]}
        if how == "string":
            responses[status]["content"] = {JSON_TYPE: {"schema": _TEXT}}
        elif how == "problem":
            responses[status]["content"] = {PROBLEM_TYPE: {"schema": _ref("HttpValidationProblemDetails")}}
    return responses
