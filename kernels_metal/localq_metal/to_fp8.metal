  // o[i] = w[i] (T) as FP8 E4M3, rounded to even, saturating. Template: T, SIZE. Grid (SIZE, 1, 1).
  const uint i = thread_position_in_grid.x;
  if (i < uint(SIZE)) o[i] = uint8_t(to_e4m3(float(w[i])));
