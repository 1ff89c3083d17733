"""Settings of all tests. A busy machine is no fault of the code: no property test fails for being slow."""

from hypothesis import HealthCheck, settings

settings.register_profile("c2o", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("c2o")
