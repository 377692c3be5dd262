// From pixels to keypoints: detector, network and smoothing, all computed in this page.
// Points are [x, y] in pixels of the picture; a whole number is the middle of a pixel.

// One file of the page. A file with `integrity` is refused where its content is another.
async function fetched({ url, integrity }) {
  const answer = await fetch(url, integrity ? { integrity } : {});
  if (!answer.ok) throw new Error(`${url}: cannot be loaded (${answer.status}); export the page again`);
  return answer.arrayBuffer();
}

// What finds and follows faces, once ONNX Runtime and the networks are loaded.
export async function load(config) {
  if (typeof WebAssembly !== "object") throw new Error("This browser has no WebAssembly; take a newer one.");
  const { script, glue, wasm } = config.runtime;
  await new Promise((resolve, reject) => {
    const tag = document.createElement("script");
    Object.assign(tag, { src: script.url, integrity: script.integrity ?? "", crossOrigin: "anonymous", onload: resolve });
    tag.onerror = () => reject(new Error(`${script.url}: cannot be loaded; export the page again`));
    document.head.append(tag);
  });
  const ort = window.ort;
  ort.env.wasm.numThreads = 1;
  const blob = async (file, type) => URL.createObjectURL(new Blob([await fetched(file)], { type }));
  ort.env.wasm.wasmPaths = { mjs: await blob(glue, "text/javascript"), wasm: await blob(wasm, "application/wasm") };
  const open = async (url) => ort.InferenceSession.create(new Uint8Array(await fetched({ url })));
  return new Keypoints(config, ort, await open(config.network), config.detector && (await open(config.detector.url)));
}

class Keypoints {
  constructor(config, ort, network, detector) {
    Object.assign(this, { config, ort, network, detector });
  }

  // The face in a square crop of an ImageData: its points, the spread of each point's heatmap and
  // the heatmaps' log-probabilities.
  async predict(image, crop) {
    const { fractions: maps } = await this.run(cropped(image, crop, this.config.side));
    const { means, spread } = softArgmax(maps); // fractions of the crop
    const points = means.map(([x, y]) => outOf(crop, x, y));
    return { points, crop, maps, spread: spread.reduce((sum, one) => sum + one) / spread.length };
  }

  // The mean of the points and of those predicted for the mirror image.
  async averaged(image, { points, crop }) {
    const { side, flipOrder } = this.config;
    const data = cropped(image, crop, side);
    for (let row = 0; row < side; row++) data.subarray(row * side, (row + 1) * side).reverse();
    const { means } = softArgmax((await this.run(data)).fractions);
    return points.map((point, k) => {
      const [x, y] = means[flipOrder[k]]; // left and right exchanged
      return outOf(crop, 1 - x, y).map((v, d) => (v + point[d]) / 2);
    });
  }

  run(data) {
    const { side } = this.config;
    return this.network.run({ faces: new this.ort.Tensor("float32", data, [1, 1, side, side]) });
  }

  // The crop around the landmarks' box, turned by `angle` radians clockwise.
  around(points, angle = 0) {
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    const [xs, ys] = [points.map(([x, y]) => cos * x + sin * y), points.map(([x, y]) => cos * y - sin * x)];
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const [x, y] = [(left + right) / 2, (top + bottom) / 2];
    const size = Math.max(right - left, bottom - top) * this.config.boxScale;
    return { x: cos * x - sin * y, y: sin * x + cos * y, size, angle };
  }

  // As `predict`, then once more in the crop around the points that were found, and mirrored.
  async lookTwice(image, crop) {
    const first = await this.predict(image, crop);
    const [left, right] = this.config.outerEyes.map((index) => first.points[index]);
    const angle = Math.atan2(right[1] - left[1], right[0] - left[0]);
    const leans = Math.abs(angle) > (this.config.leaning * Math.PI) / 180;
    const second = await this.predict(image, this.around(first.points, leans ? angle : 0));
    return { ...second, points: await this.averaged(image, second) };
  }

  isFace(found) {
    return found.spread < this.config.widest;
  }

  // The crops of the faces that YuNet finds in what a canvas or video shows, the best first.
  async detect(source, width, height) {
    const n = this.config.detector.side;
    const shrink = Math.min(1, n / Math.max(width, height));
    const canvas = new OffscreenCanvas(n, n);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(source, 0, 0, width * shrink, height * shrink);
    const rgba = context.getImageData(0, 0, n, n).data;
    const input = new Float32Array(3 * n * n); // blue, green, red: planes of 0..255
    for (let i = 0; i < n * n; i++) for (let c = 0; c < 3; c++) input[c * n * n + i] = rgba[4 * i + 2 - c];
    const out = await this.detector.run({ [this.detector.inputNames[0]]: new this.ort.Tensor("float32", input, [1, 3, n, n]) });
    const { right, down, scale, least } = this.config.detector;
    return distinct(decode(out, n, least)).map(({ box: [x, y, w, h] }) => {
      const longer = Math.max(w, h);
      return {
        x: (x + right * longer + w / 2) / shrink - 0.5,
        y: (y + down * longer + h / 2) / shrink - 0.5,
        size: (longer * scale * this.config.boxScale) / shrink,
        angle: 0,
      };
    });
  }
}

