"""Chat templates in the manner of each family: short, ours, and with what tells the families apart."""

from typing import Final

_TURNS: Final = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message.role + '<|end_header_id|>' }}"
    "{{ message.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>' }}{% endif %}"
)

#: Llama 3.1, 3.2 and 3.3: a call is JSON.
LLAMA3_JSON: Final = (
    "{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}"
    '{%- if tools is not none %}{{- \'Answer with a call in the form {"name": function, "parameters": values}.\' }}'
    "{%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}{%- endif %}"
    "{%- for message in messages if 'tool_calls' in message %}"
    '{{- \'{"name": "\' + message.tool_calls[0].function.name + \'", "parameters": \' }}'
    "{{- message.tool_calls[0].function.arguments | tojson + '}' }}{%- endfor %}" + _TURNS
)

#: Llama 3.2 in the Python manner, and fine-tunes such as ToolACE.
PYTHONIC: Final = (
    "{% if tools %}{{ 'Call functions as [name(parameter=value), other(parameter=value)] and write nothing else.' }}"
    "{{ tools | tojson }}{% endif %}" + _TURNS
)

#: Llama 4 names its headers in another way.
LLAMA4_PYTHONIC: Final = PYTHONIC.replace("<|start_header_id|>", "<|header_start|>")

#: Llama 4 with calls in JSON.
LLAMA4_JSON: Final = LLAMA3_JSON.replace("<|start_header_id|>", "<|header_start|>")

#: Hermes: JSON between tags.
HERMES: Final = (
    "{%- if tools %}{{- '<tools>' + tools | tojson + '</tools>' }}"
    '{{- \'<tool_call>{"name": <name>, "arguments": <values>}</tool_call>\' }}{%- endif %}' + _TURNS
)

#: Mistral: a list after a token.
MISTRAL: Final = (
    "{% if tools %}{{ '[AVAILABLE_TOOLS]' + tools | tojson + '[/AVAILABLE_TOOLS]' }}{% endif %}"
    '{% for message in messages %}{% if message.tool_calls %}{{ \'[TOOL_CALLS][{"name": "\' }}{% endif %}{% endfor %}'
    + _TURNS
)

#: xLAM: a list of calls without a token.
XLAM: Final = (
    '{% if tools %}{{ \'Make calls in one array: [{"name": "tool", "arguments": {"a": "b"}}]\' }}'
    "{{ tools | tojson }}{% endif %}" + _TURNS
)

#: A template that shows tools and says nothing of the form of a call.
SILENT: Final = "{% if tools %}{{ tools | tojson }}{% endif %}" + _TURNS

#: A distill of DeepSeek-R1: reasoning is dropped from earlier turns.
R1: Final = (
    "{% for message in messages %}{% set content = message.content %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
)

#: Reasoning that a request can turn off.
HYBRID: Final = R1.replace("add_generation_prompt", "add_generation_prompt and enable_thinking is defined")

PLAIN: Final = _TURNS

#: SmolLM2 was not trained to call functions; two examples show it how.
SMOLLM2_TOOLS: Final = """\
{%- macro call(city) -%}
<tool_call>
{"name": "{{ tools[0].function.name }}", "arguments": {"city": "{{ city }}"}}
</tool_call>
{%- endmacro -%}
{%- if tools %}
{%- for city in ["Rome", "Berlin"] %}
{{- "<|im_start|>user\\nWhat is the weather in " ~ city ~ "?<|im_end|>\\n" }}
{{- "<|im_start|>assistant\\n" ~ call(city) ~ "<|im_end|>\\n" }}
{%- endfor %}
{%- endif %}
{%- for message in messages %}
{{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" }}
{%- endfor %}
{{- "<|im_start|>assistant\\n" }}
"""

#: The same model with a template that says nothing of tools: what a broken one does to a fine-tune.
SMOLLM2_BROKEN: Final = """\
{%- for message in messages %}
{{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" }}
{%- endfor %}
{{- "<|im_start|>assistant\\n" }}
"""
