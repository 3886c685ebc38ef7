// A percentage of the list price.
#include "muster.h"
#include <stdlib.h>
#include <string.h>

typedef exports_muster_plugin_tariff_rate_context_t context_t;

static bool bad_config(muster_error_t *error) {
  return muster_refuse(error, "bad-config", "expected {\"percent\": 0 to 100}");
}

static void skip(pricing_string_t *text) {
  while (text->len && (*text->ptr == ' ' || *text->ptr == '\n' || *text->ptr == '\t' || *text->ptr == '\r')) {
    text->ptr++;
    text->len--;
  }
}

static bool take(pricing_string_t *text, const char *word) {
  skip(text);
  size_t length = strlen(word);
  if (text->len < length || memcmp(text->ptr, word, length) != 0) return false;
  text->ptr += length;
  text->len -= length;
  return true;
}

// Reads the configuration. What it does not know it refuses, so that no typing error costs money.
static bool config_read(const context_t *context, uint32_t *percent, muster_error_t *error) {
  pricing_string_t text = context->config;
  if (!take(&text, "{") || !take(&text, "\"percent\"") || !take(&text, ":")) return bad_config(error);
  skip(&text);
  size_t digits = 0;
  *percent = 0;
  for (; text.len && *text.ptr >= '0' && *text.ptr <= '9' && digits < 4; digits++, text.ptr++, text.len--)
    *percent = *percent * 10 + (uint32_t)(*text.ptr - '0');
  if (digits == 0 || *percent > 100 || !take(&text, "}")) return bad_config(error);
  skip(&text);
  return text.len == 0 || bad_config(error);
}

static bool bad_input(muster_error_t *error) {
  return muster_refuse(error, "bad-input", "an unknown sku, times out of order, or 2^53 nano-credits and more");
}

// What use costs. Each record is an interval of a segment.
bool exports_muster_plugin_tariff_rate(context_t *context, exports_muster_plugin_tariff_list_usage_record_t *records,
                                       exports_muster_plugin_tariff_rate_output_t *ret, muster_error_t *error) {
  uint32_t percent;
  if (!config_read(context, &percent, error)) return false;
  ret->lines.len = 1;
  ret->lines.ptr = malloc(sizeof(*ret->lines.ptr));
  ret->lines.ptr[0] = muster_text("usage");
  ret->charges.len = records->len;
  ret->charges.ptr = malloc(records->len * sizeof(*ret->charges.ptr));
  for (size_t n = 0; n < records->len; n++) {
    exports_muster_plugin_tariff_usage_record_t *usage = &records->ptr[n];
    muster_plugin_types_charge_t *charge = &ret->charges.ptr[n];
    charge->record = (uint32_t)n;
    charge->line = 0;
    if (usage->sku >= context->skus.len ||
        !muster_charge(usage, context->skus.ptr[usage->sku].unit_price, percent, 100, &charge->amount))
      return bad_input(error);
  }
  return true;
}

// What an hour will cost at most. Credits are held for it, and a charge above it is not taken.
bool exports_muster_plugin_tariff_quote(context_t *context, exports_muster_plugin_tariff_list_planned_use_t *planned,
                                        exports_muster_plugin_tariff_list_nano_credits_t *ret, muster_error_t *error) {
  uint32_t percent;
  if (!config_read(context, &percent, error)) return false;
  ret->len = planned->len;
  ret->ptr = malloc(planned->len * sizeof(*ret->ptr));
  for (size_t n = 0; n < planned->len; n++) {
    exports_muster_plugin_tariff_planned_use_t *use = &planned->ptr[n];
    if (use->sku >= context->skus.len || !muster_cost(context->skus.ptr[use->sku].unit_price, use->quantity, percent,
                                                      100, MUSTER_HOUR, &ret->ptr[n]))
      return bad_input(error);
  }
  return true;
}
