"""One training run from the task file to an assistant: `etude train`. Read train.py from top to
bottom.
"""

from etude.tuning.preview import Preview, preview
from etude.tuning.train import train
