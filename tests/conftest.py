"""What holds for all tests."""

import gc
import os

from hypothesis import settings

from llama_serving.config import names

settings.register_profile("no clock", deadline=None)  # a slow machine is no failure of a property
settings.load_profile("no clock")

# The servers that tests read weights from stand on loopback, which a source may be only by an explicit setting.
os.environ.setdefault(names.ENV_SOURCE_NETWORKS, "127.0.0.0/8,::1/128")

gc.set_threshold(10_000, 20, 20)  # looking again and again through all that was imported took a fifth of the time


def pytest_collection_finish() -> None:
    """What is there before the first test is never garbage."""
    gc.freeze()
