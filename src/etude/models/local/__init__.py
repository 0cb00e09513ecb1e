"""Weights in this process: loaded, run in batches, and adapted."""

from etude.base.torch_settings import configure_torch

configure_torch()  # before any module of this folder imports torch
