"""Models whose weights are in this process: loading, batches, adapters."""

from etude.base.torch_settings import configure_torch

configure_torch()  # before any module of this folder imports torch
