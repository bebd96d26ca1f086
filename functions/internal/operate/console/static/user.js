// User: who is logged in, if people log in here at all.
import { h, put } from './dom.js';
import { stop } from './live.js';
import './logout.js';

let name = ''; // empty without a log-in
let over = false;

// userName returns the name that is shown and recorded for; empty without a log-in.
export const userName = () => name;

// showUser shows who is logged in, with the button to log out.
export function showUser(user) {
  name = user ?? '';
  const element = document.getElementById('user');
  element.hidden = !name;
  put(element.firstElementChild, name);
  element.firstElementChild.title = `Logged in as ${name}`;
}

// loggedOut takes everything off the page, since the session has ended. It does not lead to the log-in by itself: in a tab that
// nobody looks at, that would log in again whoever has just logged out.
export function loggedOut() {
  if (over) return;
  over = true;
  stop();
  showUser('');
  for (const dialog of document.querySelectorAll('dialog')) dialog.remove();
  const main = document.getElementById('main');
  main.className = 'notice';
  document.title = 'Logged out · orders';
  main.replaceChildren(h('h1', {}, 'You are logged out'), h('p', { role: 'alert' }, 'The session has ended. What was not sent is lost.'),
    h('p', { class: 'actions' }, h('a', { class: 'button', href: `/login?to=${encodeURIComponent(location.pathname + location.search)}`, 'data-outside': true }, 'Log in')));
  main.focus({ preventScroll: true });
}
