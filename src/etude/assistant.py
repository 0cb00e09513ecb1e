"""The Assistant: the result of every method, which is evaluated, chatted with and served.

Every method combines the same ingredients (instructions, examples in the prompt, weights,
restricted answers), so there is one class and no subclass.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, overload

from etude.base.files import atomic_folder, link_or_copy, read_json
from etude.base.formatting import format_share
from etude.base.typed_json import from_json
from etude.data.formats.tools import append_tools, is_only_tools
from etude.errors import RUN_REMEDY, InputError, RunError
from etude.index.build import DEFAULT_ENCODER
from etude.index.passages import Passage
from etude.index.search import Search, load_search
from etude.limits.clauses import find_clause_limits
from etude.limits.scope import Scope, get_question
from etude.models.backend import Capability
from etude.models.registry import Models, find_backend
from etude.render import merge_instructions
from etude.stats.answer_confidence import AnswerConfidence
from etude.stats.recalibration import Recalibration
from etude.task.contract import Contract
from etude.task.definition import LIMIT_ACTS, Limit
from etude.task.endpoint import SERVED, is_url, split_served
from etude.task.questions import join_answers, split_answers
from etude.types import (
    Answer,
    Completion,
    Example,
    Kind,
    Message,
    Model,
    ModelRef,
    PromptFacts,
    Request,
    Role,
    SearchRef,
    TaskQuestion,
)

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder

FORMAT = 1
FILE = "assistant.json"
ADAPTER = "adapter"
TRAINING = "training"
SEARCHES = ("search", "similar", TRAINING)
"""Fields with a search, each saved in a folder of its name."""
Input = str | Sequence[Message | Mapping[str, str]]  # a text, or a chat as a list of turns
_ALWAYS_SAVED = {
    *("format", "method", "kind", "model", "instructions", "instructions_role"),
    *("shots", "choices", "contract", "max_tokens"),
}
_SAVED_WITH = {"num_passages": "search", "pool": "similar", "num_similar": "similar"}
"""Setting -> the setting with which it is saved. All others are saved if they are not the
default.
"""
TOKEN_MARGIN = (
    32  # a prompt may have this many tokens more or fewer than its parts counted separately
)


class Searches(NamedTuple):
    """The loaded searches of an assistant."""

    passages: Search | None = None
    similar: Search | None = None  # searches the questions of the pool
    training: Search | None = None  # searches all training questions
    clause_encoder: Encoder | None = None


NO_SEARCHES = Searches()


@dataclass(frozen=True)
class Assistant:
    """A fitted assistant: a value that defines how inputs become requests to a model, and
    completions become answers.

    It has no weights. `prepare` and `finish` are the two halves of answering, so a server that
    streams or batches runs the same code that was measured.
    """

    method: str
    kind: Kind
    model: ModelRef
    """The weights; `model.adapter` is the folder with the trained adapter, or None."""
    instructions: str = ""
    instructions_role: Literal["system", "user"] = "system"
    """The turn with the instructions: a system message, or the beginning of the first user turn. If
    the model's template has no system turn, they are always in the user turn.
    """
    shots: tuple[Example, ...] = ()
    """Examples in the prompt, in this order; the last ones are dropped if not all fit."""
    choices: tuple[str, ...] = ()
    """If not empty, every answer is one of these."""
    contract: Contract | None = None
    max_tokens: int = 256
    search: SearchRef | None = None
    """The search for passages."""
    num_passages: int = 1
    """Passages put after a question; fewer if they do not fit the context."""
    pool: tuple[Example, ...] = ()
    """Examples of which the `num_similar` nearest to the question go into the prompt, the nearest
    last.
    """
    similar: SearchRef | None = None
    """The search that ranks `pool`."""
    num_similar: int = 0
    enforced: bool = False
    """Whether decoding is constrained to the contract's grammar."""
    recalibration: Recalibration | None = None
    """Converts the model's probability of a label to the confidence; None if both are the same."""
    handover: float | None = None
    """Hand-over score below which the answer is handed over to a person; None means never."""
    label_handover: Mapping[str, float] = field(default_factory=dict)
    """Label -> its own threshold, for labels whose wrong answers cost more or less than those of
    other labels.
    """
    answer_confidence: AnswerConfidence | None = None
    """Computes the confidence of a text; None for labels, and if nothing is handed over."""
    handover_sentence: str = ""
    """What is said instead of an answer that is handed over, from `handover:`; see
    `unsure_sentence`.
    """
    scores_tokens: bool = False
    """Whether to ask the model for the log-probabilities of texts."""
    training: SearchRef | None = None
    """The search for how near a question is to the training questions, a part of the hand-over
    score.
    """
    scope: Scope | None = None
    """Decides which questions are turned away with the sentence of a limit, before any model is
    asked.
    """
    clause_limits: tuple[Limit, ...] = ()
    """Limits that are judged clause by clause, before the scope."""
    questions: tuple[TaskQuestion, ...] = ()
    """The questions that an answer, a JSON object, has to answer; empty if there is only one."""
    question_recalibrations: Mapping[str, Recalibration] = field(default_factory=dict)
    """Like `recalibration`, for the questions where it helps."""
    row_systems: bool = False
    """Whether an input may have its own system turn, as in the rows with which the assistant was
    measured.
    """

    @property
    def needs(self) -> tuple[Capability, ...]:
        wanted: dict[Capability, object] = {
            "generate": True,
            "choices": self.choices,
            "grammar": self.enforced,
        }
        return tuple(capability for capability, is_needed in wanted.items() if is_needed)

    @property
    def has_limits(self) -> bool:
        """Whether questions may be turned away before any model is asked."""
        return self.scope is not None or bool(self.clause_limits)

    @property
    def unsure_sentence(self) -> str:
        """What the user reads instead of an answer that is handed over; "" if the user reads the
        answer. If the task sets no `handover_sentence`, an assistant that writes texts says the
        sentence of the limit `to_person`.
        """
        hands_over_texts = self.handover is not None and self.kind != "classify"
        limits = self.scope.limits if self.scope and hands_over_texts else ()
        to_person = next((limit.say for limit in limits if limit.name == "to_person"), "")
        return self.handover_sentence or to_person

    def without_examples(self) -> Assistant:
        """Return the same assistant without examples in the prompt."""
        return replace(self, shots=(), pool=(), similar=None, num_similar=0)

    def without_limits(self) -> Assistant:
        """Return the same assistant without limits."""
        return replace(self, scope=None, clause_limits=())

    def without_handover(self) -> Assistant:
        """Return the same assistant without its recalibration and hand-over threshold."""
        return replace(
            self,
            recalibration=None,
            handover=None,
            label_handover={},
            question_recalibrations={},
            answer_confidence=None,
            handover_sentence="",
            training=None,
        )

    def build_messages(
        self, turns: Sequence[Message], num_shots: int | None = None
    ) -> tuple[Message, ...]:
        """Put instructions and the first `num_shots` examples (None: all) before turns.

        A system turn replaces the instructions; if it only offers functions, it is appended to
        them. System turns of examples are left out.
        """
        instructions = self.instructions
        if turns and turns[0].role == "system":
            own = turns[0].content
            turns = turns[1:]
            instructions = append_tools(instructions, own) if is_only_tools(own) else own
        shot_messages = [
            message
            for shot in self.shots[:num_shots]
            for message in (*shot.input, Message("assistant", shot.output))
            if message.role != "system"
        ]
        turns = (*shot_messages, *turns)
        if not instructions:
            return turns
        if self.instructions_role == "system":
            return (Message("system", instructions), *turns)
        return merge_instructions(instructions, turns)

    def build_requests(self, inputs: Sequence[Sequence[Message]], models: Models) -> list[Request]:
        """`prepare` with the assistant's model and its searches."""
        return self.prepare(inputs, models.get(self.model, *self.needs), self.load_searches(models))

    def load_searches(self, models: Models) -> Searches:
        """Load the searches, once for all assistants that share them."""

        def load_shared(ref: SearchRef | None) -> Search | None:
            if ref is None:
                return None
            return models.load_once(
                ref, lambda: load_search(ref.folder, models.load_search_encoder)
            )

        encoder = models.load_shared_encoder(DEFAULT_ENCODER) if self.clause_limits else None
        passages, similar, training = map(load_shared, (self.search, self.similar, self.training))
        return Searches(passages, similar, training, encoder)

    def prepare(
        self, inputs: Sequence[Sequence[Message]], model: Model, searches: Searches = NO_SEARCHES
    ) -> list[Request]:
        """Build a request for each input, in order.

        Each request has the passages and examples that the searches find. Passages are dropped, the
        last one first, then examples, until the prompt and `max_tokens` fit the model's context;
        `shots_dropped` counts the examples. If a prompt is too long even without them, the model
        refuses it. A question that the scope turns away already has its `reply`, and no passages or
        examples.
        """
        limits = self.find_limits(inputs, searches.clause_encoder)
        answered = [turns for turns, limit in zip(inputs, limits, strict=True) if limit is None]
        prompts = iter(self._build_prompts(answered, model, searches))
        requests = [
            Request(
                tuple(turns), 0, reply=Completion(limit.say, "stop", 0, 0, 0, 0.0, None, limit.name)
            )
            if limit
            else next(prompts)
            for turns, limit in zip(inputs, limits, strict=True)
        ]
        if searches.training:
            nearness = searches.training.measure_nearness(list(map(get_question, inputs)))
            pairs = zip(requests, nearness, strict=True)
            requests = [replace(request, nearness=value) for request, value in pairs]
        return requests

    def find_limits(
        self, inputs: Sequence[Sequence[Message]], clause_encoder: Encoder | None
    ) -> list[Limit | None]:
        """Find the limit that turns each input away, without asking a model; None if it is to be
        answered. Limits of clauses come before the scope, so a question that might be of both is
        one of danger.
        """
        limits: list[Limit | None] = [None] * len(inputs)
        if self.scope:
            limits = self.scope.find_limits(inputs)
        if not self.clause_limits:
            return limits
        assert clause_encoder is not None, "an assistant with limits of clauses needs its searches"
        clause_limits = find_clause_limits(self.clause_limits, inputs, clause_encoder)
        return [first or second for first, second in zip(clause_limits, limits, strict=True)]

    def _build_prompts(
        self, inputs: Sequence[Sequence[Message]], model: Model, searches: Searches
    ) -> list[Request]:
        search, similar, *_ = searches
        assert (search is None) == (self.search is None), (
            "an assistant with passages needs its search"
        )
        assert (similar is None) == (self.similar is None), (
            "an assistant with a pool needs its search"
        )
        if similar is not None:
            ranked = similar.find(list(map(get_question, inputs)), self.num_similar)
            passages_only = searches._replace(similar=None)
            return [
                self._build_with_nearest(turns, positions, model, passages_only)
                for turns, positions in zip(inputs, ranked, strict=True)
            ]
        limit = PromptLimit(self, model)
        if search is None:
            return [self._build_request(turns, limit.count_shots(turns)) for turns in inputs]
        # The second score is a signal even if only one passage is used.
        hits_by_input = search.find_scored(
            list(map(get_question, inputs)), max(2, self.num_passages)
        )
        requests = []
        for turns, hits in zip(inputs, hits_by_input, strict=True):
            passages = [search.passages[position] for position, _ in hits[: self.num_passages]]
            request = self._build_with_passages(turns, passages, limit)
            requests.append(replace(request, passage_scores=tuple(score for _, score in hits[:2])))
        return requests

    def _build_with_nearest(
        self, turns: Sequence[Message], positions: Sequence[int], model: Model, searches: Searches
    ) -> Request:
        nearest = [self.pool[position] for position in positions]
        for num in range(len(nearest), -1, -1):
            candidate = replace(self.without_examples(), shots=tuple(reversed(nearest[:num])))
            if num == 0 or PromptLimit(candidate, model).fits(turns, num):
                break
        (request,) = candidate._build_prompts([turns], model, searches)
        return replace(request, shots_dropped=request.shots_dropped + len(nearest) - num)

    def _build_with_passages(
        self, turns: Sequence[Message], passages: Sequence[Passage], limit: PromptLimit
    ) -> Request:
        for num in range(len(passages), 0, -1):
            extended = add_passages(turns, passages[:num])
            if limit.fits(extended):
                request = self._build_request(extended, limit.count_shots(extended))
                return replace(request, citations=tuple(passage.name for passage in passages[:num]))
        return self._build_request(turns, limit.count_shots(turns))

    def finish(
        self,
        ids: Sequence[str],
        completions: Sequence[Completion],
        facts: Sequence[PromptFacts] = (),
    ) -> list[Answer]:
        """Build the answer to each id from its completion; `facts` of the requests are in the same
        order as the completions, or empty if they are unknown.
        """
        facts = facts or [PromptFacts()] * len(completions)
        return [self._build_answer(*row) for row in zip(ids, completions, facts, strict=True)]

    @overload
    def answer(self, inputs: Input, models: Models | None = None) -> Answer: ...  # type: ignore[overload-overlap]
    @overload
    def answer(self, inputs: Sequence[Input], models: Models | None = None) -> list[Answer]: ...
    def answer(
        self, inputs: Input | Sequence[Input], models: Models | None = None
    ) -> Answer | list[Answer]:
        """Answer one input, or a list of inputs in order: `prepare`, the model, `finish`.

        An input is a text or a chat: a list of turns, each a Message or {"role": ..., "content":
        ...}, that ends with the user's. Without `models` the weights are loaded once in this
        process and stay loaded. Raises InputError for a chat without a last turn of the user, or
        with a system message unless `row_systems`.
        """
        is_single = isinstance(inputs, str) or isinstance(
            next(iter(inputs), None), Message | Mapping
        )
        chats = [
            self._parse_turns(chat)
            for chat in cast(Sequence[Input], [inputs] if is_single else inputs)
        ]
        models = models or get_shared_models()
        requests = self.build_requests(chats, models)
        answers = self.finish(
            [str(number) for number in range(len(chats))],
            complete_requests(models.get(self.model), requests),
            [request.facts for request in requests],
        )
        return answers[0] if is_single else answers

    def stream(self, chat_input: Input, models: Models | None = None) -> Iterator[str]:
        """Yield the answer to one input piece by piece; as one piece if only its end shows what is
        said.
        """
        models = models or get_shared_models()
        if self.unsure_sentence:
            return iter([self.answer([chat_input], models)[0].shown])
        return stream_request(
            models.get(self.model), self.build_requests([self._parse_turns(chat_input)], models)[0]
        )

    def _parse_turns(self, chat_input: Input) -> tuple[Message, ...]:
        if isinstance(chat_input, str):
            return (Message("user", chat_input),)
        turns = tuple(
            turn
            if isinstance(turn, Message)
            else Message(cast(Role, turn["role"]), turn["content"])
            for turn in chat_input
        )
        roles = [turn.role for turn in turns]
        speakers = roles[1:] if self.row_systems and roles[:1] == ["system"] else roles
        if not {"user", "assistant"}.issuperset(speakers) or speakers[-1:] != ["user"]:
            message = "a chat must have only user and assistant turns, and end with a user turn"
            remedy = (
                "leave out system messages (the assistant has its own instructions) and answers "
                "at the end"
            )
            raise InputError.of("inputs", message, ", ".join(roles), remedy)
        return turns

    def _build_request(self, turns: Sequence[Message], num_shots: int) -> Request:
        dropped = len(self.shots) - num_shots
        grammar = self.contract.grammar if self.enforced and self.contract else None
        messages = self.build_messages(turns, num_shots)
        descriptions = self.contract.descriptions if self.contract else {}
        return Request(
            messages,
            self.max_tokens,
            self.choices,
            dropped,
            grammar=grammar,
            descriptions=descriptions,
            scores_tokens=self.scores_tokens,
            questions=self.questions,
        )

    def _build_answer(self, row_id: str, completion: Completion, facts: PromptFacts) -> Answer:
        text = completion.text.strip()
        if completion.limit:
            is_for_person = LIMIT_ACTS[completion.limit] == "hand_over"
            return Answer(
                *(row_id, text, None, None, (), None, 0, 0, 0, completion.seconds, False),
                handed_over=is_for_person,
                limit=completion.limit,
            )
        # Only with choices is the log-probability that of the whole answer among all possible ones.
        confidence = (
            math.exp(completion.logprob)
            if self.choices and completion.logprob is not None
            else None
        )
        failures = self.contract.check(text) if self.contract else ()
        answer = Answer(
            id=row_id,
            text=text,
            value=self.contract.parse(text) if self.contract else text,
            keeps_contract=not failures if self.contract else None,
            failures=failures,
            confidence=confidence,
            prompt_tokens=completion.prompt_tokens,
            cached_tokens=completion.cached_tokens,
            answer_tokens=completion.answer_tokens,
            seconds=completion.seconds,
            truncated=completion.finish == "length",
            shots_dropped=facts.shots_dropped,
            citations=facts.citations,
            nearness=facts.nearness,
            confidences=self._rate_questions(completion),
        )
        if self.kind != "classify":
            answer = replace(
                answer, signals=_measure_signals(answer, completion, facts.passage_scores)
            )
        answer = self.recalibrate_questions(answer)
        return self.rate(answer, answer.confidence)

    def recalibrate_questions(self, answer: Answer) -> Answer:
        """Replace the confidences that the model states by recalibrated ones. Their product is the
        probability that all questions are answered rightly.
        """
        if not answer.confidences:
            return answer
        confidences = dict(answer.confidences)
        maps = self.question_recalibrations
        confidences |= {
            name: maps[name].apply(confidences[name]) for name in maps if name in confidences
        }
        confidence = (
            math.prod(confidences.values()) if len(confidences) == len(self.questions) else None
        )
        return replace(answer, confidences=confidences, confidence=confidence)

    def _rate_questions(self, completion: Completion) -> dict[str, float]:
        """Return the probability of the answer to each question, if the model states it."""
        stated = completion.choice_logprobs
        answers = split_answers(completion.text) if self.questions else {}
        keys = {name: join_answers({name: label}) for name, label in answers.items()}
        return {name: math.exp(stated[key]) for name, key in keys.items() if key in stated}

    def rate(self, answer: Answer, stated: float | None) -> Answer:
        """Return the answer with its confidence, and with the decision to hand it over. The
        confidence is computed from `stated`, the probability that the model states, or from the
        signals of a text.
        """
        if self.answer_confidence is not None:
            stated = self.answer_confidence.apply(answer.signals)
        rated = replace(answer, confidence=stated, stated_confidence=None)
        if stated is not None and self.recalibration:
            # All questions together cannot be right more often than the one with the lowest
            # confidence.
            confidence = min(self.recalibration.apply(stated), *answer.confidences.values(), 1.0)
            rated = replace(rated, confidence=confidence, stated_confidence=stated)
        return self.hand_over(rated)

    def hand_over(self, answer: Answer) -> Answer:
        """Return a rated answer, handed over if its score is below the threshold."""
        score = answer.handover_score
        threshold = self.label_handover.get(str(answer.value), self.handover)
        handed_over = score is not None and threshold is not None and score < threshold
        return replace(
            answer, handed_over=handed_over, sentence=self.unsure_sentence if handed_over else ""
        )

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that affects answers, including adapter files; the method's name is
        left out.
        """
        digest = hashlib.sha256(replace(self, method="")._to_json().encode())
        adapter = self.model.adapter
        for file in (
            sorted(path for path in adapter.rglob("*") if path.is_file()) if adapter else ()
        ):
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the assistant with its adapter and searches to `folder` atomically (see
        `atomic_folder`).

        The bytes depend only on the assistant, not on time or path.
        """
        folders = {name: ref.folder for name in SEARCHES if (ref := getattr(self, name))}
        if self.model.adapter is not None:
            folders[ADAPTER] = self.model.adapter
        with atomic_folder(folder) as temporary:
            (temporary / FILE).write_text(self._to_json(), encoding="utf-8")
            for name, source in folders.items():
                copytree(source, temporary / name, copy_function=link_or_copy)

    def _to_json(self) -> str:
        body = {"format": FORMAT, **asdict(self), "model": self.model.name}
        body["contract"] = asdict(self.contract) if self.contract else None
        if self.contract and not self.contract.descriptions:
            del body["contract"]["descriptions"]
        body |= {name: body[name] and body[name]["fingerprint"] for name in SEARCHES}
        # Settings of unused features are left out, so that new features do not change fingerprints.
        default = Assistant("", self.kind, self.model)
        owners = {name: _SAVED_WITH.get(name, name) for name in body.keys() - _ALWAYS_SAVED}
        unused = {
            name
            for name, owner in owners.items()
            if getattr(self, owner) == getattr(default, owner)
        }
        body = {name: value for name, value in body.items() if name not in unused}
        for shot in (*body["shots"], *body.get("pool", ())):
            del shot["location"], shot["source"]
        # Keys keep their order, because a schema is described in the order of its properties.
        return json.dumps(body, ensure_ascii=False, indent=1, default=dict)


