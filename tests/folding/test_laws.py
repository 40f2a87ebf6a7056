"""Laws of the fold, on rows drawn from so few words that copies and conflicts are common."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import records
from pipeline.conflicts import ConflictPolicy
from pipeline.partition import RowShape, user_key
from pipeline.records import customers_apart, fold
from schemas.outcomes import Kind
from tests.folding.harness import SOURCE, Result, Source, run

LAWS = settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])

users = st.sampled_from(["u1", "u2", "Å3", "A\u030a3"])
places = st.sampled_from(["l1", "l2", "l3", None])
meters = st.sampled_from(["mp1", "mp2", "mp3", "mp4", None])
points = st.sampled_from([(None, None), (59.0, 10.0), (59.00001, 10.00002), (60.0, 11.0)])
devices = st.sampled_from(
    [(None, None), ("r1", "HVAC"), ("r2", "Charger"), ("r2", "Vehicle"), ("v1", "Vehicle")]
)
policies = st.builds(ConflictPolicy, *[st.sampled_from(["quarantine", "keep-first"])] * 2)


@st.composite
def customer_rows(draw: st.DrawFn) -> dict[str, Any]:
    (latitude, longitude), (resource, resource_type) = draw(points), draw(devices)
    return {
        "user": draw(users),
        "location": draw(places),
        "meter_point": draw(meters),
        "location_type": draw(st.sampled_from([None, "Residential", "Other"])),
        "latitude": latitude,
        "longitude": longitude,
        "resource": resource,
        "resource_type": resource_type,
    }


@st.composite
def resource_rows(draw: st.DrawFn) -> dict[str, Any]:
    resource, resource_type = draw(devices)
    return {
        "user": draw(users),
        "meter_point": draw(meters),
        "resource": resource,
        "resource_type": resource_type,
    }


@st.composite
def portfolios(draw: st.DrawFn) -> list[Source]:
    sources = [Source(draw(st.lists(customer_rows(), max_size=12)))]
    if draw(st.booleans()):
        shape = RowShape(defines=False, place_from=(), place_is_an_id=False)
        sources.append(Source(draw(st.lists(resource_rows(), max_size=6)), shape))
    return sources


def content(result: Result) -> dict[str, list[tuple[Any, ...]]]:
    """Everything records say, rows aside."""
    columns = ["id", "user_id", "location_id", "meter_point_keys", "digest", "body", "row_count", "bucket"]
    return {kind.value: sorted(map(repr, result.records(kind).select(columns).iter_rows())) for kind in Kind}


@LAWS
@given(portfolios(), policies, st.sampled_from(["as-is", "hmac"]))
def test_every_row_has_one_class_and_every_record_its_rows(
    sources: list[Source], policy: ConflictPolicy, ids: str
) -> None:
    result = run(*sources, policy=policy, ids=ids, partitions=4)
    every = {n * SOURCE + line for n, source in enumerate(sources) for line in range(1, len(source.rows) + 1)}
    quarantined, duplicates = result.quarantined(), set(result.duplicates())
    mapped = {row for _, _, row in result.provenance()}
    assert every == quarantined | duplicates | mapped
    assert len(every) == len(quarantined) + len(duplicates) + len(mapped)
    assert result.counts() == (len(every), len(quarantined), len(duplicates), len(mapped))


@LAWS
@given(portfolios(), policies, st.sampled_from(["as-is", "hmac"]))
def test_provenance_and_records_name_each_other(
    sources: list[Source], policy: ConflictPolicy, ids: str
) -> None:
    result = run(*sources, policy=policy, ids=ids, partitions=4)
    rows_of = defaultdict(list)
    for kind, record, row in result.provenance():
        rows_of[kind, record].append(row)
    counted = {
        (kind.value, id_): (row, count)
        for kind in Kind
        for id_, row, count in result.records(kind).select("id", "row", "row_count").iter_rows()
    }
    assert counted == {key: (min(rows), len(rows)) for key, rows in rows_of.items()}


@LAWS
@given(portfolios(), policies)
def test_the_number_of_partitions_and_threads_changes_nothing(
    sources: list[Source], policy: ConflictPolicy
) -> None:
    """TR1."""
    alone, many = run(*sources, policy=policy), run(*sources, policy=policy, partitions=64, workers=4)
    assert content(alone) == content(many)
    assert alone.violations() == many.violations()
    assert alone.provenance() == many.provenance()


@LAWS
@given(portfolios(), policies, st.sampled_from(["as-is", "hmac"]), st.integers(1, 5))
def test_a_partition_folded_in_pieces_is_the_partition_folded_at_once(
    sources: list[Source], policy: ConflictPolicy, ids: str, rows_each: int
) -> None:
    whole = run(*sources, policy=policy, ids=ids, partitions=2)
    pieces = run(*sources, policy=policy, ids=ids, partitions=2, workers=2, rows_each=rows_each)
    for kind in Kind:
        made = [
            [row for folded in result.folds for row in folded.records[kind].rows()]
            for result in (whole, pieces)
        ]
        assert sorted(made[0], key=repr) == sorted(made[1], key=repr)
    assert [whole.duplicates(), whole.violations(), whole.provenance(), whole.counts()] == [
        pieces.duplicates(),
        pieces.violations(),
        pieces.provenance(),
        pieces.counts(),
    ]


def test_a_fold_never_gets_more_rows_than_it_has_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the partition: half as many again for what the hash does not divide evenly."""
    folded = []
    monkeypatch.setattr(
        records, "fold", lambda rows, *others: folded.append(rows.height) or fold(rows, *others)
    )
    export = [{"user": f"u{n % 3000}", "location": f"l{n}", "meter_point": f"mp{n}"} for n in range(9000)]
    run(Source(export), partitions=2, workers=2, rows_each=500)
    assert 9000 == sum(folded)
    assert max(folded) <= 750


