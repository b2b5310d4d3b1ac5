// Snapshots and recordings of the translation, which the browser downloads.

const TYPES = ["video/mp4;codecs=avc1", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];

/** Download a canvas as PNG. */
export function snapshot(canvas) {
  return new Promise((resolve) => {
    canvas.toBlob((blob) => resolve(download(blob, "png")), "image/png");
  });
}

/** Records a canvas from `start` to `stop`, which gives the file's name. */
export class Recorder {
  #canvas;
  #recorder = null;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  get isRunning() {
    return this.#recorder !== null;
  }

  start() {
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const parts = [];
    const recorder = new MediaRecorder(this.#canvas.captureStream(), { mimeType, videoBitsPerSecond: 8_000_000 });
    recorder.ondataavailable = ({ data }) => parts.push(data);
    recorder.ended = new Promise((resolve) => {
      recorder.onstop = () => resolve(new Blob(parts, { type: recorder.mimeType }));
    });
    recorder.start(1000);
    this.#recorder = recorder;
  }

  async stop() {
    const recorder = this.#recorder;
    this.#recorder = null;
    recorder.stop();
    recorder.stream.getTracks().forEach((track) => track.stop());
    const blob = await recorder.ended;
    return download(blob, blob.type.startsWith("video/mp4") ? "mp4" : "webm");
  }
}

function download(blob, suffix) {
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  const link = Object.assign(document.createElement("a"), {
    href: URL.createObjectURL(blob), download: `starcast-${stamp}.${suffix}`,
  });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}
