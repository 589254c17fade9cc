// Prints what transformers.js answers with a bundle: one JSON object a text, of the JSON array of texts on stdin.
import { basename, dirname, resolve } from "node:path";
import { readFileSync } from "node:fs";
import { env, pipeline } from "@huggingface/transformers";

const bundle = resolve(process.argv[2]);
env.allowRemoteModels = false;
env.localModelPath = dirname(bundle);
const ask = await pipeline("text-classification", basename(bundle), { dtype: "fp32", device: "cpu" });
for (const text of JSON.parse(readFileSync(0, "utf-8"))) {
  const answers = await ask(text, { top_k: null });
  console.log(JSON.stringify(Object.fromEntries(answers.map(({ label, score }) => [label, score]))));
}
