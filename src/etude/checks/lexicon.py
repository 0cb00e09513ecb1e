"""Words that the checks know, by what they are a sign of. Lower case, as `normalise` leaves them."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


def phrases(text: str) -> frozenset[str]:
    """The phrases of a text, set apart by commas."""
    return frozenset(part.strip() for part in text.split(","))


SLIGHT = words("a an the please pls hi hello hey thanks thank")
"""Words that a question can lose or gain without asking for something else."""
NO_ENDING = words(
    "a an the and or but of to in on at by for from with as that which who is are was were be if when because "
    "than into your our their his her its my this these those very not"
)
"""Words with which no sentence ends, or seldom."""
NOTHING = phrases(
    "n a, na, none, null, nan, nil, todo, tbd, tba, fixme, xxx, test, lorem ipsum, no answer, no response, undefined"
)
"""Answers that say nothing."""
BRUSQUE = words("obviously duh geez jeez seriously whatever dumb stupid idiot damn hell freaking crap lazy")
"""Words of impatience."""
POLITE = words("please kindly thank thanks pleased glad welcome sorry apologies appreciate")
"""Words of courtesy."""
BRITISH = words(
    "colour favourite centre organise organised realise recognise travelling grey behaviour flavour theatre"
)
AMERICAN = words(
    "color favorite center organize organized realize recognize traveling gray behavior flavor theater"
)
"""The same words in two spellings."""
INSULTS = words(
    "idiot idiots idiotic moron morons moronic imbecile dumbass asshole assholes bastard bastards bitch bitches "
    "fuck fucking fucked fucker motherfucker bullshit shit shitty cunt dickhead retard retarded scumbag slut whore"
)
"""Insults and vulgar words that have no other meaning in usual writing."""
