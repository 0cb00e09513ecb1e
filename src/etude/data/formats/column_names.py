"""What the name of a column says of its texts: that they are asked, or answered. In the main languages of Europe."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Side = Literal["asked", "answered"]

ASKED = (
    *("question", "inquiry", "enquiry", "request", "complaint", "prompt", "instruction", "frage"),
    *("anfrage", "demande", "pregunta", "domanda", "richiesta", "vraag", "pergunta", "fraga"),
    *("sporgsmal", "pytanie", "problem", "issue", "probleme", "problema", "probleem"),
)
"""Nouns for what is asked, without accents."""
ANSWERED = (
    *("answer", "reply", "response", "completion", "output", "summary", "antwort", "losung", "reponse"),
    *("respuesta", "risposta", "antwoord", "resposta", "svar", "odpowiedz", "zusammenfassung", "resumen"),
    *(
        "riassunto",
        "samenvatting",
        "resumo",
        "resolution",
        "solution",
        "solucion",
        "soluzione",
        "solucao",
        "oplossing",
    ),
)
"""Nouns for what is answered."""
_TALKS = ("dialogue", "dialog", "conversation", "transcript", "gesprach")
_PLURALS = {
    **{
        "fragen": "frage",
        "anfragen": "anfrage",
        "antworten": "antwort",
        "vragen": "vraag",
        "domande": "domanda",
    },
    **{"antwoorden": "antwoord", "risposte": "risposta", "replies": "reply"},
}
_ASKING = frozenset(
    (
        *("customer", "client", "user", "caller", "patient", "student", "visitor", "guest", "human", "kunde"),
        *("kunden", "kundin", "nutzer", "anrufer", "cliente", "usuario", "utilisateur", "utente", "klant"),
        *("gebruiker", "utilizador", "kund"),
    )
)
_ANSWERING = frozenset(
    (
        *(
            "we",
            "our",
            "agent",
            "staff",
            "support",
            "assistant",
            "bot",
            "advisor",
            "operator",
            "wir",
            "unser",
        ),
        *("unsere", "mitarbeiter", "bearbeiter", "nous", "notre", "nosotros", "nuestra", "nuestro", "agente"),
        *("noi", "nostra", "nostro", "operatore", "wij", "onze", "nossa", "nosso", "vi", "vara"),
    )
)
_GIVEN = ("input", "message", "body", "utterance", "draft", "source", "nachricht", "mensaje", "messaggio")
"""Nouns for a text that something is to be done with, where no person's name says otherwise."""
_LEAST_COMPOUND = 5
"""Letters of a noun that may be the last part of a longer word: Kundenfrage, supportantwoord."""


def plain_name(name: str) -> str:
    """A name in small letters without accents, its words with one space between them: `Réponse_client` is
    `reponse client`, and `customerText` is `customer text`."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold().replace("ø", "o").replace("ł", "l")
    letters = unicodedata.normalize("NFKD", parted)
    return " ".join(re.findall(r"[^\W_]+", "".join(one for one in letters if not unicodedata.combining(one))))


def side_of(name: str) -> tuple[Side, bool] | None:
    """Which side the name of a column of texts says, and whether by a noun for it; None where it says none, or both.

    What is asked or answered goes before who wrote it: `agent question` is asked, `reply to customer` answered.
    """
    words = [_PLURALS.get(word, word) for word in plain_name(name).split()]
    nouns = _has_noun(words, (*ASKED, *_TALKS)), _has_noun(words, ANSWERED)
    people = not _ASKING.isdisjoint(words), not _ANSWERING.isdisjoint(words)
    for asked, answered in (nouns, people, (_has_noun(words, _GIVEN), False)):
        if asked != answered:
            return "asked" if asked else "answered", True in nouns
        if asked:
            return None
    return None


def _has_noun(words: list[str], nouns: tuple[str, ...]) -> bool:
    return any(_is_noun(word, noun) for word in words for noun in nouns)


def _is_noun(word: str, noun: str) -> bool:
    single = word.removesuffix("s")
    return noun in (word, single) or (len(noun) >= _LEAST_COMPOUND and single.endswith(noun))
