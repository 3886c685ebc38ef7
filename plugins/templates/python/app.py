"""A percentage of the list price.

Every call meets a fresh instance, numbers are whole: prices are nano-credits, times are microseconds.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import Charge, PluginError, RateOutput

HOUR = 3_600_000_000
LIMIT = 1 << 53


def percent_of(context):
    """Reads the configuration. What it does not know it refuses, so that no typing error costs money."""
    refused = Err(PluginError("bad-config", 'expected {"percent": 0 to 100}'))
    try:
        config = json.loads(context.config)
    except ValueError:
        raise refused
    if not isinstance(config, dict) or set(config) != {"percent"}:
        raise refused
    percent = config["percent"]
    if type(percent) is not int or not 0 <= percent <= 100:
        raise refused
    return percent


def per_hour(context, sku, quantity, percent):
    """Hundredths of nano-credits that units cost for an hour."""
    if sku >= len(context.skus):
        raise Err(PluginError("bad-input", f"there is no sku {sku}"))
    return context.skus[sku].unit_price * quantity * percent


def prorate(hundredths, elapsed):
    """What microseconds cost, a half to the even neighbour."""
    whole, rest = divmod(hundredths * elapsed, 100 * HOUR)
    if rest * 2 > 100 * HOUR or (rest * 2 == 100 * HOUR and whole % 2 == 1):
        whole += 1
    if whole >= LIMIT:
        raise Err(PluginError("bad-input", "the amount is not below 2^53 nano-credits"))
    return whole


class Tariff(exports.Tariff):
    def rate(self, context, records):
        """What use costs. Each record is an interval of a segment, and costs R(to) - R(from), where R is what the
        segment has cost since its start: so the intervals add up, however they are cut."""
        percent = percent_of(context)
        charges = []
        for number, use in enumerate(records):
            price = per_hour(context, use.sku, use.quantity, percent)
            if not use.segment_start <= use.from_ < use.to:
                raise Err(PluginError("bad-input", "a record's times are not in the order segment-start, from, to"))
            total = prorate(price, use.to - use.segment_start) - prorate(price, use.from_ - use.segment_start)
            charges.append(Charge(number, 0, total))
        return RateOutput(["usage"], charges)

    def quote(self, context, planned):
        """What an hour will cost at most. Credits are held for it, and a charge above it is not taken."""
        percent = percent_of(context)
        return [prorate(per_hour(context, use.sku, use.quantity, percent), HOUR) for use in planned]
