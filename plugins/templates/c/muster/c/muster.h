// What a price in C needs besides the bindings: exact arithmetic, texts, errors.
#pragma once
#include "pricing.h"

// Microseconds in one hour.
#define MUSTER_HOUR INT64_C(3600000000)

typedef exports_muster_plugin_tariff_plugin_error_t muster_error_t;

// What `elapsed` microseconds cost: unit_price x quantity x part / (one hour x whole), exact in between, a half to the
// even neighbour. False when a number is negative, or the amount is 2^53 nano-credits or more.
bool muster_cost(int64_t unit_price, uint32_t quantity, uint32_t part, uint32_t whole, int64_t elapsed, int64_t *amount);

// What one record costs when its segment costs `muster_cost(.., elapsed)` in all: R(to) - R(from), so that intervals
// add up however they are cut. False when its times are out of order, too.
bool muster_charge(const exports_muster_plugin_tariff_usage_record_t *record, int64_t unit_price, uint32_t part,
                   uint32_t whole, int64_t *amount);

// A text of its own memory, as the bindings want it.
pricing_string_t muster_text(const char *text);

// Fills an error; always false, to be returned.
bool muster_refuse(muster_error_t *error, const char *code, const char *message);

// Writes a line to the log.
void muster_log(muster_plugin_log_level_t level, const char *message);
