"""A tenant's account as a Prefect block: credentials of the API and the id key, encrypted by the server.

A flow is told the block's *name*; its values overlay the environment inside the process that runs the flow and go
nowhere else. Whoever may read the server's database and its encryption key may read the block: where that is too
much, leave the secrets in the workers' environment and name no block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from flows.settings import PREFIX, Secret, Settings, default_ledger
from schemas.errors import SettingsError


class MeterfeedAccount(Block):
    """One tenant of the API. A field left empty is taken from the worker's environment."""

    _block_type_name = "Meterfeed account"
    _block_type_slug = "meterfeed-account"
    _description = "Credentials of the Energy Coordination API and the secret key of record ids."

    base_url: str | None = Field(default=None, description="Where the API is, path included.")
    token_url: str | None = Field(default=None, description="Where OAuth2 tokens come from.")
    client_id: SecretStr | None = Field(default=None, description="The OAuth2 client.")
    client_secret: SecretStr | None = Field(default=None, description="Its secret.")
    id_key: SecretStr | None = Field(default=None, description="Hex or text of at least 32 bytes.")
    id_key_previous: SecretStr | None = Field(default=None, description="The keys before it, one to a line.")
    ledger: SecretStr | None = Field(default=None, description="SQLAlchemy URL of the ledger.")


FIELDS: Final = ("base_url", "token_url", "client_id", "client_secret", "id_key", "id_key_previous", "ledger")


def overlaid(environ: Mapping[str, str], account: MeterfeedAccount) -> dict[str, str]:
    """The environment with what the block says in place of what it said; a `…_FILE` twin is taken out."""
    merged = dict(environ)
    for field in FIELDS:
        value = getattr(account, field)
        if value is not None:
            name = PREFIX + field.upper()
            merged.pop(f"{name}_FILE", None)
            merged[name] = value.get_secret_value() if isinstance(value, SecretStr) else value
    return merged


async def environment_of(account: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment as a flow sees it, with the block of that name laid over it.

    Raises:
        SettingsError: there is no such block, or it cannot be read.
    """
    if account is None:
        return dict(environ)
    try:
        block = await MeterfeedAccount.aload(account)
    except (ValueError, TypeError):  # Prefect's answer to a name it does not know; its text repeats the name
        raise SettingsError(
            "There is no such account block in Prefect.",
            cure="`meterfeed serve --save-account NAME` makes one.",
        ) from None
    return overlaid(environ, block)


async def save_account(name: str, settings: Settings) -> None:
    """Store what these settings say of the tenant, replacing an older block of the same name."""
    await account_of(settings).asave(name, overwrite=True)


def account_of(settings: Settings) -> MeterfeedAccount:
    """What these settings say of the tenant.

    The ledger in the data directory is this machine's own: a worker has it where *its* data directory is.
    """
    named = None if settings.ledger == default_ledger(settings.data_dir) else settings.ledger
    return MeterfeedAccount(
        base_url=settings.base_url,
        token_url=settings.token_url,
        client_id=_hidden(settings.client_id),
        client_secret=_hidden(settings.client_secret),
        id_key=_hidden(settings.id_key),
        id_key_previous=_hidden(
            "\n".join(key.get_secret_value() for key in settings.id_key_previous) or None
        ),
        ledger=_hidden(named),
    )


def _hidden(value: str | Secret | None) -> SecretStr | None:
    text = value.get_secret_value() if isinstance(value, Secret) else value
    return None if text is None else SecretStr(text)
