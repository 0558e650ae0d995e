"""Sets up the namespaces of one container and holds them until its standard input is closed.

Run by ``container.py`` inside ``unshare --net --mount --uts``. The image's layers become one read-only overlay, with
what the node's container toolkit would add on top of them; ``/tmp`` and ``/dev/shm`` are the pod's. Argument: one JSON
object.
"""

import json
import subprocess
import sys
from pathlib import Path


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main() -> None:
    plan = json.loads(sys.argv[1])
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt")
    root = Path("/mnt/root")
    root.mkdir()
    mount("-t", "overlay", "-o", f"ro,lowerdir={':'.join(plan['layers'])}", "overlay", str(root))
    mount("--rbind", "/dev", str(root / "dev"))
    mount("-t", "tmpfs", "-o", "mode=1777,size=2g", "tmpfs", str(root / "tmp"))
    mount("-t", "tmpfs", "-o", f"mode=1777,size={plan['shm_bytes']}", "tmpfs", str(root / "dev/shm"))
    for source, target in plan["binds"].items():
        mount("--bind", source, f"{root}{target}")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print("ready", flush=True)
    sys.stdin.read()


main()
