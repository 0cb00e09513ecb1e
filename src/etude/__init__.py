"""Étude: from a file of examples to a measured answer to the question "do I need to fine-tune?".

    import etude

    result = etude.compare("task.yaml")
    print(result.verdict.sentence)
    print(etude.load(result.run.folder).answer("Something about dragons, age 7").text)

The public names, each with its own help, such as help(etude.compare):

    load_task    read a task file
    check        check the examples
    fix          repair rows where no judgement is needed
    compare      compare methods on one sealed test
    train        fine-tune on the training rows
    load         load the recommended assistant of a run
    predict      answer a file of inputs
    Assistant    what `load` returns; it answers questions
    Verdict      which method to use, with the numbers
    Finding      one result of a check
    Method       the base class of a method of your own
    errors       all exceptions

Each is imported when it is first used, so `import etude` loads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etude import errors as errors
    from etude.answer_file import predict as predict
    from etude.assistant import Assistant as Assistant
    from etude.checks import check as check
    from etude.comparison.compare import compare as compare
    from etude.methods import Method as Method
    from etude.repair import fix as fix
    from etude.runs.recommended import load as load
    from etude.runs.verdict import Verdict as Verdict
    from etude.task import load_task as load_task
    from etude.tuning.train import train as train
    from etude.types import Finding as Finding

__version__ = "0.1.0"

_MODULES = {
    "Assistant": "etude.assistant",
    "Finding": "etude.types",
    "Method": "etude.methods",
    "Verdict": "etude.runs.verdict",
    "check": "etude.checks",
    "compare": "etude.comparison.compare",
    "fix": "etude.repair",
    "load": "etude.runs.recommended",
    "load_task": "etude.task",
    "predict": "etude.answer_file",
    "train": "etude.tuning.train",
}
__all__ = sorted(["errors", *_MODULES])


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("etude.errors")
    if name not in _MODULES:
        raise AttributeError(f"module 'etude' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return ["__version__", *__all__]
