"use strict";
// What the pages of both services share. Each page has a function start(), which is called when a key is given.
const root = location.pathname.replace(/\/?$/, "/");
const byId = (id) => document.getElementById(id);
const KNOWN_COLORS = { positive: "#16a36a", negative: "#e14650", neutral: "#8a8fa3", mixed: "#d98a1f" };
const COLORS = ["#4f7df0", "#d98a1f", "#16a36a", "#b05ce0", "#e14650", "#1ba3b8", "#8a8fa3", "#c2568f"];
const state = { key: "", labels: [], latest: 0 };

// Asking the service

async function ask(path, body) {
  const headers = { accept: "application/json" };
  if (state.key) headers.authorization = "Bearer " + state.key;
  if (body) headers["content-type"] = "application/json";
  const start = performance.now();
  const response = await fetch(root + path, {
    method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), cache: "no-store", credentials: "omit",
  });
  const elapsed = performance.now() - start;
  const answer = await response.json().catch(() => ({ error: "The answer is no JSON." }));
  if (response.status === 401) byId("key-form").hidden = false;
  if (!response.ok) throw Object.assign(new Error(answer.error?.message || answer.error || "Status " + response.status), { status: response.status });
  return { answer, elapsed, headers: response.headers };
}

// Showing answers

function show(error) {
  const isLocked = error && error.status === 401;
  byId("notice").hidden = !error || (isLocked && !state.key);
  byId("notice").textContent = isLocked ? "The service did not accept this key." : error ? error.message : "";
}

function colorOf(label) {
  return KNOWN_COLORS[label.toLowerCase()] || COLORS[Math.max(0, state.labels.indexOf(label)) % COLORS.length];
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const percent = (share) => (100 * share).toFixed(1) + " %";

function startCard(title, isOther) {
  const card = element("article", { class: "card result" });
  if (title) {
    const heading = element("h2", {}, title);
    if (isOther) heading.append(element("b", {}, "another label"));
    card.append(heading);
  }
  return card;
}

function showVerdict(best) {
  const verdict = element("div", { class: "verdict" }, element("strong", {}, best.label), element("span", {}, percent(best.score)));
  verdict.firstChild.style.color = colorOf(best.label);
  return verdict;
}

function showResults(results) {
  const isUpdate = byId("results").childElementCount > 0;
  byId("results").replaceChildren(...results);
  if (isUpdate) growBars();
  else requestAnimationFrame(() => requestAnimationFrame(growBars));
}

function showBars(ranking) {
  const bars = element("div", { class: "bars", role: "list" });
  const inOrder = state.labels.map((label) => ranking.find((item) => item.label === label)).filter(Boolean);
  for (const { label, score } of inOrder.length === ranking.length ? inOrder : ranking) {
    const fill = element("div", { class: "fill" });
    fill.style.background = colorOf(label);
    fill.dataset.width = percent(score).replace(" ", "");
    bars.append(
      element("span", { class: "name" }, label), element("div", { class: "track" }, fill),
      element("span", { class: "percent" }, percent(score)),
    );
  }
  return bars;
}

function growBars() {
  for (const fill of document.querySelectorAll(".fill")) fill.style.width = fill.dataset.width;
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.key = byId("key").value.trim();
  start().then(() => byId("key-form").hidden || show({ status: 401 }));
});
document.querySelector(".brand").href = root;
