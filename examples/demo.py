"""``make demo``: from nothing to a streamed answer of a real model, cut into two stages on two nodes.

Every step can be repeated: what is there already is used. The cluster is the test bed's own, or the one of KUBECONFIG
with ``CLUSTER=current`` (then the images must be in a registry of yours and the claim ``smollm2`` filled by you).
"""

import sys
import time
from pathlib import Path

from examples import models
from examples.chat import ask
from examples.cluster import RELEASE, bed_environment, folder_claim, install_chart, restricted_namespace
from examples.kubectl import Kubectl, port_forward
from examples.steps import Steps, run

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = "llama-demo"
NAME = "smollm2"
QUESTION = "What is the capital of France?"
ANSWER = "Paris"
READY_WITHIN_S = 900


def main() -> int:
    """Run all steps; 0 when the answer is right."""
    steps = Steps(total=6)
    environment = _cluster(steps)
    kubectl = Kubectl(environment, namespace=NAMESPACE)
    _images(steps, environment)
    _model(steps, kubectl)
    _chart(steps, environment, kubectl)
    _deployment(steps, kubectl)
    with steps.step(f"asking: {QUESTION}"), port_forward(kubectl, f"service/{NAME}", 80) as port:
        answer = ask(port, model=NAME, question=QUESTION)
    _show_where(kubectl)
    steps.summary()
    if ANSWER not in answer:
        print(f"the answer does not name {ANSWER}", file=sys.stderr)
        return 1
    print(f"It stays up: `eval $({sys.executable} -m testbed env)` for kubectl, `make down` to remove everything.")
    return 0


def _cluster(steps: Steps) -> dict[str, str]:
    with steps.step("a Kubernetes with two nodes"):
        run([sys.executable, "-m", "testbed", "up"])
        return bed_environment()


def _images(steps: Steps, environment: dict[str, str]) -> None:
    with steps.step("the images, built and loaded into the nodes"):
        run([sys.executable, "-m", "testbed", "images"], environment=environment)


def _model(steps: Steps, kubectl: Kubectl) -> None:
    with steps.step("SmolLM2-135M-Instruct as safetensors, in a volume"):
        kubectl.apply(restricted_namespace(NAMESPACE), *folder_claim(NAMESPACE, NAME, models.smollm2()))


def _chart(steps: Steps, environment: dict[str, str], kubectl: Kubectl) -> None:
    with steps.step("the chart"):
        install_chart(environment, NAMESPACE)
        kubectl("rollout", "status", f"deployment/{RELEASE}", "--timeout=120s")


def _deployment(steps: Steps, kubectl: Kubectl) -> None:
    with steps.step(f"kubectl apply -f examples/{NAME}-cpu.yaml") as say:
        kubectl("apply", "-f", str(ROOT / "examples" / f"{NAME}-cpu.yaml"))
        end, last = time.monotonic() + READY_WITHIN_S, ""
        while True:
            status = kubectl.json("get", "llamadeployment", NAME).get("status", {})
            line = f"{status.get('groupsReady', '0/1')} {status.get('reason', '')}: {status.get('message', '')}"
            if line != last:
                say(line)
                last = line
            if available(status):
                return
            if time.monotonic() > end:
                raise SystemExit(f"not ready within {READY_WITHIN_S} s; last: {line}")
            time.sleep(0.5)


def available(status: dict[str, object]) -> bool:
    """Whether the condition Available is True."""
    conditions = status.get("conditions")
    found = conditions if isinstance(conditions, list) else []
    return any(item["type"] == "Available" and item["status"] == "True" for item in found)


def _show_where(kubectl: Kubectl) -> None:
    print("\nWhere it ran:")
    print(kubectl("get", "llamadeployments", "-o", "wide"))
    print(kubectl("get", "pods", "-o", "wide", "-L", "llama-operator.dev/group,llama-operator.dev/stage"))


if __name__ == "__main__":
    sys.exit(main())
