"""Containers of other programs that localq does not open, told by their files so that the refusal can name them."""

from __future__ import annotations

from collections.abc import Collection

from localq.errors import UnsupportedError

_ORIGINAL = "Get the original as safetensors, or a GGUF of it."
# ends of a file's name -> what it is; compiled programs and graphs, whose weights only their own program finds
_ENDS = {
    **{".onnx": "an ONNX graph", ".onnx_data": "weights of an ONNX graph", ".ort": "an ONNX Runtime graph"},
    **{".engine": "an engine that TensorRT compiled for one GPU", ".plan": "an engine that TensorRT compiled"},
    **{".tflite": "a LiteRT (TensorFlow Lite) graph", ".task": "a MediaPipe bundle", ".litertlm": "a LiteRT-LM bundle"},
    **{".pte": "an ExecuTorch program", ".mnn": "an MNN graph", ".rkllm": "a model compiled for Rockchip's NPU"},
    **{".h5": "TensorFlow's weights", ".msgpack": "Flax's weights", ".llamafile": "a program with a GGUF inside"},
    **{".nemo": "NeMo's archive", ".keras": "Keras' archive", ".mlmodel": "a Core ML graph"},
}
_CTRANSLATE2 = {"vocabulary.json", "vocabulary.txt", "shared_vocabulary.json", "shared_vocabulary.txt"}


def refuse_other(path: str, names: Collection[str]) -> None:
    """Name the container whose files these are; nothing where they are no other program's.

    Raises:
        UnsupportedError: it is one that localq does not open.
    """
    found = _known(names)
    if found is not None:
        raise UnsupportedError(f"{path} holds {found}, which localq does not open.", _ORIGINAL)


def _known(names: Collection[str]) -> str | None:
    for name in sorted(names):
        if name.endswith(".xml") and f"{name[:-4]}.bin" in names:
            return f"an OpenVINO graph ({name} and its .bin)"
    if {"ndarray-cache.json", "tensor-cache.json"} & set(names):
        return "weights that MLC LLM compiled (ndarray-cache.json or tensor-cache.json)"
    if "model.bin" in names and _CTRANSLATE2 & set(names):
        return "a CTranslate2 model (model.bin and a vocabulary)"
    for name in sorted(names):
        what = next((words for end, words in _ENDS.items() if name.endswith(end)), None)
        if what is not None:
            return f"{what} ({name})"
    return None
