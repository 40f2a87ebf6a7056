"""An inbox under a bucket prefix, against a real S3 server on this machine."""

from dataclasses import replace

from connectors.exports.places import find_places
from flows.inbox import look_into
from flows.settings import Needs, Secret, load_settings
from tests.integration.test_exports_s3 import bucket, server

__all__ = ["bucket", "server"]


def test_a_prefix_is_an_inbox(bucket, tmp_path):
    settings = replace(
        load_settings({"METERFEED_DATA_DIR": str(tmp_path)}, needs=Needs.NOTHING),
        ledger=Secret(f"sqlite:///{tmp_path}/none.sqlite"),
    )
    for key, body in (("in/b.csv", b"2"), ("in/a.csv", b"1"), ("in/aa.csv", b"1"), ("in/_SUCCESS", b"x")):
        url = bucket(key, body)
    prefix = url.rsplit("/", 1)[0] + "/"
    found = look_into(prefix, settings)
    assert [one.rsplit("/", 1)[-1] for one in found.new] == ["a.csv", "b.csv"]
    assert found.known == 1
    bucket("in/c.csv", b"1")
    assert len(look_into(prefix, settings).new) == 3  # what came before b comes back after it
    assert look_into(prefix.replace("/in/", "/empty/"), settings).new == ()


def test_a_store_says_in_seconds_when_it_took_an_object(bucket):
    [place] = find_places([bucket("in/a.csv", b"1")])
    assert 1e9 < place.written() < 1e10
