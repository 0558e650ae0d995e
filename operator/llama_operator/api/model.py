"""Which model is served. A model is data: a source, a revision that does not move, a license that was accepted."""

from typing import Final

from pydantic import ConfigDict, Field

from llama_operator.api.base import ApiModel
from llama_operator.api.rules import Rule, one_of, rules
from llama_operator.api.source import MOVING, SOURCE_RULES

_REVISION_RULES: Final = (
    Rule(
        "self.matches('^[A-Za-z0-9][A-Za-z0-9._+/-]*$')",
        "model.revision must be made of letters, digits and ._+/- and begin with a letter or digit: "
        "name a commit, a tag that stays or a date",
    ),
    Rule(
        f"!(self.lowerAscii() in {one_of(MOVING)}) && !self.matches('^(refs/)?(heads|remotes|pr|pull)/|^origin/')",
        "model.revision must not move: name a commit, a tag that stays or a date, so that every group and every "
        "restart serves the same weights",
    ),
)

_SERVED_NAME_RULE: Final = Rule(
    "self == '' || self.matches('^[A-Za-z0-9][A-Za-z0-9._:/-]*$')",
    "model.servedName must be made of letters, digits and ._:/- and begin with a letter or digit, "
    "such as meta-llama/Llama-3.1-8B-Instruct",
)

_LICENSE_RULE: Final = Rule(
    "self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*$')",
    "model.license must be the license's short name, such as llama3.1 or apache-2.0",
)

_ACCEPTED: Final = Rule(
    "self.acceptLicense",
    "model.acceptLicense must be true: read the model's license, and accept it if you agree",
    field="acceptLicense",
    shown="the license is {self.license}",
)


class ModelSpec(ApiModel):
    """The model: where its folder is, what it is called, and under which license."""

    model_config = ConfigDict(json_schema_extra=rules(_ACCEPTED))

    source: str = Field(
        min_length=1,
        max_length=1024,
        description="Where the model's folder is: pvc://claim/path. The claim is in the same namespace and must be "
        "readable from every node that runs a stage.",
        json_schema_extra=rules(*SOURCE_RULES),
    )
    revision: str = Field(
        min_length=1,
        max_length=128,
        description="Name of this version of the weights that does not move: a commit, a tag that stays or a date. "
        "Responses carry it in the header x-llama-weights.",
        json_schema_extra=rules(*_REVISION_RULES),
    )
    served_name: str = Field(
        default="",
        max_length=128,
        description="The model's name in the OpenAI API. Empty means the name of this object. Cannot change.",
        json_schema_extra=rules(_SERVED_NAME_RULE),
    )
    license: str = Field(
        min_length=1,
        max_length=64,
        description="Short name of the model's license, such as llama3.1 or apache-2.0.",
        json_schema_extra=rules(_LICENSE_RULE),
    )
    accept_license: bool = Field(
        default=False, description="True says that you have read the license and accept it. Nothing runs without it."
    )
