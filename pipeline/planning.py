"""Turn spooled rows into a plan in the spool: fold each partition, compare it with what is held, name the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl

from pipeline.conflicts import ConflictPolicy, find_conflicts
from pipeline.holdings import HOLDING_COLUMNS, KEY
from pipeline.identity import ID_KEY, Identity
from pipeline.intake import SET_ASIDE, SPARED
from pipeline.joining import joined
from pipeline.keeping import KEPT, are_meant, claimed_by_others, say_the_same, shorter, told_by, with_kept
from pipeline.partition import buckets_of, wire_user
from pipeline.phases import MANNERS, Phase
from pipeline.plan import (
    LOST,
    PLAN_SCHEMA,
    KindPlan,
    Plan,
    claims,
    compare,
    handover,
    let_go,
    lost,
    phases_of,
    plan_digest,
)
from pipeline.ports import Notice, RowSpool, World
from pipeline.prepare import Judged
from pipeline.protection import FLAGS_PAGE, MARKS, flags_of, still_protected
from pipeline.records import FOLD_ROWS, Folding, Piece, fold_all
from pipeline.resemblance import Resemblance
from pipeline.row_token import SOURCE_SIZE
from pipeline.vanishing import (
    COST,
    DELETES,
    LISTED,
    Absence,
    due,
    evidence_page,
    nothing_missing,
    removals,
    told,
    tombstone_page,
)
from schemas.ledger import BUCKETS
from schemas.outcomes import Kind
from schemas.profile import Profile

UNCHANGED = "unchanged"
"""Spool table of records that are in place already: `kind, id, row, row_count`."""

SHORTER = "shorter"
"""Spool table of changed locations that may keep meter points they do not name: a plan's line and `others`, `guarded`,
`is_same`, `row_count`. What becomes of them is known when all claims are."""

VANISHED = "vanished"
"""Spool table of held records that full exports do not name: `kind` and the columns of a holding."""
NAMED = "named_again"
"""Spool table of records that were missing once and are named now, or removed once and created anew: `kind` and key."""

FLAGS = "flags"
"""Spool table of locations that are told to be protected and were not known to be, or the other way about: `kind`, key
and `is_protected`."""

WHOLE: Final = range(BUCKETS)

Holdings = Callable[[str, range], pl.DataFrame | None]
"""What is held of a kind for a range of buckets; the ledger's, or nothing for a quality run."""


def nothing_held(_kind: str, _buckets: range) -> None:
    """Holdings of a run that compares with nothing."""


def phase_table(phase: Phase) -> str:
    """The spool table that holds a phase of the plan."""
    return f"plan_{phase.value}"


def read_phase(spool: RowSpool, phase: Phase, partition: int) -> pl.DataFrame | None:
    """The records of one phase and partition with their bodies, or None."""
    return _read(spool, phase_table(phase), partition)


def _read(spool: RowSpool, table: str, partition: int) -> pl.DataFrame | None:
    records = spool.read(table, partition)
    return records.rename({"ledger_bucket": "bucket"}) if records.width else None


def _append(spool: RowSpool, table: str, records: pl.DataFrame) -> None:
    if records.height:
        spool.append(table, records.with_columns(pl.col("bucket").alias("ledger_bucket")))


