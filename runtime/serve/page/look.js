// The controls of the style, and the look that they ask for.

const LARGEST_SEED = 4294967295;
const get = (id) => document.getElementById(id);

/** Event: change (detail: whether the domain changed). `facts` is the answer of /api/domains. */
export class LookControls extends EventTarget {
  #facts;
  #reference = null; // the server's name of it

  constructor(facts) {
    super();
    this.#facts = facts;
    const { domains, labels, takes } = facts;
    choices(get("domains"), "radio", "domain", domains, () => this.#changed(true));
    choices(get("labels"), "checkbox", "label", labels, () => this.#changed(false));
    get("domain-field").hidden = domains.length < 2 || labels.length > 0;
    get("label-field").hidden = labels.length === 0;
    get("style-field").hidden = labels.length > 0;
    get("reference-field").hidden = !takes.includes("reference");
    for (const id of ["seed", "second", "psi", "blend"]) get(id).addEventListener("input", () => this.#changed(false));
    get("dice").addEventListener("click", () => this.nextSeed());
    this.#show();
  }

  /** The look, as the server reads it. */
  get look() {
    if (this.#facts.labels.length) {
      const set = [...document.querySelectorAll("#labels input")].map((box) => [box.value, Number(box.checked)]);
      return { labels: Object.fromEntries(set) };
    }
    const first = { ...this.#domain, psi: Number(get("psi").value) };
    if (this.#reference) first.reference = this.#reference;
    else first.seed = seedOf("seed");
    const blend = Number(get("blend").value);
    if (!blend) return first;
    return { ...first, blend, second: { ...this.#domain, psi: first.psi, seed: seedOf("second") } };
  }

  /** The look of one seed, for the gallery. */
  lookOf(seed) {
    return { ...this.#domain, seed, psi: Number(get("psi").value) };
  }

  get seed() {
    return this.#reference ? null : seedOf("seed");
  }

  set seed(seed) {
    get("seed").value = seed % (LARGEST_SEED + 1);
    this.setReference(null);
  }

  /** Take the style of a reference by the server's name; null: of the seed again. */
  setReference(name) {
    this.#reference = name;
    this.#changed(false);
  }

  nextSeed() {
    this.seed = seedOf("seed") + 1;
  }

  nextDomain() {
    const boxes = [...document.querySelectorAll("#domains input")];
    if (!boxes.length) return;
    const next = (boxes.findIndex((box) => box.checked) + 1) % boxes.length;
    boxes[next].checked = true;
    this.#changed(true);
  }

  /** Make the style stronger or weaker. */
  addStrength(more) {
    const slider = get("psi");
    slider.value = Number(slider.value) + more;
    this.#changed(false);
  }

  get #domain() {
    const chosen = document.querySelector("#domains input:checked");
    return chosen ? { domain: chosen.value } : {};
  }

  #changed(isOtherDomain) {
    this.#show();
    this.dispatchEvent(new CustomEvent("change", { detail: isOtherDomain }));
  }

  #show() {
    get("psi-value").value = Number(get("psi").value).toFixed(2);
    get("blend-value").value = `${Math.round(100 * Number(get("blend").value))} %`;
    get("second-row").classList.toggle("unused", Number(get("blend").value) === 0);
  }
}

function seedOf(id) {
  const seed = Math.trunc(Number(get(id).value));
  return Math.min(LARGEST_SEED, Math.max(0, Number.isFinite(seed) ? seed : 0));
}

function choices(parent, type, name, values, changed) {
  values.forEach((value, number) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type, name, value });
    input.checked = type === "radio" && number === 0;
    input.addEventListener("change", changed);
    label.append(input, Object.assign(document.createElement("span"), { textContent: value.replaceAll("_", " ") }));
    parent.append(label);
  });
}
