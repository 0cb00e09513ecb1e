"""A method of your own, compared with the built-in ones."""

import sys
from dataclasses import dataclass, replace

import etude
from etude.methods import METHODS, Candidate


@dataclass(frozen=True)
class Loud(etude.Method):
    """The instructions in capitals."""

    name = "loud"
    label = "The prompt in capitals"

    def fit(self, task, train, dev, start, context):
        """Builds on the best prompt so far."""
        loud = replace(start, method=self.name, instructions=start.instructions.upper())
        return context.choose([Candidate("in capitals", loud)], dev).assistant


prompts = [method for method in METHODS if method.prompted]
print(etude.compare(sys.argv[1], methods=[*prompts, Loud()]).verdict.sentence)
