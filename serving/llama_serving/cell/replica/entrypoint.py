"""Where Serve finds the class of the replica; the order of the two imports matters.

The engine core's imports begin here, before this process begins with the same ones.
"""

import os

from llama_serving.cell.entrypoints import CPU_ENGINE_CLASS
from llama_serving.cell.shared.engine_args import ENGINE_VARIABLE
from llama_serving.cpu.engine_process import start_importing

if os.environ.get(ENGINE_VARIABLE) == CPU_ENGINE_CLASS:
    start_importing()

from llama_serving.cell.replica.server import CellServer

__all__ = ["CellServer"]
