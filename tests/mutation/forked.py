"""mutmut with the tests collected once: each change is tried in a fork of the process that has collected them.

    python tests/mutation/forked.py run --max-children 1     # in a copy of the project, never in a working tree

mutmut itself starts pytest anew for each change, which costs more than the tests of most modules, and asks the tests in
any order. Here the quickest ask first: most changes are noticed in a few hundredths of a second.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import mutmut.__main__ as tool
import mutmut.workers.isolation as isolation
import pytest
from _pytest.config import _prepareconfig
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.utils.file_utils import change_cwd

SUSPICIOUS = 4
"""An exit code that mutmut counts neither as noticed nor as survived."""


class CollectedOnce(PytestRunner):
    """Collects tests once; every run of them after that belongs into a fork.

    mutmut's look at the unchanged modules goes the same way as the changed ones: tests that fail because of this way
    would otherwise count as tests that notice.
    """

    _session: pytest.Session | None = None

    def warm_up(self) -> None:
        """Collect, and stay at the point where pytest would begin to run."""
        with change_cwd("mutants"):
            tests = [*self._pytest_add_cli_args_test_selection, *self._pytest_add_cli_args]
            config = _prepareconfig(["--rootdir=.", "--tb=no", "-q", "-x", *tests])
            config._do_configure()
            session = pytest.Session.from_config(config)
            config.hook.pytest_sessionstart(session=session)
            config.hook.pytest_collection(session=session)
        self._session = session
        gc.collect()
        gc.freeze()  # so that forks share what is there, and collect only what is theirs

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        """Exit code of pytest: 0 when nobody noticed, 1 when a test failed. No tests: all."""
        if self._session is None:
            self.warm_up()
        session = self._session
        assert session is not None
        took, wanted = state().duration_by_test, set(tests) or {item.nodeid for item in session.items}
        session.items = [item for item in session.items if item.nodeid in wanted]
        session.items.sort(key=lambda item: took.get(item.nodeid, 0.0))
        if len(session.items) != len(wanted):
            return SUSPICIOUS
        # What mutmut put in place of the output must not go away during a test: that is a warning, and fails it.
        with (
            Path(os.devnull).open("w") as out,
            redirect_stdout(out),
            redirect_stderr(out),
            change_cwd("mutants"),
        ):
            try:
                session.config.hook.pytest_runtestloop(session=session)
            except pytest.Session.Failed:
                return 1
            except BaseException:  # mutmut would take an error of ours for a test that hangs
                return SUSPICIOUS
        return 1 if session.testsfailed else 0


if __name__ == "__main__":
    isolation.PytestRunner = CollectedOnce
    tool.cli()
