"""Mutants of the decode structs: how they are made (`words`), tried (`batch`) and on what (`cases`)."""
