// Seeds to click: each shows what it makes of the present image. They are made one after the other, when the model
// has time, and made again when the domain or the image is another.

const COUNT = 12;
const QUIET_MS = 400; // between the last change and the first thumbnail

export class Gallery {
  #parent;
  #choose;
  #start = 0;
  #run = 0; // the newest; older ones stop
  #timer = null;

  /** `choose` gets the seed that was clicked. */
  constructor(parent, choose) {
    this.#parent = parent;
    this.#choose = choose;
    this.#build();
  }

  /** Show the next seeds. */
  more() {
    this.#start += COUNT;
    this.#build();
  }

  mark(seed) {
    for (const button of this.#parent.children) button.ariaPressed = String(Number(button.value) === seed);
  }

  /** Make all thumbnails again, soon: `frame` gives the frame, `lookOf` the look of a seed. */
  refresh(frame, lookOf) {
    clearTimeout(this.#timer);
    const run = ++this.#run;
    this.#parent.ariaBusy = "true";
    this.#timer = setTimeout(() => this.#make(run, frame, lookOf), QUIET_MS);
  }

  #build() {
    this.#run++;
    this.#parent.replaceChildren(...Array.from({ length: COUNT }, (_, place) => {
      const seed = this.#start + place;
      const button = Object.assign(document.createElement("button"), { type: "button", value: seed, ariaPressed: "false" });
      button.ariaLabel = `Seed ${seed}`;
      button.append(Object.assign(document.createElement("span"), { textContent: seed }));
      button.addEventListener("click", () => this.#choose(seed));
      return button;
    }));
  }

  async #make(run, frame, lookOf) {
    const body = await frame();
    for (const button of [...this.#parent.children]) {
      if (run !== this.#run) return;
      const look = encodeURIComponent(JSON.stringify(lookOf(Number(button.value))));
      const answer = await fetch(`/api/thumbnails?look=${look}`, { method: "POST", body }).catch(() => null);
      if (!answer?.ok || run !== this.#run) return; // the live session says what is wrong
      const image = Object.assign(new Image(), { alt: "", src: URL.createObjectURL(await answer.blob()) });
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      button.querySelector("img")?.remove();
      button.prepend(image);
    }
    this.#parent.ariaBusy = "false";
  }
}
