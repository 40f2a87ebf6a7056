"""`Retry-After`, in both forms of RFC 9110 10.2.3, as seconds from the answer.

A date is measured against the answer's own `Date`, not against our clock, which may be hours off. Garbage
says nothing: the backoff decides. Sent twice (a proxy adds its own), the longer wait wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

CEILING_SECONDS = 900.0
"""A server that asks for more than this stops the run, resumably: nobody waits an hour in a night job."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = r"(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = f"(?:{'|'.join(_MONTHS)})"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}"
_IMF = rf"{_DAY}, [0-9]{{2}} {_MONTH} [0-9]{{4}} {_TIME} GMT"
_RFC850 = rf"{_LONG_DAY}, [0-9]{{2}}-{_MONTH}-[0-9]{{2}} {_TIME} GMT"
_ASCTIME = rf"{_DAY} {_MONTH} [ 0-9][0-9] {_TIME} [0-9]{{4}}"
_SECONDS = r"[0-9]+(?:\.[0-9]+)?"
_ONE = rf"{_IMF}|{_RFC850}|{_ASCTIME}|{_SECONDS}"
_VALUES = re.compile(rf"[ \t]*(?:{_ONE})[ \t]*(?:,[ \t]*(?:{_ONE})[ \t]*)*")
_VALUE = re.compile(_ONE)
_DATE = re.compile(
    rf"[A-Z][a-z]+,? (?:(?P<d1>[0-9]{{2}})[ -](?P<m1>{_MONTH})[ -](?P<y1>[0-9]{{2,4}}) (?P<t1>{_TIME}) GMT"
    rf"|(?P<m2>{_MONTH}) (?P<d2>[ 0-9][0-9]) (?P<t2>{_TIME}) (?P<y2>[0-9]{{4}}))"
)


def wait_told(headers: Mapping[str, str], now_utc: float) -> float | None:
    """The seconds the answer asks us to wait, not negative; None when it says nothing we can read.

    Args:
        headers: of the answer, lower-case names, repeated ones joined by ', '.
        now_utc: our clock, seconds since the epoch; used only when the answer has no readable `Date`.
    """
    text = headers.get("retry-after")
    if text is None or not _VALUES.fullmatch(text):
        return None
    sent_at = _instant(headers.get("date", ""), now_utc)
    waits = [_wait(value, now_utc if sent_at is None else sent_at, now_utc) for value in _VALUE.findall(text)]
    return max((wait for wait in waits if wait is not None), default=None)


def _wait(value: str, sent_at: float, now_utc: float) -> float | None:
    if value[0].isdigit():
        return float(value)
    until = _instant(value, now_utc)
    return None if until is None else max(0.0, until - sent_at)


def _instant(text: str, now_utc: float) -> float | None:
    """Seconds since the epoch of an HTTP-date in any of its three forms."""
    found = _DATE.fullmatch(text.strip(" \t"))
    if found is None:
        return None
    part = found.groupdict()
    year = _year(part["y1"] or part["y2"], now_utc)
    month = _MONTHS.index(part["m1"] or part["m2"]) + 1
    hour, minute, second = (int(number) for number in (part["t1"] or part["t2"]).split(":"))
    try:
        # A leap second is written :60; one second less is near enough for a wait.
        instant = datetime(
            year, month, int(part["d1"] or part["d2"]), hour, minute, min(second, 59), tzinfo=UTC
        )
    except ValueError:
        return None
    return instant.timestamp()


def _year(text: str, now_utc: float) -> int:
    """RFC 9110 5.6.7: a two-digit year more than 50 years ahead lies in the past."""
    if len(text) == 4:
        return int(text)
    this_year = datetime.fromtimestamp(now_utc, UTC).year
    year = this_year // 100 * 100 + int(text)
    return year - 100 if year > this_year + 50 else year
