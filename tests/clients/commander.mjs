// redis-commander's page, as a person uses it: the tree opens, a click shows what a key holds. Takes a picture of the last.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [executablePath, url, picture] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
const page = await browser.newPage({ viewport: { width: 1200, height: 800 } });
page.setDefaultTimeout(30000);
const wrong = [];
page.on("pageerror", (error) => wrong.push(String(error)));
page.on("response", (answer) => answer.status() >= 500 && wrong.push(`${answer.status()} ${answer.url()}`));
await page.goto(url);

const node = (text) => page.locator("#keyTree li", { has: page.locator("> a.jstree-anchor", { hasText: text }) }).last();
// The page opens some branches itself: only those that are closed are opened.
const open = async (text) => {
    await node(text).waitFor();
    await page.waitForTimeout(500);
    if (((await node(text).getAttribute("class")) ?? "").includes("jstree-closed")) await node(text).locator("> i.jstree-ocl").click();
};
const shows = (words) => page.waitForFunction((words) => {
    const body = document.querySelector("#body");
    const fields = [...body.querySelectorAll("textarea, input")].map((field) => field.value);
    const text = [body.innerText, ...fields].join("\n");
    return words.every((word) => text.includes(word));
}, words);
await open("127.0.0.1");
await open("shop");
for (const [key, words] of [
    ["greeting", ["hello"]], ["popular", ["cup", "lamp", "3"]], ["queue", ["a", "b"]], ["127.0.0.1", ["Redis version", "Used memory"]],
    ["lamp", ["colour", "red", "price", "12"]],
]) {
    await node(key).locator("> a.jstree-anchor").click();
    await shows(words).catch(async (error) => {
        throw new Error(`${key} does not show ${words}: ${await page.locator("#body").innerText()}: ${error}`);
    });
}
await page.screenshot({ path: picture });
assert.deepEqual(wrong, []);
await browser.close();
console.log("all as expected");
process.exit(0);
