"""What sees and hears in multimodal checkpoints, known by the names that published ones give it.

localq runs the text part and does not read the rest. Anything of another name is taken for text: an architecture that
does not know it refuses it.
"""

from __future__ import annotations

import re

WHY = "it sees or hears; localq runs the text part"
_TOWERS = re.compile(
    r"^(model\.)?(vision_tower|vision_model|vision_encoder|vision_embedder|visual|audio_tower|audio_encoder|embed_audio"
    r"|embed_vision|multi_modal_projector|mm_projector|vision_projection|vision_language_adapter|pre_mm_projector_norm"
    r"|patch_merger)\."
)


def of_tower(name: str) -> bool:
    """Whether the array of this stored name belongs to a part that sees or hears."""
    return _TOWERS.match(name) is not None
