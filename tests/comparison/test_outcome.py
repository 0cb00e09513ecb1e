"""What the budget cut, as the verdict tells it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etude.base.files import write_json
from etude.comparison.outcome import _list_budget_caveats
from etude.methods.shared.fit_context import Effort
from etude.runs import Run
from etude.runs.folder import FORMAT


@pytest.mark.parametrize(("trained", "told"), [(80, 80), (None, 100)])
def test_the_rows_that_training_saw_are_told_and_not_those_of_its_share(
    trained: int | None, told: int, tmp_path: Path
) -> None:
    run = Run(tmp_path)
    run.update(
        format=FORMAT,
        split={"train": 217, "dev": 31, "test": 62},
        test_answered={},
        efforts={"fine_tune": asdict(Effort(train_rows=100)), "few_shot": asdict(Effort())},
        contenders=[],
        plan={},
        methods=["fine_tune"],
    )
    params = {"trained_rows": trained} if trained else {}
    run.method_folder("fine_tune").mkdir(parents=True)
    write_json(run.method_folder("fine_tune") / "method.json", {"params": params})
    keeper = SimpleNamespace(allotment=SimpleNamespace(work=None))
    ladder_run: Any = SimpleNamespace(run=run, timekeeper=keeper, task=SimpleNamespace(evidence="none"))
    (caveat,) = _list_budget_caveats(ladder_run)
    assert f"fine_tune: learns from {told} of 217 rows" in caveat
    assert run.info["plan"]["cuts"] == [f"fine_tune: learns from {told} of 217 rows"]
