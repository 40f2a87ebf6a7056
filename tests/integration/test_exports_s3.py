"""Exports in an object store, over HTTP, against a real S3 server on this machine."""

import gzip

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from connectors.exports import fingerprint, open_exports
from connectors.exports.parquet_reader import stop_worker
from schemas.errors import ExportError
from schemas.profile import Profile

ROWS = b"a;b;c\n" + b"".join(b"%d;%d;x\n" % (n, n * 7919) for n in range(50_000))
PROFILE = Profile.from_toml(
    'name = "x"\ncountry = "NO"\n[file]\nseparator = ";"\n[columns]\nuser = "a"\nmeter_point = "b"\n', "x"
)


@pytest.fixture(scope="module")
def server():
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
        patch.setenv("NO_PROXY", "*")
        S3FileSystem.clear_instance_cache()  # an earlier module's server is gone, and so is its port
        stop_worker()  # a reading process of an earlier test knows other credentials
        yield f"http://{host}:{port}"
        S3FileSystem.clear_instance_cache()
        stop_worker()
    server.stop()


@pytest.fixture
def bucket(server, request):
    client = boto3.client("s3", endpoint_url=server)
    name = f"bucket-{abs(hash(request.node.name)) % 10**8}"
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
    yield lambda key, body: client.put_object(Bucket=name, Key=key, Body=body) and f"s3://{name}/{key}"
    client.close()


def count(exports) -> int:
    return sum(batch.rows.height for export in exports for batch in export.batches())


def test_an_object_is_read_like_a_file(bucket, tmp_path):
    url = bucket("inbox/kunder.csv", ROWS)
    (tmp_path / "kunder.csv").write_bytes(ROWS)
    assert count(open_exports([url], [PROFILE])) == 50_000
    assert fingerprint(url) == fingerprint(str(tmp_path / "kunder.csv"))


def test_containers_and_parquet_are_read_too(bucket, tmp_path):
    packed = bucket("kunder.csv.gz", gzip.compress(ROWS))
    pq.write_table(pa.table({"a": ["1", "2"], "b": ["3", "4"]}), tmp_path / "x.parquet")
    parquet = bucket("kunder.parquet", (tmp_path / "x.parquet").read_bytes())
    assert count(open_exports([packed, parquet], [PROFILE])) == 50_002


def test_globs_and_folders_are_listed_by_name(bucket):
    for key in ("in/b.csv", "in/a.csv", "in/_SUCCESS", "in/.hidden.csv", "in/a.csv.tmp", "in/deeper/c.csv"):
        url = bucket(key, ROWS[:1000].rpartition(b"\n")[0] + b"\n")
    folder = url.removesuffix("deeper/c.csv")
    for argument in (folder, folder.rstrip("/"), folder + "[ab].csv"):
        assert [export.name for export in open_exports([argument], [PROFILE])] == ["a.csv", "b.csv"]


def test_an_object_replaced_while_it_is_read_is_refused(bucket):
    (export,) = open_exports([bucket("x.csv", ROWS)], [PROFILE])
    bucket("x.csv", ROWS.replace(b"7919", b"7918"))
    with pytest.raises(ExportError, match="changed while it was read"):
        list(export.batches())


def test_a_manifest_beside_the_object_must_agree(bucket):
    bucket("m.csv.sha256", b"0" * 64)
    with pytest.raises(ExportError, match="SHA-256 differs"):
        open_exports([bucket("m.csv", ROWS)], [PROFILE])


def test_what_is_not_there_is_refused_without_naming_the_bucket(bucket):
    url = bucket("x.csv", ROWS)
    for wrong in (url.replace("x.csv", "y.csv"), "s3://no-such-bucket-here/x.csv"):
        with pytest.raises(ExportError) as caught:
            open_exports([wrong], [PROFILE])
        assert "bucket" not in str(caught.value)
