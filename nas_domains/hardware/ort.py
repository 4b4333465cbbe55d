"""Latency of a network in ONNX Runtime."""

import copy
import importlib.util
import statistics
import time

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..nn.traced import OneInput, quiet_exporters
from .cost import example_inputs

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_ort() -> None:
    """Checks that what ONNX needs is installed.

    Raises:
        UsageError: A package is missing.
    """
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            raise UsageError(
                f"The objective ort_latency_ms needs {module}: pip install 'nas_domains[export]'."
            )


def measure_ort_latency(
    network: nn.Module,
    input_shape: tuple[int, ...],
    *,
    repeats: int = 30,
    warmup: int = 5,
    threads: int | None = None,
) -> float:
    """Median milliseconds of one input in ONNX Runtime on the CPU.

    The network is exported as a copy, so it is left as it was. Of one thread it is its CPU time;
    see :func:`nas_domains.hardware.cost.measure_latency`.

    Args:
        network: The plain network, on any device.
        input_shape: Shape of one input, without the batch.
        repeats: Passes that count.
        warmup: Passes before them.
        threads: Of ONNX Runtime within an operator; those of torch where None.

    Raises:
        UsageError: A package is missing, or the network cannot be exported.
    """
    check_ort()
    import onnxruntime

    inputs = example_inputs(network, input_shape, torch.device("cpu"))
    x = inputs[len(inputs) // 2]
    model = _exported(network, x)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy()}
    # One thread is the one that calls.
    clock = time.thread_time if options.intra_op_num_threads == 1 else time.perf_counter
    times = []
    for i in range(warmup + repeats):
        began = clock()
        session.run(None, feed)
        if i >= warmup:
            times.append(clock() - began)
    return 1000 * statistics.median(times)


def _exported(network: nn.Module, x: Tensor) -> bytes:
    plain = OneInput(copy.deepcopy(network).cpu().eval())
    try:
        with quiet_exporters():
            program = torch.onnx.export(plain, (x,), dynamo=True, verbose=False, input_names=["x"])
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UsageError(
            f"A network of this space cannot be exported to ONNX ({reason}): leave the objective "
            "ort_latency_ms out."
        ) from None
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