def complete_requests(model: Model, requests: Sequence[Request]) -> list[Completion]:
    """Answer requests in order; those with a reply are not sent to the model."""
    asked = [request for request in requests if request.reply is None]
    completions = iter(model.generate(asked) if asked else ())
    return [request.reply or next(completions) for request in requests]


def stream_request(model: Model, request: Request) -> Iterator[str]:
    """Yield the answer to a request piece by piece; if it has a reply, yield that as one piece."""
    return iter([request.reply.text]) if request.reply else model.stream(request)


def describe_doubt(answer: Answer) -> str:
    """Describe why an answer was handed over: its confidence, and how near the question is to
    training questions.
    """
    sure = format_share(answer.confidence or 0.0)
    if answer.nearness is None:
        return f"only {sure} certain"
    return f"{sure} certain, with a nearness of {answer.nearness:.2f} to the training questions"


def _measure_signals(
    answer: Answer, completion: Completion, passage_scores: Sequence[float]
) -> dict[str, float]:
    logprob = completion.logprob
    num_tokens = max(1, completion.answer_tokens)
    signals = {
        "logprob": logprob,
        "mean_logprob": None if logprob is None else logprob / num_tokens,
        "min_logprob": completion.min_logprob,
        "form": float(not answer.failures and not answer.truncated),
        "nearness": answer.nearness,
        "passage_score": passage_scores[0] if passage_scores else None,
        "passage_lead": passage_scores[0] - passage_scores[1] if len(passage_scores) > 1 else None,
    }
    return {name: value for name, value in signals.items() if value is not None}


