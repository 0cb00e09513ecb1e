"""Words that are capitalised without being names."""

from __future__ import annotations

from etude.base.word_lists import read_words

_WORDS = read_words(__file__, "not_names.yaml")
PARTICLES, FIELDS, OTHER = _WORDS["particles"], _WORDS["fields"], _WORDS["other"]
COMMON = _WORDS["common"] | _WORDS["titles"]
