const EXAMPLES = [
  ["Praise", "The tea was wonderful and the staff could not have been kinder. I will be back."],
  ["Complaint", "Two hours late, cold food, and nobody said sorry. Never again."],
  ["Mixed", "The screen is gorgeous, but the battery is a joke."],
  ["Plain", "The parcel arrived on Tuesday, in a brown box."],
];
const MAX_WORDS = 60;
const MAX_ROWS_SHOWN = 500;
Object.assign(state, { info: null, second: null, file: null, rows: [], isStopped: false });

async function start() {
  try {
    state.info = (await ask("info")).answer;
  } catch (error) {
    if (error.status === 401) byId("key").focus();
    else show(error);
    return;
  }
  byId("key-form").hidden = true;
  show(null);
  state.labels = Object.values(state.info.model_type.classifier.id2label);
  state.second = await ask("shadow/info").then((found) => found.answer, () => null);
  byId("bundle").textContent = `bundle ${state.info.bundle_id.slice(0, 8)} · ${state.info.variant} · ${state.info.engine}`;
  byId("text").focus();
  if (byId("text").value.trim()) scoreOne();
}

// One review: the text, and the text without each of its words, in one request

function splitWords(text) {
  let words = text.match(/\s*\S+/gu) || [];
  if (words.length < 2) words = text.match(/\S/gu) || []; // a language without spaces, or one word
  const size = Math.ceil(words.length / MAX_WORDS);
  const groups = [];
  for (let i = 0; i < words.length; i += size) groups.push(words.slice(i, i + size).join(""));
  return groups;
}

async function scoreOne() {
  const text = byId("text").value, number = ++state.latest;
  if (!text.trim()) {
    byId("results").replaceChildren();
    return show(null);
  }
  const limit = state.info ? state.info.max_client_batch_size : 1;
  const words = splitWords(text);
  const without = words.map((_, left) => words.filter((_, i) => i !== left).join("")).map((t) => (t.trim() ? t : text));
  const texts = [text, ...(without.length < limit ? without : [])];
  try {
    const alone = await ask("predict", { inputs: [text] });
    if (number !== state.latest) return; // the text has changed since
    const title = state.second ? "First bundle " + state.info.bundle_id.slice(0, 8) : "";
    showResults([showResult(title, alone.answer[0], { asked: alone })]);
    const [whole, other] = await Promise.all([
      ask("predict", { inputs: texts }), state.second && ask("shadow/predict", { inputs: texts }).catch(() => null),
    ]);
    if (number !== state.latest) return;
    const results = [showResult(title, alone.answer[0], { asked: alone, words, rankings: whole.answer.slice(1) })];
    if (other) {
      const [ranking, ...rankings] = other.answer;
      const isOther = ranking[0].label !== alone.answer[0][0].label;
      results.push(showResult("Second bundle " + state.second.bundle_id.slice(0, 8), ranking, { words, rankings, isOther }));
    }
    showResults(results);
    show(null);
  } catch (error) {
    if (number === state.latest) show(error);
  }
}

function showResult(title, ranking, { asked, words, rankings = [], isOther }) {
  const card = startCard(title, isOther);
  card.append(showVerdict(ranking[0]), showBars(ranking));
  if (rankings.length > 1) card.append(showWords(words, ranking, rankings));
  if (asked) card.append(showNumbers(asked));
  return card;
}

// A word is drawn in the colour of the label that loses most when the word is left out.
function showWords(words, ranking, rankings) {
  const effects = rankings.map((without) => {
    const losses = ranking.map(({ label, score }) => ({ label, loss: score - scoreOf(without, label) }));
    return losses.reduce((a, b) => (b.loss > a.loss ? b : a));
  });
  const largest = Math.max(0.05, ...effects.map((effect) => effect.loss));
  const line = element("div", { class: "words", dir: "auto" });
  const drawn = new Set();
  words.forEach((word, i) => {
    const [, before, text] = /^(\s*)([^]*)$/u.exec(word);
    const { label, loss } = effects[i], share = loss / largest;
    const mark = element("mark", { title: `Without it: ${label} ${percent(scoreOf(rankings[i], label))}` }, text);
    if (share > 0.08) {
      drawn.add(label);
      mark.className = share > 0.6 ? "drawn strong" : "drawn";
      mark.style.background = colorOf(label) + Math.round(30 + 120 * share).toString(16).padStart(2, "0");
    }
    line.append(before, mark);
  });
  const legend = element("span", { class: "keys" });
  for (const label of state.labels) {
    if (!drawn.has(label)) continue;
    const dot = element("i");
    dot.style.background = colorOf(label);
    legend.append(element("span", {}, dot, label));
  }
  return element("div", { class: "why" }, element("p", {}, "The words that decided, and for which label", legend), line);
}

