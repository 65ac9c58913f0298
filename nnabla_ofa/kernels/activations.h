/* Activation functions and their slopes, a vector of values at a time. NaN goes through all of them. */

enum { PIECE = 4096 }; /* floats of a thread's turn */

/* In the order of activation.KINDS. */
enum { NONE, RELU, RELU6, SIGMOID, HARD_SIGMOID, SWISH, HARD_SWISH, GELU };

INLINE vec chosen(ints mask, vec yes, vec no) { return (vec)((mask & (ints)yes) | (~mask & (ints)no)); }
INLINE vec constant(float value) { return (vec){0} + value; }
INLINE vec at_least(vec x, float low) { return chosen(x < low, constant(low), x); }
INLINE vec at_most(vec x, float high) { return chosen(x > high, constant(high), x); }

/* e^x within 2e-7 relative: 2^n times a polynomial of the rest of x / ln 2. */
INLINE vec exp_of(vec x) {
  vec bounded = at_most(at_least(x, -87), 88), scaled = bounded * 1.44269504f;
  ints whole = __builtin_convertvector(scaled + chosen(scaled < 0, constant(-.5f), constant(.5f)), ints);
  vec n = __builtin_convertvector(whole, vec);
  vec r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  vec p = constant(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f, p = p * r + 8.3334519073e-3f, p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f, p = p * r + 5.0000001201e-1f;
  vec value = (p * r * r + r + 1) * (vec)((whole + 127) << 23);
  return chosen(x != x, x, value);
}
INLINE vec sigmoid_of(vec x) { return 1 / (1 + exp_of(-x)); }

/* tanh of GELU's argument, sqrt(2 / pi) (x + .044715 x^3): Hendrycks & Gimpel, arXiv 1606.08415. */
INLINE vec gelu_tanh(vec x) {
  return 2 * sigmoid_of(1.5957691216f * (x + 0.044715f * x * x * x)) - 1;
}

INLINE vec activated(vec x, const long kind) {
  switch (kind) {
    case RELU: return at_least(x, 0);
    case RELU6: return at_most(at_least(x, 0), 6);
    case SIGMOID: return sigmoid_of(x);
    case HARD_SIGMOID: return at_most(at_least(x + 3, 0), 6) * (1.0f / 6);
    case SWISH: return x * sigmoid_of(x);
    case HARD_SWISH: return x * (at_most(at_least(x + 3, 0), 6) * (1.0f / 6));
    case GELU: return 0.5f * x * (1 + gelu_tanh(x));
    default: return x;
  }
}

/* The derivative at x. */
INLINE vec slope_of(vec x, const long kind) {
  vec zero = {0}, one = constant(1);
  switch (kind) {
    case RELU: return chosen(x > 0, one, zero);
    case RELU6: return chosen((x > 0) & (x < 6), one, zero);
    case SIGMOID: { vec s = sigmoid_of(x); return s * (1 - s); }
    case HARD_SIGMOID: return chosen((x > -3) & (x < 3), constant(1.0f / 6), zero);
    case SWISH: { vec s = sigmoid_of(x); return s * (1 + x * (1 - s)); }
    case HARD_SWISH: return chosen(x < -3, zero, chosen(x > 3, one, x * (1.0f / 3) + 0.5f));
    case GELU: {
      vec t = gelu_tanh(x);
      return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * (0.7978845608f + 0.1070322243f * x * x);
    }
    default: return one;
  }
}

/* Runs `body` with a constant KIND, that of the function: a loop for each, none with a choice in it. */
#define FOR_KIND(kind, body) \
  switch (kind) { \
    case RELU: { const long KIND = RELU; (void)KIND; body; break; } \
    case RELU6: { const long KIND = RELU6; (void)KIND; body; break; } \
    case SIGMOID: { const long KIND = SIGMOID; (void)KIND; body; break; } \
    case HARD_SIGMOID: { const long KIND = HARD_SIGMOID; (void)KIND; body; break; } \
    case SWISH: { const long KIND = SWISH; (void)KIND; body; break; } \
    case HARD_SWISH: { const long KIND = HARD_SWISH; (void)KIND; body; break; } \
    case GELU: { const long KIND = GELU; (void)KIND; body; break; } \
    default: { const long KIND = NONE; (void)KIND; body; } \
  }

/* y = the function of x, n values. */
void activation_forward(long n, long kind, const float *x, float *y) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long from = 0; from < n; from += PIECE) {
    long end = min_of(from + PIECE, n);
    FOR_KIND(kind, for (long i = from; i < end; i += LANES)
                       store_part(y + i, activated(load_part(x + i, end - i), KIND), end - i))
  }
}

/* dx = slope at x times dy, added to dx where `add`. */
void activation_backward(long n, long kind, const float *x, const float *dy, float *dx, long add) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long from = 0; from < n; from += PIECE) {
    long end = min_of(from + PIECE, n);
    FOR_KIND(kind, for (long i = from; i < end; i += LANES) {
      long count = end - i;
      vec d = slope_of(load_part(x + i, count), KIND) * load_part(dy + i, count);
      store_part(dx + i, add ? d + load_part(dx + i, count) : d, count);
    })
  }
}
