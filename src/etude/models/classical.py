"""Models without a language model: a constant answer, the nearest example, and linear classifiers over TF-IDF or over
the vectors of an encoder.

They answer requests like any other Model, so that a baseline is an Assistant like any other. Saved
as JSON and safetensors; nothing is pickled. Their logits become probabilities by one temperature
fitted on held-out rows (Guo et al. 2017, arXiv 1706.04599).
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix, hstack
from scipy.special import log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from etude.errors import ModelError
from etude.models.backend import BatchedModel
from etude.models.registry import Models
from etude.types import CLASSICAL, Completion, Message, ModelRef, Request

if TYPE_CHECKING:
    from etude.models.encoder import Encoder

ANALYSERS: tuple[dict[str, Any], ...] = (
    {"analyzer": "word", "ngram_range": (1, 2), "sublinear_tf": True, "dtype": np.float32},
    {"analyzer": "char_wb", "ngram_range": (2, 5), "sublinear_tf": True, "dtype": np.float32},
)
"""Word 1-2-grams and character 2-5-grams, the strongest cheap features for short texts."""
INVERSE_PENALTY = 10.0
"""C of the logistic regression over an encoder's vectors. On rows held back from banking77's train file, with 5 and 10
rows a label and with 8,000: 78.7, 85.3 and 92.5%; with C = 1 75.7, 82.2 and 90.6%, with 100 77.9, 85.8 and 92.2%."""


class Predictor(Protocol):
    """What the models differ in."""

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Answer and log-probability for each text."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the predictor into an existing folder."""
        ...


class ClassicalModel(BatchedModel):
    """A Predictor behind the Model protocol. It reads the last user turn and counts no tokens."""

    rows_per_batch = 256

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(CLASSICAL)
        self.predictor = predictor

    def complete(self, requests: Sequence[Request]) -> tuple[Completion, ...]:
        """The predictions."""
        started = time.perf_counter()
        predicted = self.predictor.predict([request.messages[-1].content for request in requests])
        seconds = (time.perf_counter() - started) / len(requests)
        return tuple(Completion(text, "stop", 0, 0, 0, seconds, logprob) for text, logprob in predicted)

    def render_text(self, messages: Sequence[Message]) -> str:
        """The text the features are taken from."""
        return messages[-1].content

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Always 0: there is no tokenizer."""
        return 0


@dataclass
class Constant:
    """Always the same answer: the most frequent output."""

    text: str
    logprob: float

    @classmethod
    def fit(cls, outputs: Sequence[str]) -> Constant:
        """The most frequent of the outputs; the first of equally frequent ones."""
        counts: dict[str, int] = {}
        for output in outputs:
            counts[output] = counts.get(output, 0) + 1
        text = max(counts, key=lambda output: counts[output])
        return cls(text, float(np.log(counts[text] / len(outputs))))

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The constant and the log of its share of the training outputs."""
        return [(self.text, self.logprob)] * len(texts)

    def save(self, folder: Path) -> None:
        """One JSON file."""
        _write_head(folder, "constant", text=self.text, logprob=self.logprob)

    @classmethod
    def load(cls, folder: Path, head: dict[str, Any], models: Models) -> Constant:
        """Reads what `save` wrote."""
        return cls(head["text"], head["logprob"])


