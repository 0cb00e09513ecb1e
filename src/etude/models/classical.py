"""Models without a language model: a constant answer, the nearest example, and linear classifiers.

They answer requests like any other Model, so a baseline is an Assistant like any other. They are
saved as JSON and safetensors; nothing is pickled. One temperature, fitted on held-out rows,
converts logits to probabilities (Guo et al. 2017, arXiv 1706.04599).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix, hstack
from scipy.special import log_softmax
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from etude.base.files import hash_text
from etude.errors import ModelError
from etude.models.backend import BatchedModel
from etude.models.registry import Models, import_lazily
from etude.types import CLASSICAL, Completion, Message, ModelRef, Request

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder

# Word 1-2-grams and character 2-5-grams, the strongest cheap features for short texts.
TFIDF_OPTIONS: tuple[dict[str, Any], ...] = (
    {"analyzer": "word", "ngram_range": (1, 2), "sublinear_tf": True, "dtype": np.float32},
    {"analyzer": "char_wb", "ngram_range": (2, 5), "sublinear_tf": True, "dtype": np.float32},
)
# C of the logistic regression over an encoder's vectors. Accuracy on held-out rows of banking77's
# train file, with 5 rows per label, 10 rows per label and 8,000 rows: 78.7, 85.3 and 92.5%. With C
# = 1 it was 75.7, 82.2 and 90.6%, with C = 100 77.9, 85.8 and 92.2%.
INVERSE_PENALTY = 10.0
VECTORS = "vectors.safetensors"
Prepared = tuple[Any, Any]
"""Features or an Encoder, and its matrix of some texts, shape (texts, features)."""


class Predictor(Protocol):
    """The part that differs between these models."""

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return answer and log-probability for each text."""
        ...

    def save(self, folder: Path) -> None:
        """Write the predictor into an existing folder."""
        ...


class ClassicalModel(BatchedModel):
    """A Predictor as a Model. It reads the last user turn and has no tokens."""

    rows_per_batch = 256

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(CLASSICAL)
        self.predictor = predictor

    def complete(self, requests: Sequence[Request]) -> tuple[Completion, ...]:
        """Answer one batch, in order."""
        started = time.perf_counter()
        texts = [request.messages[-1].content for request in requests]
        spreads: list[dict[str, float]] = [{} for _ in texts]
        if isinstance(self.predictor, Linear):
            logs, predictions = self.predictor.answer(texts)
            spreads = [dict(zip(self.predictor.labels, row, strict=True)) for row in logs.tolist()]
        else:
            predictions = self.predictor.predict(texts)
        seconds = (time.perf_counter() - started) / len(requests)
        return tuple(
            Completion(text, "stop", 0, 0, 0, seconds, logprob, choice_logprobs=spread)
            for (text, logprob), spread in zip(predictions, spreads, strict=True)
        )

    def render_text(self, messages: Sequence[Message]) -> str:
        """Return the text from which features are computed."""
        return messages[-1].content

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """Return 0: there is no tokenizer."""
        return 0


