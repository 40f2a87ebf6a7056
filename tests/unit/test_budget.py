from pipeline.delivery.budget import ALWAYS_ALLOWED, CAPACITY, RetryBudget
from pipeline.delivery.classifier import Strain


def spent_after(budget, strain):
    count = 0
    while budget.take(strain):
        count += 1
    return count


def test_a_fresh_run_may_retry_twenty_times():
    assert spent_after(RetryBudget(), Strain.FAILED) == ALWAYS_ALLOWED


def test_failures_empty_the_bucket_at_fourteen_each():
    assert spent_after(RetryBudget(requests=10_000), Strain.FAILED) == CAPACITY // 14


def test_throttling_costs_five():
    assert spent_after(RetryBudget(requests=10_000), Strain.THROTTLED) == CAPACITY // 5


def test_a_retry_after_a_proofless_answer_costs_as_a_failure():
    budget = RetryBudget()
    assert budget.take(Strain.NONE)
    assert budget.tokens == CAPACITY - 14


def test_successes_give_one_back_up_to_the_capacity():
    budget = RetryBudget(tokens=CAPACITY - 1)
    budget.succeeded()
    budget.succeeded()
    assert budget.tokens == CAPACITY


def test_retries_stay_within_a_tenth_of_the_requests():
    budget, retried = RetryBudget(), 0
    for n in range(3000):
        budget.requested()
        budget.succeeded()
        if n % 5 == 0 and budget.take(Strain.THROTTLED):
            retried += 1
    assert retried == budget.retries <= 300


def test_a_refused_retry_costs_nothing():
    budget = RetryBudget(tokens=13)
    assert not budget.take(Strain.FAILED)
    assert (budget.tokens, budget.retries) == (13, 0)


def test_an_outage_amplifies_by_no_more_than_a_tenth():
    """10 % of requests fail and are retried: at most 1.1 requests for each needed one."""
    budget, sent = RetryBudget(), 0
    for n in range(5000):
        budget.requested()
        sent += 1
        if n % 10:
            budget.succeeded()
        elif budget.take(Strain.FAILED):
            budget.requested()
            sent += 1
    assert sent <= 5000 * 1.1
