  // One matrix for all rows of x.
  const size_t first = 0;