@dataclass
class Constant:
    """Always the same answer: the most frequent output."""

    text: str
    logprob: float

    @classmethod
    def fit(cls, outputs: Sequence[str]) -> Constant:
        """Choose the most frequent output; among equally frequent outputs, the first."""
        ((text, number),) = Counter(outputs).most_common(1)
        return cls(text, float(np.log(number / len(outputs))))

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the constant and the log of its share of the training outputs."""
        return [(self.text, self.logprob)] * len(texts)

    def save(self, folder: Path) -> None:
        """Write one JSON file."""
        write_header(folder, "constant", text=self.text, logprob=self.logprob)

    @classmethod
    def load(cls, folder: Path, header: dict[str, Any], models: Models) -> Constant:
        """Read what `save` wrote."""
        return cls(header["text"], header["logprob"])


@dataclass
class Nearest:
    """The output of the nearest training input by cosine: of an encoder's vectors if there is one,
    else of TF-IDF.

    The log-probability is the log of that cosine. It ranks answers but is not a calibrated
    probability.
    """

    texts: Sequence[str]
    outputs: Sequence[str]
    encoder: Encoder | None = None
    prepared: InitVar[Prepared | None] = None
    """Saves computing the features of the texts again."""

    def __post_init__(self, prepared: Prepared | None) -> None:
        self.features, self.rows = prepared or prepare_features(self.texts, self.encoder)

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the output of the nearest training row; among equally near rows, the first."""
        if isinstance(self.features, Features):
            # the rows of each block are unit vectors, so their dot product is a cosine
            cosines = (self.features.transform(texts) @ self.rows.T).toarray() / len(TFIDF_OPTIONS)
        else:
            cosines = self.features.embed(texts) @ self.rows.T
        best = cosines.argmax(axis=1)
        logs = np.log(np.clip(cosines[np.arange(len(best)), best], 1e-9, 1.0))
        return [(self.outputs[row], float(log)) for row, log in zip(best, logs, strict=True)]

    def save(self, folder: Path) -> None:
        """Write the training rows, and their vectors; TF-IDF is computed again at loading."""
        write_header(folder, "nearest", encoder=self.encoder.name if self.encoder else None)
        if self.encoder:
            save_file({"vectors": self.rows}, folder / VECTORS)
        lines = (
            json.dumps(row, ensure_ascii=False)
            for row in zip(self.texts, self.outputs, strict=True)
        )
        (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, header: dict[str, Any], models: Models) -> Nearest:
        """Read what `save` wrote."""
        lines = (folder / "rows.jsonl").read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        encoder = models.load_shared_encoder(name) if (name := header.get("encoder")) else None
        prepared = (encoder, load_file(folder / VECTORS)["vectors"]) if encoder else None
        return cls([text for text, _ in rows], [output for _, output in rows], encoder, prepared)


