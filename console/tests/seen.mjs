// What a program can see of how a page looks: whether it is cut or scrolled sideways, whether every word has contrast
// enough, whether every control has a name. And the three ways in which pages are looked at.

import assert from "node:assert/strict";
import { shot } from "./browser.mjs";

export const looks = {
  wide: {},
  dark: { colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 },
};

/** Takes a picture, and looks at what a program can look at. */
export async function seen(page, name) {
  await shot(page, name, true);
  const found = await page.evaluate(faults);
  assert.deepEqual(found, [], name);
}

/** Runs in the page. */
function faults() {
  const found = [];
  if (document.documentElement.scrollWidth > window.innerWidth) found.push(`scrolls sideways: ${document.documentElement.scrollWidth}`);
  const isShown = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && !element.closest(".hidden, .skip-link, option");
  const dialog = document.querySelector("dialog[open]");
  for (const element of (dialog ?? document).querySelectorAll("button, input, select, a, summary")) {
    if (!isShown(element)) continue;
    const label = element.labels?.[0]?.textContent || element.getAttribute("aria-label") || element.textContent;
    if (!label?.trim()) found.push(`has no name: ${element.outerHTML.slice(0, 80)}`);
  }
  const channels = (text) => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return text.startsWith("color(srgb") ? [r * 255, g * 255, b * 255, a] : [r, g, b, a];
  };
  const over = ([r, g, b, a], ground) => [r, g, b].map((value, place) => value * a + ground[place] * (1 - a));
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const layer = channels(getComputedStyle(at).backgroundColor);
      if (layer[3] > 0) layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const words = document.createTreeWalker(dialog ?? document.body, NodeFilter.SHOW_TEXT);
  for (let node = words.nextNode(); node; node = words.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || !isShown(element) || element.closest("noscript, script, :disabled, svg")) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const ink = over(channels(style.color), below);
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    const [a, b] = [light(over([...ink, opacity], below)), light(below)];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.6 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if (contrast < least) found.push(`contrast ${contrast.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
    const box = element.getBoundingClientRect();
    if (element.scrollWidth > element.clientWidth + 1 && style.overflowX === "hidden" && style.textOverflow !== "ellipsis" && box.width > 0) found.push(`cut: ${node.textContent.trim().slice(0, 40)}`);
  }
  return found;
}
