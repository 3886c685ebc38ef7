// A percentage of the list price.
//
// Every call meets a fresh instance. Whole numbers of 64 bits are BigInt: prices are nano-credits, times microseconds.

const HOUR = 3_600_000_000n;
const LIMIT = 1n << 53n;

function refuse(code, message) {
  throw { code, message };
}

// Reads the configuration. What it does not know it refuses, so that no typing error costs money.
function percentOf(context) {
  let config;
  try {
    config = JSON.parse(context.config);
  } catch {
    config = null;
  }
  const known = config !== null && typeof config === "object" && Object.keys(config).join() === "percent";
  if (!known || !Number.isInteger(config.percent) || config.percent < 0 || config.percent > 100)
    refuse("bad-config", 'expected {"percent": 0 to 100}');
  return BigInt(config.percent);
}

// Hundredths of nano-credits that units cost for an hour.
function perHour(context, sku, quantity, percent) {
  if (sku >= context.skus.length) refuse("bad-input", `there is no sku ${sku}`);
  return context.skus[sku].unitPrice * BigInt(quantity) * percent;
}

// What microseconds cost, a half to the even neighbour.
function prorate(hundredths, elapsed) {
  const unit = 100n * HOUR;
  let whole = (hundredths * elapsed) / unit;
  const rest = (hundredths * elapsed) % unit;
  if (rest * 2n > unit || (rest * 2n === unit && whole % 2n === 1n)) whole += 1n;
  if (whole >= LIMIT) refuse("bad-input", "the amount is not below 2^53 nano-credits");
  return whole;
}

export const tariff = {
  // What use costs. Each record is an interval of a segment, and costs R(to) - R(from), where R is what the segment has
  // cost since its start: so the intervals add up, however they are cut.
  rate(context, records) {
    const percent = percentOf(context);
    const charges = records.map((use, record) => {
      const price = perHour(context, use.sku, use.quantity, percent);
      if (!(use.segmentStart <= use.from && use.from < use.to))
        refuse("bad-input", "a record's times are not in the order segment-start, from, to");
      const amount = prorate(price, use.to - use.segmentStart) - prorate(price, use.from - use.segmentStart);
      return { record, line: 0, amount };
    });
    return { lines: ["usage"], charges };
  },

  // What an hour will cost at most. Credits are held for it, and a charge above it is not taken.
  quote(context, planned) {
    const percent = percentOf(context);
    return planned.map((use) => prorate(perHour(context, use.sku, use.quantity, percent), HOUR));
  },
};
