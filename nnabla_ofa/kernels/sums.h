/* Sums over a channel, for batch normalization and its gradients. */

enum { RUN = 512 }; /* float sums of this many terms are gathered in double precision */

typedef struct { double plain, product; } sums;

/* Sums of b and of (a - shift) * b; where it is NULL, b is a - shift. */
static sums sums_of(const float *a, float shift, const float *b, long n) {
  sums total = {0, 0};
  for (long i = 0; i < n; i += RUN) {
    float plain = 0, product = 0;
    long end = min_of(i + RUN, n);
    if (b)
#pragma omp simd reduction(+ : plain, product)
      for (long j = i; j < end; j++) plain += b[j], product += (a[j] - shift) * b[j];
    else
#pragma omp simd reduction(+ : plain, product)
      for (long j = i; j < end; j++)
        plain += a[j] - shift, product += (a[j] - shift) * (a[j] - shift);
    total.plain += plain, total.product += product;
  }
  return total;
}
