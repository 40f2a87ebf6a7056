"""Whatever a parser is given, it answers or refuses in our own words, soon; nothing else ever comes out of it.

The short run goes with every change; the long one, a hundred times as many examples, with the campaign.
"""

from __future__ import annotations

import gzip
import io
import json
import time
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.api.urls import UnsafeSegmentError, checked_origin, url_under
from connectors.exports.corrections import as_it_was, row_tokens, spreadsheet_safe, token_parts
from connectors.exports.sniff import look_at
from connectors.profiles import load_profile
from connectors.reference import load_reference
from pipeline.delivery.answers import (
    MalformedAnswer,
    held_location,
    held_locations,
    held_resource,
    held_resources,
    held_user,
    listed_locations,
    listed_users,
    parse,
    users_page,
)
from pipeline.delivery.messages import server_hint, server_message
from pipeline.delivery.retry_after import wait_told
from pipeline.propose import propose
from schemas.errors import ExportError, MeterfeedError, ProfileError, SettingsError
from schemas.profile import Profile

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 5.0
"""Processor time any one input may cost, with much to spare."""

Check = Callable[..., None]
LENGTHS = [
    pytest.param(1, id="short"),
    pytest.param(100, id="long", marks=[pytest.mark.campaign, pytest.mark.timeout(7200)]),
]


def refusal(wanted: type[Exception], call: Callable[[], Any]) -> Any:
    """The refusal of a call, None when it is taken; any other exception passes through and fails the test."""
    try:
        call()
    except wanted as error:
        return error
    return None


def tried(times: int, examples: int, check: Check, *inputs: st.SearchStrategy[Any]) -> None:
    """Let hypothesis try a check; every example has its own allowance of processor time."""

    def timed(*values: Any) -> None:
        began = time.process_time()
        check(*values)
        assert time.process_time() - began < SECONDS

    made = given(st.tuples(*inputs))(lambda values: timed(*values))
    quiet = list(HealthCheck)
    settings(max_examples=examples * times, deadline=None, suppress_health_check=quiet, database=None)(made)()


def changed(originals: list[bytes], pieces: list[bytes]) -> st.SearchStrategy[bytes]:
    """An original with stretches cut out, doubled, replaced by a piece or by noise."""
    edit = st.tuples(
        st.floats(0, 1), st.floats(0, 0.2), st.sampled_from(pieces) | st.binary(max_size=8), st.integers(0, 3)
    )

    def apply(original: bytes, edits: list[tuple[float, float, bytes, int]]) -> bytes:
        for place, share, piece, how in edits:
            at, end = int(place * len(original)), int((place + share) * len(original))
            middle = (piece, original[at:end] * 2, b"", original[at:end] + piece * 20)[how]
            original = original[:at] + middle + original[end:]
        return original

    return st.builds(apply, st.sampled_from(originals), st.lists(edit, max_size=6))


