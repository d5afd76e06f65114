// Opens the page of a server in a real browser, presses its button, and prints what it shows. Usage: page.cjs URL
const { chromium } = require(`${process.env.BROWSER_TEST_MODULES}/playwright-core`);

// Without these, Chromium calls home at every start.
const QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, chromiumSandbox: false, args: QUIET });
  try {
    const page = await browser.newPage();
    await page.goto(process.argv[2]);
    await page.fill("#value", "hi");
    await page.click("#run");
    await page.waitForFunction(() => document.querySelector("#events").textContent.includes("succeeded"));
    process.stdout.write(await page.textContent("#events"));
  } finally {
    await browser.close();
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
