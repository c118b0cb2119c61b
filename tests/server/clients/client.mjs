// What the npm package openai makes of a server: node client.mjs ADDRESS writes it as a JSON object.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const model = "fake";
const messages = [{ role: "user", content: "Once upon a time" }];
const chat = { model, messages, seed: 1, max_tokens: 16 };
const schema = {
  type: "object",
  properties: { ok: { type: "boolean" } },
  required: ["ok"],
  additionalProperties: false,
};
const tool = { type: "function", function: { name: "look_up", parameters: schema } };
const found = {};

found.models = (await client.models.list()).data.map((each) => each.id);
found.text = (await client.completions.create({ model, prompt: "Once", seed: 1 })).choices[0].text;
found.reply = (await client.chat.completions.create(chat)).choices[0].message.content;

found.stream = "";
found.usage = 0;
const options = { stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create({ ...chat, ...options })) {
  found.stream += chunk.choices[0]?.delta?.content ?? "";
  found.usage = chunk.usage?.completion_tokens ?? found.usage;
}

const told = await client.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 2 });
found.logprobs = told.choices[0].logprobs.content.map((entry) => entry.top_logprobs.length);

const long = { ...chat, max_tokens: 200 };
const response_format = { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
found.schema = (await client.chat.completions.parse({ ...long, response_format })).choices[0].message.parsed;

const called = await client.chat.completions.create({ ...long, tools: [tool], tool_choice: "required" });
found.tools = called.choices[0].message.tool_calls.map((call) => [
  call.function.name,
  Object.keys(JSON.parse(call.function.arguments)),
]);

try {
  await client.completions.create({ model, prompt: "x", temperature: -1 });
} catch (error) {
  found.error = [error.constructor.name, error.status];
}
console.log(JSON.stringify(found));
