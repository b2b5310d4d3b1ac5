// The WebSocket to the model. One frame is on its way at a time; a lost connection comes back by itself.

const RETRY_MS = [300, 600, 1200, 2500];
const LOST_MS = 15000; // a frame that is not answered by then never will be

/** Events: state (detail: open | lost), result (detail: {number, engineMs, blob}), error (detail: a sentence). */
export class Link extends EventTarget {
  #socket = null;
  #attempt = 0;
  #flight = null; // {number, at}
  #look = null;

  constructor() {
    super();
    this.#connect();
  }

  /** Whether a frame may be sent now. */
  get isFree() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    return this.#flight === null || performance.now() - this.#flight.at > LOST_MS;
  }

  /** Ask for a look; of those asked for quickly, the server makes the newest. */
  wish(look) {
    this.#look = look;
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(look));
  }

  /** Keep the place of a frame that is being encoded. */
  reserve(number) {
    this.#flight = { number, at: performance.now() };
  }

  /** Give the place up again. */
  release() {
    this.#flight = null;
  }

  /** Send the frame whose place was reserved. */
  async send(number, blob) {
    const message = new Uint8Array(4 + blob.size);
    new DataView(message.buffer).setUint32(0, number, true);
    message.set(new Uint8Array(await blob.arrayBuffer()), 4);
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(message);
    else this.release();
  }

  #connect() {
    const address = new URL("/live", location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#attempt = 0;
      this.release();
      if (this.#look) socket.send(JSON.stringify(this.#look));
      this.#tell("state", "open");
    };
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => {
      this.release();
      this.#tell("state", "lost");
      if (code === 1013) this.#tell("error", reason);
      setTimeout(() => this.#connect(), RETRY_MS[Math.min(this.#attempt++, RETRY_MS.length - 1)]);
    };
    this.#socket = socket;
  }

  #receive(data) {
    if (typeof data === "string") {
      this.release();
      this.#tell("error", JSON.parse(data).error);
      return;
    }
    const header = new DataView(data);
    const number = header.getUint32(0, true);
    if (this.#flight?.number === number) this.release();
    const blob = new Blob([new Uint8Array(data, 8)], { type: "image/jpeg" });
    this.#tell("result", { number, engineMs: header.getFloat32(4, true), blob });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
