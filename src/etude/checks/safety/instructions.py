"""Personal data and secrets in what every prompt begins with: the instructions, and the system messages of the rows."""

from __future__ import annotations

from collections.abc import Iterator

from etude.base.wording import count
from etude.checks.material import Material
from etude.checks.record import finds
from etude.checks.safety.excerpts import NAMES
from etude.checks.safety.personal import PRIVACY
from etude.privacy import BLOCKING, GRAVE, find
from etude.types import Finding


@finds(*PRIVACY, quick=True)
def personal_instructions(material: Material) -> Iterator[Finding]:
    """One finding for each kind that stands in the instructions or a system message, each text looked at once."""
    task = material.task
    texts = {task.file.name: task.instructions} | {where: text for text, where in material.systems.items()}
    found: dict[str, list[str]] = {kind: [] for kind in BLOCKING}
    for where, text in texts.items():
        for kind in {span.kind for span in find(text, review=False) if span.text not in material.stand_ins}:
            found[kind].append(where)
    for kind, places in found.items():
        if places:
            yield Finding(
                kind=f"privacy_{kind}",
                severity="error" if kind in GRAVE else "warning",
                rows=(),
                message=f"What every prompt begins with holds what looks like {NAMES[kind]}, in "
                f"{count(len(places), 'text')} of the instructions and system messages.",
                remedy="Take it out by hand: what is served can repeat its instructions, and --fix leaves them alone.",
                locations=tuple(places),
                numbers={"texts": len(places), "rows": len(material.rows), "of": len(material.rows)},
            )
