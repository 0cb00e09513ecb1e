"""Limits in a comparison: measured without, saved with, and one line of the recommendation."""

import json
from pathlib import Path

from etude.assistant import get_shared_models, load
from etude.comparison import compare
from etude.comparison.scope_check import read_probe
from etude.runs.recommended import describe_changes, describe_failed_gates
from etude.types import Message
from small_task import write_task

LIMITS = "\nlimits: {out_of_scope: I only know these rows., to_person: Ask a person.}\n"


def test_limits_change_no_score_and_are_saved_with_every_assistant(tmp_path: Path) -> None:
    more = "methods: [baseline, prompt]\n"
    files = [write_task(tmp_path / name, "answer", more=more) for name in ("without", "with")]
    files[1].write_text(files[1].read_text(encoding="utf-8") + LIMITS, encoding="utf-8")
    without, limited = (compare(file) for file in files)
    scores = [[row.estimate for row in result.verdict.ladder] for result in (without, limited)]
    assert scores[0] == scores[1]
    lines = [caveat for caveat in limited.verdict.caveats if caveat.startswith("Limits:")]
    assert len(lines) == 1
    leading = load(limited.run.assistant_folder(limited.verdict.leaning))
    probe = [(Message("user", question),) for question in read_probe()]
    turned_away = leading.find_limits(
        probe, leading.load_searches(get_shared_models()).clause_encoder
    )
    assert f"and {sum(map(bool, turned_away))} of our 20 questions outside the task" in lines[0]
    for name in limited.run.fitted_methods:
        assistant = load(limited.run.assistant_folder(name))
        assert assistant.scope is not None
        assert load(without.run.assistant_folder(name)).scope is None
    answer = assistant.answer("How do I knit a scarf for my aunt?")
    assert answer.limit
    assert answer.answer_tokens == 0


def test_changed_limits_continue_the_run_and_count_as_an_opening(tmp_path: Path) -> None:
    """Nothing is answered or fitted again, but the assistants, the task file in the run and the
    verdict are new.
    """
    file = write_task(tmp_path, "answer", more="methods: [prompt, few_shot]\n")
    text = file.read_text(encoding="utf-8")
    run = compare(file).run

    def read_answers() -> dict[Path, bytes]:
        files = [
            *run.folder.glob("methods/*/*.jsonl"),
            *run.folder.glob("methods/**/answers/*.jsonl"),
        ]
        return {path: path.read_bytes() for path in files}

    answers = read_answers()
    ladder = run.verdict and run.verdict.ladder
    assert describe_changes(run) == ""
    folder = run.folder / "tests" / "prompt"
    folder.mkdir(parents=True)
    gates = [{"gate": "contract >= 98%", "outcome": "failed"}]
    (folder / "test.json").write_text(
        json.dumps({"gates": gates, "limits": run.info["inputs"].get("limits")}), encoding="utf-8"
    )
    assert "other limits" not in describe_failed_gates(run, "prompt")
    for openings, say in ((2, "I only know these rows."), (3, "")):
        limits = f"\nlimits: {{out_of_scope: {say}}}\n" if say else ""
        file.write_text(text + limits, encoding="utf-8")
        assert "has other limits than" in describe_changes(run)
        events: list[object] = []
        for _ in range(2):  # the second time, nothing has changed
            result = compare(file, on_event=events.append)
            assert result.run.folder == run.folder
            assert run.info["openings"] == openings
        assert describe_changes(run) == ""
        assert ("which had other limits" in describe_failed_gates(run, "prompt")) == bool(say)
        assert sum("counts as opened again" in getattr(event, "text", "") for event in events) == 1
        assert read_answers() == answers
        assert result.verdict.ladder == ladder
        assert any(caveat.startswith("Limits:") for caveat in result.verdict.caveats) == bool(say)
        assert (run.folder / "task.yaml").read_bytes() == file.read_bytes()
        for name in run.fitted_methods:
            scope = load(run.assistant_folder(name)).scope
            assert [limit.say for limit in scope.limits] == [say] if scope else not say
