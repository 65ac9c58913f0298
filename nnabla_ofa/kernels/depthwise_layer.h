/* Depthwise convolution on its own, outside a block: stride 1, `same` padding, a channel at a time. */

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

/* x, y (channels, height, width, batch), weight (channels, kernel, kernel). */
void depthwise_layer_forward(long channels, long height, long width, long batch, long kernel,
                             const float *x, const float *weight, float *y) {
  plane p = plane_of(height, width, batch, kernel);
  float *base = line_planes(&p);
  long n = height * p.row;
#pragma omp parallel num_threads(threads)
  {
    long used;
    float *own = plane_of_thread(&p, base, omp_get_thread_num(), &used);
    memset(own, 0, sizeof(float) * plane_space(&p)); /* the borders */
#pragma omp for schedule(static)
    for (long c = 0; c < channels; c++)
      for (long first = 0; first < height; first += p.strip)
        depthwise_forward(&p, (channel){x + c * n, 0, 1, 0, -INFINITY}, weight + c * kernel * kernel,
                          first, min_of(first + p.strip, height), y + c * n + first * p.row, own);
  }
}

/* dx and dweight, either NULL where it is not wanted; added to where `add_x`, `add_weight`. */
void depthwise_layer_backward(long channels, long height, long width, long batch, long kernel,
                              const float *x, const float *weight, const float *dy, float *dx, long add_x,
                              float *dweight, long add_weight) {
  plane p = plane_of(height, width, batch, kernel);
  float *base = line_planes(&p);
  long n = height * p.row, taps = kernel * kernel;
#pragma omp parallel num_threads(threads)
  {
    long used;
    float *own = plane_of_thread(&p, base, omp_get_thread_num(), &used);
    memset(own, 0, sizeof(float) * plane_space(&p));
#pragma omp for schedule(static)
    for (long c = 0; c < channels; c++)
      depthwise_backward(&p, (channel){x + c * n, 0, 1, 0, -INFINITY}, weight + c * taps, dy + c * n,
                         dx ? dx + c * n : NULL, add_x, dweight ? dweight + c * taps : NULL, add_weight,
                         own);
  }
}
