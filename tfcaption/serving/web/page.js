// Sends one photo per request, so that captions appear one after another, and some requests together, which the server
// captions together. Answers of the server go into the page as text, never as HTML.
"use strict";

const drop = document.getElementById("drop");
const input = document.getElementById("photos");
const state = document.getElementById("status");
const accepted = document.getElementById("accepted");
const results = document.getElementById("results");
const sample = document.getElementById("sample");
const curl = document.getElementById("curl");
const queue = [];
const together = 4; // requests
let maxMegabytes = Infinity; // of a photo
let options = ""; // of a request: all captions that the model gives
let running = 0;
let all = 0;
let done = 0;
let failed = 0;

function element(name, className, text = "") {
  const node = document.createElement(name);
  node.className = className;
  node.textContent = text;
  if (text) node.dir = "auto"; // right to left in the languages that are written so
  return node;
}

function addCard(file) {
  const card = element("li", "card");
  const image = element("img", "");
  image.alt = "";
  image.src = URL.createObjectURL(file);
  image.addEventListener("error", () => image.remove());
  const text = element("div", "");
  const caption = element("p", "caption", "…");
  text.append(element("p", "name", file.name), caption);
  card.append(image, text);
  return { card, text, caption, image };
}

// Attention for each word: regions with little of it are darkened. The regions form a square, row by row, or no grid.
function showAttention(card, attention) {
  if (!Number.isInteger(Math.sqrt(attention[0].weights.length))) {
    card.text.append(element("p", "", "attention to regions that form no grid, so it is not drawn over the photo"));
    return;
  }
  const list = element("ol", "attention");
  list.dir = "auto";
  for (const { word, weights } of attention) {
    const side = Math.sqrt(weights.length);
    const largest = Math.max(...weights, 1e-9);  // all 0 for a word that takes the sentinel
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(side, side);
    weights.forEach((weight, index) => { pixels.data[4 * index + 3] = 190 * (1 - weight / largest); });
    context.putImageData(pixels, 0, 0);
    const photo = card.image.cloneNode();
    photo.alt = "";
    const picture = element("div", "looked");
    picture.append(photo, canvas);
    const item = element("li", "");
    item.append(picture, element("span", "", word));
    list.append(item);
  }
  const details = element("details", "");
  details.append(element("summary", "", "where it looked"), list);
  card.text.append(details);
}

function show(card, answer) {
  card.caption.textContent = answer.caption || "(empty caption)";
  card.image.alt = answer.caption;
  if (answer.caption) card.text.append(copyButton(() => answer.caption));
  const [best, ...others] = answer.nbest;
  if (others.length) {
    const list = element("ol", "nbest");
    for (const { caption, score } of others) {
      const line = element("li", "", caption);
      const likely = Math.min(1, Math.exp(score - best.score)); // scores are log-probabilities
      const share = element("span", "likely", `${Math.round(100 * likely)}%`);
      share.title = `${Math.round(100 * likely)}% as likely as the first caption`;
      line.append(share);
      list.append(line);
    }
    card.text.append(element("p", "others", "It might also say (as likely as the first):"), list);
  }
  if (answer.attention) showAttention(card, answer.attention);
}

function copyButton(text) {
  const button = element("button", "copy", "Copy");
  button.type = "button";
  button.addEventListener("click", () => copy(button, text()));
  return button;
}

// Browsers give pages the clipboard on https and on this machine only; elsewhere the text is selected.
async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select the text to copy it";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

function fail(card, message) {
  failed += 1;
  card.caption.classList.add("wrong");
  card.caption.textContent = message;
}

async function captionPhoto(file, card) {
  await limitsKnown;
  if (file.size > maxMegabytes * 1e6) {
    fail(card, `larger than ${maxMegabytes} MB`);
    return;
  }
  try {
    const type = file.type || "application/octet-stream";
    const request = { method: "POST", headers: { "Content-Type": type }, body: file };
    const response = await fetch(`v1/captions${options}`, request);
    const answer = await response.json();
    if (response.ok) {
      show(card, answer.captions[0]);
      done += 1;
    } else {
      fail(card, answer.error.message);
    }
  } catch {
    fail(card, "no answer: the server has stopped");
  }
}

function count(photos) {
  return photos === 1 ? "1 photo" : `${photos} photos`;
}

function report() {
  const errors = failed ? `, ${failed} failed` : "";
  const ended = done + failed;
  state.textContent = ended < all ? `${ended} of ${count(all)}${errors}` : `${count(done)} done${errors}`;
}

async function work() {
  running += 1;
  while (queue.length) {
    await captionPhoto(...queue.shift());
    report();
  }
  running -= 1;
}

function add(files) {
  const cards = [];
  for (const file of files) {
    const card = addCard(file);
    cards.push(card.card);
    queue.push([file, card]);
  }
  if (!cards.length) return;
  all += cards.length;
  results.prepend(...cards); // in the order chosen, above those of before
  report();
  for (let more = Math.min(together - running, queue.length); more > 0; more -= 1) work();
}

async function showLimits() {
  try {
    const { formats, model, nbest, max_megabytes: megabytes } = await (await fetch("healthz")).json();
    maxMegabytes = megabytes;
    options = `?nbest=${nbest}`;
    accepted.textContent = `${formats.join(", ")}, up to ${megabytes} MB each`;
    document.getElementById("model").textContent = ` (${model})`;
  } catch {
    // The page's own line stays.
  }
}

input.addEventListener("change", () => {
  add(input.files);
  input.value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") add(event.dataTransfer.files);
  });
}
sample.addEventListener("click", async () => {
  const content = await (await fetch("static/sample.jpg")).blob();
  add([new File([content], "sample.jpg", { type: "image/jpeg" })]);
});
sample.hidden = false;
curl.textContent = `curl --data-binary @photo.jpg ${new URL("v1/captions", document.baseURI)}`;
document.getElementById("commands").hidden = false;
document.getElementById("copy_curl").addEventListener("click", (event) => copy(event.target, curl.textContent));
const limitsKnown = showLimits();
