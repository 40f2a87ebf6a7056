"""The environment, read once, at the edge: `METERFEED_*` variables become one frozen `Settings`.

Everything missing or wrong is named at once, so a newcomer fixes it in one go. A secret never shows: it
lives in `Secret`, and no message quotes a value. `docs/configuration.md` lists every variable; a test holds
it to `SPEC`.
"""

from __future__ import annotations

import difflib
import hmac
import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from schemas.errors import SettingsError

PREFIX: Final = "METERFEED_"
ID_KEY_BYTES: Final = 32
SECRET_FILE_LIMIT: Final = 65_536
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})+")


class Environment(StrEnum):
    """Which rule severities and which tenant a run is for."""

    SANDBOX = "sandbox"
    PRODUCTION = "production"


class Needs(IntEnum):
    """How much of the environment a command uses; what it does not use may be missing."""

    NOTHING = 0
    """`quality`, `report`, `runs`, `profile`, `sandbox`, `demo`: a data directory, which has a default."""
    API = 1
    """Everything that plans or sends."""


class Secret:
    """A text that shows itself to nobody by accident: not in a repr, an f-string, a traceback or a pickle.

    Has the method of pydantic's `SecretStr` that connectors ask for, without the cost of importing pydantic.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """The text itself, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    __hash__ = None  # type: ignore[assignment]  # a secret is no key of a dictionary

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says, checked.

    Attributes:
        environment: rule severities and tenant; sandbox unless said otherwise.
        data_dir: where runs, spools and the default ledger live.
        ledger: SQLAlchemy URL; may hold a password, hence a secret.
        base_url: of the API, without a trailing slash; None where the command needs no API and none is set.
        token_url: of the OAuth2 token endpoint; None as above.
        client_id: OAuth2 client; None as above.
        client_secret: OAuth2 secret; None as above.
        id_key: the secret key of record ids; None as above. `id_key_text()` gives its one spelling.
        id_key_previous: the keys before it, under which customers may still be held; oldest first.
        chunk_size: records per batch request, at most.
        concurrency: requests in flight, at most.
        rate: requests per second, at most; None for no limit of ours.
        settle: seconds before an absence is believed.
        shared: where spools lie that other workers read too; None where a run is one process's own.
        lease: seconds without a sign of life after which a worker has lost its partition.
        webhook_url: told of runs that fail; whoever knows it can write there, hence a secret.
    """

    environment: Environment
    data_dir: Path
    ledger: Secret
    base_url: str | None
    token_url: str | None
    client_id: str | None
    client_secret: Secret | None
    id_key: Secret | None
    chunk_size: int
    concurrency: int
    rate: float | None
    settle: float
    shared: str | None = None
    lease: float = 60.0
    webhook_url: Secret | None = None
    id_key_previous: tuple[Secret, ...] = ()

    def id_key_text(self) -> str:
        """The id key in one spelling: hex in lower case, other text as it is."""
        if self.id_key is None:
            raise SettingsError("METERFEED_ID_KEY is not set.", cure=CURE)
        return _one_spelling(self.id_key)

    def former_key_texts(self) -> tuple[str, ...]:
        """The id keys before this one, oldest first, in one spelling; the one in use is not among them."""
        now = None if self.id_key is None else _one_spelling(self.id_key)
        return tuple(text for text in map(_one_spelling, self.id_key_previous) if text != now)


CURE: Final = "docs/configuration.md lists every setting; `meterfeed sandbox` prints a set to try with."


class _ValueProblemError(Exception):
    """Internal: a value is not acceptable; the sentence never quotes it."""


# --------------------------------------------------------------------------- one parser per kind of value
def _environment(text: str) -> Environment:
    try:
        return Environment(text)
    except ValueError:
        raise _ValueProblemError("must be sandbox or production") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, _port = parts.hostname, parts.port  # a bad port raises here
    except ValueError:
        raise _ValueProblemError("is not a URL") from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x20\\]", text):
        raise _ValueProblemError("is not an http(s) URL")
    if parts.username is not None or parts.password is not None:
        raise _ValueProblemError("must not hold a user or password")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _ValueProblemError("must not have a query or fragment")
    if parts.scheme == "http" and not _is_loopback(host):
        raise _ValueProblemError("must be https (plain http is for loopback hosts only)")
    return text.rstrip("/")


def _webhook(text: str) -> Secret:
    """An address with its secret in the path or query; the rest is checked as for any URL."""
    _url(urlsplit(_text(text))._replace(query="", fragment="").geturl())
    return Secret(text)


def _text(text: str) -> str:
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise _ValueProblemError("holds control characters")
    return text


def _secret(text: str) -> Secret:
    return Secret(_text(text))


def _is_hex_key(text: str) -> bool:
    return len(text) >= 2 * ID_KEY_BYTES and _HEX.fullmatch(text) is not None


def _one_spelling(key: Secret) -> str:
    text = key.get_secret_value()
    return text.lower() if _is_hex_key(text) else text


def _id_keys(text: str) -> tuple[Secret, ...]:
    return tuple(_id_key(line.strip()) for line in text.splitlines() if line.strip())


def _id_key(text: str) -> Secret:
    if len(_text(text).encode()) < ID_KEY_BYTES:
        raise _ValueProblemError(f"must be hex or text of at least {ID_KEY_BYTES} bytes")
    return Secret(text)


def _ledger(text: str) -> Secret:
    from connectors.ledger.address import address_problem  # it brings SQLAlchemy, which `--help` does without

    if (problem := address_problem(_text(text))) is not None:
        raise _ValueProblemError(problem)
    return Secret(text)


def _shared(text: str) -> str:
    """A folder that all machines reach, or a prefix in an object store."""
    if "://" not in text:
        return str(Path(_text(text)).expanduser().absolute())
    if text.partition("://")[0] not in ("s3", "gs", "az") or "@" in text:
        raise _ValueProblemError("must be a folder, or an s3://, gs:// or az:// URL without credentials")
    return _text(text).rstrip("/")


def _is_for_many(ledger: object) -> bool:
    """Whether several machines can use the ledger."""
    return isinstance(ledger, Secret) and ledger.get_secret_value().startswith("postgres")


def _number_between(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise _ValueProblemError("is not a number") from None
        if not math.isfinite(number) or not low <= number <= high:
            raise _ValueProblemError(f"must be between {low:g} and {high:g}")
        return number

    return parse


def _whole_between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise _ValueProblemError("is not a whole number")
        if not low <= int(text) <= high:
            raise _ValueProblemError(f"must be between {low} and {high}")
        return int(text)

    return parse


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable: its name, how its text is read, who must have it, whether `…_FILE` may name its file."""

    name: str
    parse: Callable[[str], object]
    required_from: Needs | None = None
    from_file: bool = False

    @property
    def field(self) -> str:
        """Its name in `Settings`."""
        return self.name.removeprefix(PREFIX).lower()

    @property
    def file_name(self) -> str:
        """The variable that names a file holding the value."""
        return f"{self.name}_FILE"


