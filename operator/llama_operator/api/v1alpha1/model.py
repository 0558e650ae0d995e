"""Which model is served. A model is data: a source, a revision that does not move, a license that was accepted."""

from typing import Final

from pydantic import ConfigDict, Field

from llama_operator.api.crdgen.rules import Rule, rules
from llama_operator.api.crdgen.source_rules import is_moving
from llama_operator.api.v1alpha1.weights_fields import FieldRules, WeightsFields, accepted_rule

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


class ModelSpec(WeightsFields):
    """The model: where its folder is, what it is called, and under which license."""

    model_config = ConfigDict(json_schema_extra=rules(accepted_rule("model.acceptLicense")))

    served_name: str = Field(
        default="",
        max_length=128,
        description="The model's name in the OpenAI API. If empty, the name of this object. Cannot change.",
        json_schema_extra=rules(_SERVED_NAME_RULE),
    )

    def name_in_api(self, deployment: str) -> str:
        """Return the model's name in the OpenAI API; ``deployment`` is the object's name."""
        return self.served_name or deployment

    @classmethod
    def field_rules(cls) -> FieldRules:
        """Return the shared rules, and that a revision does not move."""
        shared = cls.shared_rules("model.")
        return {**shared, "revision": (*shared["revision"], _MOVING_RULE)}
