"""What a program with OpenAI's client does with a server. Runs in an environment of its own: URL as the argument."""

import json
import sys

import openai

client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0)
ASKED = [{"role": "user", "content": "where is my card"}]
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["card", "refund"]}}, "required": ["a"]}
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": SCHEMA}}]

done = client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=5)
assert done.usage.completion_tokens <= 5
chunks = list(client.chat.completions.create(model="tiny", messages=ASKED, stream=True, temperature=0))
assert chunks[-1].choices[0].finish_reason in ("stop", "length")
assert len(client.completions.create(model="tiny", prompt=["one", "two"], max_tokens=3).choices) == 2
form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
done = client.chat.completions.create(model="tiny", messages=ASKED, response_format=form)
assert json.loads(done.choices[0].message.content)["a"] in ("card", "refund")
for choice in ("required", {"type": "function", "function": {"name": "find"}}):
    done = client.chat.completions.create(model="tiny", messages=ASKED, tools=TOOLS, tool_choice=choice)
    (call,) = done.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["a"] in ("card", "refund")
    turns = [*ASKED, done.choices[0].message.model_dump(exclude_none=True)]
    turns.append({"role": "tool", "tool_call_id": call.id, "content": "on its way"})
    client.chat.completions.create(model="tiny", messages=turns, tools=TOOLS, max_tokens=5)
assert "tiny" in [model.id for model in client.models.list()]
refused = None
try:
    client.chat.completions.create(model="tiny", messages=ASKED, presence_penalty=1)
except openai.BadRequestError as error:
    refused = error.param
assert refused == "presence_penalty"
print("ok", openai.__version__)
