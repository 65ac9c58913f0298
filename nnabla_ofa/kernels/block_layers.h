/* The layers of a block, forward and backward. */

static void statistics(const block *b, const layer *u, long r) {
  int tracked = u->running_mean != NULL;
  double variance = batch_statistics(
      u->z + r * u->pixels, u->pixels, b->decay, u->mean + r, u->variance + r,
      tracked ? u->running_mean + r : NULL, tracked ? u->running_variance + r : NULL);
  u->inverse[r] = 1 / sqrt(variance + b->eps);
}

/* Channel r of a layer's normalised output, or of x where there is no layer. */
static channel view(const block *b, const layer *u, long r, long rectify) {
  float floor = rectify ? 0 : -INFINITY;
  const float *z = u ? u->z + r * u->pixels : b->x + r * pixels_in(b);
  if (!u || b->frozen) return (channel){z, 0, 1, 0, floor};
  return (channel){z, u->mean[r], u->gamma[r] * u->inverse[r], u->beta[r], floor};
}

/* Turns channel r of z into its own gradient, given dy; gradients of gamma and beta. */
static void normalize_backward(const layer *u, long r, const float *dy) {
  long n = u->pixels;
  float *z = u->z + r * n, mean = u->mean[r], inverse = u->inverse[r];
  sums s = sums_of(z, mean, dy, n);
  if (u->d_gamma) u->d_gamma[r] = s.product * inverse + (u->add_gamma ? u->d_gamma[r] : 0);
  if (u->d_beta) u->d_beta[r] = s.plain + (u->add_beta ? u->d_beta[r] : 0);
  float shift = s.plain / n, slope = s.product / n * inverse * inverse;
  float scale = u->gamma[r] * inverse;
  for (long i = 0; i < n; i++) z[i] = (dy[i] - shift - (z[i] - mean) * slope) * scale;
}

/* ---- elastic depthwise kernels ---------------------------------------------------------- */

/* Copies the centres, k x k, of (k + 2) x (k + 2) kernels, or (+)= puts them back there. */
static void crop_centres(long count, long k, float *larger, float *centre, int back, int add) {
#pragma omp for schedule(static)
  for (long c = 0; c < count; c++) {
    float *from = larger + c * (k + 2) * (k + 2) + k + 3, *to = centre + c * k * k;
    if (back && !add) memset(from - k - 3, 0, sizeof(float) * (k + 2) * (k + 2));
    for (long y = 0; y < k; y++)
      for (long x = 0; x < k; x++)
        if (back) from[y * (k + 2) + x] += to[y * k + x];
        else to[y * k + x] = from[y * (k + 2) + x];
  }
}

static void shrink_kernels(const layer *u, const room *at) {
  for (int s = 1; s <= u->steps; s++) {
    long k = u->full_kernel - 2 * s, size = k * k;
    crop_centres(u->w_in, k, at->kernel[s - 1], at->crop[s], 0, 0);
    gemm(1, u->w_in, size, size, (operand){at->crop[s], size, 1}, (operand){u->matrix[s - 1], 1, size},
         (target){at->kernel[s], size}, at->product);
  }
}

/* From the smallest kernels' gradient to those of the matrices and of the largest kernels. */
static void shrink_kernels_backward(const layer *u, const room *at) {
  for (int s = u->steps; s > 0; s--) {
    long k = u->full_kernel - 2 * s, size = k * k;
    const float *gradient = at->gradient[s];
    if (u->d_matrix[s - 1])
      gemm(1, size, size, u->w_in, (operand){at->crop[s], 1, size}, (operand){gradient, 1, size},
           (target){u->d_matrix[s - 1], size, u->add_matrix[s - 1]}, at->product);
    gemm(1, u->w_in, size, size, (operand){gradient, size, 1}, (operand){u->matrix[s - 1], size, 1},
         (target){at->crop[s], size}, at->product);
    crop_centres(u->w_in, k, at->gradient[s - 1], at->crop[s], 1, s == 1 && u->add_depthwise);
  }
}

/* ---- layers ----------------------------------------------------------------------------- */

/* A block's convolution as unfold() takes it. */
static convolution convolution_of(const block *b, const layer *u) {
  convolution c = {.height = b->height, .width = b->width, .batch = b->batch, .groups = 1,
                   .w_in = u->w_in, .w_out = u->w_out, .full_in = u->full_in, .full_out = u->full_out,
                   .kernel = {u->kernel, u->kernel}, .stride = {u->stride, u->stride},
                   .pad = {u->kernel / 2, u->kernel / 2}};
  complete_convolution(&c);
  return c;
}