def test_customers_apart_are_whole_and_in_order() -> None:
    rows = pl.DataFrame({"user": [f"u{n % 700}" for n in range(2100)], "row": range(2100)})
    hashed = rows.with_columns(user_key(pl.col("user")).alias("key")).filter(pl.col("key") >= 2**63)
    pieces = customers_apart(hashed, 1, 2, 100)
    assert len(pieces) == -(-hashed.height // 100)
    assert hashed.sort("key", "row").equals(pl.concat([rows for _, rows in pieces]).sort("key", "row"))
    assert all(rows["key"].is_between(keys.start, keys.stop - 1).all() for keys, rows in pieces)
    edges = [2**63, *(keys.stop for keys, _ in pieces)]
    assert 2**64 == edges[-1]
    assert edges[:-1] == [keys.start for keys, _ in pieces]


@LAWS
@given(portfolios(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing_but_which_copy_is_first(
    sources: list[Source], shuffle: random.Random
) -> None:
    shuffled = [Source(shuffle.sample(source.rows, len(source.rows)), source.shape) for source in sources]
    assert content(run(*sources, partitions=4)) == content(run(*shuffled, partitions=4))


@LAWS
@given(portfolios(), policies, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing_at_all(
    sources: list[Source], policy: ConflictPolicy, shuffle: random.Random
) -> None:
    frames = [(n, part) for n, source in enumerate(sources) for part in source.frame(n).iter_slices(3)]
    shuffle.shuffle(frames)
    ordered, jumbled = run(*sources, policy=policy), run(*sources, policy=policy, frames=frames)
    assert content(ordered) == content(jumbled)
    assert ordered.duplicates() == jumbled.duplicates()
    assert ordered.violations() == jumbled.violations()


@LAWS
@given(portfolios(), policies)
def test_what_is_sent_belongs_to_one_customer(sources: list[Source], policy: ConflictPolicy) -> None:
    result = run(*sources, policy=policy, partitions=4)
    locations = result.bodies(Kind.LOCATION)
    numbers = Counter(number for body in locations for number in body.get("meterPointIds", ()))
    assert max(numbers.values(), default=1) == 1
    for kind in Kind:
        ids = result.records(kind)["id"].to_list()
        assert len(ids) == len(set(ids))


@LAWS
@given(portfolios())
def test_locations_say_what_their_rows_say(sources: list[Source]) -> None:
    """The same grouping, written down again as plainly as can be."""
    result = run(*sources, partitions=4)
    rows = {
        n * SOURCE + line: row for n, source in enumerate(sources) for line, row in enumerate(source.rows, 1)
    }
    of_location = defaultdict(list)
    for kind, record, row in result.provenance():
        if kind == Kind.LOCATION:
            of_location[record].append(rows[row])
    for body in result.bodies(Kind.LOCATION):
        named = of_location[body["locationId"]]
        meters = {row["meter_point"] for row in named} - {None}
        assert body.get("meterPointIds", []) == sorted(meters)
        assert {body.get("locationType")} == ({row["location_type"] for row in named} - {None} or {None})
        points = [(row["latitude"], row["longitude"]) for row in named if row["latitude"] is not None]
        assert body.get("coordinates") == (
            dict(zip(("latitude", "longitude"), min(points), strict=True)) if points else None
        )


@LAWS
@given(portfolios())
def test_bodies_are_canonical(sources: list[Source]) -> None:
    """TR3: each body is JSON, and the one spelling of its content."""
    result = run(*sources, partitions=4)
    for kind in Kind:
        for body in result.records(kind)["body"]:
            document = json.loads(body)
            assert body == json.dumps(document, separators=(",", ":"), ensure_ascii=False)
            assert all(a < b for a, b in pairwise(document.get("meterPointIds", [])))
