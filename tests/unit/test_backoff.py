import pytest

from pipeline.delivery.backoff import CEILING_SECONDS, pause
from pipeline.delivery.classifier import Strain


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 0.25), (2, 0.5), (3, 1.0), (7, 16.0), (8, 30.0), (5000, 30.0)]
)
def test_pauses_double_up_to_the_ceiling(attempt, longest):
    assert pause(attempt, strain=Strain.FAILED, random=lambda: 1.0) == longest <= CEILING_SECONDS


def test_throttling_starts_at_a_second():
    assert pause(1, strain=Strain.THROTTLED, random=lambda: 1.0) == 1.0


def test_the_whole_pause_is_jittered():
    assert pause(3, strain=Strain.FAILED, random=lambda: 0.0) == 0.0


@pytest.mark.parametrize(("told", "waited"), [(None, 0.5), (0.0, 0.5), (0.2, 0.5), (60.0, 60.0)])
def test_what_the_server_asks_for_is_a_floor(told, waited):
    assert pause(2, strain=Strain.FAILED, random=lambda: 1.0, retry_after=told) == waited
