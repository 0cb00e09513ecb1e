"""Train a tagger: all weights of an encoder, and a new linear layer over its words."""

import random
from collections.abc import Sequence

import torch

from etude.models.local.tagger import Tagger, Window
from etude.text.answer_spans import Values, align
from etude.training.encoder_loop import EncoderTraining, LoopRule

# Chosen on held-out rows of the train files of snips_intents and ncbi_disease. Value F1 on
# ncbi_disease after training on 240 rows: 64.0; with a rate of 5e-4 59.5; with 3e-4 and 10 epochs
# 60.1; with 16 rows per step and 1e-4 57.8.
RULE = LoopRule(8, 2e-4, min_steps=180, min_epochs=3, max_epochs=10)


class TaggerModule(torch.nn.Module):
    """The encoder, the head and the rows, for the training loop."""

    def __init__(self, tagger: Tagger, texts: Sequence[str], answers: Sequence[Values]) -> None:
        """Shares its weights with `tagger`, which can predict with them at any time."""
        super().__init__()
        self.rows = build_rows(tagger, texts, answers)
        self.lengths = [len(window.ids) for window, _ in self.rows]
        self.tagger = tagger
        self.body = tagger.encoder.module
        self.weight, self.bias = map(torch.nn.Parameter, (tagger.weight, tagger.bias))
        tagger.weight = self.weight
        tagger.bias = self.bias

    def prepare_training(self, seed: int = 0) -> EncoderTraining:
        """Prepares the training of all weights on all rows."""
        num_rows = len(self.rows)
        return EncoderTraining(
            self.tagger.encoder,
            self,
            num_rows,
            lambda: self.compute_loss,
            RULE.choose_config(num_rows, seed),
            self.lengths,
            first_epoch=1,
        )

    def compute_loss(self, numbers: Sequence[int], draw: random.Random) -> tuple[torch.Tensor, int]:
        """Computes the mean cross-entropy of the tags of all words of some rows, and counts their
        tokens.
        """
        logits = torch.cat(self.tagger.compute_logits([self.rows[number][0] for number in numbers]))
        targets = torch.cat([self.rows[number][1] for number in numbers]).to(logits.device)
        tokens = sum(self.lengths[number] for number in numbers)
        return torch.nn.functional.cross_entropy(logits, targets), tokens


def build_rows(
    tagger: Tagger, texts: Sequence[str], answers: Sequence[Values]
) -> list[tuple[Window, torch.Tensor]]:
    """Builds a row for each window of each text: the window and the tags of its words."""
    numbers = {path: number for number, path in enumerate(tagger.fields)}
    rows = []
    for text, values in zip(texts, answers, strict=True):
        words, windows = tagger.split_windows(text)
        tags = [0] * len(words)
        spans, _ = align(text, {path: items for path, items in values.items() if path in numbers})
        for path, positions in spans.items():
            for begin, end in positions:
                inside = [
                    n for n, (first, last) in enumerate(words) if first < end and last > begin
                ]
                for position, word in enumerate(inside):
                    tags[word] = 1 + 2 * numbers[path] + (position > 0)
        for window in windows:
            rows.append((window, torch.tensor([tags[word] for word in window.words])))
    return rows
