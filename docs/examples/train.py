"""Fine-tune, read what came of it, ask the assistant."""

import sys

from etude.assistant import load
from etude.models.registry import Models
from etude.tuning import train
from etude.types import Message

result = train(sys.argv[1])
print(result.sentence)
assistant = load(result.assistant)
[answer] = assistant.answer([[Message("user", "Something about dragons, age 7")]], Models())
print(answer.text)