// The grey values of a crop, -0.5..0.5; outside of the picture its edge is repeated.
function cropped({ data, width, height }, crop, side) {
  const out = new Float32Array(side * side);
  const taps = Math.max(1, Math.round(crop.size / side)); // a pixel of the crop is the mean of taps²
  const grey = (x, y) => {
    const at = 4 * (Math.min(Math.max(y, 0), height - 1) * width + Math.min(Math.max(x, 0), width - 1));
    return 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2]; // ITU-R 601 luma
  };
  for (let row = 0; row < side; row++)
    for (let column = 0; column < side; column++) {
      let sum = 0;
      for (let i = 0; i < taps; i++)
        for (let j = 0; j < taps; j++) {
          const [x, y] = outOf(crop, (column + (j + 0.5) / taps) / side, (row + (i + 0.5) / taps) / side);
          const [left, top] = [Math.floor(x), Math.floor(y)];
          const [right, down] = [x - left, y - top]; // weights of the bilinear interpolation
          sum += (1 - down) * ((1 - right) * grey(left, top) + right * grey(left + 1, top));
          sum += down * ((1 - right) * grey(left, top + 1) + right * grey(left + 1, top + 1));
        }
      out[row * side + column] = sum / (taps * taps * 255) - 0.5;
    }
  return out;
}

// From fractions of a crop to pixels of the picture.
function outOf({ x, y, size, angle }, across, along) {
  const [dx, dy] = [(across - 0.5) * size, (along - 0.5) * size];
  return [x + Math.cos(angle) * dx - Math.sin(angle) * dy, y + Math.sin(angle) * dx + Math.cos(angle) * dy];
}

// The mean of each heatmap and its standard deviation, in fractions of the crop.
function softArgmax({ data, dims: [, count, height, width] }) {
  const [means, spread] = [[], []];
  for (let k = 0; k < count; k++) {
    let [sum, x, y, xx, yy] = [0, 0, 0, 0, 0];
    for (let row = 0, at = k * height * width; row < height; row++)
      for (let column = 0; column < width; column++, at++) {
        const p = Math.exp(data[at]);
        const [u, v] = [(column + 0.5) / width, (row + 0.5) / height];
        sum += p; x += p * u; y += p * v; xx += p * u * u; yy += p * v * v;
      }
    means.push([x / sum, y / sum]);
    spread.push(Math.sqrt(Math.max(0, (xx + yy) / sum - (x / sum) ** 2 - (y / sum) ** 2)));
  }
  return { means, spread };
}

// YuNet's boxes [left, top, width, height] and scores: each cell of three grids may hold a face.
function decode(out, n, least) {
  const faces = [];
  for (const stride of [8, 16, 32]) {
    const [cls, obj, box] = ["cls", "obj", "bbox"].map((name) => out[`${name}_${stride}`].data);
    const columns = n / stride;
    for (let i = 0; i < cls.length; i++) {
      const score = Math.sqrt(Math.min(Math.max(cls[i], 0), 1) * Math.min(Math.max(obj[i], 0), 1));
      if (score < least) continue;
      const [w, h] = [Math.exp(box[4 * i + 2]) * stride, Math.exp(box[4 * i + 3]) * stride];
      const x = ((i % columns) + box[4 * i]) * stride;
      const y = (Math.floor(i / columns) + box[4 * i + 1]) * stride;
      faces.push({ score, box: [x - w / 2, y - h / 2, w, h] });
    }
  }
  return faces.sort((a, b) => b.score - a.score);
}

// Of boxes that overlap by 0.3 and more only the best.
function distinct(faces) {
  const shared = (a0, a1, b0, b1) => Math.max(0, Math.min(a1, b1) - Math.max(a0, b0));
  const overlap = ([ax, ay, aw, ah], [bx, by, bw, bh]) => {
    const both = shared(ax, ax + aw, bx, bx + bw) * shared(ay, ay + ah, by, by + bh);
    return both / (aw * ah + bw * bh - both);
  };
  const kept = [];
  for (const face of faces) if (kept.every((other) => overlap(face.box, other.box) < 0.3)) kept.push(face);
  return kept;
}

// The One Euro filter (Casiez, Roussel, Vogel, CHI 2012): smooth at rest, little lag in motion.
// As in the project's tracking.py: speeds in sizes of the face a second.
export class OneEuro {
  constructor({ leastCutoff, gain, speedCutoff }) {
    Object.assign(this, { leastCutoff, gain, speedCutoff, points: null });
  }

  smooth(points, seconds) {
    const weight = (cutoff, passed) => 1 / (1 + 1 / (2 * Math.PI * cutoff * passed));
    if (this.points === null) {
      [this.points, this.speed] = [points, points.map(() => [0, 0])];
    } else if (seconds > this.seconds) {
      const passed = seconds - this.seconds;
      const alpha = weight(this.speedCutoff, passed);
      this.speed = this.speed.map((was, k) => was.map((v, d) => v + alpha * ((points[k][d] - this.points[k][d]) / passed - v)));
      const whole = [0, 1].map((d) => this.speed.reduce((sum, v) => sum + v[d], 0) / points.length);
      const span = [0, 1].map((d) => points.map((p) => p[d])).map((all) => Math.max(...all) - Math.min(...all));
      this.points = this.points.map((was, k) => {
        const beside = Math.hypot(this.speed[k][0] - whole[0], this.speed[k][1] - whole[1]);
        const sizes = (Math.hypot(...whole) + beside / 2) / Math.max(...span);
        const beta = weight(this.leastCutoff + this.gain * sizes, passed);
        return was.map((v, d) => v + beta * (points[k][d] - v));
      });
    }
    this.seconds = seconds;
    return this.points;
  }
}
