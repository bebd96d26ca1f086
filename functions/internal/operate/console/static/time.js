// Times with zone and milliseconds, in the reader's zone or in UTC.
import { h, put } from './dom.js';

const remembered = 'orders.console.utc';
let utc = localStorage.getItem(remembered) === 'true';

const zone = () => (utc ? { timeZone: 'UTC' } : {});
const day = (at) => new Intl.DateTimeFormat('en-CA', { dateStyle: 'short', ...zone() }).format(at);

// clock formats a time, with the date unless it is today.
export function clock(text) {
  if (!text) return '–';
  const at = new Date(text);
  const time = new Intl.DateTimeFormat('en-GB', {
    hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23', timeZoneName: 'short', ...zone(),
  }).format(at);
  return day(at) === day(new Date()) ? time : `${day(at)} ${time}`;
}

export function when(text) {
  return h('time', { datetime: text, title: text }, clock(text));
}

// toggle is the switch between the zones; it changes all times of the page.
export function toggle(button) {
  const show = () => button.setAttribute('aria-pressed', String(utc));
  button.addEventListener('click', () => {
    utc = !utc;
    localStorage.setItem(remembered, String(utc));
    show();
    for (const time of document.querySelectorAll('time[datetime]')) put(time, clock(time.getAttribute('datetime')));
  });
  show();
}

// age formats milliseconds for people who want to know whether something is old.
export function age(millis) {
  const seconds = Math.max(0, Math.round(millis / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
