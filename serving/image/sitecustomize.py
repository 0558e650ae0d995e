"""Loaded by Python before anything else, in the serving image only: the garbage collector looks less often.

A start imports vLLM four times, and each time makes a million objects that stay. With Python's own thresholds the
collector walks through all of them nine times meanwhile, 6 % of the import (docs/benchmarks). With these it first walks
through everything after four million new objects; the engine core and the replica have frozen their heaps by then, as
vLLM and Ray Serve do by themselves.
"""

import gc

gc.set_threshold(10_000, 20, 20)
