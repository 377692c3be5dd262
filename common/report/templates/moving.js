(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const $ = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const text = (value, digits) => value.toFixed(digits).replace("-", "−");
  const set = (node, values) => Object.entries(values).forEach(([name, value]) => node.setAttribute(name, value));
  const onInput = (names, show) => {
    names.forEach((name) => $(name).addEventListener("input", show));
    show();
  };

  // A part of an SVG that pointer and arrow keys move: by(dx, dy) in steps, to(x, y) in the SVG's units.
  function movable(node, label, by, to) {
    const svg = node.ownerSVGElement;
    const go = (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      to(at.x, at.y);
    };
    set(node, {tabindex: 0, role: "slider", "aria-label": label});
    node.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      node.focus({preventScroll: true});
      addEventListener("pointermove", go);
      addEventListener("pointerup", () => removeEventListener("pointermove", go), {once: true});
      addEventListener("pointercancel", () => removeEventListener("pointermove", go), {once: true});
    });
    node.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
      if (!step) return;
      event.preventDefault();
      by(...step);
    });
  }
  const says = (node, now, most, words) =>
    set(node, {"aria-valuemin": 0, "aria-valuemax": most, "aria-valuenow": now, "aria-valuetext": words});

  function convolution({pixels, results, side, window: place}) {
    const [cells, last] = [all("#products td"), side - 3];
    const to = (x, y) => {
      place = [clamp(Math.round(x), 0, last), clamp(Math.round(y), 0, last)];
      show();
    };
    const show = () => {
      const [x, y] = place;
      const {kernel, uri} = results[$("kernel").value];
      const weights = kernel.flat();
      const under = weights.map((_, i) => pixels[y + Math.floor(i / 3)][x + i % 3]);
      const sum = weights.reduce((total, weight, i) => total + weight * under[i], 0);
      cells.forEach((cell, i) => {
        const weight = Number.isInteger(weights[i]) ? text(weights[i], 0) : "1/9";
        cell.textContent = `${under[i]} × ${weight}`;
      });
      set($("window"), {x, y});
      set($("result-pixel"), {x: x + 1, y: y + 1});
      $("result-picture").setAttribute("href", uri);
      $("sum").textContent = `Column ${x}, row ${y}: the sum is ${text(sum, 0)}.`;
      says($("window"), x, last, $("sum").textContent);
    };
    movable($("window"), "Window", (dx, dy) => to(place[0] + dx, place[1] + dy), (x, y) => to(x - 1.5, y - 1.5));
    onInput(["kernel"], show);
  }

  function mirror({side, points, order, shown}) {
    const [circles, names, cells] = [all("#points circle"), all("#at-mirror .name"), all("#numbers td.live")];
    const middle = (side - 1) / 2;
    onInput(["angle", "right", "down", "flip", "rename"], () => {
      const [angle, right, down] = ["angle", "right", "down"].map((name) => Number($(name).value));
      const [cos, sin] = [Math.cos(angle * Math.PI / 180), Math.sin(angle * Math.PI / 180)];
      const [flip, rename] = [$("flip").checked, $("rename").checked];
      const m = flip ? [-cos, -sin] : [cos, sin]; // what an x of 1 becomes
      const shift = [middle + right - m[0] * middle + sin * middle, middle + down - m[1] * middle - cos * middle];
      const move = ([x, y]) => [m[0] * x - sin * y + shift[0], m[1] * x + cos * y + shift[1]];
      const truth = points.map((_, i) => move(points[flip ? order[i] : i]));
      const moved = points.map((_, i) => move(points[rename ? order[i] : i]));
      $("turned").setAttribute("transform", `matrix(${m} ${-sin} ${cos} ${shift})`);
      circles.forEach((circle, i) => set(circle, {cx: moved[i][0], cy: moved[i][1]}));
      shown.forEach((number, i) => {
        set(names[i], {x: moved[number][0] + 1.5, y: moved[number][1] - 1.5});
        cells[i].textContent = moved[number].map((value) => text(value, 1)).join(", ");
      });
      const off = moved.map(([x, y], i) => Math.hypot(x - truth[i][0], y - truth[i][1]));
      const mean = off.reduce((a, b) => a + b) / off.length;
      const eyes = Math.hypot(points[36][0] - points[45][0], points[36][1] - points[45][1]);
      $("wrong").textContent = flip === rename
        ? "Every number is where it belongs: the network learns the right thing."
        : `${flip ? "Mirrored but not renamed" : "Renamed but not mirrored"}: the points are wrong by ${text(mean, 1)} px on average, an NME of ${text(100 * mean / eyes, 0)} %. The network learns the middle of both.`;
    });
  }

  function heatmap({cells, peaks, steep, wide, temperatures}) {
    const rects = all("#cells rect");
    peaks = peaks.map((peak) => [...peak]);
    const show = () => {
      const temperature = temperatures[$("temperature").value];
      const heights = [steep, steep * $("second").value];
      const score = (x, y) => peaks.reduce((sum, [u, v], i) =>
        sum + heights[i] * Math.exp(-((x - u) ** 2 + (y - v) ** 2) / wide), 0);
      const powers = rects.map((_, i) => Math.exp(score(i % cells, Math.floor(i / cells)) / temperature));
      const sum = powers.reduce((a, b) => a + b);
      const [most, mean] = [Math.max(...powers), [0, 0]];
      rects.forEach((rect, i) => {
        rect.setAttribute("fill-opacity", (powers[i] / most).toFixed(2));
        mean[0] += powers[i] / sum * (i % cells);
        mean[1] += powers[i] / sum * Math.floor(i / cells);
      });
      $("mean").setAttribute("transform", `translate(${mean[0].toFixed(2)} ${mean[1].toFixed(2)})`);
      const near = Math.min(...peaks.map(([x, y]) => Math.hypot(x - mean[0], y - mean[1])));
      $("where").textContent = `Temperature ${temperature}: the mean is ${text(mean[0], 1)}, ${text(mean[1], 1)}, ${text(near, 1)} cells from the nearer peak.`;
      $("temperature").setAttribute("aria-valuetext", temperature);
      peaks.forEach(([x, y], i) => {
        set($(`peak${i + 1}`), {cx: x, cy: y});
        says($(`peak${i + 1}`), x, cells - 1, `column ${text(x, 0)}, row ${text(y, 0)}; ${$("where").textContent}`);
      });
    };
    peaks.forEach((peak, i) => {
      const to = (x, y) => {
        [peak[0], peak[1]] = [x, y].map((value) => clamp(Math.round(value * 2) / 2, 0, cells - 1));
        show();
      };
      movable($(`peak${i + 1}`), `Peak ${i + 1}`, (dx, dy) => to(peak[0] + dx, peak[1] + dy), to);
    });
    onInput(["temperature", "second"], show);
  }

  function losses({errors, costs, slopes, loss, gradient}) {
    const last = errors.length - 1;
    const circles = [...all("#at-loss figure:nth-child(1) circle"), ...all("#at-loss figure:nth-child(2) circle")];
    const lines = [...Object.values(loss.lines), ...Object.values(gradient.lines)];
    const cells = all("#now td");
    const handle = circles[2];
    const to = (place) => {
      $("error").value = clamp(place, 0, last);
      show();
    };
    const show = () => {
      const place = Number($("error").value);
      circles.forEach((circle, i) => set(circle, {cx: lines[i][place][0], cy: lines[i][place][1]}));
      Object.keys(costs).forEach((name, i) => {
        cells[i].textContent = `${text(costs[name][place], 5)}, ${text(slopes[name][place], 2)}`;
      });
      const words = text(errors[place], 3);
      document.querySelector("#now th").textContent = `${words} now`;
      $("error").setAttribute("aria-valuetext", words);
      says(handle, place, last, words);
    };
    const [first, end] = [lines[2][0][0], lines[2][last][0]];
    movable(handle, "Error", (dx) => to(Number($("error").value) + dx),
      (x) => to(Math.round((x - first) / (end - first) * last)));
    onInput(["error"], show);
  }

  function boxes({scales, shifts, nme, box: [left, top, width, height], chart}, {points}) {
    const [cells, curves] = [all("#errors td"), all("#at-box .curve")];
    const longer = Math.max(width, height);
    onInput(["side", "shift"], () => {
      const [row, column] = [Number($("side").value), Number($("shift").value)];
      const size = scales[row] * longer;
      const x = left - 0.5 + width / 2 + shifts[column] * longer - size / 2;
      const y = top - 0.5 + height / 2 - size / 2;
      set($("crop"), {x, y, width: size, height: size});
      $("cropped").setAttribute("viewBox", [x, y, size, size].join(" "));
      const out = points.filter(([u, v]) => u < x || v < y || u > x + size || v > y + size).length;
      cells.forEach((cell, i) => cell.classList.toggle("now", i === row * shifts.length + column));
      curves.forEach((curve, i) => curve.classList.toggle("now", i === row));
      const [cx, cy] = Object.values(chart.lines)[row][column];
      set($("measured"), {cx, cy});
      $("side").setAttribute("aria-valuetext", scales[row]);
      $("shift").setAttribute("aria-valuetext", shifts[column]);
      $("reads").textContent = `Side ${scales[row]}, shift ${shifts[column]}: NME ${text(nme[row][column], 2)} %. Of this face ${out} of ${points.length} points lie outside the crop.`;
    });
  }

  all(".moving [hidden]").forEach((node) => { node.hidden = false; });
  convolution(facts.convolution);
  mirror(facts.face);
  heatmap(facts.heatmap);
  losses(facts.losses);
  boxes(facts.boxes, facts.face);
})();
