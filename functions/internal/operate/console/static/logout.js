// Logging out: here first, and then at the identity provider, which leads back.
import { request } from './http.js';
import { toast } from './dom.js';

async function logOut() {
  try {
    const { to } = await request('POST', '/logout', {});
    location.assign(to);
  } catch (failure) {
    toast(`You are still logged in: ${failure.message}`, true);
    throw failure;
  }
}

// The button works once this script is there.
const button = document.getElementById('log-out');
if (button) {
  button.addEventListener('click', () => logOut().catch(() => {}));
  button.disabled = false;
}
