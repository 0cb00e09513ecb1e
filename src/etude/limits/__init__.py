"""What an assistant does not answer: questions unlike its training rows are turned away with a sentence of the
task."""
