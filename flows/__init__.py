"""What can be started: the command line, the Prefect flows, settings, and the wiring of ports. No logic.

May import everything. Prefect is imported in the flow modules only, so the command line starts without it.
"""
