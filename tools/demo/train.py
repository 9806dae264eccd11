"""Trains the bundled model `demo` on two CPU cores and exports it: `python tools/demo/train.py`.

Needs torch, tokenizers and safetensors in an environment of their own (localq itself needs no torch), and localq's
source beside it for the registry. The same seed gives the same tokenizer, split and order of conversations.
Every few minutes the weights so far are exported, so an interrupted run leaves a model that loads.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads make a shared machine twenty times slower

import torch
import torch.nn.functional as F
from torch import Tensor

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from augment import Questioner  # noqa: E402
from bpe import END, encode_conversation, train_tokenizer  # noqa: E402
from corpus import Fact, read_corpus  # noqa: E402
from export import export  # noqa: E402
from model import Decoder  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

SEED = 20261123
BATCH_TOKENS = 4096
POOL = 512  # conversations sorted by length at a time, so that a batch pads little
LONGEST = 640
WARM_UP = 40


@dataclass(frozen=True)
class Plan:
    """What a run is told: it ends after `steps` or `minutes`, whichever comes first."""

    steps: int = 2400
    minutes: float = 60
    rate: float = 5e-3
    out: Path = HERE.parents[1] / "localq" / "demo"
    threads: int = 2


class Batches:
    """Endless batches of (ids, answer mask), right-padded, of about BATCH_TOKENS tokens."""

    def __init__(self, facts: list[Fact], tokenizer: Tokenizer, seed: int) -> None:
        self.source = Questioner(facts, seed)
        self.tokenizer = tokenizer
        self.pad = tokenizer.token_to_id(END)
        self.ready: list[list[tuple[list[int], list[bool]]]] = []

    def next(self) -> tuple[Tensor, Tensor]:
        if not self.ready:
            self._fill()
        rows = self.ready.pop()
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([r + [self.pad] * (width - len(r)) for r, _ in rows])
        mask = torch.tensor([m + [False] * (width - len(m)) for _, m in rows])
        return ids, mask

    def _fill(self) -> None:
        talks = [encode_conversation(self.tokenizer, *self.source.conversation()) for _ in range(POOL)]
        talks = sorted((t for t in talks if len(t[0]) <= LONGEST), key=lambda t: len(t[0]))
        group: list[tuple[list[int], list[bool]]] = []
        for talk in talks:
            if group and (len(group) + 1) * len(talk[0]) > BATCH_TOKENS:
                self.ready.append(group)
                group = []
            group.append(talk)
        self.ready.append(group)
        self.source.random.shuffle(self.ready)


def loss_of(model: Decoder, ids: Tensor, mask: Tensor) -> Tensor:
    """Mean cross entropy of the answers' tokens; the head runs on their positions only."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model(ids[:, :-1])
        wanted = mask[:, 1:]
        logits = model.logits(hidden[wanted])
    return F.cross_entropy(logits.float(), ids[:, 1:][wanted])


@torch.no_grad()
def share_right(model: Decoder, tokenizer: Tokenizer, pairs: list[tuple[str, str]]) -> float:
    """Share of pairs whose answer greedy decoding gives word for word (checked by teacher forcing)."""
    model.eval()
    right = 0
    for start in range(0, len(pairs), 64):
        rows = [encode_conversation(tokenizer, None, [pair]) for pair in pairs[start : start + 64]]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([r + [0] * (width - len(r)) for r, _ in rows])
        mask = torch.tensor([m + [False] * (width - len(m)) for _, m in rows])[:, 1:]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            guess = model.logits(model(ids[:, :-1])).argmax(-1)
        right += int(((guess == ids[:, 1:]) | ~mask).all(1).sum())
    model.train()
    return right / len(pairs)


def optimisers(model: Decoder, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the embedding and the norms."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=0.6 * rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def set_rates(tools: list[torch.optim.Optimizer], step: int, done: float) -> None:
    """Short warm-up, then linear to zero; `done` is the share of the run that is over."""
    share = min(1.0, (step + 1) / WARM_UP) * max(0.0, 1 - done)
    for tool in tools:
        for group in tool.param_groups:
            group["lr"] = share * group.setdefault("peak", group["lr"])


def train(plan: Plan) -> None:
    """Runs to the last step, or until the minutes are over: the rate then reaches zero at that time instead."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(SEED)
    facts = read_corpus()
    tokenizer = train_tokenizer(facts)
    model = Decoder()
    batches = Batches(facts, tokenizer, SEED)
    checks = pairs_to_check(facts)
    tools = optimisers(model, plan.rate)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(facts)} facts", flush=True)
    start = saved = time.time()
    tokens, losses, step, done = 0, [], 0, 0.0
    while done < 1:
        set_rates(tools, step, done)
        ids, mask = batches.next()
        losses.append(one_step(model, tools, ids, mask))
        tokens, step = tokens + ids.numel(), step + 1
        done = max(step / plan.steps, (time.time() - start) / (60 * plan.minutes))
        run = {"seed": SEED, "step": step, "tokens": tokens, "seconds": round(time.time() - start)}
        if step % 50 == 0:
            print(json.dumps({**run, "loss": round(sum(losses[-50:]) / 50, 4)}), flush=True)
        if time.time() - saved > 240 or done >= 1:
            scores = {name: round(share_right(model, tokenizer, pairs), 4) for name, pairs in checks.items()}
            run |= {"word_for_word": scores, "peak_rate": plan.rate, "threads": plan.threads}
            print(json.dumps(run), flush=True)
            export(model, tokenizer, plan.out, {**run, "finished": done >= 1, "torch": torch.__version__})
            saved = time.time()


def one_step(model: Decoder, tools: list[torch.optim.Optimizer], ids: Tensor, mask: Tensor) -> float:
    """One update of the weights; the loss before it."""
    loss = loss_of(model, ids, mask)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for tool in tools:
        tool.step()
        tool.zero_grad()
    return loss.item()


def pairs_to_check(facts: list[Fact]) -> dict[str, list[tuple[str, str]]]:
    """Every eighth training question and all held-back ones."""
    asked = [(q, f.answer) for f in facts for q in f.asked]
    return {
        "asked": asked[::8],
        "held_by_hand": [(q, f.answer) for f in facts for q in f.held],
        "held_templates": [(q, f.answer) for f in facts for q in f.held_templates],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=Plan.steps)
    parser.add_argument("--minutes", type=float, default=Plan.minutes)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="peak learning rate")
    parser.add_argument("--out", type=Path, default=Plan.out)
    parser.add_argument("--threads", type=int, default=Plan.threads)
    train(Plan(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
