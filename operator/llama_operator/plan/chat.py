"""Tool calls, reasoning and the chat template: what the groups of a spec use, and what of it does not fit the model.

Known before a pod is made: the resolver has read the model's chat template and tokenizer, and the text of a template in
a ConfigMap is in the spec. Of weights that an older version resolved nothing is known; their cell decides.
"""

from collections.abc import Iterator

from llama_operator.api import ChatStatus, ChatTemplateRef, LlamaDeploymentSpec
from llama_operator.observe.deployment import ChatTemplateView
from llama_operator.plan.groups.state import PlanState
from llama_operator.plan.reasons import Explanation
from llama_operator.plan.sentences import causes as cause_sentences
from llama_operator.plan.sentences import chat as sentences
from llama_serving.config.chat.facts import ChatFacts, choose_reasoning, choose_tools
from llama_serving.config.chat.inference import infer
from llama_serving.config.reasons import Reason

_FIELD = "spec.model.chatTemplate.configMap"


def check_chat(state: PlanState) -> tuple[Explanation, ...]:
    """Return what does not fit the model, each with the field and the remedy."""
    view, named = state.snapshot.chat_template, state.spec.model.chat_template
    if view is not None and named is not None:
        return (_fault(view, named, namespace=state.snapshot.key.namespace),)
    facts = used_facts(state.spec, state.model_weights.chat if state.model_weights else None)
    return tuple(Explanation(Reason.TOOLS_REFUSED, text) for text in _refusals(state.spec, facts)) if facts else ()


def used_facts(spec: LlamaDeploymentSpec, model: ChatFacts | None) -> ChatFacts | None:
    """Return the facts with the chat template that the groups use; ``model``: those of the model's own."""
    named = spec.model.chat_template
    if model is None or named is None:
        return model
    if not named.text:  # it could not be read
        return None
    return infer(named.text, frozenset(model.tokens), origin=sentences.template_origin(named.config_map, named.key))


def chat_status(spec: LlamaDeploymentSpec, model: ChatFacts | None) -> ChatStatus | None:
    """Return which parsers the groups of the spec use, and why; None where the model's files are not known."""
    facts = used_facts(spec, model)
    if facts is None:
        return None
    tools, reasoning = choose_tools(spec.tools, facts), choose_reasoning(spec.reasoning, facts)
    return ChatStatus(
        tools=tools.parser,
        tools_reason=tools.refused or tools.reason,
        reasoning=reasoning.parser,
        reasoning_reason=reasoning.refused or reasoning.reason,
        template=facts.template,
        takes_tools=facts.takes_tools,
        tokens=facts.tokens,
    )


def _refusals(spec: LlamaDeploymentSpec, facts: ChatFacts) -> Iterator[str]:
    for choice in (choose_tools(spec.tools, facts), choose_reasoning(spec.reasoning, facts)):
        if choice.refused:
            yield choice.refused


def _fault(view: ChatTemplateView, named: ChatTemplateRef, *, namespace: str) -> Explanation:
    name, key = named.config_map, named.key
    if view.denied:
        return Explanation(Reason.REFERENCE_MISSING, sentences.template_denied(name, said=view.denied))
    if view.absent:
        text = cause_sentences.object_missing("ConfigMap", name, namespace=namespace, field=_FIELD)
        return Explanation(Reason.REFERENCE_MISSING, text)
    if view.size is None:
        text = cause_sentences.key_missing("ConfigMap", name, key=key, namespace=namespace, field=_FIELD)
        return Explanation(Reason.REFERENCE_MISSING, text)
    return Explanation(Reason.TOOLS_REFUSED, sentences.template_size(name, key=key, size=view.size))
