// The one file that knows NiiVue 0.69; and a viewer of the same form for browsers without WebGL2.
//
// show(scan, labels): URLs of .nii.gz; labels may be null. structures([{number, colour, shown}]).
// All positions are millimetres, to the patient's right, front and head positive.

const PLANES = ["axial", "coronal", "sagittal"];
const AXIS = { sagittal: 0, coronal: 1, axial: 2 };

const times = (matrix, point) => [0, 1, 2].map((row) => matrix[row][3] + point.reduce((sum, x, k) => sum + matrix[row][k] * x, 0));
export const toMm = (grid, index) => times(grid.affine, index);
export const toIndex = (grid, mm) => times(grid.inverse, mm);

export async function viewer(canvas, drawn, told) {
  const able = document.documentElement.dataset.viewer === "yes"
    && Boolean(document.createElement("canvas").getContext("webgl2"));
  if (!able) return new Slices(canvas, drawn, told);
  const { Niivue } = await import("./vendor/niivue.js");
  const made = new Volumes(canvas, told);
  await made.begin(Niivue);
  return made;
}

class Volumes {
  constructor(canvas, told) {
    this.canvas = canvas;
    this.told = told;
    this.kind = "volumes";
  }

  async begin(Niivue) {
    this.nv = new Niivue({
      dragAndDropEnabled: false, isRadiologicalConvention: true, meshThicknessOn2D: 0.5,
      isOrientationTextVisible: true, crosshairWidth: 0.4, crosshairWidthUnit: "percent", crosshairColor: [1, 0.3, 0.3, 0.6],
      show3Dcrosshair: true, backColor: [0, 0, 0, 1], multiplanarForceRender: true, logLevel: "error",
      loadingText: "",
    });
    await this.nv.attachToCanvas(this.canvas);
    this.nv.onLocationChange = (location) => this.told.place(Array.from(location.mm).slice(0, 3));
    this.nv.onIntensityChange = () => this.told.window?.(this.window());
    this.plane("all");
  }

  async show(scan, labels) {
    const volumes = [];
    if (scan) volumes.push({ url: scan, name: "scan.nii.gz", colormap: "gray" });
    if (labels) volumes.push({ url: labels, name: "labels.nii.gz", opacity: this.opaque ?? 0.5 });
    await this.nv.loadVolumes(volumes);
    this.labels = labels ? this.nv.volumes.length - 1 : -1;
    this.numbers = labels ? this.nv.volumes[this.labels].img.slice() : null;
    this.start = scan ? this.window() : null;
  }

  structures(some) {
    if (this.labels < 0) return;
    const most = Math.max(...some.map((one) => one.number), 1);
    const of = new Map(some.map((one) => [one.number, one]));
    const table = { R: [], G: [], B: [], A: [], I: [], labels: [] };
    for (let number = 0; number <= most; number += 1) {
      const one = of.get(number);
      const [red, green, blue] = one ? one.colour : [0, 0, 0];
      table.R.push(red); table.G.push(green); table.B.push(blue);
      table.A.push(one && one.shown ? 255 : 0);
      table.I.push(number); table.labels.push(one ? one.name : "");
    }
    const volume = this.nv.volumes[this.labels];
    volume.setColormapLabel(table);
    // an outline is drawn whatever its colour: what is hidden is taken out
    const kept = table.A.map((opaque, number) => (opaque ? number : 0));
    for (let n = 0; n < this.numbers.length; n += 1) volume.img[n] = kept[this.numbers[n]] ?? 0;
    this.nv.updateGLVolume();
  }

  opacity(part) {
    this.opaque = part;
    if (this.labels >= 0) this.nv.setOpacity(this.labels, part);
  }

  outline(on) {
    this.nv.setAtlasOutline(on ? 50 : 0);
    if (this.labels >= 0) this.nv.setOpacity(this.labels, on ? 0.02 : this.opaque ?? 0.5);
  }

