"""What only ``make soak`` does: the full numbers of repetitions, and what takes many minutes."""

import os

import pytest

SOAK = os.environ.get("LLAMA_SOAK") == "1"
soak = pytest.mark.skipif(not SOAK, reason="takes many minutes: make soak")
