"""Where Serve finds the class of the replica; the order of the two imports is the point.

The engine core's imports begin here, before this process begins with the same ones.
"""

import os

from llama_serving.cell.shared.engine_args import CPU_ENGINE, ENGINE_VARIABLE
from llama_serving.cpu.engine_process import start_importing

if os.environ.get(ENGINE_VARIABLE) == CPU_ENGINE:
    start_importing()

from llama_serving.cell.replica.server import CellServer

__all__ = ["CellServer"]
