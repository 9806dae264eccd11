"""`localq bench MODEL`: prefill and decode speed, memory, and the share of what the memory's bandwidth allows."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from localq.cli.output import Output, size
from localq.cli.parser import add_json, add_model, positive
from localq.cli.session import open_model
from localq.errors import DoesNotFitError, UsageError

if TYPE_CHECKING:
    from localq.api import Model
    from localq.hardware import Bandwidth

_ABOUT = (
    "Prompts are random tokens, greedy decoding, best of the repeats. The bound: a decode step must read every weight "
    "it uses once, so bandwidth / bytes is the most tokens per second the memory allows (KV cache not counted)."
)


class Round(NamedTuple):
    """One prompt and its answer, in seconds."""

    first: float  # from the start to the first token: prefill and one decode step
    decode: float  # from the first token to the last
    prompt: int
    answer: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description} {_ABOUT}"
    add_model(parser, optional=True)
    parser.add_argument(
        "--tune", action="store_true", help="instead: find the fastest shapes of localq's own kernels on this GPU"
    )
    parser.add_argument("-p", "--prompt-tokens", type=positive, default=128, metavar="N", help="default: 128")
    parser.add_argument("-n", "--tokens", type=positive, default=32, metavar="N", help="tokens to decode; default: 32")
    parser.add_argument("-r", "--repeat", type=positive, default=3, metavar="N", help="default: 3")
    add_json(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Load, warm up once, measure, compare with the bandwidth bound."""
    from localq.hub.refs import resolve

    if args.tune:
        return _tune(args, out)
    if args.model is None:
        raise UsageError("'localq bench' wants a MODEL, or --tune.", "For a first look: localq bench demo")
    nbytes = _bytes_per_token(resolve(args.model, args.revision))
    started = time.perf_counter()
    model, _ = open_model(args, out)
    loaded = time.perf_counter() - started
    rounds = _measure(model, args.prompt_tokens, args.tokens, args.repeat)
    result = _result(model, rounds, nbytes, loaded)
    if out.json:
        out.object(result)
    else:
        _show(result, out)
    return 0


def _tune(args: argparse.Namespace, out: Output) -> int:
    """Time candidates and keep the fastest; a MODEL has no part in it."""
    if args.model is not None:
        raise UsageError(f"--tune times kernels, not a model; found '{args.model}'.", "localq bench --tune")
    from localq.formats import FORMATS
    from localq.kernels import tuning
    from localq.kernels.tune import tune

    found = []
    for row in tune(FORMATS.values()):
        found.append(
            {
                "kernel": row.stem,
                "rows": row.shape.rows,
                "simdgroups": row.shape.simdgroups,
                "gain": round(row.before / row.seconds, 3),
            }
        )
        if not out.json:
            out.data(f"{row.stem:<16}{row.shape.rows} rows x {row.shape.simdgroups}  {row.before / row.seconds:5.2f}x")
    if out.json:
        out.object(found)
    out.say(f"Kept in {tuning.path()}.")
    return 0


def _bytes_per_token(path: str) -> int:
    from localq.checkpoints import open_checkpoint
    from localq.inspect.truth import bytes_per_token

    with open_checkpoint(path) as checkpoint:
        return bytes_per_token(checkpoint)


def _measure(model: Model, prompt: int, answer: int, repeat: int) -> list[Round]:
    """`repeat` rounds after a warm-up; every prompt differs, so that no cached prefix is measured as speed."""
    import random

    if model.context is not None and prompt + answer > model.context:
        raise DoesNotFitError(
            f"{prompt} prompt tokens and {answer} more do not fit the context of {model.context}.",
            "Give smaller --prompt-tokens or --tokens.",
        )
    draw = random.Random(0)
    rounds = []
    for _ in range(repeat + 1):
        ids = [draw.randrange(model.tokenizer.size) for _ in range(prompt)]
        rounds.append(_round(model, ids, answer))
    return rounds[1:]


