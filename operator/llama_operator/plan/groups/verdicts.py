"""The verdicts on the groups' present weights, as the status shows them."""

from collections.abc import Iterator

from llama_operator.api.v1alpha1.status import GroupVerdict
from llama_operator.api.v1alpha1.verification import VerifySpec
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.groups.verification import Verdict, names_of
from llama_serving.config.desired import Measurement


def group_verdicts(state: PlanState) -> dict[str, GroupVerdict]:
    """Return by the group's name the verdicts on groups whose weights were measured."""
    return dict(_verdicts(state))


def _verdicts(state: PlanState) -> Iterator[tuple[str, GroupVerdict]]:
    for group in state.groups:
        serve, measured = state.current_weights(group), group.measurement
        if serve and measured and measured.digest == serve.weights.digest:
            verdict = state.judge(group, serve)
            if verdict.passed is not None:
                yield group.id.name, group_verdict(measured, verdict, state.spec.verify)


def group_verdict(measured: Measurement, verdict: Verdict, verify: VerifySpec) -> GroupVerdict:
    """Return the verdict as the group's status shows it."""
    passed = sum(one.passed for one in measured.golden)
    means = zip(names_of(measured, verify), measured.by_text, strict=True)
    return GroupVerdict(
        digest=measured.digest,
        passed=bool(verdict.passed),
        golden=f"{passed}/{len(measured.golden)}",
        mean_logprob=measured.mean_logprob,
        quality=", ".join(f"{name} {one.mean_logprob:.2f}" for name, one in means),
        answer_hash=measured.answer_hash,
        message=verdict.message,
    )
