// VPTQ in the order of its columns: vectors of V rows of one column, from TABLES tables of 2^LOW vectors, a stream of
// indices for each; a second index of HIGH bits above it into a residual table. EXTRA columns of outliers come first,
// vectors of VO rows from a table of KO. weight = value * scale + bias of the column where NORMED.
// constants: V, LOW, HIGH, TABLES, EXTRA, VO, KO, NORMED, S
struct Format {
  const device uint* w;
  const device S* main;
  const device S* residual;
  const device ushort* extra;
  const device S* outliers;
  const device S* scales;
  const device S* biases;
  uint rows, columns;

  METAL_FUNC float outlier(size_t matrix, uint line, uint column) const {
    const size_t vector = matrix * ((rows + VO - 1) / VO) + line / VO;
    return float(outliers[(matrix * KO + extra[vector * EXTRA + column]) * VO + line % VO]);
  }

  METAL_FUNC float indexed(size_t matrix, uint line, uint column) const {
    const uint run = (columns - EXTRA) / TABLES, words = (run * (LOW + HIGH) + 31) / 32;
    const size_t table = matrix * TABLES + column / run;
    const device uint* stream = w + (table * ((rows + V - 1) / V) + line / V) * words;
    const uint bit = column % run * (LOW + HIGH), shift = bit % 32;
    uint code = stream[bit / 32] >> shift;
    if (shift + LOW + HIGH > 32) code |= stream[bit / 32 + 1] << (32 - shift);
    const uint low = code & ((1u << LOW) - 1u), high = (code >> LOW) & ((1u << HIGH) - 1u);
    const float value = float(main[((table << LOW) + low) * V + line % V]);
    return HIGH == 0 ? value : value + float(residual[((table << HIGH) + high) * V + line % V]);
  }

  METAL_FUNC void decode16(size_t row, uint c, thread float* out) const {
    const size_t matrix = row / rows;
    const uint line = row % rows;
    for (uint k = 0; k < 16; k++) {
      const uint column = 16 * c + k;
      out[k] = column < EXTRA ? outlier(matrix, line, column) : indexed(matrix, line, column - EXTRA);
      if (NORMED) out[k] = out[k] * float(scales[matrix * columns + column]) + float(biases[matrix * columns + column]);
    }
  }
};
