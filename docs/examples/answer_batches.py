"""Answer a batch of columns, as a program that maps over rows does."""

import sys

import etude

etude.compare(sys.argv[1])
answerer = etude.RowAnswerer(sys.argv[1])
batch = answerer({"nr": [1, 2], "input": ["Something about dragons, age 7", "A book about trains"]})
print(batch["nr"], batch["answer"])
