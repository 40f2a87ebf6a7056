"""What the server says in words: masked for people, searched for a culprit by us.

A 400 of the batch calls is a bare JSON string, of others a problem+json (RFC 9457), in practice also HTML or
nothing. The words may quote what we sent, so they are shown only masked and short.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.delivery.answers import MalformedAnswer, parse
from pipeline.delivery.keys import Key

MAX_SHOWN = 200
MAX_READ = 16 * 1024
MAX_HINTS = 20
MIN_HINT_ID = 6
"""Shorter ids turn up in any sentence by chance ("must be 18 digits")."""
_LOOKED_AT = 4000
"""Characters a message is masked from; keeps the patterns below quick on a hostile body."""


_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_MAIL = re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+")
_CODE = re.compile(r"(?=[\w+/=.-]*[0-9])(?=[\w+/=.-]*[A-Za-z])[\w+/=.-]{12,}")
_DIGITS = re.compile(r"\d+")
_TAG = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]{0,2000}>", re.IGNORECASE | re.DOTALL)
_INDEX = re.compile(
    r"(?:\busers|\blocations|\$)(?:\[([0-9]{1,6})\]|[./]([0-9]{1,6})(?![\w-]))", re.IGNORECASE
)


def server_message(body: bytes, sent: Sequence[Key] = ()) -> str:
    """The server's words on one line, at most 200 characters, safe to show and alike for alike causes.

    Ids we sent, UUIDs, e-mail addresses, digit runs and long codes are masked; control, format and
    other invisible characters are written as escapes.
    """
    text = _TAG.sub(" ", "; ".join(_texts(body))[:_LOOKED_AT])
    text = re.sub(r"[ \t\r\n]+", " ", text).strip(" ")[: 5 * MAX_SHOWN]
    for identifier in sorted(_identifiers(sent), key=len, reverse=True):
        if identifier in text:
            text = re.sub(rf"(?<!\w){re.escape(identifier)}(?!\w)", "<id>", text)
    for pattern, mask in ((_UUID, "<id>"), (_MAIL, "<mail>"), (_CODE, "<code>"), (_DIGITS, "#")):
        text = pattern.sub(mask, text)
    shown = "".join(character if _is_visible(character) else _escape(character) for character in text)
    return shown if len(shown) <= MAX_SHOWN else shown[: MAX_SHOWN - 1] + "…"


def server_hint(body: bytes, sent: Sequence[Key]) -> tuple[int, ...]:
    """Which of the records sent the refusal points at, as positions in `sent`; empty when it does not say.

    Understood are a position (`users[3].userId`, `$.locations[12]`, `/locations/12`) and an id we sent, in
    the text or in the keys of problem+json `errors`. More than 20 suspects are no hint.
    """
    text = "\n".join(_texts(body))
    positions = {int(one or other) for one, other in _INDEX.findall(text)}
    positions = {position for position in positions if position < len(sent)}
    if not positions:
        positions = _named(text, sent)
    return tuple(sorted(positions)) if 0 < len(positions) <= MAX_HINTS else ()


def _named(text: str, sent: Sequence[Key]) -> set[int]:
    """Positions whose last id stands in the text; failing that, whose user does."""
    by_leaf = {n for n, key in enumerate(sent) if _stands_in(key if isinstance(key, str) else key[-1], text)}
    if by_leaf:
        return by_leaf
    return {n for n, key in enumerate(sent) if not isinstance(key, str) and _stands_in(key[0], text)}


def _stands_in(identifier: str, text: str) -> bool:
    if len(identifier) < MIN_HINT_ID or identifier not in text:
        return False
    return re.search(rf"(?<![\w-]){re.escape(identifier)}(?![\w-])", text) is not None


def _identifiers(sent: Sequence[Key]) -> set[str]:
    return {part for key in sent for part in ((key,) if isinstance(key, str) else key) if part}


def _texts(body: bytes) -> list[str]:
    """Every text in the body: of JSON its keys and strings, otherwise the body itself."""
    try:
        return list(_strings(parse(body[:MAX_READ])))
    except MalformedAnswer:
        return [body[:MAX_READ].decode("utf-8", "replace")]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield key
            yield from _strings(child)
    elif isinstance(value, list):
        for child in value:
            yield from _strings(child)


def _is_visible(character: str) -> bool:
    return character == " " or unicodedata.category(character)[0] not in "CZ"


def _escape(character: str) -> str:
    return f"\\u{{{ord(character):x}}}"
