// Sends one photo per request, so that captions appear one after another, and some requests together, which the server
// captions together. Answers of the server go into the page as text, never as HTML.
"use strict";

const drop = document.getElementById("drop");
const input = document.getElementById("photos");
const state = document.getElementById("status");
const accepted = document.getElementById("accepted");
const results = document.getElementById("results");
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

// Attention for each word: regions with little of it are darkened. The regions form a square, row by row.
function showAttention(card, attention) {
  const list = element("ol", "attention");
  for (const { word, weights } of attention) {
    const side = Math.sqrt(weights.length);
    const largest = Math.max(...weights);
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
  details.append(element("summary", "", "attention"), list);
  card.text.append(details);
}

function show(card, answer) {
  card.caption.textContent = answer.caption || "(empty caption)";
  card.image.alt = answer.caption;
  if (answer.attention) showAttention(card, answer.attention);
  const others = answer.nbest.slice(1);
  if (!others.length) return;
  const list = element("ol", "nbest");
  for (const { caption, score } of others) {
    const line = element("li", "", caption);
    line.append(element("span", "", score.toFixed(2)));
    list.append(line);
  }
  card.text.append(list);
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
    const { formats, nbest, max_megabytes: megabytes } = await (await fetch("healthz")).json();
    maxMegabytes = megabytes;
    options = `?nbest=${nbest}`;
    accepted.textContent = `${formats.join(", ")}, up to ${megabytes} MB`;
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
const limitsKnown = showLimits();
