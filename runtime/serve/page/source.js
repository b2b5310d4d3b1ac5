// What is translated: a camera, a video, or a still image, drawn into a canvas of the model's size.

/** Event: frame (detail: when it was captured, by performance.now()). */
export class Source extends EventTarget {
  kind = null; // camera | video | image
  #canvas;
  #video = document.createElement("video");
  #address = null;

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#video.muted = true;
    this.#video.playsInline = true;
    this.#video.loop = true;
  }

  /** Open a camera: the one with this id, or the browser's own choice. */
  async openCamera(id) {
    this.stop();
    const wanted = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } };
    const video = id ? { ...wanted, deviceId: { exact: id } } : { ...wanted, facingMode: "user" };
    const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
    stream.getVideoTracks()[0].addEventListener("ended", () => this.dispatchEvent(new Event("ended")));
    this.#video.srcObject = stream;
    await this.#play("camera");
  }

  /** Open a file: an image or a video, of any kind that the browser shows. */
  async openFile(file) {
    this.stop();
    this.#address = URL.createObjectURL(file);
    if (file.type.startsWith("video/")) {
      this.#video.src = this.#address;
      await this.#play("video");
    } else {
      const image = new Image();
      image.src = this.#address;
      await image.decode();
      this.kind = "image";
      this.#draw(image, image.naturalWidth, image.naturalHeight, performance.now());
    }
  }

  /** The cameras that the browser knows. */
  static async cameras() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    return devices.filter(({ kind }) => kind === "videoinput");
  }

  get cameraId() {
    return this.#video.srcObject?.getVideoTracks()[0]?.getSettings().deviceId;
  }

  /** Let go of camera and file. The last image stays. */
  stop() {
    this.#video.pause();
    this.#video.srcObject?.getTracks().forEach((track) => track.stop());
    this.#video.srcObject = null;
    this.#video.removeAttribute("src");
    if (this.#address) URL.revokeObjectURL(this.#address);
    this.#address = this.kind = null;
  }

  async #play(kind) {
    await this.#video.play();
    this.kind = kind;
    this.#await(this.#video.srcObject);
  }

  #await(stream) {
    const look = (now, { captureTime, width, height }) => {
      if (this.kind === null || this.#video.srcObject !== stream) return;
      this.#draw(this.#video, width, height, captureTime ?? now);
      this.#video.requestVideoFrameCallback(look);
    };
    this.#video.requestVideoFrameCallback(look);
  }

  /** Cut the middle out in the canvas's shape. */
  #draw(image, width, height, at) {
    const { width: columns, height: rows } = this.#canvas;
    const scale = Math.min(width / columns, height / rows);
    const cut = [(width - columns * scale) / 2, (height - rows * scale) / 2, columns * scale, rows * scale];
    const context = this.#canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, ...cut, 0, 0, columns, rows);
    this.dispatchEvent(new CustomEvent("frame", { detail: at }));
  }
}

/** A canvas as a JPEG blob, in the quality of a frame. */
export function encode(canvas) {
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the frame cannot be encoded"))), "image/jpeg", 0.92);
  });
}
