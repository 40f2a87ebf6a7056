"""Mutants are made by rule from a document that is itself made from what is pinned."""

import copy
import json
from pathlib import Path

import pytest

from pipeline.contract import PINNED, Comparison, Shape, compare, shape_of
from sandbox.contract import document as sandbox_document


# ------------------------------------------------------------------ a document of our own
def schema_of(shape):
    told = {"type": shape.type}
    if shape.type == "object":
        told["properties"] = {name: schema_of(each) for name, each in sorted(shape.fields.items())}
        told["required"] = sorted(shape.required)
        told["additionalProperties"] = False
    if shape.item is not None:
        told["items"] = schema_of(shape.item)
    if shape.enum is not None:
        told["enum"] = sorted(shape.enum)
    if shape.nullable:
        told["nullable"] = True
    return told


def content(shape):
    return {"application/json": {"schema": schema_of(shape)}}


def openapi():
    paths = {}
    for (method, path), operation in PINNED.items():
        for name in ["userId", "locationId"][: path.count("{}")]:
            path = path.replace("{}", "{" + name + "}", 1)
        told = {
            "operationId": f"{method}{path}",
            "responses": {
                str(status): {"description": "x", **({"content": content(shape)} if shape else {})}
                for status, shape in operation.answers.items()
            }
            | {str(status): {"description": "y"} for status in operation.unused},
            "parameters": [
                {"name": name, "in": "query", "required": required, "schema": schema_of(shape)}
                for name, (required, shape) in operation.parameters.items()
            ]
            + [{"name": "userId", "in": "path", "required": True, "schema": {"type": "string"}}],
        }
        if operation.sends:
            told["requestBody"] = {"required": True, "content": content(operation.sends)}
        paths.setdefault(path, {})[method.lower()] = told
    return {"openapi": "3.0.1", "info": {"version": "1"}, "paths": paths, "components": {"schemas": {}}}


def judged(document):
    return compare(PINNED, shape_of(document))


# ------------------------------------------------------------------ rules that make mutants
def operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def schemas(holder, pinned, where=()):
    """Every object schema below a body or answer, with its pinned shape and whether it is one."""
    yield holder, pinned
    for name, shape in pinned.fields.items():
        yield from schemas(holder["properties"][name], shape, (*where, name))
    if pinned.item is not None:
        yield from schemas(holder["items"], pinned.item, where)


def pinned_of(path, method):
    template = path.replace("{userId}", "{}").replace("{locationId}", "{}")
    return PINNED[(method.upper(), template)]


def sent_schemas(document):
    for path, method, operation in operations(document):
        if "requestBody" in operation:
            told = operation["requestBody"]["content"]["application/json"]["schema"]
            yield from schemas(told, pinned_of(path, method).sends)


def read_schemas(document):
    for path, method, operation in operations(document):
        for status, shape in pinned_of(path, method).answers.items():
            if shape is not None:
                told = operation["responses"][str(status)]["content"]["application/json"]["schema"]
                yield from schemas(told, shape)


def only(kind, found):
    return [(told, shape) for told, shape in found if shape.type == kind]


def drop_field(told, name):
    del told["properties"][name]
    told["required"] = [each for each in told["required"] if each != name]


def rename_field(told, name):
    told["properties"][name.upper()] = told["properties"].pop(name)
    told["required"] = [name.upper() if each == name else each for each in told["required"]]


def retype(told, name):
    told["properties"][name] = {"type": "boolean"}


def listed(told, name):
    told["properties"][name] = {"type": "array", "items": told["properties"][name]}


def each_field(found, change, among=lambda shape: shape.fields):
    return [
        lambda told=told, name=name: change(told, name)
        for told, shape in only("object", found)
        for name in sorted(among(shape))
    ]


def each(found, change):
    return [lambda told=told, shape=shape: change(told, shape) for told, shape in found]


def change_case(document, path):
    document["paths"][path.replace("users", "Users").replace("resources", "Resources")] = document[
        "paths"
    ].pop(path)


