"""What a program with OpenAI's client does with a server. Runs in an environment of its own: URL as
the argument.
"""

import asyncio
import json
import sys

import openai

client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="none", max_retries=0)
ASKED = [{"role": "user", "content": "where is my card"}]
SCHEMA = {"type": "object", "properties": {"a": {"enum": ["card", "refund"]}}, "required": ["a"]}
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": SCHEMA}}]

done = client.chat.completions.create(model="tiny", messages=ASKED, max_tokens=5)
assert done.usage.completion_tokens <= 5
chunks = list(
    client.chat.completions.create(model="tiny", messages=ASKED, stream=True, temperature=0)
)
assert chunks[-1].choices[0].finish_reason in ("stop", "length")
assert (
    len(client.completions.create(model="tiny", prompt=["one", "two"], max_tokens=3).choices) == 2
)
form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}
done = client.chat.completions.create(model="tiny", messages=ASKED, response_format=form)
assert json.loads(done.choices[0].message.content)["a"] in ("card", "refund")
for choice in ("required", {"type": "function", "function": {"name": "find"}}):
    done = client.chat.completions.create(
        model="tiny", messages=ASKED, tools=TOOLS, tool_choice=choice
    )
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


def drive_items(client: openai.OpenAI) -> list[str]:
    """Ask by /v1/responses, whole, streamed and parsed, and go on by id."""
    first = client.responses.create(model="tiny", input="where is my card", max_output_tokens=5)
    streamed = client.responses.create(
        model="tiny", input="where is my card", max_output_tokens=5, stream=True
    )
    deltas = [event.delta for event in streamed if event.type == "response.output_text.delta"]
    assert "".join(deltas) == first.output_text
    with client.responses.stream(model="tiny", input=ASKED) as stream:
        last = list(stream)[-1]
    assert last.type in ("response.completed", "response.incomplete")
    tools = [{"type": "function", "name": "find", "parameters": SCHEMA, "strict": True}]
    called = client.responses.create(model="tiny", input=ASKED, tools=tools, tool_choice="required")
    (call,) = called.output
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "on its way"}
    followed = client.responses.create(
        model="tiny",
        input=[result],
        previous_response_id=called.id,
        tools=tools,
        max_output_tokens=5,
    )
    assert client.responses.retrieve(followed.id).previous_response_id == called.id
    client.responses.delete(followed.id)
    return [first.output_text]


async def drive_items_async(address: str) -> list[str]:
    """Ask some of the same with the asynchronous client."""
    async with openai.AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:
        first = await client.responses.create(
            model="tiny", input="where is my card", max_output_tokens=5
        )
        embedded = await client.embeddings.create(model="encoder", input=["the bear", "the cat"])
        assert len(embedded.data[1].embedding) == 32
        return [first.output_text]


assert drive_items(client) == asyncio.run(drive_items_async(f"{sys.argv[1]}/v1"))
if hasattr(client, "decisions"):  # since 3.50
    choices = [{"value": "card"}, {"value": "refund"}]
    question = {"type": "choice", "name": "topic", "instructions": "Which?", "choices": choices}
    (answer,) = client.decisions.create(
        model="sorter", input="where is it", questions=[question]
    ).answers
    assert answer.choice in ("card", "refund")
    assert abs(sum(entry.probability for entry in answer.probabilities) - 1) < 1e-6
print("ok", openai.__version__)
