"""A simulated rehearsal: the API server's answer, and the pods that try image and configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from llama_operator.observe.pods import Waiting, pod_view
from llama_operator.observe.rehearsal import AdmissionAnswer, Exit, Refusal, RehearsalPod, RehearsalView
from llama_operator.plan.plan import Plan
from llama_operator.plan.rehearsal.rehearsal import asked_again
from llama_serving.config import names


@dataclass(frozen=True)
class Refusals:
    """What is said of the template with this hash of pods; empty: of none."""

    admission: Mapping[str, str] = field(default_factory=dict)  # template hash -> what the API server says
    image: Mapping[str, str] = field(default_factory=dict)  # template hash -> what the kubelet says
    configuration: Mapping[str, str] = field(default_factory=dict)  # template hash -> what the engine says


@dataclass
class SimulatedRehearsal:
    """The rehearsal that the operator last asked for."""

    seconds: int  # until image and configuration are tried
    refusals: Refusals
    pods: dict[str, tuple[str, datetime]] = field(default_factory=dict)  # name -> template hash, when it was made
    admission: AdmissionAnswer | None = None

    def act(self, decided: Plan, now: datetime) -> None:
        """Do what a pass has decided."""
        for delete in decided.actions.deletes:
            self.pods.pop(delete.name, None)
        rehearsal = decided.rehearsal
        if rehearsal is None:
            self.admission = None
            return
        template = rehearsal.template.template_hash
        for name, _ in rehearsal.pods:
            self.pods.setdefault(name, (template, now))
        if rehearsal.ask_admission:
            said = self.refusals.admission.get(template)
            failures = self.admission.failures + 1 if self.admission and said else int(bool(said))
            self.admission = AdmissionAnswer(rehearsal.key, now, (Refusal(said),) if said else (), failures)

    def view(self, now: datetime) -> RehearsalView:
        """Return what the operator would see."""
        return RehearsalView(tuple(self._pod(name, now) for name in sorted(self.pods)), self.admission)

    def due(self) -> list[datetime]:
        """List the moments at which something ends."""
        found = [made + timedelta(seconds=self.seconds) for _, made in self.pods.values()]
        again = asked_again(self.admission) if self.admission else None
        return [*found, again] if again else found

    def _pod(self, name: str, now: datetime) -> RehearsalPod:
        template, made = self.pods[name]
        view = replace(pod_view({"metadata": {"name": name}}), created=made, uid=name, node="node", phase="Pending")
        if now - made < timedelta(seconds=self.seconds):
            return RehearsalPod(view, None)
        if said := self.refusals.image.get(template):
            return RehearsalPod(replace(view, waiting=Waiting("rehearsal", "ErrImagePull", said)), None)
        said = self.refusals.configuration.get(template, "")
        phase = "Failed" if said else "Succeeded"
        return RehearsalPod(replace(view, phase=phase), Exit(names.EXIT_REFUSED if said else 0, said))
