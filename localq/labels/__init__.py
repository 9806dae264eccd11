"""What a model name says: a grammar from names to labels. Pure: knows no file and no network."""

from localq.labels.grammar import read_label
from localq.labels.label import Label, Piece

__all__ = ["Label", "Piece", "read_label"]
