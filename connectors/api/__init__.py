"""The Energy Coordination API over HTTP: one client, its tokens, URLs and losses; `pipeline.ports.Api` fits."""

from connectors.api.client import ApiClient
from connectors.api.tokens import Secret

__all__ = ["ApiClient", "Secret"]
