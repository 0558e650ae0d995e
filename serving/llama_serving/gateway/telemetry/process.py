"""What this process uses of its machine, from getrusage and /proc."""

import os
import resource
from pathlib import Path
from typing import Final

from llama_serving.config.gateway_metrics import ProcessUsage

_SELF: Final = Path("/proc/self")


def process_usage(started: float) -> ProcessUsage:
    """Return the present usage; ``started`` in seconds since 1970."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int((_SELF / "statm").read_text(encoding="ascii").split()[1])
    return ProcessUsage(
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        resident_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        open_fds=sum(1 for _ in (_SELF / "fd").iterdir()),
        started=started,
    )
