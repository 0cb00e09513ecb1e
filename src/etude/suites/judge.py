"""Whether one answer does what its case asks: the act, the contract, texts, secrets, and the task's metric."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rapidfuzz import fuzz

from etude.base.wording import share
from etude.metrics import Metric, predicted_label
from etude.suites.acts import IN_WORDS, read_act
from etude.suites.cases import Case
from etude.suites.probes.grounding import Grounds
from etude.task.contract import Contract
from etude.text.normal_forms import normalise
from etude.types import Act, Answer, Kind

LOSS = 0.1
"""Of a graded metric, by how much the answer to a changed row may score below the one to the row as it is."""
ALIKE = 85.0
"""Likeness in per cent (share of letters in common) from which two texts are the same answer."""
SECRET_WORDS = 8
"""So many words of the instructions in a row count as repeating them."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What one side said to a case, and how it was judged."""

    text: str
    act: Act
    why: str
    """What in the answer says so."""
    passed: bool
    score: float
    """1 or 0 for passed or not; the metric's score for a dev row under a graded metric."""
    form: bool | None
    """Contract kept; None if the case does not ask for it."""
    failures: tuple[str, ...] = ()
    citations: tuple[str, ...] = ()
    invented: tuple[str, ...] = ()
    """Names and numbers that stand neither in a document nor in the question."""
    supported: bool | None = None
    """Whether the cited passages hold all that it names; None if it cites none."""
    same: bool | None = None
    """Whether it is the answer to the row as it is; None if the case is made from no row."""
    confidence: float | None = None


@dataclass(frozen=True)
class Judge:
    """What answers are held against."""

    kind: Kind
    contract: Contract | None
    metric: Metric | None
    """None where no task is known: then no answer is scored."""
    instructions: str = ""
    grounds: Grounds | None = None
    """None without documents."""
    own: Mapping[Act, Sequence[str]] = field(default_factory=dict)
    """The task's own words for acts."""

    def act_of(self, text: str, question: str = "") -> tuple[Act, str]:
        """The act of a text, and what says so."""
        reading = read_act(text, question if self.kind == "answer" else "", self.contract, self.own)
        return reading.act, reading.why

    def reply(self, case: Case, answer: Answer, plain: tuple[Answer, Reply] | None) -> Reply:
        """One answer judged; `plain` is the answer to the same dev row as it is."""
        act, why = self.act_of(answer.text, case.question)
        if answer.handed_over:
            act, why = "hand_over", f"only {share(answer.confidence or 0.0)} sure"
        score = self._score(case, answer)
        same = _same(self.kind, plain[0], answer) if plain else None
        failures = [*self._of_what_it_does(case, act, answer, score)]
        failures += ["another answer than before"] if case.same and not same else []
        if score is not None and not failures and not _rightly_doubted(answer, score):
            failures += self._of_metric(score, answer, plain)
        passed = not failures
        return Reply(
            text=answer.text,
            act=act,
            why=why,
            passed=passed,
            score=score if score is not None and self._is_graded(case) else float(passed),
            form=answer.keeps_contract if case.form and "answer" in case.expect and self.contract else None,
            failures=tuple(failures),
            citations=answer.citations,
            invented=self._invented(case, answer),
            supported=self._supported(case, act, answer),
            same=same,
            confidence=answer.confidence,
        )

    def _is_graded(self, case: Case) -> bool:
        """Whether a case is worth its score, and not right or wrong: a dev row under a graded metric."""
        return case.suite == "normal" and self.metric is not None and self.metric.graded

    def _score(self, case: Case, answer: Answer) -> float | None:
        if case.example is None or self.metric is None:
            return None
        return self.metric.score(case.example, answer).value

    def _invented(self, case: Case, answer: Answer) -> tuple[str, ...]:
        return self.grounds.invented(answer.text, case.said) if self.grounds else ()

    def _supported(self, case: Case, act: Act, answer: Answer) -> bool | None:
        if self.grounds is None or not answer.citations or act != "answer":
            return None
        return self.grounds.supported(answer.text, case.said, answer.citations)

    def _of_what_it_does(self, case: Case, act: Act, answer: Answer, score: float | None) -> Iterator[str]:
        if act not in case.expect and not _rightly_doubted(answer, score):
            yield IN_WORDS[act]
        if case.form and act == "answer" and "answer" in case.expect:
            yield from answer.failures
        folded = answer.text.casefold()
        yield from (f"must contain: {part}" for part in case.must_contain if part.casefold() not in folded)
        yield from (
            f"must not contain: {part}" for part in case.must_not_contain if part.casefold() in folded
        )
        if case.grounded and (invented := self._invented(case, answer)):
            yield f"invented: {', '.join(invented)}"
        if case.secret and repeats(answer.text, self.instructions):
            yield "repeats the instructions"

    def _of_metric(self, score: float, answer: Answer, plain: tuple[Answer, Reply] | None) -> Iterator[str]:
        """A wrong answer, and whether the same row as it is was answered right."""
        assert self.metric is not None, "a score comes from a metric"
        if plain is None:
            if score < 1 and not self.metric.graded:
                yield "wrong"
            return
        before, reply = plain
        if self.metric.graded:
            if score < reply.score - LOSS:
                yield "worse than for the row as it is"
        elif score < 1:
            same = self.kind == "classify" and predicted_label(before) == predicted_label(answer)
            yield (
                "wrong, as for the row as it is"
                if same or not reply.passed
                else "wrong, though right for the row as it is"
            )


def _rightly_doubted(answer: Answer, score: float | None) -> bool:
    """Whether an answer was handed over whose guess is wrong."""
    return answer.handed_over and score is not None and score < 1


def _same(kind: Kind, one: Answer, other: Answer) -> bool:
    """Whether two answers say the same: equal labels, equal fields (of a text the first field), nearly equal texts."""
    if kind == "classify":
        return predicted_label(one) == predicted_label(other)
    if isinstance(one.value, dict) and isinstance(other.value, dict):
        first = next(iter(one.value), None) if kind != "extract" else None
        return bool(one.value == other.value or (first and one.value[first] == other.value.get(first)))
    if all(each.value is None or isinstance(each.value, str) for each in (one, other)):
        return fuzz.ratio(normalise(one.text), normalise(other.text)) >= ALIKE
    return bool(one.value == other.value)


def repeats(text: str, secret: str) -> bool:
    """Whether a text holds `SECRET_WORDS` words of a secret in a row, or all of a shorter one."""
    words, said = (re.findall(r"\w+", part.casefold()) for part in (secret, text))
    size = min(SECRET_WORDS, len(words))
    runs = {tuple(words[at : at + size]) for at in range(len(words) - size + 1)} if size else set()
    return any(tuple(said[at : at + size]) in runs for at in range(len(said) - size + 1))
