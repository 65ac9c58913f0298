/* The register tile of a matrix product: TILE_ROWS x 2 vectors of sums lie in registers beside two vectors
 * of B and one value of A. TILE_ROWS <= LANES. RUN_DEPTH rows of a panel of B stay in L1, PACKED_A floats of
 * A in L2.
 *
 * AVX2: 16 registers of 8 floats. 6 rows: 12 sums, which hide the latency of two multiply-adds a cycle. */
enum { LANES = 8, TILE_ROWS = 6, RUN_DEPTH = 256, PACKED_A = 64 * 1024 };
