  // BM rows of x for every threadgroup, one matrix. x has a multiple of nothing: the last threadgroup has fewer.
  const size_t begin = size_t(threadgroup_position_in_grid.y) * BM, first = 0;
  const size_t end = min(begin + BM, size_t(uint(x_shape[0]) / uint(K)));
