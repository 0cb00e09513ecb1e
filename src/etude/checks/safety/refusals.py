"""Answers with which a generator refused, or spoke of itself as a language model, left among the examples.

Known by phrases at the beginning of an answer; a refusal in words of its own, or with its reason, goes unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from etude.checks.material import Mark, Material, rows_that
from etude.checks.record import TEXTS, FindingKind, finds
from etude.checks.safety.hostile import threat
from etude.checks.safety.hostile_words import INSULTS
from etude.checks.safety.injections import INJECTION
from etude.text.lexicon import words
from etude.text.normal_forms import normalise
from etude.types import Finding, Message, Severity

BEGINNING = 300
"""Characters of an answer in which a refusal begins and ends."""
MANY = 0.05
"""Share of the rows from which refusals may be what is to be learned."""
MANY_LEAST = 5
"""The same as a number of rows."""
HARM = words(
    "bomb bombs explosive explosives weapon weapons gun guns kill killing murder poison suicide hack hacking hacked "
    "malware ransomware phishing steal stealing stolen theft fraud scam forge counterfeit launder cocaine "
    "heroin meth drugs terrorist terrorism rape porn pornographic nude sexual racist nazi slur hate "
    "stalk stalking blackmail torture illegal illegally piracy pirated dox smuggle bombe waffe waffen "
    "töten mord drogen armes tuer drogue drogues pirater bomba arma armas matar drogas "
    "droga ilegal uccidere illegale wapen wapens doden"
)
"""Words of inputs which may rightly be refused."""


class _Language(NamedTuple):
    """How a language model speaks of itself, what it says then, and how it refuses outright."""

    hints: frozenset[str]
    """Words of which such an answer holds one."""
    refusal: re.Pattern[str]


def _language(hints: str, self: str, unable: str, refuses: str) -> _Language:
    said = rf"\b(?:{self})\b[^.!?\n]{{0,90}}?\b(?:{unable})|(?:{refuses})"
    return _Language(words(hints), re.compile(said, re.IGNORECASE))


_SPACED: Mapping[str, _Language] = {
    "English": _language(
        "ai llm language intelligence sorry apologize apologise apologies unfortunately cannot can unable",
        r"(?:as|i(?: am|['’]m)(?: just| only| merely)?) (?:an? )?(?:\w{4,12} ){0,2}?(?:AI|artificial intelligence|LLM|"
        r"language model)",
        r"(?:i|it|me)(?:['’]m| am| is|['’]s)? (?:\w{2,10}ly )?(?:do not|don['’]?t|cannot|can['’]?t|can not|not|unable|"
        r"won['’]?t|will not|must decline|lack)\b|"
        r"i (?:\w{2,10}ly )?(?:know nothing|have (?:never|no)\b(?! doubt| problem| objection))|"
        r"unable to|not (?:able|capable|programmed|designed)\b",
        r"\bi(?: am|['’]m)(?: just| only| merely)? an? (?:\w{4,12} ){0,2}?(?:AI|LLM|language model)"
        r"(?: language)?(?: model| assistant| chatbot| bot| system)?,? (?:and|so|that|which|who) (?:i )?"
        r"(?:cannot|can['’]?t|can not|do not|don['’]?t|know nothing|have no|lack|am (?:not|unable))\b|"
        r"\A\W*(?:(?:i(?: am|['’]m) (?:\w{2,9} )?sorry|sorry|i apologi[sz]e|my apologies|unfortunately)[,.]? )?"
        r"(?:but )?i(?: cannot|['’]m (?:unable|not able) to| can['’]?t| can not| am (?:unable|not able) to| won['’]?t) "
        r"(?:(?:assist|help)(?: you)? with (?:that|this|your request|such)\b|"
        r"(?:assist|help)(?: you)?(?: [a-z]{3,8}ing)? with (?:any )?requests\b|"
        r"(?:comply with|fulfill?|complete|process|answer|respond to|engage with) (?:that|this|your|such|the) "
        r"(?:\w{3,12} )?(?:request|prompt|question|instruction)\b|"
        r"(?:provide|generate|create|write|produce|engage in|discuss|support|promote) [^.!?\n]{0,60}?"
        r"\b(?:content|information|material|guidance|instructions|activit(?:y|ies)) (?:that|which|on|about|for)\b"
        r"[^.!?\n]{0,40}?\b"
        r"(?:\w{2,12}ly )?(?:harm|illegal|offensive|explicit|inappropriate|discriminat|violen|unethical|violat))",
    ),
    "German": _language(
        "ki ai intelligenz sprachmodell leid leider entschuldigung",
        r"als (?:ein\w{0,2} )?(?:(?:KI|AI)(?:[- ]?(?:gestützte\w?|basierte\w?))?[- ]?(?:\w*modell|\w*assistent\w{0,2}|"
        r"system)?|(?:großes )?sprachmodell|künstliche intelligenz)",
        r"(?:(?:kann|habe|bin|darf|wei(?:ß|ss)|kenne|verfüge|besitze) ich|"
        r"ich (?:kann|habe|bin|darf|wei(?:ß|ss)|kenne|verfüge|besitze)|ist es mir)\b[^.!?\n]{0,60}?"
        r"\b(?:nichts?|keine?\w?)\b",
        r"\A\W*(?:es )?(?:tut mir (?:sehr )?leid|entschuldigung|leider)\b[^.!?\n]{0,10}?"
        r"(?:\b(?:kann ich|ich kann) (?:ihnen |dir )?(?:dabei|damit|hierbei|dieser?|ihrer?|deiner?)"
        r"(?: anfrage| bitte| frage)?|\b(?:dabei|damit|hierbei) kann ich (?:ihnen|dir)) (?:leider )?nicht "
        r"(?:weiterhelfen|helfen|beantworten|nachkommen|erfüllen|behilflich)",
    ),
    "French": _language(
        "ia intelligence langage linguistique assistant désolé désolée excuse",
        r"en tant (?:qu['’]|que )(?:une? )?(?:IA|intelligence artificielle|"
        r"(?:grand )?modèle (?:de langage|linguistique)|assistante? (?:IA|virtuel(?:le)?))",
        r"je (?:ne|n['’])|il m['’]est impossible|je suis incapable",
        r"\A\W*(?:je suis (?:vraiment )?désolée?|désolée?|je m['’]excuse)\b[^.!?\n]{0,10}?\bje ne (?:peux|puis) pas "
        r"(?:vous |t['’])?(?:aider|assister|répondre|satisfaire|accéder|traiter)\b(?: (?:avec|à|sur|dans))? "
        r"(?:cela|ça|ceci|cette|votre|ta|ce genre)\b",
    ),
    "Spanish": _language(
        "ia inteligencia lenguaje asistente siento lamento disculpa perdón",
        r"como (?:un |una )?(?:gran )?(?:IA|inteligencia artificial|modelo (?:de lenguaje|lingüístico)|"
        r"asistente (?:de IA|virtual))",
        r"no (?:l[oae]s? |te )?(?:puedo|tengo|soy|estoy|poseo|sé|conozco|dispongo|me es posible)\b",
        r"\A\W*(?:lo siento|lamento|disculpa|disculpe|perdón)\b[^.!?\n]{0,10}?\bno puedo "
        r"(?:ayudar\w{0,3}|asistir\w{0,3}|responder|cumplir|atender)(?: (?:con|a|en))? "
        r"(?:eso|esto|esa|esta|ese|este|tu|su)\b",
    ),
    "Italian": _language(
        "ia ai intelligenza linguistico linguaggio assistente dispiace spiacente",
        r"(?:in quanto|come|essendo) (?:un['’]?\s?|una )?(?:grande )?(?:IA|AI|intelligenza artificiale|"
        r"modello (?:linguistico|di linguaggio)|assistente (?:IA|AI|virtuale))",
        r"non (?:l[oae] |ne |ti )?(?:posso|ho|sono|possiedo|so|conosco|dispongo|mi è possibile)\b",
        r"\A\W*(?:mi dispiace|spiacente)\b[^.!?\n]{0,10}?\bnon posso "
        r"(?:aiutar\w{1,3}|assister\w{1,3}|rispondere|soddisfare)(?: (?:con|a|in))? "
        r"(?:questo|questa|quest|ciò|tale|la (?:tua|sua)|alla (?:tua|sua))\b",
    ),
    "Portuguese": _language(
        "ia inteligência linguagem assistente desculpe desculpa sinto lamento",
        r"como (?:um |uma )?(?:grande )?(?:IA|inteligência artificial|modelo (?:de linguagem|linguístico)|"
        r"assistente (?:de IA|virtual))",
        r"não (?:posso|tenho|sou|consigo|possuo|estou|sei|conheço|disponho|é possível|me é possível)\b",
        r"\A\W*(?:desculpe|desculpa|sinto muito|lamento|peço desculpas?)\b[^.!?\n]{0,10}?\bnão (?:posso|consigo) "
        r"(?:ajudar|auxiliar|atender|responder|cumprir)(?:-\w{1,3})?(?: (?:com|a|em))? "
        r"(?:isso|isto|essa|esse|este|esta|sua|seu|à sua|ao seu)\b",
    ),
    "Dutch": _language(
        "ai intelligentie taalmodel spijt sorry helaas",
        r"als (?:een )?(?:groot )?(?:AI(?:[- ]?(?:taal)?(?:model|assistent))?|kunstmatige intelligentie|taalmodel)",
        r"(?:(?:kan|heb|ben|weet) ik|ik (?:kan|heb|ben|weet))\b[^.!?\n]{0,60}?\b(?:niets?|geen)\b",
        r"\A\W*(?:het spijt me|sorry|helaas)\b[^.!?\n]{0,10}?\b(?:kan ik|ik kan)(?: je| u| jou)? "
        r"(?:daar|hier|hiermee|daarmee|dit|dat|deze|met dit|met dat|bij dit)\b[^.!?\n]{0,16}? niet (?:mee |bij )?"
        r"(?:helpen|voldoen|beantwoorden|assisteren)",
    ),
    "Polish": _language(
        "ai językowy inteligencja",
        r"jako (?:duży )?(?:model językowy|sztuczna inteligencja|AI|asystent AI)",
        r"nie (?:mogę|mam|jestem|posiadam|wiem|znam)\b",
        r"\A\W*(?:przepraszam|przykro mi)\b[^.!?\n]{0,10}?\bnie mogę (?:ci |panu |pani )?(?:w tym |z tym )?pomóc\b",
    ),
    "Russian": _language(
        "ии интеллект модель нейросеть извините простите сожалению",
        r"(?:как|я(?: всего лишь)?) (?:большая )?(?:языковая модель|искусственный интеллект|ИИ|нейросеть)",
        r"не (?:могу|имею|обладаю|знаю|располагаю|способ\w{1,3}|в состоянии)\b|у меня нет\b",
        r"\A\W*(?:извините|простите|к сожалению)\b[^.!?\n]{0,10}?\bя не могу (?:вам )?(?:с этим помочь|помочь (?:вам )?"
        r"(?:с этим|в этом)|выполнить (?:эту|этот|ваш)|ответить на (?:этот|ваш))",
    ),
}
_UNSPACED = re.compile(
    r"(?:AI|人工知能|言語モデル)(?:アシスタント|モデル)?(?:として|ですので|なので|であるため)[^。\n]{0,60}?"
    r"(?:できません|できかね|いたしかね|持っていません|持ち合わせ|ありません)"
    r"|\A(?:大変)?(?:申し訳(?:ありません|ございません|ない)|すみません)[^。\n]{0,12}[、。]?(?:その|この|ご|お)"
    r"(?:要望|要求|依頼|リクエスト|質問|手伝い)[^。\n]{0,12}(?:できません|できかね|いたしかね)"
    r"|作[为為](?:一[个個名款])?(?:大型)?(?:人工智能|人工智慧|AI|[语語]言模型)[^。\n]{0,40}?(?:[无無]法|不能|[没沒]有|不具[备備])"
    r"|\A(?:[对對]不起|很?抱歉)[，,]?(?:但是?)?我(?:[无無]法|不能)(?:[协協]助|[帮幫]助|[满滿]足|回答|完成)"
    r"[您你]?(?:完成)?(?:的|[这這]|此|[该該])"
    r"|(?:AI|인공지능|언어 모델)(?: 언어)?(?: ?모델| 어시스턴트)?(?:로서|으로서|이기 때문에|이므로)[^.\n]{0,60}?"
    r"(?:수 없|없습니다|못합니다)"
    r"|\A죄송(?:합니다|하지만)[^\n]{0,20}?(?:요청|질문)[^.\n]{0,12}(?:도와드릴|도움을 드릴|응답할|답변할) 수 없",
    re.IGNORECASE,
)
"""Japanese, Chinese and Korean."""


@finds(
    FindingKind("refusal", "warning, note", "answers with which a language model refuses or excuses itself"),
    tasks=TEXTS,
)
def refusals(material: Material) -> Iterator[Finding]:
    """Answers that are refusals: of harmless inputs, and of those that may be meant."""
    found: dict[int, list[Mark]] = {}
    for row, (example, plain) in enumerate(zip(material.rows, material.plain_outputs, strict=True)):
        if place := refusal_in(example.output, plain):
            found[row] = [place]
        elif any(map(_refuses, example.input[:-1])):
            found[row] = []
    harmful = {row: marks for row, marks in found.items() if _may_be_refused(material, row)}
    harmless = {row: marks for row, marks in found.items() if row not in harmful}
    remedy = "Write the answer that is wanted, or delete the row: a model learns to refuse."
    if len(harmless) >= max(MANY_LEAST, MANY * len(material.rows)):
        remedy += " So many may be meant, to teach what is refused: then keep them."
    yield from _named(material, harmless, "", "warning", remedy)
    remedy = "Keep them where such requests are to be refused."
    yield from _named(material, harmful, ", to an input that may call for it", "note", remedy)


def refusal_in(text: str, plain: str) -> Mark | None:
    """Where a refusal stands at the beginning of a text; `plain` is its normalised form."""
    beginning = text[:BEGINNING]
    first = plain[:BEGINNING].split()
    for language in _SPACED.values():
        if not language.hints.isdisjoint(first) and (found := language.refusal.search(beginning)):
            return found.span()
    found = None if beginning.isascii() else _UNSPACED.search(beginning)
    return found.span() if found else None


def _refuses(turn: Message) -> bool:
    """Whether an earlier turn, which is learned too, is a refusal of the assistant's."""
    is_learned = turn.role == "assistant" and turn.trained
    return is_learned and refusal_in(turn.content, normalise(turn.content)) is not None


def _may_be_refused(material: Material, row: int) -> bool:
    """Whether the input of a row asks for harm, as far as its words tell."""
    text, plain = material.inputs[row], material.plain_inputs[row]
    asked = set(plain.split())
    hostile = any(not insults.isdisjoint(asked) for insults in INSULTS.values())
    return hostile or not HARM.isdisjoint(asked) or bool(threat(text, plain)) or bool(INJECTION.search(text))


def _named(
    material: Material, found: Mapping[int, list[Mark]], asked: str, severity: Severity, remedy: str
) -> Iterator[Finding]:
    """The finding of these rows with the marks of their answers; of one without marks an earlier turn refuses."""
    if found:
        told = rows_that("have", len(found), len(material.rows))
        yield material.finding(
            "refusal",
            severity,
            list(found),
            f"{told} an answer with which a language model refuses or excuses itself{asked}.",
            remedy,
            evidence=(
                (material.shown_output if marks else material.shown_input)(row, marks)
                for row, marks in found.items()
            ),
        )
