"""Words that the checks know, by what they are a sign of. Lower case, as `normalise` leaves them."""

from __future__ import annotations

from etude.base.word_lists import as_set, read_table

_TABLE = read_table(__file__, "lexicon.yaml")
SLIGHT, NO_ENDING = as_set(_TABLE["slight"]), as_set(_TABLE["no_ending"])
NOTHING, POINTERS = as_set(_TABLE["nothing"]), as_set(_TABLE["pointers"])
