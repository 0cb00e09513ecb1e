"""What people write before a password, a customer's or document's number, or a phone number, by language.

One table, from general knowledge of the languages; English words with more ways to say them stand beside their
patterns. Values are parts of patterns without regard to case, in which a space stands for a space, a hyphen or nothing.
"""

from __future__ import annotations

from functools import cache

PASSWORDS = {
    "English": "pw|pass key",
    "German": "passw[oö]rt(?:er)?|kennwort|zugangscode",
    "French": "mots? de passe|mdp|code d['’]acc[eè]s",
    "Spanish": "contrase[nñ]as?|clave de acceso",
    "Italian": "parola d['’]ordine|parola chiave",
    "Portuguese": "senhas?|palavra passe",
    "Dutch": "wachtwoord(?:en)?|toegangscode",
    "Polish": "has[lł]o",
    "Swedish": "l[oö]senord",
    "Danish": "adgangskode|kodeord",
    "Norwegian": "passord",
    "Finnish": "salasana",
    "Czech, Slovak": "heslo",
    "Hungarian": "jelsz[oó]",
    "Romanian": "parola|parol[aă]",
    "Turkish": "[sş]ifre|parola",
    "Russian, Ukrainian": "пароль",
    "Greek": "κωδικός πρόσβασης",
    "Japanese": "パスワード|暗証番号",
    "Chinese": "密码|密碼|口令",
    "Korean": "비밀번호|패스워드",
}
NUMBERS = {
    "English": "(?:customer|client|member(?:ship)?|contract|subscriber|loyalty card|passport|id card) "
    "(?:numbers?|no|nr|num|id)",
    "German": "(?:kunden|vertrags|mitglieds|ausweis|personalausweis|reisepass|pass|führerschein|versicherten|"
    "versicherungs|sozialversicherungs|rentenversicherungs|versicherungsschein|policen|konto|depot|personal|"
    "mitarbeiter|patienten|mandanten|matrikel|krankenkassen) (?:nummer|nr|id|kennung)|personalausweis|reisepass|"
    "führerschein",
    "French": "(?:num[eé]ro|n°|nº) (?:de |d['’])?(?:client|contrat|adh[eé]rent|membre|dossier patient|compte|"
    "passeport|permis|police|s[eé]curit[eé] sociale|carte d['’]identit[eé])|passeport|permis de conduire|"
    "carte d['’]identit[eé]",
    "Spanish": "(?:n[uú]mero|n\\.?º|nro) (?:de |del )?(?:cliente|contrato|socio|cuenta|pasaporte|p[oó]liza|afiliado|"
    "licencia)|pasaporte|carn[eé] de conducir|documento de identidad",
    "Italian": "(?:numero|codice|n\\.?) (?:di |del )?(?:cliente|contratto|socio|conto|passaporto|polizza|patente|"
    "tessera)|passaporto|patente di guida|carta d['’]identit[aà]|tessera sanitaria",
    "Portuguese": "(?:n[uú]mero|n\\.?º) (?:de |do |da )?(?:cliente|contrato|s[oó]cio|conta|passaporte|ap[oó]lice|carta "
    "de condu[cç][aã]o)|passaporte|cart[aã]o de cidad[aã]o|carteira de motorista",
    "Dutch": "(?:klant|contract|lid|lidmaatschaps|rekening|paspoort|rijbewijs|polis|personeels|patiënt)(?:en)? "
    "(?:nummer|nr)|paspoort|rijbewijs",
    "Polish": "(?:numer|nr) (?:klienta|umowy|konta|rachunku|paszportu|polisy|dowodu(?: osobistego)?|prawa jazdy)|"
    "paszport|dow[oó]d osobisty",
    "Swedish, Danish, Norwegian": "(?:kund|kunde|avtals|avtale|aftale|medlems|konto|pass|pas|körkorts|kørekort|"
    "førerkort|försäkrings|forsikrings) ?(?:nummer|nr)|körkort|kørekort|førerkort",
    "Finnish": "(?:asiakas|sopimus|jäsen|tili|passin|ajokortin) ?numero",
    "Czech": "(?:číslo|č\\.) (?:zákazníka|smlouvy|účtu|pasu|občanského průkazu|pojistky)|zákaznické číslo|"
    "občanský průkaz",
    "Hungarian": "ügyfélszám|szerződésszám|számlaszám|útlevélszám|útlevél",
    "Romanian": "num[aă]r(?:ul)? (?:de )?(?:client|contract|cont|pa[sș]aport)|pa[sș]aport",
    "Turkish": "(?:müşteri|sözleşme|üye|hesap|pasaport) (?:numaras[ıi]|no)|pasaport",
    "Russian, Ukrainian": "номер (?:клиента|договора|сч[её]та|паспорта|полиса|клієнта|договору|рахунку)|паспорт",
    "Greek": "αριθμός (?:πελάτη|λογαριασμού|διαβατηρίου|ταυτότητας)|διαβατήριο",
    "Japanese": "(?:お?客様|顧客|会員|契約|口座|パスポート|旅券|免許証|社員|保険証|患者)(?:番号|ID)",
    "Chinese": "(?:客户|客戶|会员|會員|合同|合约|银行|銀行|员工)"
    "(?:编号|編號|号码|號碼|账号|帳號|号|號|卡号)|账号|帐号|帳號|"
    "护照号?码?|護照號?碼?|驾驶证号?|驾照号?|学号|工号|病历号",
    "Korean": "(?:고객|회원|계약|계좌|여권|면허|환자) ?번호|사번|학번",
}
PHONES = {
    "Japanese": "電話(?:番号)?|携帯(?:電話|番号)?|連絡先|お?電話口",
    "Chinese": "电话(?:号码)?|電話(?:號碼)?|手机号?码?|手機號?碼?|联系方式|聯絡電話|热线|座机|微信",
    "Korean": "전화(?:번호)?|휴대폰|핸드폰|연락처",
}
LINKS = (
    r"(?:ist|lautet|est|es|son|è|é|is|är|er|on|jest|je|to|это|numbers?|no|nr|n[°º])(?![^\W\d_])|はい?|が|是|为|為|은|는|이|가"
    r"|[#:：=.°º*'\"“‘()（-]"
)
"""What may stand between such a label and its value."""

