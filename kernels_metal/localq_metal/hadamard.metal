  // y = H x for vectors of ORDER floats one after another, H of 1 and -1 in Sylvester's order. A simdgroup transforms a
  // vector: element 32 * e + lane lies in v[e] of a lane; the lower five bits of an index are lanes, the others e.
  // Template: T, ORDER (a power of two, 32 to 1024), VECTORS, SG. Grid (32 * SG * ceil(VECTORS / SG), 1, 1).
  const uint lane = thread_index_in_simdgroup;
  const uint vector = threadgroup_position_in_grid.x * SG + simdgroup_index_in_threadgroup;
  const size_t first = size_t(min(vector, uint(VECTORS) - 1u)) * ORDER;  // clamped: shuffles want every lane
  float v[ORDER / 32];
  for (uint e = 0; e < ORDER / 32; e++) v[e] = float(x[first + 32 * e + lane]);
  for (uint e = 0; e < ORDER / 32; e++) {
    for (uint bit = 1; bit < 32; bit *= 2) {
      const float other = simd_shuffle_xor(v[e], ushort(bit));
      v[e] = (lane & bit) == 0 ? v[e] + other : other - v[e];
    }
  }
  for (uint step = 1; step < ORDER / 32; step *= 2) {
    for (uint e = 0; e < ORDER / 32; e++) {
      if ((e & step) == 0) {
        const float a = v[e], b = v[e + step];
        v[e] = a + b;
        v[e + step] = a - b;
      }
    }
  }
  for (uint e = 0; e < ORDER / 32; e++) {
    if (vector < uint(VECTORS)) y[first + 32 * e + lane] = v[e];
  }
