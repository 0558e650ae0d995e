"""``python -m testbed.policies.agent``: keeps a node's packet filter at what the cluster's NetworkPolicies say.

It runs inside the node's namespaces, so its rules end with the node and touch nothing of the machine's.
"""

import argparse
import json
import logging
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from testbed.policies.objects import world
from testbed.policies.translate import MAIN, PREFIX, rules

log = logging.getLogger("policies")

#: API path of each kind that is watched.
PATHS: Final = {
    "pods": "/api/v1/pods",
    "namespaces": "/api/v1/namespaces",
    "policies": "/apis/networking.k8s.io/v1/networkpolicies",
}
_WATCH_S: Final = 240
_AGAIN_S: Final = 0.5
_TOGETHER_S: Final = 0.05  # events that come within this time are one change


class Cache:
    """The objects of one kind, by uid, as a list and a watch show them."""

    def __init__(self, path: str, *, server: "Server", changed: threading.Event) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.listed = threading.Event()
        self._path = path
        self._server = server
        self._changed = changed

    def run(self) -> None:
        """List and watch for ever; after any failure anew."""
        while True:
            try:
                self._follow()
            except (OSError, ValueError, KeyError) as error:
                log.warning("%s: %s", self._path, error)
            time.sleep(_AGAIN_S)

    def _follow(self) -> None:
        found = next(self._server.lines(self._path))
        self.objects = {one["metadata"]["uid"]: one for one in found["items"]}
        self.listed.set()
        self._changed.set()
        version = found["metadata"]["resourceVersion"]
        query = f"?watch=1&allowWatchBookmarks=true&timeoutSeconds={_WATCH_S}&resourceVersion={version}"
        for event in self._server.lines(self._path + query):
            self._take(event)

    def _take(self, event: dict[str, Any]) -> None:
        body = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self.objects = {**self.objects, body["metadata"]["uid"]: body}
            case "DELETED":
                self.objects = {uid: one for uid, one in self.objects.items() if uid != body["metadata"]["uid"]}
            case "ERROR":
                raise ValueError(body.get("message", "the watch ended"))
            case _:
                return
        self._changed.set()


class Server:
    """The API server of a kubeconfig that the bed wrote."""

    def __init__(self, kubeconfig: Path, authority: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        self._url = config["clusters"][0]["cluster"]["server"]
        self._token = config["users"][0]["user"]["token"]
        self._context = ssl.create_default_context(cafile=str(authority))

    def lines(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield each line of an answer: one object, or the events of a watch."""
        request = urllib.request.Request(self._url + path, headers={"Authorization": f"Bearer {self._token}"})
        with urllib.request.urlopen(request, timeout=_WATCH_S + 30, context=self._context) as answer:
            for line in answer:
                yield json.loads(line)


def present_chains() -> tuple[str, ...]:
    """Return the chains of ours that are there. Raises CalledProcessError."""
    text = subprocess.run(["iptables-save", "-t", "filter"], check=True, capture_output=True, text=True).stdout
    return tuple(line[1:].split()[0] for line in text.splitlines() if line.startswith(f":{PREFIX}"))


def restore(text: str) -> None:
    """Set the chains, all at once, and see that packets come there first. Raises CalledProcessError."""
    subprocess.run(["iptables-restore", "--noflush"], input=text, text=True, check=True, capture_output=True)
    for chain in ("FORWARD", "INPUT"):
        jump = [chain, "-j", MAIN]
        if subprocess.run(["iptables", "-C", *jump], capture_output=True).returncode:
            subprocess.run(["iptables", "-I", *jump], check=True, capture_output=True)


def main(argv: list[str]) -> int:
    """Run until the node ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--authority", type=Path, required=True, help="certificate of the API server's authority")
    parser.add_argument("--node", required=True)
    parser.add_argument("--trusted", required=True, help="network of the nodes and the host")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    changed, server = threading.Event(), Server(options.kubeconfig, options.authority)
    caches = {kind: Cache(path, server=server, changed=changed) for kind, path in PATHS.items()}
    for cache in caches.values():
        threading.Thread(target=cache.run, daemon=True).start()
    for cache in caches.values():
        cache.listed.wait()
    before = ""
    while True:
        seen = world(*(list(caches[kind].objects.values()) for kind in PATHS))
        try:
            wanted = rules(seen, node=options.node, trusted=options.trusted)
            if wanted != before:
                restore(rules(seen, node=options.node, trusted=options.trusted, stale=present_chains()))
                before = wanted
                log.info("%d rules for %d pods", wanted.count("\n-A "), len(seen.pods))
        except subprocess.CalledProcessError as error:
            log.error("%s failed: %s", error.cmd[0], error.stderr)
            before = ""
            changed.set()
            time.sleep(_AGAIN_S)
        changed.wait()
        changed.clear()
        time.sleep(_TOGETHER_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
