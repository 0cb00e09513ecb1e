"""The memory that a training will need, and the question to ask if there is too little."""

from __future__ import annotations

from etude.base.files import Json
from etude.base.formatting import format_size
from etude.errors import Declined
from etude.methods.shared.training_run import TrainingRun
from etude.runs.events import NoteEvent, OnEvent
from etude.runs.questions import Confirm


def confirm_memory(training: TrainingRun, on_event: OnEvent, confirm: Confirm) -> Json:
    """Ask if less memory is available than a few steps have used. Returns the measured memory. Raises Declined."""
    from etude.training.memory.measurement import measure_training_memory
    from etude.training.memory.usage import available_memory, suggest_less_memory

    module, config = training.model.module, training.config
    memory = measure_training_memory(module, training.rows, training.dev_rows, config)
    available = available_memory(module.device)
    if memory and available:
        on_event(NoteEvent(f"Memory: about {format_size(memory)} ({format_size(available)} available)."))
    # 0 bytes mean that the memory of the device is unknown.
    if memory > available > 0 and not confirm(
        f"This training needs about {format_size(memory)} of memory, and {format_size(available)} is "
        "available. Continue?"
    ):
        raise Declined(f"Nothing was trained. {suggest_less_memory(config)}")
    return {"memory": memory, "available_memory": available}
