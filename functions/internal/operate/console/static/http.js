// Requests.

// Failure is an error answer, or no answer at all; its message is for people.
export class Failure extends Error {
  constructor(status, problem) {
    const fields = (problem.errors ?? []).map((e) => `${e.field} ${e.detail}`).join('; ');
    super(fields || problem.detail || problem.title || `the server answered ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

// answerWithin is longer than the API may take, so that no answer means that the harness hangs.
const answerWithin = 30_000;

export async function request(method, path, body, headers = {}) {
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? headers : { 'Content-Type': 'application/json', ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(answerWithin),
    });
    text = await response.text();
  } catch {
    throw new Failure(0, { detail: 'the harness does not answer' });
  }
  let value = {};
  try {
    value = text ? JSON.parse(text) : {};
  } catch {
    value = { detail: text };
  }
  if (response.status === 401) dispatchEvent(new Event('logged-out'));
  if (!response.ok) throw new Failure(response.status, value);
  return value;
}

// load gets something that a page needs, again until it is there; null if the page is left meanwhile, by its element, or the
// session has ended.
export async function load(path, element) {
  for (;;) {
    let over = false;
    const value = await request('GET', path).catch((failure) => {
      over = failure.status === 401;
      return null;
    });
    if (over || !element.isConnected) return null;
    if (value) return value;
    await new Promise((done) => { setTimeout(done, 1000); });
  }
}

// The syntax of a SKU, as in the API.
export const skuPattern = '(?!\\.{1,2}$)[A-Za-z0-9._\\-]{1,64}';
export const skuTitle = '1 to 64 of A-Z, a-z, 0-9, dot, underscore and hyphen, and not . or ..';

export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
