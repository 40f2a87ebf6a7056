"""Ids: the natively computed HMAC is the standard library's, in the shape of a UUID version 8."""

import hashlib
import hmac
import unicodedata
import uuid

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.identity import Identity, natural_key, record_digest
from schemas.outcomes import Kind

KEY = "0123456789abcdef0123456789abcdef"
HMAC = Identity(KEY)
AS_IS = Identity(KEY, ids="as-is")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def stdlib(*parts: str) -> bytes:
    return hmac.new(KEY.encode(), "\x1f".join(parts).encode(), hashlib.sha256).digest()


def uuid8(mac: bytes) -> str:
    number = int.from_bytes(mac[:16])
    number = number & ~(0xF << 76) | (8 << 76)
    number = number & ~(0b11 << 62) | (0b10 << 62)
    return str(uuid.UUID(int=number))


def one(expression: pl.Expr, **columns: str | None) -> object:
    return pl.DataFrame({name: [value] for name, value in columns.items()}).select(expression).item()


@settings(deadline=None)  # the first call waits for threads to start
@given(texts, texts, texts)
def test_ids_are_the_standard_librarys_hmac_as_uuid_version_8(user: str, place: str, resource: str) -> None:
    u, p, r = pl.col("u"), pl.col("p"), pl.col("r")
    ids = pl.DataFrame({"u": [user], "p": [place], "r": [resource]}).select(
        HMAC.user_id(u).alias("user"),
        HMAC.location_id(u, p).alias("location"),
        HMAC.resource_id(u, r).alias("resource"),
        HMAC.resource_id(u, r, Kind.VEHICLE).alias("vehicle"),
        HMAC.meter_point_key(p).alias("key"),
    )
    assert ids.row(0) == (
        uuid8(stdlib("user", user)),
        uuid8(stdlib("location", user, place)),
        uuid8(stdlib("resource", user, resource)),
        uuid8(stdlib("vehicle", user, resource)),
        int.from_bytes(stdlib("meter_point", place)[:8]),
    )


def test_an_id_reads_as_a_uuid_of_version_8_and_the_rfc_variant() -> None:
    read = uuid.UUID(str(one(HMAC.user_id(pl.col("u")), u="4711")))
    assert (read.version, read.variant) == (8, uuid.RFC_4122)


def test_parts_do_not_run_into_each_other() -> None:
    split_early = one(HMAC.location_id(pl.col("u"), pl.col("p")), u="1", p="23")
    split_late = one(HMAC.location_id(pl.col("u"), pl.col("p")), u="12", p="3")
    assert split_early != split_late


def test_another_key_gives_another_id() -> None:
    other = Identity(KEY.upper())
    assert one(HMAC.user_id(pl.col("u")), u="1") != one(other.user_id(pl.col("u")), u="1")


def test_as_is_ids_are_the_text_itself() -> None:
    assert one(AS_IS.location_id(pl.col("u"), pl.col("p")), u="u-1", p="l-1") == "l-1"


@pytest.mark.parametrize("identity", [HMAC, AS_IS])
def test_nothing_has_no_id(identity: Identity) -> None:
    frame = pl.DataFrame({"u": ["1"], "p": [None]}, schema={"u": pl.String, "p": pl.String})
    assert frame.select(identity.location_id(pl.col("u"), pl.col("p"))).item() is None


def test_look_alike_spellings_become_one_key_unless_told_otherwise() -> None:
    spellings = pl.Series(["Å1", "A\u030a1", None])
    assert natural_key(spellings, HMAC).to_list() == [unicodedata.normalize("NFC", "Å1")] * 2 + [None]
    assert natural_key(spellings, Identity(KEY, unicode="as-is")).to_list() == spellings.to_list()


def test_the_key_is_not_in_the_representation() -> None:
    assert KEY not in repr(HMAC)


def test_a_digest_covers_the_body_and_where_a_resource_hangs() -> None:
    record = {"user_id": "u", "location_id": "l", "body": '{"resourceId":"r"}'}
    expected = stdlib("u", "l", record["body"]).hex()[:32]
    assert one(record_digest(HMAC, Kind.RESOURCE), **record) == expected
    assert one(record_digest(HMAC, Kind.LOCATION), **record) == stdlib(record["body"]).hex()[:32]


def test_a_digest_of_a_vehicle_needs_no_location() -> None:
    record = {"user_id": "u", "location_id": None, "body": "{}"}
    frame = pl.DataFrame(record, schema=dict.fromkeys(record, pl.String))
    assert frame.select(record_digest(HMAC, Kind.VEHICLE)).item() == stdlib("u", "", "{}").hex()[:32]
