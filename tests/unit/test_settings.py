import dataclasses
import pickle
import traceback

import pytest

from flows.settings import SPEC, Environment, Needs, Secret, Settings, default_data_dir, load_settings
from schemas.errors import SettingsError

KEY = "00112233445566778899aabbccddeeff" * 2
COMPLETE = {
    "METERFEED_BASE_URL": "https://api.example.com/partner/",
    "METERFEED_TOKEN_URL": "https://login.example.com/token",
    "METERFEED_CLIENT_ID": "client",
    "METERFEED_CLIENT_SECRET": "canary-s3cret",
    "METERFEED_ID_KEY": KEY,
}


def complaint(needs: Needs = Needs.API, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings({**COMPLETE, **environ}, needs=needs)
    assert caught.value.exit_code == 13
    return caught.value.message


def test_every_missing_setting_is_named_at_once():
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    for name in COMPLETE:
        assert name in caught.value.message


def test_missing_and_wrong_are_named_together():
    message = complaint(
        METERFEED_CLIENT_ID="", METERFEED_CHUNK_SIZE="many", METERFEED_BASE_URL="ftp://x", METERFEED_RATE="-1"
    )
    for name in ("CLIENT_ID", "CHUNK_SIZE", "BASE_URL", "RATE"):
        assert f"METERFEED_{name}" in message


def test_defaults_are_those_of_the_documentation():
    settings = load_settings(COMPLETE)
    assert (settings.environment, settings.chunk_size, settings.concurrency) == (Environment.SANDBOX, 1000, 8)
    assert (settings.rate, settings.settle) == (None, 30.0)
    assert settings.data_dir == default_data_dir()
    assert settings.ledger.get_secret_value() == f"sqlite:///{settings.data_dir}/ledger.sqlite"


def test_default_data_directory_is_that_of_the_checkout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert default_data_dir().parts[-2:] == ("data", "runs")
    assert (default_data_dir().parents[1] / "pyproject.toml").is_file()


def test_a_trailing_slash_of_a_url_is_dropped():
    assert load_settings(COMPLETE).base_url == "https://api.example.com/partner"


def test_commands_without_api_need_no_settings():
    settings = load_settings({}, needs=Needs.NOTHING)
    assert settings.base_url is None
    assert settings.id_key is None


def test_a_wrong_value_is_refused_even_where_it_is_not_needed():
    assert "METERFEED_BASE_URL" in complaint(Needs.NOTHING, METERFEED_BASE_URL="nonsense")


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80"])
@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_plain_http_to_loopback_is_accepted(host, environment):
    settings = load_settings(
        {**COMPLETE, "METERFEED_BASE_URL": f"http://{host}/x", "METERFEED_ENVIRONMENT": environment}
    )
    assert settings.base_url == f"http://{host}/x"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://0.0.0.0/",
        "http://localhost@evil.example",
        "https://user:pass@api.example.com",
        "https://api.example.com/?a=1",
        "https://api.example.com/#a",
        "https://",
        "https://api.example.com:notaport",
        "https://api.exa mple.com",
        "https://api.example.com\\@evil.example",
        "api.example.com",
        "https://[::1",
    ],
)
def test_an_unsafe_url_is_refused(url):
    message = complaint(METERFEED_BASE_URL=url)
    assert "METERFEED_BASE_URL" in message
    assert url not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "prod"),
        ("CHUNK_SIZE", "0"),
        ("CHUNK_SIZE", "10001"),
        ("CHUNK_SIZE", "1.5"),
        ("CHUNK_SIZE", "１０"),
        ("CONCURRENCY", "0"),
        ("RATE", "nan"),
        ("RATE", "0"),
        ("SETTLE", "-1"),
        ("SETTLE", "inf"),
        ("LEDGER", "mysql://x"),
        ("LEDGER", "sqlite"),
        ("LEDGER", "sqlite://ledger.sqlite"),
        ("LEDGER", "postgresql://u@h:abc/db"),
        ("WEBHOOK_URL", "https://[bad"),
        ("DATA_DIR", "~nosuchuser/runs"),
        ("SHARED", "~nosuchuser/spools"),
        ("ID_KEY_PREVIOUS_FILE", "~nosuchuser/keys"),
        ("CLIENT_ID", "a\x00b"),
        ("ID_KEY", "short"),
        ("ID_KEY", "x" * 31),
    ],
)
def test_a_wrong_value_is_named(name, value):
    assert f"METERFEED_{name}" in complaint(**{f"METERFEED_{name}": value})


