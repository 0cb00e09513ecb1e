"""Evals of OpenAI's API: criteria, runs over items, and a result for each item.

    EVALS/
      eval_7d20.../
        eval.json               the criteria with ids that the server adds, and the schema of items
        evalrun_11aa.../
          run.json              data source and model; written once
          items.jsonl           the items, fixed when the run begins
          results.jsonl         a line for each graded item
          state.json            queued, in_progress, completed, failed or canceled

A kill loses at most the items in progress.
"""

import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import jsonschema

from etude.base import files as disk
from etude.base.files import Json, append_line, list_lines, read_json, read_lines, write_json
from etude.errors import InputError
from etude.stats import intervals, paired
from etude.web.api_errors import ApiError
from etude_openai.graders.grade import Grade, Tools, grade, validate_grader
from etude_openai.hosted.file_store import FileStore, iter_json_lines, read_object, skip_unreadable

EVAL_ID = re.compile(r"eval_[0-9a-f]{24}")
RUN_ID = re.compile(r"evalrun_[0-9a-f]{24}")
FINISHED = ("completed", "failed", "canceled")
SOURCES = ("jsonl", "completions", "responses")
MAX_ITEMS = 50_000
NOT_SAMPLED = Grade(
    0.0, False, errors=("sample_parse_error",), detail="The item has no answer to grade."
)
USAGE = ("invocation_count", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens")
CHANGES = threading.Lock()
"""Held while a run is changed or removed: clients cancel and delete runs that are worked on."""


@dataclass(frozen=True)
class EvalRun:
    """One run folder; every property reads the disk."""

    folder: Path

    @property
    def request(self) -> Json:
        return read_json(self.folder / "run.json")

    @property
    def state(self) -> Json:
        return read_json(self.folder / "state.json")

    @property
    def evaluation(self) -> Json:
        return read_json(self.folder.parent / "eval.json")

    @property
    def items(self) -> list[Json]:
        """Lines {"item": ..., "sample": ...} in their order."""
        return list(read_lines(self.folder / "items.jsonl"))

    @property
    def results(self) -> list[Json]:
        """Graded items so far, in the order of the items."""
        lines = {
            line["datasource_item_id"]: line for line in list_lines(self.folder / "results.jsonl")
        }
        return [lines[number] for number in sorted(lines)]

    @property
    def is_finished(self) -> bool:
        return self.state["status"] in FINISHED

    def fail(self, error: Json) -> None:
        """Ends the run with an error."""
        self.change_state("failed", error)

    @property
    def is_deleted(self) -> bool:
        return not (self.folder / "state.json").exists()

    def change_state(self, status: str, error: Json | None = None) -> None:
        """Changes the status, unless the run has ended or was deleted meanwhile."""
        with CHANGES:
            if not self.is_deleted and not self.is_finished:
                write_json(self.folder / "state.json", {"status": status, "error": error})

    def add_result(self, number: int, line: Json, sample: Json, grades: Sequence[Grade]) -> None:
        """Saves the grades of one item: pass, fail, or error without an answer or if a grader could
        not grade it.
        """
        is_errored = bool(sample.get("error")) or any(result.errors for result in grades)
        status = (
            "error" if is_errored else "pass" if all(result.passed for result in grades) else "fail"
        )
        criteria = self.evaluation["testing_criteria"]
        results = [
            {
                "name": criterion["id"],
                "type": criterion["type"],
                "score": result.score,
                "passed": result.passed,
                "sample": {"errors": list(result.errors), "detail": result.detail}
                if result.errors
                else None,
            }
            for criterion, result in zip(criteria, grades, strict=True)
        ]
        output_item = {
            "id": f"outputitem_{secrets.token_hex(12)}",
            "object": "eval.run.output_item",
            "created_at": int(time.time()),
            "run_id": self.folder.name,
            "eval_id": self.folder.parent.name,
            "datasource_item_id": number,
            "datasource_item": line["item"],
            "results": results,
            "sample": sample,
            "status": status,
        }
        with CHANGES:
            if not self.is_deleted:
                append_line(self.folder / "results.jsonl", output_item)

    def describe(self) -> Json:
        """The run as the API returns it. The key "etude" has the share of passed items with its
        interval, and the difference from the previous run on the same items.
        """
        request = self.request
        state = self.state
        results = self.results
        counts = Counter(result["status"] for result in results)
        criteria = []
        for position, criterion in enumerate(self.evaluation["testing_criteria"]):
            entries = [line["results"][position] for line in results]
            passed = [float(entry["passed"]) for entry in entries]
            num_errored = sum(entry["sample"] is not None for entry in entries)
            criteria.append(
                {
                    "testing_criteria": criterion["id"],
                    "passed": int(sum(passed)),
                    "failed": len(entries) - num_errored - int(sum(passed)),
                    "errored": num_errored,
                    "etude": {"pass_rate": asdict(intervals.estimate(passed)) if passed else None},
                }
            )
        return {
            "id": self.folder.name,
            "object": "eval.run",
            "eval_id": self.folder.parent.name,
            "status": state["status"],
            "model": request["data_source"].get("model", ""),
            "name": request["name"],
            "created_at": request["created_at"],
            "report_url": f"/v1/evals/{self.folder.parent.name}/runs/{self.folder.name}"
            "/output_items",
            "result_counts": {
                "total": len(self.items),
                "errored": counts["error"],
                "failed": counts["fail"],
                "passed": counts["pass"],
            },
            "per_model_usage": _add_usage(results),
            "per_testing_criteria_results": criteria,
            "data_source": request["data_source"],
            "metadata": request["metadata"],
            "error": state["error"],
            "etude": self._measure(results),
        }

    def _measure(self, results: Sequence[Json]) -> Json:
        passed = [float(result["status"] == "pass") for result in results]
        if not passed or self.state["status"] != "completed":
            return {}
        measures: Json = {"pass_rate": asdict(intervals.estimate(passed))}
        # The latest completed run of the eval before this one that graded the same items.
        items = [line["item"] for line in self.items]
        submitted = self.request["submitted"]
        runs = [EvalRun(file.parent) for file in self.folder.parent.glob("evalrun_*/state.json")]
        runs = [run for run in runs if run.request["submitted"] < submitted]
        runs = [run for run in runs if run.state["status"] == "completed"]
        runs = [run for run in runs if [line["item"] for line in run.items] == items]
        if earlier := max(runs, key=lambda run: run.request["submitted"], default=None):
            passed_before = [float(result["status"] == "pass") for result in earlier.results]
            difference = asdict(paired.newcombe_paired(passed, passed_before))
            measures["compared_with"] = {"run_id": earlier.folder.name, "difference": difference}
        return measures


@dataclass(frozen=True)
class EvalStore:
    """All evals of a server. `tools`: the models that graders may use."""

    folder: Path
    files: FileStore
    tools: Tools

    def create(self, fields: Json) -> Json:
        """Makes an eval. Raises ApiError with every error of its criteria."""
        source = fields["data_source_config"]
        if source.get("type") != "custom" or not isinstance(source.get("item_schema"), dict):
            message = "This server supports only data sources of type custom with an item_schema."
            raise ApiError(400, message, "data_source_config", "not_supported")
        try:
            for number, criterion in enumerate(fields["testing_criteria"]):
                validate_grader(criterion, self.tools, f"testing_criteria[{number}]")
            jsonschema.validators.validator_for(source["item_schema"]).check_schema(
                source["item_schema"]
            )
        except InputError as error:
            raise ApiError(400, str(error), error.issues[0].location, "invalid_value") from error
        except jsonschema.SchemaError as error:
            raise ApiError(
                400, f"item_schema: {error.message}", "data_source_config", "invalid_value"
            ) from error
        criteria = [
            {**criterion, "id": f"{criterion['name']}-{uuid4()}"}
            for criterion in fields["testing_criteria"]
        ]
        sample_schema = (
            {"sample": {"type": "object"}} if source.get("include_sample_schema") else {}
        )
        schema = {
            "type": "object",
            "properties": {"item": source["item_schema"], **sample_schema},
            "required": ["item"],
        }
        eval_id = f"eval_{secrets.token_hex(12)}"
        evaluation = {
            "id": eval_id,
            "object": "eval",
            "name": fields["name"] or eval_id,
            "data_source_config": {"type": "custom", "schema": schema},
            "testing_criteria": criteria,
            "created_at": int(time.time()),
            "metadata": fields["metadata"] or {},
        }
        write_json(self.folder / eval_id / "eval.json", evaluation)
        return evaluation

    def get(self, eval_id: str) -> Json:
        """The eval of an id. Raises ApiError if there is none."""
        file = self.folder / eval_id / "eval.json"
        if not EVAL_ID.fullmatch(eval_id) or not file.exists():
            raise ApiError(404, f"Eval not found: {eval_id}", "eval_id")
        return read_json(file)

    def list_evals(self) -> list[Json]:
        """All evals, the oldest first."""
        evals = [read_json(file) for file in self.folder.glob("eval_*/eval.json")]
        return sorted(evals, key=lambda evaluation: (evaluation["created_at"], evaluation["id"]))

    def update(self, eval_id: str, changes: Json) -> Json:
        """Changes name or metadata."""
        evaluation = self.get(eval_id) | {
            key: value for key, value in changes.items() if value is not None
        }
        write_json(self.folder / eval_id / "eval.json", evaluation)
        return evaluation

    def delete(self, eval_id: str) -> None:
        """Removes an eval with its runs."""
        with CHANGES:
            self.get(eval_id)
            disk.remove_folder(self.folder / eval_id)

    def create_run(self, eval_id: str, fields: Json) -> EvalRun:
        """Makes a run. Raises ApiError for an unsupported source and for items that do not match
        the schema.
        """
        evaluation = self.get(eval_id)
        source = fields["data_source"]
        if source.get("type") not in SOURCES:
            message = f"data_source.type must be one of {', '.join(SOURCES)}."
            raise ApiError(400, message, "data_source.type", "invalid_value")
        messages = read_object(source.get("input_messages"))
        template = messages.get("template")
        reference = messages.get("item_reference")
        has_template = isinstance(template, list) and template and all(map(read_object, template))
        has_messages = isinstance(reference, str) if reference else has_template
        if source["type"] != "jsonl" and not (source.get("model") and has_messages):
            message = (
                f"A data source of type {source['type']} needs a model, and input_messages with a "
                "template or an item_reference."
            )
            raise ApiError(400, message, "data_source", "invalid_value")
        items = self._read_items(read_object(source.get("source")), evaluation)
        run = EvalRun(self.folder / eval_id / f"evalrun_{secrets.token_hex(12)}")
        disk.write_lines(run.folder / "items.jsonl", items)
        request = {
            "name": fields["name"] or run.folder.name,
            "metadata": fields["metadata"] or {},
            "data_source": source,
            "created_at": int(time.time()),
            "submitted": time.time(),
        }
        write_json(run.folder / "run.json", request)
        write_json(run.folder / "state.json", {"status": "queued", "error": None})
        return run

    def get_run(self, eval_id: str, run_id: str) -> EvalRun:
        """The run of an id. Raises ApiError if there is none."""
        self.get(eval_id)
        folder = self.folder / eval_id / run_id
        if not RUN_ID.fullmatch(run_id) or not (folder / "state.json").exists():
            raise ApiError(404, f"Eval run not found: {run_id}", "run_id")
        return EvalRun(folder)

    def cancel_run(self, eval_id: str, run_id: str) -> EvalRun:
        """Cancels a run. Raises ApiError if it has ended."""
        run = self.get_run(eval_id, run_id)
        if run.is_finished:
            raise ApiError(400, f"The run has already ended: {run.state['status']}.", "run_id")
        run.change_state("canceled")
        return run

    def list_runs(self, eval_id: str) -> list[EvalRun]:
        """The runs of an eval, the oldest first."""
        self.get(eval_id)
        folders = (
            path
            for path in (self.folder / eval_id).glob("evalrun_*")
            if (path / "state.json").exists()
        )
        return sorted(
            skip_unreadable(map(EvalRun, folders)), key=lambda run: run.request["submitted"]
        )

    def delete_run(self, eval_id: str, run_id: str) -> None:
        """Removes a run."""
        with CHANGES:
            disk.remove_folder(self.get_run(eval_id, run_id).folder)

    def list_unfinished(self) -> list[EvalRun]:
        """Runs of all evals that have not ended, the oldest first."""
        files = self.folder.glob("eval_*/evalrun_*/state.json")
        runs = skip_unreadable(EvalRun(file.parent) for file in files)
        return sorted(
            (run for run in runs if not run.is_finished), key=lambda run: run.request["submitted"]
        )

    def grade_item(self, run: EvalRun, item: Json, sample: Json) -> list[Grade]:
        """The grades of one item by all criteria. Without an answer there is nothing to grade."""
        criteria = run.evaluation["testing_criteria"]
        if sample.get("error"):
            return [NOT_SAMPLED] * len(criteria)
        return [grade(criterion, item, sample, self.tools) for criterion in criteria]

    def _read_items(self, source: Json, evaluation: Json) -> list[Json]:
        """The lines of a source, each checked against the schema. Raises ApiError for the first
        mismatch.
        """
        if source.get("type") == "file_content":
            lines = source.get("content")
        elif source.get("type") == "file_id":
            lines = []
            for number, line in iter_json_lines(self.files.read_path(str(source.get("id")))):
                if isinstance(line, ValueError):
                    message = f"Line {number} is not JSON: {line}."
                    raise ApiError(400, message, "data_source.source", "invalid_value") from line
                lines.append(line)
        else:
            message = "data_source.source.type must be file_content or file_id."
            raise ApiError(400, message, "data_source.source", "not_supported")
        if not isinstance(lines, list) or not 0 < len(lines) <= MAX_ITEMS:
            raise ApiError(
                400, f"A run needs 1 to {MAX_ITEMS:,} items.", "data_source.source", "invalid_value"
            )
        schema = evaluation["data_source_config"]["schema"]
        validator = jsonschema.validators.validator_for(schema)(schema)
        for number, line in enumerate(lines, start=1):
            if error := next(validator.iter_errors(line), None):
                message = (
                    f"Item {number} does not match the schema of the eval: {error.message[:200]}"
                )
                raise ApiError(400, message, "data_source.source", "invalid_value")
        return lines


def _add_usage(results: Sequence[Json]) -> list[Json]:
    totals: dict[str, Counter[str]] = {}
    for result in results:
        sample = result["sample"]
        if isinstance(model := sample.get("model"), str) and model:
            counts = {**read_object(sample.get("usage")), "invocation_count": 1}
            # The sample of a client may have other fields, such as details of the tokens.
            counted = {name: counts[name] for name in USAGE if isinstance(counts.get(name), int)}
            totals.setdefault(model, Counter()).update(counted)
    return [
        {"model_name": model, **{name: total[name] for name in USAGE}}
        for model, total in totals.items()
    ]
