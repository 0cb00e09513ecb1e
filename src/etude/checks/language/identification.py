"""Scripts and languages, told by ranges of Unicode and by function words.

Only short lists of the commonest function words are known, so that a language is told where several of them stand
together, and nothing is said of names, code, numbers or single words. Ranges: the block names of Unicode 15.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from etude.text.lexicon import words

MOST_TEXT = 1_000
"""Characters of a text that are looked at."""
LEAST_LETTERS = 12
"""Letters of a script below which a text is not told to be written in it."""
LEAST_WORDS = 4
"""Different function words below which a language is not told."""
LEAST_SHARE = 0.2
"""Share of a text's words that are function words of its language, at least."""
LEAD = 1.25
"""So many times as many function words as the next language has: neighbours such as Danish share most of theirs."""
FAR = 3
"""So many times as many function words as another language has, from which a text is surely not in that one."""
OWN = 0.8
"""Share of the texts whose language is told that are in one language, from which it is the set's own."""
LEAST_TOLD = 20
"""Texts whose language is told, below which a set has no language of its own."""
TOGETHER = 10
"""Short texts that are read as one, as each holds too few function words."""
MOST_RUNS = 100
"""Such runs that are read."""
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
"""Thai, Lao, Burmese, Khmer, Japanese and Chinese, written without spaces, for a class of characters."""
_UNSPACED = re.compile(f"[{UNSPACED}]")
SCRIPTS: dict[str, re.Pattern[str]] = {
    name: re.compile(f"[{letters}]")
    for name, letters in (
        ("Latin", "A-Za-z\u00c0-\u024f\u1e00-\u1eff"),
        ("Greek", "\u0370-\u03ff\u1f00-\u1fff"),
        ("Cyrillic", "\u0400-\u052f"),
        ("Hebrew", "\u0590-\u05ff"),
        ("Arabic", "\u0600-\u06ff\u0750-\u077f"),
        ("Devanagari", "\u0900-\u097f"),
        ("Bengali", "\u0980-\u09ff"),
        ("Tamil", "\u0b80-\u0bff"),
        ("Thai", "\u0e00-\u0e7f"),
        ("Korean", "\u1100-\u11ff\uac00-\ud7af"),
        ("Japanese", "\u3040-\u30ff"),
        ("Chinese", "\u3400-\u4dbf\u4e00-\u9fff"),
    )
}
FUNCTION_WORDS: dict[str, frozenset[str]] = {
    "English": words(
        "the and of a to in is that it for was with as on are this be have from or by not you your what how can will "
        "should about where why who at but if them were into "
        "would their they which has been when there its do does my we i"
    ),
    "German": words(
        "der die das und ist nicht ein eine einen dem den des mit sich auf für von zu im ich sie wir es auch wie "
        "wird sind bei oder aus nach wenn kann haben hat werden noch dass ihre meine"
    ),
    "French": words(
        "le la les des et est une un du dans que qui pour pas sur au avec ce il elle je vous nous ne se sont plus "
        "par mais ou cette aux votre leur être avoir comme"
    ),
    "Spanish": words(
        "el la los las de que y en un una es por con no para su se lo como más pero sus este esta del al muy "
        "cuando son hay está también ser tiene mi"
    ),
    "Italian": words(
        "il lo la gli le di che è e un una per non con sono del della dei delle nel nella alla anche come più ma "
        "questo questa si ho hai ha essere suo dal dalla"
    ),
    "Portuguese": words(
        "o os a as de que e em um uma é para com não por do da dos das no na nos nas mais mas como seu sua ao ou "
        "são está você também ser ele isso meu minha"
    ),
    "Dutch": words(
        "de het een en van ik dat is niet op te zijn met voor aan er maar om ook als bij naar wordt dit uit kan "
        "heeft hebben deze wat jij hij zij mijn worden nog"
    ),
    "Swedish": words(
        "och att det som en ett är av för på med den till inte har om jag var men vi från kan när han hon ska eller "
        "så de sig efter denna mycket"
    ),
    "Danish": words(
        "og at det som en et er af for på med den til ikke har om jeg var men vi fra kan når han hun skal eller så "
        "de sig efter denne meget også"
    ),
    "Polish": words(
        "i w na z się nie to że jest do jak o co po ale czy za od dla przez tym jego są być może tylko już które "
        "która który oraz lub"
    ),
    "Turkish": words(
        "ve bir bu için ile da de ne çok daha gibi ama olarak en var olan o kadar sonra değil ben sen biz her ya mi "
        "mı nasıl olduğunu"
    ),
    "Finnish": words(
        "ja on ei se että oli hän mutta ovat kun niin myös tai mitä joka sen kuin jos vain nyt minä sinä voi ole "
        "siitä tämä ollut kanssa"
    ),
    "Romanian": words(
        "și în de la cu pe un o nu este care că din pentru mai sunt ce se au dar sau ca a fi al ale am fost această "
        "acest dacă prin"
    ),
}
"""Language -> function words, as `normalise` leaves them."""
_SPEAKERS: dict[str, list[str]] = {}
for _language, _found in FUNCTION_WORDS.items():
    for _word in _found:
        _SPEAKERS.setdefault(_word, []).append(_language)


