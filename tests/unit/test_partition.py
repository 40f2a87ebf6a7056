"""Where rows go: a hash that must never change, and what the profile says a location is."""

import polars as pl
import pytest

from pipeline.identity import Identity
from pipeline.partition import RowShape, bucket, bucket_of, buckets_of, partition_count, to_spool, user_key
from schemas.profile import Profile
from tests.unit import judging
from tests.unit.judging import GOOD

AS_IS = Identity("k" * 32, ids="as-is")
HMAC = Identity("k" * 32)


def profile(body: str) -> Profile:
    return Profile.from_toml(f'name = "x"\ncountry = "NO"\n{body}', "x.toml")


def test_buckets_never_change_between_versions() -> None:
    """Ledgers and spools outlive an upgrade: these figures are written on the disks of others."""
    keys = pl.DataFrame({"id": ["1", "4711", "c0ffee00-0000-8000-8000-000000000000"]})
    found = keys.select(user_key(pl.col("id")).alias("key")).with_columns(
        bucket(pl.col("key")).alias("bucket")
    )
    assert found.rows() == [
        (7335560060985733464, 101),
        (3169589458223126241, 43),
        (14324448310073576704, 198),
    ]
    assert bucket_of("4711") == 43


@pytest.mark.parametrize(
    ("rows", "partitions"), [(0, 1), (1, 1), (125_000, 1), (125_001, 2), (10_000_000, 128), (10**9, 256)]
)
def test_partitions_are_a_power_of_two_that_follows_the_size(rows: int, partitions: int) -> None:
    assert partition_count(rows) == partitions


@pytest.mark.parametrize("partitions", [1, 8, 256])
def test_partitions_are_ranges_of_buckets_that_cover_them_all(partitions: int) -> None:
    covered = [bucket for partition in range(partitions) for bucket in buckets_of(partition, partitions)]
    assert covered == list(range(256))


def test_the_bucket_is_that_of_the_id_on_the_wire() -> None:
    rows = pl.DataFrame({"row": [1], "user": ["4711"], "location": ["9"]})
    for identity in (AS_IS, HMAC):
        spooled = to_spool(rows, RowShape(), identity)
        wire_id = rows.select(identity.user_id(pl.col("user"))).item()
        assert spooled["bucket"].item() == bucket_of(wire_id)


USER = '[columns]\nuser = "K"\n'


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        (USER + 'location = "A"', RowShape(True, ("location",), True)),
        (USER + 'meter_point = "M"', RowShape(True, ("meter_point",), False)),
        (
            '[identity]\nlocation_from = ["user", "Adresse"]\n' + USER,
            RowShape(True, ("key:Adresse",), False),
        ),
        ('[identity]\nlocation_from = ["user"]\n' + USER, RowShape(True, ("user",), False)),
        (
            '[export]\nof = "resources"\n' + USER + 'resource = "R"\nresource_type = "T"\nmeter_point = "M"',
            RowShape(False, (), False),
        ),
    ],
)
def test_the_profile_says_what_a_location_is(text: str, shape: RowShape) -> None:
    assert RowShape.of(profile(text)) == shape


def test_a_place_of_several_columns_is_no_place_when_one_is_missing() -> None:
    rows = pl.DataFrame({"row": [1, 2], "user": ["u", "u"], "key:A": ["x", None], "key:B": ["y", "z"]})
    spooled = to_spool(rows, RowShape(place_from=("key:A", "key:B"), place_is_an_id=False), AS_IS)
    assert spooled["place"].to_list() == ["x\x1fy", None]
    assert "key:A" not in spooled.columns


LINE = {**GOOD, "metering_location": "DE0001", "key:adresse_raw": "Storgata 1", "key:b": "H0101"}


@pytest.mark.parametrize(
    ("location_from", "place"),
    [
        (["user"], GOOD["user"]),
        (["meter_point"], GOOD["meter_point"]),
        (["user", "metering_location"], "DE0001"),
        (["metering_location", "b"], "DE0001\x1fH0101"),
        (["user", "adresse_raw"], "Storgata 1"),
        (["adresse_raw", "adresse_raw"], "Storgata 1\x1fStorgata 1"),
    ],
)
@pytest.mark.parametrize("identity", [AS_IS, HMAC])
def test_whatever_may_name_a_location_names_it_from_the_file_to_the_spool(
    location_from: list[str], place: str, identity: Identity
) -> None:
    columns = {"location": None, "metering_location": "MeLo"}
    by_place = judging.profile(columns=columns, identity={"location_from": location_from})
    verdict = judging.judged([LINE], by_place)
    assert [] == verdict.violations.rows()
    spooled = to_spool(verdict.valid_rows, RowShape.of(by_place), identity)
    assert [place] == spooled["place"].to_list()
    assert {"metering_location", "key:adresse_raw", "key:b"}.isdisjoint(spooled.columns)


def test_look_alike_customers_share_a_bucket() -> None:
    rows = pl.DataFrame({"row": [1, 2], "user": ["Å", "A\u030a"], "location": ["1", "2"]})
    assert to_spool(rows, RowShape(), HMAC)["bucket"].n_unique() == 1
