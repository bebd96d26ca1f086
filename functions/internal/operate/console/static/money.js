// Amounts: the API has integers in minor units, people read and type major units.

// The digits of ISO 4217 after the decimal point, where they are not two. Those of Intl differ for some currencies.
const digits = Object.fromEntries([
  ...'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'.split(' ').map((c) => [c, 0]),
  ...'BHD IQD JOD KWD LYD OMR TND'.split(' ').map((c) => [c, 3]), ['CLF', 4], ['UYW', 4],
]);

export const digitsOf = (currency) => digits[currency] ?? 2;

// major writes minor units as a decimal number. It never divides: a double is too coarse for the largest amounts.
export function major(amount, currency) {
  const n = digitsOf(currency);
  const text = String(amount).padStart(n + 1, '0');
  return n === 0 ? text : `${text.slice(0, -n)}.${text.slice(-n)}`;
}

export function money(amount, currency) {
  const n = digitsOf(currency);
  return new Intl.NumberFormat('en', { style: 'currency', currency, minimumFractionDigits: n, maximumFractionDigits: n }).format(major(amount, currency));
}

// pricePattern is what a price in a currency looks like when it is typed.
export function pricePattern(currency) {
  const n = digitsOf(currency);
  return n === 0 ? '[0-9]{1,13}' : `[0-9]{1,13}([.,][0-9]{1,${n}})?`;
}

// minor reads a typed price that matches pricePattern.
export function minor(text, currency) {
  const [whole, part = ''] = text.trim().replace(',', '.').split('.');
  return Number(whole + part.padEnd(digitsOf(currency), '0'));
}