# ------------------------------------------------------------------ profiles
PROFILES = [path.read_bytes() for path in sorted((ROOT / "data/profiles").glob("*.toml"))]
TOML_PIECES = [
    b"=",
    b"[",
    b"]]",
    b'"',
    b"'''",
    b"\n",
    b"1e999",
    b"nan",
    b"0x",
    b"true",
    b"{a=1}",
    b"[[]]",
    b"\x00",
]
TOML_PIECES += [
    b"9" * 5000,
    b"1979-05-27",
    b"name",
    b"user",
    b"EPSG:4326",
    b"[file]",
    b"(?P<a>(a+)+)$",
    b"*",
    b"..",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["NO", "hmac", ";"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.é ", max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def check_profile_text(text: bytes) -> None:
    refused = refusal(ProfileError, lambda: Profile.from_toml(text.decode("utf-8", "replace"), "p.toml"))
    assert refused is None or refused.cure


@pytest.mark.parametrize("times", LENGTHS)
def test_a_profile_is_read_or_refused(times):
    tried(times, 250, check_profile_text, changed(PROFILES, TOML_PIECES))


@cache
def keys_of_a_profile() -> list[tuple[str, ...]]:
    tables = {name: field.annotation for name, field in Profile.model_fields.items()}
    inner = {name: list(getattr(kind, "model_fields", {})) for name, kind in tables.items()}
    return [(name,) for name in tables] + [(name, key) for name, keys in inner.items() for key in keys]


def check_profile_value(key: tuple[str, ...], value: Any) -> None:
    document: dict[str, Any] = {"name": "p", "country": "NO", "columns": {"user": "A", "meter_point": "B"}}
    table = document
    for name in key[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return
    table[key[-1]] = value
    check_profile_text(_as_toml(document).encode("utf-8", "replace"))


def _as_toml(document: dict[str, Any]) -> str:
    return "\n".join(
        f"{json.dumps(key)} = {_inline(value)}" for key, value in document.items() if value is not None
    )


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        inside = ", ".join(f"{json.dumps(k)} = {_inline(v)}" for k, v in value.items() if v is not None)
        return "{" + inside + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(one) for one in value if one is not None) + "]"
    if isinstance(value, float):
        return str(value).replace("infinity", "inf")
    return json.dumps(value)


@pytest.mark.parametrize("times", LENGTHS)
def test_any_value_of_any_key_is_read_or_refused(times):
    tried(times, 250, check_profile_value, st.sampled_from(keys_of_a_profile()), VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 20_000,
        "a = " + "{a=" * 20_000,
        "a." * 5_000 + "b = 1",
        "name = " + "9" * 100_000,
        "columns = 1979-05-27T25:61:00Z",
        "[" + "a." * 3_000 + "b]\n",
        'name = "' + "a" * 500_000,
        "[keep]\n" + "\n".join(f'k{n} = ["x"]' for n in range(20_000)),
        '[file]\nmatch = "' + "*a" * 5_000 + '"',
    ],
    ids=range(9),
)
def test_a_profile_made_to_hurt_is_refused_soon(text):
    began = time.process_time()
    with pytest.raises(ProfileError):
        Profile.from_toml(text, "p.toml")
    assert time.process_time() - began < SECONDS


# ------------------------------------------------------------------ the look at an unknown file
SAMPLES = [path.read_bytes()[:6_000] for path in sorted((ROOT / "data/samples").glob("*.csv"))]
SIGNS = [
    b'"',
    b"''",
    b";",
    b",",
    b"\t",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x00",
    b"sep=;\n",
    b"\xe5",
]
SIGNS += [
    b"Sum;;;\n",
    b"60,1",
    b"=1+1",
    b"nan",
    b"1e999",
    b"-",
    b"PAR1",
    b"PK\x03\x04",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
]


def check_look(content: bytes, ending: str, folder: Path) -> None:
    path = folder / f"export{ending}"
    path.write_bytes(content)
    try:
        look = look_at(str(path))
    except ExportError:
        return
    proposal = propose(look, name="proposed", reference=reference())
    assert proposal.toml.isprintable() or set(filter(lambda c: not c.isprintable(), proposal.toml)) == {"\n"}
    check_profile_text(proposal.toml.encode())


@cache
def reference() -> Any:
    return load_reference()


@pytest.mark.parametrize("times", LENGTHS)
def test_a_file_nobody_knows_is_described_or_refused(times, tmp_path):
    tried(
        times,
        60,
        lambda content, ending: check_look(content, ending, tmp_path),
        changed(SAMPLES, SIGNS) | st.binary(max_size=200) | changed([b"a;b\n1;2\n"], SIGNS),
        st.sampled_from([".csv", ".txt", ".parquet", ".csv.gz", ".zip", ".csv.zst"]),
    )


def _zipped(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


HURTFUL = {
    "one endless line": b"a;" * 2_000_000,
    "one endless quote": b'a;b\n"' + b"x;\n" * 1_000_000,
    "nothing but quotes": b'"' * 3_000_000,
    "nothing but line ends": b"\n" * 3_000_000,
    "as many columns as characters": b",".join(b"h%d" % n for n in range(200_000)) + b"\n",
    "a bomb": gzip.compress(b"a;b\n" * 20_000_000, 9),
    "a zipped bomb": _zipped("a.csv", b"a;b\n" * 20_000_000),
    "zeros": b"\x00" * 3_000_000,
}


@pytest.mark.parametrize("content", HURTFUL.values(), ids=HURTFUL.keys())
def test_a_file_made_to_hurt_is_described_or_refused_soon(content, tmp_path):
    began = time.process_time()
    check_look(content, ".csv", tmp_path)
    assert time.process_time() - began < 4 * SECONDS


# ------------------------------------------------------------------ answers
LOCATION = {
    "userId": "u",
    "locationId": "l",
    "coordinates": {"latitude": 1.5, "longitude": 2},
    "meterPointIds": ["7"],
}
RESOURCE = {"resourceId": "r", "resourceType": "Vehicle", "userId": "u", "locationId": None}
PAGE = {"pagination": {"totalRecords": 1, "pageSize": 9, "currentPage": 1}, "users": [{"userId": "u"}]}
ANSWERS: list[Any] = [
    {"users": [{"userId": "a"}, {"userId": "b"}]}, {"locations": [LOCATION]}, LOCATION, [LOCATION], RESOURCE,
    {"resources": [RESOURCE]}, PAGE, {"userId": "u"}, {"title": "t", "errors": {"$.users[0].userId": ["x"]}}, "words",
]  # fmt: skip
JSON_PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b":",
    b",",
    b"\\u",
    b"\\ud800",
    b"null",
    b"NaN",
    b"1e999",
    b"\xff",
    b"\x00",
]
JSON_PIECES += [b'"userId":', b'"users":[', b"9" * 5000, b"[" * 5000, b'{"a":' * 2000, b"-", b"<html>", b" "]
READERS = [
    parse,
    listed_users,
    listed_locations,
    users_page,
    held_user,
    held_location,
    held_locations,
    held_resource,
]
READERS += [held_resources]


def check_answer(body: bytes) -> None:
    for read in READERS:
        malformed = refusal(MalformedAnswer, lambda read=read: read(body))
        assert malformed is None or malformed.why
    sent = ["kunde-1", ("kunde-1", "sted-1")]
    assert all(0 <= position < len(sent) for position in server_hint(body, sent))
    shown = server_message(body, sent)
    assert len(shown) <= 200
    assert shown.isprintable()


@pytest.mark.parametrize("times", LENGTHS)
def test_an_answer_is_read_or_malformed(times):
    originals = [json.dumps(answer).encode() for answer in ANSWERS]
    tried(times, 500, check_answer, changed(originals, JSON_PIECES) | st.binary(max_size=100))


# ------------------------------------------------------------------ Retry-After
WAITS = [
    b"5",
    b"Sun, 06 Nov 1994 08:49:37 GMT",
    b"Sunday, 06-Nov-94 08:49:37 GMT",
    b"Sun Nov  6 08:49:37 1994",
    b"5, 120",
]


def check_wait(told: bytes, date: bytes, now: float) -> None:
    headers = {"retry-after": told.decode("latin-1"), "date": date.decode("latin-1")}
    wait = wait_told(headers, now)
    assert wait is None or wait >= 0.0


@pytest.mark.parametrize("times", LENGTHS)
def test_a_wait_is_told_or_not(times):
    pieces = [b",", b" ", b":", b"GMT", b"Nov", b"60", b"31", b"0000", b"9999", b"9" * 400, b".", b"-", b"\t"]
    told = changed(WAITS, pieces) | st.binary(max_size=40)
    tried(times, 800, check_wait, told, told, st.floats(0, 4e9))


@pytest.mark.parametrize(
    "told", ["5," * 100_000, " " * 500_000, "5 ," * 100_000 + "x", "Sun, " * 100_000, "9" * 500_000]
)
def test_a_wait_made_to_hurt_is_told_soon(told):
    began = time.process_time()
    wait_told({"retry-after": told, "date": told}, 0.0)
    assert time.process_time() - began < SECONDS


# ------------------------------------------------------------------ URLs
def check_url(segments: list[str], query: dict[str, str]) -> None:
    base = httpx.URL("https://api.example.no/v1")
    try:
        url = url_under(base, ("users", *segments), query)
    except UnsafeSegmentError:
        return
    except UnicodeEncodeError:
        # A query of ours never holds a lone surrogate; an id is refused for one before it comes so far.
        assert any("\ud800" <= character <= "\udfff" for text in query.values() for character in text)
        return
    assert (url.scheme, url.host, url.port) == ("https", "api.example.no", None)
    path = url.raw_path.partition(b"?")[0]
    assert path.count(b"/") == 2 + len(segments)
    assert path.isascii()


@pytest.mark.parametrize("times", LENGTHS)
def test_segments_become_a_url_or_are_refused(times):
    text = st.text(max_size=20) | st.sampled_from(["..", ".", "%2e", "//x", "@", ":1", "\ud800", "x" * 200])
    tried(
        times, 500, check_url, st.lists(text, max_size=4), st.dictionaries(st.just("page"), text, max_size=1)
    )


def check_origin(text: str) -> None:
    secret = f"kanari-{text}-kanari"
    refused = refusal(SettingsError, lambda: checked_origin(f"{text}{secret}", setting="METERFEED_BASE_URL"))
    assert refused is None or secret not in str(refused)
    try:
        url = checked_origin(text, setting="METERFEED_BASE_URL")
    except SettingsError:
        return
    assert url.scheme == "https" or url.host in ("localhost", "::1") or url.host.startswith("127.")


@pytest.mark.parametrize("times", LENGTHS)
def test_an_address_is_taken_or_refused(times):
    pieces = [
        "http",
        "https",
        "://",
        "@",
        ":",
        "/",
        "[::1]",
        "127.0.0.1",
        "localhost",
        "evil",
        ".",
        "#",
        "?",
        "%00",
        "xn--",
    ]
    text = st.lists(st.sampled_from(pieces) | st.text(max_size=3), max_size=8).map("".join)
    tried(times, 500, check_origin, text)


# ------------------------------------------------------------------ the row token, and cells of a correction
def check_token(text: str) -> None:
    file, line = pl.select(pl.lit(text).alias("t")).select(*token_parts(pl.col("t"))).row(0)
    if file is not None and line is not None:
        assert int(text.partition(":")[2]) == line
        assert text.startswith(f"{file}:")


@pytest.mark.parametrize("times", LENGTHS)
def test_a_row_token_is_read_or_none(times):
    sha256 = "0123456789abcdef" * 4
    originals = [row_tokens(sha256, pl.Series([line]))[0].encode() for line in (1, 77, 2**32 - 1)]
    pieces = [b":", b"9", b"\n", b" ", b"-", b"\xd9\xa3", b"F", b"0"]
    made = changed(originals, pieces).map(lambda raw: raw.decode("utf-8", "replace")) | st.text(max_size=50)
    tried(times, 250, check_token, made)


def check_cell(text: str) -> None:
    safe, back = (
        pl.select(spreadsheet_safe(pl.lit(text)).alias("s"))
        .with_columns(as_it_was(pl.col("s")).alias("b"))
        .row(0)
    )
    assert text == back
    assert not safe.lstrip().startswith(("=", "+", "@", "＝", "＋", "－", "＠"))


@pytest.mark.parametrize("times", LENGTHS)
def test_a_cell_survives_a_spreadsheet(times):
    tried(times, 250, check_cell, st.text("=+-@'\t\r\n 0e1,.a＝", max_size=8))


def test_nothing_here_is_let_through_by_a_wider_error():
    """The errors that are allowed above are ours, and none of them catches everything."""
    assert issubclass(ProfileError, MeterfeedError)
    assert not issubclass(Exception, (MalformedAnswer, UnsafeSegmentError, MeterfeedError))


def test_every_profile_of_ours_is_a_start():
    assert [load_profile(path.stem).name for path in (ROOT / "data/profiles").glob("*.toml")]
