/* Depthwise convolution on its own, outside a block: `same` padding, a channel at a time. */

/* x (channels, height, width, batch), weight (channels, kernel, kernel),
 * y (channels, ceil(height / stride), ceil(width / stride), batch). */
typedef struct { long channels, height, width, batch, kernel, stride; } depthwise_sizes;

/* A thread's part of a workspace; with a base of NULL it is only measured. */
static float *plane_of_thread(const plane *p, float *base, int thread, long *used) {
  space s = {base, 0};
  float *own = NULL;
  for (int i = 0; i <= thread; i++) own = take(&s, plane_space(p));
  *used = s.used;
  return own;
}

/* A workspace for every thread's plane. */
static float *line_planes(const plane *p) {
  long floats;
  plane_of_thread(p, NULL, threads - 1, &floats);
  return workspace(floats);
}

/* ---- a larger stride: each output pixel's window, a vector of images at a time ------------- */

static window window_at(const depthwise_sizes *d, long r, long q) {
  return window_of(d->height, d->width, d->kernel, d->stride, d->kernel / 2, r, q);
}

static void strided_forward(const depthwise_sizes *d, const float *x, const float *taps, float *y) {
  long rows = parts(d->height, d->stride), columns = parts(d->width, d->stride);
  for (long r = 0; r < rows; r++)
    for (long q = 0; q < columns; q++, y += d->batch) {
      window w = window_at(d, r, q);
      for (long n = 0; n < d->batch; n += LANES) {
        vec sum = {0};
        for (long i = w.top; i < w.bottom; i++)
          for (long j = w.left; j < w.right; j++)
            sum += taps[w.tap + (i - w.top) * d->kernel + j - w.left] *
                   load_part(x + (i * d->width + j) * d->batch + n, d->batch - n);
        store_part(y + n, sum, d->batch - n);
      }
    }
}

static void strided_input_gradient(const depthwise_sizes *d, const float *taps, const float *dy, float *dx) {
  long rows = parts(d->height, d->stride), columns = parts(d->width, d->stride);
  for (long r = 0; r < rows; r++)
    for (long q = 0; q < columns; q++, dy += d->batch) {
      window w = window_at(d, r, q);
      for (long n = 0; n < d->batch; n += LANES) {
        vec g = load_part(dy + n, d->batch - n);
        for (long i = w.top; i < w.bottom; i++)
          for (long j = w.left; j < w.right; j++) {
            float *to = dx + (i * d->width + j) * d->batch + n;
            vec value = load_part(to, d->batch - n) + taps[w.tap + (i - w.top) * d->kernel + j - w.left] * g;
            store_part(to, value, d->batch - n);
          }
      }
    }
}

static void strided_weight_gradient(const depthwise_sizes *d, const float *x, const float *dy, double *sum) {
  long rows = parts(d->height, d->stride), columns = parts(d->width, d->stride);
  for (long r = 0; r < rows; r++) {
    vec total[TAPS];
    for (long t = 0; t < d->kernel * d->kernel; t++) total[t] = (vec){0};
    for (long q = 0; q < columns; q++, dy += d->batch) {
      window w = window_at(d, r, q);
      for (long n = 0; n < d->batch; n += LANES) {
        vec g = load_part(dy + n, d->batch - n);
        for (long i = w.top; i < w.bottom; i++)
          for (long j = w.left; j < w.right; j++)
            total[w.tap + (i - w.top) * d->kernel + j - w.left] +=
                g * load_part(x + (i * d->width + j) * d->batch + n, d->batch - n);
      }
    }
    for (long t = 0; t < d->kernel * d->kernel; t++)
      for (int l = 0; l < LANES; l++) sum[t] += total[t][l];
  }
}

/* ---- a channel at a time ------------------------------------------------------------------ */

/* y = activation(y + bias), in cache. */
static void finish_channel(long n, float bias, long kind, float *y) {
  FOR_KIND(kind, for (long i = 0; i < n; i += LANES)
                     store_part(y + i, activated(load_part(y + i, n - i) + bias, KIND), n - i))
}

/* bias: NULL, or a number a channel, for inference; then the activation follows. */
void depthwise_layer_forward(const depthwise_sizes *d, const float *x, const float *weight, const float *bias,
                             long activation, float *y) {
  plane p = plane_of(d->height, d->width, d->batch, d->kernel);
  float *base = line_planes(&p);
  long n = d->height * p.row, out = parts(d->height, d->stride) * parts(d->width, d->stride) * d->batch;
#pragma omp parallel num_threads(threads)
  {
    long used, taps = d->kernel * d->kernel;
    float *own = plane_of_thread(&p, base, omp_get_thread_num(), &used);
    memset(own, 0, sizeof(float) * plane_space(&p)); /* the borders */
#pragma omp for schedule(static)
    for (long c = 0; c < d->channels; c++) {
      if (d->stride > 1) strided_forward(d, x + c * n, weight + c * taps, y + c * out);
      else
        for (long first = 0; first < d->height; first += p.strip)
          depthwise_forward(&p, (channel){x + c * n, 0, 1, 0, -INFINITY}, weight + c * taps, first,
                            min_of(first + p.strip, d->height), y + c * n + first * p.row, own);
      if (bias) finish_channel(out, bias[c], activation, y + c * out);
    }
  }
}

static void strided_backward(const depthwise_sizes *d, const float *x, const float *taps, const float *dy,
                             float *dx, long add_x, float *d_taps, long add_taps) {
  double sum[TAPS] = {0};
  if (d_taps) strided_weight_gradient(d, x, dy, sum);
  for (long t = 0; d_taps && t < d->kernel * d->kernel; t++)
    d_taps[t] = (add_taps ? d_taps[t] : 0) + (float)sum[t];
  if (!dx) return;
  if (!add_x) memset(dx, 0, sizeof(float) * d->height * d->width * d->batch);
  strided_input_gradient(d, taps, dy, dx);
}

/* dx and dweight, either NULL where it is not wanted; added to where `add_x`, `add_weight`. */
void depthwise_layer_backward(const depthwise_sizes *d, const float *x, const float *weight, const float *dy,
                              float *dx, long add_x, float *dweight, long add_weight) {
  plane p = plane_of(d->height, d->width, d->batch, d->kernel);
  float *base = line_planes(&p);
  long n = d->height * p.row, taps = d->kernel * d->kernel;
  long out = parts(d->height, d->stride) * parts(d->width, d->stride) * d->batch;
#pragma omp parallel num_threads(threads)
  {
    long used;
    float *own = plane_of_thread(&p, base, omp_get_thread_num(), &used);
    memset(own, 0, sizeof(float) * plane_space(&p));
#pragma omp for schedule(static)
    for (long c = 0; c < d->channels; c++) {
      float *to = dx ? dx + c * n : NULL, *d_taps = dweight ? dweight + c * taps : NULL;
      if (d->stride > 1)
        strided_backward(d, x + c * n, weight + c * taps, dy + c * out, to, add_x, d_taps, add_weight);
      else
        depthwise_backward(&p, (channel){x + c * n, 0, 1, 0, -INFINITY}, weight + c * taps, dy + c * n, to,
                           add_x, d_taps, add_weight, own);
    }
  }
}
