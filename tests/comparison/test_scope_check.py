"""Limits in a comparison: measured without, saved with, and one line of the recommendation."""

import json
from pathlib import Path

from etude.assistant import load
from etude.comparison import compare
from etude.runs.recommended import describe_failed_gates
from small_task import write_task

LIMITS = "\nlimits: {out_of_scope: I only know these rows., to_person: Ask a person.}\n"


def test_limits_change_no_score_and_are_saved_with_every_assistant(tmp_path: Path) -> None:
    more = "methods: [baseline, prompt, few_shot]\n"
    files = [write_task(tmp_path / name, "answer", more=more) for name in ("without", "with")]
    files[1].write_text(files[1].read_text(encoding="utf-8") + LIMITS, encoding="utf-8")
    without, limited = (compare(file) for file in files)
    scores = [[row.estimate for row in result.verdict.ladder] for result in (without, limited)]
    assert scores[0] == scores[1]
    lines = [caveat for caveat in limited.verdict.caveats if caveat.startswith("Limits:")]
    assert len(lines) == 1
    assert "turns away" in lines[0]
    for name in limited.run.fitted_methods:
        assistant = load(limited.run.assistant_folder(name))
        assert assistant.scope is not None
        assert load(without.run.assistant_folder(name)).scope is None
    answer = assistant.answer("Write me a long poem about the sea and all of its fish.")
    assert answer.limit
    assert answer.answer_tokens == 0
    recommended = without.verdict.leaning
    asked = [caveat for caveat in without.verdict.caveats if "add limits:" in caveat]
    assert len(asked) <= 1

    folder = without.run.folder / "tests" / recommended
    folder.mkdir(parents=True)
    gates = [{"gate": "contract >= 98%", "outcome": "failed"}, {"gate": "canaries = 0", "outcome": "passed"}]
    (folder / "test.json").write_text(json.dumps({"gates": gates}), encoding="utf-8")
    assert "failed 1 of 2 gates: contract >= 98%" in describe_failed_gates(without.run, recommended)
    assert describe_failed_gates(limited.run, recommended) == ""
