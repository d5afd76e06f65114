// Reads one job's stream with the EventSource of a real Chromium, and prints what it saw.
//
//     node eventsource.cjs STREAM_URL PAGE_URL
//
// PAGE_URL is any page of STREAM_URL's origin: the EventSource lives in it, so that no CORS is in play. It reads until the
// browser gives up by itself, as it must on the 204 that answers a reconnect past `end`. Chromium waits about 3 s before it
// reconnects. Prints one JSON object and exits 0, whatever was seen: judging it is the caller's.
//
//     {"events": [{"id": "1", "type": "message", "data": "..."}], "opens": 2, "errors": 3, "readyState": 2}
//
// Environment: CHROMIUM (default /usr/bin/chromium), BROWSER_TEST_MODULES (the node_modules that has playwright-core,
// default target/browser/node_modules, where `./x test` puts it).

"use strict";

const fs = require("node:fs");
const path = require("node:path");

const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
const MODULES = process.env.BROWSER_TEST_MODULES || path.join(__dirname, "../../../target/browser/node_modules");

// The stream has this long to end; launching and closing the browser come on top.
const STREAM_BOUND_MS = 60_000;
const TOTAL_BOUND_MS = 100_000;

// Without these, Chromium calls home at every start, which costs seconds on a machine that can't.
const QUIET = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// Runs in the page, so it sees nothing of this file.
function readStream({ url, boundMs }) {
  return new Promise((resolve) => {
    const seen = { events: [], opens: 0, errors: 0, readyState: EventSource.CONNECTING };
    const source = new EventSource(url);
    const finish = () => {
      seen.readyState = source.readyState;
      clearTimeout(bound);
      source.close();
      resolve(seen);
    };
    const bound = setTimeout(finish, boundMs);
    const collect = (event) => seen.events.push({ id: event.lastEventId, type: event.type, data: event.data });
    for (const type of ["message", "state", "progress", "log", "end"]) source.addEventListener(type, collect);
    source.onopen = () => (seen.opens += 1);
    source.onerror = () => {
      seen.errors += 1;
      if (source.readyState === EventSource.CLOSED) finish();
    };
  });
}

async function main([url, page]) {
  if (!url || !page) throw new Error("usage: node eventsource.cjs STREAM_URL PAGE_URL");
  if (!fs.existsSync(CHROMIUM)) throw new Error(`no Chromium at ${CHROMIUM}: run ./x test once, or set CHROMIUM`);
  const playwright = path.join(MODULES, "playwright-core");
  if (!fs.existsSync(playwright)) throw new Error(`no playwright-core in ${MODULES}: run ./x test once`);
  const { chromium } = require(playwright);

  // Each launch gets a user data directory of its own, and playwright removes it.
  const browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, chromiumSandbox: false, args: QUIET });
  try {
    const tab = await browser.newPage();
    await tab.goto(page);
    const seen = await tab.evaluate(readStream, { url, boundMs: STREAM_BOUND_MS });
    process.stdout.write(JSON.stringify(seen) + "\n");
  } finally {
    await browser.close();
  }
}

function fail(message) {
  process.stderr.write(`eventsource: ${message}\n`);
  process.exit(1);
}

setTimeout(() => fail(`nothing after ${TOTAL_BOUND_MS / 1000} s`), TOTAL_BOUND_MS).unref();
main(process.argv.slice(2)).catch((error) => fail(error.message));
