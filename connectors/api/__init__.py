"""The Energy Coordination API over HTTP: its client, tokens, URLs and losses. Fits `pipeline.ports.Api`."""

from connectors.api.client import ApiClient
from connectors.api.tokens import Secret

__all__ = ["ApiClient", "Secret"]
