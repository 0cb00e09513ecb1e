"""Plain insults and threats in many languages.

Only words that insult or are vulgar in nearly every use, and threats of violence to whoever reads them: what is said in
other words goes unseen. Single words are written as `normalise` leaves them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from etude.text.lexicon import words

INSULTS: Mapping[str, frozenset[str]] = {
    "English": words(
        "idiot idiots idiotic morons moronic imbecile dumbass asshole assholes bastard bastards bitch bitches fuck "
        "fucking fucked fucker motherfucker bullshit shit shitty cunt dickhead retarded scumbag whore"
    ),
    "German": words(
        "arschloch arschlöcher wichser hurensohn hurensöhne fotze schlampe missgeburt scheisse scheiss beschissen "
        "verpiss ficken vollidiot vollidioten idioten schwachkopf trottel drecksau drecksack miststück"
    ),
    "French": words(
        "connard connards connasse connasses salope salopes salaud salauds enculé enculés merde abruti abrutis "
        "crétin crétins imbécile imbéciles foutre"
    ),
    "Spanish": words(
        "gilipollas cabrón cabrones hijoputa hijueputa pendejo pendejos joder coño mierda imbécil idiota idiotas"
    ),
    "Italian": words(
        "stronzo stronza stronzi coglione coglioni vaffanculo cazzo puttana merda bastardi imbecille imbecilli cretino "
        "cretini idioti"
    ),
    "Portuguese": words("caralho cuzão babaca otário otários merda imbecil idiota idiotas"),
    "Dutch": words(
        "klootzak klootzakken kankerlijer teringlijer kutwijf godverdomme hoerenjong idioot idioten"
    ),
    "Swedish": words("jävla jävlar jävel horunge skitstövel idiot idioter"),
    "Danish": words("røvhul skiderik kælling idiot idioter"),
    "Polish": words(
        "kurwa kurwy skurwysyn skurwysyny skurwiel spierdalaj pierdolony jebany dupek idiota kretyn"
    ),
    "Turkish": words("orospu siktir sikeyim piç aptal gerizekalı şerefsiz yavşak"),
    "Finnish": words("vittu kusipää paskiainen mulkku idiootti"),
    "Romanian": words("pizdă tâmpitule idiotule nenorocitule"),
    "Cyrillic script": words(
        "мудак мудаки блядь блять хуй хуйня пизда пиздец ебать ебаный ёбаный ублюдок ублюдки придурок придурки идиот "
        "идиоты дебил дебилы долбоёб гандон шлюха"
    ),
}
"""Language -> words that insult in a text of any language. The Cyrillic ones are Russian."""
OF_ONE_LANGUAGE: Mapping[str, frozenset[str]] = {
    "English": words("moron retard retards slut sluts"),
    "French": words("pute putes putain"),
    "Spanish": words("puta putas"),
    "Portuguese": words("puta putas porra"),
    "Dutch": words("kut hoer"),
    "Swedish": words("fitta"),
    "Polish": words("chuj debil"),
    "Turkish": words("salak"),
}
"""Language -> words that insult in it alone: a delay is `retard` in French, what is over `slut` in Swedish."""
UNSPACED_INSULTS = re.compile(
    "クソ野郎|くそ野郎|馬鹿野郎|バカ野郎|ばかやろう|クズ野郎|くたばれ"
    "|傻逼|傻屄|操你妈|他妈的|王八蛋|狗杂种|婊子|混蛋|씨발|개새끼|좆|지랄"
)
"""Insults of Japanese, Chinese and Korean, which stand within words."""

_THREATS: Mapping[str, tuple[str, str]] = {
    "English": (
        "kill hurt shoot stab strangle beat murder rape slap punch die pay",
        r"\b(?:i|we)(?:['’]ll| will|(?:['’]m| am|['’]re| are) (?:going to|gonna)| wanna| want to) (?:\w{1,20} )?"
        r"(?:(?:kill|hurt|stab|strangle|beat up|murder|rape) (?:you|him|her|them|your|his|their)\b"
        r"(?! (?:\w{1,20} )?(?:process|session|connection|job|task|container|feelings?|chances?)\w{0,2}\b)"
        r"|shoot (?:you|him|her|them|your|his|their)\b(?! (?:an?|the|some|over|another|one|my|our)\b)"
        r"|(?:slap|punch) (?:you|him|her|them|(?:your|his|their) (?:face|head|teeth))\b(?! (?:on|in|into|up|with)\b))"
        r"|\b(?:go )?kill yourself\b"
        r"|\byou(?:['’]re| are) (?:going to|gonna) (?:die|pay for this)\b|\byou deserve to die\b",
    ),
    "German": (
        "um umbringen töten erschiessen erwürgen abstechen verprügeln totschlagen töte erschiesse kalt verrecken",
        r"\bbringe? (?:ich )?(?:dich|euch)(?: alle| noch)? um(?=\s{0,3}(?:[.!?,;:)\"“]|\Z))"
        r"|\b(?:werde?|will) (?:ich )?(?:dich|euch) (?:\w{1,20} )?"
        r"(?:umbringen|töten|erschie(?:ß|ss)en|erwürgen|abstechen|verprügeln|totschlagen)\b"
        r"|\bich (?:töte|erschie(?:ß|ss)e) (?:dich|euch)\b|\bich mache? (?:dich|euch) kalt\b"
        r"|\b(?:du sollst|ihr sollt) (?:alle )?verrecken\b",
    ),
    "French": (
        "tuer tue tuerai égorger buter crever tabasser étrangler poignarder",
        r"\bje (?:vais|veux) (?:te|vous) (?:tuer|égorger|buter|crever|tabasser|étrangler|poignarder)\b"
        r"|\bje (?:te|vous) tue(?:rai)?\b|\btue-toi\b",
    ),
    "Spanish": (
        "matar mataré matarte mataros apuñalar apuñalarte golpear golpearte romper partir mátate",
        r"\b(?:te|os) (?:voy|vamos) a (?:matar|apuñalar|golpear|(?:romper|partir) la cara)\b"
        r"|\b(?:voy|vamos) a (?:matarte|mataros|apuñalarte|golpearte)\b|\bte mataré\b|\bmátate\b",
    ),
    "Italian": (
        "ammazzo uccido ammazzerò ucciderò spacco ucciderti ammazzarti ammazzati ucciditi",
        r"\b(?:ti|vi) (?:ammazzo|uccido|ammazzerò|ucciderò|spacco la (?:faccia|testa))\b"
        r"|\b(?:voglio|sto per) (?:ucciderti|ammazzarti)\b|\b(?:ammazzati|ucciditi)!",
    ),
    "Portuguese": (
        "matar esfaquear espancar mata",
        r"\b(?:te|lhe) vou (?:matar|esfaquear|espancar)\b|\bvou (?:te|lhe) (?:matar|esfaquear|espancar)\b"
        r"|\bvou matar(?: você|-te|-vos)\b|\bmata-te\b",
    ),
    "Dutch": (
        "vermoord vermoorden doodmaken doodschieten neersteken wurgen dood af kapot",
        r"\bik vermoord (?:je|jou|jullie|u)\b"
        r"|\bik maak (?:je|jou|jullie) (?:af|dood|kapot)(?=\s{0,3}(?:[.!?,;:)\"“]|\Z))"
        r"|\bik (?:ga|zal) (?:je|jou|jullie) (?:vermoorden|doodmaken|doodschieten|neersteken|wurgen)\b",
    ),
    "Swedish": (
        "döda dödar mörda mördar skjuta strypa ihjäl",
        r"\bjag (?:ska|kommer att|tänker) (?:döda|mörda|skjuta|strypa|slå ihjäl) (?:dig|er)\b"
        r"|\bjag (?:dödar|mördar|slår ihjäl) (?:dig|er)\b",
    ),
    "Danish": (
        "dræber dræbe myrder myrde skyde kvæle ihjel drepe dreper",
        r"\bjeg (?:vil|skal) (?:dræbe|drepe|myrde|skyde|kvæle) (?:dig|jer|deg|dere)\b"
        r"|\bjeg (?:dræber|dreper|myrder) (?:dig|jer|deg|dere)\b|\bjeg slår (?:dig|jer|deg|dere) ihjel\b",
    ),
    "Polish": (
        "zabiję zabije zajebię zabij",
        r"\b(?:zabij[ęe]|zajebi[ęe]) (?:cię|ciebie|was)\b|\b(?:cię|was) (?:zabiję|zajebię)\b|\bzabij się\b",
    ),
    "Turkish": (
        "öldüreceğim öldürürüm gebertirim geberteceğim vuracağım",
        r"\b(?:seni|sizi) (?:öldüreceğim|öldürürüm|gebertirim|geberteceğim|vuracağım)\b",
    ),
    "Finnish": ("tapan tapa", r"\btapan (?:sinut|teidät)\b|\btapa itsesi\b"),
    "Romanian": (
        "omor ucid împușc sinucide",
        r"\b(?:te|vă) (?:omor|ucid|împușc)\b|\bsinucide-te\b",
    ),
    "Cyrillic script": (
        "убью зарежу застрелю задушу прикончу убей",
        r"\b(?:тебя|вас) (?:убью|зарежу|застрелю|задушу|прикончу)\b"
        r"|\b(?:убью|зарежу|застрелю|задушу|прикончу) (?:тебя|вас)\b|\bубей себя\b",
    ),
}
"""Language -> (words, as `normalise` leaves them, of which every threat holds one; the threats)."""
THREAT_WORDS = frozenset().union(*(words(needed) for needed, _ in _THREATS.values()))
"""Words of which a threat holds one: most texts hold none, and are passed over soon."""
THREAT = re.compile("|".join(pattern for _, pattern in _THREATS.values()), re.IGNORECASE)
UNSPACED_THREAT = re.compile(
    "(?:お前|おまえ|貴様|てめえ)を?(?:ぶっ)?殺(?:す|して)|ぶっ殺す|殺してやる"
    "|我[要会會]?(?:杀了|杀死|殺了|殺死|弄死|打死|捅死)你|(?:너|널|너를|당신을) ?죽(?:일 ?거|이겠|여 ?버)"
)
"""Threats of Japanese, Chinese and Korean."""
COVERED = frozenset((*INSULTS, "Japanese script", "Chinese script", "Korean script"))
"""Languages of which plain insults and threats are known."""
