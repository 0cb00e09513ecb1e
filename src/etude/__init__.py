"""Étude: from a file of examples to a measured answer to "do I need to fine-tune?".

from etude.compare import compare

result = compare("task.yaml")
print(result.verdict["sentence"])
"""

__version__ = "0.1.0"