@dataclass
class Nearest:
    """The output of the training input with the highest TF-IDF cosine.

    The log-probability is the log of that cosine: a ranking of trust, not a calibrated probability.
    """

    texts: Sequence[str]
    outputs: Sequence[str]
    features: Features = field(init=False)
    rows: csr_matrix = field(init=False)

    def __post_init__(self) -> None:
        self.features, self.rows = Features.fit(self.texts)

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Output of the nearest training row; the first row of equally near ones."""
        cosines = (self.features.transform(texts) @ self.rows.T).toarray() / len(ANALYSERS)
        best = cosines.argmax(axis=1)
        logs = np.log(np.clip(cosines[np.arange(len(best)), best], 1e-9, 1.0))
        return [(self.outputs[row], float(log)) for row, log in zip(best, logs, strict=True)]

    def save(self, folder: Path) -> None:
        """The training rows; the features are computed again at load."""
        _write_head(folder, "nearest")
        lines = (json.dumps(row, ensure_ascii=False) for row in zip(self.texts, self.outputs, strict=True))
        (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, head: dict[str, Any], models: Models) -> Nearest:
        """Reads what `save` wrote."""
        lines = (folder / "rows.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        return cls([text for text, _ in rows], [output for _, output in rows])


@dataclass
class Linear:
    """A linear classifier: over TF-IDF a one-against-rest SVM (scikit-learn's LinearSVC, C = 1), over the vectors of
    an encoder a logistic regression."""

    labels: tuple[str, ...]
    features: Features | Encoder
    coefficients: NDArray[np.float32]
    """Shape (labels, features)."""
    intercepts: NDArray[np.float32]
    temperature: float = 1.0

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Sequence[str],
        seed: int,
        temperature: float = 1.0,
        encoder: Encoder | None = None,
    ) -> Linear:
        """Fits on at least two distinct labels; over the vectors of `encoder` if there is one, else over TF-IDF."""
        features, rows = (encoder, encoder.embed(texts)) if encoder else Features.fit(texts)
        model = (
            LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
            if encoder
            else LinearSVC(C=1.0, random_state=seed)
        )
        model.fit(rows, labels)
        coefficients, intercepts = model.coef_, model.intercept_
        if len(model.classes_) == 2:  # one row stands for both classes
            coefficients, intercepts = (
                np.vstack([-coefficients, coefficients]),
                np.r_[-intercepts, intercepts],
            )
        return cls(
            tuple(str(label) for label in model.classes_),
            features,
            coefficients.astype(np.float32),
            intercepts.astype(np.float32),
            temperature,
        )

    def margins(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Signed distances or log-odds, shape (texts, labels)."""
        margins: NDArray[np.float32] = _matrix(self.features, texts) @ self.coefficients.T + self.intercepts
        return margins

    def calibrated(self, texts: Sequence[str], labels: Sequence[str]) -> float:
        """The temperature with the least log-loss on held-out rows (labels unseen in training left out)."""
        index = {label: number for number, label in enumerate(self.labels)}
        known = [row for row, label in enumerate(labels) if label in index]
        if not known:
            return self.temperature
        margins = self.margins([texts[row] for row in known])
        gold = np.array([index[labels[row]] for row in known])

        def loss(log_temperature: float) -> float:
            logs = log_softmax(margins / np.exp(log_temperature), axis=1)
            return -float(logs[np.arange(len(gold)), gold].mean())

        return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded").x))

    def log_probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Log-probability of every label, shape (texts, labels)."""
        logs: NDArray[np.float32] = log_softmax(self.margins(texts) / self.temperature, axis=1)
        return logs

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The label of the largest margin and its log-probability."""
        logs = self.log_probabilities(texts)
        best = logs.argmax(axis=1)
        return [(self.labels[label], float(logs[row, label])) for row, label in enumerate(best)]

    def save(self, folder: Path) -> None:
        """Weights as safetensors; vocabularies as JSON, or the name of the encoder, with its weights if it is tuned."""
        tensors = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        encoder = None
        if isinstance(self.features, Features):
            tensors |= self.features.save(folder)
        else:
            encoder = {"name": self.features.name, "tuned": self.features.tuned}
            if self.features.tuned:
                self.features.save(folder / "encoder")
        _write_head(folder, "linear", labels=self.labels, temperature=self.temperature, encoder=encoder)
        save_file(
            {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
            folder / "weights.safetensors",
        )

    @classmethod
    def load(cls, folder: Path, head: dict[str, Any], models: Models) -> Linear:
        """Reads what `save` wrote."""
        tensors = load_file(folder / "weights.safetensors")
        return cls(
            tuple(head["labels"]),
            _encoder(head["encoder"], folder, models) or Features.load(folder, tensors),
            tensors["coefficients"],
            tensors["intercepts"],
            head["temperature"],
        )


def _encoder(told: dict[str, Any] | None, folder: Path, models: Models) -> Encoder | None:
    if told is None:
        return None
    name = told["name"]
    return models.encoder(name, folder / "encoder") if told["tuned"] else models.shared_encoder(name)


def _matrix(features: Features | Encoder, texts: Sequence[str]) -> Any:
    """Features of texts, shape (texts, features), float32: sparse, or an array."""
    return features.transform(texts) if isinstance(features, Features) else features.embed(texts)


@dataclass
class Features:
    """The two TF-IDF blocks, each row of each block of length one."""

    vectorisers: list[TfidfVectorizer]

    @classmethod
    def fit(cls, texts: Sequence[str]) -> tuple[Features, csr_matrix]:
        """Learns vocabulary and document frequencies; returns the features and what `transform` gives of the texts."""
        vectorisers = [_vectoriser(options) for options in ANALYSERS]
        return cls(vectorisers), _side_by_side([each.fit_transform(texts) for each in vectorisers])

    def save(self, folder: Path) -> dict[str, NDArray[np.float32]]:
        """Writes the vocabularies and gives the inverse document frequencies, which are saved with other weights."""
        vocabularies = [vectoriser.get_feature_names_out().tolist() for vectoriser in self.vectorisers]
        (folder / "vocabulary.json").write_text(
            json.dumps(vocabularies, ensure_ascii=False), encoding="utf-8"
        )
        return {
            f"idf.{number}": vectoriser.idf_.astype(np.float32)
            for number, vectoriser in enumerate(self.vectorisers)
        }

    @classmethod
    def load(cls, folder: Path, tensors: dict[str, NDArray[np.float32]]) -> Features:
        """Reads what `save` wrote and gave."""
        vectorisers = []
        for number, terms in enumerate(json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))):
            vectoriser = _vectoriser(ANALYSERS[number], {term: column for column, term in enumerate(terms)})
            vectoriser.idf_ = tensors[f"idf.{number}"]
            vectorisers.append(vectoriser)
        return cls(vectorisers)

    def transform(self, texts: Sequence[str]) -> csr_matrix:
        """Shape (texts, features), float32."""
        return _side_by_side([vectoriser.transform(texts) for vectoriser in self.vectorisers])