def _round(model: Model, ids: Sequence[int], answer: int) -> Round:
    from localq.generate.samplers import Sampling

    started = time.perf_counter()
    stream = model.engine.generate(ids, Sampling(temperature=0, max_tokens=answer))
    times = [time.perf_counter() for _ in stream]
    return Round(times[0] - started, times[-1] - times[0], len(ids) - model.engine.reused, len(times))


def _result(model: Model, rounds: Sequence[Round], nbytes: int, loaded: float) -> dict[str, Any]:
    where, bandwidth = _bandwidth(model)
    prefill = max(r.prompt / r.first for r in rounds)
    speeds = [(r.answer - 1) / r.decode for r in rounds if r.answer > 1]
    decode = max(speeds) if speeds else None
    bound = bandwidth.gb_per_s * 1e9 / nbytes if bandwidth.gb_per_s and nbytes else None
    return {
        "engine": model.engine.name,
        "device": where,
        "load_seconds": round(loaded, 3),
        "prompt_tokens": rounds[0].prompt,
        "answer_tokens": rounds[0].answer,
        "prefill_tokens_per_second": round(prefill, 2),
        "time_to_first_token": round(min(r.first for r in rounds), 4),
        "decode_tokens_per_second": round(decode, 2) if decode else None,
        "bytes_per_token": nbytes,
        "bandwidth_gb_per_s": bandwidth.gb_per_s,
        "bandwidth_source": f"{bandwidth.how}: {bandwidth.source}",
        "bound_tokens_per_second": round(bound, 2) if bound else None,
        "share_of_bound": round(decode / bound, 4) if decode and bound else None,
        **_memory(where),
    }


def _bandwidth(model: Model) -> tuple[str, Bandwidth]:
    """Where the weights lie, and how fast that memory is: a GPU's figure says nothing about an engine on the CPU."""
    from localq.hardware import machine, measured_bandwidth
    from localq.kernels.registry import device

    found = machine()
    where = device() if model.engine.name == "mlx" else "cpu"
    unified = found.system.startswith("Darwin")
    if found.bandwidth.how == "table" and (where != "cpu" or unified or not found.gpu):
        return where, found.bandwidth
    return where, measured_bandwidth() if where == "cpu" else found.bandwidth


def _memory(where: str) -> dict[str, int]:
    """Peak bytes of this process, and of MLX's GPU memory where that is used."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"peak_memory": peak if sys.platform == "darwin" else peak * 1024}  # macOS counts bytes, Linux KiB
    if where != "cpu":
        import mlx.core as mx

        found["peak_gpu_memory"] = mx.get_peak_memory()
    return found


def _show(result: dict[str, Any], out: Output) -> None:
    def rate(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f} tokens/s"

    share, bandwidth = result["share_of_bound"], result["bandwidth_gb_per_s"]
    rows = [
        ("engine", f"{result['engine']} on {result['device']}"),
        ("load", f"{result['load_seconds']:.2f} s"),
        ("prefill", f"{rate(result['prefill_tokens_per_second'])} ({result['prompt_tokens']} tokens)"),
        ("first token", f"{1000 * result['time_to_first_token']:.1f} ms"),
        ("decode", f"{rate(result['decode_tokens_per_second'])} ({result['answer_tokens']} tokens)"),
        ("reads", f"{size(result['bytes_per_token'])} of weights a token"),
        ("bandwidth", f"{bandwidth:.0f} GB/s ({result['bandwidth_source']})" if bandwidth else "unknown"),
        ("bound", rate(result["bound_tokens_per_second"]) + (f", reached {100 * share:.1f} %" if share else "")),
        ("peak memory", size(result["peak_memory"])),
    ]
    if "peak_gpu_memory" in result:
        rows.append(("peak GPU memory", size(result["peak_gpu_memory"])))
    for label, words in rows:
        out.data(f"{label:<16}{words}")
