/* The kernels under AddressSanitizer, every array an allocation of its exact size; `make asan`.
 * NNabla is absent: its caching allocator would hide what is written behind an array. The numbers
 * are the Python tests' business. */
#include "../../nnabla_ofa/kernels/fused.c"
#include <stdio.h>

static void *arrays[256];
static long count;

static float *new_array(long floats) {
  float *p = arrays[count++] = malloc(sizeof(float) * floats);
  for (long i = 0; i < floats; i++) p[i] = (i * 7919 % 101 - 50) / 50.0f;
  return p;
}

static layer new_layer(long in, long out, long spare, long kernel, long full, long stride, int unit,
                       int frozen) {
  long rows = unit ? in + spare : in * kernel * kernel, size = (out + spare) * rows;
  layer u = {.w_in = in, .w_out = out, .full_in = in + spare, .full_out = out + spare,
             .full_depthwise = unit ? in + spare : 0, .kernel = kernel, .full_kernel = full,
             .stride = stride, .steps = (full - kernel) / 2, .relu_in = 1};
  u.weight = new_array(size), u.gamma = new_array(u.full_out), u.beta = new_array(u.full_out);
  u.d_weight = new_array(size), u.d_gamma = new_array(u.full_out);
  u.d_beta = new_array(u.full_out);
  u.running_mean = new_array(u.full_out), u.running_variance = new_array(u.full_out);
  if (frozen) {
    float *packed = new_array(weight_size(out, rows));
    pack_weight(out, rows, u.weight, packed);
    u.weight = packed;
  }
  if (!unit) return u;
  u.depthwise = new_array(u.full_depthwise * full * full);
  u.d_depthwise = new_array(u.full_depthwise * full * full);
  for (int s = 0; s < u.steps; s++) {
    long k = full - 2 * s - 2;
    u.matrix[s] = new_array(k * k * k * k), u.d_matrix[s] = new_array(k * k * k * k);
  }
  return u;
}

/* units: 0 to 2; stride: of the skip convolution, 0 for an identity or nothing. */
static void run(long height, long width, long batch, long channels, long inner, long units,
                long kernel, long full, long stride, long skip_kernel, int frozen) {
  long spare = frozen ? 0 : 3, pool = units && stride == 2;
  layer layers[3], *next = layers;
  if (frozen) full = kernel;
  if (stride) *next++ = new_layer(channels, channels, 0, skip_kernel, skip_kernel, stride, 0, frozen);
  if (units == 2) *next++ = new_layer(channels, inner, spare, kernel, full, 1, 1, frozen);
  if (units) *next++ = new_layer(units == 2 ? inner : channels, channels, spare, kernel, full, 1, 1,
                                 frozen);
  block b = {.height = height, .width = width, .batch = batch, .skip = stride > 0,
             .count = next - layers, .pool = pool, .relu_out = !pool, .frozen = frozen,
             .eps = 1e-5, .decay = 0.9, .layers = layers};
  long floats = arrange(&b), in = channels * pixels_in(&b), out = channels * layers->pixels;
  b.x = new_array(in), b.y = new_array(out), b.dy = new_array(out), b.dx = new_array(in);
  if (!stride) b.residual = b.x, b.d_residual = b.dx;
  else if (!units) b.residual = new_array(out), b.d_residual = new_array(out);
  b.arena = new_array(floats);
  block_forward(&b);
  if (!frozen) block_backward(&b);
  while (count) free(arrays[--count]);
}

/* The functions outside blocks. */
static void run_outside(long height, long width, long batch, long channels, long kernel) {
  long n = channels * height * width * batch, weights = channels * kernel * kernel;
  float *x = new_array(n), *w = new_array(weights), *y = new_array(n), *dy = new_array(n);
  float *dx = new_array(n), *dw = new_array(weights), *s = new_array(channels * batch);
  depthwise_layer_forward(channels, height, width, batch, kernel, x, w, y);
  depthwise_layer_backward(channels, height, width, batch, kernel, x, w, dy, dx, 0, dw, 1);
  depthwise_layer_backward(channels, height, width, batch, kernel, x, w, dy, NULL, 0, dw, 0);
  hard_swish_forward(n, x, y), hard_swish_backward(n, x, dy, dx, 1);
  scale_forward(channels, height * width, batch, x, s, y);
  scale_backward(channels, height * width, batch, x, s, dy, dx, 0, new_array(channels * batch), 0);
  while (count) free(arrays[--count]);
}

int main(void) {
  static const long images[][3] = {{1, 1, 1}, {3, 2, 7}, {8, 8, 8}, {9, 5, 3}, {40, 33, 18}};
  for (threads = 1; threads <= 3; threads++)
    for (int i = 0; i < 5; i++)
      for (int frozen = 0; frozen < 2; frozen++)
        for (long kernel = 3; kernel <= 7; kernel += 2) {
          const long *s = images[i];
          run(s[0], s[1], s[2], 17, 9, 1, kernel, 7, 0, 1, frozen);
          run(s[0], s[1], s[2], 5, 33, 2, kernel, 7, 2, 1, frozen);
          run(s[0], s[1], s[2], 18, 2, 2, kernel, kernel, 0, 1, frozen);
          if (!frozen) run_outside(s[0], s[1], s[2], 5, kernel);
          run(s[0], s[1], s[2], 15, 0, 0, 3, 3, kernel == 3 ? 1 : 2, kernel == 5 ? 1 : 3, frozen);
        }
  run(2, 2, 3, 800, 40, 2, 3, 3, 0, 1, 0); /* several runs of k */
  float *x = new_array(33 * 50), *y = new_array(33 * 50);
  transpose(33, 50, x, y);
  while (count) free(arrays[--count]);
  free(workspace(1));
  puts("the sanitizers found nothing");
}
