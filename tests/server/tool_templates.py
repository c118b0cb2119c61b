"""Chat templates with tools, of the shapes that models have, in the byte tokenizer's language."""

HERMES = (
    "{% if tools %}<system>Answer, or call as <tool_call>:"
    "{% for tool in tools %}{{ '\n' }}{{ tool | tojson }}{% endfor %}</s>{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}<user><tool_response>{{ m.content }}</tool_response></s>"
    "{% elif m.tool_calls %}<assistant>{{ m.content }}"
    "{% for call in m.tool_calls %}{{ '\n<tool_call>\n' }}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "{{ '\n</tool_call>' }}{% endfor %}</s>"
    "{% else %}<{{ m.role }}>{{ m.content }}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
LLAMA = (
    "{% if tools %}<user>Respond as a function name with parameters."
    "{% for tool in tools %}{{ tool | tojson(indent=4) }}{% endfor %}</s>{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}<ipython>{{ m.content | tojson }}</s>"
    "{% elif 'tool_calls' in m %}"
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('only single tool-calls') }}{% endif %}"
    "{% set call = m.tool_calls[0].function %}<assistant>"
    "{{ '{\"name\": \"' + call.name + '\", ' }}{{ '\"parameters\": ' }}{{ call.arguments | tojson }}{{ '}' }}</s>"
    "{% else %}<{{ m.role }}>{{ m.content }}</s>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
XML = HERMES.replace(
    '{"name": "{{ call.function.name }}", "arguments": ', "<function={{ call.function.name }}>"
)
"""Such as Qwen3-Coder's: the marks of Hermes with something else between them."""
WITHOUT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}<assistant>"