@dataclass
class Linear:
    """A linear classifier: an SVM (one against the rest) over TF-IDF, or logistic regression over
    an encoder.
    """

    kind: ClassVar[str] = "linear"
    extras: ClassVar[tuple[str, ...]] = ()  # further fields that are saved
    calibrated: ClassVar[tuple[str, ...]] = ("temperature",)  # fields that `calibrate` sets

    labels: tuple[str, ...]
    features: Features | Encoder
    coefficients: NDArray[np.float32]
    """Shape (labels, features)."""
    intercepts: NDArray[np.float32]
    temperature: float = 1.0
    halves: tuple[Linear, ...] = field(default=(), kw_only=True)
    """Calibrated on one half of the held-out rows each; they answer the other half. Their weights
    are not used.
    """
    held_out: frozenset[str] = field(default=frozenset(), kw_only=True)
    """Digests of the held-out texts."""

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        labels: Sequence[str],
        seed: int,
        encoder: Encoder | None = None,
        prepared: Prepared | None = None,
    ) -> Linear:
        """Fit over the vectors of `encoder` if there is one, else over TF-IDF. `prepared` saves
        computing the features again. With a single label, it is the answer to every text.
        """
        features, rows = prepared or prepare_features(texts, encoder)
        if len(set(labels)) == 1:
            return cls(
                (labels[0],),
                features,
                np.zeros((1, rows.shape[1]), np.float32),
                np.zeros(1, np.float32),
            )
        model = create_classifier(seed, encoder)
        model.fit(rows, labels)
        coefficients = model.coef_
        intercepts = model.intercept_
        if len(model.classes_) == 2:  # scikit-learn stores one row for both classes
            coefficients = np.vstack([-coefficients, coefficients])
            intercepts = np.r_[-intercepts, intercepts]
        return cls(
            tuple(str(label) for label in model.classes_),
            features,
            coefficients.astype(np.float32),
            intercepts.astype(np.float32),
        )

    def compute_margins(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Compute signed distances or log-odds, shape (texts, labels)."""
        features = self.features
        rows: Any = (
            features.transform(texts) if isinstance(features, Features) else features.embed(texts)
        )
        margins: NDArray[np.float32] = rows @ self.coefficients.T + self.intercepts
        return margins

    def encode_labels(self, outputs: Sequence[str]) -> NDArray[Any]:
        """Return what training compares the margins with: the number of each label. Raises KeyError
        for others.
        """
        numbers = {label: number for number, label in enumerate(self.labels)}
        return np.array([numbers[output] for output in outputs])

    def list_targets(self, outputs: Sequence[str]) -> list[tuple[slice, NDArray[Any]]]:
        """Return what training compares the margins with: columns of the margins, and the
        `encode_labels` of these.
        """
        return [(slice(None), self.encode_labels(outputs))]

    def calibrate(self, texts: Sequence[str], labels: Sequence[str]) -> Linear:
        """Return the classifier with what is fitted on held-out rows, if there are any: here the
        temperature.

        If more than the temperature is fitted, each half of these rows is answered by what was
        fitted on the other half, so that their answers measure the classifier fairly.
        """
        if not texts:
            return self
        margins = self.compute_margins(texts)
        digests = [*map(hash_text, texts)]
        halves = []
        for half in (0, 1) if self.chooses_rules else ():
            rows = [row for row, digest in enumerate(digests) if int(digest, 16) % 2 != half]
            halves.append(
                self.calibrate_margins(margins[rows], [labels[row] for row in rows])
                if rows
                else self
            )
        fitted = self.calibrate_margins(margins, labels)
        return replace(
            fitted, halves=tuple(halves), held_out=frozenset(digests) if halves else frozenset()
        )

    @property
    def chooses_rules(self) -> bool:
        """Whether held-out rows decide how an answer follows from the probabilities."""
        return self.calibrated != ("temperature",)

    def calibrate_margins(self, margins: NDArray[np.float32], labels: Sequence[str]) -> Linear:
        """Do what `calibrate` does, from the margins of the rows."""
        return replace(self, temperature=self.fit_temperature(margins, labels))

    def copy_calibration(self, other: Linear) -> Self:
        """Return this classifier with the calibration of another classifier of its kind."""
        return replace(self, **{name: getattr(other, name) for name in self.calibrated})

    def fit_temperature(self, margins: NDArray[np.float32], labels: Sequence[str]) -> float:
        """Find the temperature with the smallest log-loss on held-out rows; labels unknown to
        training are skipped.
        """
        trained = set(self.labels)
        rows = [row for row, label in enumerate(labels) if label in trained]
        if not rows:
            return self.temperature
        gold = self.encode_labels([labels[row] for row in rows])

        def loss(log_temperature: float) -> float:
            logs = log_softmax(margins[rows] / np.exp(log_temperature), axis=1)
            return -float(logs[np.arange(len(gold)), gold].mean())

        return float(np.exp(minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded").x))

    def to_log_probabilities(self, margins: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert margins to the log-probability of every label, shape (texts, labels)."""
        logs: NDArray[np.float32] = log_softmax(margins / self.temperature, axis=1)
        return logs

    def predict(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return the answer to each text and its log-probability."""
        return self.answer(texts)[1]

    def answer(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[tuple[str, float]]]:
        """Return the log-probability of every label, and what `predict` returns."""
        margins = self.compute_margins(texts)
        logs = self.to_log_probabilities(margins)
        answers = self.decide(logs)
        digests = [hash_text(text) if self.halves else "" for text in texts]
        for number, half in enumerate(self.halves):
            rows = [
                row
                for row, one in enumerate(digests)
                if one in self.held_out and int(one, 16) % 2 == number
            ]
            logs[rows] = half.to_log_probabilities(margins[rows])
            for row, answer in zip(rows, half.decide(logs[rows]), strict=True):
                answers[row] = answer
        return logs, answers

    def decide(self, logs: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Return the likeliest label of each row of log-probabilities with its own."""
        best = logs.argmax(axis=1)
        return [(self.labels[label], float(logs[row, label])) for row, label in enumerate(best)]

    def save(self, folder: Path) -> None:
        """Write weights as safetensors, vocabularies or the encoder's name as JSON, and an encoder
        if it was tuned.
        """
        tensors = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        encoder = None
        if isinstance(self.features, Features):
            tensors |= self.features.save(folder)
        else:
            encoder = {"name": self.features.name, "tuned": self.features.is_tuned}
            if self.features.is_tuned:
                self.features.save(folder / "encoder")
        halves = [half.describe() for half in self.halves]
        cross = {"halves": halves, "held_out": sorted(self.held_out)} if halves else {}
        write_header(folder, self.kind, encoder=encoder, **self.describe(), **cross)
        save_file(
            {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
            folder / "weights.safetensors",
        )

    def describe(self) -> dict[str, Any]:
        """Return the fields that `save` writes as JSON."""
        extras = {name: getattr(self, name) for name in self.extras}
        return {"labels": self.labels, "temperature": self.temperature, **extras}

    @classmethod
    def restore(
        cls,
        header: dict[str, Any],
        features: Features | Encoder,
        coefficients: NDArray[np.float32],
        intercepts: NDArray[np.float32],
    ) -> Self:
        """Build a classifier from what `describe` returned, and its weights."""
        extras = {name: header[name] for name in cls.extras}
        labels = tuple(header["labels"])
        return cls(labels, features, coefficients, intercepts, header["temperature"], **extras)

    @classmethod
    def load(cls, folder: Path, header: dict[str, Any], models: Models) -> Self:
        """Read what `save` wrote."""
        tensors = load_file(folder / "weights.safetensors")
        features: Features | Encoder
        if header["encoder"] is None:
            features = Features.load(folder, tensors)
        elif header["encoder"]["tuned"]:
            features = models.load_encoder(header["encoder"]["name"], folder / "encoder")
        else:
            features = models.load_shared_encoder(header["encoder"]["name"])
        weights = features, tensors["coefficients"], tensors["intercepts"]
        halves = tuple(cls.restore(half, *weights) for half in header.get("halves", ()))
        return replace(
            cls.restore(header, *weights),
            halves=halves,
            held_out=frozenset(header.get("held_out", ())),
        )


def prepare_features(texts: Sequence[str], encoder: Encoder | None) -> Prepared:
    """Return the encoder and its vectors of the texts; without an encoder, TF-IDF features fitted
    on them.
    """
    return (encoder, encoder.embed(texts)) if encoder else Features.fit(texts)


def create_classifier(seed: int, encoder: Encoder | None) -> Any:
    """Create an untrained classifier: logistic regression over vectors of an encoder, an SVM over
    TF-IDF.
    """
    if encoder:
        return LogisticRegression(C=INVERSE_PENALTY, max_iter=1000)
    return LinearSVC(C=1.0, random_state=seed)


@dataclass
class Features:
    """The two TF-IDF blocks. Each row of each block is a unit vector."""

    vectorisers: list[TfidfVectorizer]

    @classmethod
    def fit(cls, texts: Sequence[str]) -> tuple[Features, csr_matrix]:
        """Fit vocabulary and document frequencies; return the Features and the texts' matrix, as
        from `transform`.
        """
        vectorisers = [_create_vectoriser(options) for options in TFIDF_OPTIONS]
        return cls(vectorisers), _join_blocks(
            [vectoriser.fit_transform(texts) for vectoriser in vectorisers]
        )

    def save(self, folder: Path) -> dict[str, NDArray[np.float32]]:
        """Write the vocabularies. Return the inverse document frequencies, which are saved with the
        other weights.
        """
        vocabularies = [
            vectoriser.get_feature_names_out().tolist() for vectoriser in self.vectorisers
        ]
        text = json.dumps(vocabularies, ensure_ascii=False)
        (folder / "vocabulary.json").write_text(text, encoding="utf-8")
        return {
            f"idf.{number}": vectoriser.idf_.astype(np.float32)
            for number, vectoriser in enumerate(self.vectorisers)
        }

    @classmethod
    def load(cls, folder: Path, tensors: dict[str, NDArray[np.float32]]) -> Features:
        """Read the vocabularies that `save` wrote; `tensors` has the frequencies that it
        returned.
        """
        vectorisers = []
        for number, terms in enumerate(
            json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        ):
            vocabulary = {term: column for column, term in enumerate(terms)}
            vectoriser = _create_vectoriser(TFIDF_OPTIONS[number], vocabulary)
            vectoriser.idf_ = tensors[f"idf.{number}"]
            vectorisers.append(vectoriser)
        return cls(vectorisers)

    def transform(self, texts: Sequence[str]) -> csr_matrix:
        """Compute float32 features, shape (texts, features)."""
        return _join_blocks([vectoriser.transform(texts) for vectoriser in self.vectorisers])


class CountedTexts:
    """Texts whose terms are counted once: features of some of them are then fitted without reading
    them again.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        vectorisers = [_create_vectoriser(options) for options in TFIDF_OPTIONS]
        self.counts = [CountVectorizer.fit_transform(counter, self.rows) for counter in vectorisers]
        self.terms = [counter.get_feature_names_out() for counter in vectorisers]

    def fit(self, texts: Sequence[str]) -> tuple[Features, csr_matrix]:
        """Return what `Features.fit` returns, to the bit. Raises KeyError for another text."""
        rows = [self.rows[text] for text in texts]
        vectorisers = []
        blocks = []
        for options, counts, terms in zip(TFIDF_OPTIONS, self.counts, self.terms, strict=True):
            counted = counts[rows]
            columns = np.unique(counted.indices)
            vocabulary = {term: column for column, term in enumerate(terms[columns].tolist())}
            transformer = TfidfTransformer(sublinear_tf=True)
            blocks.append(transformer.fit_transform(counted[:, columns]))
            vectoriser = _create_vectoriser(options, vocabulary)
            vectoriser.idf_ = transformer.idf_
            vectorisers.append(vectoriser)
        return Features(vectorisers), _join_blocks(blocks)


def _join_blocks(blocks: Sequence[csr_matrix]) -> csr_matrix:
    joined = csr_matrix(hstack(blocks, format="csr"))
    joined.sort_indices()  # the same numbers in the same order, so sums are equal to the last bit
    return joined


def _create_vectoriser(
    options: dict[str, Any], vocabulary: dict[str, int] | None = None
) -> TfidfVectorizer:
    pattern = r"(?u)\b\w+\b" if options["analyzer"] == "word" else None
    return TfidfVectorizer(**options, token_pattern=pattern, vocabulary=vocabulary)


def load(ref: ModelRef, models: Models) -> ClassicalModel:
    """Load the model that `save_classical` wrote to the folder of `ref`. Raises ModelError."""
    try:
        assert ref.adapter is not None, "a classical model always has a folder"
        return ClassicalModel(load_predictor(ref.adapter, models))
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{ref.adapter} has no readable baseline ({error}). Run `etude compare` again."
        ) from error


def load_predictor(folder: Path, models: Models) -> Predictor:
    """Load what `save_classical` wrote. Raises OSError, ValueError or KeyError."""
    header = json.loads((folder / "classical.json").read_text(encoding="utf-8"))
    loaders: dict[str, Any] = {
        "constant": Constant.load,
        "nearest": Nearest.load,
        "linear": Linear.load,
        "label_heads": import_lazily("etude.models.label_heads:LabelHeads.load"),
        "score_heads": import_lazily("etude.models.label_heads:ScoreHeads.load"),
        "question_heads": import_lazily("etude.models.question_heads:QuestionHeads.load"),
        "gazetteer": import_lazily("etude.models.gazetteer:Gazetteer.load"),
        "tagger": import_lazily("etude.models.local.tagger:Tagger.load"),
    }
    predictor: Predictor = loaders[header.pop("kind")](folder, header, models)
    return predictor


def save_classical(predictor: Predictor, folder: Path) -> Path:
    """Write the predictor to a new folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    predictor.save(folder)
    return folder


def write_header(folder: Path, kind: str, **values: object) -> None:
    """Write classical.json, from which the predictor in `folder` is loaded."""
    body = json.dumps({"kind": kind, **values}, ensure_ascii=False, sort_keys=True)
    (folder / "classical.json").write_text(body + "\n", encoding="utf-8")
