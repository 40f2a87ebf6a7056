import httpx
import pytest

from connectors.api.losses import LOSSES, MISUSE, loss
from schemas.exchange import Lost

EXCEPTIONS = sorted(
    (thing for thing in vars(httpx).values() if isinstance(thing, type) and issubclass(thing, Exception)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", EXCEPTIONS)
def test_every_exception_of_httpx_is_in_the_table(kind):
    assert (kind in LOSSES) != (kind in MISUSE), f"httpx has grown {kind.__name__}: decide what it says"


def test_only_what_happens_before_the_first_byte_counts_as_not_sent():
    assert {kind for kind, (lost, _) in LOSSES.items() if lost is Lost.NOT_SENT} == {
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
    }


@pytest.mark.parametrize("kind", [kind for kind in LOSSES if kind is not httpx.HTTPStatusError])
def test_a_loss_is_what_the_table_says(kind):
    assert loss(kind("said at length")) == LOSSES[kind]


@pytest.mark.parametrize("kind", [ConnectionResetError, BrokenPipeError, OSError, PermissionError])
def test_an_error_of_the_system_is_in_doubt(kind):
    assert loss(kind(5, "said at length")) == (Lost.IN_DOUBT, "connection lost")


def test_a_new_exception_below_a_known_one_is_as_that():
    class StreamReset(httpx.ReadError): ...

    assert loss(StreamReset("x")) == (Lost.IN_DOUBT, "connection lost")
