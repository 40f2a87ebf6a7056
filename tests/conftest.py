"""No test fails because a machine is slow: hypothesis would, at an example of a fifth of a second."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
