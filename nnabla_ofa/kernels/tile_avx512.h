/* The register tile of a matrix product: TILE_ROWS x 2 vectors of sums lie in registers beside two vectors
 * of B and one value of A. TILE_ROWS <= LANES. RUN_DEPTH rows of a panel of B stay in L1, PACKED_A floats of
 * A in L2.
 *
 * AVX-512: 32 registers of 16 floats. 14 rows: 28 sums, three left. */
enum { LANES = 16, TILE_ROWS = 14, RUN_DEPTH = 256, PACKED_A = 128 * 1024 };
