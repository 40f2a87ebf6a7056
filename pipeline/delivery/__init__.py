"""Getting a plan into the API: what an answer means, when to try again, when to slow down, when to stop.

Everything here but the sender is pure: the clock, chance and the wire are arguments. An attempt ends in one
of three ways, never two: applied, not applied, in doubt (`classifier.py`); what is in doubt is read back.
"""
