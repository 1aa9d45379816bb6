"""`pytest -p tests.support.thorough`: every property test tries many more examples (`make test-long`)."""

from hypothesis import settings

settings.register_profile("thorough", max_examples=5_000, deadline=None)
settings.load_profile("thorough")
