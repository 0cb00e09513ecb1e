"""Models by name, each base loaded once; an adapted model shares its base's weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from etude.errors import MissingExtraError, ModelError
from etude.models.fake import FakeModel
from etude.types import CLASSICAL, Model, ModelRef

if TYPE_CHECKING:
    from etude.models.local import LocalModel


class Models:
    """Hands out models. `device`, `dtype` and `cache` are passed on to `load_local`."""

    def __init__(
        self, device: str | None = None, dtype: str | None = None, cache: Path | None = None
    ) -> None:
        self._options = (device, dtype, cache)
        self._loaded: dict[ModelRef, Model] = {}

    def get(self, ref: ModelRef) -> Model:
        """The model that `ref` names: "fake", "fake:OPTIONS", or what `find_weights` knows, with its
        adapter laid over it. Raises ModelError, or MissingExtraError where torch is not installed."""
        if ref not in self._loaded:
            self._loaded[ref] = self._load(ref)
        return self._loaded[ref]

    def local(self, ref: ModelRef) -> LocalModel:
        """As `get`, for weights in this process: fine-tuning needs them. Raises ModelError for "fake"."""
        from etude.models.local import LocalModel
        from etude.models.weights import PACKAGED

        model = self.get(ref)
        if not isinstance(model, LocalModel):
            remedy = f"Set model: in the task file to weights, such as {next(iter(PACKAGED))}"
            compared = "; compare and train without --show take fake as it is" if is_fake(ref.name) else ""
            raise ModelError(f"{ref.name} has no weights to train. {remedy}{compared}.")
        return model

    def evict(self, ref: ModelRef) -> None:
        """Forgets one model; its memory is free once nobody else holds it."""
        self._loaded.pop(ref, None)

    def _load(self, ref: ModelRef) -> Model:
        if is_fake(ref.name):
            return FakeModel(ref.name, ref.adapter)
        if ref.name == CLASSICAL:
            from etude.models.classical import load_classical

            return load_classical(ref.adapter)
        _need_torch()
        if ref.adapter is None:
            from etude.models.loading import load_local

            return load_local(ref.name, *self._options)
        if (ref.adapter / "config.json").exists():  # all weights were tuned, not adapters
            from etude.models.loading import load_local

            return load_local(str(ref.adapter), *self._options)
        from etude.models.adapters import with_adapter
        from etude.models.local import LocalModel

        base = self.local(ModelRef(ref.name))
        return LocalModel(ref.name, with_adapter(base.module, ref.adapter), base.tokenizer)


def is_fake(name: str) -> bool:
    """Whether a name means the fake model."""
    return name == "fake" or name.startswith("fake:")


def _need_torch() -> None:
    if not all(importlib.util.find_spec(module) for module in ("torch", "transformers")):
        raise MissingExtraError("A local model", "train")
