/* Functions of single values, and channels times factors, outside a block. */

/* h-swish, x min(max(x + 3, 0), 6) / 6; and its gradient, added to dx where `add`. */
void hard_swish_forward(long n, const float *x, float *y) {
#pragma omp parallel for simd schedule(static) num_threads(threads)
  for (long i = 0; i < n; i++) {
    float gate = x[i] + 3;
    gate = gate < 0 ? 0 : gate > 6 ? 6 : gate;
    y[i] = x[i] * gate * (1.0f / 6);
  }
}

void hard_swish_backward(long n, const float *x, const float *dy, float *dx, long add) {
#pragma omp parallel for simd schedule(static) num_threads(threads)
  for (long i = 0; i < n; i++) {
    float slope = x[i] * (1.0f / 3) + 0.5f;
    slope = x[i] < -3 ? 0 : x[i] > 3 ? 1 : slope;
    dx[i] = slope * dy[i] + (add ? dx[i] : 0);
  }
}

/* y (channels, pixels, batch) = x times factors (channels, batch). */
void scale_forward(long channels, long pixels, long batch, const float *x, const float *factors,
                   float *y) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long c = 0; c < channels; c++)
    for (long p = 0; p < pixels; p++) {
      long at = (c * pixels + p) * batch;
      for (long i = 0; i < batch; i++) y[at + i] = x[at + i] * factors[c * batch + i];
    }
}

/* dx and dfactors, either NULL where it is not wanted; added to where `add_x`, `add_factors`. */
void scale_backward(long channels, long pixels, long batch, const float *x, const float *factors,
                    const float *dy, float *dx, long add_x, float *dfactors, long add_factors) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long c = 0; c < channels; c++) {
    const float *own = factors + c * batch;
    float *sum = dfactors ? dfactors + c * batch : NULL;
    if (sum && !add_factors) memset(sum, 0, sizeof(float) * batch);
    for (long p = 0; p < pixels; p++) {
      long at = (c * pixels + p) * batch;
      if (sum)
        for (long i = 0; i < batch; i++) sum[i] += x[at + i] * dy[at + i];
      if (dx)
        for (long i = 0; i < batch; i++)
          dx[at + i] = own[i] * dy[at + i] + (add_x ? dx[at + i] : 0);
    }
  }
}
