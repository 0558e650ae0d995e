"""Reads the chat template that a spec names in a ConfigMap of its namespace, in each pass, and puts it into the spec.

From there on it is a part of what groups are made from, as an image is: hashed into the pods' template, kept with the
stable one, and copied into the ConfigMap of each group. So what a user does to the ConfigMap, an edit or a deletion,
changes no group that is there.
"""

from dataclasses import replace
from typing import Final

from llama_operator.observe.deployment import ChatTemplateView, Snapshot
from llama_operator.ports import Cluster, Rejected

#: Longest chat template, in bytes: it is kept in the status too. Those of Llamas have 4 kB.
LIMIT: Final = 64 << 10


async def with_chat_template(seen: Snapshot, cluster: Cluster) -> Snapshot:
    """Return the snapshot with the text in its spec, or with why there is none. Raises Retry."""
    named = seen.spec.model.chat_template if seen.spec and not seen.deleting else None
    if seen.spec is None or named is None:
        return seen
    try:
        texts = await cluster.config_map_data(seen.key, named.config_map)
    except Rejected as error:
        return replace(seen, chat_template=ChatTemplateView(denied=str(error)))
    if texts is None:
        return replace(seen, chat_template=ChatTemplateView(absent=True))
    text = texts.get(named.key)
    size = None if text is None else len(text.encode())
    if text is None or size is None or not 0 < size <= LIMIT:
        return replace(seen, chat_template=ChatTemplateView(size=size))
    model = seen.spec.model.model_copy(update={"chat_template": named.model_copy(update={"text": text})})
    return replace(seen, spec=seen.spec.model_copy(update={"model": model}))
