"""Falcon-H1 with its scales applied to activations, so that weights stay packed.

mlx-lm multiplies them into the weights while loading, leaves out `key_multiplier` and the scale of the values'
input, and norms all channels at once where there are groups (`mamba_rms_norm` with n_groups above 1). Checkpoints
that mlx-lm has written hold weights it has multiplied; they are known by their convolutions, `[channels, taps, 1]`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx


@dataclass
class Scales:
    """What activations are multiplied by, one object for the whole model."""

    embedding: float = 1.0
    head: float = 1.0
    attention_in: float = 1.0
    attention_out: float = 1.0
    state_in: float = 1.0
    state_out: float = 1.0
    gate: float = 1.0
    down: float = 1.0
    projected: list[float] = field(default_factory=lambda: [1.0] * 5)  # z, x, B, C, dt


def _scales(args: Any) -> Scales:
    return Scales(
        args.embedding_multiplier,
        args.lm_head_multiplier,
        args.attention_in_multiplier,
        args.attention_out_multiplier,
        args.ssm_in_multiplier,
        args.ssm_out_multiplier,
        args.mlp_multipliers[0],
        args.mlp_multipliers[1],
        list(args.ssm_multipliers),
    )


def _left_over(args: Any) -> Scales:
    """What is left to multiply where mlx-lm has multiplied the weights: the input of the values."""
    head = args.lm_head_multiplier / args.embedding_multiplier if args.tie_word_embeddings else 1.0
    return Scales(head=head, attention_out=args.attention_in_multiplier)


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs."""
    from mlx_lm.models import falcon_h1
    from mlx_lm.models.activations import swiglu
    from mlx_lm.models.base import create_attention_mask, create_ssm_mask

    class Norm(falcon_h1.FalconH1RMSNormGated):
        def __call__(self, hidden_states: mx.array, gate: Any = None) -> mx.array:
            x = hidden_states
            if not self.norm_before_gate:
                x = swiglu(gate, x)
            groups = mx.unflatten(x, -1, (self.n_groups, -1))
            x = self.weight * mx.fast.rms_norm(groups, None, self.variance_epsilon).flatten(-2)
            return swiglu(gate, x) if self.norm_before_gate else x

    class Mixer(falcon_h1.FalconH1Mixer):
        def __init__(self, args: Any, scales: Scales) -> None:
            super().__init__(args)  # type: ignore[no-untyped-call]
            self._scales = scales
            if self.mamba_rms_norm:
                eps, before = args.rms_norm_eps, args.mamba_norm_before_gate
                self.norm = Norm(self.intermediate_size, eps, self.n_groups, before)  # type: ignore[no-untyped-call]

        def __call__(self, input_states: mx.array, cache: Any = None, mask: mx.array | None = None) -> mx.array:
            s, inner, state = self._scales, self.intermediate_size, self.n_groups * self.ssm_state_size
            ends = [inner, 2 * inner, 2 * inner + state, 2 * inner + 2 * state]
            parts = mx.split(self.in_proj(input_states), ends, axis=-1)
            z, *xbc, dt = (part * (s.state_in * factor) for part, factor in zip(parts, s.projected, strict=True))
            convolved = self._conv(mx.concatenate(xbc, axis=-1), cache, mask)
            states, b, c = mx.split(convolved, [inner, inner + state], axis=-1)
            y = self._ssm(states, b, c, dt, cache, mask)
            if cache:
                cache.advance(y.shape[1])
            y = self.norm(y, z) if self.mamba_rms_norm else swiglu(z, y)
            out: mx.array = self.out_proj(y) * s.state_out
            return out

    class MLP(falcon_h1.FalconH1MLP):
        def __init__(self, args: Any, scales: Scales) -> None:
            super().__init__(args)  # type: ignore[no-untyped-call]
            self._scales = scales

        def __call__(self, x: mx.array) -> mx.array:
            gated = swiglu(self.gate_proj(x) * self._scales.gate, self.up_proj(x))
            out: mx.array = self.down_proj(gated) * self._scales.down
            return out

    class Attention(falcon_h1.FalconH1Attention):
        def __init__(self, args: Any, scales: Scales) -> None:
            super().__init__(args)  # type: ignore[no-untyped-call]
            self._scales = scales
            self.scale *= args.key_multiplier

        def __call__(self, x: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
            out: mx.array = super().__call__(x * self._scales.attention_in, mask, cache)  # type: ignore[no-untyped-call]
            return out * self._scales.attention_out

    class Model(falcon_h1.Model):
        def __init__(self, args: falcon_h1.ModelArgs) -> None:
            super().__init__(args)  # type: ignore[no-untyped-call]
            self._scales = _scales(args)
            for layer in self.layers:
                layer.mamba = Mixer(args, self._scales)
                layer.self_attn = Attention(args, self._scales)
                layer.feed_forward = MLP(args, self._scales)

        def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
            inner = self.model
            x = inner.embed_tokens(inputs) * self._scales.embedding
            cache = [(None, None)] * len(inner.layers) if cache is None else cache
            masks: dict[str, Any] = {
                "mamba_mask": create_ssm_mask(x, cache[0][0]),
                "attn_mask": create_attention_mask(x, cache[0][1]),
            }
            for layer, c in zip(inner.layers, cache, strict=True):
                x = layer(x, cache=c, **masks)
            x = inner.final_layernorm(x)
            out = inner.embed_tokens.as_linear(x) if self.args.tie_word_embeddings else self.lm_head(x)
            logits: mx.array = out * self._scales.head
            return logits

        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            """Convolutions as MLX has them; nothing is multiplied."""
            kernels = [name for name in weights if name.endswith("conv1d.weight")]
            if kernels and weights[kernels[0]].shape[-1] == 1:
                vars(self._scales).update(vars(_left_over(self.args)))
                return weights
            return {name: w.moveaxis(2, 1) if name in kernels else w for name, w in weights.items()}

    return Model, falcon_h1.ModelArgs
