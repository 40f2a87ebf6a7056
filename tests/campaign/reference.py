"""One real delivery in a process of its own: `python -m tests.campaign.reference FOLDER BASE_URL TOKEN_URL [resume]`.

Small, but it has a 400, a lost answer and every kind of record in it. Exit code: that of the error, 0 without.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.phases import Phase
from sandbox.core import CLIENT_ID, CLIENT_SECRET
from schemas.errors import MeterfeedError
from tests.delivery.harness import Bench, locations, resources, users
from tests.delivery.test_kill import GUARDS, Address, has_run

N = 12
PLAN = {
    Phase.CREATE_USERS: users(N),
    Phase.CREATE_LOCATIONS: locations(N),
    Phase.CREATE_RESOURCES: resources(N),
}


def main(folder: str, base_url: str, token_url: str) -> int:
    address = Address(base_url, token_url, CLIENT_ID, CLIENT_SECRET)
    bench = Bench(address, Path(folder), settle=0.05, chunk=5, concurrency=2, guards=GUARDS)
    try:
        done = bench.deliver(PLAN, resume=has_run(Path(folder)))
    except MeterfeedError as error:
        return error.exit_code
    return done.error.exit_code if done.error else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
