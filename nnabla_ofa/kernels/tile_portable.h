/* The register tile of a matrix product: TILE_ROWS x 2 vectors of sums lie in registers beside two vectors
 * of B and one value of A. TILE_ROWS <= LANES. RUN_DEPTH rows of a panel of B stay in L1, PACKED_A floats of
 * A in L2.
 *
 * What every CPU has: 16 registers of 4 floats. */
enum { LANES = 4, TILE_ROWS = 4, RUN_DEPTH = 256, PACKED_A = 64 * 1024 };
