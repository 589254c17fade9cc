const MAX_LABELS = 20;
const TUNED = "ft:";
const SAY_WAITING_MS = 1000; // a model that is asked for the first time is loaded, and a base model may be exported

async function start() {
  let models;
  try {
    models = (await ask("v1/models")).answer.data.map((model) => model.id);
  } catch (error) {
    if (error.status === 401) byId("key").focus();
    else show(error);
    return;
  }
  byId("key-form").hidden = true;
  show(null);
  const tuned = models.findLast((id) => id.startsWith(TUNED)) || models[0];
  const base = models.find((id) => id === tuned.split(":")[1]) || models[0];
  for (const [name, chosen] of [["first", base], ["second", tuned]]) {
    byId(name).replaceChildren(...models.map((id) => element("option", { value: id }, id)));
    byId(name).value = chosen;
  }
  byId("bundle").textContent = models.length === 1 ? "1 model" : models.length + " models";
  byId("compare").disabled = false;
  byId("text").focus();
}

async function compare() {
  const text = byId("text").value, number = ++state.latest;
  if (!text.trim()) return;
  const ids = [byId("first").value, byId("second").value];
  byId("compare").disabled = true;
  show(null);
  const waiting = setTimeout(() => show(new Error("Waiting for the models: the first answer takes longest …")), SAY_WAITING_MS);
  try {
    const answers = await Promise.all(ids.map((id) => askModel(id, text)));
    if (number !== state.latest) return;
    state.labels = [...new Set(answers.flatMap(({ ranking }) => ranking.map((item) => item.label)))].sort();
    const labels = answers.map(({ ranking }) => ranking[0].label.toLowerCase());
    clearTimeout(waiting);
    showResults(answers.map((answer, i) => showAnswer(ids[i], answer, i > 0 && labels[i] !== labels[0])));
    show(null);
  } catch (error) {
    clearTimeout(waiting);
    if (number === state.latest) show(error);
  }
  byId("compare").disabled = false;
}

// Asks a model, and returns its labels with their probabilities, the most likely first.
async function askModel(model, text) {
  const messages = [{ role: "user", content: text }];
  const asked = await ask("v1/chat/completions", { model, messages, logprobs: true, top_logprobs: MAX_LABELS });
  const [token] = asked.answer.choices[0].logprobs.content;
  const ranking = token.top_logprobs.map((top) => ({ label: top.token, score: Math.exp(top.logprob) }));
  return { ranking, asked };
}

function showAnswer(model, { ranking, asked }, isOther) {
  const card = startCard(model, isOther);
  const numbers = element("p", { class: "numbers" });
  for (const [value, what] of [[asked.elapsed.toFixed(1) + " ms", "round trip"], [asked.answer.usage.prompt_tokens, "tokens"]]) {
    numbers.append(element("span", {}, element("b", {}, String(value)), " " + what));
  }
  card.append(showVerdict(ranking[0]), showBars(ranking), numbers);
  return card;
}

byId("compare").addEventListener("click", compare);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !byId("compare").disabled) compare();
});
if (navigator.platform.startsWith("Mac")) document.querySelector("kbd").textContent = "⌘";
byId("key").focus();
