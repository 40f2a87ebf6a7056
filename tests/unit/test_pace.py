import pytest

from pipeline.delivery.classifier import Strain
from pipeline.delivery.pace import ChunkSize, Concurrency, Learned


class Load:
    """Reports one request after the other."""

    def __init__(self, concurrency):
        self.concurrency = concurrency
        self.now = 0.0

    def ends(self, count, seconds=0.1, strain=Strain.NONE):
        for _ in range(count):
            self.concurrency.report(started=self.now, ended=self.now + seconds, strain=strain)
            self.now += seconds


def test_concurrency_begins_at_two_and_grows_by_one_a_clean_window():
    load = Load(Concurrency(ceiling=32))
    assert load.concurrency.limit == 2
    load.ends(9)
    assert load.concurrency.limit == 2
    load.ends(1)
    assert load.concurrency.limit == 3


def test_a_window_is_as_long_as_what_is_in_flight():
    load = Load(Concurrency(ceiling=64, start=30))
    load.ends(29)
    assert load.concurrency.limit == 30
    load.ends(1)
    assert load.concurrency.limit == 31


@pytest.mark.parametrize(("ceiling", "start", "limit"), [(4, 9, 4), (4, 0, 1), (0, 2, 1), (8, 5, 5)])
def test_concurrency_stays_between_one_and_the_ceiling(ceiling, start, limit):
    assert Concurrency(ceiling, start).limit == limit


def test_concurrency_never_grows_past_the_ceiling():
    load = Load(Concurrency(ceiling=3))
    load.ends(500)
    assert load.concurrency.limit == 3


@pytest.mark.parametrize("strain", [Strain.THROTTLED, Strain.FAILED])
def test_strain_halves_concurrency_down_to_one(strain):
    load = Load(Concurrency(ceiling=32, start=9))
    limits = []
    for _ in range(5):
        load.ends(1, strain=strain)
        limits.append(load.concurrency.limit)
    assert limits == [4, 2, 1, 1, 1]


def test_requests_in_flight_together_are_one_message():
    concurrency = Concurrency(ceiling=32, start=16)
    for n in range(16):
        concurrency.report(started=1.0, ended=2.0 + n / 100, strain=Strain.THROTTLED)
    assert concurrency.limit == 8


def test_a_latency_more_than_twice_the_usual_halves_concurrency():
    load = Load(Concurrency(ceiling=32, start=8))
    load.ends(10, seconds=1.0)
    load.ends(10, seconds=2.0)
    assert load.concurrency.limit == 10
    load.ends(10, seconds=3.0)
    assert load.concurrency.limit == 5


def test_small_differences_are_noise():
    load = Load(Concurrency(ceiling=32))
    load.ends(10, seconds=0.001)
    load.ends(10, seconds=0.09)
    assert load.concurrency.limit == 4


def test_a_new_normal_is_accepted_in_time():
    load = Load(Concurrency(ceiling=4))
    load.ends(100, seconds=1.0)
    load.ends(400, seconds=4.0)
    assert load.concurrency.limit == 4


def test_one_slow_request_in_thirty_is_no_latency():
    load = Load(Concurrency(ceiling=64, start=30))
    load.ends(30, seconds=1.0)
    load.ends(1, seconds=30.0)
    load.ends(30, seconds=1.0)
    assert load.concurrency.limit == 32


def size(**options):
    return ChunkSize(**{"most_records": 1000, "most_bytes": 100_000, **options})


def test_a_chunk_may_begin_as_large_as_the_settings_say():
    assert (size().max_bytes, size().max_records) == (100_000, 1000)


def test_a_quick_full_chunk_lets_the_next_grow_by_a_tenth():
    chunks = size(start_bytes=50_000)
    chunks.went_well(byte_count=49_000, seconds=0.5)
    assert chunks.max_bytes == 55_000


@pytest.mark.parametrize(("byte_count", "seconds"), [(1_000, 0.5), (49_000, 2.5)])
def test_a_small_or_slow_chunk_proves_nothing(byte_count, seconds):
    chunks = size(start_bytes=50_000)
    chunks.went_well(byte_count=byte_count, seconds=seconds)
    assert chunks.max_bytes == 50_000


def test_growth_ends_at_the_settings():
    chunks = size(start_bytes=95_000)
    chunks.went_well(byte_count=95_000, seconds=0.1)
    assert chunks.max_bytes == 100_000


def test_a_lost_chunk_halves_the_next_and_may_grow_back():
    chunks = size()
    chunks.was_too_much(byte_count=80_000)
    assert chunks.max_bytes == 40_000
    assert chunks.learned().refused_bytes is None


def test_a_refused_size_is_never_tried_again():
    chunks = size()
    chunks.was_too_large(byte_count=80_000)
    assert chunks.max_bytes == 40_000
    for _ in range(50):
        chunks.went_well(byte_count=chunks.max_bytes, seconds=0.1)
    assert chunks.max_bytes == 72_000
    chunks.was_too_large(byte_count=90_000)
    assert chunks.learned().refused_bytes == 80_000


def test_chunks_never_shrink_to_nothing():
    chunks = size()
    for _ in range(40):
        chunks.was_too_much(byte_count=chunks.max_bytes)
    assert chunks.max_bytes == 256


def test_what_was_learned_is_stored_and_believed_by_the_next_run():
    chunks = size()
    chunks.was_too_large(byte_count=80_000)
    learned = Learned.from_json(chunks.learned(concurrency=6).to_json())
    assert learned == Learned(refused_bytes=80_000, chunk_bytes=40_000, concurrency=6)
    assert size(learned=learned).max_bytes == 40_000


@pytest.mark.parametrize(
    "stored", [None, {}, {"chunk_bytes": -1}, {"chunk_bytes": "9"}, {"concurrency": True, "other": 5}]
)
def test_what_cannot_have_been_learned_is_as_if_never_stored(stored):
    assert Learned.from_json(stored) == Learned()