def test_what_is_wrong_in_ways_of_their_own_is_named_at_once():
    message = complaint(
        METERFEED_WEBHOOK_URL="https://[bad",
        METERFEED_LEDGER="postgresql://u@h:abc/db",
        METERFEED_DATA_DIR="~nosuchuser/runs",
        METERFEED_SHARED="~nosuchuser/spools",
        METERFEED_CLIENT_SECRET="",
        METERFEED_CLIENT_SECRET_FILE="~nosuchuser/secret",
    )
    for name in ("WEBHOOK_URL", "LEDGER", "DATA_DIR", "SHARED", "CLIENT_SECRET"):
        assert f"METERFEED_{name}" in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://u:canary@pw@h/db",
        "postgresql+psycopg://u:canary@p/w@h/db",
        "postgresql+psycopg://u:canary@p/w?x@h/db",
        "postgresql://u/ser:canary@h/db",
    ],
)
def test_a_ledger_password_with_an_at_sign_would_be_taken_for_a_host(url):
    """The driver repeats the host it does not know, and with it a part of the password."""
    message = complaint(METERFEED_LEDGER=url)
    assert "METERFEED_LEDGER" in message
    assert "percent-encoded" in message
    assert "canary" not in message
    encoded = "postgresql+psycopg://u%40here:canary%40pw@h/db?application_name=a%40b"
    assert load_settings({**COMPLETE, "METERFEED_LEDGER": encoded}).ledger.get_secret_value() == encoded
    load_settings({**COMPLETE, "METERFEED_LEDGER": "postgresql+psycopg://u@server:pw@h/db"})


@pytest.mark.parametrize(
    "url",
    ["postgres://h/db", "postgresql://h/db", "postgresql+psycopg://h/db", "sqlite:////srv/a@b/x.sqlite"],
)
def test_these_ledgers_are_taken(url):
    assert load_settings({**COMPLETE, "METERFEED_LEDGER": url}).ledger == Secret(url)


@pytest.mark.parametrize(
    ("given", "one_spelling"),
    [
        (KEY, KEY),
        (KEY.upper(), KEY),
        ("en hemmelighet på 32 Tegn eller mer", "en hemmelighet på 32 Tegn eller mer"),
    ],
)
def test_a_key_has_one_spelling(given, one_spelling):
    assert load_settings({**COMPLETE, "METERFEED_ID_KEY": given}).id_key_text() == one_spelling


def test_a_key_not_given_is_a_settings_error():
    with pytest.raises(SettingsError, match="METERFEED_ID_KEY"):
        load_settings({}, needs=Needs.NOTHING).id_key_text()


def test_secrets_come_from_files(tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(b"\xef\xbb\xbffrom-a-file\r\n")
    environ = {name: value for name, value in COMPLETE.items() if name != "METERFEED_CLIENT_SECRET"}
    settings = load_settings({**environ, "METERFEED_CLIENT_SECRET_FILE": str(file)})
    assert settings.client_secret == Secret("from-a-file")


def test_a_secret_given_twice_is_refused(tmp_path):
    assert "both set" in complaint(METERFEED_ID_KEY_FILE=str(tmp_path / "key"))


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"a" * 70_000])
def test_a_useless_secret_file_is_named_without_its_path(tmp_path, content):
    file = tmp_path / "id-key"
    if content is not None:
        file.write_bytes(content)
    message = complaint(METERFEED_ID_KEY="", METERFEED_ID_KEY_FILE=str(file))
    assert "METERFEED_ID_KEY_FILE" in message
    assert str(file) not in message


def test_a_misspelt_variable_is_recognised():
    message = complaint(METERFEED_BASE_URL="", METERFEED_BASEURL="https://api.example.com")
    assert "METERFEED_BASEURL is set: was METERFEED_BASE_URL meant?" in message


def test_a_secret_never_shows():
    settings = load_settings({**COMPLETE, "METERFEED_LEDGER": "postgresql://u:canary-pw@h/db"})
    shown = (
        f"{settings!r} {settings} {settings.client_secret:>40} {settings.client_secret!s} %s"
        % settings.ledger
    )
    for canary in ("canary", KEY):
        assert canary not in shown


def test_a_secret_is_neither_pickled_nor_hashed():
    with pytest.raises(TypeError):
        pickle.dumps(Secret("canary"))
    with pytest.raises(TypeError):
        hash(Secret("canary"))


def test_no_secret_in_the_traceback_of_a_refusal():
    environ = {**COMPLETE, "METERFEED_ID_KEY": "canary" + "-short", "METERFEED_RATE": "canary" + "-rate"}
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    assert "canary-" not in "".join(traceback.format_exception(caught.value))


def test_every_setting_has_a_field_and_every_field_a_setting():
    assert {setting.field for setting in SPEC} == {field.name for field in dataclasses.fields(Settings)}


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_settings(COMPLETE).chunk_size = 1  # type: ignore[misc]


def test_sharing_needs_a_ledger_that_several_machines_can_use(tmp_path):
    assert "METERFEED_SHARED needs" in complaint(METERFEED_SHARED="s3://bucket/spools")
    assert "METERFEED_SHARED needs" in complaint(
        METERFEED_SHARED=str(tmp_path), METERFEED_LEDGER=f"sqlite:///{tmp_path}/l.sqlite"
    )
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        ledger = {"METERFEED_LEDGER": f"{scheme}://host/ledger"}
        settings = load_settings({**COMPLETE, **ledger, "METERFEED_SHARED": "s3://bucket/spools/"})
        assert (settings.shared, settings.lease) == ("s3://bucket/spools", 60.0)


@pytest.mark.parametrize("place", ["ftp://host/x", "s3://key:secret@bucket/x", "http://host/x"])
def test_a_shared_place_is_a_folder_or_a_prefix_without_credentials(place):
    assert "METERFEED_SHARED must be" in complaint(METERFEED_SHARED=place)
