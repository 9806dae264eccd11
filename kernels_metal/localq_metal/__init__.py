"""Kernels on packed weights for `mx.fast.metal_kernel`: a decode struct per format, bodies written once against it.

    include/STEM.h     how 16 weights of a block are decoded         source.py   puts a struct and a body together
    NAME.metal         the body of an operation                      NAME.py     its grid, template and shapes

Nothing is built at import. Every function takes the factory that makes kernels, `mx.fast.metal_kernel` on a Mac.
"""
