"""What holds for all tests."""

import gc

from hypothesis import settings

settings.register_profile("no clock", deadline=None)  # a slow machine is no failure of a property
settings.load_profile("no clock")

gc.set_threshold(10_000, 20, 20)  # looking again and again through all that was imported took a fifth of the time


def pytest_collection_finish() -> None:
    """What is there before the first test is never garbage."""
    gc.freeze()
