// The page: a source, the link to the model, the controls, and what is shown.

import { Gallery } from "./gallery.js";
import { Link } from "./link.js";
import { LookControls } from "./look.js";
import { Recorder, snapshot } from "./save.js";
import { encode, Source } from "./source.js";

const CHANGE_MS = 600; // a still image is sent again for so long after a change: looks change smoothly
const SHOWN_MS = 10_000; // an error
const get = (id) => document.getElementById(id);
const [sourceCanvas, resultCanvas] = [get("source"), get("result")];

const answer = await fetch("/api/domains");
const facts = await answer.json();
if (!answer.ok) showError(facts.error);
for (const canvas of [sourceCanvas, resultCanvas]) Object.assign(canvas, { width: facts.width, height: facts.height });
get("name").textContent = document.title = facts.name;

const source = new Source(sourceCanvas);
const controls = new LookControls(facts);
const link = new Link();
const recorder = new Recorder(resultCanvas);
const gallery = new Gallery(get("gallery"), (seed) => { controls.seed = seed; });
gallery.mark(controls.seed);

// ---- frames

let number = 0;
let newest = null; // when the image in the source canvas was captured; null: it was sent
let changedAt = 0;
let shownAt = []; // of the last second
const captured = new Map(); // by number

source.addEventListener("frame", ({ detail }) => {
  newest = detail;
  pump();
});

async function pump() {
  if (source.kind === "image" && newest === null && performance.now() - changedAt < CHANGE_MS) newest = performance.now();
  if (newest === null || !link.isFree) return;
  const mine = number = (number + 1) % 2 ** 32;
  captured.set(mine, newest);
  newest = null;
  link.reserve(mine);
  try {
    await link.send(mine, await encode(sourceCanvas));
  } catch (error) {
    link.release();
    showError(error.message);
  }
}

link.addEventListener("result", async ({ detail: { number: its, engineMs, blob } }) => {
  pump(); // the next frame goes while this one is drawn
  const image = await createImageBitmap(blob);
  resultCanvas.getContext("2d").drawImage(image, 0, 0, resultCanvas.width, resultCanvas.height);
  image.close();
  const now = performance.now();
  const age = now - captured.get(its);
  for (const old of captured.keys()) if (old <= its) captured.delete(old);
  shownAt = [...shownAt.filter((at) => now - at < 1000), now];
  resultCanvas.dataset.frame = its;
  resultCanvas.dataset.ageMs = Math.round(age);
  get("figures").textContent = source.kind === "image"
    ? `${Math.round(engineMs)} ms` : `${shownAt.length} fps · ${Math.round(age)} ms`;
  for (const id of ["snapshot", "record"]) get(id).disabled = false;
});

link.addEventListener("state", ({ detail: state }) => {
  get("status").dataset.state = state;
  get("status").textContent = state === "open" ? "Connected" : "The server does not answer; trying again…";
  if (state === "open") {
    changed();
    if (reference) sendReference(reference); // a server that was started again does not know it
  }
});
link.addEventListener("error", ({ detail }) => showError(detail));

controls.addEventListener("change", ({ detail: isOtherDomain }) => {
  changed();
  gallery.mark(controls.seed);
  if (isOtherDomain) refreshGallery();
});

function changed() {
  changedAt = performance.now();
  link.wish(controls.look);
  pump();
}

function refreshGallery() {
  if (source.kind && !facts.labels.length) gallery.refresh(() => encode(sourceCanvas), (seed) => controls.lookOf(seed));
}

setInterval(pump, 30); // a still image that changes, and frames that were lost

// ---- sources

async function open(opening) {
  hideError();
  try {
    await opening();
  } catch (error) {
    source.stop();
    showError(sentenceOf(error));
  }
  get("invitation").hidden = source.kind !== null;
  get("stop").hidden = get("another").hidden = source.kind === null;
  await listCameras();
  changed();
  refreshGallery();
}

function sentenceOf(error) {
  return {
    NotAllowedError: "The browser may not use the camera: allow it beside the address.",
    NotFoundError: "There is no camera: drop an image or a video.",
    NotReadableError: "Another program uses the camera: close it.",
    EncodingError: "The browser cannot show this image: choose another, such as a JPEG or PNG.",
    NotSupportedError: "The browser cannot play this video: choose another, such as an MP4 in H.264.",
  }[error.name] ?? (navigator.mediaDevices ? `It cannot be opened: ${error.message}`
    : "Browsers give cameras to pages on this machine or over HTTPS only.");
}

