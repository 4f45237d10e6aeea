// The live page: keys, links without a reload, and the list again when a message arrives.
// Without this script every link and the search still work.
'use strict';

const $ = (selector) => document.querySelector(selector);
const rows = () => [...document.querySelectorAll('.row')];
let loading = 0;

// What the list of an address is: all of it but the message that is open.
function listOf(address) {
  const url = new URL(address, location.href);
  url.searchParams.delete('id');
  return url.search;
}
let shown = listOf(location.href);
// On a phone the open message takes the place of the list, which is had back where it was.
let place = 0;
const isOpen = () => $('main').classList.contains('chosen');

// Puts the pieces of another page in the place of those of this one.
async function show(address, pieces, push) {
  const mine = ++loading;
  const answer = await fetch(address, { headers: { Accept: 'text/html' } });
  const text = await answer.text();
  if (mine !== loading) return;
  const page = new DOMParser().parseFromString(text, 'text/html');
  if (push) history.pushState(null, '', address);
  const focused = document.activeElement?.closest?.('.row')?.dataset.id;
  const chip = document.activeElement?.closest?.('#filters a')?.getAttribute('href');
  const known = new Set(rows().map((row) => row.dataset.id));
  const wasOpen = isOpen();
  if (!wasOpen) place = scrollY;
  for (const piece of pieces) {
    const [from, to] = [page.getElementById(piece), document.getElementById(piece)];
    // Too busy to answer, or a token is needed.
    if ((!from || !to) && pieces === arrival) throw new Error(answer.statusText);
    if (!from || !to) { location.assign(address); return; }
    to.replaceChildren(...from.childNodes);
    const begins = piece === 'pane' ? pieces !== arrival : piece === 'list' && listOf(address) !== shown;
    if (begins) { to.scrollTop = 0; scrollTo(0, 0); }
    if (begins && piece === 'list') place = 0;
  }
  if (pieces.includes('list')) shown = listOf(address);
  if (pieces === everything) $('#search').value = new URLSearchParams(location.search).get('grep') || '';
  $('main').className = page.querySelector('main').className;
  if (wasOpen && !isOpen()) scrollTo(0, place);
  if (known.size && pieces === arrival) {
    for (const row of rows()) if (!known.has(row.dataset.id)) row.classList.add('new');
  }
  if (chip) [...document.querySelectorAll('#filters a')].find((one) => one.getAttribute('href') === chip)?.focus({ preventScroll: true });
  if (focused) rows().find((row) => row.dataset.id === focused)?.focus({ preventScroll: true });
  await searchOn();
}

// A search answers with what it has found in its time; while that is nothing, it goes on.
let searching = false;
async function searchOn() {
  const older = $('.older');
  if (rows().length || !older) return;
  searching = true;
  older.textContent = 'Searching older messages …';
  try { await show(older.href, ['list'], false); } finally { searching = false; }
}

const everything = ['list', 'pane', 'filters', 'status'];
const arrival = ['list', 'filters', 'status'];

function select(row) {
  for (const other of rows()) other.removeAttribute('aria-current');
  row.setAttribute('aria-current', 'true');
  show(row.href, ['pane'], true).catch(() => location.assign(row.href));
}

function step(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row === document.activeElement);
  const from = at >= 0 ? at : all.findIndex((row) => row.hasAttribute('aria-current'));
  const next = all[Math.min(all.length - 1, Math.max(0, from + by))];
  next.focus();
  next.scrollIntoView({ block: 'nearest' });
}

document.addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const link = event.target.closest('a');
  if (!link || link.origin !== location.origin || link.pathname !== '/' || link.hasAttribute('download')) return;
  event.preventDefault();
  if (link.classList.contains('row')) { select(link); return; }
  show(link.href, everything, true).catch(() => location.assign(link.href));
});

$('.search').addEventListener('submit', (event) => {
  event.preventDefault();
  // The address has the filters that are in force; the form is as old as the page.
  const query = new URLSearchParams(location.search);
  for (const name of ['id', 'cursor', 'grep']) query.delete(name);
  if ($('#search').value) query.set('grep', $('#search').value);
  show(`/?${query}`, everything, true).then(() => $('#list').focus()).catch(() => event.target.submit());
});

addEventListener('popstate', () => {
  show(location.href, everything, false).catch(() => location.reload());
});

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $('#help').open) return;
  if (event.target.matches('input, textarea, video, audio')) {
    if (event.key === 'Escape') event.target.blur();
    return;
  }
  const actions = {
    j: () => step(1),
    k: () => step(-1),
    '/': () => { $('#search').focus(); $('#search').select(); },
    '?': () => $('#help').showModal(),
    Escape: () => { const back = $('.back'); if (back) back.click(); },
  };
  const action = actions[event.key];
  if (action) { event.preventDefault(); action(); }
});

$('#help-button').hidden = false;
$('#help-button').addEventListener('click', () => $('#help').showModal());

// New messages: the server selects and draws, a few times a second at most. A server that
// has no time or no stream to spare is asked again later.
let waiting = false;
function refresh() {
  if (waiting || searching || new URLSearchParams(location.search).has('cursor')) return;
  waiting = true;
  setTimeout(() => {
    waiting = false;
    const top = $('#list').scrollTop;
    show(location.href, arrival, false)
      .then(() => { $('#list').scrollTop = top; })
      .catch(() => setTimeout(refresh, 5000));
  }, 300);
}

let wasLost = false;
function listen() {
  const events = new EventSource('/api/events');
  events.addEventListener('message', refresh);
  // What arrived meanwhile has no event if the server was started anew.
  events.addEventListener('open', () => { if (wasLost) refresh(); wasLost = false; });
  events.addEventListener('error', () => {
    wasLost = true;
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 30000);
  });
}
listen();
searchOn().catch(() => {});
