import pytest

from pipeline.delivery.breaker import Breaker, Gate


def failing(breaker, times, now=0.0):
    for _ in range(times):
        breaker.report(now, failed=True)


def opened(now=0.0):
    breaker = Breaker()
    failing(breaker, 5, now)
    return breaker


def test_a_breaker_begins_closed():
    breaker = Breaker()
    assert breaker.is_closed
    assert breaker.gate(0.0) is Gate.OPEN_ROAD
    assert breaker.seconds_to_wait(0.0) == 0.0


def test_four_failures_in_a_row_are_borne_five_are_not():
    breaker = Breaker()
    failing(breaker, 4)
    assert breaker.is_closed
    failing(breaker, 1)
    assert breaker.gate(0.0) is Gate.WAIT
    assert breaker.seconds_to_wait(5.0) == 10.0


def test_a_success_starts_the_count_anew():
    breaker = Breaker()
    failing(breaker, 4)
    breaker.report(0.0, failed=False)
    failing(breaker, 4)
    assert breaker.is_closed


@pytest.mark.parametrize(("every", "closed"), [(2, False), (3, True)])
def test_half_of_the_last_twenty_failing_opens_it(every, closed):
    breaker = Breaker()
    for n in range(20):
        breaker.report(0.0, failed=n % every == 0)
    assert breaker.is_closed is closed


def test_nineteen_attempts_are_too_few_to_judge_a_share():
    breaker = Breaker()
    for n in range(19):
        breaker.report(0.0, failed=n % 2 == 0)
    assert breaker.is_closed


def test_after_the_cool_down_one_read_then_one_small_chunk_are_tried():
    breaker = opened()
    assert breaker.gate(14.9) is Gate.WAIT
    assert breaker.gate(15.0) is Gate.TRY_A_READ
    assert breaker.gate(15.0) is Gate.WAIT, "only one probe at a time"
    breaker.report(15.1, failed=False, probe=True)
    assert breaker.gate(15.2) is Gate.TRY_ONE_REQUEST
    assert breaker.gate(15.2) is Gate.WAIT
    breaker.report(15.3, failed=False, probe=True)
    assert breaker.gate(15.4) is Gate.OPEN_ROAD


def test_a_probe_that_was_not_sent_can_be_handed_out_again():
    breaker = opened()
    breaker.gate(15.0)
    breaker.give_back()
    assert breaker.gate(15.0) is Gate.TRY_A_READ


def test_a_failed_small_chunk_begins_again_with_a_read():
    breaker = opened()
    breaker.gate(15.0)
    breaker.report(15.0, failed=False, probe=True)
    breaker.gate(15.0)
    breaker.report(16.0, failed=True, probe=True)
    assert breaker.seconds_to_wait(16.0) == 30.0
    assert breaker.gate(46.0) is Gate.TRY_A_READ


def test_the_third_reopening_spends_it():
    breaker = opened()
    for now, gate in ((15.0, Gate.TRY_A_READ), (45.0, Gate.TRY_A_READ), (105.0, Gate.TRY_A_READ)):
        assert not breaker.is_spent
        assert breaker.gate(now) is gate
        breaker.report(now, failed=True, probe=True)
    assert breaker.is_spent
    assert breaker.gate(1e9) is Gate.SPENT


def test_an_outage_of_a_minute_is_survived():
    breaker = opened()
    now = 0.0
    while not breaker.is_closed:
        now += breaker.seconds_to_wait(now)
        assert breaker.gate(now) in (Gate.TRY_A_READ, Gate.TRY_ONE_REQUEST)
        breaker.report(now, failed=now < 60.0, probe=True)
    assert now == 105.0


def test_late_ends_of_earlier_requests_change_nothing_while_it_is_open():
    breaker = opened()
    breaker.report(1.0, failed=False)
    failing(breaker, 9, 2.0)
    assert breaker.gate(15.0) is Gate.TRY_A_READ


def test_closing_forgets_what_was_before():
    breaker = opened()
    for _ in range(2):
        breaker.gate(15.0)
        breaker.report(15.0, failed=False, probe=True)
    failing(breaker, 4, 16.0)
    assert breaker.is_closed
