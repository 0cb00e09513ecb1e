"""Feedback as files for training on preferences."""

from collections.abc import Iterator

from etude.base.files import Json
from etude.base.issues import check_known
from etude.data.formats.write import format_preference, format_rating
from etude.feedback.gather import GatheredFeedback

FORMATS = {"preferences": "trl", "openai": "openai", "kto": "kto"}
"""Value of `--as` -> the format of `etude convert`."""


def export_rows(gathered: GatheredFeedback, name: str) -> Iterator[Json]:
    """Yield the rows: answers with their ratings for `kto`, else better and worse answers. Raises InputError for an
    unknown name."""
    check_known("--as", [name], FORMATS, "an unknown format")
    if name == "kto":
        for rated in gathered.judgements:
            yield format_rating("", rated.input, rated.answer, rated.is_good)
        return
    for pair in gathered.preferences:
        yield from format_preference(FORMATS[name], "", pair.input, pair.chosen, pair.rejected)
