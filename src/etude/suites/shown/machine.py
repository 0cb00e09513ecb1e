"""A finished test for other programs: JSON, and JUnit XML with one test case for each gate."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from etude import __version__
from etude.base.typed_json import to_json
from etude.suites.results import Examined
from etude.suites.shown.contents import headline

_NO_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(tested: Examined) -> dict[str, Any]:
    """All numbers and gates; the answers are in results.jsonl."""
    subject = tested.subject
    return {
        "etude": __version__,
        "task": subject.task.name if subject.task else None,
        "run": subject.run.name if subject.run else None,
        "method": subject.name,
        "assistant": subject.assistant.fingerprint,
        "base": subject.base.fingerprint,
        "model": subject.assistant.model.name,
        "quick": tested.quick,
        "headline": headline(tested),
        "passed": tested.passed,
        "cases": len(tested.judged),
        "gates": [
            {"gate": each.gate.text, "outcome": each.outcome, "told": each.told} for each in tested.gates
        ],
        "measures": [to_json(measure) for measure in tested.measures],
        "confidence": to_json(tested.confidence) if tested.confidence else None,
        "canaries": [to_json(each) for each in tested.leaks],
        "notes": list(tested.notes),
    }


def as_junit(tested: Examined) -> str:
    """One test case for each gate."""
    failed = sum(gate.outcome != "passed" for gate in tested.gates)
    root = ElementTree.Element("testsuites", {"name": "etude test"})
    counts = {"tests": str(len(tested.gates)), "failures": str(failed)}
    suite = ElementTree.SubElement(root, "testsuite", {"name": "gates", **counts})
    for gate in tested.gates:
        names = {"classname": "etude.gates", "name": _plain(gate.gate.text)}
        case = ElementTree.SubElement(suite, "testcase", names)
        if gate.outcome != "passed":
            message = {"type": gate.outcome, "message": _plain(f"{gate.outcome}: {gate.told}")}
            ElementTree.SubElement(case, "failure", message)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _plain(text: str) -> str:
    """The text without characters that XML 1.0 cannot hold."""
    return _NO_XML.sub("?", text)
