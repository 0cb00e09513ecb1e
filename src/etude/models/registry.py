"""The backends by the names they handle, and the loaded models. Each base is loaded once.

A new backend is one file with a function that loads a model, and one entry in BACKENDS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from etude.cluster import THIS_PROCESS, Workers
from etude.errors import MissingExtraError, ModelError
from etude.models import endpoint, weights
from etude.models.backend import CAPABILITIES, Capability, ConcurrentModel
from etude.models.remote import RemoteModel, Service
from etude.task import Endpoint
from etude.task import endpoint as urls
from etude.types import CLASSICAL, LearningModel, Model, ModelRef, TrainableModel

if TYPE_CHECKING:
    from etude.models.local.encoder import Encoder
    from etude.models.local.model import LocalModel

Value = TypeVar("Value")


class Models:
    """Loads models and caches them. `device`, `dtype` and `cache` are as in `load_local`.
    `endpoints` are the task's, by name; `journal` is the file with the answers of remote models.
    """

    workers: Workers = THIS_PROCESS
    """They answer requests, except those to services, which are asked from this process."""

    def __init__(
        self,
        device: str | None = None,
        dtype: str | None = None,
        cache: Path | None = None,
        endpoints: Mapping[str, Endpoint] | None = None,
        journal: Path | None = None,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.cache = cache
        self.endpoints = endpoints or {}
        self.journal = journal
        self.notes: dict[str, None] = {}
        """Sentences about the models for readers of the answers, each sentence once."""
        self.expected: Sequence[ModelRef] = ()
        """Models that will be requested later; some backends load them together."""
        self._models: dict[ModelRef, Model] = {}
        self._values: dict[object, Any] = {}

    def get(self, ref: ModelRef, *needs: Capability) -> Model:
        """Return the model that `ref` names, with its adapter, loaded once.

        Raises ModelError if its backend lacks a needed capability or does not find the model,
        MissingExtraError if a package is not installed.
        """
        backend = find_backend(ref.name)
        # refused before anything is loaded, so no method is fitted for nothing
        for need in needs:
            if need not in (*backend.can, *backend.tries):
                raise ModelError(_format_missing(ref.name, backend, need))
        if ref not in self._models:
            if not all(find_spec(module) for module in backend.modules):
                raise MissingExtraError(f"A {backend.name} model", backend.extra)
            model = backend.load(ref, self)
            # without a service, the user would not be asked before rows are sent
            if isinstance(model, RemoteModel) and backend.service is None:
                raise ModelError(
                    f"The backend {backend.name} sends rows to another machine, so its entry "
                    "needs service=."
                )
            self._models[ref] = model
        return self._models[ref]

    def get_trainable(self, ref: ModelRef) -> TrainableModel:
        """Return a model whose weights the training loop can change."""
        return cast(TrainableModel, self.get(ref, "train"))

    def get_learning(self, ref: ModelRef) -> LearningModel:
        """Return a model that learns from rows in its own way."""
        return cast(LearningModel, self.get(ref, "learn"))

    def get_live(self, ref: ModelRef) -> "LocalModel":
        """Return a model that generates many answers at once."""
        return cast("LocalModel", self.get(ref, "live"))

    def get_concurrent(self, ref: ModelRef) -> ConcurrentModel:
        """Return a model that can answer several threads at once."""
        return cast(ConcurrentModel, self.get(ref, "concurrent"))

    def find_service(self, name: str) -> Service | None:
        """Return the service that a model's requests are sent to; None for a model in this
        process.
        """
        return find_service(name, self.endpoints)

    def load_encoder(self, name: str, folder: Path | None = None) -> "Encoder":
        """Load the encoder `name`, or a tuned encoder from its folder, as a new copy of the
        weights.

        Raises ModelError, or MissingExtraError if torch is not installed.
        """
        if not all(find_spec(module) for module in ("torch", "transformers")):
            raise MissingExtraError("An encoder", "train")
        from etude.models.local.encoder import load_encoder

        return load_encoder(name, folder, self.device)

    def load_shared_encoder(self, name: str) -> "Encoder":
        """Return the published encoder `name`, which is loaded once, remembers vectors and must not
        be trained.
        """

        def load() -> "Encoder":
            encoder = self.load_encoder(name)
            encoder.remembered = {}
            return encoder

        return self.load_once(("encoder", name), load)

    def load_search_encoder(self, name: str, folder: Path | None = None) -> "Encoder":
        """Return the encoder of a search: the shared published one, or a tuned one from its
        folder.
        """
        return self.load_encoder(name, folder) if folder else self.load_shared_encoder(name)

    def load_once(self, key: object, load: Callable[[], Value]) -> Value:
        """Return the result of the first call of `load` for `key`."""
        if key not in self._values:
            self._values[key] = load()
        return cast(Value, self._values[key])

    def remove(self, ref: ModelRef) -> None:
        """Drop one model. Its memory is freed when nothing else refers to it."""
        self._models.pop(ref, None)

    def keep_only(self, ref: ModelRef) -> None:
        """Drop every model with an adapter, except `ref`."""
        self._models = {
            other: model
            for other, model in self._models.items()
            if other == ref or not other.adapter
        }

    def clear(self) -> None:
        """Drop every model in this process. Models of services stay, because they count
        requests.
        """
        self._models = {
            ref: model for ref, model in self._models.items() if isinstance(model, RemoteModel)
        }


@dataclass(frozen=True)
class Backend:
    """A kind of model: how to recognize its names, load it and describe it."""

    name: str
    names: str
    """A description of the model names that it handles."""
    handles: Callable[[str], bool]
    load: Callable[[ModelRef, Models], Model]
    """Loads the model of a ModelRef. Through the Models, several adapters share one base."""
    can: tuple[Capability, ...]
    tries: tuple[Capability, ...] = ()
    """Capabilities without a guarantee: the contract then checks the form of each answer."""
    title: Callable[[str], str] = str
    """Returns the name for readers."""
    is_language_model: bool = True
    caveat: str = ""
    """A sentence that every verdict on its answers must contain."""
    modules: tuple[str, ...] = ()
    extra: str = ""
    """The extra of the package that installs them."""
    service: Callable[[str, Mapping[str, Endpoint]], Service] | None = None
    """The service that answers requests, from the model's name and the task's endpoints; None for
    this process. The user is asked before rows are sent to a service, and its limits and journal
    apply.
    """
    identify: Callable[[str, Path], object] = lambda name, folder: name
    """The value that identifies a model in a run's fingerprint, from its name and the task's
    folder.
    """


def import_lazily(function: str) -> Callable[..., Any]:
    """Wrap the function `module:name` or `module:class.name` so that it is imported at the first
    call.
    """
    module, _, name = function.partition(":")
    return lambda *arguments: attrgetter(name)(import_module(module))(*arguments)


# The first backend that handles a name is used.
BACKENDS: list[Backend] = [
    Backend(
        "fake",
        "`fake`, or with options such as `fake:delay=0.01`",
        lambda name: name.partition(":")[0] == "fake",
        import_lazily("etude.models.fake:load"),
        ("generate", "stream", "score", "count", "choices", "learn"),
        caveat="The fake model is only for trying Étude: its results say nothing about a real "
        "model.",
    ),
    Backend(
        CLASSICAL,
        "not for task files; used by the baseline",
        lambda name: name == CLASSICAL,
        import_lazily("etude.models.classical:load"),
        ("generate", "choices"),
        is_language_model=False,
    ),
    Backend(
        "endpoint",
        "{endpoint: URL, model: NAME}, an OpenAI-compatible server",
        urls.is_url,
        import_lazily("etude.models.endpoint.model:load_endpoint"),
        ("generate", "sample", "stream", "concurrent"),
        tries=("choices",),
        title=urls.format_endpoint,
        service=endpoint.describe_service,
    ),
    Backend(
        "served",
        "not for `model:`; `engine: URL#NAME`, a server with the base's weights that takes "
        "adapters, such as vLLM",
        lambda name: name.startswith(urls.SERVED),
        import_lazily("etude.models.endpoint.served:load"),
        ("generate", "sample", "stream", "concurrent"),
        tries=("choices", "grammar"),
        title=lambda name: urls.format_endpoint(urls.split_served(name)[1]),
        service=lambda name, endpoints: endpoint.describe_service(
            urls.split_served(name)[1], endpoints
        ),
    ),
    Backend(
        "decisions",
        "{endpoint: URL, model: NAME} under decision_model:, a server that implements OpenAI's "
        "/v1/decisions",
        lambda name: name.startswith(urls.DECISIONS),
        import_lazily("etude.models.endpoint.decision_model:load"),
        ("generate", "choices"),
        title=urls.format_endpoint,
        is_language_model=False,
        service=endpoint.describe_service,
    ),
    Backend(
        "llama_cpp",
        "`llama_cpp:NAME`, where NAME is packaged weights or a .gguf file",
        lambda name: name.startswith("llama_cpp:"),
        import_lazily("etude.models.llama_cpp.model:load"),
        ("generate", "count", "grammar", "concurrent"),
        modules=("xllamacpp", "gguf", "torch", "transformers", "llguidance"),
        extra="serve,train",
    ),
    Backend(
        "local",
        f"packaged weights ({', '.join(weights.PACKAGED)}), a folder, a .gguf file or a hub id",
        lambda name: True,
        import_lazily("etude.models.local.loading:load"),
        ("generate", "sample", "stream", "score", "count", "choices", "grammar", "train", "live"),
        modules=("torch", "transformers"),
        extra="train",
        identify=weights.identify_weights,
    ),
]


def register(backend: Backend) -> None:
    """Add a backend before the others. It replaces a backend of the same name."""
    BACKENDS[:] = [backend, *(other for other in BACKENDS if other.name != backend.name)]


def find_backend(name: str) -> Backend:
    """Find the backend that handles the model `name`."""
    return next(backend for backend in BACKENDS if backend.handles(name))


def find_service(name: str, endpoints: Mapping[str, Endpoint]) -> Service | None:
    """Return the service that a model's requests are sent to; None for a model in this process."""
    describe = find_backend(name).service
    return describe(name, endpoints) if describe else None


def get_title(name: str) -> str:
    """Return the name of a model for readers."""
    return find_backend(name).title(name)


def _format_missing(name: str, backend: Backend, need: Capability) -> str:
    able = "; ".join(f"{other.name}: {other.names}" for other in BACKENDS if need in other.can)
    remedy = (
        f"In the task file, set model: to a model that can ({able})"
        if able
        else "No backend can do this yet"
    )
    learns_itself = need == "train" and "learn" in backend.can
    hint = (
        f"; compare, and train without --show, also work with {backend.name}"
        if learns_itself
        else ""
    )
    return f"{get_title(name)} cannot {CAPABILITIES[need]}. {remedy}{hint}."
