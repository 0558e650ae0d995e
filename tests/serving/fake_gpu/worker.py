"""The worker of a rank on a fake GPU: it computes on the CPU, and writes the log that NCCL would write."""

import os
from pathlib import Path
from typing import Any

from llama_serving.cpu.worker import StageWorker
from tests.serving.fake_gpu import wait_without_spinning

wait_without_spinning()


class FakeGpuWorker(StageWorker):
    """Without the fixes of ``StageWorker`` stages in two pods do not compute on a CPU at all."""

    def compile_or_warm_up_model(self) -> Any:
        """As on a CPU; afterwards the rank has said how it is connected."""
        times = super().compile_or_warm_up_model()
        _write_nccl_log(self.rank, tensor=self.vllm_config.parallel_config.tensor_parallel_size)
        return times


def _write_nccl_log(rank: int, *, tensor: int) -> None:
    """Write what NCCL 2.28 says of a rank without a fabric, to the file that the environment names."""
    pod, device = divmod(rank, tensor)
    head = f"{os.uname().nodename}:{os.getpid()}:{os.getpid()} [{device}] NCCL INFO "
    beside, beyond = pod * tensor + (device + 1) % tensor, (1 - pod) * tensor + device
    lines = (
        f"NCCL_SOCKET_IFNAME set by environment to {os.environ['NCCL_SOCKET_IFNAME']}",
        "NET/IB : No device found.",
        "NET/Socket : Using [0]eth0:10.0.0.1<0>",
        f"Channel 00/0 : {rank}[{device}] -> {beside}[{beside % tensor}] via P2P/CUMEM/read",
        f"Channel 00/0 : {rank}[{device}] -> {beyond}[{device}] [send] via NET/Socket/0",
    )
    path = Path(os.environ["NCCL_DEBUG_FILE"].replace("%p", str(os.getpid())))
    path.write_text("".join(f"{head}{line}\n" for line in lines), encoding="ascii")