/* z = the weight times the input's channels, convolved depthwise or unfolded. */
static void layer_forward(const block *b, const layer *u, float *base) {
  room at = room_of(b, u, base, omp_get_thread_num());
  const layer *from = before(b, u);
  plane p = plane_in(b, u);
  convolution own = convolution_of(b, u);
  target t = {.stride = u->pixels, .bias = b->frozen ? u->beta : NULL};
  const float *shortcut = NULL, *kernels = at.kernel[u->steps];
  if (b->frozen && u == last_of(b) && !b->pool) {
    t.relu = b->relu_out;
    shortcut = b->skip && b->count > 1 ? b->y : b->residual;
  }
  shrink_kernels(u, &at);
  if (u->depthwise) memset(at.depthwise, 0, sizeof(float) * plane_space(&p));
  if (!b->frozen) pack_a(1, u->w_out, u->rows, (operand){u->weight, u->full_row, 1}, at.product);
  if (from && !b->frozen)
#pragma omp for schedule(static) nowait /* the next loop gives each thread the same channels */
    for (long c = 0; c < u->w_in; c++) statistics(b, from, c);
  for (long first = 0; first < u->height; first += u->strip) {
    long end = min_of(first + u->strip, u->height), count = (end - first) * u->line;
#pragma omp for schedule(static)
    for (long r = 0; r < u->rows; r++) {
      float *row = u->hidden ? u->hidden + r * u->pixels + first * u->line : at.plane;
      if (u->depthwise)
        depthwise_forward(&p, view(b, from, r, u->relu_in), kernels + r * u->kernel * u->kernel,
                          first, end, row, at.depthwise);
      else
        unfold(&own, r, first, end, row, (float *)b->x, 0);
      scatter(row, count, r, u->rows, at.columns);
    }
    t.c = u->z + first * u->line;
    if (shortcut) t.residual = shortcut + first * u->line;
    multiply(1, u->w_out, count, u->rows, b->frozen ? u->weight : at.product, at.columns, t);
  }
}

/* A unit's gradients, from that in hidden, up to and into the z of the unit before or dx. */
static void depthwise_gradients(const block *b, const layer *u, const room *at) {
  const layer *from = before(b, u);
  long n = u->pixels, size = u->kernel * u->kernel;
  int add_x = !from && (b->add_x || b->d_residual == b->dx);
  float *gradient = u->d_depthwise ? at->gradient[u->steps] : NULL;
  plane p = plane_in(b, u);
  shrink_kernels(u, at);
  memset(at->depthwise, 0, sizeof(float) * plane_space(&p));
#pragma omp for schedule(static)
  for (long c = 0; c < u->w_in; c++) {
    float *dx = from ? at->plane : b->dx ? b->dx + c * n : NULL;
    depthwise_backward(&p, view(b, from, c, u->relu_in), at->kernel[u->steps] + c * size,
                       u->hidden + c * n, dx, add_x, gradient ? gradient + c * size : NULL,
                       !u->steps && u->add_depthwise, at->depthwise);
    if (from) normalize_backward(from, c, dx);
  }
  if (gradient) shrink_kernels_backward(u, at);
}

/* The weight's and the inputs' gradients, from that in z. */
static void layer_backward(const block *b, const layer *u, float *base) {
  room at = room_of(b, u, base, omp_get_thread_num());
  long taps = u->kernel * u->kernel, strip = u->hidden ? u->height : u->strip;
  float *columns = u->hidden ? u->hidden : at.columns;
  convolution own = convolution_of(b, u);
  for (long first = 0; first < u->height; first += strip) {
    long end = min_of(first + strip, u->height), count = (end - first) * u->line;
    const float *dz = u->z + first * u->line;
    if (u->d_weight && !u->hidden)
#pragma omp for schedule(static)
      for (long r = 0; r < u->rows; r++)
        unfold(&own, r, first, end, columns + r * count, (float *)b->x, 0);
    if (u->d_weight)
      gemm(1, u->w_out, u->rows, count, (operand){dz, u->pixels, 1}, (operand){columns, count, 1},
           (target){u->d_weight, u->full_row, first || u->add_weight}, at.product);
    if (!before(b, u) && !b->dx && !u->d_depthwise) continue;
    /* the columns have been used: their own gradient takes their place */
    gemm(1, u->rows, count, u->w_out, (operand){u->weight, 1, u->full_row},
         (operand){dz, 1, u->pixels}, (target){columns, count}, at.product);
    if (u->hidden) depthwise_gradients(b, u, &at);
    else
#pragma omp for schedule(static)
      for (long c = 0; c < u->w_in; c++)
        for (long r = c * taps; r < (c + 1) * taps; r++)
          unfold(&own, r, first, end, columns + r * count, b->dx, 1);
  }
}
