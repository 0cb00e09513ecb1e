"""Send a run's figures and files to the tracker that the task names: trackio, MLflow or Weights & Biases."""

from etude.tracking.follow import attach_file, track_events
