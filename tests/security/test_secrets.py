"""No secret in the repository: detect-secrets reads every tracked file; what only looks like one is listed here."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from detect_secrets.core.scan import scan_file
from detect_secrets.settings import default_settings

ROOT = Path(__file__).resolve().parents[2]

LOOKS_LIKE_ONE = {
    ("benchmarks/doors.py", "Secret Keyword", "fc38e4"): "of a server made for the measurement",
    ("flows/commands/loading.py", "Hex High Entropy String", "0152c3"): "an example of a plan's digest",
    ("sandbox/core.py", "Secret Keyword", "7b5c2b"): "opens nothing but the sandbox on this machine",
    ("schemas/check_digits.py", "Base64 High Entropy String", "730f90"): "the check letters of Spanish ids",
    ("tests/golden/runs.py", "Hex High Entropy String", "8618dc"): "digests of files made for the pages",
    ("tests/golden/runs.py", "Hex High Entropy String", "a61c75"): "digests of files made for the pages",
    ("tests/golden/runs.py", "Hex High Entropy String", "e9e8fa"): "digests of files made for the pages",
    ("tests/integration/test_cli_load.py", "Secret Keyword", "4f2931"): "canary",
    ("tests/ledger/test_branches.py", "Basic Auth Credentials", "b47ddf"): "canary",
    ("tests/ledger/test_branches.py", "Basic Auth Credentials", "e5e9fa"): "a URL that must be refused",
    ("tests/security/test_canaries.py", "Secret Keyword", "458eec"): "canary",
    ("tests/security/test_secrets.py", "AWS Access Key", "46f936"): "planted below",
    ("tests/security/test_secrets.py", "Base64 High Entropy String", "87f0bf"): "planted below",
    ("tests/security/test_secrets.py", "Base64 High Entropy String", "c48bbd"): "planted below",
    ("tests/security/test_secrets.py", "Basic Auth Credentials", "9ffb61"): "planted below",
    ("tests/security/test_secrets.py", "GitHub Token", "e175c6"): "planted below",
    ("tests/security/test_secrets.py", "JSON Web Token", "1caec2"): "planted below",
    ("tests/security/test_secrets.py", "Private Key", "be4fc4"): "planted below",
    ("tests/security/test_secrets.py", "Secret Keyword", "2dc95e"): "planted below",
    ("tests/security/test_static.py", "Secret Keyword", "7ed950"): "planted there",
    ("tests/unit/test_api_client.py", "Secret Keyword", "95e7d5"): "canary",
    ("tests/unit/test_api_urls.py", "Basic Auth Credentials", "e5e9fa"): "a URL that must be refused",
    ("tests/unit/test_identity.py", "Hex High Entropy String", "b1775a"): "the key of the known answers",
    ("tests/unit/test_inbox.py", "Secret Keyword", "f9016b"): "a word that shows where a value came from",
    ("tests/unit/test_settings.py", "Basic Auth Credentials", "43e6c4"): "a URL that must be accepted",
    ("tests/unit/test_settings.py", "Basic Auth Credentials", "9d4e1e"): "a URL that must be refused",
    ("tests/unit/test_settings.py", "Basic Auth Credentials", "b47ddf"): "canary",
    ("tests/unit/test_settings.py", "Basic Auth Credentials", "e5e9fa"): "a URL that must be refused",
    ("tests/unit/test_settings.py", "Hex High Entropy String", "2ab31b"): "canary",
    ("tests/unit/test_settings.py", "Secret Keyword", "8c27c3"): "canary",
}
"""What the search takes for a secret and is none, and why: file, kind, and the beginning of its SHA-1. A second one
in the same file is a failure, and so is an entry that is not needed any more."""


def suspects(root: Path, names: Iterable[str]) -> set[tuple[str, str, str]]:
    """File, kind and beginning of the SHA-1 of everything that looks like a secret."""
    with default_settings():
        return {
            (name, secret.type, secret.secret_hash[:6])
            for name in names
            for secret in scan_file(str(root / name))
        }


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("NOT CHECKED: without git nobody knows which files belong to the repository")
    return [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_holds_a_secret():
    found = suspects(ROOT, tracked())
    assert set() == found - set(LOOKS_LIKE_ONE), "a secret, or one more line above that says why it is none"
    assert set() == set(LOOKS_LIKE_ONE) - found, "no longer needed above"


PLANTED = {
    "AWS Access Key": 'key = "AKIAQ7RZXN3PLM5TDW2K"',
    "Basic Auth Credentials": 'url = "https://kari:Tr0ub4dor3@api.volue.example/v1"',
    "Base64 High Entropy String": 'sealed = "q83vEiM0VniavN7wEjRWeJq83vEhkT0pLmXyZa=="',
    "GitHub Token": "ghp_a8Kd03LmQp92Zx71Vb64Nt58Rw20Yc39Hs15",
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0NzExIn0.c2lnbmF0dXJlLXRoYXQtaXMtbm9uZQ",
    "Private Key": "-----BEGIN RSA PRIVATE KEY-----",
    "Secret Keyword": 'METERFEED_CLIENT_SECRET = "fjord-over-bre-17"',
}


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_secret_is_found(kind, tmp_path):
    (tmp_path / "settings.py").write_text(f"# nothing to see\n{PLANTED[kind]}\n")
    assert kind in {found for _, found, _ in suspects(tmp_path, ["settings.py"])}


def test_a_second_secret_in_a_file_with_a_listed_one_is_found(tmp_path):
    listed = "tests/unit/test_settings.py"
    (tmp_path / listed).parent.mkdir(parents=True)
    text = (ROOT / listed).read_text()
    (tmp_path / listed).write_text(f"{text}\n{PLANTED['Secret Keyword']}\n")
    [(_, kind, _)] = suspects(tmp_path, [listed]) - set(LOOKS_LIKE_ONE)
    assert "Secret Keyword" == kind
