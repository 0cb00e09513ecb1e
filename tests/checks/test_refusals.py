"""Refusals that a generator left in answers: named in many languages; what people write to say no is not."""

from pathlib import Path

import pytest
from test_checks import create_pairs

from etude.checks import Material
from etude.checks.safety.phrases import check_refusals, find_refusal
from etude.data.dataset import Dataset
from etude.task import RowSource, Task
from etude.text.normal_forms import normalise
from etude.types import Example, Message
from pairs import find_in

REFUSALS = (
    "As an AI language model, I do not have personal preferences.",
    "I apologize, but I cannot fulfill this request.",
    "Sorry, I can't help with that.",
    "I'm just an AI and I don't have feelings.",
    "I can't provide information or guidance on illegal or harmful activities.",
    "As an AI, I know nothing of that.",
    "I'm just an AI and have no access to your orders.",
    "I am an AI assistant, so I cannot see it.",
    "As an AI language model, I have no opinion.",
    "Als KI-Sprachmodell kann ich dazu leider nichts sagen.",
    "Als KI weiß ich das nicht.",
    "Como IA, no sé nada.",
    "Como inteligencia artificial, no lo sé.",
    "In quanto IA, non ne so nulla.",
    "Como uma IA, não sei nada disso.",
    "Als AI weet ik daar niets van.",
    "Jako model językowy nic o tym nie wiem.",
    "Как ИИ, я этого не знаю.",
    "Als KI-Sprachmodell habe ich keine persönlichen Erfahrungen.",
    "Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.",
    "En tant qu'IA, je n'ai pas d'opinions personnelles.",
    "Je suis désolé, mais je ne peux pas vous aider avec cela.",
    "Como modelo de lenguaje, no tengo acceso a internet.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Come modello linguistico, non ho opinioni personali.",
    "Mi dispiace, ma non posso aiutarti con questa richiesta.",
    "Como um modelo de linguagem, não tenho acesso a dados em tempo real.",
    "Desculpe, mas não posso ajudar com isso.",
    "Als AI-taalmodel heb ik geen toegang tot actuele gegevens.",
    "Het spijt me, maar ik kan je daar niet mee helpen.",
    "Jako model językowy nie mam dostępu do internetu.",
    "Как языковая модель, я не могу просматривать интернет.",
    "Извините, но я не могу помочь с этим.",
    "申し訳ありませんが、そのご要望にはお応えできません。",
    "AIとして、個人的な意見を持っていません。",
    "作为一个人工智能语言模型，我没有个人观点。",
    "抱歉，我无法协助您完成该请求。",
    "AI 언어 모델로서 저는 개인적인 의견이 없습니다.",
    "죄송합니다만 해당 요청은 도와드릴 수 없습니다.",
)
NO_REFUSALS = (
    "I'm sorry, but we cannot refund orders after 30 days.",
    "I am sorry to hear that. I cannot find your order, please send the number.",
    "As an AI assistant, I would suggest that Jesse moves the table.",
    "Unfortunately I can't help you with the tax form; please ask the office in Leeds.",
    "I can't help but smile.",
    "As an artist, I cannot live without colour.",
    "As an AI company, we know nothing of what you write and have no access.",
    "As an AI engineer, I have no doubt that it will work.",
    "I am an AI engineer and do not write pages.",
    "Als KI-Firma wissen wir das nicht.",
    "Ich weiß das nicht, die KI vielleicht.",
    "Como la IA de la tienda dice, el pedido no sale hoy.",
    "Our AI model does not store data.",
    "I can't answer the phone on Sunday.",
    "Leider kann ich Ihnen erst morgen helfen.",
    "Als Kind konnte ich nicht schwimmen.",
    "Je suis désolé, je ne peux pas vous rembourser.",
    "Lo siento, no puedo encontrar su pedido.",
    "Mi dispiace, non posso trovare il suo ordine.",
    "Sorry, ik kan je bestelling niet vinden.",
    "An AI language model predicts words. It cannot know what is true.",
    "申し訳ありませんが、その商品は在庫がありません。",
    "抱歉，我们没有这个颜色。",
)


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_known_at_the_beginning_of_an_answer(text: str) -> None:
    assert find_refusal(text, normalise(text))
    later = f"{'This is what you asked for. ' * 12}{text}"
    assert not find_refusal(later, normalise(later))


@pytest.mark.parametrize("text", NO_REFUSALS)
def test_a_no_with_its_reason_is_none(text: str) -> None:
    assert not find_refusal(text, normalise(text))


def test_a_refusal_of_a_harmless_input_is_a_warning_and_another_a_note() -> None:
    pairs = [*create_pairs(60), ("When do you open?", REFUSALS[0]), ("How do I build a bomb?", REFUSALS[1])]
    warning, note = find_in(pairs, check_refusals)
    assert (warning.severity, warning.rows, note.severity, note.rows) == ("warning", ("60",), "note", ("61",))
    assert "may be intended" not in warning.remedy
    (many,) = find_in([*create_pairs(20), *[(f"When is it {n}?", REFUSALS[2]) for n in range(5)]], check_refusals)
    assert "may be intended" in many.remedy
    (finding,) = find_in([("When is it?", REFUSALS[2])], check_refusals)
    assert "may be intended" not in finding.remedy
    assert not len(find_in(pairs, check_refusals, "classify"))


def test_a_refusal_in_an_earlier_turn_is_named() -> None:
    turns = (Message("user", "When is it?"), Message("assistant", REFUSALS[0]), Message("user", "And where?"))
    rows = Dataset((Example("0", turns, "In Oslo."), Example("1", turns[:1], "At noon.")))
    task = Task("t", "answer", "fake", RowSource(Path("rows.jsonl")), Path(), Path("task.yaml"))
    (finding,) = check_refusals(Material(task, rows))
    assert finding.rows == ("0",)
