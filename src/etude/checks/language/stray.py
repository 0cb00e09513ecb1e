"""Short texts in another language than their set's, told by what else the set holds.

A sentence of five words holds too few function words to tell its language alone. Among texts of one language it does:
two words of another one, and none of the set's own, in a sentence that is no name or title.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from etude.checks.language.identification import FUNCTION_WORDS
from etude.text.lexicon import words
from etude.text.normal_forms import fold

LEAST_WORDS = 5
"""Words below which a text may be a name or a title."""
MOST_WORDS = 60
"""Words up to which a text is short; the language of a longer one is told by itself."""
LEAST_KINDS = 2
"""Different words that are a sign of another language, in a sentence with a mark at its end."""
UNMARKED_WORDS, UNMARKED_KINDS = 8, 4
"""Words, and signs among them, of a text without a mark: a shorter one may be a title."""
LEAST_SHARE = 0.2
"""Share of the words that are such, at least."""
USUAL = 0.01
"""Share of a set's own texts from which a word is usual in them."""
USUAL_LEAST = 5
"""The same as a number of texts."""
MOST_READ = 2_000
"""Own texts that are read for their usual words."""
ENDS = (".", "!", "?", "…", ".)")
QUOTES = ('"', "“", "„", "«", "‘", "'")
OF_NAMES = words(
    "de la le les el los las du des del della dei di da do dos das van der den von zur zum am im und y e et i og o "
    "a il lo au aux en al"
)
"""Words of names and titles: "Centre national de la recherche"."""
NAMED_KINDS = 4
"""Different words from which a text is a sentence though all are such."""
LETTERS: Mapping[str, str] = {
    "German": "äöüß",
    "French": "àâçèéêëîïôûœ",
    "Spanish": "áéíóúñ",
    "Italian": "àèéìòù",
    "Portuguese": "áâãçéêíóôõ",
    "Dutch": "ëï",
    "Swedish": "åäö",
    "Danish": "æøå",
    "Polish": "ąćęłńóśźż",
    "Turkish": "çğıöşü",
    "Finnish": "äö",
    "Romanian": "ăâîșşțţ",
}
"""Language -> letters that English has not."""
_MORE: Mapping[str, str] = {
    "English": "please thank thanks no yes all any more one new up out so an than then also just only some other me "
    "us our yours his her him she he get got let make go see need want use used here now don "
    "could may might must being had did done very much many few first last next after before over under "
    "between through during without within while because until off down again each every both such too "
    "own same am",
    "German": "bitte vielen dank ihr ihnen ihren ihrem ihrer euch uns unser unsere mein dein deine sein seine "
    "seinen wer wo warum wann dann hier zum zur vom beim am bis durch gegen ohne um unter über vor "
    "zwischen aber doch nur schon sehr mehr alle alles mir mich dir dich ihm ihn diese dieser dieses "
    "diesen diesem einem einer eines kein keine keinen nichts jetzt immer wieder leider weil ob muss "
    "müssen soll sollte möchte werde werden würde wurde wurden habe waren denn damit als können konnte "
    "dieselbe ihres",
    "French": "à mon ma mes ton ta tes notre nos vos ses son sa leurs cet ces elle elles ils lui moi toi tout tous "
    "toute toutes très bien aussi encore déjà jamais toujours alors donc car si où quand quel quelle "
    "entre sans sous vers chez depuis pendant avant après jusqu faire fait peut peuvent pouvez peux dois "
    "doit devez faut êtes suis était étaient sera été ai avons avez ont avait merci bonjour veuillez "
    "aucun aucune autre autres même ici voici cela ça rien n c qu lors",
    "Spanish": "mis tu tus nuestro nuestra le les me te nos sí si ya yo él ella ellos usted ustedes hasta desde "
    "entre sobre sin antes después donde dónde qué quién cómo porque también solo sólo siempre nunca aquí "
    "ahora todo todos toda todas otro otra ese esa eso esos estas estos algo nada nadie muchas mucho "
    "gracias favor puede puedes pueden puedo debe hace hacer fue era eran ha han había tengo tienen "
    "tenemos están estamos estoy sea uno ni",
    "Italian": "uno mi ti ci vi mio mia tuo tua sua suoi nostro nostra loro lei lui noi voi io tu al allo ai agli "
    "alle dai dalle sul sulla sui sulle nei nelle tra fra senza dopo prima fino quando dove perché chi "
    "cosa quale questi queste quello quella qui ora già sempre mai molto tutto tutti tutte altro altri "
    "ogni solo poi però può possono posso puoi deve devono fare fatto era erano stato stata sia siamo "
    "abbiamo avete hanno grazie ed quest dell",
    "Portuguese": "à às ela eles elas eu nós lhe me te se nosso nossa seus suas teu dele dela este esta esse essa isto "
    "aqui já ainda sempre nunca muito todos todas tudo nada outro outra quando onde porque qual quem até "
    "desde entre sobre sem antes depois pelo pela num numa ter tem têm tenho temos há foi era estava "
    "estão estou fazer faz pode podem posso deve obrigado favor só",
    "Dutch": "je u uw hem haar ons onze hun ze we jullie mij me zich dan toen waar wanneer waarom hoe wie welke "
    "hier daar tot tussen zonder over onder tegen door na of want omdat dus al alle alles iets niets geen "
    "veel meer zeer heel nu altijd nooit weer zal zullen zou kunnen moet moeten mag wil willen werd was "
    "bent had hebt doen gaat komt graag dank bedankt helaas die",
    "Swedish": "du ni mig dig oss er era min mitt mina din ditt dina sin sina vår vårt våra dem alla allt ingen "
    "inget några något mer här där när då nu redan alltid aldrig bara också mellan under över före utan "
    "genom mot hos ut upp vad vem vilken vilket hur vara varit blir blev hade kunde måste får skulle vill "
    "tack tyvärr igen",
    "Danish": "du mig dig os jer jeres min mit mine din dit dine sin sit sine vores deres dem alle alt ingen intet "
    "nogle noget mere her der hvor nu altid aldrig kun mellem under over før uden gennem mod hos ud op "
    "hvad hvem hvilken hvorfor hvordan være været bliver blev havde kunne må skulle vil tak desværre igen "
    "indtil i",
    "Polish": "u a był była było będzie mam masz ma mamy mogę możesz można mój moja twój pan pani pana państwa ten "
    "ta te tych tej tu tam gdzie kiedy dlaczego kto jaki jakie przed pod nad między przy bez ze sobie "
    "mnie mi ci nas nam was im ich jej go jeszcze także też bardzo zawsze nigdy teraz proszę dziękuję "
    "dziękujemy niestety więc gdy jeśli aby żeby",
    "Turkish": "şu siz onlar bana sana size bize benim senin sizin bizim veya ki neden nerede kim hangi hiç tüm bazı "
    "az önce şimdi zaman artık sadece yalnızca henüz lütfen teşekkürler teşekkür ederiz yok olur oldu olabilir "
    "eder gerekir ancak çünkü eğer göre arasında üzere",
    "Finnish": "me te he minun sinun hänen meidän teidän heidän tuo nämä ne jotka mikä missä milloin miksi miten "
    "kuka olen olet olemme olette olivat en et emme eivät voit voidaan täytyy koska vai sekä vielä jo "
    "aina hyvin kaikki mitään kiitos ennen jälkeen yli ilman valitettavasti",
    "Romanian": "eu tu el ea noi voi ele vă mă meu mea său sa acestea acel unde când cum cine cât spre până între "
    "fără după înainte sub peste însă deci foarte tot toate nici doar numai acum aici încă deja e sunteți "
    "era avea are am ai va vor poate pot trebuie mulțumim mulțumesc rugăm unui unei lui",
}
"""Language -> further words that are seldom ones of content."""
KNOWN: Mapping[str, frozenset[str]] = {
    language: found | words(_MORE[language]) for language, found in FUNCTION_WORDS.items()
}
"""Language -> words of grammar and of courtesy."""
_ANY = frozenset().union(*KNOWN.values())


