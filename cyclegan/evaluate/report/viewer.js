"use strict";

// Axes of the slice number, the rows and the columns; which of rows are turned so that the head is
// on top; and the sides of the patient at the left, right, top and bottom.
const PLANES = {
  axial: { axes: [0, 1, 2], turned: false, sides: "RLAP" },
  coronal: { axes: [1, 0, 2], turned: true, sides: "RLSI" },
  sagittal: { axes: [2, 0, 1], turned: true, sides: "APSI" },
};

// The codes of one image as [z, y, x], from the mosaic of its slices.
async function decode(image, [depth, height, width], across) {
  const picture = new Image();
  picture.src = image.slices;
  await picture.decode();
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const pixels = context.getImageData(0, 0, picture.width, picture.height).data;
  const codes = new Uint8Array(depth * height * width);
  let at = 0;
  for (let z = 0; z < depth; z++) {
    const left = (z % across) * width, top = Math.floor(z / across) * height;
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        codes[at++] = pixels[4 * ((top + y) * picture.width + left + x)];
  }
  return codes;
}

class Viewer {
  constructor(element) {
    this.element = element;
    this.data = JSON.parse(element.querySelector("script").textContent);
    this.plane = "axial";
    this.at = this.data.shape.map((length) => length >> 1); // slice of each axis
    this.control = (name) => element.querySelector(`[data-control="${name}"]`);
    this.canvases = [...element.querySelectorAll("canvas")];
    this.listen();
  }

  async open() {
    const { images, shape, across } = this.data;
    this.codes = await Promise.all(images.map((image) => decode(image, shape, across)));
    this.show();
  }

  listen() {
    for (const button of this.element.querySelectorAll("[data-plane]"))
      button.addEventListener("click", () => this.turn(button.dataset.plane));
    for (const button of this.element.querySelectorAll("[data-window]"))
      button.addEventListener("click", () => this.apply(button.dataset.window));
    this.control("slice").addEventListener("input", (event) => this.move(Number(event.target.value)));
    for (const name of ["level", "width"])
      this.control(name).addEventListener("input", () => this.show());
    const tiles = this.element.querySelector(".tiles");
    tiles.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.step(-Math.sign(event.deltaY));
    }, { passive: false });
    tiles.addEventListener("pointermove", (event) => {
      if (event.buttons !== 1) return;
      this.change("level", -event.movementY * 2);
      this.change("width", event.movementX * 4);
    });
    this.element.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    if (event.target.type === "number" || event.ctrlKey || event.metaKey || event.altKey) return;
    // The slider moves by its own keys.
    if (event.target.type === "range" && event.key.length > 1) return;
    const names = Object.keys(this.data.windows);
    const keys = {
      ArrowUp: () => this.step(1), ArrowDown: () => this.step(-1),
      PageUp: () => this.step(10), PageDown: () => this.step(-10),
      Home: () => this.move(0), End: () => this.move(Infinity),
      a: () => this.turn("axial"), c: () => this.turn("coronal"), s: () => this.turn("sagittal"),
    };
    names.forEach((name, number) => { keys[number + 1] = () => this.apply(name); });
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  get axis() { return PLANES[this.plane].axes[0]; }

  turn(plane) {
    this.plane = plane;
    this.show();
  }

  step(by) { this.move(this.at[this.axis] + by); }

  move(to) {
    this.at[this.axis] = Math.max(0, Math.min(this.data.shape[this.axis] - 1, to));
    this.show();
  }

  apply(name) {
    const [low, high] = this.data.windows[name];
    this.control("level").value = (low + high) / 2;
    this.control("width").value = high - low;
    this.show();
  }

  change(name, by) {
    const control = this.control(name);
    control.value = Math.max(Number(control.min || -Infinity), Number(control.value) + by);
    this.show();
  }

  // The colour of each code as one number for the canvas.
  colours(image) {
    const [level, width] = ["level", "width"].map((name) => Number(this.control(name).value));
    return Uint32Array.from({ length: 256 }, (_, code) => {
      let [red, green, blue] = image.colours?.[code] ?? [];
      if (image.hu)
        red = green = blue =
          Math.max(0, Math.min(255, 255 * ((image.hu[code] - level) / Math.max(width, 1) + 0.5)));
      return (255 << 24) | (blue << 16) | (green << 8) | red;
    });
  }

  show() {
    const { shape, spacing_mm: spacing, heights, images } = this.data;
    const { axes: [axis, rows, columns], turned, sides } = PLANES[this.plane];
    const strides = [shape[1] * shape[2], shape[2], 1];
    const slice = this.at[axis];
    const where = {
      axial: () => `height ${heights[slice].toFixed(2)}`,
      coronal: () => `${Math.round(slice * spacing[1])} mm from the front`,
      sagittal: () => `${Math.round(slice * spacing[2])} mm from the right`,
    }[this.plane]();
    const text = `${this.plane}, slice ${slice + 1} of ${shape[axis]}, ${where}`;
    const control = this.control("slice");
    control.max = shape[axis] - 1;
    control.value = slice;
    this.element.querySelector("output").textContent = text;
    for (const button of this.element.querySelectorAll("[data-plane]"))
      button.setAttribute("aria-pressed", button.dataset.plane === this.plane);
    this.canvases.forEach((canvas, number) => {
      const image = images[number], codes = this.codes?.[number];
      const [height, width] = [shape[rows], shape[columns]];
      canvas.width = width;
      canvas.height = height;
      canvas.style.aspectRatio = (width * spacing[columns]) / (height * spacing[rows]);
      const window_ = image.hu
        ? `, level ${this.control("level").value}, width ${this.control("width").value} HU` : "";
      canvas.setAttribute("aria-label", `${image.title} of ${this.data.volume}, ${text}${window_}`);
      [...canvas.parentElement.querySelectorAll(".side")].forEach((side, at) => {
        side.textContent = sides[at];
      });
      if (!codes) return;
      const colours = this.colours(image);
      const pixels = new Uint32Array(height * width);
      for (let row = 0; row < height; row++) {
        let from = slice * strides[axis] + (turned ? height - 1 - row : row) * strides[rows];
        for (let column = 0; column < width; column++, from += strides[columns])
          pixels[row * width + column] = colours[codes[from]];
      }
      const filled = new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
      canvas.getContext("2d").putImageData(filled, 0, 0);
    });
  }
}

// A volume takes memory only once somebody looks at it.
const opener = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    opener.unobserve(target);
    target.viewer.open();
  }
}, { rootMargin: "300px" });
for (const element of document.querySelectorAll(".viewer")) {
  element.viewer = new Viewer(element);
  element.viewer.show();
  opener.observe(element);
}
