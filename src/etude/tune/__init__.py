"""One training run from the task file to an assistant: `etude train`.

`train_task` is the whole path; session.py reads it top to bottom.
"""

from etude.tune.preview import Preview, preview
from etude.tune.session import Training, train_task

__all__ = ["Preview", "Training", "preview", "train_task"]
