"""The search for better instructions within an exact budget of calls, by the library gepa.

A call is one answer to a row, or one proposal. Every answer is logged in the method's folder. With
one seed, a search that is started again takes the same steps and reads them from there, so nothing
is asked twice.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from etude.assistant import Assistant
from etude.base.files import hash_text
from etude.data.dataset import Dataset
from etude.evaluate import AnswerLog, ScoredAnswer, answer_in_batches
from etude.methods.clear_prompt import find_fitting
from etude.methods.shared.fit_context import Candidate, FitContext, Trial
from etude.task.contract import Contract
from etude.types import Answer, Example, Message, ModelRef

MINIBATCH = 3  # training rows that are read for a proposal, as in the paper
MIN_STEERING = 5
STEERING_SHARE = 1 / 12
"""Each proposal that is better on training rows answers so many steering rows, as a share of the
calls.
"""
REFLECTION_TOKENS = 2048  # of the answer with a proposal
MAX_TEXT = 2000  # characters of a text in a reflection
MAX_WORDS = 700  # of a proposal, because every word is paid for with every request
COPIED_WORDS = 8  # so many words in a row that only one training row has are a copy
PART = "instructions"  # gepa's name of what it rewrites


class PromptSearch:
    """One search. It is gepa's adapter: `evaluate`, `make_reflective_dataset` and
    `propose_new_texts`.
    """

    def __init__(
        self,
        context: FitContext,
        given: Assistant,
        reflector: ModelRef,
        train: Dataset,
        steering: Dataset,
        max_calls: int,
    ) -> None:
        self.context = context
        self.given = given
        self.train = train
        self.steering = steering
        self.reflector = Assistant("reflection", "answer", reflector, max_tokens=REFLECTION_TOKENS)
        self.max_calls = max_calls
        self.num_calls = 0
        self.num_proposals = 0
        self.num_steering = min(len(steering), max(MIN_STEERING, round(STEERING_SHARE * max_calls)))
        self.required = list_required(given)
        self.own_runs = find_own_runs(train) - list_runs(given.instructions)
        self.refused: Counter[str] = Counter()
        self._error: Exception | None = None
        self._started = time.perf_counter()

    def run(self) -> str:
        """Return the best instructions on the steering rows, and describe the search in the
        context's `params` and `notes`. Raises what a model raises.
        """
        from gepa.api import optimize

        adapter: Any = self  # gepa's types are protocols of classes with more members
        stop: Any = self.must_stop
        result: Any = optimize(
            {PART: self.given.instructions},
            trainset=list(self.train),
            valset=list(self.steering.examples[: self.num_steering]),
            adapter=adapter,
            reflection_minibatch_size=MINIBATCH,
            stop_callbacks=stop,
            logger=SimpleNamespace(log=lambda message: None),
            track_best_outputs=False,
            seed=self.context.seed,
        )
        texts: list[str] = [candidate[PART] for candidate in result.candidates]
        scores: list[float] = result.val_aggregate_scores
        best = self._pick(texts, scores)
        self.context.params["prompt_search"] = {
            "given": self.given.instructions,
            "found": texts[best],
            "scores": scores,
            "best": best,
            "steering_rows": self.num_steering,
            "calls": self.num_calls,
        }
        note = (
            f"the search made {self.num_calls:,} of {self.max_calls:,} calls; proposals: "
            f"{self.num_proposals:,}"
        )
        counts = {"better on training rows": len(texts) - 1, **self.refused}
        self.context.notes.append(
            ", ".join([note, *(f"{name}: {num:,}" for name, num in counts.items())])
        )
        return texts[best]

    def _pick(self, texts: Sequence[str], scores: Sequence[float]) -> int:
        """Return the index of the best text. The calls that are left answer further steering rows
        with the two best.
        """
        ranked = sorted(range(len(texts)), key=lambda index: (-scores[index], index))[:2]
        rows = self.steering.examples[self.num_steering :][: (self.max_calls - self.num_calls) // 2]
        sums = {index: scores[index] * self.num_steering for index in ranked}
        for index in ranked if rows and len(ranked) > 1 and self.context.has_time_for(0) else ():
            sums[index] += sum(self.evaluate(rows, {PART: texts[index]}).scores)
        return max(ranked, key=lambda index: (sums[index], -index))

    def must_stop(self, state: Any) -> bool:
        """Whether the next step might not fit into the calls or, under a budget, into half of the
        time; or nothing can be better. Raises the error of an earlier proposal, which gepa would
        only log.
        """
        if self._error:
            raise self._error
        is_over = self.num_calls + 2 * MINIBATCH + 1 + self.num_steering > self.max_calls
        has_time = self.context.has_time_for(time.perf_counter() - self._started)
        return is_over or max(state.program_full_scores_val_set) >= 1 or not has_time

    def evaluate(
        self, batch: Sequence[Example], candidate: Mapping[str, str], capture_traces: bool = False
    ) -> Any:
        """Answer and score rows; a row that comes twice is answered once."""
        from gepa.core.adapter import EvaluationBatch

        rows = Dataset(tuple({row.id: row for row in batch}.values()))
        self.num_calls += len(rows)
        assert self.num_calls <= self.max_calls, "must_stop comes before a step that might not fit"
        assistant = replace(self.given, instructions=candidate[PART])
        answered = self.context.evaluate(assistant, rows, Trial(self.num_calls, self.max_calls))
        by_id = {row.example.id: row for row in answered}
        answers = [by_id[row.id] for row in batch]
        return EvaluationBatch(answers, [row.score.value for row in answers], answers)

    def make_reflective_dataset(
        self, candidate: Mapping[str, str], eval_batch: Any, components_to_update: Sequence[str]
    ) -> dict[str, list[dict[str, ScoredAnswer]]]:
        """Return the answers of a minibatch, from which `propose_new_texts` writes its request."""
        return {PART: [{"row": row} for row in eval_batch.trajectories]}

    def propose_new_texts(
        self,
        candidate: Mapping[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, ScoredAnswer]]],
        components_to_update: Sequence[str],
    ) -> dict[str, str]:
        """Ask for new instructions; nothing is returned if they are refused."""
        try:
            return self._propose(
                candidate[PART], [record["row"] for record in reflective_dataset[PART]]
            )
        except Exception as error:  # noqa: BLE001 - gepa would log it and ask again; `must_stop` raises it
            self._error = error
            return {}

    def _propose(self, instructions: str, rows: Sequence[ScoredAnswer]) -> dict[str, str]:
        from gepa.strategies.instruction_proposal import InstructionProposalSignature

        self.num_calls = self.num_calls + 1
        self.num_proposals = self.num_proposals + 1
        records = [(row.example, row.answer.text, _write_feedback(row)) for row in rows]
        answer = self._ask(write_reflection(instructions, records, self.required))
        text = InstructionProposalSignature.output_extractor(answer.text)["new_instruction"]
        fault = "was cut at the length limit" if answer.truncated else self.find_fault(text)
        self.refused += Counter([f"refused, because it {fault}"] if fault else ())
        return {} if fault else {PART: text}

    def find_fault(self, text: str) -> str:
        """Return why a proposal is refused; "" if it is not."""
        if not text or len(text.split()) > MAX_WORDS:
            return f"has no text or over {MAX_WORDS} words"
        if any(name.casefold() not in text.casefold() for name in self.required):
            return "drops a part of the contract"
        if not self.own_runs.isdisjoint(list_runs(text)):
            return "copies a training row"
        wordings = [
            Candidate(PART, each) for each in (self.given, replace(self.given, instructions=text))
        ]
        model = self.context.models.get(self.given.model)
        num_fitting = len(find_fitting(wordings, model, [*self.train, *self.steering]))
        return "" if num_fitting == len(wordings) else "is too long for the model's context"

    def _ask(self, prompt: str) -> Answer:
        turns = (Message("user", prompt),)
        models = self.context.models
        name = f"{self.reflector.fingerprint}-{hash_text(prompt)}.jsonl"
        log = AnswerLog(self.context.folder / "answers" / name)
        ((_, answers),) = answer_in_batches(
            self.reflector,
            models,
            [name],
            lambda: self.reflector.build_requests([turns], models),
            log,
        )
        self.context.answer_seconds += answers[0].seconds
        return answers[0]


def list_required(given: Assistant) -> list[str]:
    """List the labels, fields and texts of the contract that the instructions name."""
    contract = given.contract or Contract()
    schema = contract.json_schema or {}
    names = [*contract.labels, *(name.removesuffix("?").strip() for name in contract.fields)]
    names += [*contract.must_contain, *(schema.get("required") or schema.get("properties") or ())]
    return [name for name in names if name.casefold() in given.instructions.casefold()]


def find_own_runs(train: Dataset) -> set[tuple[str, ...]]:
    """Find the runs of words that one training row alone has: what several answers share is their
    form.
    """
    texts = [*{row.text for row in train}, *(row.output for row in train)]
    counts = Counter(run for text in texts for run in list_runs(text))
    return {run for run, count in counts.items() if count == 1}


def list_runs(text: str) -> set[tuple[str, ...]]:
    """List the runs of COPIED_WORDS words; case and signs are ignored."""
    words = re.findall(r"\w+", text.casefold())
    return {
        tuple(words[begin : begin + COPIED_WORDS]) for begin in range(len(words) - COPIED_WORDS + 1)
    }


def write_reflection(
    instructions: str, records: Sequence[tuple[Example, str, str]], required: Sequence[str]
) -> str:
    """Write gepa's request for new instructions, with (row, answer, feedback), and the words that
    must stay.
    """
    from gepa.strategies.instruction_proposal import InstructionProposalSignature

    names = ("Inputs", "Generated Outputs", "Feedback")
    dataset = [
        {
            name: text[:MAX_TEXT]
            for name, text in zip(names, (row.text, answer, feedback), strict=True)
        }
        for row, answer, feedback in records
    ]
    values = {"current_instruction_doc": instructions, "dataset_with_feedback": dataset}
    prompt = InstructionProposalSignature.prompt_renderer(values)
    words = f" Keep these words: {', '.join(required)}." if required else ""
    return (
        f"{prompt}\n"
        "\n"
        f"Do not quote the examples, because the instructions are for other inputs.{words}"
    )


def _write_feedback(row: ScoredAnswer) -> str:
    if row.score.value >= 1:
        return "This answer is right."
    failures = (
        f" It breaks these rules: {', '.join(row.answer.failures)}." if row.answer.failures else ""
    )
    return f"Score {row.score.value:.2f} of 1.{failures} Right answer: {row.example.output}"