PASSWORD_STEMS = """
pass pw kennwort zugang mdp acc clave contrase parol chiave senha wachtwoord toegang haslo senord adgang kodeord
salasana heslo jelsz ifre hasło пароль κωδικ パスワード 暗証 密码 密碼 口令 비밀번호 패스워드
"""
NUMBER_STEMS = """
customer client member subscriber loyalty idcard id-card id_card contra pas kund vertrag mitglied ausweis versicher
policen kont depot personal mitarbeiter patient mandant matrikel kassen adh membre dossier compte permis police curit
identi soci cuenta liza afiliado licencia conducir polizza patente tessera cio conta lice condu cidad carteira klant lid
rekening rijbewijs polis personeel klient umowy rachunku dow prawa avtal aftal medlem numero smlouvy cont aport
hesap forsik kort führerschein adhé sécu póliza apólice sócio condução cartão patiënt dowód körkort
kørekort førerkort försäk jäsen zákaz účtu průkaz pojistky ügyfél szerz száml útlevél müşteri sözleşme üye
клиента договор сч паспорт полис клієнта рахунку αριθμ διαβατ 番号 客様 顧客 会員 契約 口座 パスポート 旅券 免許
社員 保険 患者 客户 客戶 会员 會員 合同 合约 银行 銀行 员工 账号 帐号 帳號
护照 護照 驾驶证 驾照 学号 工号 病历号 번호 사번 학번
"""
"""One of these stands in each word of the table, in small letters."""


def any_of(*tables: dict[str, str]) -> str:
    """A pattern for every word of the tables."""
    words = "|".join(word for table in tables for word in table.values())
    return f"(?:{words.replace(' ', '[ -]?')})"


def may_hold(text: str, stems: str) -> bool:
    """Whether one of the stems, in small letters, stands in a text: without any it holds no word of their table."""
    plain = text.lower()
    ascii_stems, others = _split(stems)
    return any(map(plain.__contains__, ascii_stems)) or (
        not text.isascii() and any(map(plain.__contains__, others))
    )


@cache
def _split(stems: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words = [stem.replace("_", " ") for stem in stems.split()]
    return tuple(filter(str.isascii, words)), tuple(word for word in words if not word.isascii())
