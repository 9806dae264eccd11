  // Rows of x lie sorted by the matrix of the stack that they meet; `tiles` has, for every threadgroup, the matrix, its
  // first row and the one after its last. A tile without rows, of which there are a few, writes nothing.
  const uint tile_index = threadgroup_position_in_grid.y;
  const size_t first = size_t(tiles[3 * tile_index]) * N;
  const size_t begin = tiles[3 * tile_index + 1], end = tiles[3 * tile_index + 2];
