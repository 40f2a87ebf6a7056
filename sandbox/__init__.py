"""The Energy Coordination API on your own machine, with a fault menu and an effect log.

Imports nothing of `schemas`, `pipeline`, `connectors` or `flows`: an oracle that shared code with the
loader would share its mistakes.
"""
