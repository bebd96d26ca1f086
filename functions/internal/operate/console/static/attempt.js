// Attempts: a request that must take effect once keeps its Idempotency-Key until its outcome is known, over retries, other
// pages and a reload. No answer does not mean that nothing happened.
import { request, newKey } from './http.js';

const pauses = [500, 1000, 2000, 4000]; // between tries

const stored = (form) => `orders.console.attempt.${form}`;

// pending returns what a form keeps about a request without an outcome, else null.
export const pending = (form) => JSON.parse(sessionStorage.getItem(stored(form)));
export const keep = (form, what) => sessionStorage.setItem(stored(form), JSON.stringify(what));
export const forget = (form) => sessionStorage.removeItem(stored(form));

// settled returns whether a failure means that the request was refused, and will not take effect.
export const settled = (failure) => failure.status >= 400 && failure.status < 500 && ![408, 425, 429].includes(failure.status);

// send tries a request under a key until its outcome is known, a few times; onRetry is called before each further try.
export async function send(method, path, body, key, onRetry = () => {}) {
  for (let n = 0; ; n++) {
    try {
      return await request(method, path, body, { 'Idempotency-Key': key });
    } catch (failure) {
      if (settled(failure) || n === pauses.length) throw failure;
      onRetry(failure);
      await new Promise((done) => { setTimeout(done, pauses[n]); });
    }
  }
}

// sendOnce sends the request of a form. If the outcome stays unknown, the same request later is another try of this one.
export async function sendOnce(form, method, path, body) {
  const text = JSON.stringify([method, path, body]);
  let attempt = pending(form);
  if (attempt?.text !== text) attempt = { text, key: newKey() };
  keep(form, attempt);
  try {
    const answer = await send(method, path, body, attempt.key);
    forget(form);
    return answer;
  } catch (failure) {
    if (settled(failure)) forget(form);
    else failure.message += '; it is not known whether it took effect. Sending the same again is safe.';
    throw failure;
  }
}