function showNumbers(asked) {
  const numbers = element("p", { class: "numbers" });
  const add = (value, what) => numbers.append(element("span", {}, element("b", {}, value), " " + what));
  add(asked.elapsed.toFixed(1) + " ms", "round trip");
  const tokens = asked.headers.get("x-compute-tokens");
  if (tokens) add(tokens, "tokens");
  if (Number(tokens) >= state.info.max_input_length) add("Too long:", "a part of the text was not read");
  return numbers;
}

// Many reviews: lines, or a column of a CSV file

function parseCsv(text) {
  const first = text.slice(0, text.search(/\r|\n|$/));
  const separator = [",", ";", "\t"].sort((a, b) => first.split(b).length - first.split(a).length)[0];
  const rows = [];
  let row = [], cell = "", isQuoted = false;
  for (let i = 0; i < text.length; i++) {
    const letter = text[i];
    if (isQuoted) {
      if (letter !== '"') cell += letter;
      else if (text[i + 1] === '"') cell += text[++i];
      else isQuoted = false;
    } else if (letter === '"' && !cell) isQuoted = true;
    else if (letter === separator) row.push(cell), (cell = "");
    else if (letter === "\n" || letter === "\r") {
      if (letter === "\r" && text[i + 1] === "\n") i++;
      row.push(cell), rows.push(row), (row = []), (cell = "");
    } else cell += letter;
  }
  if (cell || row.length) row.push(cell), rows.push(row);
  return rows.filter((cells) => cells.some((value) => value.trim()));
}

function guessColumn(header, rows) {
  const named = header.findIndex((name) => /^(text|review|reviews|body|comment|comments|content|message|sentence|tweet)$/i.test(name.trim()));
  if (named >= 0) return named;
  const lengths = header.map((_, i) => rows.slice(0, 100).reduce((sum, row) => sum + (row[i] || "").length, 0));
  return lengths.indexOf(Math.max(...lengths));
}

async function openFile(file) {
  const text = (await file.text()).replace(/^\ufeff/, "");
  const isTable = /\.(csv|tsv)$/i.test(file.name);
  if (!isTable) {
    state.file = null;
    byId("lines").value = text;
  } else {
    const [header = [], ...rows] = parseCsv(text);
    state.file = { name: file.name, rows };
    const column = byId("column");
    column.replaceChildren(...header.map((name, i) => element("option", { value: i }, name.trim() || "column " + (i + 1))));
    column.value = guessColumn(header, rows);
    fillLines();
  }
  byId("column-label").hidden = !isTable;
  countLines();
}

function fillLines() {
  const column = Number(byId("column").value);
  state.file.texts = state.file.rows.map((row) => row[column] || "");
  byId("lines").value = state.file.texts.map((text) => text.replace(/\s*[\r\n]+\s*/g, " ")).join("\n");
}

function readTexts() {
  const texts = state.file ? state.file.texts : byId("lines").value.split("\n");
  return texts.map((text) => text.trim()).filter(Boolean);
}

function countLines() {
  const count = readTexts().length;
  byId("count").textContent = count ? count.toLocaleString() + (count === 1 ? " review" : " reviews") : "";
}

async function scoreMany() {
  const texts = readTexts();
  if (!texts.length) return;
  const size = Math.min(state.info ? state.info.max_client_batch_size : 32, 64);
  Object.assign(state, { rows: [], isStopped: false });
  byId("progress").hidden = false;
  byId("score-many").disabled = true;
  const start = performance.now();
  try {
    for (let i = 0; i < texts.length && !state.isStopped; i += size) {
      const part = texts.slice(i, i + size);
      const asked = [askPatiently("predict", { inputs: part })];
      if (state.second) asked.push(askPatiently("shadow/predict", { inputs: part }));
      const [first, second] = await Promise.all(asked);
      part.forEach((text, j) => state.rows.push({ text, first: first.answer[j], second: second && second.answer[j] }));
      byId("progress-bar").value = state.rows.length / texts.length;
      byId("progress-text").textContent = `${state.rows.length.toLocaleString()} of ${texts.length.toLocaleString()}`;
    }
    show(null);
  } catch (error) {
    show(error);
  }
  byId("progress").hidden = true;
  byId("score-many").disabled = false;
  showTable((performance.now() - start) / 1000);
}

