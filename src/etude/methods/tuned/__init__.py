"""What tuned methods share: the prompt that is trained with, the rows, and the training run."""
