"""The whole path: check, compare, read the verdict, ask the recommended assistant."""

import sys

import etude

task = sys.argv[1]
print(len(etude.check(task)), "findings in the examples")
result = etude.compare(task)
print(result.verdict.sentence)
assistant = etude.load(result.run.folder)
print(assistant.answer("Something about dragons, age 7").text)
