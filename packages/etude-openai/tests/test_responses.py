"""/v1/responses through the official client: what a chat answers, as items."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pydantic
import pytest
from hosting import extend

from etude.assistant import Assistant
from etude.types import ModelRef
from etude_openai.hosted.stores import HostedStores
from serving import open_client, serve_as, serving
from tiny import save_tiny_model

CHOICES = {"type": "object", "properties": {"a": {"enum": ["card", "refund"]}}, "required": ["a"]}
PARAMETERS = {**CHOICES, "additionalProperties": False}
TOOL: Any = {
    "type": "function",
    "name": "find",
    "description": "Find it.",
    "parameters": PARAMETERS,
}
TOOLS: Any = [{**TOOL, "strict": True}]
CHAT_TOOLS: Any = [{"type": "function", "function": {key: TOOL[key] for key in list(TOOL)[1:]}}]
QUESTION = "where is my card"


class Found(pydantic.BaseModel):
    a: Literal["card", "refund"]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("server")
    model = ModelRef(str(save_tiny_model(folder / "tiny", max_position_embeddings=4096)))
    tiny = Assistant("prompt", "answer", model, "Be short.", max_tokens=60)
    with open_client(
        serve_as("tiny", tiny), extensions=extend(HostedStores(folder / "data", {}))
    ) as client:
        yield client


def chat(client: openai.OpenAI, messages: list[Any], **options: Any) -> Any:
    return client.chat.completions.create(model="tiny", messages=messages, **options).choices[0]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_the_text_is_that_of_a_chat(client: openai.OpenAI) -> None:
    response = client.responses.create(
        model="tiny",
        input=QUESTION,
        instructions="Answer.",
        max_output_tokens=7,
        metadata={"team": "a"},
    )
    choice = chat(
        client, [{"role": "developer", "content": "Answer."}, user(QUESTION)], max_tokens=7
    )
    assert response.output_text == choice.message.content
    assert response.status == ("incomplete" if choice.finish_reason == "length" else "completed")
    assert response.usage.output_tokens <= 7
    assert response.metadata == {"team": "a"}
    assert client.responses.retrieve(response.id) == response


def test_fields_of_a_chat_are_listed_as_ignored(client: openai.OpenAI) -> None:
    fields = {"max_tokens": 1, "seed": 3, "user": "a"}
    response = client.responses.create(model="tiny", input=QUESTION, extra_body=fields)
    assert sorted(response.model_extra["ignored"]) == sorted(fields)
    assert response.output_text == client.responses.create(model="tiny", input=QUESTION).output_text


def test_a_stream_builds_the_same_response(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="tiny", input=QUESTION)
    with client.responses.stream(model="tiny", input=QUESTION) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text
    assert len(deltas) > 1
    last = events[-1]
    assert last.type in ("response.completed", "response.incomplete")
    assert last.response.output_text == whole.output_text
    assert last.response.usage == whole.usage
    stored = client.responses.retrieve(last.response.id)
    assert [item.id for item in stored.output] == [item.id for item in last.response.output]
    assert stored.output_text == whole.output_text


def test_a_parsed_response_keeps_its_schema(client: openai.OpenAI) -> None:
    response = client.responses.parse(model="tiny", input=QUESTION, text_format=Found)
    assert isinstance(response.output_parsed, Found)
    with client.responses.stream(model="tiny", input=QUESTION, text_format=Found) as stream:
        assert stream.get_final_response().output_parsed == response.output_parsed


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "find"}])
def test_calls_and_their_results_are_those_of_a_chat(client: openai.OpenAI, choice: Any) -> None:
    response = client.responses.create(
        model="tiny", input=QUESTION, tools=TOOLS, tool_choice=choice
    )
    (call,) = response.output
    assert call.type == "function_call"
    assert json.loads(call.arguments)["a"] in ("card", "refund")
    with client.responses.stream(
        model="tiny", input=QUESTION, tools=TOOLS, tool_choice=choice
    ) as stream:
        (streamed,) = stream.get_final_response().output
    assert streamed.type == "function_call"
    assert (streamed.name, streamed.arguments) == (call.name, call.arguments)
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "on its way"}
    stored = client.responses.create(
        model="tiny", previous_response_id=response.id, input=[result], tools=TOOLS
    )
    items: Any = [user(QUESTION), call.to_dict(), result]
    sent = client.responses.create(model="tiny", input=items, tools=TOOLS, store=False)
    function = {"name": call.name, "arguments": call.arguments}
    turns = [
        {
            "role": "assistant",
            "tool_calls": [{"id": "x", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "x", "content": "on its way"},
    ]
    expected = chat(client, [user(QUESTION), *turns], tools=CHAT_TOOLS).message.content
    assert stored.output_text == sent.output_text == (expected or "")


def test_a_conversation_goes_on_by_id(client: openai.OpenAI) -> None:
    first = client.responses.create(model="tiny", input="my card", instructions="Once.")
    second = client.responses.create(
        model="tiny", input="where is it", previous_response_id=first.id
    )
    messages = [
        user("my card"),
        {"role": "assistant", "content": first.output_text},
        user("where is it"),
    ]
    assert second.output_text == chat(client, messages).message.content
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    assert client.responses.retrieve(second.id).output_text == second.output_text
    with pytest.raises(openai.BadRequestError, match=r"Previous response .* not found") as caught:
        client.responses.create(model="tiny", input="again", previous_response_id=first.id)
    assert caught.value.code == "previous_response_not_found"


def test_a_response_that_is_not_stored_cannot_be_retrieved(client: openai.OpenAI) -> None:
    response = client.responses.create(model="tiny", input=QUESTION, store=False)
    assert response.to_dict()["store"] is False
    for wrong in (response.id, "resp_../../files", "x"):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(wrong)


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, 501, "tools of type web_search"),
        ({"background": True}, 501, "background"),
        ({"input": [{"role": "assistant", "content": "hi"}]}, 400, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, 400, None),
        ({"input": [{"type": "function_call", "name": "f"}]}, 400, None),
        ({"temperature": 3}, 400, "temperature"),
        ({"tool_choice": {"type": "function", "name": "g"}, "tools": TOOLS}, 400, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, 400, "text.format.schema"),
    ],
)
def test_what_is_refused_names_the_field(
    client: openai.OpenAI, fields: dict[str, Any], status: int, param: str | None
) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.responses.create(**({"model": "tiny", "input": QUESTION} | fields))
    assert caught.value.status_code == status
    assert param is None or caught.value.param == param
    if status == 501:
        assert caught.value.response.headers["x-should-retry"] == "false"


def test_a_server_without_a_data_folder_stores_nothing() -> None:
    with serving(serve_as("fake", Assistant("prompt", "answer", ModelRef("fake")))) as url:

        async def ask() -> None:
            async with openai.AsyncOpenAI(
                base_url=f"{url}/v1", api_key="none", max_retries=0
            ) as client:
                response = await client.responses.create(model="fake", input=QUESTION, user="me")
                assert response.output_text == QUESTION
                assert response.to_dict()["store"] is False
                assert response.to_dict()["ignored"] == ["user"]
                texts = [
                    event.delta
                    async for event in await client.responses.create(
                        model="fake", input=QUESTION, stream=True
                    )
                    if event.type == "response.output_text.delta"
                ]
                assert "".join(texts) == QUESTION
                with pytest.raises(openai.BadRequestError, match="--jobs"):
                    await client.responses.create(
                        model="fake", input=QUESTION, previous_response_id=response.id
                    )

        asyncio.run(ask())


def test_the_items_before_a_response_are_listed_page_by_page(client: openai.OpenAI) -> None:
    earlier: Any = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "input_text", "text": QUESTION}]},
        {"type": "function_call", "call_id": "c1", "name": "find", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "in the post"},
    ]
    first = client.responses.create(model="tiny", input=earlier, max_output_tokens=3)
    second = client.responses.create(
        model="tiny", input="and now", previous_response_id=first.id, max_output_tokens=3
    )
    items = list(client.responses.input_items.list(second.id, order="asc", limit=2))
    kinds = ["message", "message", "function_call", "function_call_output", "message", "message"]
    assert [item.type for item in items] == kinds
    texts = [item.content[0].text for item in items if item.type == "message"]  # type: ignore[union-attr]
    assert texts == ["Be short.", QUESTION, first.output_text, "and now"]
    assert len({item.id for item in items}) == len(items)
    newest = client.responses.input_items.list(second.id, limit=1)
    assert newest.data == items[-1:]
    assert newest.has_more
    sent_again: Any = [item.model_dump(exclude_none=True) for item in items]
    again = client.responses.create(model="tiny", input=sent_again, max_output_tokens=3)
    assert again.output_text == second.output_text
    client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list(second.id)