def _side_by_side(blocks: Sequence[csr_matrix]) -> csr_matrix:
    joined = csr_matrix(hstack(blocks, format="csr"))
    joined.sort_indices()  # the same numbers in the same order, so that sums are equal to the last bit
    return joined


def _vectoriser(options: dict[str, Any], vocabulary: dict[str, int] | None = None) -> TfidfVectorizer:
    pattern = r"(?u)\b\w+\b" if options["analyzer"] == "word" else None
    return TfidfVectorizer(**options, token_pattern=pattern, vocabulary=vocabulary)


def load(ref: ModelRef, models: Models) -> ClassicalModel:
    """The model that `save` wrote to the folder of `ref`. Raises ModelError when it cannot be read."""
    try:
        assert ref.adapter is not None, "a classical model always has a folder"
        head = json.loads((ref.adapter / "classical.json").read_text(encoding="utf-8"))
        kinds: dict[str, Any] = {"constant": Constant, "nearest": Nearest, "linear": Linear}
        return ClassicalModel(kinds[head.pop("form")].load(ref.adapter, head, models))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{ref.adapter} holds no readable baseline ({error}). Run `etude compare` again."
        ) from error


def save_classical(predictor: Predictor, folder: Path) -> Path:
    """Writes the predictor to a new folder and returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    predictor.save(folder)
    return folder


def _write_head(folder: Path, form: str, **values: object) -> None:
    body = json.dumps({"form": form, **values}, ensure_ascii=False, sort_keys=True)
    (folder / "classical.json").write_text(body + "\n", encoding="utf-8")
