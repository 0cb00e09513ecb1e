"""A model backend of your own, asked through an assistant."""

from etude.assistant import Assistant
from etude.models.backend import BatchedModel
from etude.models.registry import Backend, register
from etude.types import Completion, ModelRef


class Echo(BatchedModel):
    """Answers with the question."""

    def complete(self, requests):
        """Return the last turn of each request."""
        return [
            Completion(request.messages[-1].content, "stop", 1, 0, 1, 0.0, 0.0)
            for request in requests
        ]


def handles(name):
    """Whether a name under `model:` begins with `echo:`."""
    return name.startswith("echo:")


def load(ref, models):
    """Load the model that a name means."""
    return Echo(ref.name)


register(Backend("echo", "echo:ANYTHING", handles, load, can=("generate",)))
assistant = Assistant("prompt", "answer", ModelRef("echo:1"))
print(assistant.answer("Is anybody there?").text)
