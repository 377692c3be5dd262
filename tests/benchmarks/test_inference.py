from itertools import count

import pytest
import torch

from benchmarks import inference
from parts.commands import export
from parts.part1_nose_tip import NoseNet


@pytest.fixture(scope="module")
def network():
    list(map(pytest.importorskip, ("onnx", "onnxscript", "onnxruntime")))
    torch.manual_seed(0)
    network = NoseNet().eval()
    return network, export.as_onnx(network, 60, 80, {})


@pytest.mark.slow
@pytest.mark.parametrize("how", inference.INT8.values(), ids=list(inference.INT8))
def test_int8_predicts_nearly_as_float_does_and_is_a_quarter_as_large(network, how):
    network, model = network
    faces = torch.rand(32, 1, 60, 80) - 0.5
    small = inference.quantised(model, faces, *how)
    assert len(small) < 0.4 * len(model)
    with torch.inference_mode():
        expected = network(faces)
    off = (export.OnnxNetwork(small)(faces) - expected).abs().mean()
    assert 0 < off < 10 * 2**-8 * expected.abs().mean()  # half a step of 127 in both directions


def test_every_way_takes_its_turn_and_is_timed_for_each_face(monkeypatch):
    calls = []
    ways = {name: lambda faces, name=name: calls.append((name, len(faces))) for name in "ab"}
    clock = count(step=0.016)  # seconds from one look at it to the next
    monkeypatch.setattr(inference.time, "perf_counter", lambda: next(clock))
    times = inference.milliseconds(ways, torch.zeros(8, 1, 4, 4), 3)
    assert calls == [("a", 8), ("b", 8)] * 13
    assert times == pytest.approx({"a": 2, "b": 2})
