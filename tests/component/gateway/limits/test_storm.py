"""A gateway of the default size in a memory cgroup, where one can be made, under hostile clients of every kind."""

import asyncio
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from benchmarks.storm.__main__ import child, engine, longest_admin
from benchmarks.storm.attacks import ATTACKS
from benchmarks.storm.confined import DEFAULT_MEMORY, Confined, confined
from benchmarks.storm.users import ask

SLOTS = 4096
#: Fewer than in the benchmark: the machine of a test is not the one that is measured.
SCALE = "0.2"


def fits(gateway: Confined) -> bool:
    """Return whether it lives and has never had its limit."""
    return gateway.is_alive() and gateway.resident(peak=True) < DEFAULT_MEMORY


def open_requests(gateway: Confined) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/metrics", timeout=10) as response:
        text = response.read().decode()
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("llama_gateway_in_flight{"))


async def test_users_are_answered_in_a_storm_and_the_memory_is_enough() -> None:
    with engine() as behind, confined(behind, max_in_flight_per_group=SLOTS) as gateway:
        with child("benchmarks.storm.attacks", str(gateway.port), "1", SCALE):
            await asyncio.sleep(3)
            seen, _ = await asyncio.gather(ask(gateway.port, 6), longest_admin(gateway, 6))
            assert fits(gateway)
        assert seen.bad == {}
        assert len(seen.seconds) > 50
        deadline = time.monotonic() + 20
        while await asyncio.to_thread(open_requests, gateway):
            assert time.monotonic() < deadline, "requests of clients that left"
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "kind", ["bad words", "header bombs", "long heads", "pipelining", "slow readers of answers", "large bodies"]
)
async def test_no_kind_alone_takes_the_memory(kind: str) -> None:
    """Five times as many of one kind as in the storm."""
    assert kind in ATTACKS
    with engine() as behind, confined(behind, max_in_flight_per_group=SLOTS) as gateway:
        with child("benchmarks.storm.attacks", str(gateway.port), "1", "1", kind):
            await asyncio.sleep(2)
            seen = await ask(gateway.port, 2)
            assert fits(gateway)
        assert seen.bad == {}
        assert seen.seconds


def test_more_connections_than_descriptors_leave_the_admin_port_its_own() -> None:
    with engine() as behind, confined(behind, descriptors=128) as gateway:
        clients = []
        try:
            for _ in range(300):
                one = socket.create_connection(("127.0.0.1", gateway.port), timeout=10)
                one.sendall(b"GET /hea")
                clients.append(one)
            for _ in range(20):
                with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/live", timeout=10) as response:
                    assert response.status == 200
            assert gateway.descriptors() < 128
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as user:
                user.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
                assert b" 200 " in user.recv(4096)
            used = cpu_ticks(gateway)
            with urllib.request.urlopen(f"http://127.0.0.1:{gateway.admin_port}/live", timeout=10):
                time.sleep(1)
            assert cpu_ticks(gateway) - used < 50, "it spins"
        finally:
            for one in clients:
                one.close()


def cpu_ticks(gateway: Confined) -> int:
    """Return the hundredths of a second of CPU that it used."""
    words = Path(f"/proc/{gateway.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(words[11]) + int(words[12])
