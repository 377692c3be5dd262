// The page: camera or photo in, points, heatmap or face filter out.
import { load, OneEuro } from "./keypoints.js";

const element = (id) => document.getElementById(id);
const canvas = element("view"), context = canvas.getContext("2d", { willReadFrequently: true });
const say = (text) => { element("status").textContent = text; };
let config, finder, video = null, still = null, found = null, filter = null;
let euro = null, last = null; // of the tracked face: its smoothing and its points

async function start() {
  config = await (await fetch("face.json")).json();
  element("network").textContent = config.about;
  element("licence").textContent = config.licence;
  say("loading the network…");
  finder = await load(config);
  element("point").max = config.points - 1;
  for (const { name } of config.filters) element("filter").add(new Option(name, name));
  for (const id of ["camera", "photo", "point", "heatmap", "filter"]) element(id).disabled = false;
  say(config.detector ? "ready" : "ready; no face detector is here: drag a box around the face");
  const asked = new URLSearchParams(location.search).get("photo");
  if (asked) await open(await (await fetch(asked)).blob());
}

// Camera: a frame after the other, each cropped by the points of the last.
async function camera() {
  if (video) return stop("stopped");
  const media = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
  still = null;
  video = Object.assign(document.createElement("video"), { srcObject: media, muted: true, playsInline: true });
  await video.play();
  element("camera").textContent = "Stop the camera";
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  let frames = 0, began = performance.now();
  while (video) {
    const image = grab(video);
    const before = performance.now();
    await track(image, before / 1000);
    draw(image);
    if (++frames % 15 === 0) {
      const rate = (15000 / (performance.now() - began)).toFixed(0);
      say(`${found ? "face found" : "no face"}; ${(performance.now() - before).toFixed(0)} ms a face, ${rate} frames/s`);
      list();
      began = performance.now();
    }
    await new Promise(requestAnimationFrame);
  }
}

function stop(why) {
  video?.srcObject.getTracks().forEach((track) => track.stop());
  [video, found, last] = [null, null, null];
  element("camera").textContent = "Start the camera";
  say(why);
}

function grab(source) {
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

async function track(image, seconds) {
  if (last) {
    const lean = Math.atan2(...[1, 0].map((d) => last[config.outerEyes[1]][d] - last[config.outerEyes[0]][d]));
    const leans = Math.abs(lean) > (config.leaning * Math.PI) / 180;
    found = await finder.predict(image, finder.around(last, leans ? lean : 0));
  } else {
    found = await search(image);
    euro = new OneEuro(config.oneEuro);
  }
  if (found && finder.isFace(found)) last = found.points = euro.smooth(found.points, seconds);
  else found = last = null;
}

async function search(image) {
  if (!config.detector) return null;
  const [crop] = await finder.detect(canvas, canvas.width, canvas.height);
  return crop ? finder.lookTwice(image, crop) : null;
}

// Photo: chosen, dropped or named in the address.
async function open(file) {
  if (video) stop("");
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    return say(`${file.name ?? "this"}: not a picture that the browser can read; save it as JPEG`);
  }
  still = picture;
  const shrink = Math.min(1, 1600 / Math.max(picture.width, picture.height));
  [canvas.width, canvas.height] = [picture.width * shrink, picture.height * shrink].map(Math.round);
  const image = grab(picture), began = performance.now();
  found = await search(image);
  shown(image, began);
}

function shown(image, began) {
  if (found && !finder.isFace(found)) found = null;
  const ms = (performance.now() - began).toFixed(0);
  if (found) say(`face found, ${ms} ms`);
  else say(config.detector ? "no face found: drag a box around it" : "drag a box around the face");
  draw(image);
  list();
}

// A box that the person draws around the face, from brows to chin.
let corner = null;
const place = (event) => {
  const { left, top, width } = canvas.getBoundingClientRect();
  return [event.clientX - left, event.clientY - top].map((v) => (v * canvas.width) / width);
};
canvas.addEventListener("pointerdown", (event) => { corner = place(event); });
canvas.addEventListener("pointerup", async (event) => {
  const [[x0, y0], [x1, y1]] = [corner, place(event)];
  const longer = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0));
  if (!finder || longer < 12) return;
  const image = grab(still ?? video ?? canvas), began = performance.now();
  const crop = { x: (x0 + x1) / 2, y: (y0 + y1) / 2, size: longer * config.boxScale, angle: 0 };
  found = await finder.lookTwice(image, crop);
  if (video) [last, euro] = [found.points, new OneEuro(config.oneEuro)];
  else shown(image, began);
});