BREAKING = {
    "operation gone": lambda d: [
        lambda path=path, method=method: d["paths"][path].pop(method)
        for path, method, _ in list(operations(d))
    ],
    "path in another case": lambda d: [lambda path=path: change_case(d, path) for path in list(d["paths"])],
    "status gone": lambda d: [
        lambda o=o, status=status: o["responses"].pop(str(status))
        for path, method, o in operations(d)
        for status in pinned_of(path, method).answers
    ],
    "answer without body": lambda d: [
        lambda o=o, status=status: o["responses"][str(status)].pop("content")
        for path, method, o in operations(d)
        for status, shape in pinned_of(path, method).answers.items()
        if shape is not None
    ],
    "body gone": lambda d: [
        lambda o=o: o.pop("requestBody") for _, _, o in operations(d) if "requestBody" in o
    ],
    "body demanded": lambda d: [
        lambda o=o: o.update(requestBody={"content": {"application/json": {"schema": {"type": "object"}}}})
        for _, _, o in operations(d)
        if "requestBody" not in o
    ],
    "body of another media type": lambda d: [
        lambda o=o: o["requestBody"].update(content={"text/xml": {}})
        for _, _, o in operations(d)
        if "requestBody" in o
    ],
    "query parameter demanded": lambda d: [
        lambda o=o: o["parameters"].append(
            {"name": "tenant", "in": "query", "required": True, "schema": {"type": "string"}}
        )
        for _, _, o in operations(d)
    ],
    "header demanded": lambda d: [
        lambda o=o: o["parameters"].append({"name": "X-Key", "in": "header", "required": True})
        for _, _, o in operations(d)
    ],
    "paging gone": lambda d: [
        lambda o=o, n=n: o["parameters"].pop(n)
        for _, _, o in operations(d)
        for n, parameter in enumerate(o["parameters"])
        if parameter["in"] == "query"
    ],
    "sent field gone": lambda d: each_field(sent_schemas(d), drop_field),
    "sent field renamed": lambda d: each_field(sent_schemas(d), rename_field),
    "sent field of another type": lambda d: each_field(sent_schemas(d), retype),
    "sent field became a list": lambda d: each_field(sent_schemas(d), listed),
    "sent field demanded": lambda d: each_field(
        sent_schemas(d),
        lambda told, name: told["required"].append(name),
        lambda shape: shape.fields.keys() - shape.required,
    ),
    "new sent field demanded": lambda d: each(
        only("object", sent_schemas(d)),
        lambda told, _: (told["properties"].update(vin={"type": "string"}), told["required"].append("vin")),
    ),
    "sent value gone": lambda d: each(
        [(t, s) for t, s in sent_schemas(d) if s.enum], lambda told, _: told["enum"].pop(0)
    ),
    "sent text of a closed list": lambda d: each(
        [(t, s) for t, s in sent_schemas(d) if s.type == "string" and not s.enum],
        lambda told, _: told.update(enum=["only", "these"]),
    ),
    "sent text limited": lambda d: each(
        only("string", sent_schemas(d)), lambda told, _: told.update(maxLength=8)
    ),
    "sent text of a format": lambda d: each(
        only("string", sent_schemas(d)), lambda told, _: told.update(format="uuid")
    ),
    "sent text of a pattern": lambda d: each(
        only("string", sent_schemas(d)), lambda told, _: told.update(pattern="^a")
    ),
    "sent list limited": lambda d: each(
        only("array", sent_schemas(d)), lambda told, _: told.update(maxItems=100)
    ),
    "read field gone": lambda d: each_field(read_schemas(d), drop_field),
    "read field renamed": lambda d: each_field(read_schemas(d), rename_field),
    "read field of another type": lambda d: each_field(read_schemas(d), retype),
    "needed field may be left out": lambda d: each_field(
        read_schemas(d), lambda told, name: told["required"].remove(name), lambda shape: shape.required
    ),
    "needed field may be null": lambda d: each_field(
        read_schemas(d),
        lambda told, name: told["properties"][name].update(nullable=True),
        lambda shape: shape.required,
    ),
    "whole numbers became fractions": lambda d: each(
        only("integer", read_schemas(d)), lambda told, _: told.update(type="number")
    ),
    "list became an object": lambda d: each(
        only("array", read_schemas(d)), lambda told, _: told.update(type="object")
    ),
    "items may be null": lambda d: each(
        only("array", read_schemas(d)), lambda told, _: told["items"].update(nullable=True)
    ),
    "items not stated": lambda d: each(only("array", read_schemas(d)), lambda told, _: told.pop("items")),
    "sent items not stated": lambda d: each(
        only("array", sent_schemas(d)), lambda told, _: told.pop("items")
    ),
}


def reverse(value):
    if isinstance(value, dict):
        return {key: reverse(each) for key, each in reversed(value.items())}
    return [reverse(each) for each in reversed(value)] if isinstance(value, list) else value


