// Fine-tunes a model on 66 examples and asks it beside its base model, with the client of OpenAI.
//
//   npm ci
//   OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=$(cat key.txt) node tutorial.mjs sentiment.jsonl
import fs from "node:fs";
import OpenAI from "openai";

const SYSTEM = "Classify the sentiment of the message as negative, neutral or positive.";
const MESSAGES = [
  "Remember that each day is a new opportunity to embrace the beauty of life.",
  "I have to be honest, I'm just not enjoying this movie.",
  "This is a cherry pie.",
];
const ENDED = ["succeeded", "failed", "cancelled"];

const path = process.argv[2] ?? "sentiment.jsonl";
const model = process.env.MODEL ?? "gpt-3.5-turbo";
const openai = new OpenAI(); // reads OPENAI_BASE_URL and OPENAI_API_KEY

const file = await openai.files.create({ file: fs.createReadStream(path), purpose: "fine-tune" });
console.log(`uploaded ${file.id}`);

const created = await openai.fineTuning.jobs.create({
  training_file: file.id,
  model,
  hyperparameters: { n_epochs: "auto" },
  suffix: "sentiment",
});
const job = await watch(created.id);
if (job.status !== "succeeded") {
  console.error(`the job ${job.status}: ${job.error?.message ?? ""}`);
  process.exit(1);
}

for (const text of MESSAGES) {
  console.log(`${text}\n  base:  ${await ask(model, text)}\n  tuned: ${await ask(job.fine_tuned_model, text)}`);
}

// Shows the events of a job until it has ended, and returns it.
async function watch(jobId) {
  const shown = new Set();
  for (;;) {
    const job = await openai.fineTuning.jobs.retrieve(jobId);
    const events = [];
    for await (const event of openai.fineTuning.jobs.listEvents(jobId, { limit: 100 })) events.push(event);
    for (const event of events.reverse()) {
      if (!shown.has(event.id)) console.log(event.message);
      shown.add(event.id);
    }
    if (ENDED.includes(job.status)) return job;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

// Asks a model the same ten times, and returns the different words of its answers.
async function ask(model, text) {
  const completion = await openai.chat.completions.create({
    model,
    messages: [
      { role: "system", content: SYSTEM },
      { role: "user", content: text },
    ],
    temperature: 0,
    n: 10,
  });
  return [...new Set(completion.choices.map((choice) => choice.message.content))].join(", ");
}
