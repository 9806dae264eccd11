  // Every row of x names its matrix of the stack.
  const size_t first = size_t(expert[threadgroup_position_in_grid.y]) * N;
