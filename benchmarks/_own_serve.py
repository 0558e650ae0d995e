"""Ray Serve on a Ray of its own; runs in the serving environment."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

import ray
from ray import serve


@contextlib.contextmanager
def own_serve(port: int, *, slots: int) -> Iterator[None]:
    """Serve with its HTTP proxy on ``port`` of loopback, on ``slots`` CPUs that Ray believes in.

    Whatever Ray writes is gone afterwards. LLAMA_BENCH_LOG=1 shows what the replicas say.
    """
    with tempfile.TemporaryDirectory(prefix="bench-ray-", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=slots,
            include_dashboard=False,
            log_to_driver="LLAMA_BENCH_LOG" in os.environ,
            logging_level="error",
            _temp_dir=folder,
        )
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield
        serve.shutdown()
        ray.shutdown()
