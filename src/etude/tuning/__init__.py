"""One training run from the task file to an assistant: `etude train`. train.py is the whole path, top to bottom."""

from etude.tuning.preview import Preview, preview
from etude.tuning.train import Training, train

__all__ = ["Preview", "Training", "preview", "train"]
