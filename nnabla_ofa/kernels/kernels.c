/* The compiled functions, one translation unit. README.md says which file has what. */
#include "simd.h"
#include "memory.h"
#include "gemm.h"
#include "sums.h"
#include "activations.h"

#include "unfold.h"
#include "winograd.h"
#include "convolution.h"
#include "depthwise.h"
#include "depthwise_layer.h"
#include "normalization.h"
#include "windows.h"
#include "affine.h"
#include "channels.h"

#include "pool.h"
#include "block.h"
#include "block_layers.h"
#include "block_passes.h"

#include "fields.h"

/* Floats of a vector register as the library was compiled. */
long lanes(void) { return LANES; }
