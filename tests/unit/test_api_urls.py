import unicodedata
from urllib.parse import unquote

import httpx
import pytest

from connectors.api.urls import UnsafeSegmentError, checked_origin, is_loopback, origin, url_under
from schemas.errors import SettingsError

BASE = httpx.URL("https://api.example.no/energy-coordination/v1")


@pytest.mark.parametrize(
    ("segments", "path"),
    [
        (("users", "batch"), b"/energy-coordination/v1/users/batch"),
        (("users", "a b"), b"/energy-coordination/v1/users/a%20b"),
        (("users", "a+b&c=d;e:f@g,h!"), b"/energy-coordination/v1/users/a%2Bb%26c%3Dd%3Be%3Af%40g%2Ch%21"),
        (("users", "blåbær"), b"/energy-coordination/v1/users/bl%C3%A5b%C3%A6r"),
        (("users", "...", ".a", "a..b", "~_-"), b"/energy-coordination/v1/users/.../.a/a..b/~_-"),
        (("users", "\uff0e\uff0e"), b"/energy-coordination/v1/users/%EF%BC%8E%EF%BC%8E"),
        (("users", "x" * 128), b"/energy-coordination/v1/users/" + b"x" * 128),
    ],
)
def test_each_segment_becomes_one_segment(segments, path):
    assert url_under(BASE, segments).raw_path == path


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "a\\b",
        "..\\..",
        "%2e%2e",
        "%",
        "a?b",
        "a#b",
        "a\x00",
        "\n",
        "\x7f",
        "\x85",
        "\ud800",
        "x" * 129,
        "æ" * 65,
    ],
)
def test_an_id_that_could_be_more_than_one_segment_is_refused(hostile):
    with pytest.raises(UnsafeSegmentError) as refused:
        url_under(BASE, ("users", hostile))
    assert hostile == "" or hostile in (".", "/", "%") or hostile not in str(refused.value)


def test_the_query_is_escaped():
    url = url_under(BASE, ("users",), {"page": "1", "pageSize": "1000", "q": "a&b=c/ø ?#"})
    assert url.raw_path.endswith(b"/users?page=1&pageSize=1000&q=a%26b%3Dc%2F%C3%B8%20%3F%23")
    assert dict(url.params) == {"page": "1", "pageSize": "1000", "q": "a&b=c/ø ?#"}


@pytest.mark.parametrize("base", ["https://a.example", "https://a.example/", "https://a.example/v1/"])
def test_slashes_at_the_end_of_the_base_do_not_matter(base):
    assert "//" not in url_under(checked_origin(base, setting="X"), ("users",)).path


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.no/v1",
        " https://api.example.no ",
        "http://localhost:8080",
        "http://127.0.0.1:8080/v1",
        "http://127.8.8.8",
        "http://[::1]:8080",
    ],
)
def test_https_and_this_machine_are_fine(url):
    assert checked_origin(url, setting="METERFEED_BASE_URL").host


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.no",
        "/v1",
        "ftp://api.example.no",
        "https://",
        "http://api.example.no",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://localhost.example.no",
        "http://127.0.0.1.example.no",
        "http://2130706433",
        "https://user:secret@api.example.no",
        "https://user@api.example.no",
        "https://api.example.no/?a=b",
        "https://api.example.no/?",
        "https://api.example.no/#f",
        "https://api.example.no:port",
        "https://api.\x00example.no",
        "https://[::1",
        "https://xn--/",
    ],
)
def test_any_other_address_is_a_settings_error_that_does_not_repeat_it(url):
    with pytest.raises(SettingsError) as refused:
        checked_origin(url, setting="METERFEED_BASE_URL")
    assert "METERFEED_BASE_URL" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_port_of_an_origin_is_always_told():
    assert origin(httpx.URL("https://a.example/x")) == ("https", "a.example", 443)
    assert origin(httpx.URL("http://localhost")) == ("http", "localhost", 80)
    assert origin(httpx.URL("http://localhost:8")) == ("http", "localhost", 8)


@pytest.mark.parametrize(("host", "here"), [("localhost", True), ("::1", True), ("::2", False), ("a", False)])
def test_only_this_machine_is_loopback(host, here):
    assert is_loopback(host) is here


def test_every_refused_character_would_have_a_meaning_somewhere():
    refused = {chr(n) for n in range(0x250) if _is_refused(chr(n))}
    assert refused == {"/", "\\", "%", "?", "#", "."} | {
        chr(n) for n in range(0x250) if unicodedata.category(chr(n)) == "Cc"
    }


def _is_refused(segment):
    try:
        path = url_under(BASE, (segment,)).raw_path
    except UnsafeSegmentError:
        return True
    assert unquote(path.rpartition(b"/")[2].decode()) == segment
    return False