async function askPatiently(path, body) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask(path, body);
    } catch (error) {
      if (![429, 503].includes(error.status) || attempt > 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

function showTable(seconds) {
  const rows = state.rows;
  byId("table-card").hidden = !rows.length;
  const counts = state.labels.map((label) => rows.filter((row) => row.first[0].label === label).length);
  const stack = element("div", { class: "stack", role: "img", "aria-label": "Shares of the labels" });
  const keys = element("div", { class: "keys" });
  state.labels.forEach((label, i) => {
    const piece = element("span");
    Object.assign(piece.style, { background: colorOf(label), width: percent(counts[i] / rows.length).replace(" ", "") });
    if (counts[i]) stack.append(piece);
    const dot = element("i");
    dot.style.background = colorOf(label);
    keys.append(element("span", {}, dot, `${label} ${counts[i].toLocaleString()} (${percent(counts[i] / rows.length)})`));
  });
  byId("shares").replaceChildren(stack, keys);
  const names = ["", "review", "label", ...(state.second ? ["second bundle"] : []), ...state.labels];
  byId("table-head").replaceChildren(...names.map((name, i) => element("th", { scope: "col", class: i === 0 || i >= names.length - state.labels.length ? "number" : "" }, name)));
  byId("table-body").replaceChildren(...rows.slice(0, MAX_ROWS_SHOWN).map(showRow));
  const differing = rows.filter((row) => row.second && row.second[0].label !== row.first[0].label).length;
  byId("table-note").textContent = [
    `${rows.length.toLocaleString()} reviews in ${seconds.toFixed(1)} s.`,
    rows.length > MAX_ROWS_SHOWN ? `The first ${MAX_ROWS_SHOWN} are shown; the file has all.` : "",
    state.second ? `The second bundle gives ${differing.toLocaleString()} another label.` : "",
  ].filter(Boolean).join(" ");
}

function showRow(row, i) {
  const cells = [element("td", { class: "number" }, String(i + 1)), element("td", { class: "text", dir: "auto" }, row.text)];
  for (const ranking of [row.first, row.second].filter(Boolean)) {
    const dot = element("i");
    dot.style.background = colorOf(ranking[0].label);
    cells.push(element("td", { class: "label" }, dot, ranking[0].label));
  }
  for (const label of state.labels) cells.push(element("td", { class: "number" }, scoreOf(row.first, label).toFixed(3)));
  return element("tr", {}, ...cells);
}

const scoreOf = (ranking, label) => ranking.find((item) => item.label === label).score;

function download() {
  // A spreadsheet would run a cell that begins like a formula.
  const quote = (value) => '"' + String(value).replace(/^(?=[=+\-@\t\r])/, "'").replaceAll('"', '""') + '"';
  const header = ["text", "label", ...(state.second ? ["second_label"] : []), ...state.labels];
  const lines = state.rows.map((row) => [
    quote(row.text), quote(row.first[0].label), ...(row.second ? [quote(row.second[0].label)] : []),
    ...state.labels.map((label) => scoreOf(row.first, label)),
  ].join(","));
  const blob = new Blob(["\ufeff", [header.map(quote).join(","), ...lines].join("\r\n"), "\r\n"], { type: "text/csv" });
  const link = element("a", { href: URL.createObjectURL(blob), download: "sentiment.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// Tabs, keys and files

function chooseTab(name) {
  for (const each of ["one", "many"]) {
    const tab = byId("tab-" + each), isChosen = each === name;
    tab.setAttribute("aria-selected", isChosen);
    tab.tabIndex = isChosen ? 0 : -1;
    byId("panel-" + each).hidden = !isChosen;
  }
}

for (const name of ["one", "many"]) {
  byId("tab-" + name).addEventListener("click", () => chooseTab(name));
  byId("tab-" + name).addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = name === "one" ? "many" : "one";
    chooseTab(other);
    byId("tab-" + other).focus();
  });
}
for (const [name, text] of EXAMPLES) {
  const button = element("button", { type: "button" }, name);
  button.addEventListener("click", () => {
    byId("text").value = text;
    byId("text").dispatchEvent(new Event("input"));
  });
  byId("examples").append(button);
}

let typing = 0;
byId("text").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(scoreOne, 250);
});
byId("score").addEventListener("click", scoreOne);
byId("score-many").addEventListener("click", scoreMany);
byId("stop").addEventListener("click", () => (state.isStopped = true));
byId("download").addEventListener("click", download);
byId("lines").addEventListener("input", () => {
  state.file = null;
  byId("column-label").hidden = true;
  countLines();
});
byId("column").addEventListener("change", () => {
  fillLines();
  countLines();
});
byId("file").addEventListener("change", (event) => {
  if (event.target.files[0]) openFile(event.target.files[0]);
  event.target.value = "";
});
byId("choose").addEventListener("keydown", (event) => {
  if (event.key === "Enter" || event.key === " ") byId("file").click();
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  byId("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) openFile(event.dataTransfer.files[0]);
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  if (byId("panel-many").hidden) scoreOne();
  else scoreMany();
});
byId("docs").href = root + "docs";
if (navigator.platform.startsWith("Mac")) document.querySelector("kbd").textContent = "⌘";
start();
