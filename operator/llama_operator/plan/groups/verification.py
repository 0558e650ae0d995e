"""Whether a group may get requests with the weights that it has: what its leader measured, judged.

1. every stage loaded the weights that were wanted (digests)
2. every golden prompt passed
3. quality: ``baseline - mean_logprob <= verify.maxLogprobDrop`` in nats per token, where the baseline is that of the
   same weights if they were verified before, else that of the weights before the rollout; asked with the same texts
4. agreement: groups on the same weights give the same greedy answer. The most frequent answer is right; of equally
   frequent ones that which was verified first, so of two groups that differ the newer one is wrong.

The same holds after a start, an exchange of weights and a scale-up; nobody else opens a gate.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llama_operator.api.v1alpha1.status import Baseline, GroupVerdict
from llama_operator.api.v1alpha1.verification import VerifySpec
from llama_operator.hashing import short_hash
from llama_operator.plan.groups.group import Group
from llama_operator.plan.reasons import Reason
from llama_serving.config.desired import Measurement, WeightsArtifact

#: Weights whose measures are remembered: the present, the next, the previous and one more.
REMEMBERED = 4


@dataclass(frozen=True)
class Verdict:
    """``passed`` is None while nothing was measured yet."""

    passed: bool | None
    reason: Reason
    message: str


@dataclass(frozen=True)
class Criteria:
    """What verdicts are compared with."""

    asked: VerifySpec
    baselines: tuple[Baseline, ...]  # the latest last
    before: str  # digest of the weights that served before; empty where there were none
    answers: tuple[tuple[str, str], ...] = ()  # digest and answer hash of the groups in rotation, the oldest first

    @property
    def texts(self) -> str:
        """Names the texts that are asked now."""
        return short_hash(list(self.asked.quality_texts))

    def baseline(self, digest: str) -> Baseline | None:
        """What the same weights measured before, else those before them; None where nothing can be compared."""
        known = {one.digest: one for one in self.baselines if one.texts == self.texts}
        return known.get(digest) or known.get(self.before)


def judge(unit: Group, serve: WeightsArtifact, bench: Criteria) -> Verdict:
    """May this unit get requests with these weights?"""
    verdict, weights = unit.verdict, serve.weights
    where = f"group {unit.group.ordinal}"
    if verdict is None or verdict.digest != weights.digest:
        return Verdict(None, Reason.VERIFYING, f"{where} is asked its golden prompts on {weights.id}")
    asked = [one.prompt for one in bench.asked.golden_prompts]
    if not verdict.error and [one.prompt for one in verdict.golden] != asked:
        text = f"{where} is asked the {len(asked)} golden prompts of spec.verify on {weights.id}"
        return Verdict(None, Reason.VERIFYING, text)
    problem = _problem(verdict, serve, bench)
    if problem is None:
        return Verdict(True, Reason.SERVING, f"{where} on {weights.id}: {measured(verdict)}")
    reason, text = problem
    return Verdict(False, reason, f"{where} does not pass on {weights.id}: {text}")


def _problem(verdict: Measurement, serve: WeightsArtifact, bench: Criteria) -> tuple[Reason, str] | None:
    if verdict.error:
        return Reason.VERIFY_FAILED, f"it could not be measured: {verdict.error.rstrip('.')}"
    wrong = [str(k) for k, digest in enumerate(verdict.stage_digests) if digest != serve.weights.digest]
    if wrong:
        text = f"stage {' and '.join(wrong)} loaded other weights than {serve.weights.digest[:19]}"
        return Reason.DIGEST_DIFFERS, text
    checks = (_golden(verdict), _quality(verdict, bench), _agreement(verdict, bench))
    text = next((found for found in checks if found), "")
    return (Reason.VERIFY_FAILED, text) if text else None


def _golden(verdict: Measurement) -> str:
    failed = [one for one in verdict.golden if not one.passed]
    if not failed:
        return ""
    first = failed[0]
    count = f"{len(failed)} of {len(verdict.golden)} golden prompts failed"
    return f"{count}; {_cut(first.prompt, 60)!r} was answered {_cut(first.answer, 120)!r}"


def _quality(verdict: Measurement, bench: Criteria) -> str:
    base = bench.baseline(verdict.digest)
    if base is None or base.mean_logprob is None or verdict.mean_logprob is None:
        return ""
    drop, limit = base.mean_logprob - verdict.mean_logprob, bench.asked.max_logprob_drop
    if drop <= limit:
        return ""
    return (
        f"its mean log-probability is {verdict.mean_logprob:.2f} nats per token, {drop:.2f} below the"
        f" {base.mean_logprob:.2f} of {base.digest[:19]}; spec.verify.maxLogprobDrop allows {limit:g}"
    )


def _agreement(verdict: Measurement, bench: Criteria) -> str:
    if not bench.asked.agreement or not verdict.answer_hash:
        return ""
    others = [answer for digest, answer in bench.answers if digest == verdict.digest and answer]
    right = right_answer([*others, verdict.answer_hash])
    if right == verdict.answer_hash:
        return ""
    count = others.count(right)
    return (
        f"its greedy answer {verdict.answer_hash[:12]} differs from the {right[:12]} of {count} other group(s) on the"
        " same weights"
    )


def right_answer(answers: Sequence[str]) -> str:
    """The most frequent one; of equally frequent ones the first."""
    counts = Counter(answers)  # keeps the order in which they first came
    return max(counts, key=lambda answer: counts[answer])


def measured(verdict: Measurement) -> str:
    """The figures of a verdict in words."""
    passed = sum(one.passed for one in verdict.golden)
    parts = [f"{passed} of {len(verdict.golden)} golden prompts passed"] if verdict.golden else []
    if verdict.mean_logprob is not None:
        parts.append(f"mean log-probability {verdict.mean_logprob:.2f} nats per token")
    if verdict.answer_hash:
        parts.append(f"answer {verdict.answer_hash[:12]}")
    return ", ".join(parts) or "the engine answers"


def group_verdict(verdict: Measurement, judgement: Verdict) -> GroupVerdict:
    """As it stands in the group's status."""
    passed = sum(one.passed for one in verdict.golden)
    return GroupVerdict(
        digest=verdict.digest,
        passed=bool(judgement.passed),
        golden=f"{passed}/{len(verdict.golden)}",
        mean_logprob=verdict.mean_logprob,
        answer_hash=verdict.answer_hash,
        message=judgement.message,
    )


def remember(baselines: tuple[Baseline, ...], verified: Iterable[Measurement], texts: str) -> tuple[Baseline, ...]:
    """Baselines with those of weights that were verified now; the first measure of a digest with these texts stays."""
    known = {(one.digest, one.texts): one for one in baselines}
    for verdict in verified:
        fresh = Baseline(
            digest=verdict.digest, texts=texts, mean_logprob=verdict.mean_logprob, answer_hash=verdict.answer_hash
        )
        known.setdefault((verdict.digest, texts), fresh)
    return tuple(known.values())[-REMEMBERED:]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