async function listCameras() {
  const cameras = source.kind === "camera" ? await Source.cameras() : [];
  get("camera-field").hidden = cameras.length < 2;
  get("camera").replaceChildren(...cameras.map(({ deviceId, label }, place) => new Option(
    label || `Camera ${place + 1}`, deviceId, false, deviceId === source.cameraId,
  )));
}

get("start").addEventListener("click", () => open(() => source.openCamera()));
get("camera").addEventListener("change", ({ target }) => open(() => source.openCamera(target.value)));
for (const id of ["file", "another-file"]) {
  get(id).addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (file) open(() => source.openFile(file));
  });
}
get("stop").addEventListener("click", () => open(async () => source.stop()));
source.addEventListener("ended", () => {
  showError("The camera is gone: connect it again, and start it.");
  open(async () => source.stop());
});

drop(document.body, document.documentElement, (file) => open(() => source.openFile(file)));

function drop(target, marked, take) {
  target.addEventListener("dragover", (event) => {
    event.preventDefault();
    event.stopPropagation();
    marked.classList.add("dropping");
  });
  target.addEventListener("dragleave", () => marked.classList.remove("dropping"));
  target.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    marked.classList.remove("dropping");
    document.documentElement.classList.remove("dropping");
    const [file] = event.dataTransfer.files;
    if (file) take(file);
  });
}

// ---- the reference

let reference = null; // the file

async function sendReference(file) {
  const sent = await fetch("/api/references", { method: "POST", body: file }).catch(() => null);
  const told = sent ? await sent.json() : { error: "The server does not answer." };
  if (told.error) {
    showError(told.error);
    return;
  }
  reference = file;
  const image = get("reference-image");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(file);
  image.hidden = get("reference-clear").hidden = false;
  controls.setReference(told.reference);
}

drop(get("reference-drop"), get("reference-drop"), sendReference);
get("reference-file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  target.value = "";
  if (file) sendReference(file);
});
get("reference-clear").addEventListener("click", () => controls.setReference(null));
controls.addEventListener("change", () => {
  if (controls.seed === null) return;
  reference = null;
  get("reference-image").hidden = get("reference-clear").hidden = true;
});

// ---- actions

get("more").addEventListener("click", () => {
  gallery.more();
  gallery.mark(controls.seed);
  refreshGallery();
});
get("snapshot").addEventListener("click", async () => {
  get("downloads").textContent = `Saved ${await snapshot(resultCanvas)}`;
});
get("record").addEventListener("click", async () => {
  const button = get("record");
  if (recorder.isRunning) {
    button.ariaPressed = "false";
    button.textContent = "Record";
    get("downloads").textContent = `Saved ${await recorder.stop()}`;
  } else {
    recorder.start();
    button.ariaPressed = "true";
    button.textContent = "Stop recording";
    get("downloads").textContent = "Recording…";
  }
});
get("pair").addEventListener("click", ({ target }) => {
  const isPair = target.ariaPressed !== "true";
  target.ariaPressed = String(isPair);
  get("images").classList.toggle("single", !isPair);
});
get("fullscreen").addEventListener("click", () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else get("images").requestFullscreen().catch((error) => showError(error.message));
});
get("controls").addEventListener("submit", (event) => event.preventDefault());

const theme = localStorage.getItem("theme");
if (theme) document.documentElement.dataset.theme = theme;
get("theme").addEventListener("click", () => {
  const isDark = getComputedStyle(document.documentElement).colorScheme === "dark"
    || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});

get("help-button").addEventListener("click", () => get("help").showModal());
const KEYS = {
  d: () => controls.nextDomain(),
  s: () => controls.nextSeed(),
  ArrowUp: () => controls.addStrength(0.05),
  ArrowDown: () => controls.addStrength(-0.05),
  b: () => get("pair").click(),
  f: () => get("fullscreen").click(),
  p: () => get("snapshot").click(),
  r: () => get("record").click(),
  "?": () => get("help").showModal(),
};
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, select, dialog, button") && event.key.startsWith("Arrow");
  const isText = event.target.closest("input[type=number], select, dialog");
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping || isText) return;
  const act = KEYS[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});
for (const label of document.querySelectorAll("label.link")) {
  label.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") label.querySelector("input").click();
  });
}

// ---- errors

function showError(sentence) {
  get("error").textContent = sentence;
  get("error").hidden = false;
  clearTimeout(showError.timer);
  showError.timer = setTimeout(hideError, SHOWN_MS);
}

function hideError() {
  get("error").hidden = true;
}
