"""Fine-tune, read what came of it, ask the assistant several questions."""

import sys

import etude

result = etude.train(sys.argv[1])
print(result.sentence)
assistant = etude.load(result.run.folder)
for answer in assistant.answer(["Something about dragons, age 7", "A book about trains"]):
    print(answer.text, answer.answer_tokens)
