"""Rewrite a question without changing what is asked: typos, capitals, a greeting and others."""

import random
import re
from collections.abc import Callable, Mapping

EMOJI = ("🙂", "🙏", "😀", "❗", "✨", "👀")


def _add_typos(text: str, rng: random.Random) -> str:
    """Swap two neighbouring letters in a quarter of the longer words, at least in one."""
    words = re.findall(r"\S+|\s+", text)
    long = [position for position, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    for position in rng.sample(long, min(len(long), 1 + len(long) // 4)):
        letter = rng.randrange(1, len(words[position]) - 2)
        word = words[position]
        words[position] = word[:letter] + word[letter + 1] + word[letter] + word[letter + 2 :]
    return "".join(words)


VARIANTS: Mapping[str, Callable[[str, random.Random], str]] = {
    "typos": _add_typos,
    "missing letters": lambda text, rng: re.sub(
        r"(?<=\w)[aeiou](?=\w)", lambda match: match[0] if rng.random() < 0.85 else "", text
    ),
    "capitals": lambda text, rng: text.upper(),
    "small letters": lambda text, rng: text.lower(),
    "no punctuation": lambda text, rng: re.sub(r"[.,;:!?]+(?=\s|$)", "", text),
    "extra white space": lambda text, rng: (
        "\n\n  " + re.sub(" ", lambda _: " " * rng.choice((1, 1, 2, 4)), text) + "   \n"
    ),
    "emoji": lambda text, rng: (
        re.sub(r"(?<=[.!?])(?=\s|$)", lambda _: f" {rng.choice(EMOJI)}", text)
        + f" {rng.choice(EMOJI)}"
    ),
    "greeting": lambda text, rng: f"Hello! {text} Thank you very much.",
    "on behalf of a friend": lambda text, rng: f"A friend asked me to send you this: {text}",
    "a word of hurry": lambda text, rng: f"Quick one: {text}",
}
"""Name -> a function that rewrites a question without changing what is asked."""