SPEC: Final = (
    Setting("METERFEED_ENVIRONMENT", _environment),
    Setting("METERFEED_BASE_URL", _url, Needs.API),
    Setting("METERFEED_TOKEN_URL", _url, Needs.API),
    Setting("METERFEED_CLIENT_ID", _text, Needs.API, from_file=True),
    Setting("METERFEED_CLIENT_SECRET", _secret, Needs.API, from_file=True),
    Setting("METERFEED_ID_KEY", _id_key, Needs.API, from_file=True),
    Setting("METERFEED_ID_KEY_PREVIOUS", _id_keys, from_file=True),
    Setting("METERFEED_LEDGER", _ledger, from_file=True),
    Setting("METERFEED_DATA_DIR", lambda text: Path(text).expanduser().absolute()),
    Setting("METERFEED_CHUNK_SIZE", _whole_between(1, 10_000)),
    Setting("METERFEED_CONCURRENCY", _whole_between(1, 256)),
    Setting("METERFEED_RATE", _number_between(0.01, 100_000)),
    Setting("METERFEED_SETTLE", _number_between(0, 3600)),
    Setting("METERFEED_SHARED", _shared),
    Setting("METERFEED_LEASE", _number_between(1, 3600)),
    Setting("METERFEED_WEBHOOK_URL", _webhook, from_file=True),
)