def everywhere(change):
    """One mutant for each schema."""
    return lambda d: each([*sent_schemas(d), *read_schemas(d)], change)


def rename_path_parameters(document):
    document["paths"] = {
        path.replace("{userId}", "{user}").replace("{locationId}", "{id}"): item
        for path, item in document["paths"].items()
    }


def name_schemas(document):
    """Moves every body into components, behind a reference."""
    for n, (_, _, operation) in enumerate(operations(document)):
        for m, holder in enumerate([operation.get("requestBody", {}), *operation["responses"].values()]):
            for told in holder.get("content", {}).values():
                document["components"]["schemas"][f"S{n}.{m}"] = told["schema"]
                told["schema"] = {"$ref": f"#/components/schemas/S{n}.{m}"}


def wrap_in_all_of(told, _shape):
    inner = dict(told)
    told.clear()
    told.update(allOf=[inner], description="wrapped")


def write_as_31(told, _shape):
    if told.pop("nullable", False):
        told["type"] = [told["type"], "null"]


HARMLESS = {
    "examples": everywhere(lambda told, _: told.update(example="ex", description="words", title="T")),
    "order": lambda d: [lambda: d.update(reverse(copy.deepcopy(d)))],
    "path parameters renamed": lambda d: [lambda: rename_path_parameters(d)],
    "schemas by reference": lambda d: [lambda: name_schemas(d)],
    "schemas wrapped": everywhere(wrap_in_all_of),
    "written as OpenAPI 3.1": everywhere(write_as_31),
    "operation added": lambda d: [
        lambda: d["paths"].update({"/tariffs": {"get": {"responses": {"200": {}}}}})
    ],
    "operation described": lambda d: [
        lambda o=o: o.update(summary="s", tags=["t"], deprecated=True) for _, _, o in operations(d)
    ],
    "status added": lambda d: [lambda o=o: o["responses"].update({"429": {}}) for _, _, o in operations(d)],
    "default answer added": lambda d: [
        lambda o=o: o["responses"].update({"default": {}}) for _, _, o in operations(d)
    ],
    "unused status gone": lambda d: [
        lambda o=o, status=status: o["responses"].pop(str(status))
        for path, method, o in operations(d)
        for status in pinned_of(path, method).unused
    ],
    "answer of a charset": lambda d: [
        lambda h=h: h.update(content={"application/json; charset=utf-8": h["content"]["application/json"]})
        for _, _, o in operations(d)
        for h in o["responses"].values()
        if "content" in h
    ],
    "optional parameter added": lambda d: [
        lambda o=o: o["parameters"].append({"name": "verbose", "in": "query", "schema": {"type": "boolean"}})
        for _, _, o in operations(d)
    ],
    "optional sent field added": lambda d: each(
        only("object", sent_schemas(d)), lambda told, _: told["properties"].update(note={"type": "string"})
    ),
    "sent field no longer demanded": lambda d: each_field(
        sent_schemas(d), lambda told, name: told["required"].remove(name), lambda shape: shape.required
    ),
    "sent value added": lambda d: each(
        [(t, s) for t, s in sent_schemas(d) if s.enum], lambda told, _: told["enum"].append("Tomorrow")
    ),
    "sent list of values opened": lambda d: each(
        [(t, s) for t, s in sent_schemas(d) if s.enum], lambda told, _: told.pop("enum")
    ),
    "sent field may be null": lambda d: each(sent_schemas(d), lambda told, _: told.update(nullable=True)),
    "numbers of another size": lambda d: each(
        [(t, s) for t, s in [*sent_schemas(d), *read_schemas(d)] if s.type in ("number", "integer")],
        lambda told, _: told.update(format="int64"),
    ),
    "read field added": lambda d: each(
        only("object", read_schemas(d)),
        lambda told, _: told["properties"].update(createdAt={"type": "string"}),
    ),
    "read value added": lambda d: each(
        [(t, s) for t, s in read_schemas(d) if s.enum], lambda told, _: told["enum"].append("Tomorrow")
    ),
    "read field always there": lambda d: each_field(
        read_schemas(d),
        lambda told, name: told["required"].append(name),
        lambda shape: shape.fields.keys() - shape.required,
    ),
    "read text limited": lambda d: each(
        only("string", read_schemas(d)), lambda told, _: told.update(maxLength=8)
    ),
    "unneeded read field may be null": lambda d: each_field(
        read_schemas(d),
        lambda told, name: told["properties"][name].update(nullable=True),
        lambda shape: shape.fields.keys() - shape.required,
    ),
}


