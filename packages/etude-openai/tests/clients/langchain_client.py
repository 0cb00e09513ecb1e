"""What a program with LangChain does with a server. Runs in an environment of its own: URL as the
argument.
"""

import sys
from typing import Literal

from langchain_openai import ChatOpenAI, OpenAI
from pydantic import BaseModel

OPTIONS = {"base_url": f"{sys.argv[1]}/v1", "api_key": "none", "model": "tiny", "max_retries": 0}


class Ticket(BaseModel):
    """A customer's request."""

    about: Literal["card", "refund"]


chat = ChatOpenAI(**OPTIONS)
assert chat.invoke("where is my card", max_tokens=5).response_metadata["token_usage"]
assert list(chat.stream("where is my card"))
assert len(chat.batch(["one", "two"], max_tokens=5)) == 2
for method in ("function_calling", "json_schema"):
    found = chat.with_structured_output(Ticket, method=method).invoke("where is my card")
    assert isinstance(found, Ticket), found
assert chat.bind_tools([Ticket], tool_choice="any").invoke("where is my card").tool_calls
assert len(OpenAI(**OPTIONS, max_tokens=5).generate(["one", "two"]).generations) == 2
print("ok")
