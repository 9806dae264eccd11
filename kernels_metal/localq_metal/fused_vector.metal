  // One row of x, or TOP, each with a matrix of the stack, whose products are added up.
  const uint tokens = m0 + 1, pieces = uint(K) / (Format::RUN * Format::SPAN), apart = Format::STRIDE / Format::RUN;
  for (uint q = lane; q < TOP * pieces; q += 32) {
    const uint p = q;  // if single
    const uint p = q % pieces;  // if scored
    const uint at = p / apart * (apart * Format::RUN * Format::SPAN) + p % apart * Format::RUN;
    const size_t line = m0;  // if single
    const size_t line = size_t(m0) * TOP + q / pieces;  // if scored
    const size_t first = 0;  // if matrix
    const size_t first = size_t(expert[line]) * N0;  // if stack
    float xv[Format::RUN * Format::SPAN], sums[Format::SPAN];
    for (uint j = 0; j < Format::SPAN; j++) {
      sums[j] = 0.0f;
      for (uint k = 0; k < Format::RUN; k++) {
        const uint i = at + j * Format::STRIDE + k;
        float v = float(x[line / EACH * K + i]);
        squares[0] += v * v;  // if norm
        v *= float(gain[i]);  // if norm
        v *= float(score[line]);  // if scored
        xv[j * Format::RUN + k] = v;
        sums[j] += v;
      }
    }
    for (uint r = 0; r < R; r++) {
      const Format f = f0;  // if one
      const Format f = of[r] == 0 ? f0 : f1;  // if two
      const Format f = of[r] == 0 ? f0 : of[r] == 1 ? f1 : f2;  // if three
      const Format f = r % 2 == 0 ? f0 : f1;  // if glu
      sum[r][0] += f.dot(first + row[r], at, xv, sums);
    }
  }
