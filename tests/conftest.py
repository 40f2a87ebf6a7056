"""No test fails because a machine is slow, or by chance, or for how the suite was started; groups stay together."""

import signal

import pytest
from _pytest.nodeid import coerce_node_id
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# By default an example that takes longer than a fifth of a second is a failure.
ANY_MACHINE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)

# A change is judged by examples that are the same every time; `make campaign` goes looking for new ones.
settings.register_profile("repeatable", ANY_MACHINE, derandomize=True)
settings.register_profile("exploring", ANY_MACHINE, print_blob=True)
settings.load_profile("repeatable")


def pytest_configure() -> None:
    """Let signals be what they are in a terminal, also under nohup or as a background job of a script.

    Whoever is started there is told to ignore them, and so would be every command that a test starts. A handler does
    not pass on to those, and the suite itself still outlives them.
    """
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


def pytest_sessionstart() -> None:
    """Let examples depend on nothing but the test.

    Hypothesis also tries numbers and texts it finds in modules of ours, in those that are imported by then: which
    these are is a matter of what else ran in the same process.
    """
    if settings.get_current_profile_name() == "repeatable":
        providers._get_local_constants = lambda: providers._local_constants


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep each `xdist_group` in one process: pytest-xdist 3.8 writes it where pytest 9.2 does not look."""
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        if mark is not None and not item.nodeid.endswith(f"@{mark.args[0]}"):
            item._id = coerce_node_id(f"{item.nodeid}@{mark.args[0]}")
