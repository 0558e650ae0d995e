"""What holds for all tests."""

from hypothesis import settings

settings.register_profile("no clock", deadline=None)  # a slow machine is no failure of a property
settings.load_profile("no clock")
