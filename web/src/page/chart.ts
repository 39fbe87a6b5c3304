/** The loss over the steps, as a drawing. Knows numbers and the size of its box. */

export interface Curve {
  readonly train: readonly number[];
  readonly validation: readonly (readonly [step: number, loss: number])[];
  readonly target: number | null;
  readonly maxSteps: number;
}

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const MARGIN = { left: 38, right: 10, top: 10, bottom: 22 };

/** Draw into an svg element; one that is empty is drawn empty. */
export function drawCurve(svg: SVGSVGElement, { train, validation, target, maxSteps }: Curve): void {
  const width = Math.max(240, svg.clientWidth);
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren();
  const losses = [...train, ...validation.map(([, loss]) => loss), ...(target === null ? [] : [target])];
  if (losses.length === 0) return;
  const [low, high] = bounds(Math.min(...losses), Math.max(...losses));
  const last = Math.max(1, Math.min(maxSteps, Math.ceil(1.25 * Math.max(train.length, 8))));
  const x = (step: number): number => MARGIN.left + ((width - MARGIN.left - MARGIN.right) * step) / last;
  const y = (loss: number): number =>
    MARGIN.top + ((HEIGHT - MARGIN.top - MARGIN.bottom) * (high - loss)) / (high - low);
  for (const loss of [0, 1, 2, 3].map((part) => low + ((high - low) * part) / 3)) {
    line(svg, "grid", [[MARGIN.left, y(loss)], [width - MARGIN.right, y(loss)]]);
    label(svg, MARGIN.left - 6, y(loss) + 4, "end", loss.toFixed(2));
  }
  label(svg, MARGIN.left, HEIGHT - 6, "start", "0");
  label(svg, width - MARGIN.right, HEIGHT - 6, "end", `step ${last}`);
  if (target !== null) line(svg, "target", [[MARGIN.left, y(target)], [width - MARGIN.right, y(target)]]);
  line(svg, "train", train.map((loss, index) => [x(index + 1), y(loss)]));
  line(svg, "validation", validation.map(([step, loss]) => [x(step), y(loss)]));
  for (const [step, loss] of validation) {
    const dot = element(svg, "circle", { cx: x(step), cy: y(loss), r: 3.2, class: "dot" });
    element(dot, "title", {}).textContent = `step ${step}: ${loss.toFixed(3)}`;
  }
}

function bounds(low: number, high: number): [number, number] {
  const room = Math.max(0.05, 0.08 * (high - low));
  return [low - room, high + room];
}

function line(parent: SVGElement, kind: string, points: readonly (readonly [number, number])[]): void {
  const text = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(" ");
  element(parent, "polyline", { points: text, class: kind });
}

function label(parent: SVGElement, px: number, py: number, anchor: string, text: string): void {
  element(parent, "text", { x: px, y: py, "text-anchor": anchor }).textContent = text;
}

function element(parent: SVGElement, name: string, attributes: Record<string, string | number>): SVGElement {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return parent.appendChild(made);
}