def num_words(text: str) -> int:
    """The words of a text; two characters of a script without spaces are one."""
    num = len(text.split())
    return num if text.isascii() else num + len(_UNSPACED.findall(text)) // 2


def language_of(plain: str) -> str | None:
    """The language of a normalised text, or the script where it is not Latin ("Cyrillic script"); None where unsure."""
    beginning = plain[:MOST_TEXT]
    script = _script(beginning)
    if script != "Latin":
        return script and f"{script} script"
    return _latin(beginning.split())


def own_language(told: Iterable[str | None]) -> str | None:
    """The language that nearly all texts are in whose language is told; None where there is none."""
    counts = Counter(language for language in told if language)
    own, most = counts.most_common(1)[0] if counts else ("", 0)
    return own if counts.total() >= LEAST_TOLD and most >= OWN * counts.total() else None


def language_of_short(plain: Sequence[str]) -> str | None:
    """The language that short normalised texts are in: read TOGETHER by TOGETHER, nearly all such runs tell the same
    one; None where they do not, or where English is mixed with it. Of many texts an even sample is read."""
    sample = plain[:: -(-len(plain) // (TOGETHER * MOST_RUNS)) or 1]
    runs = [" ".join(sample[place : place + TOGETHER]) for place in range(0, len(sample), TOGETHER)]
    told = ((run, language_of(run)) for run in runs)
    sure = (name for run, name in told if name and (name == "English" or is_far(run, name, "English")))
    own, most = next(iter(Counter(sure).most_common(1)), (None, 0))
    return own if len(sample) >= LEAST_TOLD and most >= OWN * len(runs) else None


def is_far(plain: str, language: str, other: str) -> bool:
    """Whether a normalised text, which is in `language`, is surely not in the other one."""
    if language not in FUNCTION_WORDS or other not in FUNCTION_WORDS:
        return True
    hits, _ = _hits(plain[:MOST_TEXT].split())
    return hits[language] >= FAR * hits[other]


def _script(text: str) -> str | None:
    """The script of most letters of a text; None where the letters are few or of several scripts."""
    if text.isascii():
        return "Latin"
    letters = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    if letters["Japanese"] >= 0.1 * letters["Chinese"]:  # Japanese mixes both scripts, Chinese never does
        letters["Japanese"] += letters.pop("Chinese")
    most = max(letters, key=letters.__getitem__)
    sure = letters[most] >= LEAST_LETTERS and letters[most] >= 0.8 * sum(letters.values())
    return most if sure else None


def _latin(found: list[str]) -> str | None:
    """The language whose function words are many and clearly more than any other's."""
    hits, kinds = _hits(found)
    (language, most), (_, next_most) = [*hits.most_common(2), ("", 0), ("", 0)][:2]
    enough = kinds[language] >= LEAST_WORDS and most >= LEAST_SHARE * len(found)
    return language if enough and most >= LEAD * next_most else None


def _hits(found: list[str]) -> tuple[Counter[str], Counter[str]]:
    """Of each language, how many of the words are function words of it, and how many different ones."""
    hits: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for word, number in Counter(found).items():
        for language in _SPEAKERS.get(word, ()):
            hits[language] += number
            kinds[language] += 1
    return hits, kinds
