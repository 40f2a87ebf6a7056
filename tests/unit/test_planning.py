"""What a plan takes away from a location some of whose rows were set aside: nothing.

Exports are read, judged, folded and planned by the real thing, night after night; a small API does what is planned, and
does not give anybody what somebody else still has.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import orjson
import polars as pl
import pytest

from connectors.exports import open_exports
from connectors.spool import Spool
from pipeline.bodies import with_location_body, with_more_meter_points
from pipeline.holdings import merge
from pipeline.identity import Identity, record_digest
from pipeline.intake import SET_ASIDE, SPARED, spare
from pipeline.joining import joins
from pipeline.keeping import KEPT, say_the_same
from pipeline.partition import RowShape, user_key
from pipeline.phases import Phase
from pipeline.plan import LOST, Plan
from pipeline.planning import make_plan, read_phase
from pipeline.ports import World
from pipeline.prepare import judge_exports
from pipeline.records import FOLD_ROWS
from schemas.outcomes import Kind
from schemas.profile import Profile
from tests.corpus.reading import reference

PROFILE = """
name = "p"
country = "NO"
[export]
kind = "{kind}"
[file]
match = "kunder*"
separator = ";"
decimal = ","
[columns]
user = "Kundenr"
location = "Anlegg"
location_type = "Kundetype"
meter_point = "MålepunktID"
latitude = "Breddegrad"
longitude = "Lengdegrad"
[values.location_type]
"Husholdning" = "Residential"
"Hytte" = "Commercial"
[conflicts]
meter_point = "{policy}"
"""
THINGS = """
name = "things"
country = "NO"
[export]
of = "resources"
[file]
match = "things*"
separator = ";"
[columns]
user = "Kundenr"
meter_point = "Måler"
resource = "Enhet"
resource_type = "Type"
"""
HEADER = "Kundenr;Anlegg;Kundetype;MålepunktID;Breddegrad;Lengdegrad\n"
WORLD = World(time.time, time.monotonic, lambda _seconds: None, lambda: 0.5)  # type: ignore[arg-type, return-value]
IN_ORDER = (Phase.RELEASE_LOCATIONS, Phase.FREE_LOCATIONS, Phase.UPDATE_LOCATIONS, Phase.CREATE_LOCATIONS)
BROKEN = "961,5"
UNREADABLE = "K1;L1\n"


def gsrn(number: int) -> str:
    body = f"70705759999{number:06d}"
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(body))
    return body + str(-total % 10)


def row(
    customer: str, place: str, meter: int | str, latitude: str = "61,51234", kind: str = "Husholdning"
) -> str:
    point = gsrn(meter) if isinstance(meter, int) else meter
    return f"{customer};{place};{kind};{point};{latitude};9,61234\n"


@dataclass
class Night:
    """What a run planned."""

    plan: Plan
    sent: Counter[str]
    joined: int = 0

    @property
    def locations(self) -> tuple[int, int, int]:
        """Locations created, updated and unchanged."""
        counts = self.plan.counts[Kind.LOCATION]
        return counts.create, counts.update, counts.unchanged


@dataclass
class Company:
    """Exports of one company, night by night, the ledger and the API."""

    folder: Path
    partitions: int = 2
    identity: Identity = field(default_factory=lambda: Identity("k" * 32))
    pages: dict[Kind, pl.DataFrame] = field(default_factory=dict)
    api: dict[str, set[str]] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=count)
    points_are_unique: bool = True

    def night(
        self,
        *rows: str,
        kind: str = "full",
        policy: str = "quarantine",
        correction: bool = False,
        rows_each: int = FOLD_ROWS,
        things: Sequence[str] = (),
    ) -> Night:
        folder = self.folder / str(next(self.numbers))
        folder.mkdir()
        (folder / "kunder.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
        profiles = [Profile.from_toml(PROFILE.format(kind=kind, policy=policy), "p.toml")]
        if things:
            (folder / "things.csv").write_text(
                "Kundenr;Måler;Enhet;Type\n" + "".join(things), encoding="utf-8"
            )
            profiles.append(Profile.from_toml(THINGS, "things.toml"))
        files = [folder / name for name in ("kunder.csv", "things.csv")[: len(profiles)]]
        exports = open_exports([str(file) for file in files], profiles)
        exports[0].is_correction = correction
        spool = Spool.create(folder / "spool", partitions=self.partitions)
        judged = judge_exports(
            exports,
            [export.profile for export in exports],
            environment="sandbox",
            reference=reference(),
            identity=self.identity,
            spool=spool,
            world=WORLD,
        )
        plan = make_plan(judged, self.identity, self.holdings, world=WORLD, rows_each=rows_each)
        judged.tally.counts()
        night = Night(plan, Counter())
        for phase in Phase:
            for partition in range(self.partitions):
                if (records := read_phase(spool, phase, partition)) is not None:
                    night.sent[phase.value] += records.height
                    self.acknowledge(phase, records, night)
        spool.delete()
        return night

    def holdings(self, kind: str, buckets: range) -> pl.DataFrame | None:
        page = self.pages.get(kind)  # type: ignore[call-overload]
        return None if page is None else page.filter(pl.col("bucket").is_in(list(buckets)))

    def acknowledge(self, phase: Phase, records: pl.DataFrame, night: Night) -> None:
        kind = Kind.LOCATION if phase in IN_ORDER else Kind.USER
        self.pages[kind] = merge(self.pages.get(kind), records)
        for record in records.iter_rows(named=True) if kind is Kind.LOCATION else ():
            before, may = self.api.get(record["id"], set()), set(record["meter_point_keys"])
            remaining = {point for point in before if self.key(point) in may}
            own = set(orjson.loads(record["body"] or b"{}").get("meterPointIds", ()))
            if phase in (Phase.RELEASE_LOCATIONS, Phase.FREE_LOCATIONS):
                self.api[record["id"]] = remaining
                continue
            for other, points in self.api.items() if self.points_are_unique else ():
                assert other == record["id"] or not own & points, "claimed while somebody else has it"
            night.joined += joins(record)
            self.api[record["id"]] = own | remaining if joins(record) else own

    def key(self, point: str) -> int:
        return int(pl.select(self.identity.meter_point_key(pl.lit(point))).item())

    def home(self, customer: str, place: str) -> set[int]:
        """Meters at a location, as the API has them; the ledger must believe the same."""
        under = self.identity.id_under("k" * 32, Kind.LOCATION, pl.lit(customer), pl.lit(place))
        one = pl.select(under).item()
        page = self.pages[Kind.LOCATION].filter(pl.col("id") == one)
        points = self.api.get(one, set())
        assert {self.key(point) for point in points} == set(page["meter_point_keys"].explode().drop_nulls())
        return {int(point[11:17]) for point in points}


@pytest.fixture(params=["full", "delta"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def company(tmp_path: Path) -> Company:
    """Two meters in one home, and another customer."""
    made = Company(tmp_path)
    made.night(*HOME, NEIGHBOUR)
    assert {1, 2} == made.home("K1", "L1")
    return made


HOME = (row("K1", "L1", 1), row("K1", "L1", 2))
NEIGHBOUR = row("K2", "L2", 3)
NOTHING: Counter[str] = Counter()

ASIDE = {
    "its coordinates are broken": [row("K1", "L1", 2, BROKEN)],
    "its meter point is broken": [row("K1", "L1", "70705759999000")],
    "its location is broken": [row("K1", "1,2E+05", 2)],
    "its location is missing": [row("K1", "", 2)],
    "neither its location nor its meter point is there": [row("K1", "", "70705759999000")],
    "neither its location nor its meter point is right": [row("K1", "1,2E+05", "70705759999000")],
    "its location is another one, and it is broken": [row("K1", "L7", 2, BROKEN)],
    "another customer claims its meter point": [row("K1", "L1", 2), row("K3", "L3", 2)],
    "another location of the customer claims its meter point": [row("K1", "L1", 2), row("K1", "L8", 2)],
}
SILENT = [fault for fault, rows in ASIDE.items() if gsrn(2) in rows[0]]
"""Where the export still names the meter point, the content of the location can be told to be what it was."""


@pytest.mark.parametrize("fault", ASIDE)
def test_a_row_that_was_set_aside_takes_no_meter_point_away(company: Company, kind: str, fault: str) -> None:
    night = company.night(HOME[0], *ASIDE[fault], NEIGHBOUR, kind=kind)
    assert {1, 2} == company.home("K1", "L1")
    assert (1, 0) == (night.plan.facts[KEPT], night.plan.facts.get(LOST, 0))


@pytest.mark.parametrize("fault", SILENT)
def test_a_night_that_brings_nothing_new_sends_nothing(company: Company, kind: str, fault: str) -> None:
    for _ in range(2):
        night = company.night(HOME[0], *ASIDE[fault], NEIGHBOUR, kind=kind)
        assert ((0, 0, 2), NOTHING) == (night.locations, night.sent)


def test_a_broken_meter_point_cannot_be_told_from_a_new_one_but_only_once(
    company: Company, kind: str
) -> None:
    broken = ASIDE["its meter point is broken"]
    first, second = (company.night(HOME[0], *broken, NEIGHBOUR, kind=kind) for _ in range(2))
    assert ((0, 1, 1), 1, {"update_locations": 1}) == (first.locations, first.joined, first.sent)
    assert ((0, 0, 2), NOTHING) == (second.locations, second.sent)
    assert {1, 2} == company.home("K1", "L1")


@pytest.mark.parametrize("changed", [row("K1", "L1", 1, "61,60000"), row("K1", "L1", 1, kind="Hytte")])
def test_what_the_good_rows_say_anew_is_sent_and_joins(company: Company, kind: str, changed: str) -> None:
    broken = ASIDE["its coordinates are broken"]
    first, second = (company.night(changed, *broken, NEIGHBOUR, kind=kind) for _ in range(2))
    assert ((0, 1, 1), 1, {1, 2}) == (first.locations, first.joined, company.home("K1", "L1"))
    assert ((0, 0, 2), NOTHING) == (second.locations, second.sent)


def test_a_new_meter_point_joins_those_that_are_held(company: Company, kind: str) -> None:
    broken = ASIDE["its coordinates are broken"]
    night = company.night(HOME[0], *broken, row("K1", "L1", 4), NEIGHBOUR, kind=kind)
    assert (1, {1, 2, 4}) == (night.joined, company.home("K1", "L1"))


@pytest.mark.parametrize("meanwhile", [HOME[0], row("K1", "L1", 1, "61,60000")])
def test_once_its_rows_are_good_again_a_location_is_what_the_export_says(
    company: Company, meanwhile: str
) -> None:
    company.night(meanwhile, *ASIDE["its coordinates are broken"], NEIGHBOUR)
    mended = company.night(*HOME, NEIGHBOUR)
    assert (0, {1, 2}) == (mended.joined, company.home("K1", "L1"))
    assert NOTHING == company.night(*HOME, NEIGHBOUR).sent


@pytest.mark.parametrize("meanwhile", [HOME[0], row("K1", "L1", 1, "61,60000")])
def test_a_meter_point_that_has_really_left_leaves_the_next_night(company: Company, meanwhile: str) -> None:
    company.night(meanwhile, *ASIDE["its coordinates are broken"], NEIGHBOUR)
    night = company.night(meanwhile, NEIGHBOUR)
    assert ((0, 1, 1), 0, {1}) == (night.locations, night.joined, company.home("K1", "L1"))


def test_other_locations_and_other_customers_are_not_guarded(company: Company, kind: str) -> None:
    company.night(*HOME, row("K1", "L5", 5), row("K1", "L5", 6), NEIGHBOUR, row("K2", "L2", 7))
    night = company.night(
        HOME[0], *ASIDE["its coordinates are broken"], row("K1", "L5", 5), NEIGHBOUR, kind=kind
    )
    assert ({1, 2}, {5}, {3}) == tuple(
        company.home(*one) for one in (("K1", "L1"), ("K1", "L5"), ("K2", "L2"))
    )
    assert 2 * (kind == "delta") == night.plan.facts.get(LOST, 0)


# ------------------------------------------------------------------ rows nobody can read
def test_while_rows_cannot_be_read_no_location_loses_a_meter_point(company: Company, kind: str) -> None:
    first, second = (company.night(HOME[0], UNREADABLE, NEIGHBOUR, kind=kind) for _ in range(2))
    assert (1, {1, 2}) == (first.joined, company.home("K1", "L1"))
    assert (1, NOTHING) == (second.plan.facts[KEPT], second.sent)
    company.night(HOME[0], NEIGHBOUR, kind=kind)
    assert {1} == company.home("K1", "L1")


def test_a_row_without_a_customer_is_as_good_as_unreadable(company: Company, kind: str) -> None:
    company.night(HOME[0], row("", "L1", 2), NEIGHBOUR, kind=kind)
    assert {1, 2} == company.home("K1", "L1")


def test_what_cannot_be_read_keeps_nobody_from_moving(company: Company, kind: str) -> None:
    company.night(HOME[0], UNREADABLE, NEIGHBOUR, row("K2", "L2", 2), kind=kind)
    assert ({1}, {2, 3}) == (company.home("K1", "L1"), company.home("K2", "L2"))


# ------------------------------------------------------------------ what others claim
@pytest.mark.parametrize("taker", [("K2", "L2"), ("K3", "L3"), ("K1", "L9")])
@pytest.mark.parametrize("own", [[], [row("K1", "L1", 8)]])
def test_what_a_good_row_claims_is_handed_over_and_the_rest_stays(
    company: Company, kind: str, taker: tuple[str, str], own: list[str]
) -> None:
    """To a location that is updated, to a new one, and to another one of the customer."""
    company.night(*HOME, row("K1", "L1", 4), NEIGHBOUR)
    broken = ASIDE["its coordinates are broken"]
    company.night(HOME[0], *broken, *own, NEIGHBOUR, row(*taker, 4), kind=kind)
    assert {1, 2} | ({8} if own else set()) == company.home("K1", "L1")
    assert {4} <= company.home(*taker)


def test_what_goes_to_a_location_of_which_rows_are_set_aside_goes_there(company: Company, kind: str) -> None:
    company.night(*HOME, NEIGHBOUR, row("K2", "L2", 7))
    aside = [*ASIDE["its meter point is broken"], row("K2", "L2", 7, BROKEN)]
    company.night(HOME[0], *aside, NEIGHBOUR, row("K2", "L2", 2), kind=kind)
    assert ({1}, {2, 3, 7}) == (company.home("K1", "L1"), company.home("K2", "L2"))


@pytest.mark.parametrize("taker", [("K2", "L2"), ("K3", "L3"), ("K1", "L9")])
def test_who_comes_first_gets_it(company: Company, kind: str, taker: tuple[str, str]) -> None:
    rows = [row(*taker, 2), NEIGHBOUR, *HOME]
    company.night(*rows, kind=kind, policy="keep-first")
    assert {1} == company.home("K1", "L1")
    assert {2} <= company.home(*taker)
    assert NOTHING == company.night(*rows, kind=kind, policy="keep-first").sent


def test_what_an_unchanged_location_has_already_is_not_kept_by_two(company: Company) -> None:
    """An API that lets two have a meter point: a delta gave it to the second, and could not touch the first."""
    company.points_are_unique = False
    first = row("K3", "L3", 2)
    company.night(first, kind="delta")
    assert ({1, 2}, {2}) == (company.home("K1", "L1"), company.home("K3", "L3"))
    night = company.night(first, *HOME, NEIGHBOUR, policy="keep-first")
    assert ((0, 1, 2), {1}, {2}) == (night.locations, company.home("K1", "L1"), company.home("K3", "L3"))


def test_a_correction_keeps_nothing_that_it_gives_on(company: Company) -> None:
    rows = [row("K1", "L1", 5), row("K1", "L9", 2)]
    company.night(*rows, kind="delta", correction=True)
    assert ({1, 5}, {2}) == (company.home("K1", "L1"), company.home("K1", "L9"))


# ------------------------------------------------------------------ the same whatever else
def test_a_plan_in_small_pieces_is_the_same_plan(tmp_path: Path) -> None:
    digests = set()
    for rows_each in (FOLD_ROWS, 1, 5):
        (folder := tmp_path / str(rows_each)).mkdir()
        made = Company(folder)
        homes = [row(f"C{n}", f"H{n}", 100 + n) for n in range(20)]
        seconds = [row(f"C{n}", f"H{n}", 200 + n) for n in range(20)]
        made.night(*homes, *seconds)
        moved = [one.replace("61,5", "61,6") for one in homes]
        aside = [one.replace("61,5", BROKEN) for one in seconds[:15]]
        night = made.night(*moved, *aside, rows_each=rows_each)
        assert ((0, 20, 0), 15) == (night.locations, night.joined)
        digests.add(night.plan.digest)
    assert 1 == len(digests)


def test_a_location_that_is_held_under_a_former_key_is_known(company: Company, kind: str) -> None:
    users = company.pages[Kind.USER].select(user_key(pl.col("id"))).to_series()
    company.identity = Identity("n" * 32, former=("k" * 32,), held_users=users, ledger_key="k" * 32)
    for fault in ("its coordinates are broken", "another customer claims its meter point"):
        night = company.night(HOME[0], *ASIDE[fault], NEIGHBOUR, kind=kind)
        assert ({1, 2}, NOTHING) == (company.home("K1", "L1"), night.sent)


def test_rows_that_define_no_location_guard_none(tmp_path: Path) -> None:
    spool, identity = Spool.create(tmp_path / "spool", partitions=1), Identity("k" * 32)
    rows = pl.DataFrame({"row": [1], "user": ["u"], "location": ["l"]}, schema_overrides={"row": pl.UInt64})
    broken = pl.DataFrame({"row": [1], "rule": ["resource_has_a_type"], "severity": ["quarantine"]})
    noted = []
    for defines in (False, True):
        assert 0 == spare(spool, rows, rows["row"], broken, RowShape(defines), identity)
        noted.append((spool.row_count(SPARED), spool.row_count(SET_ASIDE)))
    assert [(1, 0), (2, 1)] == noted


def test_resources_in_conflict_guard_no_location(company: Company) -> None:
    things = [f"K1;{gsrn(1)};E1;HVAC\n", f"K1;{gsrn(1)};E1;Charger\n"]
    night = company.night(HOME[0], NEIGHBOUR, things=things)
    assert ({1}, 0) == (company.home("K1", "L1"), night.plan.facts.get(KEPT, 0))


def test_what_a_digest_begins_with_is_no_part_of_the_content() -> None:
    identity = Identity("k" * 32)
    whole, own = (
        pl.select(body=pl.lit(f'{{"locationId":"l","meterPointIds":{points}}}'))
        .select(record_digest(identity, Kind.LOCATION))
        .item()
        for points in ('["1","2"]', '["1"]')
    )
    columns = {"others": pl.List(pl.UInt64), "key": pl.UInt64}
    short = pl.DataFrame(
        {"user_id": "u", "id": "l", "body": '{"locationId":"l","meterPointIds":["1"]}', "others": [[2]]},
        schema_overrides=columns,
    )
    told = pl.DataFrame({"user_id": "u", "meter_point": ["2"], "key": [2]}, schema_overrides=columns)
    said = [("", ""), ("x:", "x:"), ("x:", ""), ("", "x:")]
    for held, says in said:
        one = short.with_columns(held_digest=pl.lit(held + whole), digest=pl.lit(says + own))
        assert [held == says] == say_the_same(one, told, identity).to_list()


def test_a_body_with_more_meter_points_is_the_body_of_all_of_them() -> None:
    odd = 'say ,"meterPointIds":["x"]'
    rows = [
        (odd, ["a"], ["c", "b"], 61.5),
        ("l2", None, ["b"], None),
        ("l3", ["b"], None, 1.0),
        ("l4", None, None, 2.0),
    ]
    few = pl.DataFrame(
        [
            {"user_id": "u", "id": one, "meter_points": own, "more": more, "latitude": at}
            for one, own, more, at in rows
        ],
        schema_overrides={"meter_points": pl.List(pl.String), "more": pl.List(pl.String)},
    ).with_columns(pl.col("latitude").alias("longitude"), pl.lit("Residential").alias("location_type"))
    both = pl.col("meter_points").fill_null([]).list.concat(pl.col("more").fill_null([])).list.sort()
    whole = with_location_body(few.with_columns(both.alias("meter_points")))
    assert (
        whole["body"].to_list() == with_more_meter_points(with_location_body(few), "more")["body"].to_list()
    )
