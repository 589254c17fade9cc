// Asks a service with @huggingface/inference and prints what it returns as JSON: URL [KEY].
import { InferenceClient, textClassification } from "@huggingface/inference";

const [url, key] = process.argv.slice(2);
const TEXT = "What a good day!";
const endpoint = new InferenceClient(key).endpoint(url);
const answers = {
  plain: await endpoint.textClassification({ inputs: TEXT }),
  top_k: await endpoint.textClassification({ inputs: TEXT, parameters: { top_k: 1 } }),
  none: await endpoint.textClassification({ inputs: TEXT, parameters: { function_to_apply: "none" } }),
  function: await textClassification({ accessToken: key, endpointUrl: url, inputs: TEXT }),
};
try {
  await endpoint.textClassification({ inputs: "" });
} catch (error) {
  answers.error = { message: error.message, status: error.httpResponse?.status };
}
console.log(JSON.stringify(answers));
