"""Which model is served. A model is data: a source, a revision that does not move, a license that was accepted."""

from typing import Final

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from llama_operator.api.crdgen.patterns import matches
from llama_operator.api.crdgen.rules import Rule, choices, rules
from llama_operator.api.crdgen.source_rules import is_moving
from llama_operator.api.v1alpha1.base import ApiModel
from llama_operator.api.v1alpha1.weights_fields import FieldRules, WeightsFields, accepted_rule
from llama_serving.config.chat.parsers import AUTO, OFF, REASONING_PARSERS, TOOL_PARSERS
from llama_serving.config.names import DNS_SUBDOMAIN

_MOVING_RULE: Final = Rule(
    f"!{is_moving()}",
    "model.revision must not move: name a commit, a tag that stays or a date, so that every group and every "
    "restart serves the same weights",
)

_SERVED_NAME_RULE: Final = Rule(
    "self == '' || self.matches('^[A-Za-z0-9][A-Za-z0-9._:/-]*$')",
    "model.servedName must be made of letters, digits and ._:/- and begin with a letter or digit, "
    "such as meta-llama/Llama-3.1-8B-Instruct",
)

_CONFIG_MAP_RULE: Final = Rule(
    matches(DNS_SUBDOMAIN),
    "model.chatTemplate.configMap must be the name of a ConfigMap of the same namespace: lower-case letters, digits, "
    "'-' and '.'",
)

_KEY_RULE: Final = Rule(
    "self.matches('^[-._a-zA-Z0-9]+$')",
    "model.chatTemplate.key must be a key of the ConfigMap: letters, digits, '-', '_' and '.'",
)


class ChatTemplateRef(ApiModel):
    """A chat template in a ConfigMap of the same namespace."""

    config_map: str = Field(
        min_length=1,
        max_length=253,
        description="Name of the ConfigMap.",
        json_schema_extra=rules(_CONFIG_MAP_RULE),
    )
    key: str = Field(
        default="chat_template.jinja",
        min_length=1,
        max_length=253,
        description="Key of the ConfigMap under which the template is, of at most 64 KiB.",
        json_schema_extra=rules(_KEY_RULE),
    )
    #: What was read there; no field of the API. Stored with a template, so that groups go back to what they had.
    text: SkipJsonSchema[str] = ""


class ModelSpec(WeightsFields):
    """The model: where its folder is, what it is called, and under which license."""

    model_config = ConfigDict(json_schema_extra=rules(accepted_rule("model.acceptLicense")))

    served_name: str = Field(
        default="",
        max_length=128,
        description="The model's name in the OpenAI API. If empty, the name of this object. Cannot change.",
        json_schema_extra=rules(_SERVED_NAME_RULE),
    )

    tools: str = Field(
        default=AUTO,
        max_length=64,
        description='Parser of tool calls; auto: inferred from the model\'s chat template and tokenizer; "off" (with '
        "quotes): requests with tools are refused.",
        json_schema_extra=choices(AUTO, OFF, *sorted(TOOL_PARSERS)),
    )
    reasoning: str = Field(
        default=AUTO,
        max_length=64,
        description="Parser of reasoning, which answers then carry beside their content; auto: inferred from the "
        'model\'s chat template and tokenizer; "off" (with quotes): reasoning stays in the content.',
        json_schema_extra=choices(AUTO, OFF, *sorted(REASONING_PARSERS)),
    )
    chat_template: ChatTemplateRef | None = Field(
        default=None, description="Chat template to use instead of the model's own. If absent, the model's."
    )

    def name_in_api(self, deployment: str) -> str:
        """Return the model's name in the OpenAI API; ``deployment`` is the object's name."""
        return self.served_name or deployment

    @classmethod
    def field_rules(cls) -> FieldRules:
        """Return the shared rules, and that a revision does not move."""
        shared = cls.shared_rules("model.")
        return {**shared, "revision": (*shared["revision"], _MOVING_RULE)}