@dataclass(slots=True)
class _Draft:
    counts: dict[Kind, KindPlan] = field(default_factory=dict)
    sizes: dict[Phase, int] = field(default_factory=dict)
    users: int = 0
    former: int = 0
    body_bytes: Counter[str] = field(default_factory=Counter)
    pieces: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    wanted: list[pl.DataFrame] = field(default_factory=list)
    updated: list[pl.DataFrame] = field(default_factory=list)
    asked: list[pl.DataFrame] = field(default_factory=list)
    named: list[pl.DataFrame] = field(default_factory=list)
    lost: int = 0
    kept: int = 0
    held: int = 0
    spared: int = 0
    returning: Counter[str] = field(default_factory=Counter)

    def add(self, kind: Kind, part: KindPlan) -> None:
        self.counts[kind] = self.counts.get(kind, KindPlan()).plus(part)

    def want(self, changed: pl.DataFrame, *, by_update: bool) -> None:
        """Take down what created or updated locations name."""
        self.wanted.append(claims(changed).with_columns(pl.lit(by_update).alias("by_update")))

    def update(self, update: pl.DataFrame) -> None:
        """Take down what updated locations will have."""
        source = (pl.col("row") // SOURCE_SIZE).alias("source")
        self.updated.append(update.select(*KEY, pl.col("meter_point_keys").alias("new_keys"), source))

    def grow(self, phase: Phase, partition: int, records: pl.DataFrame) -> None:
        self.sizes[phase] = self.sizes.get(phase, 0) + records.height
        if MANNERS[phase].batch and records.height:
            body_bytes = int(records["body"].str.len_bytes().sum()) + records.height
            self.body_bytes[phase.value] += body_bytes
            of_phase = self.pieces.setdefault(phase.value, {})
            before = of_phase.get(partition, (0, 0))
            of_phase[partition] = (before[0] + records.height, before[1] + body_bytes)


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the ledger remembers besides what is held: what is missing, was removed, is protected; None: nothing."""

    evidence: Mapping[Kind, pl.DataFrame | None]
    tombstones: Mapping[Kind, pl.DataFrame | None]
    flags: pl.DataFrame | None

    @classmethod
    def of(cls, holdings: Holdings) -> _Memory:
        return cls(
            {kind: holdings(evidence_page(kind), WHOLE) for kind in Kind},
            {kind: holdings(tombstone_page(kind), WHOLE) for kind in Kind},
            holdings(FLAGS_PAGE, WHOLE),
        )

    def evidence_in(self, buckets: range) -> dict[Kind, pl.DataFrame | None]:
        """The evidence of some buckets."""
        inside = pl.col("bucket").is_between(buckets.start, buckets.stop - 1)
        return {kind: None if page is None else page.filter(inside) for kind, page in self.evidence.items()}


def make_plan(
    judged: Judged,
    identity: Identity,
    holdings: Holdings,
    *,
    world: World,
    over: Callable[[], bool] = lambda: False,
    absence: Absence | None = None,
    rows_each: int = FOLD_ROWS,
) -> Plan:
    """Fold and compare every partition; the plan's records are in the spool when this returns.

    Also completes the tally: conflicts between rows, duplicates and mapped rows are known only now.

    Args:
        absence: what it means that a full export of this run does not name something; None where nothing is held.
        rows_each: folded and compared at a time, about.
    """
    spool, draft, profiles = judged.spool, _Draft(), judged.profiles
    policy = policy_of(profiles)
    find_conflicts(spool, policy)
    folding = Folding(identity, policy, [profile.name for profile in profiles])
    full = [profile.name for profile in profiles if profile.export.kind == "full"]
    deltas = {number for number, profile in enumerate(profiles) if profile.export.kind == "delta"}
    memory = _Memory.of(holdings)
    shared_by = min(profile.coordinates.shared_by for profile in profiles)
    alike = Resemblance(spool, shared_by=shared_by, test_areas=judged.test_areas)
    held: dict[Kind, pl.DataFrame | None] = {}
    with closing(fold_all(spool, folding, rows_each=rows_each)) as pieces:
        for piece in pieces:
            if over():
                break
            judged.take_folded(piece.rows, piece.folded)
            if piece.shielded is not None:
                judged.take_shielded(piece.shielded)
            alike.add(piece.rows)
            if ID_KEY in piece.rows.columns:
                draft.former += piece.rows.filter(pl.col(ID_KEY) > 0)["user_id"].n_unique()
            if not held:
                buckets = buckets_of(piece.partition, spool.partitions)
                held = {kind: holdings(kind.value, buckets) for kind in Kind}
            _plan_piece(judged, identity, piece, held, full, memory, draft)
            if piece.is_last:
                held = {}
                world.notice(Notice("plan", piece.partition + 1, spool.partitions, "partitions"))
            del piece  # or it is held while the next one is made
    spool.drop(SET_ASIDE)
    spool.drop(MARKS)  # where protected addresses are is not kept until the run is done
    judged.take_late(alike.find())
    _plan_shorter(spool, holdings, draft)
    moved, reported = _plan_handovers(spool, holdings, full, deltas - set(judged.corrections), draft)
    facts: dict[str, Any] = {
        "bytes": dict(draft.body_bytes),
        "pieces": {phase: list(sizes.values()) for phase, sizes in draft.pieces.items()},
    }
    if draft.lost:
        facts[LOST] = draft.lost
    if draft.kept:
        facts[KEPT] = draft.kept
    if full and absence is not None:
        facts["vanished"] = _plan_removals(spool, holdings, memory, absence, judged.blind, full, draft)
    if identity.former:
        facts["former_key_customers"] = draft.former
    if draft.returning:
        facts["returning"] = dict(draft.returning)
    digest = plan_digest(
        (phase, found)
        for phase in Phase
        for partition in range(spool.partitions)
        if (found := read_phase(spool, phase, partition)) is not None
    )
    return Plan(digest, draft.counts, draft.sizes, spool.partitions, draft.users, moved, reported, facts)


def policy_of(profiles: Sequence[Profile]) -> ConflictPolicy:
    """The stricter policy wins where profiles of one run differ."""

    def strictest(name: str) -> str:
        chosen = {getattr(profile.conflicts, name) for profile in profiles}
        return "keep-first" if chosen == {"keep-first"} else "quarantine"

    return ConflictPolicy(meter_point=strictest("meter_point"), location=strictest("location"))  # type: ignore[arg-type]


def _plan_piece(
    judged: Judged,
    identity: Identity,
    piece: Piece,
    held_by_kind: Mapping[Kind, pl.DataFrame | None],
    full: Sequence[str],
    memory: _Memory,
    draft: _Draft,
) -> None:
    spool, users = judged.spool, []
    spared = _spared(spool, piece) if full else _NO_USERS
    for kind in Kind:
        records, whole = piece.folded.records[kind], held_by_kind[kind]
        held = whole if whole is None else piece.only(whole)
        if kind is Kind.LOCATION:
            records = still_protected(
                records,
                held,
                judged.corrections,
                identity,
                unplaced=bool(judged.unplaced),
                told=memory.flags,
            )
            _append_marked(spool, FLAGS, kind, flags_of(records, memory.flags))
        compared = compare(kind, records, held, full)
        if held is not None and full:
            draft.held += int(held["scope"].is_in(full).sum())
        vanished = (
            compared.vanished.join(spared, on="user_id", how="anti") if spared.height else compared.vanished
        )
        draft.spared += compared.vanished.height - vanished.height
        if kind is Kind.LOCATION:
            vanished = vanished.join(piece.folded.only_named, on=KEY, how="anti")
        _append_marked(spool, VANISHED, kind, vanished.select(HOLDING_COLUMNS))
        named = records.select(KEY)
        if kind is Kind.LOCATION:
            named = pl.concat([named, piece.folded.only_named])
        _note_named(spool, piece.partition, kind, named, compared.create, spared, memory, draft)
        _append_unchanged(spool, kind, records, compared.create, compared.update)
        if kind is Kind.LOCATION:
            undecided = _undecided(judged, identity, piece, shorter(compared.update, held))
            update = _spool_shorter(spool, compared.update, undecided, records, draft)
            compared = replace(compared, update=update)
        draft.add(
            kind,
            KindPlan(
                create=compared.create.height,
                update=compared.update.height,
                unchanged=compared.unchanged,
                vanished=vanished.height,
            ),
        )
        for phase, part in phases_of(kind, compared):
            _append(spool, phase_table(phase), part)
            draft.grow(phase, piece.partition, part)
        if kind is Kind.LOCATION:
            draft.want(compared.create, by_update=False)
            draft.want(compared.update, by_update=True)
            draft.update(compared.update)
        users.append(records["user_id"])
    draft.users += pl.concat(users).n_unique()


def _append_unchanged(
    spool: RowSpool, kind: Kind, records: pl.DataFrame, create: pl.DataFrame, update: pl.DataFrame
) -> None:
    changed = pl.concat([create.select("user_id", "id"), update.select("user_id", "id")])
    same = records.join(changed, on=["user_id", "id"], how="anti") if changed.height else records
    if same.height:
        spool.append(
            UNCHANGED, same.select(pl.lit(kind.value).alias("kind"), "id", "row", "row_count", "bucket")
        )


def _plan_handovers(
    spool: RowSpool, holdings: Holdings, full: Sequence[str], deltas: Collection[int], draft: _Draft
) -> tuple[int, int]:
    """Add the releases that must come before a meter point can be given on; returns moved and reported."""
    wanted = pl.concat(draft.wanted) if draft.wanted else pl.DataFrame()
    updated = pl.concat(draft.updated) if draft.updated else pl.DataFrame()
    if not wanted.height and not updated.height:
        return 0, 0
    of_deltas = updated.filter(pl.col("source").is_in(sorted(deltas)))
    moved = reported = 0
    for partition in range(spool.partitions):
        held = holdings(Kind.LOCATION.value, buckets_of(partition, spool.partitions))
        if held is None:
            continue
        draft.lost += lost(wanted, held, of_deltas) if of_deltas.height else 0
        # A holder that is updated in this run lets go by itself, but first when another update wants what it has.
        given = let_go(wanted, held, updated)
        bodies = read_phase(spool, Phase.UPDATE_LOCATIONS, partition) if given.frees.height else None
        if bodies is not None:
            bodies = bodies.select(*KEY, "body")
            frees = given.frees.drop("body").join(bodies, on=KEY, how="left", maintain_order="left")
            _append(spool, phase_table(Phase.FREE_LOCATIONS), frees)
            draft.grow(Phase.FREE_LOCATIONS, partition, frees)
        found = handover(wanted, held.join(updated, on=KEY, how="anti"), full_scopes=full)
        moved, reported = moved + found.moved + given.moved, reported + found.reported
        _append(spool, phase_table(Phase.RELEASE_LOCATIONS), found.releases.drop("released_keys"))
        draft.grow(Phase.RELEASE_LOCATIONS, partition, found.releases)
        draft.add(Kind.LOCATION, KindPlan(release=found.releases.height))
    return moved, reported


# ------------------------------------------------------------------ what stays though it is not named
def _undecided(judged: Judged, identity: Identity, piece: Piece, short: pl.DataFrame) -> pl.DataFrame:
    """Those of `shorter` locations for which the rows of this run do not speak wholly: they may keep what they hold.

    Corrections bring what was missing. `guarded` are locations that rows which were set aside may mean.
    """
    if short.is_empty():
        return short
    told = told_by(_set_aside(judged.spool, piece, short), identity)
    of_correction = (pl.col("row") // SOURCE_SIZE).is_in(sorted(judged.corrections))
    guarded = are_meant(short, told) if not judged.unplaced else pl.lit(value=True)
    marked = short.with_columns(guarded=guarded).filter(pl.col("guarded") | of_correction)
    if marked.is_empty():
        return marked
    return marked.with_columns(is_same=pl.col("guarded") & say_the_same(marked, told, identity))


def _set_aside(spool: RowSpool, piece: Piece, short: pl.DataFrame) -> pl.DataFrame:
    """Rows in quarantine of the customers of some locations, by their own fault or by a conflict."""
    in_conflict = _in_conflict(piece)
    if "refers" in in_conflict.columns:
        in_conflict = in_conflict.filter(pl.col("refers").is_null())
    parts = [frame for frame in (spool.read(SET_ASIDE, piece.partition), in_conflict) if frame.height]
    if not parts:
        return pl.DataFrame()
    said = ("user", "user_id", ID_KEY, "place", "meter_point")
    rows = pl.concat(
        [frame.select(name for name in said if name in frame.columns) for frame in parts], how="diagonal"
    )
    return rows.with_columns(wire_user(rows).alias("user_id")).join(short, on="user_id", how="semi")


def _spool_shorter(
    spool: RowSpool, update: pl.DataFrame, undecided: pl.DataFrame, records: pl.DataFrame, draft: _Draft
) -> pl.DataFrame:
    """Put aside what is not decided yet; returns the other updates."""
    if undecided.is_empty():
        return update
    draft.named.append(claims(undecided))
    draft.asked.append(undecided.select(*KEY, pl.col("others").alias("key")).explode("key"))
    columns = [*PLAN_SCHEMA.names(), "others", "guarded", "is_same", "row_count"]
    counted = undecided.join(records.select(*KEY, "row_count"), on=KEY, how="left", maintain_order="left")
    _append(spool, SHORTER, counted.select(columns))
    return update.join(undecided, on=KEY, how="anti", maintain_order="left")


def _plan_shorter(spool: RowSpool, holdings: Holdings, draft: _Draft) -> None:
    """Decide what locations keep that they do not name, now that it is known what others claim."""
    if not draft.asked:
        return
    asked = pl.concat(draft.asked)
    claimed = [frame.select("key", *KEY) for frame in (*draft.wanted, *draft.named)]
    claimed += _held_by_unchanged(spool, holdings, asked)
    given = claimed_by_others(asked, pl.concat(claimed))
    for partition in range(spool.partitions):
        undecided = _read(spool, SHORTER, partition)
        if undecided is None:
            continue
        decided = with_kept(undecided, given)
        draft.kept += int(decided.filter("guarded")["kept"].list.len().sum())
        same, changed = decided.filter("is_same"), decided.filter(~pl.col("is_same"))
        if same.height:
            told = same.select(pl.lit(Kind.LOCATION.value).alias("kind"), "id", "row", "row_count", "bucket")
            spool.append(UNCHANGED, told)
        update = joined(changed.select(*PLAN_SCHEMA.names(), "kept"))
        _append(spool, phase_table(Phase.UPDATE_LOCATIONS), update)
        draft.grow(Phase.UPDATE_LOCATIONS, partition, update)
        draft.add(Kind.LOCATION, KindPlan(update=update.height, unchanged=same.height))
        draft.want(changed, by_update=True)
        draft.update(update)
    spool.drop(SHORTER)


def _held_by_unchanged(spool: RowSpool, holdings: Holdings, asked: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Which locations that stay as they are hold any of these meter points, and are named by good rows."""
    for partition in range(spool.partitions):
        held = holdings(Kind.LOCATION.value, buckets_of(partition, spool.partitions))
        if held is None:
            continue
        also = claims(held).join(asked, on="key", how="semi")
        same = spool.read(UNCHANGED, partition) if also.height else pl.DataFrame()
        if same.height:
            named = same.filter(pl.col("kind").cast(pl.String) == Kind.LOCATION.value)
            yield also.join(named, on="id", how="semi")


# ------------------------------------------------------------------ what vanished
_NO_USERS = pl.DataFrame(schema={"user_id": pl.String})


def _spared(spool: RowSpool, piece: Piece) -> pl.DataFrame:
    """Customers named by rows that are in quarantine: they are not missing, we only know nothing good of them."""
    judged = spool.read(SPARED, piece.partition)
    users = [judged.select("user_id")] if judged.width else []
    in_conflict = _in_conflict(piece)
    if in_conflict.height:
        users.append(in_conflict.select(wire_user(in_conflict).alias("user_id")))
    return pl.concat(users).unique() if users else _NO_USERS


def _in_conflict(piece: Piece) -> pl.DataFrame:
    """The rows of a piece that other rows put into quarantine."""
    rows = piece.folded.violations.filter(pl.col("severity") == "quarantine")["row"]
    return piece.rows.filter(pl.col("row").is_in(rows.implode())) if rows.len() else piece.rows.clear()


def _append_marked(spool: RowSpool, table: str, kind: Kind, records: pl.DataFrame) -> None:
    if records.height:
        marked = records.with_columns(
            pl.lit(kind.value).alias("kind"), pl.col("bucket").alias("ledger_bucket")
        )
        spool.append(table, marked)


def _note_named(
    spool: RowSpool,
    partition: int,
    kind: Kind,
    named: pl.DataFrame,
    create: pl.DataFrame,
    spared: pl.DataFrame,
    memory: _Memory,
    draft: _Draft,
) -> None:
    """Take down what was missing and is named again, and what was removed and comes back."""
    evidence, tombstones = memory.evidence[kind], memory.tombstones[kind]
    if evidence is not None:
        there = evidence.join(named, on=KEY, how="semi")
        if spared.height:
            inside = buckets_of(partition, spool.partitions)
            near = evidence.filter(pl.col("bucket").is_between(inside.start, inside.stop - 1))
            there = pl.concat([there, near.join(spared, on="user_id", how="semi")]).unique(KEY)
        _append_marked(spool, NAMED, kind, there.select(*KEY, "bucket"))
    if tombstones is not None:
        back = tombstones.join(create.select(KEY), on=KEY, how="semi")
        _append_marked(spool, NAMED, kind, back.select(*KEY, "bucket"))
        if back.height:
            draft.returning[kind.value] += back.height


def read_marked(spool: RowSpool, table: str, partition: int, kind: Kind) -> pl.DataFrame | None:
    """The records of one kind and partition in `VANISHED` or `NAMED`, or None."""
    found = spool.read(table, partition)
    if not found.width:
        return None
    mine = found.filter(pl.col("kind") == kind.value).drop("kind").rename({"ledger_bucket": "bucket"})
    return mine if mine.height else None


def _plan_removals(
    spool: RowSpool,
    holdings: Holdings,
    memory: _Memory,
    absence: Absence,
    blind: int,
    full: Sequence[str],
    draft: _Draft,
) -> dict[str, Any]:
    """Judge what vanished, plan its removal where that was asked for, and tell all of it."""
    facts: dict[str, Any] = {
        "asked": absence.asked,
        "absence": absence.to_json(),
        "full": list(full),
        "held": draft.held,
        "spared": draft.spared,
        "blind_rows": blind,
        "cost": COST,
        "kinds": {},
        "listed": [],
    }
    if not any(counts.vanished for counts in draft.counts.values()):
        return facts
    for partition in range(spool.partitions):
        missing = {kind: read_marked(spool, VANISHED, partition, kind) for kind in Kind}
        if all(one is None for one in missing.values()):
            continue
        buckets = buckets_of(partition, spool.partitions)
        users = pl.concat([one.select("user_id") for one in missing.values() if one is not None]).unique()
        held = {kind: _only(holdings(kind.value, buckets), users) for kind in Kind}
        judged = due(
            {kind: nothing_missing() if one is None else one for kind, one in missing.items()},
            held,
            memory.evidence_in(buckets),
            read_phase(spool, Phase.RELEASE_LOCATIONS, partition),
            absence,
            blind=blind > 0,
        )
        for kind, records in judged.items():
            _tell(facts, kind, records)
            if absence.asked:
                going = removals(records)
                _append(spool, phase_table(DELETES[kind]), going)
                draft.grow(DELETES[kind], partition, going)
                draft.add(kind, KindPlan(delete=going.height))
    return facts


def _only(held: pl.DataFrame | None, users: pl.DataFrame) -> pl.DataFrame | None:
    return None if held is None else held.join(users, on="user_id", how="semi")


def _tell(facts: dict[str, Any], kind: Kind, judged: pl.DataFrame) -> None:
    if not judged.height:
        return
    counts, listed = told(kind, judged, LISTED - len(facts["listed"]))
    facts["listed"] += listed
    before = facts["kinds"].setdefault(kind.value, {"missing": 0, "due": 0, "waiting": {}})
    before["missing"] += counts["missing"]
    before["due"] += counts["due"]
    for word, count in counts["waiting"].items():
        before["waiting"][word] = before["waiting"].get(word, 0) + count
