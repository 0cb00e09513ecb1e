"""constrained: the best prompt so far, with decoding constrained to the contract."""

from dataclasses import replace

from etude.errors import GrammarError
from etude.methods.method import Assistant, Candidate, Dataset, FitContext, Method, Task
from etude.models.registry import find_backend


class Constrained(Method):
    """The best untuned assistant so far, with decoding constrained to the contract's JSON schema,
    fields or regular expression (llguidance). Labels are already enforced in every method.
    """

    name = "constrained"
    label = "Form enforced"
    prompted = False

    def missing_key(self, task: Task) -> str:
        """Require a contract that can be written as a grammar."""
        is_classify = task.kind == "classify"
        has_one_label = task.has_one_label
        has_grammar = not has_one_label and (
            is_classify or bool(task.contract and task.contract.grammar)
        )
        return "" if has_grammar else "a json_schema, fields or regex under contract:"

    def is_supported(self, task: Task) -> bool:
        """Whether the model can keep to a grammar."""
        return "grammar" in find_backend(task.prompt_model or task.model).can

    def fit(
        self, task: Task, train: Dataset, dev: Dataset, start: Assistant, context: FitContext
    ) -> Assistant:
        """Answer dev. If the grammar cannot be enforced, add a note with the reason and decode
        without it.
        """
        enforced = replace(start, method=self.name, enforced=True)
        try:
            return context.choose([Candidate("form enforced", enforced)], dev).assistant
        except GrammarError as error:
            context.notes.append(f"the form is not enforced ({error})")
            plain = replace(start, method=self.name)
            return context.choose([Candidate("form not enforced", plain)], dev).assistant


METHOD = Constrained()
