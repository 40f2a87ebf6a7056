"""What a sample says of the whole."""

from __future__ import annotations

import math

import pytest

from pipeline.sampling import confidence, upper_bound


def test_no_hit_is_the_closed_form():
    """With no hit the exact bound is 1 - 0.05^(1/n), about three in n."""
    for drawn in (20, 100, 1000):
        assert math.isclose(1 - 0.05 ** (1 / drawn), upper_bound(0, drawn), rel_tol=1e-9)


@pytest.mark.parametrize(
    ("hits", "drawn", "expected"), [(1, 100, 0.046560), (10, 100, 0.163720), (5, 1000, 0.010479)]
)
def test_hits_give_the_published_bounds(hits, drawn, expected):
    """Clopper and Pearson, upper 95 % one-sided, as tables of the beta distribution have them."""
    assert math.isclose(expected, upper_bound(hits, drawn), abs_tol=2e-4)


def test_the_bound_holds_as_often_as_it_says():
    """Of the results a true share of 3 % can bring, those whose bound is below 3 % are rarer than 5 %."""
    drawn, share = 200, 0.03
    missed = sum(
        math.comb(drawn, hits) * share**hits * (1 - share) ** (drawn - hits)
        for hits in range(drawn + 1)
        if upper_bound(hits, drawn) < share
    )
    assert 0 < missed < 0.05


@pytest.mark.parametrize(("hits", "drawn"), [(0, 0), (5, 5)])
def test_nothing_drawn_or_nothing_but_hits_proves_nothing(hits, drawn):
    assert 1.0 == upper_bound(hits, drawn)


def test_a_sample_of_all_is_no_estimate():
    told = confidence(read=50, differing=2, users=50, seed=1)
    assert (0.04, 2, True) == (
        told["at_most_share"],
        told["at_most_users"],
        "all users were read" in told["statement"],
    )


def test_the_statement_names_method_seed_and_confidence():
    told = confidence(read=1000, differing=0, users=120_000, seed=7)
    assert (
        "1,000 of 120,000 users, drawn at random without replacement, each equally likely (seed 7): 0 of them differ; "
        "with 95% confidence at most 0.30% of all users do (359)." == told["statement"]
    )
