"""Which file of this folder may know which stored arrays: opening a checkpoint imports those that may be its own.

A file is listed with the names of main arrays and of arrays beside them (`Format.mains`, `suffixes`, `unused`) of the
formats it matches; `OTHERS` match no array of a safetensors file. The table only saves time: a file in neither is
imported whenever a checkpoint is opened, and tests/formats/test_index.py holds both to what the files say.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

FILES: dict[str, tuple[str, str]] = {
    "affine": ("weight", "biases global_scale scales"),
    "aqlm": ("codes", "codebooks scales"),
    "awq": ("qweight", "qzeros scales"),
    "awq_gemv": ("qweight", "qzeros scales"),
    "awq_gemv_fast": ("qweight", "qzeros scales"),
    "awq_llm": ("qweight", "scaled_zeros scales"),
    "bf16": ("weight", ""),
    "bitnet": ("weight", "weight_scale"),
    "bitnet_online": ("weight", ""),
    "bnb_4bit": (
        "weight",
        "weight.absmax weight.nested_absmax weight.nested_quant_map weight.quant_map "
        "weight.quant_state.bitsandbytes__fp4 weight.quant_state.bitsandbytes__nf4",
    ),
    "bnb_int8": ("weight", "SCB weight_format weight_scb"),
    "ct_int8": ("weight", "weight_scale weight_zero_point"),
    "ct_packed": ("weight_packed", "weight_g_idx weight_scale weight_shape weight_zero_point"),
    "ct_sparse": ("compressed", "bitmask row_offsets shape weight_scale"),
    "exl3": ("trellis", "mcg mul1 su suh sv svh"),
    "f16": ("weight", ""),
    "f32": ("weight", ""),
    "fp_quant": ("forward_hadamard_matrix", "backward_hadamard_matrix qweight scales weight_global_scale"),
    "fp8": ("weight", "scale weight_scale weight_scale_inv"),
    "fp8_inverse": ("weight", "weight_scale_inv"),
    "gemma_qat": (
        "embedding_quantized weight",
        "embedding_scale input_activation_scale output_activation_scale weight_scale",
    ),
    "gptq": ("qweight", "g_idx qzeros scales"),
    "higgs": ("weight", "scales tables tables2"),
    "hqq": (
        "W_q",
        "axis channel_wise compute_dtype encoded_state_dict group_size nbits offload_meta optimize packing quant_scale "
        "quant_zero round_zero scale shape stores_quant_config unpack_view_dtype view_as_float zero",
    ),
    "metal_affine": ("weight", "qbiases scales"),
    "modelopt_int4": ("weight", "pre_quant_scale weight_scale"),
    "mxfp4": ("weight", "global_scale scales"),
    "mxfp4_blocks": ("blocks", "scales"),
    "mxfp4_int8": ("weight", "scale weight_scale weight_scale_inv"),
    "mxfp4_modelopt": ("weight", "weight_scale"),
    "mxfp4_packed": ("weight_packed", "weight_scale"),
    "mxfp8": ("weight", "global_scale scales"),
    "mxfp8_bytes": ("weight", "weight_scale"),
    "mxfp6": ("weight", "weight_scale"),
    "nvfp4": ("weight", "global_scale scales"),
    "nvfp4_modelopt": ("weight", "pre_quant_scale weight_scale weight_scale_2"),
    "nvfp4_packed": ("weight_packed", "weight_global_scale weight_scale"),
    "paroquant": ("qweight", "channel_scales pairs qzeros scales theta"),
    "quanto": ("weight._data", "weight._scale"),
    "quanto_groups": ("weight._data._data", "weight._scale weight._shift"),
    "quark_int": (
        "weight",
        "input_prescale input_rotation weight_scale weight_scale_2 weight_zero_point weight_zero_point_2",
    ),
    "quip": ("Qidxs", "SU SV Wscale codebook_id fuse_scales scaleWH"),
    "spqr": ("dense_weights", "col_vals in_perm row_offsets"),
    "torchao_bytes": ("_weight_qdata", "_weight_scale _weight_zero_point"),
    "torchao_floats": ("_weight_qdata", "_weight_act_per_tensor_scale _weight_per_tensor_scale _weight_scale"),
    "torchao_int4": ("_weight_qdata", "_weight_act_pre_scale _weight_scale _weight_zero_point"),
    "tq": ("weight", "norms seed"),
    "vptq": (
        "indices",
        "centroids.weight outlier_centroids.weight outlier_indices perm res_centroids.weight weight_bias weight_scale",
    ),
}
OTHERS = frozenset(
    "affine_twin arrays awq_family base bits e8p floats ggml_types grids hadamard hadamard_orders index integers iq1_m "
    "iq1_s iq2_s iq2_xs iq2_xxs iq3_s iq3_xxs iq4_nl iq4_xs micro_floats mlx_floats mlx_modes mxfp4_ggml nvfp4_ggml "
    "q1_0 q2_0 q2_k q3_k q4_0 q4_1 q4_k q5_0 q5_1 q5_k q6_k q8_0 reselect rotated rounding rows_of_bytes tq1_0 "
    "tq2_0".split()
)
# Arrays whose values, not shapes alone, tell what a tensor is: who has only headers must fetch these.
ASKED = frozenset(
    "weight.quant_state.bitsandbytes__nf4 weight.quant_state.bitsandbytes__fp4 weight_format weight_shape codebook_id "
    "axis channel_wise compute_dtype group_size nbits offload_meta optimize packing quant_scale quant_zero round_zero "
    "shape stores_quant_config unpack_view_dtype view_as_float encoded_state_dict".split()
)
PLAIN = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}  # dtype -> who knows a lone array of it


def all_names() -> tuple[set[str], set[str]]:
    """Names of main arrays, and of all arrays, that some format knows."""
    from localq.formats.base import registered

    _import(_unlisted())
    mains = {name for main, _ in FILES.values() for name in main.split()}
    beside = {name for _, names in FILES.values() for name in names.split()}
    for form in registered().values():  # those of files without a line here
        mains |= set(form.mains)
        beside |= {*form.suffixes, *form.unused}
    return mains, beside | mains


def import_for(stored: Collection[str]) -> None:
    """Import the files whose formats may know a module of these arrays; of a lone array, all with such a main one."""
    _import(_unlisted())
    others = set(stored)
    for file, (mains, beside) in FILES.items():
        main = others & set(mains.split())
        if main and (len(others) == 1 or others - main & set(beside.split()) or len(main) > 1):
            _import([file])


def import_plain(dtype: str) -> bool:
    """Import the file that knows a lone array of this dtype; False where none does for sure."""
    if dtype in PLAIN:
        _import([PLAIN[dtype]])
    return dtype in PLAIN


def _unlisted() -> list[str]:
    import pkgutil

    from localq import formats

    return [m.name for m in pkgutil.iter_modules(formats.__path__) if m.name not in FILES and m.name not in OTHERS]


def _import(files: Collection[str]) -> None:
    import importlib

    for file in files:
        importlib.import_module(f"localq.formats.{file}")