@cache
def get_shared_models() -> Models:
    """Return the models of this process, which keep what they load."""
    return Models()


@dataclass(frozen=True)
class PromptLimit:
    """Checks how much of an assistant's prompt fits a model's context, with `max_tokens` reserved
    for the answer.

    Tokens are counted only if the number of bytes does not already decide (a token has at least one
    byte). Tokens of the examples are counted only once.
    """

    assistant: Assistant
    model: Model
    _shot_tokens: dict[int, int] = field(default_factory=dict, init=False)
    _template_bytes: dict[tuple[str, ...], int] = field(default_factory=dict, init=False)
    """Roles of turns -> bytes that the template adds to them; rendering every prompt takes
    longer.
    """

    @property
    def tokens(self) -> int:
        """The longest prompt, in tokens."""
        return self.model.context - self.assistant.max_tokens

    def fits(self, turns: Sequence[Message], num_shots: int = 0) -> bool:
        """Whether the prompt for these turns fits with the first `num_shots` examples."""
        messages = self.assistant.build_messages(turns, num_shots)
        return (
            self.is_clearly_within(messages, self.tokens)
            or self.model.count_tokens(messages) <= self.tokens
        )

    def count_shots(self, turns: Sequence[Message]) -> int:
        """Count how many of the first examples fit before these turns; 0 also if the turns alone do
        not fit.
        """
        num_shots = len(self.assistant.shots)
        if not num_shots or self.is_clearly_within(
            self.assistant.build_messages(turns), self.tokens
        ):
            return num_shots
        # Start with a low estimate from the tokens of the examples, then count whole prompts.
        room = (
            self.tokens
            - self.model.count_tokens(self.assistant.build_messages(turns, 0))
            - TOKEN_MARGIN
        )
        num_fitting = max(
            0, bisect_right(range(num_shots + 1), room, key=self._count_shot_tokens) - 1
        )
        while num_fitting < num_shots and self.fits(turns, num_fitting + 1):
            num_fitting += 1
        return num_fitting

    def is_clearly_within(self, messages: Sequence[Message], tokens: int) -> bool:
        """Whether a prompt has so few bytes that it cannot have more than `tokens`."""
        roles = tuple(message.role for message in messages)
        contents = sum(len(message.content.encode()) for message in messages)
        if roles not in self._template_bytes:
            self._template_bytes[roles] = len(self.model.render_text(messages).encode()) - contents
        if contents + 2 * self._template_bytes[roles] + TOKEN_MARGIN <= tokens:
            return True
        return len(self.model.render_text(messages).encode()) <= tokens

    def _count_shot_tokens(self, num_shots: int) -> int:
        if num_shots not in self._shot_tokens:
            question = (Message("user", "."),)
            without, with_shots = (
                self.model.count_tokens(self.assistant.build_messages(question, num))
                for num in (0, num_shots)
            )
            self._shot_tokens[num_shots] = with_shots - without
        return self._shot_tokens[num_shots]


