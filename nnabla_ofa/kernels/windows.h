/* Pooling outside a block: the largest, or the mean, of every window; beyond the image nothing wins, and
 * zeros are counted. */

/* layout.PoolingStruct has the same fields; `pooling_fields` lists them. */
typedef struct {
  long channels, height, width, batch;     /* of x */
  long kernel, stride, pad, mean;
  long out_height, out_width, add;         /* whether dx is added to */
  const float *x, *dy;
  float *y, *dx;
} pooling;

/* The mean, or the largest value (NaN wins), of images n to n + count of a window. */
INLINE vec pooled(const pooling *p, window w, const float *x, long n, long count) {
  vec sum = {0}, best = constant(-INFINITY);
  for (long i = w.top; i < w.bottom; i++)
    for (long j = w.left; j < w.right; j++) {
      vec value = load_part(x + (i * p->width + j) * p->batch + n, count);
      if (p->mean) sum += value;
      else best = chosen((value > best) | (value != value), value, best);
    }
  return p->mean ? sum * (1.0f / (p->kernel * p->kernel)) : best;
}

/* Adds the gradient of a window to those of its values: of a maximum to the first that equals it. */
INLINE void pooled_back(const pooling *p, window w, const float *x, float *dx, vec dy, vec best, long n,
                        long count) {
  ints left = (ints){0} - 1;
  for (long i = w.top; i < w.bottom; i++)
    for (long j = w.left; j < w.right; j++) {
      long at = (i * p->width + j) * p->batch + n;
      vec given = dy;
      if (!p->mean) {
        vec value = load_part(x + at, count);
        ints wins = left & ((value == best) | ((value != value) & (best != best)));
        given = (vec)((ints)dy & wins), left &= ~wins;
      }
      store_part(dx + at, load_part(dx + at, count) + given, count);
    }
}

void pooling_forward(const pooling *p) {
  long n_in = p->height * p->width * p->batch, pixels = p->out_height * p->out_width;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long c = 0; c < p->channels; c++)
    for (long q = 0; q < pixels; q++) {
      window w = window_of(p->height, p->width, p->kernel, p->stride, p->pad, q / p->out_width,
                           q % p->out_width);
      float *y = p->y + (c * pixels + q) * p->batch;
      for (long n = 0; n < p->batch; n += LANES)
        store_part(y + n, pooled(p, w, p->x + c * n_in, n, p->batch - n), p->batch - n);
    }
}

void pooling_backward(const pooling *p) {
  long n_in = p->height * p->width * p->batch, pixels = p->out_height * p->out_width;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long c = 0; c < p->channels; c++) {
    const float *x = p->mean ? NULL : p->x + c * n_in;
    float *dx = p->dx + c * n_in;
    if (!p->add) memset(dx, 0, sizeof(float) * n_in);
    for (long q = 0; q < pixels; q++) {
      window w = window_of(p->height, p->width, p->kernel, p->stride, p->pad, q / p->out_width,
                           q % p->out_width);
      const float *dy = p->dy + (c * pixels + q) * p->batch;
      for (long n = 0; n < p->batch; n += LANES) {
        long count = p->batch - n;
        vec g = load_part(dy + n, count);
        if (p->mean) pooled_back(p, w, x, dx, g * (1.0f / (p->kernel * p->kernel)), g, n, count);
        else pooled_back(p, w, x, dx, g, pooled(p, w, x, n, count), n, count);
      }
    }
  }
}
