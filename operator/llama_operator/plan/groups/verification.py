"""Whether a group may get requests with the weights that it has: what its leader measured, judged.

1. every stage loaded the weights that were wanted (digests)
2. every golden prompt passed
3. quality: ``baseline - mean_logprob <= verify.maxLogprobDrop`` in nats per token, where the baseline is that of the
   same weights if they were verified before, else that of the weights before the rollout; asked with the same texts
4. agreement: groups on the same weights give the same greedy answer. The most frequent answer is right; of equally
   frequent ones that which was verified first, so of two groups that differ the newer one is wrong.

The same holds after a start, a weight swap and a scale-up; nobody else opens a gate.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llama_operator.api.v1alpha1.status import Baseline
from llama_operator.api.v1alpha1.verification import VerifySpec
from llama_operator.hashing import short_hash
from llama_operator.plan.groups.group import Group
from llama_operator.plan.sentences import groups as sentences
from llama_serving.config.desired import Measurement, WeightsArtifact
from llama_serving.config.reasons import Reason

#: Weights whose measures are remembered: the present, the next, the previous and one more.
REMEMBERED = 4


@dataclass(frozen=True)
class Verdict:
    """What was decided about a group's weights. ``passed`` is None while nothing was measured yet."""

    passed: bool | None
    reason: Reason
    message: str


@dataclass(frozen=True)
class Criteria:
    """What measurements are compared with."""

    verify: VerifySpec
    baselines: tuple[Baseline, ...]  # the latest last
    stable_digest: str  # digest of the weights that served before; empty where there were none
    answers: tuple[tuple[str, str], ...] = ()  # digest and answer hash of the groups in rotation, the oldest first

    @property
    def texts(self) -> str:
        """Hash of the texts that are asked now."""
        return short_hash(list(self.verify.quality_texts))

    def baseline(self, digest: str) -> Baseline | None:
        """Return what the same weights measured before, else those before them; None where nothing can be compared."""
        known = {one.digest: one for one in self.baselines if one.texts == self.texts}
        return known.get(digest) or known.get(self.stable_digest)


def judge(group: Group, serve: WeightsArtifact, criteria: Criteria) -> Verdict:
    """Decide whether this group may get requests with these weights."""
    measured, weights = group.measurement, serve.weights
    ordinal = group.id.ordinal
    if measured is None or measured.digest != weights.digest:
        return Verdict(None, Reason.VERIFYING, sentences.verification_runs(ordinal, weights.id, prompts=None))
    asked = [one.prompt for one in criteria.verify.golden_prompts]
    if not measured.error and [one.prompt for one in measured.golden] != asked:
        text = sentences.verification_runs(ordinal, weights.id, prompts=len(asked))
        return Verdict(None, Reason.VERIFYING, text)
    problem = _problem(measured, serve, criteria)
    if problem is None:
        text = sentences.verification_passed(ordinal, weights.id, measured=describe(measured))
        return Verdict(True, Reason.SERVING, text)
    reason, text = problem
    return Verdict(False, reason, sentences.verification_failed(ordinal, weights.id, why=text))


def _problem(measured: Measurement, serve: WeightsArtifact, criteria: Criteria) -> tuple[Reason, str] | None:
    if measured.error:
        return Reason.VERIFY_FAILED, sentences.not_measured(measured.error)
    wrong = [str(k) for k, digest in enumerate(measured.stage_digests) if digest != serve.weights.digest]
    if wrong:
        text = sentences.other_weights_loaded(stages=" and ".join(wrong), digest=serve.weights.digest[:19])
        return Reason.DIGEST_DIFFERS, text
    checks = (_golden(measured), _quality(measured, criteria), _agreement(measured, criteria))
    text = next((found for found in checks if found), "")
    return (Reason.VERIFY_FAILED, text) if text else None


def _golden(measured: Measurement) -> str:
    failed = [one for one in measured.golden if not one.passed]
    if not failed:
        return ""
    first = failed[0]
    prompt, answer = _cut(first.prompt, 60), _cut(first.answer, 120)
    return sentences.golden_failed(failed=len(failed), prompts=len(measured.golden), prompt=prompt, answer=answer)


def _quality(measured: Measurement, criteria: Criteria) -> str:
    base = criteria.baseline(measured.digest)
    if base is None or base.mean_logprob is None or measured.mean_logprob is None:
        return ""
    drop, limit = base.mean_logprob - measured.mean_logprob, criteria.verify.max_logprob_drop
    if drop <= limit:
        return ""
    return sentences.quality_dropped(
        mean=measured.mean_logprob, drop=drop, base=base.mean_logprob, digest=base.digest[:19], limit=limit
    )


def _agreement(measured: Measurement, criteria: Criteria) -> str:
    if not criteria.verify.agreement or not measured.answer_hash:
        return ""
    others = [answer for digest, answer in criteria.answers if digest == measured.digest and answer]
    right = right_answer([*others, measured.answer_hash])
    if right == measured.answer_hash:
        return ""
    return sentences.answer_differs(answer=measured.answer_hash[:12], expected=right[:12], groups=others.count(right))


def right_answer(answers: Sequence[str]) -> str:
    """Return the most frequent answer; of equally frequent ones the first."""
    counts = Counter(answers)  # keeps the order in which they first came
    return max(counts, key=lambda answer: counts[answer])


def describe(measured: Measurement) -> str:
    """Say what was measured, with its figures."""
    passed = sum(one.passed for one in measured.golden)
    return sentences.measured(
        passed=passed, prompts=len(measured.golden), mean=measured.mean_logprob, answer=measured.answer_hash[:12]
    )


def with_baselines(
    baselines: tuple[Baseline, ...], verified: Iterable[Measurement], verify: VerifySpec
) -> tuple[Baseline, ...]:
    """Add the weights that were verified now to the baselines; the first measure of a digest with these texts stays."""
    texts = short_hash(list(verify.quality_texts))
    known = {(one.digest, one.texts): one for one in baselines}
    for measured in verified:
        fresh = Baseline(
            digest=measured.digest, texts=texts, mean_logprob=measured.mean_logprob, answer_hash=measured.answer_hash
        )
        known.setdefault((measured.digest, texts), fresh)
    return tuple(known.values())[-REMEMBERED:]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
