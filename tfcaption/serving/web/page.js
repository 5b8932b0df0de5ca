// Sends one photo per request, so that captions appear one after another. Answers of the server go into the page as
// text, never as HTML.
"use strict";

const drop = document.getElementById("drop");
const input = document.getElementById("photos");
const state = document.getElementById("status");
const results = document.getElementById("results");
const queue = [];
let done = 0;
let all = 0;
let busy = false;

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
  results.prepend(card);
  return { text, caption, image };
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
  if (answer.nbest.length < 2) return;
  const list = element("ol", "nbest");
  for (const { caption, score } of answer.nbest) {
    const line = element("li", "", caption);
    line.append(element("span", "", score.toFixed(2)));
    list.append(line);
  }
  card.text.append(list);
}

function fail(card, message) {
  card.caption.classList.add("wrong");
  card.caption.textContent = message;
}

async function captionPhoto(file, card) {
  try {
    const type = file.type || "application/octet-stream";
    const response = await fetch("/v1/captions", { method: "POST", headers: { "Content-Type": type }, body: file });
    const answer = await response.json();
    if (response.ok) show(card, answer.captions[0]);
    else fail(card, answer.error.message);
  } catch {
    fail(card, "no answer: the server has stopped, or the photo is far too large");
  }
}

async function work() {
  if (busy) return;
  busy = true;
  while (queue.length) {
    state.textContent = `captioning ${done + 1} of ${all}`;
    await captionPhoto(...queue.shift());
    done += 1;
  }
  state.textContent = done === 1 ? "1 photo done" : `${done} photos done`;
  busy = false;
}

function add(files) {
  for (const file of files) {
    all += 1;
    queue.push([file, addCard(file)]);
  }
  if (queue.length) work();
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
