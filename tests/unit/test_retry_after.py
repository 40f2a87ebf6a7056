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
