"""Networks as ONNX files, and the network of faces in int8 for ONNX Runtime: on a CPU that knows
AVX2 alone it takes 0.4 of PyTorch's time.

Needs the packages of the extra ``export``, which the extra ``fast`` installs, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from torch import Tensor, nn

from common.heatmaps import soft_argmax
from common.system.errors import UserError
from common.system.files import cache_folder, write_atomically

INPUT, OUTPUT = "faces", "fractions"


def onnx_packages() -> tuple[ModuleType, ModuleType]:
    """``onnx`` and ``onnxruntime``; raises UserError where a package of the extra is missing."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch's exporter imports it
    except ImportError as fault:
        raise UserError(
            f"the package {fault.name} is missing; ONNX needs more packages than the rest, install "
            'them with: python -m pip install -e ".[export]"'
        ) from None
    return onnx, onnxruntime


def is_installed() -> bool:
    """Whether the packages of the extra are there."""
    return all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))


def as_onnx(network: nn.Module, height: int, width: int, facts: dict[str, str]) -> bytes:
    """A network as the bytes of an ONNX file, in float32 and for any number of faces at once.

    network: float32 (B, 1, height, width) in -0.5..0.5 -> one tensor, such as fractions (B, k, 2);
        the file's input ``faces`` and output ``fractions`` are the same.
    facts: written into the file's metadata.
    """
    onnx, _ = onnx_packages()
    faces = torch.zeros(2, 1, height, width)  # a batch of one would be taken for a fixed size
    program = torch.onnx.export(
        network.float().cpu().eval(), (faces,), dynamo=True, verbose=False,
        input_names=[INPUT], output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    model = program.model_proto
    onnx.helper.set_model_props(model, facts)
    return model.SerializeToString()


class OnnxNetwork:
    """The bytes of an ONNX file as a network of ONNX Runtime on the CPU, called as those of PyTorch
    are.

    threads: how many it computes with; by default as many as PyTorch.
    """

    def __init__(self, model: bytes, threads: int | None = None) -> None:
        _, runtime = onnx_packages()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        # Idle threads wait without computing: reader and detector need the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, faces: Tensor) -> Tensor:
        """float32 (B, 1, H, W) -> what the file's output is, such as fractions (B, k, 2)."""
        (values,) = self.session.run([OUTPUT], {INPUT: faces.contiguous().numpy()})
        return torch.from_numpy(values)


class Int8Heatmaps(nn.Module):
    """A network that draws heatmaps, in int8 in ONNX Runtime; called as those of PyTorch are.

    Takes float32 (B, 1, H, W) in -0.5..0.5, returns fractions (B, K, 2).
    model: an ONNX file whose output is the log-probability heatmaps.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        super().__init__()
        self.heatmaps = OnnxNetwork(model, threads)  # (B, 1, H, W) -> (B, K, H / 4, W / 4)
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # says device and dtype

    def forward(self, faces: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, K, 2)."""
        return soft_argmax(self.heatmaps(faces))[0]


class _Heatmaps(nn.Module):
    """The heatmaps of a network as its only output."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> Tensor:
        return self.network.heatmaps(faces)


def int8_heatmaps(
    network: nn.Module,
    size: tuple[int, int],
    faces: Callable[[], Tensor],
    bits: int | None = None,
) -> bytes:
    """The network in int8 as an ONNX file whose output is its log-probability heatmaps, made once
    and kept in the cache folder.

    network: has a method ``heatmaps``.
    size: height and width of its input.
    faces: gives faces (N, 1, h, w) on which the ranges of the activations are measured.
    bits: of the weights, 7 or 8; by default what this processor computes without overflow.
    Raises UserError where packages are missing; a line on stderr where the file cannot be kept.
    """
    onnx, runtime = onnx_packages()
    bits = bits or (8 if multiplies_int8() else 7)
    key = hashlib.sha256(f"{onnx.__version__} {runtime.__version__} {bits}".encode())
    for name, values in network.state_dict().items():
        key.update(name.encode() + values.cpu().contiguous().numpy().tobytes())
    file = cache_folder() / f"int8-{key.hexdigest()[:16]}.onnx"
    if file.is_file() and is_whole(kept := file.read_bytes()):
        return kept
    print(f"network: made int8 for ONNX Runtime, once, and kept as {file}", file=sys.stderr)
    plain = as_onnx(_Heatmaps(network), *size, {})
    model = quantised(plain, faces(), "MinMax", True, "last layer", bits)
    try:
        write_atomically(file, lambda to: to.write(model), "set FACE_CACHE to another folder")
    except UserError as fault:
        print(f"the int8 network is made again with each start: {fault}", file=sys.stderr)
    return model


def is_whole(model: bytes) -> bool:
    """Whether these are the bytes of an ONNX file with a network, and not a part of them."""
    from google.protobuf.message import DecodeError

    onnx, _ = onnx_packages()
    with contextlib.suppress(DecodeError):
        return bool(onnx.load_from_string(model).graph.output)
    return False


def quantised(
    model: bytes, faces: Tensor, method: str, per_channel: bool, kept: str, bits: int | None = None
) -> bytes:
    """An ONNX file's network in int8, its activations' ranges measured on faces (N, 1, h, w).

    method: how ranges follow from what was measured, a name of ``CalibrationMethod``.
    per_channel: whether each output channel of a convolution has a scale of its own.
    kept: "last layer", the last with weights, stays in float32, or "nothing"; what follows that
        layer always stays.
    bits: of the weights, as for ``int8_heatmaps``.
    """
    onnx, _ = onnx_packages()
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    batches = ({INPUT: batch.numpy()} for batch in faces.split(16))
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (Path(folder) / name for name in ("plain", "ready", "small"))
        plain.write_bytes(model)
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        nodes = onnx.load(ready).graph.node
        last = max(i for i, node in enumerate(nodes) if node.op_type in ("Conv", "Gemm", "MatMul"))
        with contextlib.redirect_stdout(io.StringIO()):  # it prints about its histograms
            quantize_static(
                ready,
                small,
                SimpleNamespace(get_next=lambda: next(batches, None)),
                per_channel=per_channel,
                reduce_range=bits == 7 if bits else not multiplies_int8(),
                activation_type=QuantType.QUInt8,  # times int8: what the processor does
                weight_type=QuantType.QInt8,
                nodes_to_exclude=[node.name for node in nodes[last + (kept == "nothing") :]],
                calibrate_method=CalibrationMethod[method],
            )
        return small.read_bytes()


def multiplies_int8() -> bool:
    """Whether the processor sums products of 8 bits in 32 (VNNI). Others sum pairs of them in 16
    first, which overflow unless the weights have a bit less."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_vnni") or known.get("avx_vnni"))
