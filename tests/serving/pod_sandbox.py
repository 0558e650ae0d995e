"""Sets up the namespaces of one test pod and holds them until its standard input is closed.

Run by ``pods.py`` inside ``unshare --net --mount``: own ``/tmp`` and ``/dev/shm`` as the emptyDirs of a pod, own
``/etc/hosts`` and ``/etc/resolv.conf``, the models and the pod's files under ``/mnt``, or where a bind's name is an
absolute path, there. Folders of code that lie below
``/tmp`` stay visible at their paths. Arguments: one JSON object.
"""

import json
import subprocess
import sys
from pathlib import Path


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def own_tmp(code: list[Path]) -> None:
    """Mount an empty ``/tmp``, with the folders of code that lie below the machine's own one."""
    hidden = [folder.resolve() for folder in code if folder.resolve().is_relative_to("/tmp")]
    kept = Path("/mnt/code")
    for number, folder in enumerate(hidden):
        (kept / str(number)).mkdir(parents=True)
        mount("--rbind", str(folder), str(kept / str(number)))
    mount("-t", "tmpfs", "-o", "size=512m", "tmpfs", "/tmp")
    for number, folder in enumerate(hidden):
        folder.mkdir(parents=True, exist_ok=True)
        mount("--rbind", str(kept / str(number)), str(folder))


def main() -> None:
    plan = json.loads(sys.argv[1])
    mount("-t", "tmpfs", "-o", "size=16m", "tmpfs", "/mnt")
    for name, source in plan["binds"].items():
        target = Path("/mnt") / name
        target.mkdir(exist_ok=True)
        mount("--bind", source, str(target))
    files = Path("/mnt/etc")
    files.mkdir()
    (files / "hosts").write_text(plan["hosts"], encoding="ascii")
    # Nobody listens there: a question to the resolver fails at once, as in a cluster with a working DNS.
    (files / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="ascii")
    for name in ("hosts", "resolv.conf"):
        mount("--bind", str(files / name), f"/etc/{name}")
    mount("-t", "tmpfs", "-o", f"size={plan['shm_bytes']}", "tmpfs", "/dev/shm")
    own_tmp([Path(folder) for folder in plan["code"]])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print("ready", flush=True)
    sys.stdin.read()


main()
