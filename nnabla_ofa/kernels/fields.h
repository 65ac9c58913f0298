/* The structures' fields as they lie in memory: name, bytes from the start, bytes. The tests compare
 * them with Python's. A name of NULL ends a table. A field that is missing here leaves a gap, which
 * the tests find, too. */
typedef struct { const char *name; long offset, size; } field;
#define FIELD(owner, name) {#name, offsetof(owner, name), sizeof(((owner *)0)->name)}
#define L(name) FIELD(layer, name)
#define B(name) FIELD(block, name)
const field layer_fields[] = {
  L(w_in), L(w_out), L(full_in), L(full_out), L(full_depthwise),
  L(kernel), L(full_kernel), L(stride), L(steps), L(relu_in),
  L(depthwise), L(matrix), L(weight), L(gamma), L(beta),
  L(d_depthwise), L(d_matrix), L(d_weight), L(d_gamma), L(d_beta),
  L(add_depthwise), L(add_matrix), L(add_weight), L(add_gamma), L(add_beta),
  L(running_mean), L(running_variance),
  L(rows), L(full_row), L(height), L(line), L(pixels), L(strip),
  L(mean), L(variance), L(inverse), L(hidden), L(z), {NULL, sizeof(layer), 0}};
const field block_fields[] = {
  B(height), B(width), B(batch), B(skip), B(count),
  B(pool), B(relu_out), B(frozen), B(add_x), B(add_residual), B(eps), B(decay),
  B(layers), B(order), B(x), B(residual), B(dy), B(y), B(dx), B(d_residual), B(arena), B(winner),
  {NULL, sizeof(block), 0}};
#undef L
#undef B
#define C(name) FIELD(convolution, name)
#define N(name) FIELD(normalization, name)
#define P(name) FIELD(pooling, name)
const field convolution_fields[] = {
  C(height), C(width), C(batch), C(groups), C(w_in), C(w_out), C(full_in), C(full_out), C(kernel),
  C(stride), C(pad), C(activation), C(add_x), C(add_weight), C(add_bias), C(x), C(weight), C(bias),
  C(packed), C(residual), C(dy), C(y), C(dx), C(d_weight), C(d_bias), C(out_height), C(out_width),
  {NULL, sizeof(convolution), 0}};
const field normalization_fields[] = {
  N(channels), N(full), N(pixels), N(fixed), N(activation), N(add_z), N(add_residual), N(add_gamma),
  N(add_beta), N(eps), N(decay), N(z), N(gamma), N(beta), N(residual), N(mean), N(variance),
  N(running_mean), N(running_variance), N(dy), N(y), N(dz), N(d_residual), N(d_gamma), N(d_beta),
  {NULL, sizeof(normalization), 0}};
const field pooling_fields[] = {
  P(channels), P(height), P(width), P(batch), P(kernel), P(stride), P(pad), P(mean), P(out_height),
  P(out_width), P(add), P(x), P(dy), P(y), P(dx), {NULL, sizeof(pooling), 0}};
#undef C
#undef N
#undef P
