"""The Energy Coordination API on your own machine, with a fault menu and an effect log.

    from sandbox.server import Sandbox

    with Sandbox(faults="lost-answers") as sandbox:
        load(sandbox.base_url, sandbox.token_url, sandbox.client_id, sandbox.client_secret)
        print(sandbox.state()["counts"], sandbox.effects()[-1])

From a shell: `python -m sandbox --help`; every fault: `python -m sandbox --menu`. How a plan is written is said
in `sandbox.faults`, what the API does where its vendor is silent in `sandbox.semantics`.

Inside out: `records` and `effects` (what is kept, what happened), `store` (tables that change by effects),
`semantics` (the 1,350 ways to behave), `operations` (the vendor's calls and shapes), `faults`, `core` (a
request in, an answer out); then what carries requests: `app` and `server` (uvicorn), `connection` and `wire`
(HTTP spoken wrongly), `inprocess` (no sockets, virtual time).

Imports nothing of `schemas`, `pipeline`, `connectors` or `flows`: an oracle that shared code with the
loader would share its mistakes.
"""
