"""One module for each family of commands. A command says what to do; `flows/conduct.py` does the rest.

Heavy libraries are imported inside the commands, so that `meterfeed --help` does not pay for them.
"""
