// Draws a figures_json (see figure_view.py) with plotly, which is fetched once, for the first figure; only changed figures are
// drawn again. gradio calls this once with: element, props (props.value is the JSON), watch.

const root = element.querySelector("[data-figures]");
const shown = new Map();  // a figure's name -> its JSON
let drawing = Promise.resolve();

function library() {
  window.workbenchPlotly ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "LIBRARY";
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("plotly.js could not be loaded"));
    document.head.append(script);
  });
  return window.workbenchPlotly;
}

async function draw(figures) {
  root.hidden = figures.length === 0;
  const plotly = figures.length || shown.size ? await library() : null;
  for (const name of shown.keys()) {
    if (figures.some((figure) => figure.name === name)) continue;
    const place = root.querySelector(`[data-figure="${name}"]`);
    plotly.purge(place);
    place.remove();
    shown.delete(name);
  }
  for (const { name, json } of figures) {
    let place = root.querySelector(`[data-figure="${name}"]`);
    if (!place) {
      place = document.createElement("div");
      place.className = "wb-figure";
      place.dataset.figure = name;
    }
    root.append(place);  // also moves it into order
    if (shown.get(name) === json) continue;
    const figure = JSON.parse(json);
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", figure.layout.title?.text ?? name);
    const config = { displaylogo: false, responsive: !figure.layout.width, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
    await plotly.newPlot(place, { data: figure.data, layout: figure.layout, frames: figure.frames, config });
    shown.set(name, json);
    place.dataset.drawn = String(1 + Number(place.dataset.drawn ?? 0));
  }
}

function update() {  // one after the other: concurrent drawings of one figure would mix
  const figures = props.value || [];
  drawing = drawing.then(() => draw(figures)).catch((error) => console.error(error));
}

watch("value", update);
update();
