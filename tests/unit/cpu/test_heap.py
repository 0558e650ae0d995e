"""Freed memory stays with its process."""

import subprocess
import sys


def test_large_blocks_come_from_the_heap_that_a_process_keeps() -> None:
    """Stock, a block of 64 MiB is mapped from the kernel, and given back when it is freed."""
    code = """
import ctypes
from llama_serving.cpu.heap import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def in_heap():
    block = libc.malloc(64 << 20)
    [heap] = [line.split()[0] for line in open("/proc/self/maps") if line.rstrip().endswith("[heap]")][:1]
    begin, end = (int(part, 16) for part in heap.split("-"))
    libc.free(block)
    return begin <= block < end
print(in_heap(), keep_freed_memory(), in_heap())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False True True\n"
