/* y (n, out) = x (n, in) times the first rows of the weight (full, out), + bias. */

void affine_forward(long n, long in, long out, const float *x, const float *weight, const float *bias,
                    float *y) {
  float *base = workspace(gemm_space(1, n, in));
#pragma omp parallel num_threads(threads)
  {
#pragma omp for schedule(static)
    for (long i = 0; i < n; i++)
      for (long o = 0; o < out; o++) y[i * out + o] = bias ? bias[o] : 0;
    gemm(1, n, out, in, (operand){x, in, 1}, (operand){weight, 1, out},
         (target){.c = y, .stride = out, .add = 1}, base);
  }
}

/* Gradients of x, the weight and the bias, NULL where they are not wanted; added to where `add` says so. */
void affine_backward(long n, long in, long full, long out, const float *x, const float *weight,
                     const float *dy, float *dx, float *d_weight, float *d_bias, const long *add) {
  float *base = workspace(gemm_space(1, max_of(n, in), max_of(n, out)));
#pragma omp parallel num_threads(threads)
  {
    if (dx)
      gemm(1, n, in, out, (operand){dy, out, 1}, (operand){weight, out, 1},
           (target){.c = dx, .stride = in, .add = add[0]}, base);
    if (d_weight)
      gemm(1, in, out, n, (operand){x, 1, in}, (operand){dy, 1, out},
           (target){.c = d_weight, .stride = out, .add = add[1]}, base);
    zero_outside(d_weight, add[1], in, out, full, out);
    if (d_bias)
#pragma omp for schedule(static)
      for (long o = 0; o < out; o++) {
        double sum = 0;
        for (long i = 0; i < n; i++) sum += dy[i * out + o];
        d_bias[o] = sum + (add[2] ? d_bias[o] : 0);
      }
  }
}
