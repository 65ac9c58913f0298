/* Blocks of fused layers for the channel-major (C, H, W, N) trunk. Only layout.py and block.py
 * call them.
 *
 *   y = relu?(pool?(unit(..unit(x))) + shortcut), the shortcut being skip(x) or an array
 *   unit   BN(pointwise(depthwise(relu?(.)))), elastic in kernel and widths
 *   skip   BN(convolution(.)), which may also stand alone
 *
 * Between two matrix products all work is a channel's own, so that it is done channel by channel,
 * in cache: normalise and rectify one unit's output, convolve it depthwise for the next, pack it.
 * Only the products' operands are stored. Active channels are a prefix of the full ones, so weights
 * are read, and gradients written, as sub-blocks of the full arrays through their row length. One
 * parallel region a call; channels and tiles are each one thread's: results never depend on timing.
 *
 * A frozen block has fixed statistics: its weights are folded and packed beforehand, its products
 * end in bias, residual and ReLU, and nothing is kept for a backward pass. */

/* A layer. layout.LayerStruct has the same fields; `layer_fields`, at the end, lists them for the
 * comparison. An array that is not needed is NULL. Sizes are those of the arrays in layout.Layer.
 *   w_in, w_out                 active channels of input and output, the first of full_in, full_out
 *   full_depthwise              stored channels of the depthwise kernels; 0 of a convolution
 *   kernel, full_kernel         active and stored size of the (depthwise) kernel, odd, in taps
 *   steps                       kernel matrices to apply, 0 to 2
 *   relu_in                     whether the input goes through a ReLU
 *   depthwise .. beta           parameters. Frozen: the active kernels, none, the packed weight, none,
 *                               the bias
 *   d_depthwise .. d_beta       their gradients; add_depthwise .. add_beta: whether the backward pass
 *                               adds to them, else it overwrites them
 *   running_mean, _variance     what the forward pass moves towards the batch's statistics
 * arrange() sets the rest:
 *   rows, full_row              rows of the matrix product's right operand; floats of a weight's row
 *   height, line, pixels        of the output: rows, floats of a row, floats of a channel
 *   strip                       rows of output computed at a time
 *   mean, variance, inverse     the batch's, a channel each; inverse = 1 / sqrt(variance + eps)
 *   hidden, z                   the product's right operand (of a convolution: NULL) and its result
 * The last five lie in the arena, except where the z of a frozen layer is y itself. */
typedef struct {
  long w_in, w_out, full_in, full_out, full_depthwise;
  long kernel, full_kernel, stride, steps, relu_in;
  const float *depthwise, *matrix[2], *weight, *gamma, *beta;
  float *d_depthwise, *d_matrix[2], *d_weight, *d_gamma, *d_beta;
  long add_depthwise, add_matrix[2], add_weight, add_gamma, add_beta;
  float *running_mean, *running_variance;
  long rows, full_row, height, line, pixels, strip;
  float *mean, *variance, *inverse, *hidden, *z;
} layer;

/* A block. layout.BlockStruct has the same fields; `block_fields`, at the end, lists them.
 *   height, width, batch        of x
 *   skip, count                 whether layers[0] is the skip; the number of layers, skip included
 *   pool, relu_out, frozen      whether y is pooled, goes through a ReLU, uses folded constants
 *   add_x, add_residual         whether the backward pass adds to dx and d_residual
 *   eps, decay                  of BN
 *   order                       row j of y is row order[j] of the last unit's; NULL: row j
 *   residual                    what is added to y, shaped as y; it may be x, then d_residual is dx
 *   arena                       the floats that arrange() asked for
 *   winner                      in the arena: which of the inputs each pooled maximum is */
typedef struct {
  long height, width, batch, skip, count;
  long pool, relu_out, frozen, add_x, add_residual;
  double eps, decay;
  layer *layers;
  const int *order;
  const float *x, *residual, *dy;
  float *y, *dx, *d_residual, *arena;
  int *winner;
} block;

static long pixels_in(const block *b) { return b->height * b->width * b->batch; }
static const layer *last_of(const block *b) { return b->layers + b->count - 1; }
/* The unit whose output a layer reads, or NULL: x. */
static const layer *before(const block *b, const layer *u) {
  return u > b->layers + b->skip ? u - 1 : NULL;
}
static plane plane_in(const block *b, const layer *u) {
  return plane_of(b->height, b->width, b->batch, u->kernel);
}

enum { PRODUCT = 512 * 1024 }; /* floats of a product's packed input at a time */

/* Completes the layers, and lays their arrays out in the block's arena; the floats taken. */
long arrange(block *b) {
  space s = {b->arena, 0};
  for (layer *u = b->layers; u < b->layers + b->count; u++) {
    long taps = u->full_depthwise ? 1 : u->kernel * u->kernel;
    u->rows = u->w_in * taps, u->full_row = u->full_in * taps;
    u->height = (b->height - 1) / u->stride + 1;
    u->line = ((b->width - 1) / u->stride + 1) * b->batch, u->pixels = u->height * u->line;
    u->strip = min_of(max_of(PRODUCT / (u->rows * u->line), 1), u->height);
    if (u->full_depthwise) u->strip = min_of(u->strip, plane_in(b, u).strip);
    int ends = u < b->layers + b->skip || (u == last_of(b) && !b->pool);
    u->z = b->frozen && ends ? b->y : take(&s, u->w_out * u->pixels);
    if (b->frozen) continue;
    u->mean = take(&s, u->w_out), u->variance = take(&s, u->w_out), u->inverse = take(&s, u->w_out);
    u->hidden = u->full_depthwise ? take(&s, u->w_in * u->pixels) : NULL;
  }
  long pooled = b->pool ? b->layers->w_out * b->layers->pixels : 0; /* beside a skip, of its size */
  b->winner = b->frozen ? NULL : (int *)take(&s, pooled);
  return s.used;
}

/* Where a layer is computed, in the workspace: the threads have all but the last line in common.
 * Kernels are by size, [0] the largest, which lie elsewhere: kernel[s] (in, k * k) = crop[s] times
 * matrix[s - 1], crop[s] being the centre of kernel[s - 1]. */
typedef struct {
  float *columns, *product; /* a strip of input, unfolded or packed; other operands */
  float *kernel[3], *crop[3], *gradient[3];
  float *depthwise, *plane;
  long used;
} room;

static room room_of(const block *b, const layer *u, float *base, int thread) {
  space s = {base, 0};
  room r = {.kernel = {(float *)u->depthwise}, .gradient = {u->d_depthwise}};
  plane p = plane_in(b, u);
  long tallest = max_of(max_of(u->rows, u->w_out), TAPS);
  r.columns = take(&s, u->rows * round_up(u->strip * u->line, TILE_COLUMNS));
  r.product = take(&s, max_of(packed_size(u->w_out, u->rows), gemm_space(1, tallest, DEPTH)));
  for (int i = 1; i <= u->steps; i++) {
    long k = u->full_kernel - 2 * i, size = u->w_in * k * k;
    r.kernel[i] = take(&s, size), r.crop[i] = take(&s, size), r.gradient[i] = take(&s, size);
  }
  for (int i = 0; i <= thread; i++) {
    r.depthwise = take(&s, u->full_depthwise ? plane_space(&p) : 0);
    r.plane = take(&s, pixels_in(b));
  }
  r.used = s.used;
  return r;
}

/* A workspace that holds every layer's room, one at a time. */
static float *working_space(const block *b) {
  long floats = 0;
  for (long i = 0; i < b->count; i++)
    floats = max_of(floats, room_of(b, b->layers + i, NULL, threads - 1).used);
  return workspace(floats);
}