def with_engine(engine: str, assistant: Assistant) -> Assistant:
    """Return the assistant with its weights in an engine: local, llama_cpp, `served:URL#BASE` (a
    server that gets the adapter), URL#MODEL (which is the whole weights), or auto for the engine
    that was measured. An assistant without weights on this machine is returned unchanged.
    """
    name = split_served(assistant.model.name)[0].removeprefix("llama_cpp:")
    if engine == "auto" or find_backend(name).name != "local":
        return assistant
    if is_url(engine):
        return replace(assistant, model=ModelRef(engine))
    if engine.startswith(SERVED):
        name = f"{SERVED}{name}@{engine.removeprefix(SERVED)}"
    elif engine != "local":
        name = f"{engine}:{name}"
    return replace(assistant, model=replace(assistant.model, name=name))


def load(folder: Path | str) -> Assistant:
    """Load the assistant saved in `folder`, without weights, which the first answer loads.

    Raises RunError if the folder has no readable assistant, or one in another format.
    """
    folder = Path(folder).absolute()  # a worker on a cluster has another working directory
    body = read_json(folder / FILE)
    if body.get("format") != FORMAT:
        raise RunError(
            f"{folder / FILE} was written by an incompatible version of Étude. {RUN_REMEDY}"
        )
    try:
        assistant = _parse_assistant(body, folder)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"{folder / FILE} is not a saved assistant ({error}). {RUN_REMEDY}"
        ) from error
    if assistant.model.adapter is not None:
        get_shared_models().remove(
            assistant.model
        )  # another training may have replaced the adapter
    return assistant


def add_passages(turns: Sequence[Message], passages: Sequence[Passage]) -> tuple[Message, ...]:
    """Append passages to the last turn, with an empty line before each."""
    *earlier, last = turns
    texts = (last.content, *(passage.text for passage in passages))
    return (*earlier, replace(last, content="\n\n".join(texts)))


def _parse_assistant(body: dict[str, Any], folder: Path) -> Assistant:
    adapter = folder / ADAPTER
    values = body | {
        "model": {"name": body["model"], "adapter": str(adapter) if adapter.is_dir() else None}
    }
    for name in SEARCHES:
        if body.get(name) is not None:
            values[name] = {"folder": str(folder / name), "fingerprint": body[name]}
    assistant = from_json(Assistant, values)
    if json.loads(assistant._to_json()) != body:
        raise ValueError("settings are unknown or missing")
    return assistant
