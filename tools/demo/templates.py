"""Question patterns by kind: one corpus line such as `what: Q4_K; q4k` stands for a whole family of questions.

A line names its subjects separated by `;` (for `vs` the two sides, which are asked in both orders). About a seventh of
the patterns of each subject is held back from training, picked by a hash of the finished question.
"""

from __future__ import annotations

WHAT = """What is {0}?
what's {0}
{0}?
Explain {0}.
Tell me about {0}.
What does {0} mean?
Can you explain {0}?
Describe {0}.
define {0}
What do you know about {0}?
I read about {0}, what is that?
meaning of {0}
What exactly is {0}?
explain {0} to me in short"""

VS = """{0} or {1}?
{0} vs {1}
{0} vs. {1}?
What is the difference between {0} and {1}?
Is {0} better than {1}?
Should I use {0} or {1}?
compare {0} and {1}
difference between {0} and {1}
Which is better, {0} or {1}?
How does {0} compare to {1}?"""

BITS = """How many bits per weight has {0}?
How many bits per weight does {0} use?
bits per weight of {0}
{0} bits per weight
{0} bpw
What is the bpw of {0}?
How many bits does {0} use?
how many bits is {0}
What are the bits per weight of {0}?
size of a weight in {0}"""

BLOCK = """What is the block size of {0}?
{0} block size
block size {0}
How many weights are in a {0} block?
How many bytes has a {0} block?
how large is a block of {0}
bytes per block {0}
How many weights does one block of {0} hold?"""

USE = """When should I use {0}?
What is {0} good for?
Why use {0}?
Should I use {0}?
why would I want {0}
Is {0} useful?"""

QUALITY = """How good is {0}?
quality of {0}
How much quality does {0} lose?
Is {0} any good?
How accurate is {0}?
quality loss of {0}
How much worse is {0} than the original?"""

KLD = """What is the KL divergence of {0}?
KLD of {0}
{0} kld
kl divergence {0}
How much does {0} lose?
How large is the KL divergence of {0}?
How far is {0} from the original?
quality loss of {0}"""

HOW = """How do I {0}?
How can I {0}?
how to {0}
I want to {0}
What do I need to {0}?
{0}, how?"""

CAN = """Can localq {0}?
does localq {0}
Is it possible to {0} with localq?
Can I use localq to {0}?
can you {0}"""

WHY = """Why do {0}?
why {0}
What is the reason that {0}?
How come {0}?
why is it that {0}"""

MAC = """Does {0} run on a Mac?
Can I run {0} on a Mac?
{0} on a mac
does {0} work on Apple Silicon
Does MLX support {0}?
Is there {0} for Macs?
can my Mac run {0}?
{0} on Apple Silicon?
Will {0} work on an M4?"""

FIT = """Which quant for {0}?
What can I run with {0}?
I have {0}, which quant should I take?
best model for {0}
{0} of memory, which quant?
which quant fits {0}
What fits in {0}?
{0} ram what should I use
What is the best quant for {0} of memory?
{0}?
which model for a {0} machine
Which quant should I choose for {0} of RAM?"""

BANDWIDTH = """What is the memory bandwidth of {0}?
{0} bandwidth
memory bandwidth {0}
How fast is the memory of {0}?
How many GB/s has {0}?
bandwidth of {0}
How much bandwidth does the {0} have?"""

SPEED = """How fast is {0}?
{0} tokens per second
How many tokens per second does {0} make?
speed of {0}
how fast does a 7B model run on {0}
tok/s on {0}"""

SIZE = """How big is {0} {1} model in {2}?
{1} {2} size
How many GB has {0} {1} model in {2}?
size of {0} {1} in {2}
How much memory does {0} {1} model need in {2}?
{1} at {2}, how large?
how large is {0} {1} {2} file
{1} {2} how many gb"""

KINDS = {
    kind.lower(): text.splitlines()
    for kind, text in (
        ("WHAT", WHAT),
        ("VS", VS),
        ("BITS", BITS),
        ("BLOCK", BLOCK),
        ("USE", USE),
        ("QUALITY", QUALITY),
        ("KLD", KLD),
        ("HOW", HOW),
        ("CAN", CAN),
        ("WHY", WHY),
        ("MAC", MAC),
        ("FIT", FIT),
        ("BANDWIDTH", BANDWIDTH),
        ("SPEED", SPEED),
        ("SIZE", SIZE),
    )
}


def expand(kind: str, subjects: list[str]) -> list[str]:
    """All questions of one corpus line."""
    patterns = KINDS[kind]
    if kind == "vs":
        one, two = subjects
        return [p.format(*pair) for pair in ((one, two), (two, one)) for p in patterns]
    if kind == "size":
        return [p.format(*subjects) for p in patterns]
    return [p.format(subject) for subject in subjects for p in patterns]