DEFAULTS: Final[Mapping[str, object]] = {
    "environment": Environment.SANDBOX,
    "chunk_size": 1000,
    "concurrency": 8,
    "rate": None,
    "settle": 30.0,
    "id_key_previous": (),
    "lease": 60.0,
}


def default_data_dir() -> Path:
    """`data/runs` of the checkout; of the working directory when meterfeed was installed without one."""
    checkout = Path(__file__).resolve().parents[1]
    root = checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
    return root / "data" / "runs"


def default_ledger(data_dir: object) -> Secret:
    """The ledger where none is named: a file in the data directory."""
    return Secret(f"sqlite:///{data_dir}/ledger.sqlite")


def load_settings(environ: Mapping[str, str] | None = None, *, needs: Needs = Needs.API) -> Settings:
    """Read every `METERFEED_*` variable.

    Args:
        environ: the environment; the process's own when None.
        needs: what the command uses. A variable it does not use may be missing, but never wrong.

    Raises:
        SettingsError: naming every missing and every wrong variable, without any value.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, object] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for setting in SPEC:
        try:
            text = _read(setting, environ)
            if text is not None:
                values[setting.field] = setting.parse(text)
            elif setting.required_from is not None and needs >= setting.required_from:
                missing.append(setting.name)
        except _ValueProblemError as problem:
            wrong.append(f"{setting.name} {problem}")
        except (ValueError, RuntimeError):  # RuntimeError: a home directory, `~name`, that nobody has
            wrong.append(f"{setting.name} is not valid")
    if needs >= Needs.API and "shared" in values and not _is_for_many(values.get("ledger")):
        wrong.append("METERFEED_SHARED needs METERFEED_LEDGER to be a postgresql:// URL")
    if missing or wrong:
        raise SettingsError(_complaint(missing, wrong, environ), cure=CURE)
    return _settings(values)


def _read(setting: Setting, environ: Mapping[str, str]) -> str | None:
    text = environ.get(setting.name, "").strip()
    file = environ.get(setting.file_name, "").strip() if setting.from_file else ""
    if text and file:
        raise _ValueProblemError(f"and {setting.file_name} are both set: keep one")
    if not file:
        return text or None
    try:
        with Path(file).expanduser().open("rb") as handle:
            content = handle.read(SECRET_FILE_LIMIT + 1)
        text = content.decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError, RuntimeError):  # RuntimeError: as in `load_settings`
        raise _ValueProblemError(f"cannot be read from the file in {setting.file_name}") from None
    if not text or len(content) > SECRET_FILE_LIMIT:
        raise _ValueProblemError(
            f"cannot be read from the file in {setting.file_name}: it is empty or too long"
        )
    return text


def _complaint(missing: list[str], wrong: list[str], environ: Mapping[str, str]) -> str:
    sentences = []
    if missing:
        sentences.append(f"Not set: {', '.join(missing)}.")
        sentences.extend(_typos(missing, environ))
    sentences.extend(f"{problem}." for problem in wrong)
    return " ".join(sentences)


def _typos(missing: list[str], environ: Mapping[str, str]) -> list[str]:
    known = {setting.name for setting in SPEC} | {setting.file_name for setting in SPEC}
    strangers = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    return [
        f"{stranger} is set: was {near[0]} meant?"
        for stranger in strangers
        if (near := difflib.get_close_matches(stranger, missing, n=1, cutoff=0.8))
    ]


def _settings(values: Mapping[str, object]) -> Settings:
    data_dir = values.get("data_dir", default_data_dir())
    chosen: dict[str, object] = {
        **dict.fromkeys(setting.field for setting in SPEC),
        **DEFAULTS,
        "data_dir": data_dir,
        "ledger": default_ledger(data_dir),
        **values,
    }
    return Settings(**chosen)  # type: ignore[arg-type]  # each parser returns its field's type
