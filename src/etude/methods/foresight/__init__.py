"""What is foreseen before a ladder is climbed: times, and rows too long for a prompt or for training."""
