"""Backends by the names they handle, and models handed out, each base loaded once.

A new backend is one file with a function that loads a model, and one line in BACKENDS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from etude.errors import MissingExtraError, ModelError
from etude.models.backend import CAPABILITIES, Capability
from etude.models.weights import PACKAGED, why_unknown
from etude.task import Endpoint
from etude.task import endpoint as urls
from etude.types import CLASSICAL, LearningModel, Model, ModelRef, TrainableModel

if TYPE_CHECKING:
    from etude.models.encoder import Encoder
    from etude.models.live.answers import ConcurrentModel, LiveModel

Kept = TypeVar("Kept")


class Models:
    """Hands out models. `device`, `dtype` and `cache` are those of `load_local`. `endpoints` are those of the task by
    their names, and `journal` is the file with the answers that they have given."""

    def __init__(
        self,
        device: str | None = None,
        dtype: str | None = None,
        cache: Path | None = None,
        endpoints: Mapping[str, Endpoint] | None = None,
        journal: Path | None = None,
    ) -> None:
        self.device, self.dtype, self.cache = device, dtype, cache
        self.endpoints, self.journal = endpoints or {}, journal
        self.notes: dict[str, None] = {}
        """What a reader of the answers should know of the models, each sentence once."""
        self.expected: Sequence[ModelRef] = ()
        """Models that will be asked for, where it helps a backend to load them together."""
        self._loaded: dict[ModelRef, Model] = {}
        self._others: dict[object, Any] = {}

    def get(self, ref: ModelRef, *needs: Capability) -> Model:
        """The model that `ref` names, with its adapter laid over it.

        Raises ModelError where its backend cannot do what is needed or finds no such model, MissingExtraError
        where what the backend runs on is not installed.
        """
        backend = backend_of(ref.name)
        for need in needs:
            if need not in (*backend.can, *backend.tries):
                raise ModelError(_cannot(ref.name, backend, need))
        if ref not in self._loaded:
            if not all(find_spec(module) for module in backend.modules):
                raise MissingExtraError(f"A {backend.name} model", backend.extra)
            self._loaded[ref] = backend.load(ref, self)
        return self._loaded[ref]

    def trainable(self, ref: ModelRef) -> TrainableModel:
        """As `get`, for a model whose weights the training loop changes."""
        return cast(TrainableModel, self.get(ref, "train"))

    def learning(self, ref: ModelRef) -> LearningModel:
        """As `get`, for a model that learns rows by itself."""
        return cast(LearningModel, self.get(ref, "learn"))

    def live(self, ref: ModelRef) -> LiveModel:
        """As `get`, for a model that writes many answers at once."""
        return cast("LiveModel", self.get(ref, "live"))

    def concurrent(self, ref: ModelRef) -> ConcurrentModel:
        """As `get`, for a model that answers several threads at once."""
        return cast("ConcurrentModel", self.get(ref, "concurrent"))

    def encoder(self, name: str, folder: Path | None = None) -> Encoder:
        """The encoder `name`, or a tuned one from its folder, as its own copy of the weights.

        Raises ModelError, or MissingExtraError where torch is not installed.
        """
        if not all(find_spec(module) for module in ("torch", "transformers")):
            raise MissingExtraError("An encoder", "train")
        from etude.models.encoder import load_encoder

        return load_encoder(name, folder, self.device)

    def shared_encoder(self, name: str) -> Encoder:
        """The encoder `name` as published, loaded once: never to be trained."""
        return self.once(("encoder", name), lambda: self.encoder(name))

    def once(self, key: object, load: Callable[[], Kept]) -> Kept:
        """What `load` gives, loaded when `key` is first asked for and kept."""
        if key not in self._others:
            self._others[key] = load()
        return cast(Kept, self._others[key])

    def evict(self, ref: ModelRef) -> None:
        """Forgets one model; its memory is free once nobody else holds it."""
        self._loaded.pop(ref, None)


@dataclass(frozen=True)
class Backend:
    """A kind of model, and what it says about itself."""

    name: str
    names: str
    """Which names it handles, in words."""
    handles: Callable[[str], bool]
    load: Callable[[ModelRef, Models], Model]
    """Loads what a ModelRef means; the Models are there for a base that several adapters share."""
    can: tuple[Capability, ...]
    tries: tuple[Capability, ...] = ()
    """What is asked of it without a promise; the contract then says whether an answer is right in form."""
    why_unknown: Callable[[str, str], str] = lambda name, key: ""
    """Why a name under this key of a task can mean no model, "" where it can; looks nothing up on the network."""
    title: Callable[[str], str] = str
    """A name as readers see it."""
    is_language_model: bool = True
    caveat: str = ""
    """What a verdict on its answers has to say."""
    modules: tuple[str, ...] = ()
    """Modules it cannot do without."""
    extra: str = ""
    """The extra that installs them."""


def lazily(function: str) -> Callable[..., Any]:
    """The function `module:name`, imported when it is called."""
    module, _, name = function.partition(":")
    return lambda *arguments: getattr(import_module(module), name)(*arguments)


BACKENDS: list[Backend] = [
    Backend(
        "fake",
        "`fake`, or with options such as `fake:delay=0.01`",
        lambda name: name.partition(":")[0] == "fake",
        lazily("etude.models.fake:load"),
        ("generate", "stream", "score", "count", "choices", "learn"),
        caveat="The fake model is for trying Étude: its numbers do not hold for a real one.",
    ),
    Backend(
        CLASSICAL,
        "none of a task file: what the baseline has fitted",
        lambda name: name == CLASSICAL,
        lazily("etude.models.classical:load"),
        ("generate", "choices"),
        is_language_model=False,
    ),
    Backend(
        "endpoint",
        "{endpoint: URL, model: NAME}, an OpenAI-compatible server",
        urls.is_url,
        lazily("etude.models.endpoint.model:load"),
        ("generate", "stream", "concurrent"),
        tries=("choices",),
        why_unknown=urls.why_unknown,
        title=urls.title,
    ),
    Backend(
        "llama_cpp",
        "`llama_cpp:NAME`, where NAME is packaged weights or a .gguf file",
        lambda name: name.startswith("llama_cpp:"),
        lazily("etude.models.llama_cpp.model:load"),
        ("generate", "count", "grammar", "concurrent"),
        modules=("xllamacpp", "gguf", "torch", "transformers", "llguidance"),
        extra="serve,train",
    ),
    Backend(
        "local",
        f"packaged weights ({', '.join(PACKAGED)}), a folder, a .gguf file or a hub id",
        lambda name: True,
        lazily("etude.models.loading:load"),
        ("generate", "stream", "score", "count", "choices", "grammar", "train", "live"),
        why_unknown=why_unknown,
        modules=("torch", "transformers"),
        extra="train",
    ),
]
"""The first that handles a name has it."""


def register(backend: Backend) -> None:
    """Adds a backend of your own, which is asked before the others. One of the same name is replaced."""
    BACKENDS[:] = [backend, *(each for each in BACKENDS if each.name != backend.name)]


def backend_of(name: str) -> Backend:
    """The backend that handles the model `name`."""
    return next(backend for backend in BACKENDS if backend.handles(name))


def title(name: str) -> str:
    """The name of a model for readers."""
    return backend_of(name).title(name)


def _cannot(name: str, backend: Backend, need: Capability) -> str:
    """That a model cannot do what is needed, and which can."""
    able = "; ".join(f"{each.name}: {each.names}" for each in BACKENDS if need in each.can)
    remedy = f"Set model: in the task file to one that can ({able})" if able else "No backend can yet"
    by_heart = need == "train" and "learn" in backend.can
    also = f"; compare and train without --show take {backend.name} as it is" if by_heart else ""
    return f"{title(name)} cannot {CAPABILITIES[need]}. {remedy}{also}."
