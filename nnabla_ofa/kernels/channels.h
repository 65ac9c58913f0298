/* Channels (pixels, batch) times factors, and their means, outside a block. */

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

/* Channel j of y (count, floats) is channel order[j] of x. */
void select_forward(long count, long floats, const int *order, const float *x, float *y) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long j = 0; j < count; j++) memcpy(y + j * floats, x + order[j] * floats, sizeof(float) * floats);
}

/* The gradient of x (channels, floats). No channel is selected twice; unless `add`, others get 0. */
void select_backward(long channels, long count, long floats, const int *order, const float *dy, float *dx,
                     long add) {
#pragma omp parallel num_threads(threads)
  {
    if (!add && count < channels)
#pragma omp for schedule(static)
      for (long c = 0; c < channels; c++) memset(dx + c * floats, 0, sizeof(float) * floats);
#pragma omp for schedule(static)
    for (long j = 0; j < count; j++) {
      const float *from = dy + j * floats;
      float *to = dx + order[j] * floats;
      if (add) for (long i = 0; i < floats; i++) to[i] += from[i];
      else memcpy(to, from, sizeof(float) * floats);
    }
  }
}

/* y (channels, batch) = the mean over the pixels. */
void mean_forward(long channels, long pixels, long batch, const float *x, float *y) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long c = 0; c < channels; c++) {
    float *sum = y + c * batch;
    memset(sum, 0, sizeof(float) * batch);
    for (long p = 0; p < pixels; p++)
      for (long i = 0; i < batch; i++) sum[i] += x[(c * pixels + p) * batch + i];
    for (long i = 0; i < batch; i++) sum[i] *= 1.0f / pixels;
  }
}

void mean_backward(long channels, long pixels, long batch, const float *dy, float *dx, long add) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long c = 0; c < channels; c++)
    for (long p = 0; p < pixels; p++) {
      float *to = dx + (c * pixels + p) * batch;
      for (long i = 0; i < batch; i++)
        to[i] = dy[c * batch + i] * (1.0f / pixels) + (add ? to[i] : 0);
    }
}

/* (N, pixels) to (pixels, N), a line of cache of each image at a time. */
void transpose(long images, long pixels, const float *x, float *y) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long p = 0; p < pixels; p += 16)
    for (long i = 0; i < images; i++)
      for (long k = p; k < min_of(p + 16, pixels); k++) y[k * images + i] = x[i * pixels + k];
}
