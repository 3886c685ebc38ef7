// Exact arithmetic, and the little of a standard library that a plugin without one needs.
#include "muster.h"
#include <stdlib.h>
#include <string.h>

// Numbers of 192 bits, in pieces of 16, the lowest first.
#define PIECES 12
typedef struct { uint32_t piece[PIECES]; } wide_t;

static bool wide_times(wide_t *number, uint64_t factor) {
  wide_t product = {{0}};
  for (int f = 0; f < 4; f++) {
    uint64_t digit = factor >> (16 * f) & 0xffff, carry = 0;
    for (int n = 0; n + f < PIECES; n++) {
      uint64_t sum = product.piece[n + f] + number->piece[n] * digit + carry;
      product.piece[n + f] = (uint32_t)(sum & 0xffff);
      carry = sum >> 16;
    }
    if (carry) return false;
    for (int n = PIECES - f; digit && n < PIECES; n++) {
      if (number->piece[n]) return false;
    }
  }
  *number = product;
  return true;
}

bool muster_cost(int64_t unit_price, uint32_t quantity, uint32_t part, uint32_t whole, int64_t elapsed, int64_t *amount) {
  if (unit_price < 0 || elapsed < 0 || whole == 0 || whole > 100000) return false;
  wide_t product = {{1}};
  if (!wide_times(&product, (uint64_t)unit_price) || !wide_times(&product, quantity) || !wide_times(&product, part) ||
      !wide_times(&product, (uint64_t)elapsed))
    return false;
  // Below 2^49, so that the remainder and one more piece stay below 2^65 / 2.
  uint64_t unit = (uint64_t)MUSTER_HOUR * whole, rest = 0, quotient = 0;
  for (int n = PIECES - 1; n >= 0; n--) {
    rest = rest << 15 | product.piece[n] >> 1;
    uint64_t digit = rest / unit;
    rest = (rest % unit) << 1 | (product.piece[n] & 1);
    digit = digit << 1 | rest / unit;
    rest %= unit;
    if (quotient >> 37) return false;
    quotient = quotient << 16 | digit;
  }
  if (rest * 2 > unit || (rest * 2 == unit && quotient % 2 == 1)) quotient++;
  if (quotient >= UINT64_C(1) << 53) return false;
  *amount = (int64_t)quotient;
  return true;
}

bool muster_charge(const exports_muster_plugin_tariff_usage_record_t *record, int64_t unit_price, uint32_t part,
                   uint32_t whole, int64_t *amount) {
  int64_t from, to, start = record->segment_start, before, after;
  if (__builtin_sub_overflow(record->from, start, &from) || __builtin_sub_overflow(record->to, start, &to)) return false;
  if (from < 0 || from >= to) return false;
  if (!muster_cost(unit_price, record->quantity, part, whole, from, &before) ||
      !muster_cost(unit_price, record->quantity, part, whole, to, &after))
    return false;
  *amount = after - before;
  return true;
}

pricing_string_t muster_text(const char *text) {
  pricing_string_t made = {malloc(strlen(text)), strlen(text)};
  memcpy(made.ptr, text, made.len);
  return made;
}

bool muster_refuse(muster_error_t *error, const char *code, const char *message) {
  error->code = muster_text(code);
  error->message = muster_text(message);
  return false;
}

void muster_log(muster_plugin_log_level_t level, const char *message) {
  pricing_string_t text = muster_text(message);
  muster_plugin_log_emit(level, &text);
}

// Memory is only ever taken: every call of the server meets a fresh instance.
extern unsigned char __heap_base;
static size_t next;

void *malloc(size_t size) {
  if (!next) next = (size_t)&__heap_base;
  size_t at = (next + 15) & ~(size_t)15, have = __builtin_wasm_memory_size(0) << 16;
  if (size > SIZE_MAX - 65536 - at) abort();
  next = at + size;
  if (next > have && __builtin_wasm_memory_grow(0, (next - have + 65535) >> 16) == SIZE_MAX) abort();
  return (void *)at;
}

void *realloc(void *old, size_t size) {
  unsigned char *fresh = malloc(size);
  // What lies behind the old piece is read with it; it is memory all the same.
  for (size_t n = 0; old && n < size; n++) fresh[n] = ((unsigned char *)old)[n];
  return fresh;
}

void free(void *memory) { (void)memory; }

void abort(void) { __builtin_trap(); }

void *memcpy(void *to, const void *from, size_t size) {
  for (size_t n = 0; n < size; n++) ((unsigned char *)to)[n] = ((const unsigned char *)from)[n];
  return to;
}

void *memset(void *to, int byte, size_t size) {
  for (size_t n = 0; n < size; n++) ((unsigned char *)to)[n] = (unsigned char)byte;
  return to;
}

int memcmp(const void *one, const void *other, size_t size) {
  const unsigned char *a = one, *b = other;
  for (size_t n = 0; n < size; n++) {
    if (a[n] != b[n]) return a[n] - b[n];
  }
  return 0;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length]) length++;
  return length;
}

// The bindings ask for an object file with the world's description; `muster plugin build` puts the description in.
void __component_type_object_force_link_pricing(void) {}