class Strays:
    """Tells short texts in another language than `own`, which `texts` (normalised) are in."""

    def __init__(self, own: str, texts: Iterable[str]) -> None:
        read = [set(text.split()) for text in islice(texts, MOST_READ)]
        seen = Counter(word for text in read for word in text)
        least = max(USUAL_LEAST, USUAL * len(read))
        self._own = KNOWN.get(own, frozenset())
        self._usual = frozenset(word for word, number in seen.items() if number >= least) - self._own
        usual_letters = set("".join(self._usual | self._own))
        self._letters = {
            language: set(letters) - usual_letters - set(LETTERS.get(own, ""))
            for language, letters in LETTERS.items()
        }
        self._speakers: dict[str, list[str]] = {}
        for language, found in KNOWN.items():
            for word in found - self._own - self._usual if language != own else ():
                self._speakers.setdefault(word, []).append(language)

    def language_of(self, text: str, plain: str) -> str | None:
        """The other language that a text is surely in, None where it is not; `plain` is its normalised form."""
        found = plain.split(maxsplit=MOST_WORDS)
        if not LEAST_WORDS <= len(found) <= MOST_WORDS:
            return None
        hits = Counter(language for word in {*found} for language in self._speakers.get(word, ()))
        if not hits or text.lstrip().startswith(QUOTES):
            return None
        hits.update(self._by_letters(text) if not text.isascii() else ())
        language = max(
            KNOWN, key=hits.__getitem__
        )  # of equals the first, in whatever order a set gives its words
        kinds = hits[language]
        known = KNOWN[language].intersection(found)
        if not self._own.isdisjoint(set(found) - KNOWN[language]) or self._num_usual(found) >= kinds:
            return None
        if not text.rstrip().endswith(ENDS) and (len(found) < UNMARKED_WORDS or kinds < UNMARKED_KINDS):
            return None
        enough = kinds >= max(LEAST_KINDS, LEAST_SHARE * len(found))
        named = len(known) < NAMED_KINDS and OF_NAMES.issuperset(known)
        return language if enough and not named and _is_sentence(text, language) else None

    def _num_usual(self, found: Iterable[str]) -> int:
        return sum(word in self._usual for word in found)

    def _by_letters(self, text: str) -> Iterator[str]:
        """The languages of each different word that is written small with letters that the own language has not."""
        small = {fold(word) for word in text.split() if word[:1].islower()}
        for word in small:
            for language, letters in self._letters.items():
                if not letters.isdisjoint(word):
                    yield language


def _is_sentence(text: str, language: str) -> bool:
    """Whether words of content, or most words, are written small, as in no name or title; in German nouns are not."""
    found = text.split()
    content = any(word[:1].islower() and fold(word).strip(".,;:!?") not in _ANY for word in found)
    return language == "German" or content or 2 * sum(word[:1].islower() for word in found) > len(found)
