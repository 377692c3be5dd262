"""Networks as ONNX files, which run without PyTorch. Needs the packages of the extra ``export``."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from common.system.errors import UserError

try:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401 - torch's exporter imports it
except ImportError as fault:
    raise UserError(
        f"the package {fault.name} is missing; ONNX needs more packages than the rest, install "
        'them with: python -m pip install -e ".[export]"'
    ) from None

INPUT, OUTPUT = "faces", "fractions"


def as_onnx(network: nn.Module, height: int, width: int, facts: dict[str, str]) -> bytes:
    """A network as the bytes of an ONNX file, in float32 and for any number of faces at once.

    Its input ``faces`` is float32 (B, 1, height, width) in -0.5..0.5, its output ``fractions``
    float32 (B, k, 2). facts: written into the file's metadata.
    """
    network = network.float().cpu().eval()
    faces = torch.zeros(2, 1, height, width)  # one face would be taken for a fixed number
    program = torch.onnx.export(
        network,
        (faces,),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    model = program.model_proto
    onnx.helper.set_model_props(model, facts)
    return model.SerializeToString()


class OnnxNetwork:
    """A network of ONNX Runtime on the CPU, called as those of PyTorch are.

    model: the file's bytes. threads: as many as PyTorch takes by default.
    """

    def __init__(self, model: bytes, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, faces: Tensor) -> Tensor:
        """float32 (B, 1, H, W) -> fractions (B, k, 2)."""
        (answers,) = self.session.run([OUTPUT], {INPUT: np.ascontiguousarray(faces.numpy())})
        return torch.from_numpy(answers)
