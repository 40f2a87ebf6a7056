"""What is true of the data: rules, frozen values, the profile, the error tree.

May import: nothing of ours. Does no I/O. Where do I go to …

* add a meter point scheme: `schemas/meter_points.py`
* add or change a rule about rows: `schemas/rules/`
* change what a profile may say: `schemas/profile.py`
* see how a run can end: `schemas/outcomes.py` and `schemas/errors.py`
"""
