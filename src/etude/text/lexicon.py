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
POINTERS = phrases(
    "see above, see below, as above, as before, same as above, same as before, see previous, see previous answer, "
    "see previous ticket, see last answer, ditto, dito, idem, siehe oben, siehe unten, s o, wie oben, wie vorher, "
    "siehe vorherige antwort, voir ci dessus, voir plus haut, comme ci dessus, ver arriba, véase arriba, "
    "igual que arriba, como arriba, vedi sopra, come sopra, zie boven, zie hierboven, idem dito, ver acima, como acima"
)
"""Answers that only point to another one."""
POLITE = phrases(
    "please, kindly, thank you, thanks, you re welcome, sorry, apologies, apologize, apologise, apology, appreciate, "
    "appreciated, grateful, pleased, delighted, glad, happy to help, my pleasure, with pleasure, would you mind, "
    "could you, may i, might i, may we, if i may, i m afraid, excuse me, pardon, respectfully, feel free, be so kind, "
    "so kind as, rest assured"
)
"""Words of courtesy."""
RUDE = phrases(
    "obviously, duh, geez, jeez, sheesh, ugh, seriously, whatever, dumb, stupid, idiot, idiots, idiotic, moron, damn, "
    "dammit, freaking, crap, crappy, sucks, pathetic, ridiculous, clueless, nonsense, loser, annoying, worthless, "
    "incompetent, brainless, laughable, shut up, who cares, come on, big deal, no kidding, good grief, for god s sake, "
    "for heaven s sake, common sense, no brainer, isn t it obvious, don t you know, figure it out, rocket science, "
    "hurry up, get lost, get real, give me a break, pay attention, what do you expect, what did you expect, "
    "waste of time, waste my time, wasting my time, sick of, fed up, shameful, disgraceful, yeah right, "
    "not my problem, you people, smart enough, whining"
)
"""Words of impatience and contempt."""
CASUAL = phrases(
    "gonna, wanna, gotta, kinda, sorta, dunno, lemme, gimme, yeah, yep, yup, nope, nah, hey, wow, dude, guys, "
    "buddy, folks, lol, btw, fyi, asap, omg, haha, cuz, thx, awesome, stuff, a ton of, tons of, a bunch of, "
    "super easy, super fun, no worries, no biggie, no big deal, hang out, pretty much, "
    "at the end of the day, heads up, piece of cake, my bad, catch you later"
)
"""Words of talk among friends."""
FORMAL = phrases(
    "furthermore, moreover, therefore, thus, hence, whereas, regarding, concerning, pursuant, hereby, herein, thereof, "
    "therein, henceforth, notwithstanding, nevertheless, nonetheless, consequently, accordingly, subsequently, "
    "prior to, in accordance with, with respect to, with regard to, utilize, utilise, commence, ascertain, "
    "facilitate, whom, shall, it is recommended, it is advisable, we regret, please be advised, yours faithfully, "
    "in the event that, for the purpose of, in lieu of, aforementioned, inasmuch"
)
"""Words of offices and treatises."""
EXCITED = words(
    "amazing awesome fantastic wonderful incredible thrilled excited exciting hooray yay wow congratulations "
    "congrats unbelievable gorgeous stunning delighted adore"
)
"""Words of strong feeling."""


IN_BOTH = words("emphasis analyses paralyses")
"""Words with a British ending that Americans write too."""


def _spelled(*families: tuple[str, str, str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """Words in British and American spelling: roots, the two endings, and what may follow them."""
    british = {
        r + one + tail for roots, one, _, tails in families for r in roots.split() for tail in _tails(tails)
    }
    american = {
        r + two + tail for roots, _, two, tails in families for r in roots.split() for tail in _tails(tails)
    }
    return frozenset(british - american - IN_BOTH), frozenset(american - british - IN_BOTH)


def _tails(tails: str) -> list[str]:
    return ["", *tails.split()]


BRITISH, AMERICAN = _spelled(
    (
        "col fav flav hum hon lab harb behavi neighb rum endeav sav",
        "our",
        "or",
        "s ed ing ful ite ites able hood ed al",
    ),
    (
        "organ real recogn apolog emphas critic summar optim minim maxim special util author categor memor priorit "
        "standard visual normal final modern custom personal",
        "is",
        "iz",
        "e es ed ing ation ations er ers",
    ),
    ("anal paral", "ys", "yz", "e es ed ing"),
    ("cent theat lit fib cal kilomet centimet millimet sab", "re", "er", "s"),
    ("trave cance mode labe fue signa", "lled", "led", ""),
    ("trave cance mode labe fue signa", "lling", "ling", ""),
    ("trave", "ller", "ler", "s"),
    ("catal", "ogue", "og", "s"),
    ("gr", "ey", "ay", "s"),
    ("jewe", "llery", "lry", ""),
    ("defen offen preten", "ce", "se", "s"),
    ("alumin", "ium", "um", ""),
)
"""The same words in two spellings."""
