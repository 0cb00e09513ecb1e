"""Ten lines of Python: compare, read the verdict, ask the recommended assistant."""

import sys

from etude.assistant import load
from etude.comparison import compare
from etude.models.registry import Models
from etude.types import Message

result = compare(sys.argv[1])
print(result.verdict.sentence)
name = result.verdict.recommended or result.run.methods[-1]
assistant = load(result.run.assistant(name))
[answer] = assistant.answer([[Message("user", "Something about dragons, age 7")]], Models())
print(answer.text)
