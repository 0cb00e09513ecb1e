"""What a program with LlamaIndex does with a server. Runs in an environment of its own: URL as the
argument.
"""

import sys
from typing import Literal

from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

OPTIONS = {"api_base": f"{sys.argv[1]}/v1", "api_key": "none", "model": "tiny", "max_retries": 0}


class Ticket(BaseModel):
    """A customer's request."""

    about: Literal["card", "refund"]


chat = OpenAILike(**OPTIONS, is_chat_model=True, is_function_calling_model=True)
assert chat.chat([ChatMessage(role="user", content="where is my card")]).message is not None
assert list(chat.stream_chat([ChatMessage(role="user", content="where is my card")]))
found = chat.structured_predict(Ticket, PromptTemplate("where is my card"))
assert isinstance(found, Ticket), found
assert (
    OpenAILike(**OPTIONS, is_chat_model=False, max_tokens=5).complete("where is my card")
    is not None
)
print("ok")
