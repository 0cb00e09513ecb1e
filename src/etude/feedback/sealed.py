"""The rows of the sealed test, which feedback must not change, from all runs that split them off or
opened them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from etude.base.files import read_json
from etude.data.dataset import survey_test
from etude.data.splits import input_key
from etude.data.spool import Examples
from etude.runs import FOLDER, find_runs
from etude.runs.openings import KEY_DIGITS, read_openings
from etude.task import Task
from etude.text.near_duplicates import find_near_matches
from etude.types import Example, Message, join_turns


@dataclass(frozen=True)
class SealedTest:
    """The inputs of test rows."""

    keys: frozenset[str] = frozenset()  # the first KEY_DIGITS digits of each `input_key`
    texts: tuple[str, ...] = ()

    def contains(self, text: str) -> bool:
        """Return whether a text is a test row's input, without regard to case and punctuation."""
        return _short_key(text) in self.keys

    def find_overlaps(self, inputs: Sequence[Sequence[Message]]) -> list[bool]:
        """Return for each input whether it repeats a test row: the whole input or a user turn
        equals, or nearly equals, the input of a test row.
        """
        texts = [
            (number, text)
            for number, turns in enumerate(inputs)
            for text in {
                join_turns(turns),
                *(turn.content for turn in turns if turn.role == "user"),
            }
        ]
        matches = find_near_matches([text for _, text in texts], self.texts)
        overlapping = {texts[index][0] for index, *_ in matches}
        overlapping |= {number for number, text in texts if self.contains(text)}
        return [number in overlapping for number in range(len(inputs))]


def load_sealed_test(task: Task, examples: Examples) -> SealedTest:
    """Load the test rows of a task: its own test file, and the rows that its runs split off or
    opened.

    Raises InputError if the test file cannot be read, RunError if a run cannot.
    """
    root = task.folder / FOLDER
    keys = {row for opening in read_openings(root) for row in opening.rows}
    for run in find_runs(root):
        sides = read_json(run.folder / "split.json", {"assignments": {}})["assignments"]
        keys |= {key[:KEY_DIGITS] for key, side in sides.items() if side == "test"}
    test = survey_test(task)
    test_file_texts = [row.text for row in test[0]] if test else []
    keys |= {_short_key(text) for text in test_file_texts}
    split_texts = [row.text for row in examples if _short_key(row.text) in keys]
    return SealedTest(frozenset(keys), (*test_file_texts, *split_texts))


def _short_key(text: str) -> str:
    return input_key(Example("", (Message("user", text),), ""))[:KEY_DIGITS]
