"""Ways to damage an answer's body while the HTTP around it stays sound. Bytes and a seed in, bytes out."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import orjson

Mangler = Callable[[bytes, random.Random], bytes]

MANGLERS: dict[str, Mangler] = {}
"""Closed list: name -> what it does to a body."""


def _mangler(name: str) -> Callable[[Mangler], Mangler]:
    def register(function: Mangler) -> Mangler:
        MANGLERS[name] = function
        return function

    return register


def mangle(name: str, body: bytes, chance: random.Random) -> bytes:
    """Damage a body by the named way."""
    return MANGLERS[name](body, chance)


def _first_list(value: Any) -> list[Any] | None:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return next((each for each in value.values() if isinstance(each, list)), None)
    return None


def _records(value: Any) -> list[dict[str, Any]]:
    """The records of an answer: of its list, or the answer itself."""
    found = _first_list(value)
    if found is None:
        found = [value]
    return [each for each in found if isinstance(each, dict)]


def _change(body: bytes, change: Callable[[Any], Any]) -> bytes:
    """Change a JSON body; one that is not JSON stays as it is."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    return orjson.dumps(change(value))


def _rename(value: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {rename(name): _rename(each, rename) for name, each in value.items()}
    if isinstance(value, list):
        return [_rename(each, rename) for each in value]
    return value


def _each_id(value: Any, change: Callable[[str], Any]) -> Any:
    for record in _records(value):
        for name in ("userId", "locationId", "resourceId"):
            if isinstance(record.get(name), str):
                record[name] = change(record[name])
    return value


@_mangler("empty")
def _empty(_: bytes, __: random.Random) -> bytes:
    return b""


@_mangler("blanks")
def _blanks(_: bytes, __: random.Random) -> bytes:
    return b" \r\n\t" * 8


@_mangler("half")
def _half(body: bytes, _: random.Random) -> bytes:
    return body[: len(body) // 2]


@_mangler("cut-anywhere")
def _cut_anywhere(body: bytes, chance: random.Random) -> bytes:
    return body[: chance.randrange(max(1, len(body)))]


@_mangler("html")
def _html(_: bytes, __: random.Random) -> bytes:
    return b"<!doctype html><title>Sign in</title><form><input name=user></form>"


@_mangler("null")
def _null(_: bytes, __: random.Random) -> bytes:
    return b"null"


@_mangler("true")
def _true(_: bytes, __: random.Random) -> bytes:
    return b"true"


@_mangler("string")
def _string(_: bytes, __: random.Random) -> bytes:
    return b'"Created"'


@_mangler("empty-object")
def _empty_object(_: bytes, __: random.Random) -> bytes:
    return b"{}"


@_mangler("empty-list")
def _empty_list(_: bytes, __: random.Random) -> bytes:
    return b"[]"


@_mangler("list-for-object")
def _list_for_object(body: bytes, _: random.Random) -> bytes:
    return b"[" + body + b"]"


@_mangler("list-is-null")
def _list_is_null(body: bytes, _: random.Random) -> bytes:
    def change(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: None if isinstance(each, list) else each for name, each in value.items()}
        return value

    return _change(body, change)


@_mangler("null-records")
def _null_records(body: bytes, _: random.Random) -> bytes:
    def change(value: Any) -> Any:
        found = _first_list(value)
        if found:
            found[len(found) // 2] = None
        return value

    return _change(body, change)


@_mangler("nan")
def _nan(body: bytes, _: random.Random) -> bytes:
    return body.rstrip()[:-1] + b',"extra":NaN}' if body.rstrip().endswith(b"}") else b"NaN"


@_mangler("infinity")
def _infinity(body: bytes, _: random.Random) -> bytes:
    return body.rstrip()[:-1] + b',"extra":-Infinity}' if body.rstrip().endswith(b"}") else b"Infinity"


@_mangler("huge-number")
def _huge_number(body: bytes, _: random.Random) -> bytes:
    digits = b"9" * 5000
    return body.rstrip()[:-1] + b',"extra":' + digits + b"}" if body.rstrip().endswith(b"}") else digits


@_mangler("deep-lists")
def _deep_lists(_: bytes, __: random.Random) -> bytes:
    return b"[" * 200_000 + b"]" * 200_000


@_mangler("deep-objects")
def _deep_objects(_: bytes, __: random.Random) -> bytes:
    return b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@_mangler("unclosed-lists")
def _unclosed_lists(_: bytes, __: random.Random) -> bytes:
    return b"[" * 200_000


@_mangler("duplicate-keys")
def _duplicate_keys(body: bytes, _: random.Random) -> bytes:
    """The list twice under the same name; the second, which most parsers keep, is empty."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    if not isinstance(value, dict):
        return b'{"a":1,"a":2}'
    name = next((key for key, each in value.items() if isinstance(each, list)), next(iter(value), "a"))
    return body.rstrip()[:-1] + b"," + orjson.dumps(name) + b":[]}"


@_mangler("trailing-garbage")
def _trailing_garbage(body: bytes, _: random.Random) -> bytes:
    return body + b"\x00garbage"


@_mangler("two-documents")
def _two_documents(body: bytes, _: random.Random) -> bytes:
    return body + body


@_mangler("trailing-comma")
def _trailing_comma(body: bytes, _: random.Random) -> bytes:
    return body.rstrip()[:-1] + b",}"


@_mangler("single-quotes")
def _single_quotes(body: bytes, _: random.Random) -> bytes:
    return body.replace(b'"', b"'")


@_mangler("comment")
def _comment(body: bytes, _: random.Random) -> bytes:
    return b"/* served by gateway 7 */" + body


@_mangler("security-prefix")
def _security_prefix(body: bytes, _: random.Random) -> bytes:
    return b")]}',\n" + body


@_mangler("byte-order-mark")
def _byte_order_mark(body: bytes, _: random.Random) -> bytes:
    return b"\xef\xbb\xbf" + body


@_mangler("utf-16")
def _utf_16(body: bytes, _: random.Random) -> bytes:
    return body.decode("utf-8", "replace").encode("utf-16")


@_mangler("invalid-utf-8")
def _invalid_utf_8(body: bytes, _: random.Random) -> bytes:
    return body.replace(b'":"', b'":"\xff\xc0\xaf', 1) if b'":"' in body else b'"\xff\xfe"'


@_mangler("lone-surrogate")
def _lone_surrogate(body: bytes, _: random.Random) -> bytes:
    return body.replace(b'":"', b'":"\\ud800', 1) if b'":"' in body else b'"\\ud800"'


@_mangler("nul-bytes")
def _nul_bytes(body: bytes, _: random.Random) -> bytes:
    return body.replace(b'":"', b'":"\\u0000', 1) if b'":"' in body else b'"\\u0000"'


@_mangler("raw-controls")
def _raw_controls(body: bytes, _: random.Random) -> bytes:
    return body.replace(b'":"', b'":"\x1b[31m\r\n', 1) if b'":"' in body else b'"\x1b"'


@_mangler("flipped-bit")
def _flipped_bit(body: bytes, chance: random.Random) -> bytes:
    if not body:
        return body
    damaged = bytearray(body)
    damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    return bytes(damaged)


@_mangler("ids-as-numbers")
def _ids_as_numbers(body: bytes, _: random.Random) -> bytes:
    return _change(body, lambda value: _each_id(value, len))


@_mangler("ids-upper-case")
def _ids_upper_case(body: bytes, _: random.Random) -> bytes:
    return _change(body, lambda value: _each_id(value, str.upper))


@_mangler("ids-padded")
def _ids_padded(body: bytes, _: random.Random) -> bytes:
    return _change(body, lambda value: _each_id(value, lambda text: f" {text} "))


@_mangler("ids-cut")
def _ids_cut(body: bytes, _: random.Random) -> bytes:
    return _change(body, lambda value: _each_id(value, lambda text: text[:8]))


@_mangler("ids-missing")
def _ids_missing(body: bytes, _: random.Random) -> bytes:
    def change(value: Any) -> Any:
        for record in _records(value):
            for name in ("userId", "locationId", "resourceId"):
                record.pop(name, None)
        return value

    return _change(body, change)


@_mangler("wrong-user")
def _wrong_user(body: bytes, _: random.Random) -> bytes:
    def change(value: Any) -> Any:
        for record in _records(value)[:1]:
            record["userId"] = "somebody-else"
        return value

    return _change(body, change)


@_mangler("fields-in-pascal-case")
def _pascal_case(body: bytes, _: random.Random) -> bytes:
    return _change(body, lambda value: _rename(value, lambda name: name[:1].upper() + name[1:]))


@_mangler("fields-in-snake-case")
def _snake_case(body: bytes, _: random.Random) -> bytes:
    def snake(name: str) -> str:
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)

    return _change(body, lambda value: _rename(value, snake))


@_mangler("new-fields")
def _new_fields(body: bytes, _: random.Random) -> bytes:
    def change(value: Any) -> Any:
        for record in _records(value):
            record["createdBy"] = {"system": "sandbox", "tags": ["a", "b"]}
        return value

    return _change(body, change)


@_mangler("new-enum-value")
def _new_enum_value(body: bytes, _: random.Random) -> bytes:
    def change(value: Any) -> Any:
        for record in _records(value):
            for name in ("locationType", "resourceType"):
                if name in record:
                    record[name] = "Floating"
        return value

    return _change(body, change)


@_mangler("wrapped")
def _wrapped(body: bytes, _: random.Random) -> bytes:
    return _change(body, lambda value: {"data": value, "meta": {"version": 2}})


@_mangler("padded-with-blanks")
def _padded(body: bytes, _: random.Random) -> bytes:
    return b" " * 1_000_000 + body + b"\n" * 1_000_000