function draw(image) {
  context.putImageData(image, 0, 0);
  if (!found) return;
  if (filter) drawFilter(found.points);
  else drawPoints(found.points);
  if (element("heatmap").checked) drawHeatmap(found, Number(element("point").value));
}

function drawPoints(points) {
  const [x, size] = [points.map((p) => p[0]), Math.max(canvas.width, canvas.height) / 320];
  const unit = Math.max(1, Math.min(size, (Math.max(...x) - Math.min(...x)) / 90));
  context.lineWidth = unit;
  context.strokeStyle = "#ffffffb0";
  for (const line of config.lines) {
    context.beginPath();
    for (const index of line) context.lineTo(points[index][0] + 0.5, points[index][1] + 0.5);
    context.stroke();
  }
  points.forEach(([left, top], index) => {
    context.fillStyle = index === Number(element("point").value) ? "#ffb000" : "#2f8fff";
    context.beginPath();
    context.arc(left + 0.5, top + 0.5, 1.6 * unit, 0, 7);
    context.fill();
  });
}

// Where the chosen point may be: its heatmap, laid over the crop.
function drawHeatmap({ maps, crop }, point) {
  const [, , height, width] = maps.dims, size = height * width;
  const values = maps.data.slice(point * size, (point + 1) * size).map(Math.exp);
  const most = Math.max(...values), cells = new ImageData(width, height);
  values.forEach((p, i) => cells.data.set([255, 176, 0, 255 * Math.sqrt(p / most)], 4 * i));
  const small = new OffscreenCanvas(width, height);
  small.getContext("2d").putImageData(cells, 0, 0);
  context.save();
  context.translate(crop.x + 0.5, crop.y + 0.5);
  context.rotate(crop.angle);
  context.strokeStyle = "#ffb000";
  context.strokeRect(-crop.size / 2, -crop.size / 2, crop.size, crop.size);
  context.drawImage(small, -crop.size / 2, -crop.size / 2, crop.size, crop.size);
  context.restore();
}

// The art is moved by the affine map that brings its anchors onto their keypoints (least squares).
function drawFilter(points) {
  const ends = filter.anchors.map(({ keypoints }) => [0, 1].map((d) => keypoints.reduce((sum, k) => sum + points[k][d], 0) / keypoints.length + 0.5));
  const rows = filter.anchors.map(({ x, y }) => [x, y, 1]);
  const normal = [0, 1, 2].map((i) => [0, 1, 2].map((j) => rows.reduce((sum, row) => sum + row[i] * row[j], 0)));
  const [[a, c, e], [b, d, f]] = [0, 1].map((axis) => solve(normal, [0, 1, 2].map((i) => rows.reduce((sum, row, n) => sum + row[i] * ends[n][axis], 0))));
  context.save();
  context.transform(a, b, c, d, e, f);
  context.drawImage(filter.art, 0, 0);
  context.restore();
}

// Three linear equations by Cramer's rule.
function solve(matrix, right) {
  const det = ([[a, b, c], [d, e, f], [g, h, i]]) => a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [0, 1, 2].map((column) => det(matrix.map((row, r) => row.map((v, k) => (k === column ? right[r] : v)))) / det(matrix));
}

function list() {
  const text = found ? JSON.stringify(found.points.map((p) => p.map((v) => Math.round(v * 100) / 100))) : "[]";
  element("points").textContent = text;
}

async function chooseFilter() {
  const chosen = config.filters.find(({ name }) => name === element("filter").value);
  filter = chosen ? { ...chosen, art: await createImageBitmap(await (await fetch(chosen.art)).blob()) } : null;
  redraw();
}

function redraw() {
  element("chosen").textContent = element("point").value;
  if (still) draw(grab(still));
}

element("camera").addEventListener("click", () => camera().catch((fault) => stop(
  fault.name === "NotAllowedError" ? "the camera was refused; allow it in the browser's address bar"
    : fault.name === "NotFoundError" ? "no camera found; choose a photo" : String(fault.message))));
element("photo").addEventListener("change", (event) => event.target.files[0] && open(event.target.files[0]));
element("filter").addEventListener("change", chooseFilter);
for (const id of ["point", "heatmap"]) element(id).addEventListener("input", redraw);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (finder && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
});
start().catch((fault) => say(fault.message));