  // Pixels of the page a millimetre, of the first slice that is shown; null for 3D alone.
  scale(grid) {
    const [one] = this.nv.screenSlices.filter((each) => each.axCorSag < 3);
    if (!one) return null;
    const axis = one.axCorSag === 2 ? 1 : 0;
    const ratio = this.canvas.width / this.canvas.clientWidth;
    return one.leftTopWidthHeight[2] / ratio / (grid.shape[axis] * grid.spacing[axis]);
  }

  plane(name) {
    const { nv } = this;
    const types = { axial: nv.sliceTypeAxial, coronal: nv.sliceTypeCoronal, sagittal: nv.sliceTypeSagittal, "3d": nv.sliceTypeRender };
    nv.setSliceType(types[name] ?? nv.sliceTypeMultiplanar);
    this.shown = name;
  }

  window() { const one = this.nv.volumes[0]; return one ? [one.cal_min, one.cal_max] : null; }

  setWindow(range) {
    const one = this.nv.volumes[0];
    const [low, high] = range ?? this.start ?? [one.cal_min, one.cal_max];
    if (!one || this.labels === 0) return;
    one.cal_min = low; one.cal_max = high;
    this.nv.updateGLVolume();
  }

  at() { return Array.from(this.nv.frac2mm(this.nv.scene.crosshairPos)).slice(0, 3); }

  go(mm) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm);
    this.nv.drawScene();
    this.nv.createOnLocationChange();
  }

  measure(on) { this.nv.opts.dragMode = on ? this.nv.dragModes.measurement : this.nv.dragModes.contrast; }

  async picture(name) { await this.nv.saveScene(name); }
}

class Slices {
  constructor(canvas, drawn, told) {
    canvas.hidden = true;
    drawn.hidden = false;
    this.image = drawn;
    this.told = told;
    this.kind = "slices";
    this.shown = "axial";
    drawn.addEventListener("load", () => { drawn.dataset.drawn = drawn.src; });
  }

  async show(scan, labels, grid) {
    this.grid = grid;
    this.scan = scan;
    this.labels = labels;
    this.index = grid ? grid.shape.map((n) => Math.floor(n / 2)) : [0, 0, 0];
    this.draw();
  }

  draw() {
    if (!this.scan) return;
    const plane = PLANES.includes(this.shown) ? this.shown : "axial";
    const from = new URL(this.scan, location.href);
    const url = new URL(from.pathname.replace("/volumes/", "/slices/").replace(".nii.gz", ".png"), location.href);
    url.searchParams.set("case", from.searchParams.get("case") ?? "");
    url.searchParams.set("plane", plane);
    url.searchParams.set("index", this.index[AXIS[plane]]);
    if (this.labels && this.on !== false) {
      const over = new URL(this.labels, location.href);
      url.searchParams.set("labels", over.pathname.split("/").pop().replace(".nii.gz", ""));
      url.searchParams.set("label_case", over.searchParams.get("case") ?? "");
    }
    if (this.range) { url.searchParams.set("low", this.range[0]); url.searchParams.set("high", this.range[1]); }
    this.image.src = url;
    this.told.place(this.at());
  }

  structures(some) { this.on = some.some((one) => one.shown); this.draw(); }
  opacity() {}
  outline() {}
  plane(name) { this.shown = name; this.draw(); }
  window() { return this.range ?? null; }
  setWindow(range) { this.range = range; this.draw(); }
  at() { return toMm(this.grid, this.index); }
  go(mm) {
    const last = this.grid.shape.map((n) => n - 1);
    this.index = toIndex(this.grid, mm).map((n, axis) => Math.min(last[axis], Math.max(0, Math.round(n))));
    this.draw();
  }
  measure() {}
  scale() {
    const { naturalWidth: width, naturalHeight: height, clientWidth, clientHeight } = this.image;
    if (!width) return null;
    const axes = { axial: [0, 1], coronal: [0, 2], sagittal: [1, 2] }[this.shown] ?? [0, 1];
    const across = this.grid.shape[axes[0]] * this.grid.spacing[axes[0]];
    return (width * Math.min(clientWidth / width, clientHeight / height)) / across;
  }
  async picture(name) {
    const link = document.createElement("a");
    link.href = this.image.src; link.download = name; link.click();
  }
}