def mutants(rules):
    """Every mutant of every rule, each in a document of its own."""
    for rule, make in rules.items():
        for n in range(len(make(openapi()))):
            document = openapi()
            make(document)[n]()
            yield f"{rule} {n}", document


# ------------------------------------------------------------------ the tests
def test_a_document_made_from_what_is_pinned_does_not_differ():
    assert judged(openapi()) == Comparison((), ())


def test_two_hundred_mutants_and_more_are_made():
    assert len(list(mutants(BREAKING))) >= 200
    assert len(list(mutants(HARMLESS))) >= 200


@pytest.mark.parametrize("rule", BREAKING)
def test_a_breaking_mutant_is_never_missed(rule):
    missed = [name for name, document in mutants({rule: BREAKING[rule]}) if not judged(document).breaking]
    assert missed == []


@pytest.mark.parametrize("rule", HARMLESS)
def test_a_harmless_mutant_never_stops_a_run(rule):
    alarms = {name: judged(document).breaking for name, document in mutants({rule: HARMLESS[rule]})}
    assert {name: found for name, found in alarms.items() if found} == {}


@pytest.mark.parametrize(
    "rule", ["status added", "read field added", "sent value added", "optional sent field added"]
)
def test_a_harmless_novelty_is_mentioned(rule):
    assert all(judged(document).harmless for _, document in mutants({rule: HARMLESS[rule]}))


def test_a_difference_says_where_it_is():
    document = openapi()
    user = document["paths"]["/users/batch"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    drop_field(user["properties"]["users"]["items"], "userId")
    assert judged(document).breaking == ("POST /users/batch: body.users[].userId: gone",)


@pytest.mark.parametrize("nothing", [None, [], "html", {}, {"paths": []}, {"paths": {"/users": None}}, 7])
def test_anything_but_a_document_has_lost_every_call(nothing):
    assert len(judged(nothing).breaking) == len(PINNED)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/components/schemas/Loop"},
        {"$ref": "#/components/schemas/Self"},
        {"$ref": "http://elsewhere.example/schema"},
        {"$ref": 7},
        {"type": ["string", "number"]},
        {"oneOf": [{"type": "object"}]},
        [],
    ],
)
def test_a_schema_we_cannot_follow_is_unknown_and_breaking(schema):
    document = openapi()
    document["components"]["schemas"] = {
        "Loop": {"type": "array", "items": {"$ref": "#/components/schemas/Loop"}},
        "Self": {"$ref": "#/components/schemas/Self"},
    }
    document["paths"]["/users/batch"]["post"]["requestBody"]["content"]["application/json"]["schema"] = schema
    assert judged(document).breaking


def test_shapes_without_a_type_are_read_from_what_they_hold():
    document = {
        "paths": {
            "/x": {
                "get": {
                    "responses": {
                        "200": {
                            "content": {
                                "application/json": {
                                    "schema": {"properties": {"kind": {"enum": ["a", None]}}}
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    shape = shape_of(document)[("GET", "/x")].answers[200]
    assert shape == Shape("object", fields={"kind": Shape("string", enum=frozenset("a"))})


def test_the_sandbox_offers_what_is_pinned():
    assert judged(sandbox_document()) == Comparison((), ())


# ------------------------------------------------------------------ the vendor's own document
def vendor_document():
    for folder in Path(__file__).resolve().parents:
        found = folder.parent / "shared" / "openapi" / "ec-sandbox-swagger.json"
        if found.is_file():
            return json.loads(found.read_text())
    pytest.skip(
        "the vendor's contract is not beside this checkout: ../shared/openapi/ec-sandbox-swagger.json"
    )


@pytest.mark.needs_shared
def test_the_vendor_offers_what_is_pinned():
    assert judged(vendor_document()) == Comparison((), ())


@pytest.mark.needs_shared
def test_the_renaming_of_january_2025_would_have_been_seen_if_we_used_it():
    document = vendor_document()
    document["paths"]["/Users/batch"] = document["paths"].pop("/users/batch")
    assert judged(document).breaking == ("POST /users/batch: gone",)


@pytest.mark.needs_shared
def test_the_daily_new_examples_of_the_vendor_are_no_difference():
    text = json.dumps(vendor_document()).replace("b2c3d4e5-f6a7-8901-bcde-f12345678901", "another example")
    assert judged(json.loads(text)) == Comparison((), ())
