"""Times of day and amounts: what one writing says, another says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.checks import check
from etude.checks.records.fields import doubtful_fields
from etude.checks.records.quantities import amount_of, amounts_in, is_same, time_of, times_in


@pytest.mark.parametrize(
    ("value", "text", "said"),
    [
        ("10 km", "ran 10 kilometres today", True),
        ("10km", "ran 10 km today", True),
        ("10 kilometers", "a 10km run", True),
        ("10 km", "10 miles", False),
        ("10 km", "11 km", False),
        ("10 km", "10 to 12 km", True),
        ("2 h", "for two hours", True),
        ("2 hours", "2 hrs later", True),
        ("90 min", "a 90-minute walk", True),
        ("3 Stunden", "nach 3 Std.", True),
        ("5 lb", "five pounds", True),
        ("5 l", "five pounds", False),
        ("20 °C", "20 degrees today", True),
        ("60 km/h", "60 kilometers per hour", True),
        ("1,500 mg", "1500 milligrams", True),
        ("10 meters", "10 metres", True),
        ("10 meters", "10 millimeters", False),
        ("10 m", "10 millimeters", False),
        ("2 weeks", "2 days", False),
        ("10 m", "10 miles", False),
        ("10 m", "10 mm", False),
        ("10 m", "10 ml", False),
        ("10 m", "10 mètres", True),
        ("10 m", "10 mins", True),
        ("10 m", "10 millions", True),
        ("5 mi", "5 minutes", False),
        ("5 mi", "5 millas", True),
        ("10 min", "10 million", False),
        ("10 min", "10 Minuten", True),
        ("20 mg", "20 micrograms", False),
        ("20 mg", "20 mgs", True),
        ("5 g", "5 gallons", False),
        ("5 g", "5 Gramm", True),
        ("3 l", "3 large pizzas", False),
        ("2 tsp", "2 tablespoons", False),
        ("20 °C", "20 °F", False),
        ("20°", "20 °C", True),
        ("20 °C", "20 Grad", True),
        ("12 Main Street", "12 m", False),
    ],
)
def test_an_amount_is_the_same_in_another_writing_of_its_unit(value: str, text: str, said: bool) -> None:
    amount = amount_of(value)
    assert any(is_same(amount, one) for one in amounts_in(text) if amount) == said


@pytest.mark.parametrize(
    ("value", "text", "said"),
    [
        ("17:00", "at 5pm", True),
        ("5 pm", "5 P.M. please", True),
        ("17:00", "see you at five", True),
        ("17:00", "7pm for 5", False),
        ("5:00", "at 5pm", True),
        ("05:00", "at 5pm", False),
        ("17:30", "17.30 Uhr", True),
        ("17h30", "5:30 pm", True),
        ("17:00:00", "5 o’clock", True),
        ("12:00", "noon", True),
        ("12:00", "this afternoon", False),
        ("12 am", "at midnight", True),
        ("9am", "21:00", False),
        ("25:10", "25:10", False),
    ],
)
def test_a_time_is_the_same_on_both_clocks(value: str, text: str, said: bool) -> None:
    assert (not time_of(value).isdisjoint(times_in(text))) == said


def test_a_record_whose_unit_or_clock_is_written_otherwise_is_supported(tmp_path: Path) -> None:
    rows = [
        {
            "input": f"Ride {row}: {row % 17 + 3} kilometres from {row % 7 + 1}:{row % 6}0 pm on.",
            "output": json.dumps(
                {"way": f"{row % 17 + 3} km", "from": f"{row % 7 + 13}:{row % 6}0", "by": f"b{row % 60}x"}
            ),
        }
        for row in range(120)
    ]
    rows[5]["output"] = rows[5]["output"].replace(" km", " miles")
    rows[9]["output"] = rows[9]["output"].replace('"from": "1', '"from": "2')
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "task.yaml").write_text("kind: extract\nexamples: rows.jsonl\n", encoding="utf-8")
    findings = check(tmp_path / "task.yaml", [doubtful_fields])
    (unsupported,) = findings.of("unsupported")
    assert set(unsupported.where) == {"rows.jsonl:6", "rows.jsonl:10"}
    (unjudged,) = findings.of("unjudged")
    assert unjudged.message.startswith("1 field of the records could not be compared with the text: by (")
