"""NCCL's log: its lines as seen in public reports and in NCCL's source, and files that grow while they are read."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_serving.cell.ray.nccl_log import NcclLogs, nccl_environment, transport

#: What NCCL 2.4 to 2.31 wrote, by what it took. The heads (node, process, thread, device) are of several machines.
LINES: tuple[tuple[str, str], ...] = (
    ("node:919:1150 [0] NCCL INFO Channel 00/0 : 8[0] -> 0[0] [send] via NET/Socket/0", "NET/Socket"),
    ("node:919:1150 [0] NCCL INFO Channel 04/0 : 0[0] -> 8[0] [receive] via NET/Socket/0", "NET/Socket"),
    ("g:7:9 [2] NCCL INFO Channel 06/0 : 36[4] -> 20[4] [send] via NET/IB/3", "NET/IB"),
    ("g:7:9 [2] NCCL INFO Channel 06/0 : 36[4] -> 20[4] [send] via NET/IB/3/GDRDMA", "NET/IB/GDRDMA"),
    ("g:7:9 [2] NCCL INFO Channel 06/0 : 3[3] -> 8[0] [send] via NET/IB/8(5)/GDRDMA(PCI)/Shared", "NET/IB/GDRDMA"),
    ("t:980:1265 [0] NCCL INFO Channel 14/0 : 32[0] -> 0[0] [send] via NET/IBext_v8/7", "NET/IBext_v8"),
    ("e:1:2 [0] NCCL INFO Channel 00/0 : 1[0] -> 0[0] [receive] via NET/AWS Libfabric/0", "NET/AWS Libfabric"),
    (
        "f1:695135:695311 [0] NCCL INFO Channel 00/0 : 4092[d6000] -> 0[d6000] [receive] via NET/AWS Libfabric/2/GDRDMA"
        " comm 0x9bbf3b0 nRanks 4096",
        "NET/AWS Libfabric/GDRDMA",
    ),
    ("n:920:1145 [1] NCCL INFO Channel 04/0 : 9[1] -> 10[2] via P2P/IPC/read", "P2P/IPC"),
    ("n:1768:1768 [6] NCCL INFO Channel 21/0 : 6[6] -> 7[7] via P2P/CUMEM", "P2P/CUMEM"),
    ("n:1768:1768 [6] NCCL INFO Channel 21/0 : 6[6] -> 7[7] via P2P/CUMEM/read", "P2P/CUMEM"),
    ("n:1:1 [0] NCCL INFO Channel 01/0 : 1[1] -> 0[0] via P2P/direct pointer", "P2P/direct"),
    ("n:1:1 [0] NCCL INFO Channel 03/0 : 0[d6000] -> 2[de000] via P2P/IPC comm 0x9bbf3b0 nRanks 4096", "P2P/IPC"),
    ("n:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[6] via SHM/direct/direct", "SHM"),
    ("n:1:1 [0] NCCL INFO Channel 00 : 0[0] -> 1[1] via SHM", "SHM"),
    ("ip:14:20 [0] NCCL INFO Ring 01 : 0[160] -> 1[160] [send] via NET/AWS Libfabric/0", "NET/AWS Libfabric"),
    ("n:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 4[0] [send] via COLLNET/SHARP/0/GDRDMA", "COLLNET/SHARP/GDRDMA"),
    ("ip:45361:45361 [0] NCCL INFO NET/IB : No device found.", ""),
    ("ip:45361:45361 [0] NCCL INFO NET/Socket : Using [0]ens3:172.31.12.210<0>", ""),
    ("user:695836:695883 [5] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_2:1/RoCE [RO]; OOB ib0:10.0.0.1<0>", ""),
    ("user:16906:16952 [7] NCCL INFO Using network Socket", ""),
    ("n:922:1158 [3] NCCL INFO transport/net_socket.cc:336 -> 2", ""),
    ("n:922:1158 [3] proxy.cc:1519 NCCL WARN [Proxy Service 11] Failed to execute operation Connect from rank 11", ""),
    ("n:1:1 [0] NCCL INFO Trees [0] 1/-1/-1->0->-1 [1] 1/-1/-1->0->-1", ""),
    ("", ""),
)


@pytest.mark.parametrize(("line", "said"), LINES)
def test_a_line_tells_what_was_taken(line: str, said: str) -> None:
    assert transport(line) == said


@given(st.text())
def test_no_line_is_too_odd(line: str) -> None:
    assert transport(f"n:1:1 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via {line}").count("\n") == 0
    transport(line)


class Ranks:
    """A folder of logs and the processes that live."""

    def __init__(self, folder: Path) -> None:
        self.logs, self.proc = folder / "logs", folder / "proc"
        self.logs.mkdir()
        self.proc.mkdir()

    def start(self, pid: int) -> Path:
        (self.proc / str(pid)).mkdir()
        log = self.logs / f"{pid}.log"
        log.touch()
        return log

    def end(self, pid: int) -> None:
        (self.proc / str(pid)).rmdir()


SOCKET = f"{LINES[0][0]}\n"
PEER = f"{LINES[8][0]}\n"


def test_a_pod_without_ranks_says_nothing(tmp_path: Path) -> None:
    assert NcclLogs(tmp_path / "missing").transports() == ()


def test_the_ranks_add_up_and_those_that_ended_are_forgotten(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    logs = NcclLogs(ranks.logs, proc=ranks.proc)
    ranks.start(7).write_text(SOCKET)
    ranks.start(8).write_text(PEER)
    assert logs.transports() == ("NET/Socket", "P2P/IPC")
    ranks.end(7)
    assert logs.transports() == ("P2P/IPC",)
    ranks.end(8)
    assert logs.transports() == ()


@given(st.lists(st.sampled_from([line for line, _ in LINES]), max_size=12), st.data())
def test_it_does_not_matter_when_a_file_is_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], data: st.DataObject
) -> None:
    """A look may find half a line."""
    ranks = Ranks(tmp_path_factory.mktemp("ranks"))
    log, logs = ranks.start(7), NcclLogs(ranks.logs, proc=ranks.proc)
    text = "".join(f"{line}\n" for line in lines)
    at = data.draw(st.integers(0, len(text)))
    log.write_text(text[:at])
    early = set(logs.transports())
    log.write_text(text)
    found = logs.transports()
    assert set(found) == {transport(line) for line in lines} - {""}
    assert early <= set(found)


def test_a_file_without_ends_of_lines_does_not_stop_the_reading(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    log, logs = ranks.start(7), NcclLogs(ranks.logs, proc=ranks.proc)
    log.write_text("x" * (5 << 19) + "\n" + SOCKET)
    seen = [logs.transports() for _ in range(4)]
    assert seen[-1] == ("NET/Socket",)


def test_nccl_takes_exactly_the_interface_of_the_pod() -> None:
    """Without ``=`` a pod with eth0 and eth01 gives NCCL both."""
    environment = nccl_environment(interface="eth0", folder=Path("/logs"))
    assert environment == {
        "NCCL_SOCKET_IFNAME": "=eth0",
        "NCCL_DEBUG": "INFO",
        "NCCL_DEBUG_FILE": "/logs/%p.log",
    }
