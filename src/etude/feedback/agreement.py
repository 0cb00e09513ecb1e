"""How much people agree on whether an answer is right, if two people have judged the same
answer.
"""

from collections.abc import Sequence

from etude.feedback.entry import Feedback, drop_undone
from etude.feedback.gather import list_claims
from etude.stats.agreement import kappa
from etude.types import Estimate, Message


def collect_judgements(
    entries: Sequence[Feedback],
) -> dict[tuple[tuple[Message, ...], str], dict[str, bool]]:
    """Collect who judged an answer to an input right or wrong: (input, answer) -> person -> whether
    it is right.

    Each person's last entry on an answer counts. An answer is right if the person accepted it, and
    wrong if the person rejected or corrected it. Undone entries and choices between two answers do
    not count.
    """
    by_answer: dict[tuple[tuple[Message, ...], str], dict[str, bool]] = {}
    for entry in drop_undone(entries):
        claims = dict(list_claims(entry)) if not entry.choice else {}
        if (is_right := claims.get(entry.answer.strip())) is not None:
            by_answer.setdefault((entry.input, entry.answer), {})[entry.reviewer] = is_right
    return by_answer


def measure_agreement(entries: Sequence[Feedback]) -> Estimate | None:
    """Measure Cohen's kappa of the first two people, by name, who judged each answer; None if no
    answer has two judges. Judgements are those of `collect_judgements`.
    """
    judgements = collect_judgements(entries).values()
    pairs = [
        [judged[name] for name in sorted(judged)[:2]] for judged in judgements if len(judged) > 1
    ]
    return kappa(*zip(*pairs, strict=True)) if pairs else None
