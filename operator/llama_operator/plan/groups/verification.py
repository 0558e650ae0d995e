"""Whether a group may get requests with the weights that it has: what its leader measured, judged.

1. every stage loaded the weights that were wanted (digests)
2. every golden prompt passed
3. quality: of each text, ``drop = baseline - mean_logprob * tokens / tokens of the baseline <= verify.maxLogprobDrop``
   in nats per token. The baseline is that of the same weights if they were verified before, else that of the weights
   before the rollout, measured with the same texts; where there is none nothing is compared. (``mean * tokens`` is the
   log-probability of the whole text, which does not depend on the tokenizer: with the same one the formula is
   ``baseline - mean_logprob``.)
4. agreement: groups on the same weights give the same greedy answer. The most frequent answer is right; of equally
   frequent ones that which was verified first, so of two groups that differ the newer one is wrong.

The same holds after a start, a weight swap and a scale-up; nobody else opens a gate.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llama_operator.api.v1alpha1.status import Baseline, TextBaseline
from llama_operator.api.v1alpha1.verification import VerifySpec
from llama_operator.plan.groups.group import Group
from llama_operator.plan.sentences import groups as sentences
from llama_serving.config.desired import Measurement, WeightsArtifact, texts_hash
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

    def baseline(self, measured: Measurement) -> Baseline | None:
        """Return what the same weights measured before, else those before them; None where nothing can be compared."""
        texts = texts_of(measured, self.verify)
        known = {one.digest: one for one in self.baselines if one.texts == texts}
        return known.get(measured.digest) or known.get(self.stable_digest)

    def measured_otherwise(self, measured: Measurement) -> Baseline | None:
        """Return what would be the baseline, had it been measured with the same texts."""
        known = {one.digest: one for one in self.baselines if one.mean_logprob is not None}
        found = known.get(measured.digest) or known.get(self.stable_digest)
        return found if found and self.baseline(measured) is None else None


def judge(group: Group, serve: WeightsArtifact, criteria: Criteria) -> Verdict:
    """Decide whether this group may get requests with these weights."""
    measured, weights = group.measurement, serve.weights
    ordinal = group.id.ordinal
    if measured is None or measured.digest != weights.digest:
        return Verdict(None, Reason.VERIFYING, sentences.verification_runs(ordinal, weights.id, prompts=None))
    known = _is_answer_to(measured, criteria.verify)
    if known is None:
        text = sentences.verification_failed(ordinal, weights.id, why=sentences.image_knows_no_tools())
        return Verdict(False, Reason.SERVING_IMAGE_TOO_OLD, text)
    if not known:
        text = sentences.verification_runs(ordinal, weights.id, prompts=len(criteria.verify.golden_prompts))
        return Verdict(None, Reason.VERIFYING, text)
    problem = _problem(measured, serve, criteria)
    if problem is None:
        text = sentences.verification_passed(ordinal, weights.id, measured=describe(measured, criteria))
        return Verdict(True, Reason.SERVING, text)
    reason, text = problem
    return Verdict(False, reason, sentences.verification_failed(ordinal, weights.id, why=text))


def _is_answer_to(measured: Measurement, verify: VerifySpec) -> bool | None:
    """Return whether it answers what the spec asks now; None where its cell is too old to be asked that."""
    if measured.checks:
        return measured.checks == verify.key
    if any(one.tools or one.answer_schema for one in verify.golden_prompts):
        return None
    return bool(measured.error) or [one.prompt for one in measured.golden] == [
        one.prompt for one in verify.golden_prompts
    ]


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
    prompt = _cut(first.prompt, 60)
    if first.problem:
        text = sentences.golden_problem(prompt=prompt, problem=_cut(first.problem, 600))
        return text + sentences.golden_also_failed(failed=len(failed), prompts=len(measured.golden))
    answer = _cut(first.answer, 120)
    return sentences.golden_failed(failed=len(failed), prompts=len(measured.golden), prompt=prompt, answer=answer)


def _quality(measured: Measurement, criteria: Criteria) -> str:
    base, limit = criteria.baseline(measured), criteria.verify.max_logprob_drop
    if base is None or base.mean_logprob is None or measured.mean_logprob is None:
        return ""
    if measured.by_text and len(measured.by_text) == len(base.by_text):
        return _texts_dropped(measured, base, criteria.verify)
    drop = base.mean_logprob - measured.mean_logprob
    if drop <= limit:
        return ""
    return sentences.quality_dropped(
        mean=measured.mean_logprob, drop=drop, base=base.mean_logprob, digest=base.digest[:19], limit=limit
    )


def _texts_dropped(measured: Measurement, base: Baseline, verify: VerifySpec) -> str:
    """Name the text that got worst, and then all others that got worse than is allowed."""
    pairs = zip(names_of(measured, verify), measured.by_text, base.by_text, strict=True)
    drops = [
        (was.mean_logprob - now.mean_logprob * now.tokens / was.tokens, name, was.mean_logprob)
        for name, now, was in pairs
    ]
    worse = sorted((one for one in drops if one[0] > verify.max_logprob_drop), reverse=True)
    if not worse:
        return ""
    drop, name, before = worse[0]
    others = [(name, drop) for drop, name, _ in worse[1:]]
    return sentences.text_dropped(
        name=name, drop=drop, before=before, digest=base.digest[:19], limit=verify.max_logprob_drop, others=others
    )


def names_of(measured: Measurement, verify: VerifySpec) -> tuple[str, ...]:
    """Return what the texts of a measurement are called: their languages, or the names of the user."""
    given = dict(enumerate(verify.text_names))
    return tuple(one.language or given.get(k, f"quality text {k + 1}") for k, one in enumerate(measured.by_text))


def texts_of(measured: Measurement, verify: VerifySpec) -> str:
    """Return the hash of the texts that were measured; an older cell measured those of the spec, or its own."""
    return measured.texts or texts_hash(verify.texts)


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


def describe(measured: Measurement, criteria: Criteria) -> str:
    """Say what was measured, with its figures."""
    passed, other = sum(one.passed for one in measured.golden), criteria.measured_otherwise(measured)
    text = sentences.measured(
        passed=passed, prompts=len(measured.golden), mean=measured.mean_logprob, answer=measured.answer_hash[:12]
    )
    if other is None or measured.mean_logprob is None:
        return text
    return text + sentences.other_texts(other.digest[:19])


def with_baselines(
    baselines: tuple[Baseline, ...], verified: Iterable[Measurement], verify: VerifySpec
) -> tuple[Baseline, ...]:
    """Add the weights that were verified now to the baselines; the first measure of a digest with these texts stays."""
    known = {(one.digest, one.texts): one for one in baselines}
    for measured in verified:
        texts = texts_of(measured, verify)
        fresh = Baseline(
            digest=measured.digest,
            texts=texts,
            mean_logprob=measured.mean_logprob,
            by_text=tuple(TextBaseline(mean_logprob=one.mean_logprob, tokens=one.tokens) for one in measured.by_text),
            answer_hash=measured.answer_hash,
        )
        known.setdefault((measured.digest, texts), fresh)
    return tuple(known.values())[-REMEMBERED:]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
