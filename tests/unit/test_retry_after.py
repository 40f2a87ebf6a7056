import time
from datetime import UTC, datetime

import pytest

from pipeline.delivery.retry_after import CEILING_SECONDS, wait_told

SENT = "Sun, 06 Nov 1994 08:49:37 GMT"
SENT_AT = 784111777.0
HOURS_OFF = SENT_AT + 7200.0


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        pytest.param("0", 0.0, id="zero"),
        pytest.param("5", 5.0, id="seconds"),
        pytest.param(" 120 ", 120.0, id="blanks around"),
        pytest.param("1.5", 1.5, id="fraction"),
        pytest.param("1000000000", 1e9, id="thirty years"),
        pytest.param("9" * 5000, float("inf"), id="five thousand digits"),
        pytest.param("Sun, 06 Nov 1994 08:50:07 GMT", 30.0, id="date in the future"),
        pytest.param("Sun, 06 Nov 1994 08:49:07 GMT", 0.0, id="date in the past"),
        pytest.param("Sunday, 06-Nov-94 08:50:07 GMT", 30.0, id="obsolete form of RFC 850"),
        pytest.param("Sun Nov  6 08:50:07 1994", 30.0, id="obsolete form of asctime"),
        pytest.param("Sun, 06 Nov 1994 08:50:60 GMT", 82.0, id="leap second"),
        pytest.param("60, 120", 120.0, id="on two lines: the longer"),
        pytest.param("5, Sun, 06 Nov 1994 08:50:07 GMT", 30.0, id="both forms on two lines"),
        pytest.param("-5", None, id="negative"),
        pytest.param("+5", None, id="signed"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="garbage"),
        pytest.param("5, soon", None, id="half garbage"),
        pytest.param("\uff15", None, id="full-width digit"),
        pytest.param("Sun, 32 Nov 1994 08:50:07 GMT", None, id="no such day"),
        pytest.param("Sun, 06 Nov 1994 08:50:07 CET", None, id="other zone"),
        pytest.param("Sun, 06 Nov 1994 25:50:07 GMT", None, id="no such hour"),
        pytest.param("1e3", None, id="exponent"),
        pytest.param("5;6", None, id="other separator"),
    ],
)
def test_what_the_header_says_is_read_or_ignored(told, seconds):
    assert wait_told({"retry-after": told, "date": SENT}, HOURS_OFF) == seconds


def test_an_answer_without_the_header_says_nothing():
    assert wait_told({"date": SENT}, SENT_AT) is None


@pytest.mark.parametrize("date", ["", "yesterday", "Sun, 31 Feb 1994 08:49:37 GMT"])
def test_without_a_readable_date_our_own_clock_measures(date):
    headers = {"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT", "date": date}
    assert wait_told(headers, SENT_AT + 10) == 20.0


def test_a_two_digit_year_far_ahead_lies_in_the_past():
    headers = {"retry-after": "Sunday, 06-Nov-94 08:49:37 GMT"}
    in_2026 = 1_790_000_000.0
    assert wait_told(headers, in_2026) == 0.0


def test_the_ceiling_is_a_quarter_of_an_hour():
    assert CEILING_SECONDS == 900.0


@pytest.mark.parametrize(
    ("today", "told", "year"),
    [
        ((2026, 6, 1), "06-Nov-76", 2076),
        ((2026, 6, 1), "06-Nov-77", 1977),
        ((2100, 6, 1), "06-Nov-04", 2104),
    ],
)
def test_a_two_digit_year_is_at_most_fifty_years_ahead(today, told, year):
    now = datetime(*today, tzinfo=UTC).timestamp()
    there = datetime(year, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()
    assert max(0.0, there - now) == wait_told({"retry-after": f"Sunday, {told} 08:49:37 GMT"}, now)


def test_the_date_of_the_answer_may_have_a_two_digit_year_too():
    headers = {"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT", "date": "Sunday, 06-Nov-94 08:49:37 GMT"}
    assert wait_told(headers, 1_790_000_000.0) == 30.0


@pytest.mark.parametrize("mark", ["\x0b", "X"])
def test_a_date_with_anything_around_it_is_not_readable(mark):
    headers = {"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT", "date": f"{mark}{SENT}"}
    assert wait_told(headers, SENT_AT + 10) == 20.0


@pytest.fixture
def in_tokyo(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
def test_the_zone_of_this_machine_does_not_matter():
    assert wait_told({"retry-after": "Sun, 06 Nov 1994 08:50:07 GMT"}, SENT_AT) == 30.0
    new_year_s_eve = datetime(2025, 12, 31, 20, tzinfo=UTC).timestamp()
    assert wait_told({"retry-after": "Sunday, 06-Nov-76 08:49:37 GMT"}, new_year_s_eve) == 0.0
