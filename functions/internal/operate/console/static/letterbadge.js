// The number of open dead letters, beside the page's name in the navigation.
import { h, put, count } from './dom.js';

// letterBadge adds the number to a link, and returns the handlers of the views that it needs.
export function letterBadge(link) {
  const number = h('span', { class: 'letterbadge', hidden: true });
  link.append(' ', number);
  return {
    openletters: {
      regions: [number],
      show(data) {
        number.hidden = data.open === 0;
        put(number, data.open ? count(data.open) : '');
        link.title = data.open ? `${count(data.open)} open` : '';
      },
    },
  };
}
