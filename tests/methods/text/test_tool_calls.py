"""The tool that a text calls is read in every notation, whole or broken off, and only from calls."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuit.methods.text.criteria import satisfies, verdict
from circuit.methods.text.tool_calls import called_tool

CALLS = [
    '<tool_call>{"name": "get_weather", "arguments": {"location": "Oslo"}}</tool_call>',
    'Sure.\n<tool_call>\n{"name": "get_weather", "arguments": {"name": "Bob"}}\n</tool_call>',
    '{"name": "get_weather", "parameters": {}}',
    '<|python_tag|>{"type": "function", "name": "get_weather", "parameters": {"a": 1}}',
    '<|python_tag|>get_weather.call(query="Oslo")',
    '{"arguments": {"name": "Bob"}, "name": "get_weather"}',
    '{"type": "function", "function": {"name": "get_weather", "arguments": "{}"}}',
    '[TOOL_CALLS][{"name": "get_weather", "arguments": {}}, {"name": "b", "arguments": {}}]',
    '[TOOL_CALLS] [{"name": "get_weather", "arguments": {}, "id": "abcdefghi"}]</s>',
    '[TOOL_CALLS]get_weather{"location": "Oslo"}',
    '[TOOL_CALLS]get_weather[ARGS]{"location": "Oslo"}',
    '<|tool_call|>[{"name": "get_weather", "arguments": {}}]',
    "<tool_call>get_weather\n<arg_key>location</arg_key><arg_value>Oslo</arg_value></tool_call>",
    "<tool_call>\n<function=get_weather>\n<parameter=location>\nOslo</parameter></function>",
    '<function=get_weather>{"location": "Oslo"}</function>',
    "functions.get_weather(zone)",
    '<|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{"a": 1}',
    "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{}",
    "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{}",
    '<tool_call>{"name": "get_weather", "arguments": {"location": "Os',
    '<tool_call>{"name": "get_weather", "argu',
    '{"name": "get_weather", "arguments": {"location": ',
]
NONE = [
    "The function call was long.",
    "You could use get_weather for this.",
    '{"name": "Oslo", "country": "Norway"}',
    '{"name": "Oslo',
    '<tool_call>{"na',
    "functions.",
    "functions are nice",
    "",
]


@pytest.mark.parametrize("text", CALLS)
def test_the_tool_is_named_in_every_notation(text):
    assert called_tool(text) == "get_weather" == verdict("function_call", text)
    assert satisfies("function_call", text) is True


@pytest.mark.parametrize("text", NONE)
def test_a_text_without_a_call_names_no_tool(text):
    assert called_tool(text) is None


def test_a_call_without_a_readable_name_is_a_call():
    assert verdict("function_call", "<tool_call>{") is True
    assert verdict("function_call", "No need.") is False
    assert verdict("refusal", "I can't help with that.") is True


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.dictionaries(st.sampled_from(["name", "arguments", "x"]), inner, max_size=3),
    max_leaves=6,
)


@given(arguments=VALUES, name=st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True))
def test_arguments_never_name_the_tool(arguments, name):
    for call in ({"name": name, "arguments": arguments}, {"arguments": arguments, "name": name}):
        assert called_tool(f"<tool_call>{json.dumps(call)}</tool_call>") == name
