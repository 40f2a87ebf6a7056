"""Where the API is, and how ids become URLs: each in exactly one path segment, or not at all.

Measured: httpx collapses dot segments, so that deleting location `..` of a user would delete the user, and
gateways decode `%2F`. Bad ids are refused long before by rules; refusing them again here is the last net.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlencode

import httpx

from schemas.errors import SettingsError

MAX_SEGMENT_BYTES = 128
_FORBIDDEN = frozenset("/\\%?#")


class UnsafeSegmentError(ValueError):
    """A path segment that may not reach a URL. A bug of ours: rules keep such ids out of every plan."""


def checked_origin(url: str, *, setting: str) -> httpx.URL:
    """`url`, if it is one we may send secrets and customers to.

    Args:
        url: https, or http to this machine only; no user, query or fragment.
        setting: its name, for the error.

    Raises:
        SettingsError: otherwise.
    """
    cure = f"Set {setting} to an https:// address; http:// is for this machine only."
    try:
        parsed = httpx.URL(url.strip())
        host = parsed.host  # decoded when asked for, and may then turn out to be no name
    except (httpx.InvalidURL, ValueError, TypeError):
        raise SettingsError(f"{setting} is not a URL.", cure=cure) from None
    if parsed.scheme not in ("http", "https") or not host:
        raise SettingsError(f"{setting} is not an http address.", cure=cure)
    if parsed.userinfo or parsed.query or parsed.fragment or "?" in url or "#" in url:
        raise SettingsError(f"{setting} holds more than scheme, host and path.", cure=cure)
    if parsed.scheme == "http" and not is_loopback(host):
        raise SettingsError(f"{setting} is plain http to another machine.", cure=cure)
    return parsed


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin(url: httpx.URL) -> tuple[str, str, int]:
    """Scheme, host and port, the port always told."""
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}[url.scheme]


def url_under(base: httpx.URL, segments: Sequence[str], query: Mapping[str, str] | None = None) -> httpx.URL:
    r"""The URL of `segments` under `base`.

    Raises:
        UnsafeSegmentError: a segment is empty, a dot segment, over 128 bytes, or holds `/ \ % ? #`, a control
            character or a lone surrogate.
    """
    path = base.raw_path.rstrip(b"/") + b"".join(b"/" + _segment(text) for text in segments)
    if query:
        path += b"?" + urlencode(query, quote_via=quote, safe="").encode("ascii")
    return base.copy_with(raw_path=path)


def _segment(text: str) -> bytes:
    if text in ("", ".", ".."):
        raise UnsafeSegmentError("a path segment is empty or a dot segment")
    if any(character in _FORBIDDEN or unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise UnsafeSegmentError("a path segment holds a character that has a meaning in URLs, or a control")
    if len(text.encode("utf-8")) > MAX_SEGMENT_BYTES:
        raise UnsafeSegmentError(f"a path segment is longer than {MAX_SEGMENT_BYTES} bytes")
    return quote(text, safe="").encode("ascii")
