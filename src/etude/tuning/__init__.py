"""One training run from the task file to an assistant: `etude train`.

`train_task` is the whole path; session.py reads it top to bottom.
"""

from etude.tuning.preview import Preview, preview
from etude.tuning.train_task import Training, train_task
from etude.tuning.train_task import train_task as train

__all__ = ["Preview", "Training", "preview", "train", "train_task"]
